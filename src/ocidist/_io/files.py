"""Files that appear under their name only once they are complete.

Bytes go to a temporary file in the target's own directory, which is then flushed to the disk and renamed. File
operations run in worker threads.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from typing import TYPE_CHECKING, Final, Self

import anyio
import anyio.to_thread

from ocidist.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from io import FileIO
    from pathlib import Path
    from types import TracebackType
    from typing import TypeVar, TypeVarTuple

    _T = TypeVar("_T")
    _Args = TypeVarTuple("_Args")

BATCH: Final = 1024 * 1024
"""Bytes collected before a worker thread writes them."""


class AtomicFile:
    """A file being written. Leaving ``async with`` without ``commit()`` removes what was written.

    Args:
        path: The name it will have; what is there already stays untouched until then.

    Raises:
        StorageError: The directory does not exist or cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.parent / f".ocidist-{secrets.token_hex(8)}.part"
        self._pieces: list[bytes] = []
        self._pending = 0
        self._file: FileIO | None = None
        self._over = False
        # A native cancel leaves a worker thread running; what comes after it has to wait for that.
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<AtomicFile {self._path}>"

    async def __aenter__(self) -> Self:
        """Create the temporary file."""
        try:
            await self._run(self._create)
        except BaseException:
            await self._abandon()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Remove the temporary file unless it was committed."""
        if not self._over:
            await self._abandon()

    async def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            StorageError: They cannot be written: no room, for example.
        """
        self._pieces.append(data)
        self._pending += len(data)
        if self._pending >= BATCH:
            await self._flush()

    def append(self, data: bytes | memoryview) -> None:
        """Append bytes at once; to be called in a worker thread, and not while ``write`` has something left to do.

        Raises:
            StorageError: They cannot be written.
        """
        try:
            self._write([data])
        except OSError as error:
            raise self._failed(error) from error

    async def commit(self) -> None:
        """Flush everything to the disk and give the file its name.

        Raises:
            StorageError: One of that failed; the name is then untouched.
        """
        await self._flush()
        await self._run(self._publish)

    async def _flush(self) -> None:
        pieces, self._pieces, self._pending = self._pieces, [], 0
        await self._run(self._write, pieces)

    async def _abandon(self) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await anyio.to_thread.run_sync(self._discard)
            except BaseException:
                # asyncio's own cancellation does not mind the shield, and may come before the thread has begun.
                threading.Thread(target=self._discard, name="ocidist: remove a part").start()
                raise

    async def _run(self, work: Callable[[*_Args], _T], *args: *_Args) -> _T:
        try:
            return await anyio.to_thread.run_sync(work, *args)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> StorageError:
        made = StorageError(f"cannot write {self._path}: {error.strerror or error}")
        made.errno = error.errno
        return made

    def _create(self) -> None:
        with self._lock:
            if self._path.is_dir():
                raise IsADirectoryError(None, "it is a directory")
            if not self._over:
                self._file = self._part.open("xb", buffering=0)

    def _write(self, pieces: Iterable[bytes | memoryview]) -> None:
        with self._lock:
            for piece in pieces:
                view = memoryview(piece)
                while view and self._file is not None:
                    view = view[self._file.write(view) :]

    def _publish(self) -> None:
        with self._lock:
            if self._file is None:
                raise FileNotFoundError(None, "it was closed before it was complete")
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self._path)
            self._over = True
            sync_directory(self._path.parent)

    def _discard(self) -> None:
        with self._lock:
            if self._file is not None and not self._over:
                self._file.close()
                with contextlib.suppress(OSError):
                    self._part.unlink(missing_ok=True)
            self._over = True


def sync_directory(path: Path) -> None:
    """Flush a directory to the disk, so that what was renamed in it stays renamed. Blocks; raises ``OSError``."""
    # Only POSIX systems open directories; elsewhere the rename alone has to do.
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
