"""A small file that says how far something came, for whoever starts again after a crash.

Whoever looks finds the text that was saved last, whole: it is written to a file of its own, flushed to the disk and
renamed. One process at a time has it: the lock is ``flock``'s, which ends with the process, on the file itself; where
there is none (Windows), nobody is kept out.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from typing import TYPE_CHECKING, Final, NoReturn, Self

import anyio

from ocidist._io.files import sync_directory
from ocidist._io.turns import Turns
from ocidist.errors import StorageError, UsageError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

MAX_TEXT: Final = 128 * 1024
"""Bytes of a journal that are read."""
_PRIVATE: Final = 0o600
_FLAGS: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


class Journal:
    """A journal; ``async with`` opens it and keeps others out.

    Args:
        path: The file. Its directory must exist; it is made, for its owner alone, if there is none.

    Attributes:
        text: What was saved last; empty if nothing was.

    Raises:
        StorageError: It cannot be read or made.
        UsageError: It is no regular file, or another process has it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self.text: str = ""
        self._turns = Turns(self._close)

    def __repr__(self) -> str:
        return f"<Journal {self._path}>"

    async def __aenter__(self) -> Self:
        """Open it, and read what was saved last."""
        try:
            await self._turns.run(self._open)
        except BaseException:
            self._turns.let_go()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Let others have it; an empty one is removed."""
        with anyio.CancelScope(shield=True):
            try:
                await self._turns.run(self._leave)
            finally:
                # asyncio's own cancellation does not mind the shield.
                self._turns.let_go()

    async def save(self, text: str) -> None:
        """Replace the text. Cancelled or not, the file has the old text or the new one.

        Raises:
            StorageError: It cannot be written; the file has the old text.
        """
        await self._turns.run(self._replace, text)

    async def remove(self) -> None:
        """Remove the file: there is nothing to go on with.

        Raises:
            StorageError: It cannot be removed.
        """
        await self._turns.run(self._remove)

    def _open(self) -> None:
        try:
            while True:
                file = os.open(self._path, _FLAGS | getattr(os, "O_NONBLOCK", 0), _PRIVATE)
                self._file = file
                about = os.fstat(file)
                self._check_regular(about)
                self._lock(file)
                # Whoever had it may have put another file in its place meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(self._path.lstat(), about):
                        break
                self._close()
            data = os.read(file, MAX_TEXT + 1)
            self._sweep()
        except OSError as error:
            self._close()
            self._fail(error)
        except BaseException:
            self._close()
            raise
        self.text = data.decode("utf-8", "replace")

    def _check_regular(self, about: os.stat_result) -> None:
        if not stat.S_ISREG(about.st_mode):
            raise UsageError(f"{self._path} is not a regular file")

    def _lock(self, file: int) -> None:
        try:
            import fcntl  # noqa: PLC0415 -- POSIX systems alone have it
        except ImportError:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another process uses the journal {self._path}") from None

    def _replace(self, text: str) -> None:
        part = self._path.parent / f".{self._path.name}.{secrets.token_hex(8)}.part"
        file: int | None = None
        try:
            file = os.open(part, _FLAGS | os.O_EXCL, _PRIVATE)
            self._lock(file)
            view = memoryview(text.encode())
            while view:
                view = view[os.write(file, view) :]
            os.fsync(file)
            part.replace(self._path)
        except OSError as error:
            if file is not None:
                os.close(file)
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            self._fail(error)
        self._close()
        self._file, self.text = file, text
        # It is in its place; a file system that cannot flush directories does not undo that.
        with contextlib.suppress(OSError):
            sync_directory(self._path.parent)

    def _remove(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            self._fail(error)
        self.text = ""
        self._close()

    def _leave(self) -> None:
        if self._file is not None and not os.fstat(self._file).st_size:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
        self._close()

    def _sweep(self) -> None:
        # With the lock held nobody else writes here: parts that are left are those of processes that were killed.
        name = re.compile(rf"\.{re.escape(self._path.name)}\.[0-9a-f]{{16}}\.part", re.ASCII)
        for entry in self._path.parent.iterdir():
            if name.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    entry.unlink(missing_ok=True)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _fail(self, error: OSError) -> NoReturn:
        made = StorageError(f"cannot use the journal {self._path}: {error.strerror or error}")
        made.errno = error.errno
        raise made from error
