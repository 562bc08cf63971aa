"""Sharing work between tasks with asyncio alone, for the contenders that know nothing else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

_T = TypeVar("_T")


async def share(work: Callable[[_T], Awaitable[object]], items: Iterable[_T], concurrency: int) -> None:
    """Do *work* for each item, in so many tasks at once."""
    left = iter(items)

    async def one() -> None:
        for item in left:
            await work(item)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(concurrency):
            tasks.create_task(one())
