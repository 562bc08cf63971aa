"""Numbers of things for people to read."""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """Return how many there are of something: ``1 blob``, ``2 blobs``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
