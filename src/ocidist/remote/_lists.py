"""Lists of names in pages: tags and repositories.

Spec: distribution-spec, "Listing Tags".
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

import attrs

from ocidist._io.pages import Paginator
from ocidist.errors import OciError, ProtocolError, ResponseError, UsageError
from ocidist.model.mediatype import bare
from ocidist.model.result import Page
from ocidist.observe.events import NamesSkipped
from ocidist.remote._answers import off_loop, says_name_unknown, unexpected
from ocidist.remote._encoding import read_plain
from ocidist.wire.endpoints import ListRepositories, ListTags
from ocidist.wire.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_BYTES, Listing, NextPage, Pager, parse_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocidist.http.sender import Reply
    from ocidist.remote._channel import Channel

_log = logging.getLogger("ocidist.remote")
_Name = TypeVar("_Name", bound=str)
_Key = Literal["tags", "repositories"]


@attrs.frozen
class ListOf(Generic[_Name]):
    """Which list to walk, and how.

    Attributes:
        channel: Where it is.
        key: Name of the list in the answer's body.
        make: Makes an entry of its text, which was checked.
        refusal: Given what made the first page fail, returns what to raise instead.
    """

    channel: Channel
    key: _Key
    make: Callable[[str], _Name]
    refusal: Callable[[OciError], OciError] = lambda error: error


def names(listed: ListOf[_Name], *, after: str | None, page_size: int | None) -> Paginator[_Name]:
    """Return the list.

    Args:
        listed: Which list.
        after: Entry after which to begin.
        page_size: Most entries per page; None for what suits most registries.

    Raises:
        UsageError: The page size is not a positive number, or the entry no string.
    """
    if page_size is not None and (type(page_size) is not int or page_size < 1):
        raise UsageError(f"page_size must be a positive number, not {page_size!r}")
    if after is not None and not isinstance(after, str):
        raise UsageError(f"after must be a name of the list, not {type(after).__name__}")

    def begin() -> _Walk[_Name]:
        return _Walk(listed, after or None, page_size or DEFAULT_PAGE_SIZE)

    return Paginator(lambda: begin().next_page, what=listed.key, begin_items=lambda: begin().next_items)


class _Walk(Generic[_Name]):
    def __init__(self, listed: ListOf[_Name], after: str | None, page_size: int) -> None:
        self._listed = listed
        self._channel = listed.channel
        self._pager = Pager(n=page_size, after=after, policy=listed.channel.sender.egress)
        self._after: str | None = None
        self._begun = False

    async def next_page(self) -> Page[_Name] | None:
        """Return the next page, or None after the last one. A page that failed may be asked for again."""
        found = await self.next_items()
        return None if found is None else Page(tuple(found), more=self._pager.request is not None)

    async def next_items(self) -> Iterator[_Name] | None:
        """Return the entries of the next page, or None after the last one.

        Each is made when its turn comes: as many at once would be work for the garbage collector, all of them.
        """
        while (request := self._pager.request) is not None:
            try:
                fresh = await self._ask(request)
            except ResponseError as error:
                # Whatever the registry calls it: a page size is the only number in the request it can object to.
                if (error.status == 400 and self._pager.shrink()) or self._begin_earlier(error):
                    continue
                self._refuse(error)
                raise
            except OciError as error:
                self._refuse(error)
                raise
            self._begun = True
            return map(self._listed.make, fresh)
        return None

    def _refuse(self, error: OciError) -> None:
        other = error if self._begun else self._listed.refusal(error)
        if other is not error:
            raise other from None

    def _begin_earlier(self, error: ResponseError) -> bool:
        """Begin at the beginning where the registry (zot) wants an entry to exist in order to begin after it."""
        request = self._pager.request
        if self._begun or error.status != 404 or says_name_unknown(error) or request is None or request.last is None:
            return False
        self._after = request.last
        self._pager = Pager(n=request.n, policy=self._channel.sender.egress)
        return True

    async def _ask(self, request: NextPage) -> tuple[str, ...]:
        page, fresh = await self._channel.read(self._endpoint(request), self._take)
        if page.invalid:
            self._report(page.invalid)
        if self._after is not None:
            return tuple(name for name in fresh if self._is_wanted(name))
        return fresh

    async def _take(self, reply: Reply) -> tuple[Listing, tuple[str, ...]]:
        kind = reply.header("Content-Type")
        data = await read_plain(reply, MAX_PAGE_BYTES, "list page")
        page = await off_loop(len(data), lambda: self._read(data, kind))
        return page, self._pager.feed(page, links=reply.header_values("Link"), url=reply.url)

    def _is_wanted(self, name: str) -> bool:
        after = self._after
        # In ASCII or in alphabetical order: nobody says which, and dropping too much would be worse.
        return after is None or (name != after and (name > after or name.casefold() > after.casefold()))

    def _endpoint(self, request: NextPage) -> ListTags | ListRepositories:
        if self._listed.key == "tags":
            return ListTags(self._channel.repository_name, n=request.n, last=request.last, page=request.url)
        return ListRepositories(n=request.n, last=request.last, page=request.url)

    def _read(self, data: bytes, kind: str | None) -> Listing:
        try:
            return parse_page(data, self._listed.key)
        except ProtocolError:
            if bare(kind or "") == "application/json" and data.lstrip().startswith(b"{"):
                raise
            raise unexpected(f"a list of {self._listed.key}", kind, data) from None

    def _report(self, invalid: tuple[str, ...]) -> None:
        place = self._channel.name_of()
        _log.warning("%s lists %d invalid names under %r; they are skipped", place, len(invalid), self._listed.key)
        self._channel.sender.emit(NamesSkipped(self._channel.host, self._listed.key, invalid))
