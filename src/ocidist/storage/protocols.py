"""The roles a store can play.

A remote repository, an image layout on disk and memory implement these protocols, so that copying, mirroring and
serving are written once. Every method that names content raises the same errors whatever is behind it:
``BlobUnknownError``, ``ManifestUnknownError`` and the other ``ResponseError`` classes, ``IntegrityError`` for altered
bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ocidist.model.result import OnExit

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from ocidist._io.body import Source
    from ocidist._io.pages import Paginator
    from ocidist.model.descriptor import Descriptor
    from ocidist.model.digest import Digest
    from ocidist.model.manifest import Manifest
    from ocidist.model.reference import RepositoryName, Tag
    from ocidist.model.result import Mounted, PushResult
    from ocidist.wire.upload_state import UploadStarted, UploadState


class Describable(Protocol):
    """Anything that has a descriptor."""

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor."""
        ...


class BlobReader(Protocol):
    """A blob's bytes as a stream. They are proven only once the last one was read."""

    @property
    def descriptor(self) -> Descriptor:
        """The whole blob."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the bytes from the current position."""
        ...

    async def read(self, size: int = -1) -> bytes:
        """Read up to *size* bytes, all that are left when negative, ``b""`` at the end."""
        ...

    async def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a byte offset and return it."""
        ...

    def tell(self) -> int:
        """Return the current byte offset."""
        ...


class BlobWriter(Protocol):
    """A blob being written. ``async with`` opens it; leaving without ``commit()`` follows ``on_exit``."""

    @property
    def size(self) -> int:
        """Bytes accepted by ``write()`` so far."""
        ...

    @property
    def chunk_size(self) -> int:
        """Bytes per chunk."""
        ...

    @property
    def state(self) -> UploadState:
        """What another process needs to go on."""
        ...

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append bytes and return how many were taken (all of them)."""
        ...

    async def write_from(self, source: AsyncIterable[bytes]) -> int:
        """Append everything a stream yields and return the number of bytes."""
        ...

    async def flush(self) -> None:
        """Send what is buffered."""
        ...

    async def commit(self, expected: Digest | Descriptor | None = None) -> Descriptor:
        """Finish the blob and return its descriptor.

        Raises:
            DigestMismatchError: The bytes written do not have the expected digest; nothing is stored.
            SizeMismatchError: Their number is another than the expected descriptor's.
        """
        ...

    async def cancel(self) -> None:
        """End the session and forget what was written; does nothing after ``commit()`` or a second time."""
        ...


class BlobStatter(Protocol):
    """Tells whether a blob exists and how large it is."""

    async def stat(self, digest: Digest | str) -> Descriptor:
        """Return the blob's descriptor. Raises BlobUnknownError."""
        ...

    async def exists(self, digest: Digest | str) -> bool:
        """Return whether the blob exists; failures other than "not found" raise."""
        ...


class BlobProvider(Protocol):
    """Reads blobs."""

    async def get(self, digest: Digest | Descriptor | str, *, max_size: int = ...) -> bytes:
        """Return a small blob's verified bytes. Raises LimitExceededError above *max_size* bytes."""
        ...

    def open(
        self, digest: Digest | Descriptor | str, *, offset: int = 0, length: int | None = None
    ) -> AbstractAsyncContextManager[BlobReader]:
        """Open a blob, or *length* bytes of it from *offset*, as a stream."""
        ...


class BlobIngester(Protocol):
    """Takes blobs."""

    async def push(
        self, source: Source, descriptor: Descriptor | None = None, *, mount_from: Sequence[str] = ()
    ) -> Descriptor:
        """Store a blob and return its descriptor."""
        ...

    def writer(
        self, *, chunk_size: int | None = None, algorithm: str = "sha256", on_exit: OnExit = OnExit.KEEP
    ) -> AbstractAsyncContextManager[BlobWriter]:
        """Begin a blob whose bytes come piece by piece."""
        ...

    def resume(
        self, state: UploadState, *, source: Source | None = None, on_exit: OnExit = OnExit.KEEP
    ) -> AbstractAsyncContextManager[BlobWriter]:
        """Go on with a blob that another writer began."""
        ...

    async def mount(self, digest: Digest | str, *, source: str | None) -> Mounted | UploadStarted:
        """Link a blob from another repository of the same registry."""
        ...


class BlobDeleter(Protocol):
    """Deletes blobs."""

    async def delete(self, digest: Digest | str) -> None:
        """Delete a blob. Raises BlobUnknownError, UnsupportedError."""
        ...


class BlobEnumerator(Protocol):
    """Lists blobs."""

    def digests(self) -> AsyncIterator[Digest]:
        """Iterate over the digests of all blobs."""
        ...


class BlobStore(BlobStatter, BlobProvider, BlobIngester, BlobDeleter, Protocol):
    """The blobs of a repository."""


class ManifestStore(Protocol):
    """The manifests of a repository."""

    async def stat(self, reference: Tag | Digest | str) -> Descriptor:
        """Return a manifest's descriptor. Raises ManifestUnknownError."""
        ...

    async def exists(self, reference: Tag | Digest | str) -> bool:
        """Return whether the manifest exists; failures other than "not found" raise."""
        ...

    async def get(self, reference: Tag | Digest | str, *, if_none_match: Digest | None = None) -> Manifest:
        """Return a manifest's verified bytes. Raises ManifestUnknownError, NotModifiedError, DigestMismatchError."""
        ...

    async def push(
        self, manifest: Manifest | bytes, *, tags: Sequence[Tag | str] = (), media_type: str | None = None
    ) -> PushResult:
        """Store a manifest under its digest and under each tag."""
        ...

    async def delete(self, digest: Digest | str) -> None:
        """Delete a manifest by digest, with every tag that names it. Raises ManifestUnknownError."""
        ...


class ManifestEnumerator(Protocol):
    """Lists manifests."""

    def digests(self) -> AsyncIterator[Digest]:
        """Iterate over the digests of all manifests, tagged or not."""
        ...


class TagStore(Protocol):
    """The tags of a repository."""

    async def stat(self, tag: Tag | str) -> Descriptor:
        """Return what a tag names. Raises TagUnknownError."""
        ...

    async def set(self, tag: Tag | str, target: Descriptor | Digest | str) -> Descriptor:
        """Let a tag name a manifest of this repository and return the manifest's descriptor."""
        ...

    async def delete(self, tag: Tag | str) -> None:
        """Delete a tag and nothing else. Raises TagUnknownError, UnsupportedError."""
        ...

    def list(self, *, after: str | None = None, page_size: int | None = None) -> Paginator[Tag]:
        """List tags, those after *after* only."""
        ...

    async def lookup(self, digest: Digest | Descriptor | str) -> tuple[Tag, ...]:
        """Return the tags that name a manifest."""
        ...


class Repository(Protocol):
    """A repository: content and the names it goes by."""

    @property
    def name(self) -> RepositoryName:
        """Its name within its registry."""
        ...

    @property
    def blobs(self) -> BlobStore:
        """Its blobs."""
        ...

    @property
    def manifests(self) -> ManifestStore:
        """Its manifests."""
        ...

    @property
    def tags(self) -> TagStore:
        """Its tags."""
        ...

    def referrers(
        self, subject: Digest | Descriptor | str, *, artifact_type: str | None = None
    ) -> Paginator[Descriptor]:
        """List the manifests whose subject is *subject*."""
        ...


class RepositoryEnumerator(Protocol):
    """Lists repositories."""

    def repositories(self, *, after: str | None = None, page_size: int | None = None) -> Paginator[RepositoryName]:
        """List repositories, those after *after* only."""
        ...


class RepositoryRemover(Protocol):
    """Removes repositories."""

    async def remove(self, name: RepositoryName | str) -> None:
        """Remove a repository with everything in it. Raises NameUnknownError."""
        ...


class Namespace(RepositoryEnumerator, Protocol):
    """A set of repositories addressable by name."""

    def repository(self, name: RepositoryName | str) -> Repository:
        """Return the repository of this name; it need not exist yet."""
        ...
