"""Doing the same for many items at once, a bounded number at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")


async def each(items: Sequence[T], work: Callable[[T], Awaitable[R]], *, at_once: int) -> list[R]:
    """Return what *work* returns for each item, in the items' order.

    The first failure cancels the rest and is raised as it is, not wrapped in a group.

    Args:
        items: What to work on.
        work: Called with one item.
        at_once: Most calls under way at any moment.
    """
    results: dict[int, R] = {}
    failures: list[Exception] = []
    left = iter(range(len(items)))

    async def worker() -> None:
        for index in left:
            try:
                results[index] = await work(items[index])
            except Exception as error:  # noqa: BLE001 -- raised below, outside of the group
                failures.append(error)
                group.cancel_scope.cancel()
                return

    async with anyio.create_task_group() as group:
        for _ in range(min(at_once, len(items))):
            group.start_soon(worker)
    if failures:
        raise failures[0]
    return [results[index] for index in range(len(items))]
