"""Work on a file in worker threads, one call at a time, and closing it when nobody is at it any more."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVarTuple

    _Args = TypeVarTuple("_Args")


class Turns:
    """Lets worker threads have a file in turn.

    asyncio's own cancellation leaves a worker thread running, which then has to close the file itself.

    Args:
        close: Closes the file if it is open; called by whoever has the last turn.
    """

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close
        self._turn = threading.Lock()
        self._gone = False

    async def run(self, work: Callable[[*_Args], None], *args: *_Args) -> None:
        """Do some work in a worker thread. Raises what it raises."""
        await anyio.to_thread.run_sync(self._take_turn, work, *args)

    def let_go(self) -> None:
        """Close the file, now or after the work that is under way."""
        self._gone = True
        self._close_if_gone()

    def _take_turn(self, work: Callable[[*_Args], None], *args: *_Args) -> None:
        try:
            with self._turn:
                work(*args)
        finally:
            self._close_if_gone()

    def _close_if_gone(self) -> None:
        # Whoever has the turn comes here after it.
        if self._gone and self._turn.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._turn.release()
