"""What a memory store knows: repositories with their links, tags and referrers, and the uploads under way."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import attrs
from anyio.lowlevel import checkpoint

from ocidist._io.pages import Paginator
from ocidist.errors import BlobUnknownError, ErrorInfo, NameUnknownError, ResponseError, UsageError
from ocidist.model.result import Page
from ocidist.storage.memory_pool import Budget, Pieces, Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from ocidist._io.pages import NextPage
    from ocidist.model.descriptor import Descriptor
    from ocidist.model.digest import Digest, Hasher
    from ocidist.model.manifest import Manifest
    from ocidist.model.reference import RepositoryName, Tag

DEFAULT_PAGE: Final = 1000
"""Entries per page of a list, unless the caller says otherwise."""

T = TypeVar("T")
_Name = TypeVar("_Name", bound=str)
_Error = TypeVar("_Error", bound=ResponseError)


class Names(Generic[_Name]):
    """Names in the order of their characters' codes, which for tags and repositories is ASCII order.

    Spec: distribution-spec, "Listing Tags".
    """

    def __init__(self) -> None:
        self._sorted: list[_Name] = []

    def add(self, name: _Name) -> None:
        """Insert a name that is not there yet."""
        insort(self._sorted, name)

    def discard(self, name: _Name) -> None:
        """Remove a name that is there."""
        del self._sorted[bisect_left(self._sorted, name)]

    def after(self, last: str | None, limit: int) -> list[_Name]:
        """Return at most *limit* names, those after *last* only."""
        start = 0 if last is None else bisect_right(self._sorted, last)
        return self._sorted[start : start + limit]


@attrs.define(eq=False)
class Content:
    """One repository.

    Attributes:
        blobs: The blobs it links.
        manifests: Its manifests by digest.
        tags: What each tag names.
        tag_order: The tags in order.
        referrers: By subject, the manifests that refer to it.
    """

    blobs: set[Digest] = attrs.field(factory=set)
    manifests: dict[Digest, Manifest] = attrs.field(factory=dict)
    tags: dict[Tag, Digest] = attrs.field(factory=dict)
    tag_order: Names[Tag] = attrs.field(factory=Names)
    referrers: dict[Digest, dict[Digest, Descriptor]] = attrs.field(factory=dict)


@attrs.define(eq=False)
class Upload:
    """Bytes on their way to becoming a blob.

    Attributes:
        id: Identifier that nobody can guess.
        repository: Repository they are for.
        chunk_size: Bytes per chunk, as the writer was asked for.
        started_at: When it began, in seconds since the epoch.
        hasher: Saw every byte so far.
        pieces: The bytes so far.
    """

    id: str
    repository: RepositoryName
    chunk_size: int
    started_at: float
    hasher: Hasher
    pieces: Pieces = attrs.field(factory=Pieces)


class State:
    """Everything in a memory store. Nothing here awaits, so each call is one step for all tasks of an event loop.

    Args:
        max_bytes: Most bytes of blobs, manifests and unfinished uploads together, or None.
        check_references: Whether a manifest is refused while content it names is missing.
    """

    def __init__(self, *, max_bytes: int | None, check_references: bool) -> None:
        self.budget: Budget = Budget(max_bytes)
        self.pool: Pool = Pool(self.budget)
        self.check_references = check_references
        self.order: Names[RepositoryName] = Names()
        self.uploads: dict[str, Upload] = {}
        self._contents: dict[RepositoryName, Content] = {}

    def find(self, name: RepositoryName) -> Content | None:
        """Return a repository, or None if nothing was ever stored in it."""
        return self._contents.get(name)

    def need(self, name: RepositoryName) -> Content:
        """Return a repository.

        Raises:
            NameUnknownError: Nothing was ever stored in it.
        """
        found = self._contents.get(name)
        if found is None:
            raise refusal(NameUnknownError, 404, f"there is no repository {name}")
        return found

    def open(self, name: RepositoryName) -> Content:
        """Return a repository to store something in; it begins to exist here."""
        found = self._contents.get(name)
        if found is None:
            found = self._contents[name] = Content()
            self.order.add(name)
        return found

    def remove(self, name: RepositoryName) -> None:
        """Forget a repository, what only it holds, and its unfinished uploads.

        Raises:
            NameUnknownError: Nothing was ever stored in it.
        """
        gone = self.need(name)
        del self._contents[name]
        self.order.discard(name)
        for digest in gone.blobs:
            self.pool.unlink(digest)
        self.budget.give(sum(manifest.size for manifest in gone.manifests.values()))
        for upload in [upload for upload in self.uploads.values() if upload.repository == name]:
            self.drop(upload)

    def blob(self, name: RepositoryName, digest: Digest) -> Pieces:
        """Return a blob of a repository.

        Raises:
            BlobUnknownError: The repository does not link it, whoever else does.
        """
        found = self._contents.get(name)
        if found is None or digest not in found.blobs:
            raise refusal(BlobUnknownError, 404, f"there is no blob {digest} in {name}", digest)
        return self.pool[digest]

    def link(self, name: RepositoryName, digest: Digest) -> None:
        """Let a repository have a blob of the pool."""
        content = self.open(name)
        if digest not in content.blobs:
            content.blobs.add(digest)
            self.pool.link(digest)

    def has(self, name: RepositoryName, digest: Digest) -> bool:
        """Return whether a repository has a blob."""
        found = self._contents.get(name)
        return found is not None and digest in found.blobs

    def drop(self, upload: Upload) -> None:
        """Forget an upload with its bytes; does nothing the second time."""
        if self.uploads.pop(upload.id, None) is not None:
            self.budget.give(upload.pieces.size)

    def finish(self, upload: Upload, digest: Digest) -> None:
        """Make an upload's bytes a blob of its repository."""
        del self.uploads[upload.id]
        self.pool.add(digest, upload.pieces)
        self.link(upload.repository, digest)


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


def paginated(
    take: Callable[[str | None, int], Sequence[T]],
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
            await checkpoint()
            if done:
                return None
            found = take(last, size + 1)
            done = len(found) <= size
            items = tuple(found[:size])
            last = name(items[-1]) if items else last
            return Page(items, more=not done)

        return fetch

    return Paginator(begin, what=what)


def refusal(kind: type[_Error], status: int, message: str, detail: str = "") -> _Error:
    """Return the error a registry would answer with."""
    error = kind(status, errors=[ErrorInfo(kind.code or "UNKNOWN", message, detail)])
    error.message = message
    return error
