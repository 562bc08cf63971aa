"""What happens to a host that fails every request: one request at a time finds out whether it is back.

All others wait for what that one finds. If it fails they fail with it, which is one attempt of each of them, so that an
outage is noticed as soon as if everybody had asked, and nobody's operation takes longer for it. A host that is down for
a minute gets about one request a second, however many tasks there are.
"""

from __future__ import annotations

import copy
import random
from typing import TYPE_CHECKING, Final

import anyio

from ocidist.http.pace import sleep_until
from ocidist.http.retry import DownError, monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocidist.http.retry import RetryPolicy

FAILURES: Final = 10
"""Requests in a row that a host fails, before it counts as down."""

MAX_PROBE_WAIT: Final = 2.0
"""Longest time between two requests to a host that is down, in seconds, unless it asks for more itself."""


class _Round:
    """What everybody waits for.

    Attributes:
        over: Whether the host was asked.
        failure: What came of it, if it is known.
        operation: What was asked.
    """

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.failure: Exception | None = None
        self.operation = ""


class Outage:
    """Whether a host fails everything.

    Args:
        policy: The client's retry policy.
        changed: Called when the host goes down, and when it is back.

    Attributes:
        down: Whether it does.
    """

    def __init__(self, policy: RetryPolicy, changed: Callable[[], None]) -> None:
        self._policy = policy
        self._changed = changed
        self._row = 0
        self._answered = 0
        self._next = 0.0
        self._probes = 0
        self._probing = False
        self._round: _Round | None = None
        self.down: bool = False

    async def admit(self, operation: str) -> bool:
        """Wait until the host may be asked, and return whether this request is the one that finds out if it is back.

        Args:
            operation: What would be asked.

        Raises:
            DownError: Another request asked meanwhile, and failed.
        """
        while self.down:
            if not self._probing:
                return await self._probe()
            if self._round is None:
                self._round = _Round()
            found = self._round
            await found.over.wait()
            # A server may fail one kind of request only. One that does not answer fails all.
            if found.failure is not None and (found.operation in {"", operation}):
                raise DownError(copied(found.failure), sent=False)
        return False

    async def _probe(self) -> bool:
        self._probing = True
        try:
            await sleep_until(lambda: self._next if self.down else 0.0)
        except BaseException:
            self.given_up()
            raise
        self._probing = self.down
        return self.down

    def failed(self, failure: Exception, *, answered: int, probe: bool, operation: str, asked: float | None) -> None:
        """Count a failure.

        Args:
            failure: What went wrong.
            answered: How many requests the host has answered so far.
            probe: Whether ``admit`` said so of the request.
            operation: What was asked; empty if the host did not answer at all.
            asked: Seconds the host asks to wait, or None.
        """
        if self.down and not probe:
            return
        if probe:
            self._probing = False
            self._probes += 1
        else:
            if answered != self._answered:
                self._row, self._answered = 0, answered
            self._row += 1
            if self._row < FAILURES:
                return
            self.down, self._probes = True, 0
            self._changed()
        longest = min(MAX_PROBE_WAIT, self._policy.wait_max, self._policy.wait_initial * 2.0 ** min(self._probes, 16))
        # Half of it at least: a host that is down is not asked twice at once.
        wait = min(asked or 0.0, self._policy.max_retry_after) or longest * random.uniform(0.5, 1.0)  # noqa: S311 -- nobody gains by guessing it
        self._next = monotonic() + wait
        if probe:
            # A copy: whoever made the request adds to its failure what it was about.
            self._tell(copied(failure), operation)

    def answered(self) -> None:
        """Note that the host is back."""
        self._row = 0
        self._probing = self.down = False
        self._changed()
        self._tell(None, "")

    def given_up(self) -> None:
        """Note that the request which was to find out did not come to it."""
        self._probing = False
        self._tell(None, "")

    def _tell(self, failure: Exception | None, operation: str) -> None:
        found, self._round = self._round, None
        if found is not None:
            found.failure, found.operation = failure, operation
            found.over.set()


def copied(failure: Exception) -> Exception:
    """Return a failure as another task may raise it: the same, and yet its own."""
    made = copy.copy(failure)
    made.__cause__ = failure.__cause__
    return made
