"""How many requests of one kind a host is given at once, and how fast: less when it complains, more while it does not.

The first complaint halves the number of requests under way. If they go on, and it is known by then what the host can
take, requests begin at that rate instead; the rate then follows the host's limit closely, a little below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from ocidist.http.pace import Pace, sleep_until
from ocidist.http.retry import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

HALF: Final = 2
"""What the number of requests under way is divided by."""

EASE: Final = 0.92
"""Part of its rate that is left to a host which complains about it."""

FIRST_GROWTH: Final = 0.25
"""Part by which a rate that was only estimated grows in a second, until the host complains about it."""

GROWTH: Final = 0.02
"""Part by which a rate grows in a second that the host complained about lately."""

LATELY: Final = 10.0
"""Seconds after which a rate that the host did not complain about is too low, and grows as if it were estimated."""

LET_GO: Final = 4.0
"""A rate that grew to so many times what the host complained about last is none any more."""

LEAST_RATE: Final = 0.2
"""Requests per second that any host is believed to take."""

WINDOW: Final = 1.0
"""Seconds over which it is measured what a host can take."""

WATCH: Final = 60.0
"""Seconds for which it is measured after a complaint."""

REFUSED_IN_A_ROW: Final = 5
"""Requests that are refused one after the other before nobody asks any more until the host wants to be asked."""

TOO_MANY: Final = 429


class Lane:
    """The requests of one kind at one host.

    Args:
        most: Most requests under way at once.
        adaptive: Whether there are fewer when the host complains.
        steady: The rate that was configured for the host, if one was.
        changed: Called with the number of requests and the rate when one of them changes.

    Attributes:
        limiter: Counts the requests under way.
        clear: Whether a request may begin as soon as there is a place for it.
        easing: Whether answers have to be counted one by one, because the host complained a while ago.
        begun: Requests so far.
        answered: Requests that the host answered, with anything but a complaint or a failure of its own.
        pace: The rate that was learned, if one was.
    """

    __slots__ = (
        *("_adaptive", "_answered", "_best", "_changed", "_complained", "_count", "_credit", "_growth", "_limit"),
        *("_most", "_peak", "_refused", "_seen", "_since", "_steady", "_till", "_told"),
        *("answered", "begun", "clear", "down", "easing", "limiter", "pace"),
    )

    def __init__(
        self, most: int, *, adaptive: bool, steady: Pace | None, changed: Callable[[int, float | None], None]
    ) -> None:
        self.limiter: anyio.CapacityLimiter = anyio.CapacityLimiter(most)
        self._most = self._limit = most
        self._adaptive = adaptive
        self._steady = steady
        self._changed = changed
        self.down: bool = False
        self.clear: bool = steady is None
        self.easing: bool = False
        self.begun: int = 0
        self.answered: int = 0
        self.pace: Pace | None = None
        # The last request that had begun when the number or the rate was cut: complaints about earlier ones are old.
        self._told = 0
        self._credit = 0
        self._growth = GROWTH
        self._complained = self._since = self._till = 0.0
        self._answered = self._count = self._refused = self._seen = 0
        self._best = 0.0

    @property
    def rate(self) -> float | None:
        """Requests per second that the host is believed to take, if it complained about more."""
        return None if self.pace is None else self.pace.rate

    # --- before a request --------------------------------------------------------------------------------------------

    async def wait(self) -> None:
        """Wait until a request may begin that has a place already."""
        await sleep_until(lambda: self._till)
        self.update()
        for pace in (self.pace, self._steady):
            if pace is not None and not pace.go_now():
                await pace.go()

    def update(self) -> None:
        """Work out ``clear`` again."""
        held = self._till > 0 and self._till > monotonic()
        self.clear = not (self.down or held or self._steady or self.pace)

    # --- after it ----------------------------------------------------------------------------------------------------

    def complained(self, number: int, status: int, retry_after: float | None) -> None:
        """Ease the load: the host says that it is too much.

        Args:
            number: What ``begun`` was when the request began.
            status: 429 or 503.
            retry_after: Seconds for which the host does not want to see the request, or None.
        """
        if not self._adaptive:
            return
        if status == TOO_MANY:
            self._hold(retry_after)
        if number <= self._told:
            return
        now, before = monotonic(), (self._limit, self.rate)
        self._told = self.begun
        self._measure(now)
        if self.easing and now - self._complained >= WINDOW:
            self._best = max(self._best, (self.answered - self._answered) / (now - self._complained))
        if status != TOO_MANY or not (self.pace or self._best):
            self._limit = max(1, self._limit // HALF)
            self._credit = 0
            self.limiter.total_tokens = self._limit
        elif self.pace is None:
            self.pace, self._growth = Pace(max(LEAST_RATE, self._best * EASE)), FIRST_GROWTH
        else:
            if now - self._complained >= WINDOW:
                # Before that it is still the burst which led to the rate.
                self._growth = GROWTH
            self.pace.rate = max(LEAST_RATE, self.pace.rate * EASE)
        if not self.easing:
            self.easing, self._since, self._count = True, now, 0
        self._complained, self._answered, self._best = now, self.answered, 0.0
        self._peak = self.rate or 0.0
        self.update()
        if before != (self._limit, self.rate):
            self._changed(self._limit, self.rate)

    def _hold(self, retry_after: float | None) -> None:
        if self._seen != self.answered:
            self._refused, self._seen = 0, self.answered
        self._refused += 1
        if retry_after and self._refused >= REFUSED_IN_A_ROW:
            self._till = max(self._till, monotonic() + retry_after)
            self.update()

    def eased(self) -> None:
        """Count an answer without a complaint while ``easing``: the load may grow again."""
        now = monotonic()
        self._count += 1
        passed = now - self._since
        self._measure(now)
        if self._limit < self._most:
            # One more for each round of answers.
            self._credit += 1
            if self._credit >= self._limit:
                self._credit = 0
                self._limit += 1
                self.limiter.total_tokens = self._limit
                self._changed(self._limit, self.rate)
        if self.pace is not None and passed >= WINDOW:
            growth = FIRST_GROWTH if now - self._complained > LATELY else self._growth
            self.pace.rate *= 1.0 + growth * min(passed, WINDOW)
            if self.pace.rate > LET_GO * self._peak:
                self.pace = None
                self.update()
                self._changed(self._limit, self.rate)
        if self.pace is None and self._limit == self._most and now - self._complained > WATCH:
            self.easing = False

    def _measure(self, now: float) -> None:
        passed = now - self._since
        if self.easing and passed >= WINDOW:
            # The busiest second counts: in others there was perhaps nothing to do.
            self._best = max(self._best, self._count / passed)
            self._since, self._count = now, 0
