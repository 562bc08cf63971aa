"""Numbers for people to read."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")
_STEP: Final = 1024


def in_bytes(count: int | None) -> str:
    """Return a number of bytes: ``1.5 GiB``; ``?`` where nobody knows it."""
    if count is None:
        return "?"
    if count < _STEP:
        return f"{count} B"
    power = min((count.bit_length() - 1) // 10, len(_UNITS))
    return f"{count / _STEP**power:.1f} {_UNITS[power - 1]}"


def counted(number: int, what: str) -> str:
    """Return how many there are of something: ``1 blob``, ``2 blobs``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
