"""Searching Docker Hub, or another index with the search of version 1, and checking a login there.

Spec: Docker, "Docker Registry API v1", "Search"; "Registry & Index Spec", "Users".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import attrs

from ocidist._io.pages import Paginator
from ocidist.credentials.store import ANONYMOUS, Basic
from ocidist.engine.auth import AuthenticateOKBody
from ocidist.engine.names import OFFICIAL_NAMESPACE
from ocidist.engine.search import SearchResult, SearchResults
from ocidist.errors import NotFoundError, PaginationLoopError, ProtocolError, UnsupportedError, UsageError
from ocidist.legacy._line import MAX_SHOWN, Line, V1Endpoint
from ocidist.model.reference import DOCKER_HUB
from ocidist.model.result import Page
from ocidist.wire.redact import clean_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ocidist.client import Client
    from ocidist.credentials.store import Credential

__all__ = ["SearchResult", "SearchResults", "check_login", "find", "search"]

MAX_LIMIT: Final = 100
"""Most repositories that one search returns; Docker Hub gives no more at once."""

MAX_TERM: Final = 1024
"""Longest text that is searched for, in characters."""

MAX_RESULTS_BYTES: Final = 8 * 1024 * 1024
"""Bytes of one page of results that are read."""

MAX_PAGES: Final = 1000
"""Pages of one search that are read."""

MAX_LOGIN_BODY: Final = 64 * 1024
"""Bytes of the answer to a login that are read."""

DEFAULT_LIMIT: Final = 25

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@attrs.frozen
class Search(V1Endpoint):
    """Search for repositories.

    Attributes:
        term: What for.
        n: Most results on a page.
        page: Which page, from 1.
    """

    operation = "search"
    term: str = ""
    n: int = DEFAULT_LIMIT
    page: int = 1

    @property
    def path(self) -> str:
        """Path and query below the root."""
        return f"search?q={quote(self.term, safe='')}&n={self.n}&page={self.page}"


@attrs.frozen
class Users(V1Endpoint):
    """Ask who one is."""

    operation = "check login"

    @property
    def path(self) -> str:
        """Path below the root."""
        return "users/"


async def search(
    client: Client,
    term: str,
    *,
    limit: int = DEFAULT_LIMIT,
    index: str = DOCKER_HUB,
    credential: Credential | None = None,
) -> SearchResults:
    """Search for repositories, the first of them in one request; see ``find`` for all.

    Nothing of the client's credentials is sent: what Docker Hub finds is public.

    Args:
        client: The client.
        term: What to search for: a part of a name or of a description.
        limit: Most results, from 1 to 100.
        index: The registry, ``host[:port]``. Few others than Docker Hub offer this.
        credential: Who asks, for an index that finds more for its users.

    Raises:
        UsageError: The text is empty or too long, the limit out of range, or the credential no user name and password.
        UnsupportedError: The registry does not offer it.
        RateLimitedError: Docker Hub limits searches by address.
        LimitExceededError: The answer is larger than 8 MiB.
        ProtocolError: It is no result of a search.
        OciError: Another failure, see the error's class.
    """
    _check(term, limit, "limit")
    searched = _Searched(await Line.open(client, index), credential, term, limit)
    found = await searched.ask(1)
    return attrs.evolve(found, results=found.results[:limit])


def find(
    client: Client,
    term: str,
    *,
    page_size: int = MAX_LIMIT,
    index: str = DOCKER_HUB,
    credential: Credential | None = None,
) -> Paginator[SearchResult]:
    """Search for repositories and list all that are found, page by page. A page is asked for when it is needed.

    Args:
        client: The client.
        term: What to search for.
        page_size: Most results per request, from 1 to 100.
        index: See ``search``.
        credential: See ``search``.

    Raises:
        UsageError: See ``search``; at once.
        PaginationLoopError: While listing: the pages do not end.
        OciError: While listing: see ``search``.
    """
    _check(term, page_size, "page_size")

    def begin() -> Callable[[], Awaitable[Page[SearchResult] | None]]:
        return _Walk(client, index, credential, term, page_size).next_page

    return Paginator(begin, what="results")


async def check_login(client: Client, credential: Credential, *, index: str = DOCKER_HUB) -> AuthenticateOKBody:
    """Ask whether an index takes a user name and a password. Nothing is kept: see ``ocidist.credentials.login``.

    Args:
        client: The client.
        credential: A user name and a password.
        index: The registry, ``host[:port]``.

    Returns:
        What the Docker Engine answers to the same question.

    Raises:
        UsageError: The credential is something else.
        CredentialsRejectedError: The index refuses it.
        DeniedError: The account is not active.
        UnsupportedError: The registry has no such question.
        OciError: Another failure, see the error's class.
    """
    if not isinstance(credential, Basic):
        raise UsageError(f"a login is a user name and a password, not {type(credential).__name__}")
    line = await Line.open(client, index)
    identity = await line.identify(credential)
    try:
        async with line.exchange(Users(line.root, identity=identity)) as reply:
            await reply.read(MAX_LOGIN_BODY, "answer to a login")
    except NotFoundError as error:
        raise _without(error, "this registry does not check logins") from None
    return AuthenticateOKBody()


@attrs.frozen
class _Searched:
    line: Line
    credential: Credential | None
    term: str
    n: int

    async def ask(self, page: int) -> SearchResults:
        identity = await self.line.identify(self.credential or ANONYMOUS)
        # There, official images have short names only.
        short = self.term.removeprefix(f"{OFFICIAL_NAMESPACE}/") if self.line.registry.is_docker_hub else ""
        endpoint = Search(self.line.root, short or self.term, self.n, page, identity=identity)
        try:
            async with self.line.exchange(endpoint) as reply:
                data = await reply.read(MAX_RESULTS_BYTES, "search results")
                kind = clean_text(reply.header("Content-Type") or "no content type", MAX_SHOWN)
        except NotFoundError as error:
            raise _without(error, "this registry does not offer a search") from None
        try:
            return SearchResults.from_json(data)
        except ProtocolError as error:
            made = ProtocolError(f"{error.message}; it came as {kind}")
            raise made.locate(operation=endpoint.operation, host=str(self.line.registry)) from None


class _Walk:
    def __init__(self, client: Client, index: str, credential: Credential | None, term: str, n: int) -> None:
        self._client = client
        self._index = index
        self._credential = credential
        self._term = term
        self._n = n
        self._searched: _Searched | None = None
        self._page = 1
        self._seen: set[str] = set()
        self._ended = False

    async def next_page(self) -> Page[SearchResult] | None:
        if self._ended:
            return None
        if self._searched is None:
            self._searched = _Searched(
                await Line.open(self._client, self._index), self._credential, self._term, self._n
            )
        try:
            found = await self._searched.ask(self._page)
        except UnsupportedError:
            if self._page == 1:
                raise
            # It does offer a search: some count what they have no page for.
            self._ended = True
            return None
        # What was starred in the meantime moves from page to page.
        fresh = tuple(result for result in found.results if result.name not in self._seen)
        self._seen.update(result.name for result in fresh)
        self._ended = not found.results or len(self._seen) >= found.num_results
        if not self._ended and (not fresh or self._page >= MAX_PAGES):
            where = str(self._searched.line.registry)
            raise PaginationLoopError("the results of the search do not end").locate(operation="search", host=where)
        self._page += 1
        return Page(fresh, more=not self._ended) if fresh else None


def _check(term: str, number: int, name: str) -> None:
    if not isinstance(term, str) or not term.strip() or len(term) > MAX_TERM or _SURROGATE.search(term):
        raise UsageError(f"a search is for a text of 1 to {MAX_TERM} characters that UTF-8 can encode")
    if type(number) is not int or not 1 <= number <= MAX_LIMIT:
        raise UsageError(f"{name} is a number from 1 to {MAX_LIMIT}")


def _without(source: NotFoundError, message: str) -> UnsupportedError:
    error = UnsupportedError(source.status, method=source.method, url=source.url, errors=source.errors)
    error.message = f"{message} ({source.message})"
    return error.locate(operation=source.operation, host=source.host, attempts=source.attempts)
