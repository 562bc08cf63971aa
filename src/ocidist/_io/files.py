"""Files that appear under their name only once they are complete.

Bytes go to a temporary file in the target's own directory, which is then flushed to the disk and renamed. Until then
nobody else may read it. File operations run in worker threads.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import threading
from io import FileIO
from typing import TYPE_CHECKING, Final, Self

import anyio
import anyio.to_thread

from ocidist.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType
    from typing import TypeVar, TypeVarTuple

    _T = TypeVar("_T")
    _Args = TypeVarTuple("_Args")

BATCH: Final = 1024 * 1024
"""Bytes collected before a worker thread writes them."""

# Not everywhere.
CLOEXEC, NOFOLLOW, NONBLOCK = (getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | CLOEXEC | NOFOLLOW | getattr(os, "O_BINARY", 0)
_PRIVATE: Final = 0o600


class AtomicFile:
    """A file being written. Leaving ``async with`` without ``commit()`` removes what was written.

    Args:
        path: The name it will have; what is there already stays untouched until then.

    Raises:
        StorageError: The directory does not exist or cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = temporary_name(path.parent)
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
            check_replaceable(self._path)
            if not self._over:
                self._file = create_private(self._part)

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
            if not is_named(self._file, self._part):
                raise FileNotFoundError(None, "somebody took the unfinished file away")
            _make_usual(self._file, self._path.parent)
            os.fsync(self._file.fileno())
            if os.name != "posix":
                # There, what is open cannot be renamed.
                self._file.close()
            self._part.replace(self._path)
            self._over = True
            self._file.close()
            sync_directory(self._path.parent)

    def _discard(self) -> None:
        with self._lock:
            if self._file is not None and not self._over:
                with contextlib.suppress(OSError):
                    self._remove(self._file)
                self._file.close()
            self._over = True

    def _remove(self, file: FileIO) -> None:
        if os.name != "posix":
            file.close()
        self._part.unlink(missing_ok=True)


def check_replaceable(path: Path) -> None:
    """Check that a file, a link or nothing is there: a rename would put a file in the place of ``/dev/null``, too.

    Raises:
        OSError: It is something else.
    """
    if path.is_dir():
        raise IsADirectoryError(None, "it is a directory")
    with contextlib.suppress(FileNotFoundError):
        kind = path.lstat().st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISLNK(kind):
            raise FileExistsError(None, "it is a device, a pipe or a socket")


def temporary_name(directory: Path) -> Path:
    """Return a name in a directory that nobody else uses."""
    return directory / f".ocidist-{secrets.token_hex(8)}.part"


def create_private(path: Path) -> FileIO:
    """Create a file that only its owner may read.

    Raises:
        FileExistsError: There is something of that name.
        OSError: It cannot be created.
    """
    return FileIO(os.open(path, _CREATE, _PRIVATE), "r+")


def is_named(file: FileIO, path: Path) -> bool:
    """Return whether a path leads to this very file, and through no link."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


def _make_usual(file: FileIO, directory: Path) -> None:
    """Give a private file the mode that new files get in a directory."""
    if os.name != "posix":
        return
    # A process can read its umask only by changing it for all its threads, and it is not all that counts.
    probe = temporary_name(directory)
    descriptor = os.open(probe, _CREATE, 0o666)
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        probe.unlink()
    if mode != _PRIVATE:
        os.fchmod(file.fileno(), mode)


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
