"""Running a command on an event loop, until it is done or somebody interrupts it."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
from typing import TYPE_CHECKING, Final

import anyio

from ocidist.cli.failure import SIGNAL
from ocidist.cli.people import is_terminal, put

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import NoReturn

    from anyio.abc import TaskStatus

# A terminal that is closed sends SIGHUP, where there is such a thing.
SIGNALS: Final = tuple(
    signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if name in signal.Signals.__members__
)
_SHOW_CURSOR: Final = "\x1b[?25h"


class InterruptedCommandError(Exception):
    """Raised when a signal ended a command, after what it had begun was put in order.

    Attributes:
        status: The exit status: 128 and the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.status: int = SIGNAL + number


def carry_out(work: Callable[[], Awaitable[None]]) -> None:
    """Run an asynchronous command; blocks until it is done.

    The first SIGINT, SIGTERM or SIGHUP cancels it, and what it had begun is put in order; the second one ends the
    process. Those that whoever started it has ignored (nohup, or a shell for what it runs aside) stay ignored.

    Raises:
        InterruptedCommandError: It was interrupted.
        Exception: Whatever the command raises.
    """
    uvloop = importlib.util.find_spec("uvloop") is not None
    anyio.run(_Run(work).go, backend_options={"use_uvloop": uvloop})


class _Run:
    """One command on its way."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._signal: int | None = None
        self._error: Exception | None = None

    async def go(self) -> None:
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                # Only the main thread is told of signals.
                if threading.current_thread() is threading.main_thread():
                    await group.start(self._listen, scope)
                await self._attempt()
            group.cancel_scope.cancel()
        if self._signal is not None:
            raise InterruptedCommandError(self._signal)
        if self._error is not None:
            raise self._error

    async def _attempt(self) -> None:
        try:
            await self._work()
        except Exception as error:  # noqa: BLE001 -- raised again, outside of the task group
            self._error = error

    async def _listen(
        self, scope: anyio.CancelScope, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        with anyio.open_signal_receiver(*heard) as signals:
            task_status.started()
            async for number in signals:
                if self._signal is not None:
                    _leave(number)
                self._signal = number
                scope.cancel()


def _leave(number: int) -> NoReturn:
    if is_terminal():
        put(_SHOW_CURSOR)
    os._exit(SIGNAL + number)
