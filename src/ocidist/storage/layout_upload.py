"""Blobs that are not complete yet: files in a layout's working directory that outlive the process. All of it blocks.

Whoever writes to one holds ``flock`` on it, which ends with the process. Nothing that is found is believed: it is
hashed again, unless it is what this process left there itself.
"""

from __future__ import annotations

import os
import re
import threading
import time
import uuid
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from ocidist.errors import BlobUploadUnknownError, UploadConflictError
from ocidist.model.digest import Hasher
from ocidist.storage import layout_disk as disk
from ocidist.storage.answers import refusal
from ocidist.storage.layout_files import WORK

if TYPE_CHECKING:
    from collections.abc import Generator

    from ocidist.model.digest import Digest
    from ocidist.storage.layout_files import Files
    from ocidist.storage.layout_state import State

KEEP_S: Final = 7 * 24 * 3600.0
"""Seconds without a write after which an upload is given up."""
_NAME: Final = re.compile(r"(?:upload-[0-9a-f]{32}|blob-[a-z0-9]{1,16}-[0-9a-f]{64,128})", re.ASCII)
_READ: Final = 256 * 1024


def fresh_name() -> str:
    """Return the name of a new upload, which nobody can guess."""
    return f"upload-{uuid.uuid4().hex}"


def name_for(digest: Digest) -> str:
    """Return the name of the upload of a blob that is known."""
    return f"blob-{digest.algorithm}-{digest.encoded}"


class Upload:
    """A file that is becoming a blob; open, and nobody else's.

    Attributes:
        name: Its name in the working directory.
        size: Bytes that are on their way to the disk, and hashed.
        pieces: What is to be written next; only added to elsewhere.
    """

    def __init__(self, state: State, name: str, file: int, hasher: Hasher) -> None:
        self._state = state
        self.name = name
        self._file: int | None = file
        self._hasher = hasher
        self.size: int = 0
        self.pieces: deque[bytes | memoryview] = deque()
        # asyncio's own cancellation leaves a worker thread running; what comes after it has to wait for that.
        self._lock = threading.Lock()

    @classmethod
    def begin(cls, state: State, name: str, algorithm: str) -> Self:
        """Create an upload.

        Raises:
            FileExistsError: There is one of this name.
            OSError: It cannot be created.
        """
        with state.files.directory(WORK, make=True) as inner:
            file = disk.create(name, inner)
            if not _lock(file):
                os.close(file)
                raise BlockingIOError
            return cls(state, name, file, Hasher(algorithm))

    @classmethod
    def find(cls, state: State, name: str, algorithm: str) -> Self:
        """Open an upload that is there. It has to be read by ``rehash`` next.

        Raises:
            BlobUploadUnknownError: There is none.
            UploadConflictError: Somebody works on it.
            OSError: It cannot be opened.
        """
        if _NAME.fullmatch(name) is None:
            raise _gone()
        try:
            with state.files.directory(WORK) as inner:
                disk.look(name, inner)
                file = disk.reopen(name, inner)
        except FileNotFoundError:
            raise _gone() from None
        if not _lock(file):
            os.close(file)
            raise UploadConflictError("somebody else is writing to this upload session")
        return cls(state, name, file, Hasher(algorithm))

    @property
    def open(self) -> bool:
        """Whether it is neither published nor discarded nor closed."""
        return self._file is not None

    def rehash(self) -> Generator[None, None, None]:
        """Hash what is there, a step after the other; nothing is read that this process has just hashed itself."""
        kept = self._state.hashers.pop(self.name, None)
        with self._lock:
            seen = None if self._file is None else _seen(self._file)
        if kept is not None and kept[0].algorithm == self._hasher.algorithm and kept[1] == seen:
            self._hasher = kept[0]
        else:
            yield from self._hash_into(self._hasher, None)
        self.size = self._hasher.size

    def hash_as(self, hasher: Hasher) -> Generator[None, None, Hasher]:
        """Let another hasher see everything that is there, a step after the other."""
        yield from self._hash_into(hasher, self.size)
        return hasher

    def digest(self) -> Digest:
        """Return the digest of what is there."""
        return self._hasher.digest()

    def drain(self) -> None:
        """Write the pieces.

        Raises:
            BlobUploadUnknownError: The upload is closed.
            OSError: They cannot be written; those that were not are forgotten.
        """
        with self._lock:
            try:
                while self.pieces:
                    self._append(self.pieces[0])
                    self.pieces.popleft()
            except BaseException:
                self.pieces.clear()
                if self._file is not None:
                    with suppress(OSError):
                        disk.truncate(self._file, self.size)
                raise

    def clear(self) -> None:
        """Forget everything that was written.

        Raises:
            BlobUploadUnknownError: The upload is closed.
            OSError: The file cannot be cut.
        """
        with self._lock:
            if self._file is None:
                raise _gone()
            self.pieces.clear()
            disk.truncate(self._file, 0)
            self._hasher, self.size = Hasher(self._hasher.algorithm), 0

    def publish(self, digest: Digest) -> None:
        """Let the file be a blob; the upload is over then.

        Raises:
            BlobUploadUnknownError: The file is not there any more.
            OSError: It cannot be done; the upload is as it was.
        """
        with self._lock:
            if self._file is None or not self._state.files.publish(self.name, self._file, digest):
                raise _gone()
            self._close()

    def close(self) -> None:
        """Write what is left, and leave the file to whoever goes on with it; does nothing the second time."""
        with suppress(OSError, BlobUploadUnknownError):
            self.drain()
        with self._lock:
            if self._file is not None:
                self._state.keep_hasher(self.name, self._hasher, _seen(self._file))
            self._close()

    def discard(self) -> None:
        """Remove the file; does nothing the second time."""
        with self._lock:
            if self._file is not None:
                with suppress(OSError), self._state.files.directory(WORK) as inner:
                    if os.path.samestat(os.fstat(self._file), disk.look(self.name, inner)):
                        disk.unlink(self.name, inner)
            self._close()

    def _append(self, piece: bytes | memoryview) -> None:
        if self._file is None:
            raise _gone()
        disk.write_all(self._file, piece, self.size)
        self._hasher.update(piece)
        self.size = self._hasher.size

    def _hash_into(self, hasher: Hasher, stop: int | None) -> Generator[None, None, None]:
        while stop is None or hasher.size < stop:
            with self._lock:
                if self._file is None:
                    raise _gone()
                piece = os.pread(self._file, _READ, hasher.size)
            if not piece:
                return
            hasher.update(piece if stop is None else piece[: stop - hasher.size])
            yield

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def sweep(files: Files, older_than: float) -> list[str]:
    """Remove uploads that nobody goes on with, and return their names.

    Args:
        files: The layout.
        older_than: Seconds for which nothing was written to them. Those that somebody works on are left alone.

    Raises:
        OSError: The directory cannot be read.
    """
    gone = []
    before = time.time() - older_than
    try:
        with files.directory(WORK) as inner:
            for name in disk.names_in(inner):
                if _NAME.fullmatch(name) and _is_left(name, inner, before):
                    disk.unlink(name, inner)
                    gone.append(name)
    except FileNotFoundError:
        pass
    return gone


def _is_left(name: str, inner: int, before: float) -> bool:
    try:
        if disk.look(name, inner).st_mtime >= before:
            return False
        file = disk.reopen(name, inner)
    except OSError:
        return False
    try:
        return _lock(file)
    finally:
        os.close(file)


def _lock(file: int) -> bool:
    import fcntl  # noqa: PLC0415 -- POSIX systems alone have it

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _seen(file: int) -> tuple[int, int, int]:
    found = os.fstat(file)
    return found.st_ino, found.st_size, found.st_mtime_ns


def _gone() -> BlobUploadUnknownError:
    return refusal(BlobUploadUnknownError, 404, "the upload session is not known")
