from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from ocidist import Page, Paginator, UsageError

Fetch = Callable[[], Awaitable["Page[int] | None"]]


def numbers(count: int, *, per_page: int = 3) -> tuple[Paginator[int], list[int]]:
    """Return a list of numbers in pages that take a while, and where the pages that were fetched began."""
    fetched: list[int] = []

    def begin() -> Fetch:
        place = 0

        async def fetch() -> Page[int] | None:
            nonlocal place
            start = place
            await anyio.lowlevel.checkpoint()
            if start >= count:
                return None
            place = start + per_page
            fetched.append(start)
            return Page(tuple(range(start, min(place, count))), more=place < count)

        return fetch

    return Paginator(begin, what="numbers"), fetched


async def test_tasks_that_share_an_iterator_get_each_entry_once() -> None:
    paginator, fetched = numbers(20)
    shared = aiter(paginator)
    found: list[int] = []

    async def work() -> None:
        async for number in shared:
            found.append(number)
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(work)
    assert sorted(found) == list(range(20))
    assert fetched == list(range(0, 20, 3))


async def test_tasks_that_share_an_iterator_of_pages_get_each_page_once() -> None:
    paginator, fetched = numbers(20)
    shared = paginator.pages()
    found: list[int] = []

    async def work() -> None:
        async for page in shared:
            found.extend(page.items)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(work)
    assert sorted(found) == list(range(20))
    assert len(fetched) == 7


async def test_an_entry_that_was_not_waited_for_comes_next() -> None:
    paginator, _ = numbers(5)
    iterator = aiter(paginator)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await anext(iterator)
    assert [number async for number in iterator] == list(range(5))


async def test_each_iteration_begins_again_and_a_broken_one_leaves_nothing() -> None:
    paginator, fetched = numbers(5)
    async for number in paginator:
        assert number == 0
        break
    assert await paginator.collect() == list(range(5))
    assert fetched == [0, 0, 3]


async def test_a_limit_fetches_no_more_than_it_needs() -> None:
    paginator, fetched = numbers(10)
    assert await paginator.collect(limit=0) == []
    assert fetched == []
    assert await paginator.collect(limit=4) == [0, 1, 2, 3]
    assert fetched == [0, 3]
    with pytest.raises(UsageError, match="negative"):
        await paginator.collect(limit=-1)


def test_what_people_try_instead_says_what_to_do() -> None:
    paginator, _ = numbers(1)
    with pytest.raises(TypeError, match="async for"):
        list(paginator)
    with pytest.raises(TypeError, match="collect"):
        paginator.__await__()
    assert repr(paginator) == "<Paginator of numbers>"
