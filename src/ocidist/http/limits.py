"""How many requests to one host may be under way at once. anyio's ``CapacityLimiter`` does the counting."""

from __future__ import annotations

import math
from contextlib import suppress

import anyio
import attrs

from ocidist.errors import UsageError


@attrs.frozen
class HostLimits:
    """Limits that hold for every host unless its ``HostConfig`` says otherwise.

    Attributes:
        concurrency: Most requests of each kind under way at once on one host: streams of blobs, other reads, and
            writes. What is read is under way until it was read to its end or closed.
        adaptive: Whether there are fewer of them, and slower, while a host answers 429 or 503: half as many at once,
            then as many per second as it took, and slowly more as long as it does not complain.
        rate: Most requests per second to one host, all kinds together; None sets no limit. What it takes to get a
            token, or to follow a redirect to another host, is not counted.

    Raises:
        UsageError: A number is out of range.
    """

    concurrency: int = 32
    adaptive: bool = True
    rate: float | None = None

    def __attrs_post_init__(self) -> None:
        if self.concurrency < 1:
            msg = "concurrency must be at least 1"
            raise UsageError(msg)
        if self.rate is not None and not 0 < self.rate < math.inf:
            msg = "rate must be a number of requests per second, above 0"
            raise UsageError(msg)


class Slot:
    """One place among those of a limiter, to be given back exactly once."""

    __slots__ = ("_limiter",)

    def __init__(self, limiter: anyio.CapacityLimiter) -> None:
        self._limiter: anyio.CapacityLimiter | None = limiter

    def take_now(self) -> bool:
        """Take the place if it is free, and return whether it was."""
        if self._limiter is None:
            return False
        try:
            self._limiter.acquire_on_behalf_of_nowait(self)
        except anyio.WouldBlock:
            return False
        return True

    async def take(self) -> None:
        """Wait for the place."""
        # Where a place is free nothing is awaited, so nothing can be cancelled between taking and keeping it.
        if not Slot.take_now(self) and self._limiter is not None:
            await self._wait(self._limiter)

    async def _wait(self, limiter: anyio.CapacityLimiter) -> None:
        try:
            await limiter.acquire_on_behalf_of(self)
        except BaseException:
            self._limiter = None
            # A native cancellation may arrive just after the place was given.
            with suppress(RuntimeError):
                limiter.release_on_behalf_of(self)
            raise

    def release(self) -> None:
        """Give the place back; a second time does nothing."""
        limiter, self._limiter = self._limiter, None
        if limiter is not None:
            limiter.release_on_behalf_of(self)
