"""Credential files on the disk: read within limits, replaced as a whole, private from the first byte.

Everything here blocks, and is to be called in a worker thread. The lock is ``flock``'s, on a file of its own beside the
credential file: it ends with the process that holds it, however that ends. The package ``filelock`` was considered: it
does the same, and is one dependency more for a call that the standard library has.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import attrs

from ocidist._io.files import check_replaceable
from ocidist.errors import CredentialStoreError, ProtocolError
from ocidist.model import strictjson

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FILE_SIZE: Final = 4 * 1024 * 1024
"""Largest credential file that is read, in bytes: some ten thousand registries."""

_log = logging.getLogger("ocidist.credentials")
_PRIVATE = 0o600
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# Not everywhere; there, reading works all the same.
_CLOEXEC, _NONBLOCK, _NOFOLLOW = (getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NONBLOCK", "O_NOFOLLOW"))
# A FIFO must not hold us up.
_READ = os.O_RDONLY | _CLOEXEC | _NONBLOCK | getattr(os, "O_BINARY", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOEXEC | _NOFOLLOW
_PLACE = re.compile(r"line [0-9]+ column [0-9]+|byte order mark|nested deeper|Unicode")
_told: set[str] = set()


@attrs.frozen
class Stamp:
    """What tells one state of a file from the next, without reading it."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


class LockedElsewhereError(Exception):
    """Raised when somebody else is writing the file just now. Never leaves this package."""


def stamp_of(path: Path) -> Stamp | None:
    """Return the state of a file, None when there is none.

    Raises:
        CredentialStoreError: It cannot be found out.
    """
    try:
        about = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        problem = _problem(error)
    else:
        return Stamp(about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    raise CredentialStoreError(f"cannot read {path}: {problem}")


def is_out_of_reach(path: Path) -> bool:
    """Return whether a directory on the way to a file lets this user not in, whatever is there."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def read_file(path: Path, *, private: bool = False) -> bytes | None:
    """Return what a file holds, None when there is none.

    Args:
        path: The file.
        private: Whether to refuse one that others own, or can read or write.

    Raises:
        CredentialStoreError: It cannot be read, is larger than ``MAX_FILE_SIZE``, is not a file, or not private.
    """
    try:
        descriptor = os.open(path, _READ)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        problem = _problem(error)
    else:
        try:
            return _read(descriptor, path, private=private)
        finally:
            os.close(descriptor)
    raise CredentialStoreError(f"cannot read {path}: {problem}")


def _read(descriptor: int, path: Path, *, private: bool) -> bytes:
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        raise CredentialStoreError(f"cannot read {path}: it is not a file")
    if private and about.st_uid != os.geteuid():
        raise CredentialStoreError(f"cannot read {path}: it belongs to somebody else")
    if private and about.st_mode & _OPEN_TO_OTHERS:
        raise CredentialStoreError(f"cannot read {path}: it is not private: chmod 600 it")
    pieces: list[bytes] = []
    size = 0
    while size <= MAX_FILE_SIZE:
        try:
            piece = os.read(descriptor, MAX_FILE_SIZE + 1 - size)
        except OSError as error:
            problem = _problem(error)
            break
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
    else:
        problem = f"it is larger than {MAX_FILE_SIZE} bytes"
    pieces, piece = [], b""
    raise CredentialStoreError(f"cannot read {path}: {problem}")


def read_json(data: bytes, source: str) -> dict[str, object]:
    """Read a JSON object; nothing of it is in an error.

    Raises:
        CredentialStoreError: It is anything else.
    """
    problem = "it is not a JSON object"
    try:
        value = strictjson.loads(data, what="file", merged_keys=True)
        if isinstance(value, dict):
            return value
    except ProtocolError as error:
        place = _PLACE.search(error.message)
        problem = "it is not JSON" + (f" ({place[0]})" if place else "")
    value, data = None, b""
    raise CredentialStoreError(f"cannot read {source}: {problem}")


def warn_if_readable_by_others(path: Path) -> None:
    """Log a warning, once for each path, when others than the owner may read a file."""
    with contextlib.suppress(OSError):
        shown = str(path)
        if shown not in _told and path.stat().st_mode & _OPEN_TO_OTHERS:
            _told.add(shown)
            _log.warning("%s holds passwords or tokens and can be read by others: chmod 600 it", shown)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[Path]:
    """Hold the lock of a credential file, and have the place where it really is: symbolic links are followed.

    The directory is made, for its owner alone, if there is none.

    Raises:
        LockedElsewhereError: Somebody else has the lock.
        CredentialStoreError: The lock cannot be made, for lack of room or of permission.
    """
    import fcntl  # noqa: PLC0415 -- POSIX systems alone have it, and reading needs none

    try:
        target = Path(os.path.realpath(path))
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = target.parent / f".{target.name}.lock"
        lock = _open_lock(beside, target)
    except OSError as error:
        fail(path, error)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                raise LockedElsewhereError from None
            fail(path, error)
        yield target
    finally:
        os.close(lock)


def _open_lock(beside: Path, target: Path) -> int:
    try:
        lock = os.open(beside, _CREATE, _PRIVATE)
    except FileExistsError:
        return os.open(beside, os.O_RDWR | _CLOEXEC | _NOFOLLOW)
    # Only what was made just now is given away: what is there already may be a link to anything.
    _give_to_owner(lock, target)
    return lock


def _give_to_owner(descriptor: int, target: Path) -> None:
    """Let a file belong to whom another one belongs, as far as that is permitted: after ``sudo``, they need both."""
    with contextlib.suppress(OSError):
        about = target.stat()
        if (about.st_uid, about.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(descriptor, about.st_uid, about.st_gid)


def replace_file(target: Path, document: dict[str, object]) -> None:
    """Put a JSON document in the place of a file; with the file's lock held.

    Whoever looks, at any time, finds the old file or the new one. The new one is for its owner alone, and belongs to
    whom the old one belonged.

    Raises:
        CredentialStoreError: It cannot be written; the old file is as it was.
    """
    data = (json.dumps(document, indent="\t", ensure_ascii=False) + "\n").encode()
    part = target.parent / f".{target.name}.{secrets.token_hex(8)}.part"
    problem: OSError | None = None
    try:
        check_replaceable(target)
        _sweep(target)
        _write(part, data, target)
        part.replace(target)
    except OSError as error:
        problem = error.with_traceback(None)
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    document, data = {}, b""
    if problem is not None:
        fail(target, problem)
    _sync_directory(target.parent)


def _write(part: Path, data: bytes, target: Path) -> None:
    descriptor = os.open(part, _CREATE, _PRIVATE)
    try:
        # Whatever the umask: it can only have taken away what the owner needs. Not all file systems have modes.
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, _PRIVATE)
        _give_to_owner(descriptor, target)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(target: Path) -> None:
    # With the lock held nobody else writes here: parts that are left are those of processes that were killed.
    name = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{16}}\.part", re.ASCII)
    for entry in target.parent.iterdir():
        if name.fullmatch(entry.name):
            with contextlib.suppress(OSError):
                entry.unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    # The file is in its place; a file system that cannot flush directories does not undo that.
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def fail(path: Path, error: OSError) -> NoReturn:
    """Raise the error for a file that cannot be written.

    Raises:
        CredentialStoreError: Always.
    """
    raise CredentialStoreError(f"cannot write {path}: {_problem(error)}")


def _problem(error: OSError | ValueError) -> str:
    # The others are for names that no file can have: with a NUL, or half a surrogate pair.
    told = error.strerror if isinstance(error, OSError) else "no file can have that name"
    return told or type(error).__name__
