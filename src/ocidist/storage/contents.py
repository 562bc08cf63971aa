"""What manifests, tags and reading blobs need of a layout: a directory and an archive have it alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeVarTuple

    from ocidist.errors import BlobUnknownError
    from ocidist.model.digest import Digest
    from ocidist.model.reference import RepositoryName
    from ocidist.storage.layout_index import Index
    from ocidist.storage.layout_known import Known

    Args = TypeVarTuple("Args")

T = TypeVar("T")


class Contents(Protocol):
    """Blobs by digest, and the index. All of it blocks."""

    @property
    def path(self) -> Path:
        """Where it is, for messages."""
        ...

    def load(self) -> Index | None:
        """Return what the index says now, or None if there is no layout."""
        ...

    def exists(self) -> bool:
        """Return whether there is a layout, whatever is in it."""
        ...

    def size(self, digest: Digest) -> int | None:
        """Return a blob's size, or None if it is not there."""
        ...

    def read(self, digest: Digest, limit: int) -> bytes | None:
        """Return a blob's bytes, and no more than one beyond a limit, or None."""
        ...

    def section(self, digest: Digest) -> tuple[int, int, int] | None:
        """Return a new descriptor of the file that has a blob, the blob's offset in there and its size, or None."""
        ...

    def remove(self, digest: Digest) -> bool:
        """Remove a blob and return whether there was one."""
        ...


class Changing(Protocol):
    """A change of a layout, while nobody else changes it."""

    @property
    def index(self) -> Index:
        """What the index says."""
        ...

    @property
    def files(self) -> Contents:
        """The layout."""
        ...

    def write(self, index: Index) -> None:
        """Write another index."""
        ...

    def store(self, digest: Digest, data: bytes) -> None:
        """Store small content."""
        ...


class Holder(Protocol):
    """One repository, as its blobs, manifests and tags share it."""

    @property
    def name(self) -> RepositoryName:
        """Its name."""
        ...

    @property
    def check_references(self) -> bool:
        """Whether a manifest is refused while content it names is missing."""
        ...

    @property
    def files(self) -> Contents:
        """What it holds."""
        ...

    @property
    def known(self) -> Known:
        """Its manifests."""
        ...

    async def read(self, work: Callable[[*Args], T], *args: *Args) -> T:
        """Do something that changes nothing, in a worker thread."""
        ...

    async def patiently(self, work: Callable[[*Args], T], *args: *Args) -> T:
        """Do something that needs a lock, as soon as nobody else has it."""
        ...

    async def change(self, work: Callable[[Changing], T]) -> T:
        """Change something, while nobody else does."""
        ...

    async def make(self) -> None:
        """Make sure that there is a layout."""
        ...

    def need(self) -> Index:
        """Return the index. Blocks; raises ``NameUnknownError`` if there is no layout."""
        ...

    def no_blob(self, digest: Digest) -> BlobUnknownError:
        """Return the error for a blob that is not there."""
        ...
