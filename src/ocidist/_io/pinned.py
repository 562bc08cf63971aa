"""Files whose digest is known: sent as they are, as long as they are the files they were.

Hashing takes longer than sending. A file that was hashed a moment ago, or whose digest the caller knows, is only looked
at again: another size or time of modification means that it has to be read once more before its last bytes go out.
"""

from __future__ import annotations

import os
from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio.to_thread

from ocidist._io.body import FILE_PIECE, FileBody, blame_source, signature_of
from ocidist.errors import DigestMismatchError, SizeMismatchError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from io import FileIO

    from ocidist._io.body import Signature
    from ocidist.model.digest import Digest


class PinnedFile:
    """A part of a file with a known digest.

    Args:
        body: The part; it was measured.
        digest: Its digest.

    Attributes:
        path: The file.
        offset: First byte to send.
        size: Bytes to send.
        digest: See above.
    """

    replayable = True

    def __init__(self, body: FileBody, digest: Digest) -> None:
        self._body = body
        self._seen: Signature | None = body.seen
        self.path = body.path
        self.offset = body.offset
        self.size = body.size or 0
        self.digest = digest

    def __repr__(self) -> str:
        return f"<PinnedFile {self.path}, {self.size} bytes from {self.offset}>"

    async def open(self) -> AsyncGenerator[bytes, None]:
        """Return a stream of the bytes.

        Raises:
            SizeMismatchError: The file has another size by now.
            DigestMismatchError: It has other content by now; the last piece is not handed out.
            OSError: It cannot be read.
        """
        held = b""
        async with aclosing(self._body.open()) as pieces:
            async for piece in pieces:
                if held:
                    yield held
                held = piece
        await anyio.to_thread.run_sync(self._look)
        if held:
            yield held

    def _look(self) -> None:
        self.open_at(0).close()

    def open_at(self, done: int) -> FileIO:
        """Open the file at the byte after the first *done* ones. Blocks; raises as ``open``."""
        file = self.path.open("rb", buffering=0)
        try:
            self.verify(file)
            file.seek(self.offset + done)
        except BaseException:
            file.close()
            raise
        return file

    def verify(self, file: FileIO) -> None:
        """Look whether an open file is the one it was, and read it again if it does not look so.

        Raises:
            SizeMismatchError: It has another size.
            DigestMismatchError: It has other content.
        """
        found = signature_of(os.fstat(file.fileno()))
        if found == self._seen:
            return
        hasher = self.digest.hasher()
        file.seek(self.offset)
        while hasher.size < self.size and (piece := file.read(min(FILE_PIECE, self.size - hasher.size))):
            hasher.update(piece)
        if hasher.size < self.size:
            raise blame_source(SizeMismatchError(self.size, hasher.size))
        actual = hasher.digest()
        if actual != self.digest:
            raise blame_source(DigestMismatchError(self.digest, actual, size=hasher.size))
        self._seen = found
