"""Lists that come in pages: reading one, and deciding where the next one is.

Spec: distribution-spec, "Listing Tags".
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import parse_qs

import attrs

from ocidist.errors import InvalidReferenceError, LimitExceededError, PaginationLoopError, ProtocolError, UsageError
from ocidist.model import strictjson
from ocidist.model.reference import RepositoryName, Tag, are_tags
from ocidist.wire.egress import DEFAULT_POLICY, EgressPolicy, check_link, resolve
from ocidist.wire.link import next_target
from ocidist.wire.ranges import parse_int
from ocidist.wire.redact import clean_text

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PAGE_BYTES: Final = 8 * 1024 * 1024
"""The largest page of tags or repositories that is read."""

DEFAULT_PAGE_SIZE: Final = 1000
"""Several registries answer 400 to more, instead of sending less."""

SMALLER_PAGE_SIZE: Final = 100
"""What is asked for after a registry refused the page size."""

MAX_PAGES: Final = 100_000
MAX_EMPTY_PAGES: Final = 1000
"""Registries filter pages by permission after cutting them, so that many in a row may be empty."""

MAX_REPEATED_PAGES: Final = 2
MAX_REMEMBERED: Final = 10_000
"""Pages whose URL and content are remembered, each as a number; longer loops end at the most pages."""

MAX_INVALID_CHARS: Final = 256


@attrs.frozen
class Listing:
    """What one page holds.

    Attributes:
        items: Names that follow the grammar, each once, in the registry's order.
        invalid: The others, made safe to show; never used in a URL.
        count: How many entries the page had in all.
    """

    items: tuple[str, ...]
    invalid: tuple[str, ...] = ()
    count: int = attrs.field(default=attrs.Factory(lambda self: len(self.items), takes_self=True))


def parse_page(data: bytes, key: Literal["tags", "repositories"]) -> Listing:
    """Read one page of tags or repositories.

    ``null`` and, in an object that has nothing else to say, a missing list are empty.

    Raises:
        ProtocolError: The body is not such an object, or an entry is no string.
        LimitExceededError: The body is larger than 8 MiB.

    Spec: distribution-spec, "Listing Tags".
    """
    if len(data) > MAX_PAGE_BYTES:
        what = "list page"
        raise LimitExceededError(what, MAX_PAGE_BYTES)
    body = strictjson.loads(data, what="list page")
    if not isinstance(body, dict) or (key not in body and body.keys() - {"name"}):
        raise ProtocolError(f"the list page is not an object with {key!r}")
    entries = body.get(key)
    if entries is None:
        return Listing(())
    if not isinstance(entries, list):
        raise ProtocolError(f"{key!r} in the list page is not a list")
    if set(map(type, entries)) - {str}:
        raise ProtocolError(f"{key!r} in the list page holds something that is not a string")
    unique = tuple(dict.fromkeys(entries))
    if key == "tags" and are_tags(unique):
        return Listing(unique, (), len(entries))
    kind = Tag if key == "tags" else RepositoryName
    items: list[str] = []
    invalid: dict[str, None] = {}
    for entry in unique:
        try:
            kind(entry)
        except InvalidReferenceError:
            invalid[clean_text(entry, MAX_INVALID_CHARS)] = None
        else:
            items.append(entry)
    return Listing(tuple(items), tuple(invalid), len(entries))


@attrs.frozen
class NextPage:
    """What to ask for next: a page size and position, or a URL that says it all.

    Attributes:
        n: Most entries per page, or None for the registry's own choice.
        last: Entry after which the page begins, or None for the beginning.
        url: Absolute URL from a Link header, to be used as it is; then n and last only repeat what its query says.
    """

    n: int | None = None
    last: str | None = None
    url: str | None = None


def parse_next(url: str) -> NextPage:
    """Read page size and position from the query of a next-page URL.

    Raises:
        ProtocolError: The query names neither.
    """
    try:
        query = parse_qs(url.partition("#")[0].partition("?")[2], max_num_fields=64)
    except ValueError:
        raise ProtocolError("the next page's URL has too many parameters") from None
    n = parse_int(query["n"][0]) if "n" in query else None
    last = query["last"][0] if "last" in query else None
    if n is None and last is None:
        raise ProtocolError("the next page's URL names neither 'n' nor 'last'")
    return NextPage(n, last, url)


class Pager:
    """Walks a list: it is given each page and says what to ask for next, until there is nothing left.

    Follows Link headers; without one, a full page is continued with ``last``. Items that the previous page already had,
    and pages that were there before, are dropped, so a registry that ignores ``n`` and ``last`` yields each item once.
    It keeps one page and a bounded number of hashes, nothing more.

    Attributes:
        request: What to ask for now, or None at the end. It stays until ``feed``, so a failed page can be asked again.

    Args:
        n: Most entries per page, or None for the registry's own choice.
        after: Entry after which to begin.
        max_pages: Most pages to go through.
        max_items: Most items to give out, or None for any number.
        policy: Where links may lead.

    Raises:
        UsageError: A number is not positive.
    """

    def __init__(
        self,
        *,
        n: int | None = DEFAULT_PAGE_SIZE,
        after: str | None = None,
        max_pages: int = MAX_PAGES,
        max_items: int | None = None,
        policy: EgressPolicy = DEFAULT_POLICY,
    ) -> None:
        for name, value in (("n", n), ("max_pages", max_pages), ("max_items", max_items)):
            if value is not None and value < 1:
                raise UsageError(f"{name} must be positive")
        self.request: NextPage | None = NextPage(n, after)
        self._max_pages = max_pages
        self._max_items = max_items
        self._policy = policy
        self._pages = 0
        self._items = 0
        self._idle = 0
        self._linked = False
        self._previous: tuple[str, ...] = ()
        self._urls: OrderedDict[int, None] = OrderedDict()
        self._contents: OrderedDict[int, None] = OrderedDict()

    def feed(self, page: Listing, *, links: Sequence[str] = (), url: str) -> tuple[str, ...]:
        """Take the page that ``request`` asked for and move on; return its items that are new.

        Args:
            page: What the answer's body holds.
            links: The answer's Link header, line by line.
            url: Absolute URL that was asked.

        Raises:
            PaginationLoopError: The links lead back to a page that was there, or pages bring nothing new.
            LimitExceededError: There are more pages or items than allowed.
            LinkRefusedError: A link leads to another origin.
            ProtocolError: The Link header is malformed.
            UsageError: The walk is over.
        """
        if self.request is None:
            raise UsageError("the list was read to its end")
        fresh = self._fresh(page, self.request)
        self._count(page, fresh)
        self.request = self._next(page, fresh, links, url, self.request)
        self._previous = page.items or self._previous
        return fresh

    def shrink(self) -> bool:
        """Ask for smaller pages after the registry refused the size; False if there is nothing left to try.

        A position reached by a link cannot be changed.
        """
        request = self.request
        if request is None or request.url is not None or request.n is None:
            return False
        smaller = SMALLER_PAGE_SIZE if request.n > SMALLER_PAGE_SIZE else None
        self.request = attrs.evolve(request, n=smaller)
        return True

    def _fresh(self, page: Listing, request: NextPage) -> tuple[str, ...]:
        items = page.items
        content = hash(items)
        if content in self._contents:
            return ()
        if items:
            _remember(self._contents, content)
        if request.url is None and request.last is not None:
            # A registry that ignores n ignores last too, and a place the caller named may not be among the items.
            ignored = self._pages == 0 or (request.n is not None and page.count > request.n)
            items = _after(items, request.last, by_order=ignored)
        # Of two pages of a sorted list, one ends before the other begins; in any other order, names are compared.
        if not items or not self._previous or max(self._previous) < min(items):
            return items
        previous = frozenset(self._previous)
        return items if previous.isdisjoint(items) else tuple(item for item in items if item not in previous)

    def _count(self, page: Listing, fresh: tuple[str, ...]) -> None:
        self._pages += 1
        self._items += len(fresh)
        if self._max_items is not None and self._items > self._max_items:
            raise LimitExceededError("number of list items", self._max_items)
        self._idle = 0 if fresh else self._idle + 1
        if self._idle > (MAX_REPEATED_PAGES if page.items else MAX_EMPTY_PAGES):
            raise PaginationLoopError("page after page of the list holds nothing new")

    def _next(
        self, page: Listing, fresh: tuple[str, ...], links: Sequence[str], url: str, request: NextPage
    ) -> NextPage | None:
        target = next_target(links)
        if target is not None:
            self._linked = True
            following = NextPage(request.n, None, self._unseen(url, check_link(url, target, self._policy)))
        elif self._linked or request.n is None or page.count != request.n or not fresh:
            # Fewer than asked for is the end; more means that the registry ignores n and has sent everything.
            return None
        else:
            following = NextPage(request.n, page.items[-1])
        if self._pages >= self._max_pages:
            raise LimitExceededError("number of list pages", self._max_pages)
        return following

    def _unseen(self, url: str, target: str) -> str:
        _remember(self._urls, hash(resolve(url, url)))
        if hash(target) in self._urls:
            raise PaginationLoopError("a link of the list leads back to a page that was already there")
        return target


def _remember(seen: OrderedDict[int, None], number: int) -> None:
    seen[number] = None
    while len(seen) > MAX_REMEMBERED:
        seen.popitem(last=False)


def _after(items: tuple[str, ...], last: str, *, by_order: bool) -> tuple[str, ...]:
    """Drop what a registry that ignores ``last`` sends again."""
    if last in items:
        return items[items.index(last) + 1 :]
    if not by_order or not _ordered(items):
        return items
    # Lists are in ASCII or in alphabetical order, and nobody says which: what comes first in both came before.
    return tuple(item for item in items if item > last or item.casefold() >= last.casefold())


def _ordered(items: tuple[str, ...]) -> bool:
    pairs = tuple(pairwise(items))
    return all(a <= b for a, b in pairs) or all(a.casefold() <= b.casefold() for a, b in pairs)
