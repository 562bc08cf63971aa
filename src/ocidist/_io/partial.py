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
from typing import TYPE_CHECKING, Final, Self

import anyio.to_thread

from ocidist._io.files import CLOEXEC, NOFOLLOW, NONBLOCK, AtomicFile, create_private, is_named

if TYPE_CHECKING:
    from pathlib import Path

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
    """

    def __init__(self, path: Path, content: str, *, lasting: bool = True) -> None:
        super().__init__(path)
        self.keep = False
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

    async def hash_into(self, hasher: Hasher) -> None:
        """Let a hasher see everything that is there, in worker threads.

        Raises:
            StorageError: It cannot be read.
        """
        while await self._run(self._hash_some, hasher):
            pass

    async def clear(self) -> None:
        """Forget everything that is there.

        Raises:
            StorageError: It cannot be made shorter.
        """
        await self._run(self._clear)

    # --- in worker threads -------------------------------------------------------------------------------------------

    def _find(self) -> bool:
        with self._lock:
            self._check_target()
            if not self._over:
                self._take_over()
            return self._file is not None

    def _create(self) -> None:
        with self._lock:
            self._check_target()
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

    def _hash_some(self, hasher: Hasher) -> bool:
        with self._lock:
            if self._file is None or self._over:
                return False
            stop = hasher.size + _BATCH
            while hasher.size < stop and (piece := os.pread(self._file.fileno(), _READ, hasher.size)):
                hasher.update(piece)
            return hasher.size >= stop

    def _clear(self) -> None:
        with self._lock:
            if self._file is not None and not self._over:
                self._file.truncate(0)
                self._file.seek(0)

    def _remove(self, file: FileIO) -> None:
        lasting = self._part == self._lasting_part
        if lasting and self.keep and os.fstat(file.fileno()).st_size >= KEEP_FROM:
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


async def sweep_downloads(directory: Path, *, older_than: float) -> list[Path]:
    """Remove unfinished downloads that nobody goes on with, and return what they were called.

    Args:
        directory: Where downloads go to. What lies below it is not looked at.
        older_than: Seconds for which nothing was written to them. Those that some process works on are left alone.

    Raises:
        OSError: The directory cannot be read.
    """
    return await anyio.to_thread.run_sync(_sweep, directory, time.time() - older_than)


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
