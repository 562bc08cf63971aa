"""Hashing that does not hold up the event loop, and bodies that prove themselves while they are sent."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from ocidist._io.body import blame_source
from ocidist.errors import DigestMismatchError, SizeMismatchError
from ocidist.model.digest import Hasher

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ocidist._io.body import Body, FileBody
    from ocidist.model.digest import Buffer, Digest

OFFLOAD: Final = 1024 * 1024
"""Bytes from which on hashing goes to a worker thread: below it, going there takes as long as the hashing."""
_BATCH: Final = 8 * 1024 * 1024
_READ: Final = 256 * 1024


async def update(hasher: Hasher, data: Buffer) -> None:
    """Let a hasher take the next piece, in a worker thread if it is large.

    When this is cancelled the hasher may or may not have taken the piece: drop it then.
    """
    if memoryview(data).nbytes < OFFLOAD:
        hasher.update(data)
    else:
        await anyio.to_thread.run_sync(hasher.update, data)


async def digest_of(data: Buffer, algorithm: str = "sha256") -> Digest:
    """Return the digest of bytes in memory.

    Raises:
        DigestUnsupportedError: The algorithm is neither sha256 nor sha512.
    """
    hasher = Hasher(algorithm)
    await update(hasher, data)
    return hasher.digest()


async def digest_of_file(body: FileBody, algorithm: str = "sha256") -> Digest:
    """Return the digest of a file's part, read and hashed in worker threads.

    Args:
        body: The part; its size must be known.
        algorithm: ``sha256`` or ``sha512``.

    Raises:
        SizeMismatchError: The file ended early.
        DigestUnsupportedError: Any other algorithm.
        OSError: The file cannot be read.
    """
    hasher = Hasher(algorithm)
    size = body.size or 0
    while hasher.size < size:
        before = hasher.size
        # In batches, so that a cancelled caller does not wait for the whole file.
        await anyio.to_thread.run_sync(_hash_part, body, hasher, min(size, before + _BATCH))
        if hasher.size == before:
            raise blame_source(SizeMismatchError(size, before))
    return hasher.digest()


async def measured(body: Body, algorithm: str) -> tuple[Digest, int]:
    """Read a body from beginning to end, and return its digest and its size in bytes.

    Raises:
        Exception: Whatever the source raises.
    """
    hasher = Hasher(algorithm)
    async with aclosing(body.open()) as pieces:
        async for piece in pieces:
            await update(hasher, piece)
    return hasher.digest(), hasher.size


def _hash_part(body: FileBody, hasher: Hasher, stop: int) -> None:
    with body.path.open("rb", buffering=0) as file:
        file.seek(body.offset + hasher.size)
        while hasher.size < stop and (piece := file.read(min(_READ, stop - hasher.size))):
            hasher.update(piece)


class ProvenBody:
    """A body of known digest and size that is hashed while it is sent.

    Its last piece is handed out only once everything, that piece included, has the size and the digest expected: what
    receives a wrong body never receives all of it.

    Args:
        body: Where the bytes come from.
        digest: Their digest.
        size: Their number.

    Raises:
        DigestUnsupportedError: The digest cannot be verified.
    """

    def __init__(self, body: Body, digest: Digest, size: int) -> None:
        digest.hasher()
        self._body = body
        self._digest = digest
        self.size = size

    def __repr__(self) -> str:
        return f"<ProvenBody of {self._body!r}>"

    @property
    def replayable(self) -> bool:
        """Whether the source can be opened again."""
        return self._body.replayable

    async def open(self) -> AsyncGenerator[bytes, None]:
        """Return a stream of the bytes.

        Raises:
            SizeMismatchError: They are more or fewer than expected.
            DigestMismatchError: They have another digest.
            Exception: Whatever the source raises.
        """
        hasher = self._digest.hasher()
        held = b""
        async with aclosing(self._body.open()) as pieces:
            async for piece in pieces:
                await update(hasher, piece)
                if hasher.size > self.size:
                    raise blame_source(SizeMismatchError(self.size, hasher.size))
                if held:
                    yield held
                held = piece
        if hasher.size < self.size:
            raise blame_source(SizeMismatchError(self.size, hasher.size))
        actual = hasher.digest()
        if actual != self._digest:
            raise blame_source(DigestMismatchError(self._digest, actual, size=hasher.size))
        if held:
            yield held
