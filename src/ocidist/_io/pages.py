"""Lists that come in pages: iterate over entries, over pages, or collect them.

Iterators here are objects and not async generators: one that is abandoned half-way has nothing to clean up, so breaking
out of a loop is safe on every event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar

import anyio

from ocidist.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterable, Iterator

    from ocidist.model.result import Page

T = TypeVar("T")

NextPage = Callable[[], Awaitable["Page[T] | None"]]
"""Fetches the next page; None after the last one."""

NextItems = Callable[[], Awaitable["Iterable[T] | None"]]
"""Fetches the entries of the next page, each of which may be made when its turn comes; None after the last page."""


class _Pages(Generic[T]):
    def __init__(self, fetch: NextPage[T]) -> None:
        self._fetch = fetch
        self._turn = anyio.Lock()

    def __aiter__(self) -> AsyncIterator[Page[T]]:
        return self

    async def __anext__(self) -> Page[T]:
        async with self._turn:
            page = await self._fetch()
        if page is None:
            raise StopAsyncIteration
        return page


class _Items(Generic[T]):
    def __init__(self, fetch: NextItems[T]) -> None:
        self._fetch = fetch
        self._turn = anyio.Lock()
        self._ready: Iterator[T] = iter(())

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        while True:
            ready = self._ready
            for item in ready:
                return item
            await self._more(ready)

    async def _more(self, read: Iterator[T]) -> None:
        async with self._turn:
            if self._ready is not read:
                return  # another task that shares this iterator has just fetched a page
            items = await self._fetch()
            if items is None:
                raise StopAsyncIteration
            self._ready = iter(items)


def _items_of(fetch: NextPage[T]) -> NextItems[T]:
    async def next_items() -> Iterable[T] | None:
        page = await fetch()
        return None if page is None else page.items

    return next_items


class Paginator(Generic[T]):
    """A lazy list: a page is fetched when its first entry is asked for, and no connection is held in between.

    Iterate with ``async for``; each iteration begins again at the first page. Breaking out early is safe, and so is
    sharing one iterator among tasks: each entry goes to one of them.
    """

    def __init__(
        self, begin: Callable[[], NextPage[T]], *, what: str, begin_items: Callable[[], NextItems[T]] | None = None
    ) -> None:
        self._begin = begin
        self._what = what
        self._begin_items = begin_items or (lambda: _items_of(begin()))

    def __aiter__(self) -> AsyncIterator[T]:
        """Iterate over the entries."""
        return _Items(self._begin_items())

    def pages(self) -> AsyncIterator[Page[T]]:
        """Iterate over the pages."""
        return _Pages(self._begin())

    async def collect(self, *, limit: int | None = None) -> list[T]:
        """Return the entries as a list, the first *limit* of them if given; stops fetching when it has them.

        Raises:
            UsageError: The limit is negative.
        """
        if limit is not None and limit < 0:
            raise UsageError("a limit is not negative")
        found: list[T] = []
        if limit == 0:
            return found
        async for page in self.pages():
            found.extend(page.items)
            if limit is not None and len(found) >= limit:
                return found[:limit]
        return found

    def __iter__(self) -> NoReturn:
        msg = f"{self._what} come page by page: use 'async for', .pages() or 'await ....collect()'"
        raise TypeError(msg)

    def __await__(self) -> Generator[NoReturn, None, NoReturn]:
        msg = f"{self._what} are a list to iterate over: use 'async for', .pages() or 'await ....collect()'"
        raise TypeError(msg)

    def __repr__(self) -> str:
        return f"<Paginator of {self._what}>"
