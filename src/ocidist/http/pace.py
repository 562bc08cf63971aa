"""Requests at a steady rate, first come, first served.

Written here because ``aiolimiter``, the usual choice, is for asyncio only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from ocidist.http.retry import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

SLACK: Final = 0.05
"""Seconds by which a pace that was kept too slowly is made up for: timers are late, and programs busy."""


async def sleep_until(due: Callable[[], float]) -> None:
    """Sleep until a moment that may be put off meanwhile.

    Args:
        due: Returns the moment, by ``monotonic()``.
    """
    while (left := due() - monotonic()) > 0:  # noqa: ASYNC110 -- it sleeps for as long as there is to wait
        await anyio.sleep(left)


class Pace:
    """A rate at which requests begin.

    Args:
        rate: Requests per second.

    Attributes:
        rate: See above; may be changed at any time.
    """

    def __init__(self, rate: float) -> None:
        self.rate: float = rate
        self._next = 0.0
        self._turn = anyio.Lock(fast_acquire=True)

    def go_now(self) -> bool:
        """Begin a request if it is time, and return whether it was."""
        if self._turn.locked() or self._next > monotonic():
            return False
        self._advance()
        return True

    async def go(self) -> None:
        """Wait until another request may begin."""
        # Who gives up waiting leaves nothing behind that others would wait for.
        async with self._turn:
            await sleep_until(lambda: self._next)
            self._advance()

    def _advance(self) -> None:
        self._next = max(self._next, monotonic() - SLACK) + 1.0 / self.rate
