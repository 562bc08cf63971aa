"""Cancelling at every place where a task may be cancelled: each time it gives control back to its event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

Work: TypeAlias = "Callable[[], Coroutine[Any, Any, object]]"


class _Counted:
    """A coroutine that counts how often it waits, and calls something when it is about to for the nth time.

    ``times`` says how often in a row that is called: at the waits that follow as well.
    """

    def __init__(
        self, work: Coroutine[Any, Any, object], nth: int, then: Callable[[], object], *, times: int = 1
    ) -> None:
        self._work = work
        self._when = range(nth, nth + times)
        self._then = then
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, object]:
        answer: Any = None
        thrown: BaseException | None = None
        while True:
            try:
                waiting = self._work.send(answer) if thrown is None else self._work.throw(thrown)
            except StopIteration as stop:
                return stop.value
            answer, thrown = None, None
            self.waits += 1
            if self.waits in self._when:
                self._then()
            try:
                answer = yield waiting
            except BaseException as error:  # noqa: BLE001 -- whatever it is, it is for the coroutine
                thrown = error


class Outcome:
    """What came of an operation that was to be cancelled.

    Attributes:
        reached: Whether it waited often enough to be cancelled.
        finished: Whether it ended as if nothing had happened.
    """

    def __init__(self, *, reached: bool, finished: bool) -> None:
        self.reached = reached
        self.finished = finished


async def cancelled_by_scope(work: Work, nth: int) -> Outcome:
    """Run an operation in a scope that is cancelled when it waits for the nth time.

    Whatever else it raises is raised here.
    """
    with anyio.CancelScope() as scope:
        counted = _Counted(work(), nth, scope.cancel)
        await counted
    return Outcome(reached=counted.waits >= nth, finished=not scope.cancelled_caught)


async def cancelled_by_asyncio(work: Work, nth: int, *, times: int = 1) -> Outcome:
    """Run an operation in a task of asyncio that is cancelled when it waits for the nth time, and perhaps again."""
    counted: list[_Counted] = []

    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None
        counted.append(_Counted(work(), nth, task.cancel, times=times))
        await counted[0]

    task = asyncio.create_task(run())
    done, _ = await asyncio.wait([task])
    assert done == {task}
    if not task.cancelled():
        task.result()
    return Outcome(reached=counted[0].waits >= nth, finished=not task.cancelled())


Cancelling: TypeAlias = "Callable[[Work, int], Awaitable[Outcome]]"

WAYS: dict[str, Cancelling] = {"by a scope": cancelled_by_scope, "by asyncio": cancelled_by_asyncio}
