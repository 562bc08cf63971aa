"""Blobs on disk as streams: read at any offset and verified on the way, or written piece by piece."""

from __future__ import annotations

import io
import os
import threading
from typing import TYPE_CHECKING, Final, Protocol

from anyio.lowlevel import checkpoint

from ocidist.errors import DigestMismatchError, IntegrityError, SizeMismatchError, UsageError
from ocidist.model.descriptor import Descriptor
from ocidist.model.mediatype import OCTET_STREAM
from ocidist.storage.answers import sought
from ocidist.storage.layout_work import in_steps, run, settle
from ocidist.wire.upload_state import UploadState

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import AsyncIterable, AsyncIterator, Generator

    from ocidist.model.digest import Buffer, Digest, Hasher
    from ocidist.storage.contents import Holder

REGISTRY: Final = "layout"
"""What an upload state of a layout says in place of a registry's name."""
PIECE: Final = 256 * 1024
"""Bytes that are read, or collected before they are written: going to a worker thread costs little then."""
_AT_ONCE: Final = 4 * 1024 * 1024


def altered(error: IntegrityError) -> IntegrityError:
    """Return the error for what is kept here, and is not what it should be."""
    error.hint = "It was altered on the disk, or what names it is wrong: get it anew"
    return error


class LayoutBlobReader:
    """A blob on disk, or a part of it. Deleting the blob does not disturb a reader that is open.

    What is read from the first byte to the last, in order, is verified: the last piece comes only if all of it has the
    blob's digest, else ``DigestMismatchError``. Parts prove nothing.
    """

    def __init__(self, found: Descriptor, file: int, base: int, offset: int, stop: int) -> None:
        self.descriptor = found
        self._base = base
        self._file: int | None = file
        self._offset = offset
        self._stop = stop
        self._hasher: Hasher | None = found.digest.hasher()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<LayoutBlobReader of {self.descriptor.digest} at {self._offset}>"

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the bytes from the current position, in pieces of at most 256 KiB."""
        return self

    async def __anext__(self) -> bytes:
        found = await self._take(PIECE)
        if not found:
            raise StopAsyncIteration
        return found

    async def read(self, size: int = -1) -> bytes:
        """Read up to *size* bytes, all that are left when negative, ``b""`` at the end.

        Raises:
            DigestMismatchError: All of the blob was read by now, and it has another digest.
            SizeMismatchError: The file has become shorter.
            StorageError: It cannot be read.
        """
        left = self._stop - self._offset if size < 0 else size
        found: list[bytes] = []
        while left > 0 and (piece := await self._take(min(left, PIECE))):
            found.append(piece)
            left -= len(piece)
        if not found:
            await checkpoint()
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
        if target == 0:
            self._hasher = self.descriptor.digest.hasher()
        return target

    def tell(self) -> int:
        """Return the current offset within the whole blob, in bytes."""
        return self._offset

    def close(self) -> None:
        """Close the file; does nothing the second time. Blocks for as long as somebody reads."""
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                os.close(file)

    async def _take(self, limit: int) -> bytes:
        size = max(min(limit, self._stop - self._offset), 0)
        if not size:
            if not self.descriptor.size:
                self._verify()
            await checkpoint()
            return b""
        offset = self._offset
        hasher = self._hasher if self._hasher is not None and self._hasher.size == offset else None
        self._hasher = None  # a native cancel may leave a thread with it
        piece = await run(f"read {self.descriptor.digest}", self._read, offset, size, hasher)
        if not piece:
            raise altered(SizeMismatchError(self.descriptor.size, offset))
        self._offset, self._hasher = offset + len(piece), hasher
        self._verify()
        return piece

    def _read(self, offset: int, size: int, hasher: Hasher | None) -> bytes:
        with self._lock:
            if self._file is None:
                raise UsageError("this blob reader is closed")
            piece = os.pread(self._file, size, self._base + offset)
        if hasher is not None:
            hasher.update(piece)
        return piece

    def _verify(self) -> None:
        if self._hasher is None or self._hasher.size != self.descriptor.size:
            return
        actual = self._hasher.digest()
        if actual != self.descriptor.digest:
            raise altered(DigestMismatchError(self.descriptor.digest, actual, size=self.descriptor.size))


class Unfinished(Protocol):
    """A file, or a part of one, that is becoming a blob; see ``layout_upload.Upload``."""

    name: str
    size: int
    pieces: deque[bytes | memoryview]

    def drain(self) -> None:
        """Write the pieces."""
        ...

    def digest(self) -> Digest:
        """Return the digest of what is there."""
        ...

    def hash_as(self, hasher: Hasher) -> Generator[None, None, Hasher]:
        """Let another hasher see everything that is there."""
        ...

    def clear(self) -> None:
        """Forget everything that was written."""
        ...

    def publish(self, digest: Digest) -> None:
        """Let it be a blob."""
        ...

    def discard(self) -> None:
        """Remove it."""
        ...


class LayoutBlobWriter:
    """A blob being written to a layout; hashed as it comes.

    Made by ``LayoutBlobs.writer``, ``LayoutBlobs.resume`` and ``LayoutBlobs.writer_for``. At most 256 KiB wait in
    memory for the disk, and what a single ``write`` was given.
    """

    def __init__(self, state: Holder, upload: Unfinished, chunk_size: int, started_at: float) -> None:
        self._state = state
        self._upload = upload
        self._chunk_size = chunk_size
        self._started_at = started_at
        self._algorithm = upload.digest().algorithm
        self._size = upload.size
        self._waiting = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<LayoutBlobWriter for {self._state.name}, {self.size} bytes>"

    @property
    def size(self) -> int:
        """Bytes accepted so far, by earlier writers of the same session too."""
        return self._size

    @property
    def chunk_size(self) -> int:
        """Bytes per chunk; a layout has no use for chunks, and takes writes of any size as they come."""
        return self._chunk_size

    @property
    def state(self) -> UploadState:
        """What ``resume`` needs to go on, in this process or another.

        Its offset is what was given to the operating system; after a loss of power there may be less.
        """
        return UploadState(
            registry=REGISTRY,
            repository=self._state.name,
            location=self._upload.name,
            offset=self._upload.size,
            chunk_size=self._chunk_size,
            started_at=self._started_at,
            algorithm=self._algorithm,
        )

    async def write(self, data: Buffer) -> int:
        """Append bytes and return how many were taken: all of them. A cancelled write may have taken some.

        Raises:
            StorageError: They cannot be written; some may have been, see ``size``.
            UsageError: The writer is closed.
        """
        self._check_open()
        view = memoryview(data if isinstance(data, bytes) else bytes(data)).cast("B")
        for start in range(0, view.nbytes, _AT_ONCE):
            piece = view[start : start + _AT_ONCE]
            self._upload.pieces.append(piece)
            self._size += piece.nbytes
            self._waiting += piece.nbytes
            if self._waiting >= PIECE:
                await self.flush()
        if self._waiting or not view.nbytes:
            await checkpoint()
        return view.nbytes

    async def write_from(self, source: AsyncIterable[bytes]) -> int:
        """Append everything a stream yields and return the number of bytes. Raises what ``write`` raises."""
        count = 0
        async for piece in source:
            count += await self.write(piece)
        return count

    async def flush(self) -> None:
        """Give what waits in memory to the operating system.

        Raises:
            StorageError: It cannot be written; what could not be is forgotten, see ``size``.
            UsageError: The writer is closed.
        """
        self._check_open()
        self._waiting = 0
        if not self._upload.pieces:
            await checkpoint()
            return
        try:
            await run(f"write to {self._state.files.path}", self._upload.drain)
        except Exception:
            self._size = self._upload.size
            raise

    async def restart(self) -> None:
        """Forget what was written, and begin anew in the same session.

        Raises:
            StorageError: The file cannot be cut.
            UsageError: The writer is closed.
        """
        self._check_open()
        await run(f"write to {self._state.files.path}", self._upload.clear)
        self._size = self._waiting = 0

    async def commit(self, expected: Digest | Descriptor | None = None) -> Descriptor:
        """Make the bytes a blob and return its descriptor; it is on the disk then.

        Args:
            expected: What they must be; of another algorithm than the session's, they are hashed once more.

        Raises:
            DigestMismatchError: They have another digest; nothing is stored, and the session stays as it is.
            SizeMismatchError: Their number is another than the descriptor's; likewise.
            DigestUnsupportedError: The expected digest cannot be verified; likewise.
            StorageError: They cannot be stored; likewise.
            UsageError: The writer is closed.
            BlobUploadUnknownError: The session has ended meanwhile.
        """
        await self.flush()
        wanted = expected.digest if isinstance(expected, Descriptor) else expected
        if isinstance(expected, Descriptor) and expected.size != self.size:
            raise SizeMismatchError(expected.size, self.size)
        digest = await self._digest(wanted)
        if wanted is not None and digest != wanted:
            raise DigestMismatchError(wanted, digest, size=self.size)
        await self._state.make()
        self._check_open()
        await self._state.patiently(self._upload.publish, digest)
        self._closed = True
        return Descriptor(expected.media_type if isinstance(expected, Descriptor) else OCTET_STREAM, digest, self.size)

    async def cancel(self) -> None:
        """End the session and forget its bytes; does nothing after ``commit()`` or a second time."""
        closed, self._closed = self._closed, True
        if closed:
            await checkpoint()
        else:
            await settle(self._upload.discard)

    def close(self) -> None:
        """Let the session be: this writer takes nothing more, another may go on."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("this blob writer is closed")

    async def _digest(self, wanted: Digest | None) -> Digest:
        if wanted is None or wanted.algorithm == self._algorithm:
            return self._upload.digest()
        hasher = await in_steps(f"read {self._state.files.path}", self._upload.hash_as(wanted.hasher()))
        return hasher.digest()
