"""Where keys live on disk, and how three files come into being together or not at all.

Creating them is safe against other processes and against being killed: a lock file serialises it, everything is written
under temporary names first, and a note in the lock file says when that is complete. Whoever comes next finishes what
the note says, so a half that is found was never ocidist's.

``fcntl.flock`` is the lock because the kernel drops it with its process; lock libraries add nothing to that here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import attrs

from ocidist.errors import CredentialStoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_KEY_FILE: Final = 64 * 1024
"""Most bytes of a key or certificate file that are read."""

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644
_READY: Final = b"ready\n"


@attrs.frozen
class KeyPaths:
    """The three files of a signing key. All of them have to be named, and all of them exist or none.

    Attributes:
        key: The private key: PKCS #8, PEM, mode 0600.
        public_key: The public key, PEM.
        certificate: The self-signed certificate, PEM: what a registry's ``rootcertbundle`` has to be.

    Raises:
        UsageError: Two of them are the same file.
    """

    key: Path = attrs.field(converter=Path)
    public_key: Path = attrs.field(converter=Path)
    certificate: Path = attrs.field(converter=Path)

    def __attrs_post_init__(self) -> None:
        """Check that there are three."""
        if len(set(self.all)) < len(self.all):
            raise UsageError("the key, the public key and the certificate are three files")

    @classmethod
    def default(cls) -> Self:
        """Return the files in ``~/.registry-certs``."""
        return cls.inside(Path.home() / ".registry-certs")

    @classmethod
    def inside(cls, directory: Path | str, name: str = "registry_auth") -> Self:
        """Return the files in a directory: ``NAME.key``, ``NAME.pub`` and ``NAME_ca.crt``."""
        root = Path(directory)
        return cls(root / f"{name}.key", root / f"{name}.pub", root / f"{name}_ca.crt")

    @property
    def all(self) -> tuple[Path, Path, Path]:
        """The three paths, the private key first."""
        return self.key, self.public_key, self.certificate

    @property
    def lock(self) -> Path:
        """The file that serialises their creation; it stays, empty."""
        return _beside(self.key, "lock")


@attrs.frozen
class KeyFiles:
    """What is in the three files.

    Attributes:
        key: The private key's PEM; not shown.
        public_key: The public key's PEM.
        certificate: The certificate's PEM.
    """

    key: bytes = attrs.field(repr=False)
    public_key: bytes
    certificate: bytes

    @property
    def all(self) -> tuple[tuple[bytes, int], ...]:
        """Contents and modes, in the order of ``KeyPaths.all``."""
        return (self.key, PRIVATE), (self.public_key, PUBLIC), (self.certificate, PUBLIC)


def load_or_create(paths: KeyPaths, create: Callable[[], KeyFiles]) -> KeyFiles:
    """Read the files, or create all of them if there is none. Blocks: to be called in a worker thread.

    Args:
        paths: Where they are.
        create: Makes the contents; called only if they are needed.

    Raises:
        CredentialStoreError: Some of them are there and some are not, or one cannot be read or written.
    """
    try:
        if all(path.exists() for path in paths.all) and not _unfinished(paths):
            return _read(paths)
        for path in paths.all:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(paths.lock) as lock:
            return _under_lock(paths, create, lock)
    except OSError as error:
        raise CredentialStoreError(f"cannot use the key files of {paths.key}: {error.strerror or error}") from error


def is_readable_by_others(path: Path) -> bool:
    """Return whether others than its owner may read a file."""
    return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def _under_lock(paths: KeyPaths, create: Callable[[], KeyFiles], lock: int) -> KeyFiles:
    if os.pread(lock, len(_READY), 0) == _READY:
        _publish(paths, lock)
    there = [path for path in paths.all if path.exists()]
    if there and len(there) < len(paths.all):
        missing = ", ".join(str(path) for path in paths.all if path not in there)
        raise CredentialStoreError(
            f"of the key files of {paths.key} some exist and some do not ({missing}); nothing is overwritten: "
            "put back what is missing, or remove the others"
        )
    if not there:
        for path, (data, mode) in zip(paths.all, create().all, strict=True):
            _write_new(_beside(path, "new"), data, mode)
        os.pwrite(lock, _READY, 0)
        os.fsync(lock)
        _publish(paths, lock)
    return _read(paths)


def _publish(paths: KeyPaths, lock: int) -> None:
    for path in paths.all:
        new = _beside(path, "new")
        # A link, because a rename would overwrite what somebody else put there meanwhile.
        with contextlib.suppress(FileNotFoundError):
            if not _is_same(new, path):
                os.link(new, path)
        sync_directory(path.parent)
    for path in paths.all:
        _beside(path, "new").unlink(missing_ok=True)
    os.ftruncate(lock, 0)
    os.fsync(lock)


def _is_same(new: Path, path: Path) -> bool:
    return path.exists() and new.samefile(path)


def _unfinished(paths: KeyPaths) -> bool:
    try:
        return paths.lock.stat().st_size > 0
    except FileNotFoundError:
        return False


def _read(paths: KeyPaths) -> KeyFiles:
    return KeyFiles(*(read_capped(path, MAX_KEY_FILE) for path in paths.all))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}")


def _write_new(path: Path, data: bytes, mode: int) -> None:
    path.unlink(missing_ok=True)
    write_private(path, data)
    path.chmod(mode)


def write_private(path: Path, data: bytes) -> None:
    """Write a file that is not there yet to the disk, readable by its owner only from its first moment on.

    Raises:
        OSError: It is there already, or cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
    with open(descriptor, "wb") as file:  # noqa: PTH123 -- a path could not say who may read it
        os.fchmod(descriptor, PRIVATE)
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def read_capped(path: Path, limit: int) -> bytes:
    """Read a file of at most *limit* bytes.

    Raises:
        CredentialStoreError: It is larger, or not a file.
        OSError: It cannot be read.
    """
    # A FIFO must not hold us up.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise CredentialStoreError(f"{path} is not a file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise CredentialStoreError(f"{path} is larger than {limit} bytes")
    return data


def sync_directory(path: Path) -> None:
    """Make sure that a directory's entries are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
