"""Single flight: callers who want the same thing at the same time share one attempt to get it.

No task is started: the first caller does the work itself. When it is cancelled, the next waiter takes over; when it
fails, those who waited get the same failure, and the next caller tries afresh.
"""

from __future__ import annotations

import time
from copy import copy
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

T = TypeVar("T")


class _Flight(Generic[T]):
    def __init__(self) -> None:
        self.done = anyio.Event()
        self.result: T | None = None
        self.error: Exception | None = None
        self.landed = False


class SingleFlight(Generic[T]):
    """Shares one run of a coroutine among all callers that name the same key while it runs.

    Args:
        keep_failures: Seconds for which a failure is also given to callers who come too late to have waited for it,
            as those do who had to wait for a place first.
    """

    def __init__(self, *, keep_failures: float = 0.0) -> None:
        self._keep = keep_failures
        self._flights: dict[Hashable, _Flight[T]] = {}
        self._failures: dict[Hashable, tuple[float, Exception]] = {}

    async def do(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Return what *work* returns for *key*, running it only if nobody else is doing so.

        Cancelling a caller never fails the others: if it was the one at work, another one starts over.

        Raises:
            Exception: Whatever *work* raised, to every caller who waited for it.
        """
        while (flight := self._flights.get(key)) is not None:
            await flight.done.wait()
            if flight.error is not None:
                raise _again(flight.error)
            if flight.landed:
                return flight.result  # type: ignore[return-value]  # landed says that the result is set
            # The leader was cancelled: whoever wakes first takes its place.
        until, error = self._failures.get(key, (0.0, None))
        if error is not None and time.monotonic() < until:
            raise _again(error)
        return await self._lead(key, work)

    async def _lead(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        flight = self._flights[key] = _Flight[T]()
        try:
            flight.result = await work()
            flight.landed = True
        except Exception as error:
            flight.error = error
            self._remember(key, error)
            raise
        finally:
            del self._flights[key]
            flight.done.set()
        return flight.result

    def _remember(self, key: Hashable, error: Exception) -> None:
        if not self._keep:
            return
        now = time.monotonic()
        self._failures = {known: kept for known, kept in self._failures.items() if now < kept[0]}
        self._failures[key] = (now + self._keep, _again(error))


def _again(error: Exception) -> Exception:
    # Each waiter raises its own copy: one exception raised in many tasks would collect all their tracebacks.
    try:
        fresh = copy(error)
    except Exception:  # noqa: BLE001 -- an exception that cannot be copied is shared as it is
        return error
    fresh.__cause__ = error.__cause__
    return fresh
