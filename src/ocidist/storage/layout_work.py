"""How a layout's blocking work is done in worker threads, whatever kind of cancellation comes."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from ocidist.storage.layout_disk import told

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import TypeVar, TypeVarTuple

    T = TypeVar("T")
    Args = TypeVarTuple("Args")

STEP_S: Final = 0.1
"""Seconds for which long work keeps its thread before anybody looks whether it was cancelled."""


async def run(what: str, work: Callable[[*Args], T], *args: *Args) -> T:
    """Do blocking work in a worker thread.

    Args:
        what: What it is, for messages: ``read ...``.
        work: The work.
        args: Its arguments.

    Raises:
        StorageError: The operating system refused something.
    """
    with told(what):
        return await anyio.to_thread.run_sync(work, *args)


async def in_steps(what: str, work: Generator[None, None, T]) -> T:
    """Do long work in worker threads, a step after the other; between two steps it can be cancelled.

    Args:
        what: What it is, for messages.
        work: Yields whenever it could stop, and returns the result. It is closed in any case.

    Raises:
        StorageError: The operating system refused something.
    """
    turn = threading.Lock()  # a step may still run after asyncio's own cancellation
    done: list[T] = []

    def step() -> bool:
        until = time.monotonic() + STEP_S
        with turn:
            while time.monotonic() < until:
                try:
                    next(work)
                except StopIteration as end:
                    done.append(end.value)
                    return False
        return True

    def close() -> None:
        with turn:
            work.close()

    try:
        while await run(what, step):
            pass
    finally:
        if not done:
            await settle(close)
    return done[0]


async def settle(work: Callable[[], None]) -> None:
    """Do blocking work that has to be done whatever happens, and that may be done twice."""
    with anyio.CancelScope(shield=True):
        try:
            await anyio.to_thread.run_sync(work)
        except BaseException:
            # asyncio's own cancellation does not mind the shield, and may come before the thread has begun.
            threading.Thread(target=work, name="ocidist: tidy a layout").start()
            raise
