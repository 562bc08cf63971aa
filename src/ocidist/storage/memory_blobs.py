"""The blobs of a repository in memory."""

from __future__ import annotations

import time
import uuid
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Final

from anyio.lowlevel import checkpoint

from ocidist._io.body import as_body
from ocidist.errors import (
    BlobUploadUnknownError,
    LimitExceededError,
    RangeInvalidError,
    SizeMismatchError,
    UsageError,
)
from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest, Hasher
from ocidist.model.mediatype import OCTET_STREAM
from ocidist.model.reference import RepositoryName
from ocidist.model.result import Mounted, OnExit
from ocidist.storage.answers import Snapshot, refusal
from ocidist.storage.memory_state import Upload
from ocidist.storage.memory_writer import MemoryBlobReader, MemoryBlobWriter
from ocidist.wire.upload import DEFAULT_CHUNK
from ocidist.wire.upload_state import UploadStarted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from ocidist._io.body import Source
    from ocidist.storage.memory_state import State
    from ocidist.wire.upload_state import UploadState

MAX_SMALL_BLOB: Final = 4 * 1024 * 1024
"""Bytes that ``get`` returns at most unless the caller allows more."""


class MemoryBlobs:
    """The blobs of a repository in memory. Get it from ``MemoryRepository.blobs``.

    A blob is stored once, however many repositories have it.
    """

    def __init__(self, state: State, name: RepositoryName) -> None:
        self._state = state
        self._name = name

    def __repr__(self) -> str:
        return f"<MemoryBlobs of {self._name}>"

    async def stat(self, digest: Digest | str) -> Descriptor:
        """Return a blob's descriptor.

        Raises:
            BlobUnknownError: The repository has no such blob.
            InvalidDigestError: It is no digest.
        """
        await checkpoint()
        wanted = Digest(digest)
        return Descriptor(OCTET_STREAM, wanted, self._state.blob(self._name, wanted).size)

    async def exists(self, digest: Digest | str) -> bool:
        """Return whether the repository has a blob.

        Raises:
            InvalidDigestError: It is no digest.
        """
        await checkpoint()
        return self._state.has(self._name, Digest(digest))

    async def get(self, digest: Digest | Descriptor | str, *, max_size: int = MAX_SMALL_BLOB) -> bytes:
        """Return a small blob's bytes.

        Raises:
            BlobUnknownError: The repository has no such blob.
            LimitExceededError: It is larger than *max_size* bytes.
            SizeMismatchError: It has another size than the descriptor says.
            InvalidDigestError: It is no digest.
        """
        async with self.open(digest) as reader:
            if reader.descriptor.size > max_size:
                raise LimitExceededError("blob", max_size)
            return await reader.read()

    @asynccontextmanager
    async def open(
        self, digest: Digest | Descriptor | str, *, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[MemoryBlobReader]:
        """Open a blob, or a part of it, as a stream.

        Args:
            digest: The blob.
            offset: First byte to read.
            length: Bytes to read from there, fewer if the blob ends before; None for all.

        Raises:
            BlobUnknownError: The repository has no such blob.
            SizeMismatchError: It has another size than the descriptor says.
            RangeInvalidError: It ends before *offset*.
            InvalidDigestError: It is no digest.
            UsageError: The offset or the length is negative.
        """
        await checkpoint()
        if offset < 0 or (length is not None and length < 0):
            raise UsageError("a blob is read from an offset that is not negative, and forward")
        wanted = digest.digest if isinstance(digest, Descriptor) else Digest(digest)
        pieces = self._state.blob(self._name, wanted)
        if isinstance(digest, Descriptor) and digest.size != pieces.size:
            raise SizeMismatchError(digest.size, pieces.size)
        if offset > pieces.size:
            raise refusal(RangeInvalidError, 416, f"the blob has {pieces.size} bytes, it cannot be read from {offset}")
        stop = pieces.size if length is None else min(offset + length, pieces.size)
        found = digest if isinstance(digest, Descriptor) else Descriptor(OCTET_STREAM, wanted, pieces.size)
        yield MemoryBlobReader(found, pieces, offset, stop)

    async def push(
        self, source: Source, descriptor: Descriptor | None = None, *, mount_from: Sequence[str] = ()
    ) -> Descriptor:
        """Store a blob and return its descriptor.

        The source is not read if the repository, or one of *mount_from*, has the blob already. A push that fails or is
        cancelled leaves nothing behind.

        Args:
            source: The bytes, see ``Source``.
            descriptor: What they must be.
            mount_from: Repositories that may have the blob.

        Raises:
            DigestMismatchError: They have another digest than the descriptor.
            SizeMismatchError: They are more or fewer than the descriptor says.
            DigestUnsupportedError: The descriptor's digest cannot be verified.
            InvalidReferenceError: One of *mount_from* is no repository name.
            StorageError: The store is full.
            UsageError: The source is none, see ``Source``.
        """
        body = as_body(source)
        if descriptor is not None and await self._has_or_links(descriptor, mount_from):
            return descriptor
        algorithm = "sha256" if descriptor is None else descriptor.digest.algorithm
        async with self.writer(algorithm=algorithm, on_exit=OnExit.CANCEL) as writer, aclosing(body.open()) as pieces:
            await writer.write_from(pieces)
            return await writer.commit(descriptor)

    def writer(
        self, *, chunk_size: int | None = None, algorithm: str = "sha256", on_exit: OnExit = OnExit.KEEP
    ) -> AbstractAsyncContextManager[MemoryBlobWriter]:
        """Begin a blob whose bytes come piece by piece.

        Args:
            chunk_size: What the writer reports as its chunk size, in bytes; it takes writes of any size.
            algorithm: Digest algorithm of the blob, ``sha256`` or ``sha512``.
            on_exit: What leaving without ``commit()`` does.

        Raises:
            DigestUnsupportedError: The algorithm is neither.
            UsageError: The chunk size is not positive.
        """
        size = DEFAULT_CHUNK if chunk_size is None else chunk_size
        if size <= 0:
            raise UsageError("a chunk holds at least one byte")
        upload = Upload(str(uuid.uuid4()), self._name, size, time.time(), Hasher(algorithm))
        return self._writing(upload, on_exit, begin=True)

    @asynccontextmanager
    async def resume(
        self,
        state: UploadState,
        *,
        source: Source | None = None,  # noqa: ARG002 -- part of the protocol
        on_exit: OnExit = OnExit.KEEP,
    ) -> AsyncIterator[MemoryBlobWriter]:
        """Go on with a blob that another writer of this store began; it stands where that one was left.

        Args:
            state: The other writer's state.
            source: Ignored: the store has seen every byte itself.
            on_exit: What leaving without ``commit()`` does.

        Raises:
            BlobUploadUnknownError: The session has ended, or is another repository's.
        """
        upload = self._state.uploads.get(state.location)
        if upload is None or upload.repository != self._name:
            raise refusal(BlobUploadUnknownError, 404, "the upload session is not known")
        async with self._writing(upload, on_exit, begin=False) as writer:
            yield writer

    async def mount(self, digest: Digest | str, *, source: str | None) -> Mounted | UploadStarted:
        """Link a blob that another repository has.

        Args:
            digest: The blob.
            source: The repository that has it; None to look in all.

        Returns:
            ``UploadStarted``, as registries do, if the blob is not there.

        Raises:
            InvalidDigestError: It is no digest.
            InvalidReferenceError: The source is no repository name.
            DigestUnsupportedError: The blob is not there, and its digest could not be verified if it was sent.
        """
        await checkpoint()
        wanted = Digest(digest)
        name = None if source is None else RepositoryName(source)
        if self._state.has(name, wanted) if name is not None else wanted in self._state.pool:
            self._state.link(self._name, wanted)
            return Mounted(wanted, name)
        async with self.writer(algorithm=wanted.algorithm) as writer:
            return UploadStarted(writer.state)

    async def delete(self, digest: Digest | str) -> None:
        """Take a blob from the repository; other repositories keep it. Manifests that name it stay.

        Raises:
            BlobUnknownError: The repository has no such blob.
            InvalidDigestError: It is no digest.
        """
        await checkpoint()
        wanted = Digest(digest)
        self._state.blob(self._name, wanted)
        self._state.open(self._name).blobs.discard(wanted)
        self._state.pool.unlink(wanted)

    def digests(self) -> AsyncIterator[Digest]:
        """Iterate over the digests of all blobs there are now, in their order as text."""
        content = self._state.find(self._name)
        return Snapshot(sorted(content.blobs) if content is not None else ())

    async def _has_or_links(self, descriptor: Descriptor, sources: Sequence[str]) -> bool:
        await checkpoint()
        for name in (self._name, *map(RepositoryName, sources)):
            if self._state.has(name, descriptor.digest):
                actual = self._state.pool[descriptor.digest].size
                if actual != descriptor.size:
                    raise SizeMismatchError(descriptor.size, actual)
                self._state.link(self._name, descriptor.digest)
                return True
        return False

    @asynccontextmanager
    async def _writing(self, upload: Upload, on_exit: OnExit, *, begin: bool) -> AsyncIterator[MemoryBlobWriter]:
        await checkpoint()
        if begin:
            self._state.uploads[upload.id] = upload
        writer = MemoryBlobWriter(self._state, upload)
        try:
            yield writer
        finally:
            if on_exit is OnExit.CANCEL:
                writer.discard()
            writer.close()
