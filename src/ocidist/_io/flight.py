"""Single flight: callers who want the same thing at the same time share one attempt to get it.

No task is started: the first caller does the work itself. When it is cancelled, the next waiter takes over; when it
fails, those who waited get the same failure, and the next caller tries afresh.
"""

from __future__ import annotations

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
    """Shares one run of a coroutine among all callers that name the same key while it runs."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[T]] = {}

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
        return await self._lead(key, work)

    async def _lead(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        flight = self._flights[key] = _Flight[T]()
        try:
            flight.result = await work()
            flight.landed = True
        except Exception as error:
            flight.error = error
            raise
        finally:
            del self._flights[key]
            flight.done.set()
        return flight.result


def _again(error: Exception) -> Exception:
    # Each waiter raises its own copy: one exception raised in many tasks would collect all their tracebacks.
    try:
        fresh = copy(error)
    except Exception:  # noqa: BLE001 -- an exception that cannot be copied is shared as it is
        return error
    fresh.__cause__ = error.__cause__
    return fresh
