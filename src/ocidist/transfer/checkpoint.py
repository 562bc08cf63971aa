"""A file that says what is done, so that a mirror that was killed goes on where it was.

Its first line says whose it is; each further line is the key of a task that is done. A line counts only once its end is
there. Lines are written at once and flushed by the operating system: a process that is killed loses none, a machine
that loses power may lose the last ones, and does them again.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import TYPE_CHECKING, Final, Self

from ocidist._io.files import CLOEXEC, NOFOLLOW, NONBLOCK
from ocidist._io.turns import Turns
from ocidist.errors import StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType
    from typing import TypeVarTuple

    from ocidist.model.digest import Digest

    _Args = TypeVarTuple("_Args")

KIND: Final = "ocidist mirror checkpoint"
VERSION: Final = 1
MAX_LINE: Final = 8192
"""Longest line that is read, in bytes; no key is longer."""
_PRIVATE: Final = 0o600


class Checkpoint:
    """What is done; ``async with`` opens the file and keeps others out.

    Args:
        path: The file. Its directory must exist; it is made, for its owner alone, if there is none.
        config: What is mirrored, by the digest of its rules: the file is for this alone.

    Raises:
        StorageError: It cannot be read or made.
        UsageError: It is no checkpoint, it is one of something else, or another process has it.
    """

    def __init__(self, path: Path, config: Digest) -> None:
        self._path = path
        self._config = config
        self._file: int | None = None
        self._done: set[str] = set()
        self._turns = Turns(self._close)

    def __repr__(self) -> str:
        return f"<Checkpoint {self._path}: {len(self._done)} done>"

    def __contains__(self, key: str) -> bool:
        return key in self._done

    async def __aenter__(self) -> Self:
        """Open it, and read what is done."""
        try:
            await self._run(self._open)
        except BaseException:
            self._turns.let_go()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close it; what is done stays there to read."""
        self._turns.let_go()

    async def add(self, key: str) -> None:
        """Say that a task is done. Cancelled or not, the whole line is there or nothing of it that counts.

        Raises:
            StorageError: It cannot be written.
        """
        if key not in self._done:
            await self._run(self._append, f"{key}\n".encode())
            self._done.add(key)

    async def remove(self) -> None:
        """Remove the file: there is nothing to go on with.

        Raises:
            StorageError: It cannot be removed.
        """
        await self._run(self._remove)

    async def _run(self, work: Callable[[*_Args], None], *args: *_Args) -> None:
        try:
            await self._turns.run(work, *args)
        except OSError as error:
            reason = "it is a link" if error.errno == errno.ELOOP else error.strerror or str(error)
            made = StorageError(f"cannot use the checkpoint {self._path}: {reason}")
            made.errno = error.errno
            raise made from error

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _remove(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            # Where no file can be removed, an empty one says the same.
            if self._file is None:
                raise
            os.ftruncate(self._file, 0)

    def _append(self, data: bytes) -> None:
        if self._file is None:
            raise UsageError("a checkpoint is used within async with")
        while data:
            data = data[os.write(self._file, data) :]

    def _open(self) -> None:
        while True:
            self._file = os.open(
                self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | CLOEXEC | NOFOLLOW | NONBLOCK, _PRIVATE
            )
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise UsageError(f"{self._path} is not a regular file")
            self._lock(self._file)
            if self._is_there(self._file):
                break
            # Who had it before has removed it meanwhile.
            self._close()
        self._read(self._file)

    def _is_there(self, file: int) -> bool:
        """Return whether an open file is the one that the path names."""
        try:
            return os.path.samestat(os.fstat(file), self._path.lstat())
        except FileNotFoundError:
            return False

    def _lock(self, file: int) -> None:
        try:
            import fcntl  # noqa: PLC0415 -- POSIX systems alone have it
        except ImportError:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another process uses the checkpoint {self._path}") from None

    def _read(self, file: int) -> None:
        with os.fdopen(os.dup(file), "rb") as lines:
            head = lines.readline(MAX_LINE)
            good = len(head)
            if head.endswith(b"\n"):
                self._check(head)
            elif self._head().startswith(head):
                # It is new, or whoever began it was killed while doing so.
                good = 0
            else:
                raise UsageError(f"{self._path} is not a checkpoint")
            while good and (line := lines.readline(MAX_LINE)).endswith(b"\n"):
                self._done.add(line[:-1].decode("utf-8", "replace"))
                good += len(line)
        # Half a line is nobody's: what is appended to it would be lost.
        os.ftruncate(file, good)
        if not good:
            self._append(self._head())

    def _head(self) -> bytes:
        return json.dumps({"kind": KIND, "version": VERSION, "config": str(self._config)}).encode() + b"\n"

    def _check(self, head: bytes) -> None:
        try:
            found = json.loads(head)
        except ValueError:
            found = None
        if not isinstance(found, dict) or found.get("kind") != KIND:
            raise UsageError(f"{self._path} is not a checkpoint")
        if found.get("version") != VERSION:
            raise UsageError(f"{self._path} is the checkpoint of another version of ocidist: remove it to begin again")
        if found.get("config") != str(self._config):
            raise UsageError(f"{self._path} is the checkpoint of another mirror: remove it, or use another file")
