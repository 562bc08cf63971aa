"""Files that outlive the process that was writing them, so that the next one can go on.

What is there already lies beside the target, under a name made of the target's and of what the content is. One process
at a time works on it, by ``flock``, which ends with the process however that ends; whoever comes second works on a
private file. Nothing that is found is believed: the caller hashes it first.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import anyio.to_thread

from ocidist._io.files import CLOEXEC, NOFOLLOW, NONBLOCK, AtomicFile, check_replaceable, create_private, is_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocidist.model.digest import Hasher

KEEP_FROM: Final = 8 * 1024 * 1024
"""Bytes from which on an unfinished file is worth keeping: less comes again in a second."""

_FOUND: Final = os.O_RDWR | CLOEXEC | NOFOLLOW | NONBLOCK
_NAME: Final = re.compile(r"\.ocidist-(?:[0-9a-f]{16}|[0-9a-f]{32})\.part", re.ASCII)
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_BATCH: Final = 16 * 1024 * 1024
_READ: Final = 1024 * 1024


class PartialFile(AtomicFile):
    """A file being written, perhaps begun by a process that is gone. ``begin()`` makes sure there is one.

    Args:
        path: The name it will have; what is there already stays untouched until then.
        content: What it will hold. Only what was begun under the same name for the same content is found again.
        lasting: Whether to leave it to the next process at all.

    Attributes:
        keep: Whether leaving without ``commit()`` keeps what is there, if that is worth it.
        there: Bytes of the content that are there, where the file's length does not tell that.
    """

    def __init__(self, path: Path, content: str, *, lasting: bool = True) -> None:
        super().__init__(path)
        self.keep = False
        self.there: int | None = None
        # Counts the times that the file was made shorter or longer: what was to be written before is of no use then.
        self._epoch = 0
        # The file's name says what it is for, the directory's does not matter: it may be moved, or mounted elsewhere.
        name = hashlib.sha256(os.fsencode(f"{content} {path.name}")).hexdigest()[:32]
        # Elsewhere there is no telling whether somebody works on a file.
        self._lasting = lasting and os.name == "posix"
        self._lasting_part = path.parent / f".ocidist-{name}.part"

    async def __aenter__(self) -> Self:
        """Do nothing yet: ``find()`` and ``begin()`` do."""
        return self

    async def find(self) -> bool:
        """Look for what an earlier process left, and return whether there is something.

        Raises:
            StorageError: The target is a directory.
        """
        return self._lasting and await self._run(self._find)

    async def begin(self) -> None:
        """Create the file, unless it was found.

        Raises:
            StorageError: It cannot be created.
        """
        if self._file is None:
            await self._run(self._create)

    async def hash_into(self, hasher: Hasher, start: int = 0, stop: int | None = None) -> None:
        """Let a hasher see what is there, or a part of it, in worker threads.

        Raises:
            StorageError: It cannot be read.
        """
        # Where there is no file, nobody has to go to a thread to find that out.
        more = self._file is not None
        while more:
            before = hasher.size
            more = await self._run(self._hash_some, hasher, start, stop)
            start += hasher.size - before

    async def resize(self, length: int) -> None:
        """Make the file this long, and go on behind that.

        Raises:
            StorageError: It cannot be done.
        """
        await self._run(self._resize, length)

    async def clear(self) -> None:
        """Forget everything that is there.

        Raises:
            StorageError: It cannot be made shorter.
        """
        self.there = None
        await self.resize(0)

    async def read(self, offset: int, size: int) -> bytes:
        """Return some of the bytes that are there, counted from the end if the offset is negative.

        Raises:
            StorageError: They cannot be read.
        """
        return await self._run(self._read, offset, size)

    async def length(self) -> int:
        """Return how long the file is by now."""
        return await self._run(self._length)

    async def put(self, offset: int, data: bytes) -> None:
        """Write bytes somewhere.

        Raises:
            StorageError: They cannot be written.
        """
        await anyio.to_thread.run_sync(self.writer(), offset, data)

    def writer(self) -> Callable[[int, bytes | memoryview], None]:
        """Return what writes bytes somewhere; to be called in worker threads. It does nothing after ``resize()``.

        That raises ``StorageError`` where they cannot be written.
        """
        epoch = self._epoch

        def write(offset: int, data: bytes | memoryview) -> None:
            try:
                self._write_at(epoch, offset, data)
            except OSError as error:
                raise self._failed(error) from error

        return write

    # --- in worker threads -------------------------------------------------------------------------------------------

    def _find(self) -> bool:
        with self._lock:
            check_replaceable(self._path)
            if not self._over:
                self._take_over()
            return self._file is not None

    def _create(self) -> None:
        with self._lock:
            check_replaceable(self._path)
            if self._over:
                return
            if self._lasting:
                try:
                    self._claim(create_private(self._lasting_part))
                except FileExistsError:
                    self._take_over()
                    if self._file is not None:
                        # Nobody has hashed that.
                        self._file.truncate(0)
                        self._file.seek(0)
            if self._file is None:
                self._file = create_private(self._part)

    def _take_over(self) -> None:
        """Open what is there under the lasting name, if it is a file that only we write to."""
        try:
            descriptor = os.open(self._lasting_part, _FOUND)
        except FileNotFoundError:
            return
        except OSError:
            # A link, a directory, or something else that somebody put there.
            self._lasting = False
            return
        self._claim(FileIO(descriptor, "r+"))

    def _claim(self, file: FileIO) -> None:
        """Make a file ours, or leave it to whoever has it."""
        if _is_ours(file) and _lock(file) and is_named(file, self._lasting_part):
            file.seek(0, os.SEEK_END)
            self._file, self._part = file, self._lasting_part
        else:
            file.close()
            self._lasting = False

    def _hash_some(self, hasher: Hasher, start: int, stop: int | None) -> bool:
        """Let a hasher see a batch, and return whether there may be more."""
        end = start + _BATCH if stop is None else min(start + _BATCH, stop)
        while start < end:
            # One piece at a time, so that others may write meanwhile.
            piece = self._read(start, min(_READ, end - start))
            if not piece:
                return False
            hasher.update(piece)
            start += len(piece)
        return start != stop

    def _read(self, offset: int, size: int) -> bytes:
        with self._lock:
            if self._file is None or self._over:
                return b""
            if offset < 0:
                offset += os.fstat(self._file.fileno()).st_size
            return os.pread(self._file.fileno(), size, offset) if offset >= 0 else b""

    def _length(self) -> int:
        with self._lock:
            return 0 if self._file is None or self._over else os.fstat(self._file.fileno()).st_size

    def _resize(self, length: int) -> None:
        with self._lock:
            self._epoch += 1
            if self._file is not None and not self._over:
                self._file.truncate(length)
                self._file.seek(length)

    def _write_at(self, epoch: int, offset: int, data: bytes | memoryview) -> None:
        with self._lock:
            view = memoryview(data)
            while view and self._file is not None and not self._over and epoch == self._epoch:
                count = os.pwrite(self._file.fileno(), view, offset)
                view, offset = view[count:], offset + count

    def _remove(self, file: FileIO) -> None:
        lasting = self._part == self._lasting_part
        there = os.fstat(file.fileno()).st_size if self.there is None else self.there
        if lasting and self.keep and there >= KEEP_FROM:
            return
        if is_named(file, self._part):
            super()._remove(file)


def _is_ours(file: FileIO) -> bool:
    found = os.fstat(file.fileno())
    return (
        stat.S_ISREG(found.st_mode)
        and found.st_uid == os.geteuid()
        and found.st_nlink == 1
        and not found.st_mode & _OTHERS_WRITE
    )


def _lock(file: FileIO) -> bool:
    import fcntl  # noqa: PLC0415 -- POSIX systems alone have it

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Somebody has it, or the file system does not know locks.
        return False
    return True


async def sweep_downloads(directory: Path | str, *, older_than: float) -> list[Path]:
    """Remove unfinished downloads that nobody goes on with, and return what they were called.

    Args:
        directory: Where downloads go to. What lies below it is not looked at.
        older_than: Seconds for which nothing was written to them. Those that some process works on are left alone.

    Raises:
        OSError: The directory cannot be read.
    """
    return await anyio.to_thread.run_sync(_sweep, Path(directory), time.time() - older_than)


def _sweep(directory: Path, before: float) -> list[Path]:
    gone = []
    for path in sorted(directory.iterdir()):
        if _NAME.fullmatch(path.name) and _is_old(path, before):
            path.unlink(missing_ok=True)
            gone.append(path)
    return gone


def _is_old(path: Path, before: float) -> bool:
    try:
        file = FileIO(os.open(path, _FOUND), "r+")
    except OSError:
        return False
    with file:
        old = os.fstat(file.fileno()).st_mtime < before
        return old and (os.name != "posix" or (_is_ours(file) and _lock(file) and is_named(file, path)))
