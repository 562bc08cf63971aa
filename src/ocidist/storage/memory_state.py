"""What a memory store knows: repositories with their links, tags and referrers, and the uploads under way."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from ocidist.errors import BlobUnknownError, NameUnknownError
from ocidist.storage.answers import refusal
from ocidist.storage.memory_pool import Budget, Pieces, Pool

if TYPE_CHECKING:
    from ocidist.model.descriptor import Descriptor
    from ocidist.model.digest import Digest, Hasher
    from ocidist.model.manifest import Manifest
    from ocidist.model.reference import RepositoryName, Tag

_Name = TypeVar("_Name", bound=str)


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
