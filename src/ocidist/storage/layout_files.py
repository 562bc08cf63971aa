"""The files of one layout: its index, its blobs, and the lock for whoever changes them. All of it blocks.

What is complete appears under its name at once and is on the disk by then: a blob before the index that names it, a
file before its name, a name before the call returns. What is not complete lies in ``.ocidist``, which other tools do
not look at. Changes of the index hold the lock of that directory and begin with what the index says by then, so nothing
that others wrote is lost.

Spec: image-spec, "Image Layout".
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import attrs

from ocidist._io.body import CLOCK_TICK
from ocidist._io.files import CLOEXEC, NOFOLLOW, NONBLOCK
from ocidist.errors import ProtocolError
from ocidist.model import strictjson
from ocidist.storage import layout_disk as disk
from ocidist.storage.layout_disk import broken
from ocidist.storage.layout_index import LAYOUT_FILE, Index

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import TypeVar

    from ocidist.model.digest import Digest

    T = TypeVar("T")

WORK: Final = ".ocidist"
"""Directory within a layout for what is not complete, and for the lock."""
BLOBS: Final = "blobs"
INDEX: Final = "index.json"
MARKER: Final = "oci-layout"
LOCK: Final = "lock"
GONE: Final = "gone-"
"""What the name of a directory begins with whose blobs are being removed."""
MAX_INDEX: Final = 32 * 1024 * 1024
"""Bytes of ``index.json`` that are read: more than 100,000 tags have."""
MAX_MARKER: Final = 64 * 1024
"""Bytes of ``oci-layout`` that are read."""
_RESERVED: Final = frozenset({BLOBS, INDEX, MARKER})
_LOCK_FLAGS: Final = os.O_RDWR | os.O_CREAT | CLOEXEC | NOFOLLOW | NONBLOCK
_TRIES: Final = 100
CANNOT_LINK: Final = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
)
"""What file systems answer that have no links, or not between these two directories."""


class Busy(Exception):  # noqa: N818 -- it never leaves the store
    """Raised when somebody else has the lock."""


def folders(name: str) -> tuple[str, ...]:
    """Return the directories of a repository: one for each part of its name.

    What is a file or a directory of a layout itself gets an underscore, which no part of a name ends in: a repository
    ``a/blobs`` does not lie among the blobs of ``a``.
    """
    return tuple(f"{part}_" if part in _RESERVED else part for part in name.split("/"))


def part_of(folder: str) -> str:
    """Return the part of a repository's name that a directory stands for."""
    return folder[:-1] if folder[:-1] in _RESERVED and folder.endswith("_") else folder


@attrs.frozen
class _Read:
    """An index that was read.

    Attributes:
        seen: What the file looked like.
        settled: Whether it had not been written to in the moment before; else a change might not show in its time.
        check: Hash of the file's bytes.
        index: What it says.
    """

    seen: tuple[int, int, int, int, int]
    settled: bool
    check: bytes
    index: Index


class Files:
    """The files of one layout.

    Args:
        root: A directory.
        below: The layout's directory within that, one part after the other.
        or_root: Whether the directory itself is the layout, if it is one.
    """

    def __init__(self, root: Path, below: tuple[str, ...] = (), *, or_root: bool = False) -> None:
        self._root = root
        self._below = below
        self._or_root = or_root and bool(below)
        self._read: _Read | None = None
        self._swept = False

    # --- the index ---------------------------------------------------------------------------------------------------

    def load(self) -> Index | None:
        """Return what the index says now, or None if there is no layout.

        Raises:
            StorageError: What is there is no layout of a version that is known, or damaged.
            OSError: It cannot be read.
        """
        try:
            with self.directory() as folder:
                if self._read is None and not _is_layout(folder, self.path):
                    return None
                return self._load(folder)
        except (FileNotFoundError, NotADirectoryError):
            self._read = None
            return None

    def _load(self, folder: int) -> Index | None:
        try:
            file = disk.open_regular(INDEX, folder)
        except FileNotFoundError:
            self._read = None
            if not _is_layout(folder, self.path):
                return None
            raise broken(f"{self.path} is damaged: it has no index.json", errno.ENOENT) from None
        try:
            return self._reread(file)
        finally:
            os.close(file)

    def _reread(self, file: int) -> Index:
        found, before = os.fstat(file), self._read
        seen = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if before is not None and before.seen == seen and before.settled:
            return before.index
        settled = max(found.st_mtime_ns, found.st_ctime_ns) + CLOCK_TICK < time.time_ns()
        if found.st_size > MAX_INDEX:
            raise broken(f"{self.path} has an index.json of {found.st_size} bytes", errno.EFBIG)
        data = disk.read_all(file, MAX_INDEX)
        check = hashlib.sha256(data).digest()
        index = before.index if before is not None and before.check == check else Index.parse(data)
        self._read = _Read(seen, settled, check, index)
        return index

    def exists(self) -> bool:
        """Return whether there is a layout, whatever is in it.

        Raises:
            OSError: That cannot be told.
        """
        try:
            with self.directory() as folder:
                disk.look(MARKER, folder)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    # --- changes -----------------------------------------------------------------------------------------------------

    def change(self, work: Callable[[Change], T]) -> T:
        """Change something with the lock held; the layout is made if there is none.

        Raises:
            Busy: Somebody else has the lock.
            StorageError: See ``load``.
            OSError: Something cannot be done.
        """
        with self.locked() as (folder, inner):
            if not _is_layout(folder, self.path):
                self._make(folder, inner)
            if not self._swept:
                self.sweep_parts(inner)
            index = self._load(folder)
            if index is None:
                raise broken(f"{self.path} is damaged: it has no {MARKER}", errno.ENOENT)
            return work(Change(self, index, folder, inner))

    @contextmanager
    def locked(self, *, shared: bool = False) -> Iterator[tuple[int, int]]:
        """Hold the lock; gives the layout's directory and the working directory. Raises as ``change``.

        Args:
            shared: Whether others may hold it too, who only add blobs.
        """
        for _ in range(_TRIES):
            with self.directory(make=True) as folder, self.directory(WORK, make=True) as inner:
                # Somebody may remove the directory meanwhile.
                try:
                    lock = _lock(inner, shared=shared)
                except FileNotFoundError:
                    continue
                if lock is None:
                    continue
                try:
                    yield folder, inner
                finally:
                    os.close(lock)
                return
        raise Busy

    def _make(self, folder: int, inner: int) -> None:
        with self.directory(BLOBS, "sha256", make=True):
            pass
        try:
            disk.look(INDEX, folder)
        except FileNotFoundError:
            disk.replace_file(INDEX, folder, Index.empty().dump(), inner)
        disk.replace_file(MARKER, folder, LAYOUT_FILE, inner)

    def remove_all(self) -> None:
        """Remove the layout's own directory and those above it that are empty then, but not the root.

        To be called without the lock; what somebody has put there meanwhile stays.
        """
        for count in range(len(self._below), 0, -1):
            with disk.directory(self._root, *self._below[: count - 1]) as folder:
                disk.rmdir(self._below[count - 1], folder)

    def sweep_parts(self, inner: int) -> None:
        """Remove what processes left that were killed while they had the lock; to be called with the lock held."""
        for name in disk.names_in(inner):
            with suppress(OSError):
                if name.startswith("file-") and name.endswith(".part"):
                    disk.unlink(name, inner)
                elif name.startswith(GONE):
                    for _ in emptied(self, name):
                        pass
        self._swept = True

    # --- blobs -------------------------------------------------------------------------------------------------------

    def size(self, digest: Digest) -> int | None:
        """Return a blob's size, or None if it is not there.

        Raises:
            OSError: What is there is no regular file.
        """
        try:
            with self.directory(BLOBS, digest.algorithm) as folder:
                return disk.look(digest.encoded, folder).st_size
        except FileNotFoundError:
            return None

    def open(self, digest: Digest) -> int | None:
        """Open a blob and return the file's descriptor, or None if it is not there. Raises what ``size`` raises."""
        try:
            with self.directory(BLOBS, digest.algorithm) as folder:
                return disk.open_regular(digest.encoded, folder)
        except FileNotFoundError:
            return None

    def read(self, digest: Digest, limit: int) -> bytes | None:
        """Return a blob's bytes, and no more than one beyond a limit, or None. Raises what ``size`` raises."""
        file = self.open(digest)
        if file is None:
            return None
        try:
            return disk.read_all(file, limit)
        finally:
            os.close(file)

    def section(self, digest: Digest) -> tuple[int, int, int] | None:
        """Return a descriptor, an offset and a size for reading a blob, or None. Raises what ``size`` raises."""
        file = self.open(digest)
        return None if file is None else (file, 0, os.fstat(file).st_size)

    def publish(self, part: str, file: int, digest: Digest) -> bool:
        """Let a file of the working directory be a blob; return whether it was still there.

        Raises:
            Busy: Somebody else has the lock.
            OSError: It cannot be done.
        """
        disk.sync(file)
        with self.locked(shared=True) as (_, inner), self.directory(BLOBS, digest.algorithm, make=True) as folder:
            try:
                if not os.path.samestat(os.fstat(file), disk.look(part, inner)):
                    return False
            except FileNotFoundError:
                return False
            disk.rename(part, inner, digest.encoded, folder)
            disk.sync(folder)
            return True

    def refresh(self, digest: Digest) -> int | None:
        """Return a blob's size, or None, and let it be as young as if it had just been pushed.

        Raises:
            Busy: Somebody else has the lock.
            OSError: What is there is no regular file.
        """
        if self.size(digest) is None:
            return None
        try:
            with self.locked(shared=True), self.directory(BLOBS, digest.algorithm) as folder:
                return _refresh(digest.encoded, folder)
        except FileNotFoundError:
            return None

    def link(self, other: Files, digest: Digest) -> bool:
        """Give a blob of another layout a name here too; return False if it has none there.

        Raises:
            Busy: Somebody else has the lock.
            OSError: It cannot be done; see ``CANNOT_LINK``.
        """
        file = other.open(digest)
        if file is None:
            return False
        name = digest.encoded
        try:
            disk.sync(file)
            with (
                self.locked(shared=True),
                other.directory(BLOBS, digest.algorithm) as source,
                self.directory(BLOBS, digest.algorithm, make=True) as folder,
            ):
                with suppress(OSError):
                    disk.touch(file)
                disk.link(name, source, name, folder)
                if not os.path.samestat(os.fstat(file), disk.look(name, folder)):
                    disk.unlink(name, folder)
                    return False
                disk.sync(folder)
        except FileNotFoundError:
            return False
        finally:
            os.close(file)
        return True

    def remove(self, digest: Digest) -> bool:
        """Remove a blob and return whether there was one; to be called with the lock held."""
        try:
            with self.directory(BLOBS, digest.algorithm) as folder:
                disk.unlink(digest.encoded, folder)
                disk.sync(folder)
        except FileNotFoundError:
            return False
        return True

    @property
    def path(self) -> Path:
        """The layout's directory, for messages."""
        return self._root.joinpath(*self._below)

    def directory(self, *inner: str, make: bool = False) -> AbstractContextManager[int]:
        """Open the layout's directory, or one within it. Raises as ``layout_disk.directory``."""
        if self._or_root:
            with suppress(OSError), disk.directory(self._root) as folder:
                disk.look(MARKER, folder)
                return disk.directory(self._root, *inner, make=make)
        return disk.directory(self._root, *self._below, *inner, make=make)

    def kept(self, index: Index, data: bytes, folder: int) -> None:
        """Remember an index that was just written."""
        found = disk.look(INDEX, folder)
        seen = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        self._read = _Read(seen, settled=False, check=hashlib.sha256(data).digest(), index=index)


@attrs.frozen
class Change:
    """A change of a layout, while the lock is held.

    Attributes:
        files: The layout.
        index: What the index says.
        folder: The layout's directory.
        inner: Its working directory.
    """

    files: Files
    index: Index
    folder: int
    inner: int

    def write(self, index: Index) -> None:
        """Write another index.

        Raises:
            StorageError: It is too large to be read again.
            OSError: It cannot be written; the old one is there.
        """
        if index == self.index:
            return
        data = index.dump()
        if len(data) > MAX_INDEX:
            raise broken(f"the index of {self.files.path} would have {len(data)} bytes", errno.EFBIG)
        disk.replace_file(INDEX, self.folder, data, self.inner)
        self.files.kept(index, data, self.folder)

    def store(self, digest: Digest, data: bytes) -> None:
        """Store small content, unless it is there already.

        Raises:
            OSError: It cannot be stored.
        """
        with self.files.directory(BLOBS, digest.algorithm, make=True) as folder:
            with suppress(OSError):
                if disk.read_file(digest.encoded, folder, len(data)) == data:
                    _refresh(digest.encoded, folder)
                    return
            disk.replace_file(digest.encoded, folder, data, self.inner)


def _lock(inner: int, *, shared: bool) -> int | None:
    """Take the lock, or return None if somebody put another one in its place."""
    import fcntl  # noqa: PLC0415 -- POSIX systems alone have it

    lock = disk.open_at(LOCK, _LOCK_FLAGS, inner)
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        named = os.stat(LOCK, dir_fd=inner, follow_symlinks=False)
        if os.path.samestat(os.fstat(lock), named):
            return lock
    except BlockingIOError:
        os.close(lock)
        raise Busy from None
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return None


def emptied(files: Files, gone: str) -> Generator[None, None, None]:
    """Remove a directory of blobs within the working directory, a file after the other."""
    with suppress(FileNotFoundError), files.directory(WORK, gone) as folder:
        for algorithm in disk.names_in(folder):
            with files.directory(WORK, gone, algorithm) as inner:
                for name in disk.names_in(inner):
                    with suppress(FileNotFoundError):
                        disk.unlink(name, inner)
                    yield
            disk.rmdir(algorithm, folder)
    with suppress(FileNotFoundError), files.directory(WORK) as folder:
        disk.rmdir(gone, folder)


def _refresh(name: str, folder: int) -> int:
    file = disk.open_regular(name, folder)
    try:
        with suppress(PermissionError):
            disk.touch(file)  # others may own it
        # Somebody may have been killed before this.
        disk.sync(file)
        disk.sync(folder)
        return os.fstat(file).st_size
    finally:
        os.close(file)


def _is_layout(folder: int, path: Path) -> bool:
    try:
        data = disk.read_file(MARKER, folder, MAX_MARKER)
    except FileNotFoundError:
        return False
    check_marker(data, path)
    return True


def check_marker(data: bytes, path: Path) -> None:
    """Check what ``oci-layout`` says.

    Raises:
        StorageError: It is not what it has to be, or of a version that nobody knows.
    """
    if len(data) > MAX_MARKER:
        raise broken(f"{path} is no layout: its {MARKER} has over {MAX_MARKER} bytes", errno.EFBIG)
    try:
        found = strictjson.loads(data, what=MARKER, unique_keys=True)
    except ProtocolError as error:
        raise broken(f"{path} is no layout: {error.message}") from None
    version = found.get("imageLayoutVersion") if isinstance(found, dict) else None
    if not isinstance(version, str) or not version.startswith("1."):
        raise broken(f"{path} is no layout of a version that is known")
