"""The user file of registries with passwords: ``name:bcrypt-hash`` per line.

``passlib`` was considered: it is not maintained any more and does not take today's ``bcrypt``.

Spec: docker-registry, "htpasswd" (bcrypt is the only format it takes).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
import re
import secrets
import threading
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from inspect import isawaitable
from pathlib import Path
from typing import Final, Self, TypeAlias

import anyio
import anyio.to_thread
import attrs
import bcrypt
from anyio.lowlevel import RunVar

from ocidist._io.files import check_replaceable
from ocidist.errors import CredentialStoreError, InvalidCredentialError, UsageError
from ocidist.issuer.paths import read_capped, sync_directory, write_private
from ocidist.issuer.users import check_user_name

MAX_FILE: Final = 4 * 1024 * 1024
"""Most bytes of a user file: some fifty thousand users."""

MAX_PASSWORD_BYTES: Final = 72
"""Most bytes of a password: bcrypt does not look at more, so two longer ones could be the same to it."""

DEFAULT_ROUNDS: Final = 10
"""Cost of new hashes. Registries check the password with each request, and every step up doubles what that takes."""

MIN_ROUNDS: Final = 4
MAX_ROUNDS: Final = 16
"""Highest cost that is taken: some seconds of work for each login."""

_HASH: Final = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}", re.ASCII)
_BOM: Final = b"\xef\xbb\xbf"

_numbers = itertools.count()
_logger = logging.getLogger("ocidist.issuer")


@attrs.frozen
class HashedUser:
    """A user as the file has them.

    Attributes:
        name: Must print, and not contain ``:``.
        hash: The password's bcrypt hash, written ``$2y$``; not shown.

    Raises:
        InvalidCredentialError: The name cannot be written, or the hash is none of bcrypt's.
    """

    name: str
    hash: str = attrs.field(repr=lambda _: "'***'")

    def __attrs_post_init__(self) -> None:
        """Check both."""
        check_user_name(self.name)
        if _cost(self.hash) is None:
            raise InvalidCredentialError(f"the password of {self.name!r} is no bcrypt hash of cost 4 to {MAX_ROUNDS}")

    @classmethod
    def create(cls, name: str, password: str, *, rounds: int = DEFAULT_ROUNDS) -> Self:
        """Hash a password. Takes a twentieth of a second or more, so call it in a worker thread.

        Args:
            name: User name.
            password: At most 72 bytes of UTF-8.
            rounds: Cost, from 4 to 16; every step doubles the time.

        Raises:
            InvalidCredentialError: The name or the password cannot be used.
        """
        hidden = Hidden.of(password)
        del password  # not for whoever shows the variables of this frame
        return cls.hashing(name, hidden, rounds)

    @classmethod
    def hashing(cls, name: str, password: Hidden, rounds: int) -> Self:
        """Do what ``create`` does with a password that is hidden already."""
        check_user_name(name)
        if password.problem is not None:
            raise InvalidCredentialError(f"the password of {name!r} {password.problem}")
        # "2y" is what every registry takes; the algorithm of "2b" is the same.
        hashed = bcrypt.hashpw(password.data, bcrypt.gensalt(rounds)).decode()
        return cls(name, "$2y$" + hashed[4:])


Source: TypeAlias = (
    Mapping[str, str] | Iterable[HashedUser | tuple[str, str]] | AsyncIterable[HashedUser | tuple[str, str]]
)
"""Users: passwords by name, or pairs of name and password, or users with a hash already; all at once or one by one."""


@attrs.frozen
class _Loaded:
    seen: tuple[int, ...]
    hashes: Mapping[str, bytes] = attrs.field(repr=False)
    # What is compared for users that there are not.
    dummy: bytes = attrs.field(repr=False)


class Htpasswd:
    """A user file. It is read again when it changes; a change that cannot be read is logged, and the old users stay.

    Args:
        path: The file.
        rounds: Cost of new hashes, from 4 to 16.
        concurrency: Most passwords that are hashed at the same time, each in a worker thread. By default one for each
            processor: bcrypt does nothing but compute.

    Raises:
        UsageError: A number is out of range.
    """

    def __init__(self, path: Path | str, *, rounds: int = DEFAULT_ROUNDS, concurrency: int | None = None) -> None:
        if not MIN_ROUNDS <= rounds <= MAX_ROUNDS:
            raise UsageError(f"rounds is a number from {MIN_ROUNDS} to {MAX_ROUNDS}")
        if concurrency is not None and concurrency < 1:
            raise UsageError("concurrency is a number of at least 1")
        self._path = Path(path)
        self._rounds = rounds
        self._concurrency = os.cpu_count() or 1 if concurrency is None else concurrency
        # One for each event loop that uses this object.
        self._limiter: RunVar[anyio.CapacityLimiter] = RunVar(f"threads of htpasswd {next(_numbers)}")
        self._loaded: _Loaded | None = None
        self._reading = threading.Lock()
        # The newest state of the file that could not be read, so that it is logged once.
        self._broken: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        return f"Htpasswd({str(self._path)!r})"

    async def check(self, name: str, password: str) -> bool:
        """Return whether it is the user's password.

        Does as much work for users that there are not, at the highest cost in the file. A password that bcrypt would
        cut off is never right.

        Raises:
            CredentialStoreError: The file cannot be read, and never could.
            UsageError: The name or the password is not text.
        """
        text = isinstance(name, str) and isinstance(password, str)
        hidden = Hidden.of(password)
        del password  # not for whoever shows the variables of this frame
        if not text:
            raise UsageError("a user name and a password are text")
        loaded = await self._current()
        found = loaded.hashes.get(name)
        match = partial(_matches, hidden, found or loaded.dummy)
        same = await anyio.to_thread.run_sync(match, limiter=self._threads())
        return same and found is not None and hidden.problem is None

    async def stamp(self, name: str) -> str | None:
        """Return a text that changes when the user's password does, or None if there is no such user.

        Raises:
            CredentialStoreError: The file cannot be read, and never could.
        """
        found = (await self._current()).hashes.get(name)
        return None if found is None else hashlib.sha256(found).hexdigest()

    async def names(self) -> tuple[str, ...]:
        """Return who is in the file, sorted.

        Raises:
            CredentialStoreError: The file cannot be read, and never could.
        """
        return tuple(sorted((await self._current()).hashes))

    async def replace(self, users: Source | Callable[[], Source | Awaitable[Source]]) -> None:
        """Write the file anew. Readers see the old users or the new ones, never something in between.

        The file is readable by its owner only, who stays the same. Cancelling it leaves the old file, or the new one.

        Args:
            users: The users, or a callable, plain or async, that returns them. Passwords are hashed here, in worker
                threads.

        Raises:
            InvalidCredentialError: A name or password cannot be used, or a name is there twice; nothing was written.
            CredentialStoreError: The file cannot be written, or would be larger than 4 MiB.
            UsageError: There are no users to be had from what was given.
        """
        wanted = _each(users)
        del users  # passwords are not for whoever shows the variables of this frame
        lines: dict[str, str] = {}
        async with aclosing(wanted):
            async for named in wanted:
                if named is None:
                    # Raised here, where no variable holds what it is instead: that may be a password.
                    raise UsageError("a user is a HashedUser, or a pair of a name and a password")
                name, secret = named
                user = secret if isinstance(secret, HashedUser) else await self._hash(name, secret)
                if user.name in lines:
                    raise InvalidCredentialError(f"the user {user.name!r} is there twice")
                lines[user.name] = f"{user.name}:{user.hash}\n"
        data = "".join(lines.values()).encode()
        if len(data) > MAX_FILE:
            raise CredentialStoreError(f"{self._path} would be larger than {MAX_FILE} bytes")
        await anyio.to_thread.run_sync(_replace, self._path, data)

    async def _hash(self, name: str, secret: Hidden) -> HashedUser:
        return await anyio.to_thread.run_sync(_hashed, name, secret, self._rounds, limiter=self._threads())

    def _threads(self) -> anyio.CapacityLimiter:
        limiter = self._limiter.get(None)
        if limiter is None:
            limiter = anyio.CapacityLimiter(self._concurrency)
            self._limiter.set(limiter)
        return limiter

    async def _current(self) -> _Loaded:
        try:
            return await anyio.to_thread.run_sync(self._load)
        except CredentialStoreError as error:
            loaded = self._loaded
            if loaded is None:
                raise
            await self._keep(error)
            return loaded

    async def _keep(self, error: CredentialStoreError) -> None:
        state = await anyio.to_thread.run_sync(_state_of, self._path)
        if state != self._broken:
            self._broken = state
            _logger.warning("the users of before stay: %s", error)

    def _load(self) -> _Loaded:
        # Held by one worker thread at a time, so that a change is read once and not by everybody who logs in just then.
        with self._reading:
            # Looked at first: what changes after that is seen the next time.
            state = _state_of(self._path)
            if self._loaded is None or state != self._loaded.seen:
                self._loaded = _loaded(self._path, state or (), self._rounds)
                self._broken = None
            return self._loaded


@attrs.frozen
class Hidden:
    """A password on its way to a worker thread; not shown.

    Attributes:
        data: What bcrypt is given: never more than it looks at.
        problem: Why it cannot be anybody's password, or None.
    """

    data: bytes = attrs.field(repr=False)
    problem: str | None = None

    @classmethod
    def of(cls, text: object) -> Self:
        """Hide a password."""
        if not isinstance(text, str):
            return cls(b"nothing", "is not text")
        data = text.encode("utf-8", "surrogatepass")
        if len(data) > MAX_PASSWORD_BYTES:
            what = f"has {len(data)} bytes; bcrypt looks at {MAX_PASSWORD_BYTES} only, so longer ones are refused"
            return cls(data[:MAX_PASSWORD_BYTES], what)
        if not data or b"\0" in data:
            return cls(b"nothing", "is empty, or holds a NUL")
        return cls(data)


def _matches(password: Hidden, hashed: bytes) -> bool:
    return bcrypt.checkpw(password.data, hashed)


def _hashed(name: str, password: Hidden, rounds: int) -> HashedUser:
    return HashedUser.hashing(name, password, rounds)


def _cost(text: str) -> int | None:
    found = _HASH.fullmatch(text)
    cost = int(found[1]) if found else 0
    return cost if MIN_ROUNDS <= cost <= MAX_ROUNDS else None


async def _each(users: object) -> AsyncGenerator[tuple[str, HashedUser | Hidden] | None]:
    if callable(users):
        made = users()
        users = await made if isawaitable(made) else made
    if isinstance(users, Mapping):
        users = users.items()
    if isinstance(users, AsyncIterable):
        async with _closing(users):
            async for user in users:
                yield _named(user)
    elif isinstance(users, Iterable) and not isinstance(users, str | bytes):
        for user in users:
            yield _named(user)
    else:
        raise UsageError("users are a mapping, an iterable, an async iterable, or a callable that returns one")


@asynccontextmanager
async def _closing(source: object) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()


def _named(user: object) -> tuple[str, HashedUser | Hidden] | None:
    if isinstance(user, HashedUser):
        return user.name, user
    if not isinstance(user, tuple | list) or len(user) != 2 or not isinstance(user[0], str):
        return None
    name, password = user
    return name, Hidden.of(password)


# --- the file, in worker threads -------------------------------------------------------------------------------------


def _loaded(path: Path, state: tuple[int, ...], rounds: int) -> _Loaded:
    try:
        hashes = _parse(read_capped(path, MAX_FILE))
    except OSError as error:
        raise CredentialStoreError(f"cannot read the users in {path}: {error.strerror or error}") from error
    if isinstance(hashes, str):
        # Raised out here, where no variable holds the file.
        raise CredentialStoreError(f"{path}: {hashes}")
    cost = max((_cost(each.decode()) or rounds for each in hashes.values()), default=rounds)
    return _Loaded(state, hashes, bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(cost)))


def _state_of(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _parse(data: bytes) -> dict[str, bytes] | str:
    """Return hashes by user name, or what is wrong with the file."""
    try:
        lines = data.removeprefix(_BOM).decode().split("\n")
    except UnicodeDecodeError:
        return "it is not UTF-8"
    hashes: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        text = line.removesuffix("\r")
        if not text.strip() or text.startswith("#"):
            continue
        name, _, hashed = text.partition(":")
        problem = _problem(name, hashed) or ("a user is there twice" if name in hashes else None)
        if problem is not None:
            return f"line {number}: {problem}"
        hashes[name] = hashed.encode()
    return hashes


def _problem(name: str, hashed: str) -> str | None:
    try:
        check_user_name(name)
    except InvalidCredentialError:
        return "the user name cannot be used"
    return None if _cost(hashed) else f"only bcrypt hashes of cost {MIN_ROUNDS} to {MAX_ROUNDS} are taken"


def _replace(path: Path, data: bytes) -> None:
    # Where a symbolic link leads: whoever made it wants it to stay.
    target = Path(os.path.realpath(path))
    part = target.with_name(f".ocidist-{secrets.token_hex(8)}.part")
    try:
        check_replaceable(target)
        write_private(part, data)
        with contextlib.suppress(OSError):
            # Only root may: the registry that owns the file has to go on reading it.
            before = target.stat()
            os.chown(part, before.st_uid, before.st_gid)
        part.replace(target)
        sync_directory(target.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise CredentialStoreError(f"cannot write the users to {path}: {error.strerror or error}") from error
