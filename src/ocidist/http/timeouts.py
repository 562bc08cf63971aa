"""How long each phase of a request may stay silent."""

from __future__ import annotations

import attrs
import httpx

from ocidist.errors import UsageError


@attrs.frozen
class Timeouts:
    """Idle timeouts in seconds, one for each phase; None waits for ever.

    They bound silence, not the whole operation: for a deadline put ``anyio.fail_after`` around it.

    Attributes:
        connect: Opening a connection, TLS included.
        read: Waiting for the next bytes of an answer.
        write: Waiting until the next bytes can be sent.
        pool: Waiting for a connection of the pool.
        finalize: Waiting for the answer that closes an upload or stores a manifest, while the registry hashes and
            moves what it received.
        floor: Not seconds but bytes per second: what a message that has begun must make over 30 seconds of waiting.
            Whoever sends or takes a byte now and then is within the idle timeouts for ever. Proxies and HTTP/2 are
            not held to it.

    Raises:
        UsageError: A value is not positive.
    """

    connect: float | None = 10.0
    read: float | None = 60.0
    write: float | None = 60.0
    pool: float | None = None
    finalize: float | None = 600.0
    floor: float | None = 1024.0

    def __attrs_post_init__(self) -> None:
        if any(value is not None and value <= 0 for value in attrs.astuple(self)):
            msg = "timeouts must be above 0; None waits for ever"
            raise UsageError(msg)

    def extension(self, *, final: bool = False) -> dict[str, float | None]:
        """Return the timeouts as httpx passes them to a transport."""
        read = self.finalize if final else self.read
        return {
            "connect": self.connect,
            "read": read,
            "write": self.write,
            "pool": self.pool,
            "floor": self.floor,
        }

    def as_httpx(self) -> httpx.Timeout:
        """Return the timeouts for httpx's own requests."""
        return httpx.Timeout(connect=self.connect, read=self.read, write=self.write, pool=self.pool)

    @classmethod
    def of(cls, value: Timeouts | httpx.Timeout | float | None) -> Timeouts:
        """Read what httpx takes as ``timeout=``; a number is the time for every phase but ``finalize``."""
        match value:
            case Timeouts():
                return value
            case httpx.Timeout():
                return cls(connect=value.connect, read=value.read, write=value.write, pool=value.pool)
            case None:
                return cls(connect=None, read=None, write=None, pool=None, finalize=None, floor=None)
            case seconds:
                return cls(connect=seconds, read=seconds, write=seconds, pool=seconds)
