"""What the local stores have in common: lists that come in pages, places in a blob, and errors like a registry's."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from anyio.lowlevel import checkpoint

from ocidist._io.pages import Paginator
from ocidist.errors import ErrorInfo, ResponseError, UsageError
from ocidist.model.result import Page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence

    from ocidist._io.pages import NextPage

DEFAULT_PAGE: Final = 1000
"""Entries per page of a list, unless the caller says otherwise."""

T = TypeVar("T")
_Error = TypeVar("_Error", bound=ResponseError)


class Snapshot(Generic[T]):
    """Iterates asynchronously over what there was when it was made."""

    def __init__(self, values: Iterable[T]) -> None:
        self._values = iter(tuple(values))

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        for value in self._values:
            return value
        raise StopAsyncIteration


class Loaded(Generic[T]):
    """Iterates asynchronously over what there is when the first one is asked for.

    Args:
        load: Returns all of it.
    """

    def __init__(self, load: Callable[[], Awaitable[Iterable[T]]]) -> None:
        self._load = load
        self._values: Iterator[T] | None = None

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        if self._values is None:
            self._values = iter(await self._load())
        for value in self._values:
            return value
        raise StopAsyncIteration


def paginated(
    take: Callable[[str | None, int], Awaitable[Sequence[T]]],
    name: Callable[[T], str],
    *,
    after: str | None,
    page_size: int | None,
    what: str,
) -> Paginator[T]:
    """Return a list that is read page by page, so that changes between two pages are seen.

    Args:
        take: Returns the entries after a name, at most so many.
        name: Returns the name of an entry.
        after: Only entries after this name.
        page_size: Most entries per page; None for ``DEFAULT_PAGE``.
        what: What the entries are, for messages.

    Raises:
        UsageError: The page size is not positive.
    """
    size = DEFAULT_PAGE if page_size is None else page_size
    if size <= 0:
        raise UsageError("a page holds at least one entry")

    def begin() -> NextPage[T]:
        last, done = after, False

        async def fetch() -> Page[T] | None:
            nonlocal last, done
            if done:
                await checkpoint()
                return None
            found = await take(last, size + 1)
            done = len(found) <= size
            items = tuple(found[:size])
            last = name(items[-1]) if items else last
            return Page(items, more=not done)

        return fetch

    return Paginator(begin, what=what)


def sought(offset: int, whence: int, *, at: int, size: int) -> int:
    """Return the place in a blob that ``seek`` was asked for.

    Raises:
        UsageError: It is outside the blob.
    """
    base = {io.SEEK_SET: 0, io.SEEK_CUR: at, io.SEEK_END: size}
    if whence not in base:
        raise UsageError("whence is 0, 1 or 2")
    target = base[whence] + offset
    if not 0 <= target <= size:
        raise UsageError(f"offset {target} is outside the blob's {size} bytes")
    return target


def refusal(kind: type[_Error], status: int, message: str, detail: str = "") -> _Error:
    """Return the error a registry would answer with."""
    error = kind(status, errors=[ErrorInfo(kind.code or "UNKNOWN", message, detail)])
    error.message = message
    return error


def at_once(take: Callable[[str | None, int], Sequence[T]]) -> Callable[[str | None, int], Awaitable[Sequence[T]]]:
    """Return what takes entries out of memory as something to be awaited."""

    async def taken(last: str | None, limit: int) -> Sequence[T]:
        await checkpoint()
        return take(last, limit)

    return taken
