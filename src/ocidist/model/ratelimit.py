"""What a registry says of how many requests it allows."""

from __future__ import annotations

import attrs


@attrs.frozen
class RateLimit:
    """A registry's allowance, as its last answer described it. What it does not tell is None.

    Attributes:
        limit: Requests allowed in one window.
        remaining: Requests left in this one.
        window: Length of a window, in seconds.
        reset: Seconds until more is allowed.
        source: Who is counted, in the registry's words: an address or an account.
    """

    limit: int | None = None
    remaining: int | None = None
    window: int | None = None
    reset: float | None = None
    source: str | None = None

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return self.remaining == 0

    @property
    def horizon(self) -> float | None:
        """Seconds after which more is allowed for sure, or None if nobody knows."""
        return self.window if self.reset is None else self.reset

    def __str__(self) -> str:
        left = "some" if self.remaining is None else str(self.remaining)
        text = f"{left} left" if self.limit is None else f"{left} of {self.limit} left"
        if self.window is not None:
            text = f"{text} in {self.window} seconds"
        if self.reset is not None:
            text = f"{text}, more in {self.reset:.0f} seconds"
        return text
