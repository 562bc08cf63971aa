"""How long a mirror has to answer, and for how long it is left alone after it failed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import anyio
import attrs

from ocidist.http.retry import monotonic

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_ASIDE: Final = 30.0
"""Seconds for which a host is set aside when it fails for the first time; doubled each time after that."""

MAX_ASIDE: Final = 600.0
"""Longest time for which a host is set aside, in seconds, also where it asks for more."""


class Trial:
    """The time that a host has to answer. Waiting for a place among other requests does not count.

    Args:
        patience: Seconds.

    Attributes:
        patience: See above.
        scope: What ends the attempt.
    """

    def __init__(self, patience: float) -> None:
        self.patience: float = patience
        self.scope: anyio.CancelScope = anyio.CancelScope(deadline=anyio.current_time() + patience)
        self._left = patience

    def pause(self) -> None:
        """Stop the clock until a place is there."""
        if self.scope.deadline != math.inf:
            self._left = max(self.scope.deadline - anyio.current_time(), 0.0)
            self.scope.deadline = math.inf

    def begin(self) -> None:
        """Let the clock run on."""
        self.scope.deadline = anyio.current_time() + self._left

    def shorten(self, timeouts: Mapping[str, float | None]) -> dict[str, float | None]:
        """Return timeouts of which none is longer than the host has to answer."""
        waits = {name: timeouts.get(name) or self.patience for name in ("connect", "read")}
        return {**timeouts, **{name: min(seconds, self.patience) for name, seconds in waits.items()}}


@attrs.define
class Standing:
    """How a host has behaved.

    Attributes:
        until: When it is asked again, by ``monotonic()``.
        strikes: How often it was set aside since it last answered.
        struck: When that happened last.
        reason: Why.
    """

    until: float = 0.0
    strikes: int = 0
    struck: float = -math.inf
    reason: str = ""

    def left(self, patience: float) -> float | None:
        """Return the seconds for which the host is still set aside; None if it may be asked now."""
        now = monotonic()
        if now < self.until:
            return self.until - now
        if self.strikes:
            # One request finds out whether it is back; the others need not wait for that.
            self.until = now + patience
        return None

    def strike(self, reason: str, *, began: float, asked: float | None = None) -> float:
        """Set the host aside.

        Args:
            reason: Why.
            began: When the request began that failed. Those that were under way together count once.
            asked: Seconds the host asks to be left alone, or None.

        Returns:
            Seconds until it is asked again.
        """
        now = monotonic()
        if began <= self.struck:
            return max(self.until - now, 0.0)
        self.strikes += 1
        seconds = min(MAX_ASIDE, max(FIRST_ASIDE * 2.0 ** min(self.strikes - 1, 16), asked or 0.0))
        self.until, self.struck, self.reason = now + seconds, now, reason
        return seconds

    def clear(self) -> None:
        """Forget what was: the host answers."""
        self.until, self.strikes = 0.0, 0
