"""Blobs of a memory store as streams: read at any offset, or written piece by piece."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from ocidist.errors import BlobUploadUnknownError, DigestMismatchError, SizeMismatchError, UsageError
from ocidist.model.descriptor import Descriptor
from ocidist.model.mediatype import OCTET_STREAM
from ocidist.storage.answers import refusal, sought
from ocidist.storage.memory_pool import HASH_AT_ONCE, octets
from ocidist.wire.upload_state import UploadState

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from ocidist.model.digest import Buffer, Digest
    from ocidist.storage.memory_pool import Pieces
    from ocidist.storage.memory_state import State, Upload

REGISTRY = "memory"
"""What an upload state of a memory store says in place of a registry's name."""


class MemoryBlobReader:
    """A blob in memory, or a part of it. Deleting the blob does not disturb a reader that is open.

    Args:
        descriptor: The whole blob.
        pieces: Its bytes.
        offset: First byte to read.
        stop: Offset after the last byte to read.
    """

    def __init__(self, descriptor: Descriptor, pieces: Pieces, offset: int, stop: int) -> None:
        self.descriptor = descriptor
        self._pieces = pieces
        self._offset = offset
        self._stop = stop

    def __repr__(self) -> str:
        return f"<MemoryBlobReader of {self.descriptor.digest} at {self._offset}>"

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the bytes from the current position, in pieces of at most 256 KiB."""
        return self

    async def __anext__(self) -> bytes:
        await checkpoint()
        found = self._take(self._stop - self._offset)
        if not found:
            raise StopAsyncIteration
        return found

    async def read(self, size: int = -1) -> bytes:
        """Read up to *size* bytes, all that are left when negative, ``b""`` at the end."""
        await checkpoint()
        left = self._stop - self._offset if size < 0 else size
        found: list[bytes] = []
        while left > 0 and (piece := self._take(left)):
            found.append(piece)
            left -= len(piece)
        return b"".join(found)

    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a byte offset of the whole blob and return it.

        Args:
            offset: Bytes.
            whence: What they count from, as for files: 0 the blob's start, 1 the current position, 2 the blob's end.

        Raises:
            UsageError: The place is outside the blob.
        """
        await checkpoint()
        target = sought(offset, whence, at=self._offset, size=self.descriptor.size)
        self._offset = target
        return target

    def tell(self) -> int:
        """Return the current offset within the whole blob, in bytes."""
        return self._offset

    def _take(self, limit: int) -> bytes:
        piece = self._pieces.piece(self._offset, max(min(limit, self._stop - self._offset), 0))
        self._offset += len(piece)
        return piece


class MemoryBlobWriter:
    """A blob being written to memory; hashed as it comes.

    Made by ``MemoryBlobs.writer`` and ``MemoryBlobs.resume``.
    """

    def __init__(self, state: State, upload: Upload) -> None:
        self._state = state
        self._upload = upload
        self._closed = False

    def __repr__(self) -> str:
        return f"<MemoryBlobWriter for {self._upload.repository}, {self.size} bytes>"

    @property
    def size(self) -> int:
        """Bytes accepted so far, by earlier writers of the same session too."""
        return self._upload.pieces.size

    @property
    def chunk_size(self) -> int:
        """Bytes per chunk; memory has no use for chunks, and takes writes of any size as they come."""
        return self._upload.chunk_size

    @property
    def state(self) -> UploadState:
        """What ``resume`` needs to go on, as long as the store lives."""
        return UploadState(
            registry=REGISTRY,
            repository=self._upload.repository,
            location=self._upload.id,
            offset=self.size,
            chunk_size=self.chunk_size,
            started_at=self._upload.started_at,
            algorithm=self._upload.hasher.algorithm,
        )

    async def write(self, data: Buffer) -> int:
        """Append bytes and return how many were taken: all of them. A cancelled write may have taken some.

        Raises:
            StorageError: The store is full; some may have been taken, see ``size``.
            UsageError: The writer is closed.
            BlobUploadUnknownError: The session has ended meanwhile.
        """
        with octets(data) as view:
            for start in range(0, view.nbytes or 1, HASH_AT_ONCE):
                await checkpoint()
                self._append(view[start : start + HASH_AT_ONCE])
            return view.nbytes

    async def write_from(self, source: AsyncIterable[bytes]) -> int:
        """Append everything a stream yields and return the number of bytes. Raises what ``write`` raises."""
        count = 0
        async for piece in source:
            count += await self.write(piece)
        return count

    async def flush(self) -> None:
        """Do nothing: what was written is in the store already."""
        await checkpoint()

    async def commit(self, expected: Digest | Descriptor | None = None) -> Descriptor:
        """Make the bytes a blob and return its descriptor.

        Args:
            expected: What they must be; of another algorithm than the session's, they are hashed once more.

        Raises:
            DigestMismatchError: They have another digest; nothing is stored, and the session stays as it is.
            SizeMismatchError: Their number is another than the descriptor's; likewise.
            DigestUnsupportedError: The expected digest cannot be verified; likewise.
            UsageError: The writer is closed.
            BlobUploadUnknownError: The session has ended meanwhile.
        """
        await checkpoint()
        wanted = expected.digest if isinstance(expected, Descriptor) else expected
        if isinstance(expected, Descriptor) and expected.size != self.size:
            raise SizeMismatchError(expected.size, self.size)
        digest = await self._digest(wanted)
        if wanted is not None and digest != wanted:
            raise DigestMismatchError(wanted, digest, size=self.size)
        self._check_open()
        self._closed = True
        self._state.finish(self._upload, digest)
        return Descriptor(expected.media_type if isinstance(expected, Descriptor) else OCTET_STREAM, digest, self.size)

    async def cancel(self) -> None:
        """End the session and forget its bytes; does nothing after ``commit()`` or a second time."""
        self.discard()
        await checkpoint()

    def discard(self) -> None:
        """Do what ``cancel`` does, at once."""
        if not self._closed:
            self._state.drop(self._upload)
        self._closed = True

    def close(self) -> None:
        """Let the session be: this writer takes nothing more, another may go on."""
        self._closed = True

    def _append(self, part: memoryview) -> None:
        self._check_open()
        self._state.budget.take(part.nbytes)
        self._upload.hasher.update(part)
        self._upload.pieces.append(part)

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("this blob writer is closed")
        if self._upload.id not in self._state.uploads:
            raise refusal(BlobUploadUnknownError, 404, "the upload session has ended")

    async def _digest(self, wanted: Digest | None) -> Digest:
        if wanted is None or wanted.algorithm == self._upload.hasher.algorithm:
            return self._upload.hasher.digest()
        size = self.size
        hasher = wanted.hasher()
        for piece in self._upload.pieces:
            hasher.update(piece)
            await checkpoint()
        if size != self.size:
            raise UsageError("the blob was written to while it was being finished")
        return hasher.digest()
