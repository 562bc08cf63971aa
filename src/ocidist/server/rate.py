"""How often somebody may ask: a hook, and one use of it against guessing passwords."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from ocidist.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_CALLERS: Final = 10_000
"""Addresses that are remembered; those that failed longest ago are forgotten first."""


@attrs.frozen
class Caller:
    """Who asks, as far as that is known before anything was checked.

    Attributes:
        client: Address of the client, as the server that runs the application says it; empty if it does not.
        method: HTTP method.
        path: Path below the application's own.
        has_login: Whether the request says who it comes from: it has an Authorization header.
    """

    client: str
    method: str
    path: str
    has_login: bool


class RateLimit(Protocol):
    """Decides whether a request has to wait; asked before anything else is done with it."""

    async def wait(self, caller: Caller, /) -> float | None:
        """Return the seconds to wait before the request may come again (429), or None to let it pass."""
        ...

    def answered(self, caller: Caller, status: int, /) -> None:
        """Hear how a request was answered that was let pass."""
        ...


class FailedLogins:
    """Lets an address wait after too many passwords or tokens that were refused. It keeps its counts in memory.

    Behind a proxy, the server that runs the application has to know the clients' addresses: otherwise all of them count
    as one.

    Args:
        most: Refusals that are forgiven.
        within: Seconds after which one is forgotten.
        clock: Seconds from any moment on.

    Raises:
        UsageError: A number is not positive.
    """

    def __init__(self, most: int = 20, within: float = 60, *, clock: Callable[[], float] = time.monotonic) -> None:
        if most <= 0 or within <= 0:
            raise UsageError("how often and how long are positive numbers")
        self._most = most
        self._within = within
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    async def wait(self, caller: Caller) -> float | None:
        """Return the seconds to wait, or None."""
        failures = self._failures.get(_network(caller.client))
        if not caller.has_login or failures is None:
            return None
        now = self._clock()
        while failures and failures[0] + self._within <= now:
            failures.popleft()
        return failures[0] + self._within - now if len(failures) >= self._most else None

    def answered(self, caller: Caller, status: int) -> None:
        """Count what was refused."""
        if status != 401 or not caller.has_login:
            return
        key = _network(caller.client)
        self._failures.setdefault(key, deque(maxlen=self._most)).append(self._clock())
        self._failures.move_to_end(key)
        if len(self._failures) > MAX_CALLERS:
            self._failures.popitem(last=False)


def _network(client: str) -> str:
    # Who has one IPv6 address has the 2^64 beside it.
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    return client if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))
