"""Running on any event loop, and sharing work between tasks, with anyio."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

_T = TypeVar("_T")


def run(main: Callable[[], Awaitable[None]], loop: str) -> None:
    """Run *main* on ``asyncio``, ``uvloop`` or ``trio``."""
    if loop == "uvloop":
        anyio.run(main, backend_options={"use_uvloop": True})
    else:
        anyio.run(main, backend=loop)


async def share(work: Callable[[_T], Awaitable[object]], items: Iterable[_T], concurrency: int) -> None:
    """Do *work* for each item, in so many tasks at once."""
    left = iter(items)

    async def one(mine: Iterator[_T]) -> None:
        for item in mine:
            await work(item)

    async with anyio.create_task_group() as tasks:
        for _ in range(concurrency):
            tasks.start_soon(one, left)
