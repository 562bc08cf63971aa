"""The version of the installed package."""

from __future__ import annotations

from functools import cache


@cache
def version() -> str:
    """Return the version from the package's metadata."""
    from importlib.metadata import version as read  # noqa: PLC0415 -- nobody should pay for it who does not ask

    return read("ocidist")
