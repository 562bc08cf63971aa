"""What a layout asks of the file system: every call that opens or changes something, and how directories are reached.

Nothing else in the store does that, so tests can let each call fail, and can replay what a loss of power leaves.
Everything is done relative to open directories and follows no link below the layout's own directory. All of it blocks.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from ocidist._io.files import CLOEXEC, NOFOLLOW, NONBLOCK
from ocidist.errors import OciError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DIRECTORY: Final = os.O_RDONLY | CLOEXEC | getattr(os, "O_DIRECTORY", 0)
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | CLOEXEC | NOFOLLOW
_REOPEN: Final = os.O_RDWR | CLOEXEC | NOFOLLOW | NONBLOCK
_READ: Final = os.O_RDONLY | CLOEXEC | NOFOLLOW | NONBLOCK
_READ_AT_ONCE: Final = 256 * 1024


# --- changes ---------------------------------------------------------------------------------------------------------


def open_at(name: str | Path, flags: int, folder: int | None = None) -> int:
    """Open something and return its descriptor."""
    return os.open(name, flags, 0o666, dir_fd=folder)


def create(name: str, folder: int) -> int:
    """Create a file and return its descriptor; raises ``FileExistsError`` if there is one."""
    return open_at(name, _CREATE, folder)


def reopen(name: str, folder: int) -> int:
    """Open a file to write to it and return its descriptor."""
    return open_at(name, _REOPEN, folder)


def write(file: int, data: memoryview, offset: int) -> int:
    """Write bytes at an offset and return how many were written."""
    return os.pwrite(file, data, offset)


def truncate(file: int, size: int) -> None:
    """Cut a file."""
    os.ftruncate(file, size)


def sync(file: int) -> None:
    """Flush a file or a directory to the disk."""
    os.fsync(file)


def touch(file: int) -> None:
    """Let a file be as young as can be."""
    os.utime(file)


def rename(name: str, folder: int, new: str, new_folder: int) -> None:
    """Give a file another name, in place of what has that name."""
    os.replace(name, new, src_dir_fd=folder, dst_dir_fd=new_folder)


def link(name: str, folder: int, new: str, new_folder: int) -> None:
    """Give a file one more name."""
    os.link(name, new, src_dir_fd=folder, dst_dir_fd=new_folder, follow_symlinks=False)


def unlink(name: str, folder: int) -> None:
    """Take a name away."""
    os.unlink(name, dir_fd=folder)


def mkdir(name: str, folder: int) -> None:
    """Make a directory."""
    os.mkdir(name, 0o777, dir_fd=folder)


def rmdir(name: str, folder: int) -> None:
    """Remove an empty directory."""
    os.rmdir(name, dir_fd=folder)


# --- directories and files -------------------------------------------------------------------------------------------


@contextmanager
def directory(root: Path, *below: str, make: bool = False) -> Iterator[int]:
    """Open a directory and hold it open.

    Args:
        root: Where to begin; links on the way there are followed.
        below: Directories below that, one within the other; none of them may be a link.
        make: Whether to make what is not there, and to flush that to the disk.

    Raises:
        OSError: It is not there, or not a directory.
    """
    folder = _root(root, make=make)
    try:
        for name in below:
            inner = _below(name, folder, make=make)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _root(path: Path, *, make: bool) -> int:
    try:
        return open_at(path, _DIRECTORY)
    except FileNotFoundError:
        if not make or path.parent == path:
            raise
    parent = _root(path.parent, make=True)
    try:
        return _made(path.name, parent, _DIRECTORY)
    finally:
        os.close(parent)


def _below(name: str, folder: int, *, make: bool) -> int:
    try:
        return open_at(name, _DIRECTORY | NOFOLLOW, folder)
    except FileNotFoundError:
        if not make:
            raise
    except NotADirectoryError:
        # What a link gives as well, with O_DIRECTORY.
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise _is_link(name, errno.ENOTDIR) from None
        raise
    return _made(name, folder, _DIRECTORY | NOFOLLOW)


def _made(name: str, folder: int, flags: int) -> int:
    with suppress(FileExistsError):
        mkdir(name, folder)
    sync(folder)
    return open_at(name, flags, folder)


def names_in(folder: int) -> list[str]:
    """Return the names in a directory, sorted."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries)


def look(name: str, folder: int) -> os.stat_result:
    """Return the status of a regular file.

    Raises:
        FileNotFoundError: There is nothing of that name.
        OSError: It is something else: a link, a directory, a pipe, a device.
    """
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    _check_regular(name, found)
    return found


def open_regular(name: str, folder: int) -> int:
    """Open a regular file for reading and return its descriptor. Raises what ``look`` raises."""
    look(name, folder)  # to open a device may do something
    file = open_at(name, _READ, folder)
    try:
        _check_regular(name, os.fstat(file))
    except BaseException:
        os.close(file)
        raise
    return file


def read_all(file: int, limit: int) -> bytes:
    """Return everything in a file, and no more than one byte beyond a limit."""
    found = bytearray()
    while len(found) <= limit:
        piece = os.pread(file, min(_READ_AT_ONCE, limit + 1 - len(found)), len(found))
        if not piece:
            break
        found += piece
    return bytes(found)


def read_file(name: str, folder: int, limit: int) -> bytes:
    """Return what a regular file holds, and no more than one byte beyond a limit. Raises what ``look`` raises."""
    file = open_regular(name, folder)
    try:
        return read_all(file, limit)
    finally:
        os.close(file)


def write_all(file: int, data: bytes | memoryview, offset: int = 0) -> None:
    """Write bytes at an offset, all of them."""
    view = memoryview(data)
    while view:
        count = write(file, view, offset)
        view, offset = view[count:], offset + count


def replace_file(name: str, folder: int, data: bytes, work: int) -> None:
    """Put a file with this content in the place of what is there, so that at any time one of the two is there, whole.

    Args:
        name: The file.
        folder: Its directory.
        data: What it shall hold.
        work: Directory for the file while it is not complete.
    """
    part = f"file-{secrets.token_hex(8)}.part"
    file = create(part, work)
    try:
        try:
            write_all(file, data)
            sync(file)
        finally:
            os.close(file)
        rename(part, work, name, folder)
    except BaseException:
        with suppress(OSError):
            unlink(part, work)
        raise
    sync(folder)


def _check_regular(name: str, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise _is_link(name, errno.ELOOP)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, f"{name} is not a regular file")


def _is_link(name: str, number: int) -> OSError:
    return OSError(number, f"{name} is a symbolic link, and none is followed: cp -rL makes a layout without links")


# --- errors ----------------------------------------------------------------------------------------------------------


def failed(what: str, error: OSError) -> StorageError:
    """Return the error to raise for one of the operating system's."""
    made = StorageError(f"cannot {what}: {error.strerror or error}")
    made.errno = error.errno
    return made


def broken(message: str, number: int = errno.EBADMSG) -> StorageError:
    """Return the error for content of a layout that is not as it has to be."""
    made = StorageError(message)
    made.errno = number
    return made


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn the operating system's errors into ``StorageError``."""
    try:
        yield
    except OSError as error:
        if isinstance(error, OciError):
            raise
        raise failed(what, error) from error
