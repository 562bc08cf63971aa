"""Failures of copying, which has two sides."""

from __future__ import annotations

import enum

from ocidist.errors._base import OciError


class Side(enum.Enum):
    """One of the two stores that take part in a copy."""

    SOURCE = "source"
    """Where content is read."""
    DESTINATION = "destination"
    """Where it goes."""


class CopyError(OciError):
    """Raised when something cannot be copied; ``__cause__`` is the error that kept it from being copied.

    What was copied before stays where it is, and is not copied again the next time. A tag is only ever set once
    everything that it leads to is there. Where the destination refuses a referrer as such, all the rest is copied
    and the tag is set before this is raised.

    Attributes:
        side: Which of the two stores failed.
        digest: The blob or manifest that was being copied, or None where it failed before one was known.
    """

    def __init__(self, message: str, side: Side, digest: str | None = None) -> None:
        super().__init__(message)
        self.side: Side = side
        self.digest: str | None = digest


class PlatformUnknownError(OciError):
    """Raised when an image is not there for a platform that was asked for.

    Attributes:
        platform: That platform (``linux/arm64``).
        available: The platforms there are.
    """

    def __init__(self, platform: str, available: tuple[str, ...]) -> None:
        known = ", ".join(available) or "none that is stated"
        super().__init__(f"there is no image for {platform}; there are images for {known}")
        self.platform: str = platform
        self.available: tuple[str, ...] = available
