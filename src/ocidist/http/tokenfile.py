"""A token cache that outlives the program: in memory while it runs, in a private file between runs.

The file holds access tokens and when they end, nothing to get new ones with: no refresh token, no password. Whose they
are is not in it either: entries are found by a slow hash of registry, token server, service and identity, with a salt
of the file's own, because a plain digest of a short password could be guessed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import anyio
import anyio.to_thread
import attrs

from ocidist.credentials.disk import LockedElsewhereError, locked, read_file, read_json, replace_file
from ocidist.credentials.store import RegistryToken
from ocidist.errors import CredentialStoreError, InvalidCredentialError, UsageError
from ocidist.http.caches import MemoryTokenCache, TokenOwner
from ocidist.http.retry import monotonic
from ocidist.wire.scope import ScopeSet
from ocidist.wire.token import MAX_LIFETIME, Token

if TYPE_CHECKING:
    from types import TracebackType

VERSION: Final = 1
SAVE_SECONDS: Final = 2.0
"""Seconds that leaving the cache may take at most; what is not written then is asked for again."""

_RETRY_S: Final = 0.02
_SALT_BYTES: Final = 16
_MAX_REFUSED: Final = 4096
# 4 MiB and about 10 ms for each owner, once: enough to make guessing slow, too little to hold up an event loop.
_WORK: Final = {"n": 2**12, "r": 8, "p": 1, "dklen": 32}
_SALT: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_OURS: Final = frozenset({"version", "salt", "tokens"})
_log = logging.getLogger("ocidist.http")


class _ForeignFileError(Exception):
    """The file is of a version that this program does not know, or of another program, and is left alone."""


@attrs.frozen
class _Contents:
    """What a file holds: its salt, and the tokens of each key."""

    salt: bytes
    tokens: dict[str, list[Token]]


class FileTokenCache(MemoryTokenCache):
    """Tokens in memory that are read from a file on entering ``async with`` and written to it on leaving.

    The file is made with mode 0600 and replaced as a whole under a lock; several programs may share it, and each adds
    its tokens to those of the others. One that is corrupt, can be read or written by others, or belongs to somebody
    else is ignored with a warning. Ends are kept in wall time; tokens whose end a changed clock has made implausible
    are dropped. POSIX only.

    Args:
        path: The file; its directory is made where there is none.
        max_entries: Most tokens to keep, in memory and in the file.
    """

    def __init__(self, path: str | Path, max_entries: int = 1024) -> None:
        super().__init__(max_entries)
        self._path = Path(path)
        self._most = max_entries
        self._salt = secrets.token_bytes(_SALT_BYTES)
        self._kept: dict[str, list[Token]] = {}
        self._keys: dict[TokenOwner, str] = {}
        self._refused: set[str] = set()
        self._changed = False

    def __repr__(self) -> str:
        return f"<FileTokenCache {self._path}>"

    async def __aenter__(self) -> Self:
        """Read the file."""
        await self.load()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Write the file; that it cannot be written is a warning, for nothing is lost that could not be had again."""
        problem = "it took too long"
        with anyio.move_on_after(SAVE_SECONDS, shield=True):
            try:
                await self.save()
            except CredentialStoreError as failure:
                problem = failure.message
            else:
                return
        _log.warning("tokens are not kept: %s", problem)

    async def load(self) -> None:
        """Read the file, in a worker thread; there may be none. Never raises for what is in it."""
        contents = await anyio.to_thread.run_sync(self._read_or_warn)
        if contents is not None:
            self._salt, self._kept = contents.salt, contents.tokens
            self._keys.clear()

    async def save(self) -> None:
        """Add what is new to the file, in a worker thread, and drop what has ended. Does nothing if nothing is new.

        Tokens of hundreds of registries or identities may not all fit into ``SAVE_SECONDS``; then some are left out.

        Raises:
            CredentialStoreError: The file cannot be written; it is as it was.
        """
        for _ in range(int(SAVE_SECONDS / _RETRY_S)):
            if not self._changed:
                return
            owned = [(owner, list(tokens.values())) for owner, tokens in self._by_owner.items()]
            saved, self._changed = False, False
            try:
                await anyio.to_thread.run_sync(self._merge, owned, dict(self._keys), frozenset(self._refused))
                saved = True
            except LockedElsewhereError:
                await anyio.sleep(_RETRY_S)
            finally:
                # What was stored meanwhile is new, too.
                self._changed = self._changed or not saved
        if self._changed:
            raise CredentialStoreError(f"{self._path} is being written by somebody else all the time")

    def find(self, owner: TokenOwner, scopes: ScopeSet, *, now: float) -> Token | None:
        """Return a fresh token whose scopes cover *scopes*, or None."""
        found = super().find(owner, scopes, now=now)
        if found is not None or not self._kept:
            return found
        kept = self._kept.get(self._key(owner), [])
        found = next((token for token in kept if token.scopes.covers(scopes) and token.fresh(now)), None)
        if found is not None:
            super().store(owner, found)
        return found

    def store(self, owner: TokenOwner, token: Token) -> None:
        """Remember a token."""
        super().store(owner, token)
        self._changed = True

    def discard(self, owner: TokenOwner, token: Token) -> None:
        """Forget a token that a registry refused, in the file too."""
        super().discard(owner, token)
        for tokens in self._kept.values():
            if token in tokens:
                tokens.remove(token)
        if len(self._refused) >= _MAX_REFUSED:
            self._refused.pop()
        self._refused.add(_fingerprint(token))
        self._changed = True

    def _key(self, owner: TokenOwner) -> str:
        known = self._keys.get(owner)
        if known is None:
            if len(self._keys) >= self._most:
                self._keys.clear()
            known = self._keys[owner] = _key_of(owner, self._salt)
        return known

    # --- in a worker thread ------------------------------------------------------------------------------------------

    def _read_or_warn(self) -> _Contents | None:
        try:
            return self._read(self._path)
        except CredentialStoreError as error:
            problem = error.message
        except _ForeignFileError:
            problem = "a newer program, or another program, wrote it, and it is left alone"
        except OSError as error:
            problem = error.strerror or type(error).__name__
        _log.warning("the tokens in %s are not used: %s", self._path, problem)
        return None

    @staticmethod
    def _read(path: Path, *, private: bool = True) -> _Contents | None:
        found = read_file(path, private=private)
        if found is None:
            return None
        contents = _understood(found, path)
        # No traceback may show what was read.
        found = None
        if isinstance(contents, str):
            raise CredentialStoreError(f"{path}: {contents}")
        return contents

    def _merge(
        self, owned: list[tuple[TokenOwner, list[Token]]], keys: dict[TokenOwner, str], refused: frozenset[str]
    ) -> None:
        _check_owners(self._path)
        with locked(self._path) as target:
            _check_owners(target)
            try:
                there = self._of_use(target)
            except _ForeignFileError:
                return
            salt = self._salt if there is None else there.salt
            merged = {} if there is None else dict(there.tokens)
            end = time.monotonic() + SAVE_SECONDS / 2
            for owner, tokens in owned:
                if time.monotonic() > end:
                    # Others wait for the lock, and whoever leaves for this.
                    break
                key = (keys.get(owner) if salt == self._salt else None) or _key_of(owner, salt)
                ours = {token.scopes for token in tokens}
                merged[key] = [*tokens, *(token for token in merged.get(key, []) if token.scopes not in ours)]
            replace_file(target, _document(salt, merged, refused, self._most))

    def _of_use(self, target: Path) -> _Contents | None:
        try:
            return self._read(target)
        except (CredentialStoreError, OSError):
            # Of no use to anybody, and to be replaced, unless it is another program's and only open to others.
            with suppress(CredentialStoreError, OSError):
                self._read(target, private=False)
            return None


def _check_owners(path: Path) -> None:
    """Refuse to write where somebody else would own the tokens, or has chosen what they overwrite.

    Raises:
        CredentialStoreError: The file, or the link that leads to it, belongs to somebody else.
    """
    try:
        about = os.lstat(path)
    except OSError:
        # There is none, or whoever opens it is told why not.
        return
    # Links that an administrator has made are part of the system.
    trusted = {os.geteuid(), 0} if stat.S_ISLNK(about.st_mode) else {os.geteuid()}
    if about.st_uid not in trusted:
        raise CredentialStoreError(f"cannot write {path}: it belongs to somebody else")


def _key_of(owner: TokenOwner, salt: bytes) -> str:
    text = f"{owner.origin}\0{owner.realm}\0{owner.service}\0{owner.identity}"
    return hashlib.scrypt(text.encode(), salt=salt, **_WORK).hex()


def _fingerprint(token: Token) -> str:
    return hashlib.sha256(token.value.encode()).hexdigest()


def _document(salt: bytes, tokens: dict[str, list[Token]], refused: frozenset[str], most: int) -> dict[str, object]:
    now, wall = monotonic(), time.time()
    lasting = [
        (token.expires_at, key, token)
        for key, owned in tokens.items()
        for token in owned
        if token.fresh(now) and _fingerprint(token) not in refused
    ]
    lasting.sort(key=lambda entry: entry[0], reverse=True)
    entries = [
        {
            "key": key,
            "scopes": str(token.scopes),
            "token": token.value,
            "expires": round(wall + expires - now, 3),
            "lifetime": token.lifetime,
        }
        for expires, key, token in lasting[:most]
    ]
    return {"version": VERSION, "salt": salt.hex(), "tokens": entries}


def _understood(data: bytes, path: Path) -> _Contents | str:
    """Return what a file holds, or what is wrong with it."""
    try:
        document = read_json(data, str(path))
    except CredentialStoreError as error:
        return error.message
    version, salt, entries = document.get("version"), document.get("salt"), document.get("tokens")
    if (isinstance(version, int) and version > VERSION) or (document and not _OURS & document.keys()):
        raise _ForeignFileError
    if version != VERSION or not isinstance(salt, str) or not _SALT.fullmatch(salt) or not isinstance(entries, list):
        return "it is no token file"
    tokens: dict[str, list[Token]] = {}
    for entry in entries:
        token = _token(entry) if isinstance(entry, dict) else None
        if token is not None and isinstance(entry["key"], str):
            tokens.setdefault(entry["key"], []).append(token)
    return _Contents(bytes.fromhex(salt), tokens)


def _token(entry: dict[str, object]) -> Token | None:
    value, scopes = entry.get("token"), entry.get("scopes")
    lifetime, expires = _seconds(entry.get("lifetime")), _seconds(entry.get("expires"))
    left = expires - time.time()
    if not (0 < lifetime <= MAX_LIFETIME and 0 < left <= lifetime and "key" in entry):
        # It has ended, or a clock is wrong.
        return None
    if not (isinstance(value, str) and isinstance(scopes, str)):
        return None
    try:
        return Token(RegistryToken(value).token, monotonic() + left, ScopeSet.parse(scopes), lifetime=lifetime)
    except (InvalidCredentialError, UsageError):
        return None


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value < 1e12 else 0.0
