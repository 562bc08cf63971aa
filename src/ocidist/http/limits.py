"""How many requests to one host may be under way at once.

anyio's ``CapacityLimiter`` does the counting. Streams of blobs, other reads and writes have slots of their own, so
that a task that pipes a download into an upload of the same host does not wait for itself, whatever it has to ask
meanwhile; token requests need no slot at all.
"""

from __future__ import annotations

import enum
from contextlib import suppress

import anyio
import attrs

from ocidist.errors import UsageError


class Kind(enum.Enum):
    """What a request does, as far as limits are concerned."""

    STREAM = "stream"
    READ = "read"
    WRITE = "write"


@attrs.frozen
class HostLimits:
    """Limits that hold for every host unless its ``HostConfig`` says otherwise.

    Attributes:
        concurrency: Most requests of each kind under way at once on one host: streams of blobs, other reads, and
            writes. What is read is under way until it was read to its end or closed.

    Raises:
        UsageError: The number is below 1.
    """

    concurrency: int = 32

    def __attrs_post_init__(self) -> None:
        if self.concurrency < 1:
            msg = "concurrency must be at least 1"
            raise UsageError(msg)


class Slot:
    """One place at a host, to be given back exactly once."""

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
        if not self.take_now() and self._limiter is not None:
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


class Slots:
    """The places of every host a client talks to.

    Args:
        limits: The limits for hosts without their own.
    """

    def __init__(self, limits: HostLimits) -> None:
        self._default = limits.concurrency
        self._limiters: dict[tuple[str, Kind], anyio.CapacityLimiter] = {}

    def at(self, host: str, kind: Kind, *, concurrency: int | None) -> Slot:
        """Return a place at *host*, which is still to be taken."""
        key = (host, kind)
        limiter = self._limiters.get(key)
        if limiter is None:
            limiter = self._limiters[key] = anyio.CapacityLimiter(concurrency or self._default)
        return Slot(limiter)
