"""Credential files, as Docker, Podman and their relatives read and write them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final, Self

import anyio
import anyio.to_thread
import attrs

from ocidist.credentials.disk import (
    LockedElsewhereError,
    locked,
    read_file,
    replace_file,
    warn_if_readable_by_others,
)
from ocidist.credentials.document import ConfigDocument
from ocidist.credentials.entry import refusal
from ocidist.credentials.helper import CredentialHelper
from ocidist.credentials.keys import key_of
from ocidist.credentials.store import ANONYMOUS, Anonymous, Credential
from ocidist.errors import CredentialStoreError, UsageError

LEGACY_NAME: Final = ".dockercfg"
"""The name of files that hold entries only, as Docker before 1.7 wrote them."""

LOCK_TIMEOUT: Final = 10.0
"""Seconds to wait for others who write the same file."""

_TRIES = 5


@attrs.frozen
class _Change:
    host: str
    namespace: str
    credential: Credential | None


class AuthFile:
    """A ``config.json``, an ``auth.json`` or a ``.dockercfg``, as it was when it was read.

    It is a provider itself: ``Client(credentials=await AuthFile.load("auth.json"))``. Helpers that the file names are
    asked anew for each call; ``FileCredentials`` remembers, and sees changes of the file.

    ``set()`` and ``erase()`` change nothing but this object, until ``save()`` merges them into the file as it is then.

    Args:
        path: Where it is; None for what never was a file.
        document: What it says.
    """

    def __init__(self, path: Path | None, document: ConfigDocument) -> None:
        self.path = path
        self._document = document
        self._changes: list[_Change] = []

    @classmethod
    async def load(cls, path: str | Path) -> Self:
        """Read a file in a worker thread; one that does not exist is empty.

        Raises:
            CredentialStoreError: It cannot be read, or is not such a file. Nothing it holds is in the error.
        """
        where = Path(path)
        return cls(where, await anyio.to_thread.run_sync(read_document, where))

    @classmethod
    def parse(cls, data: bytes, *, source: str = "the credentials") -> Self:
        """Read the bytes of a ``config.json`` or ``auth.json``.

        Args:
            data: JSON in UTF-8.
            source: What to call it in errors.

        Raises:
            CredentialStoreError: They are anything else. Nothing of them is in the error.
        """
        pieces, data = [data], b""
        # Popped, so that the traceback of an error shows nothing of it.
        return cls(None, ConfigDocument.parse(pieces.pop(), source))

    def __repr__(self) -> str:
        return f"<AuthFile {self.path}>"

    @property
    def has_namespaces(self) -> bool:
        """Whether it has entries for parts of a registry."""
        return self._document.has_namespaces

    async def get(self, host: str, *, repository: str | None = None) -> Credential:
        """Return the credential for a registry, or ``ANONYMOUS``.

        The helper of the host is asked, else the one of all hosts; what they do not have may be in an entry. Of the
        entries the one with the longest matching namespace counts. Cancelling kills a helper that runs.

        Args:
            host: The registry, ``host[:port]``; or the address of its API, ``https://host/v1/``, as Docker names it.
            repository: The repository, for entries that are for a part of a registry.

        Raises:
            CredentialStoreError: A helper fails, or the entry that counts cannot be used.
            InvalidReferenceError: *host* is not a registry name.
        """
        helper = self.helper_for(host, repository=repository)
        if helper is not None:
            for server in self._document.servers(host, repository):
                if (found := await helper.get(server)) is not None:
                    return found
        return self.resolve(host, repository=repository) or ANONYMOUS

    def resolve(self, host: str, *, repository: str | None = None) -> Credential | None:
        """Return what the entries have for a registry, None when there is nothing; helpers are not asked.

        Raises:
            CredentialStoreError: The entry that counts cannot be used.
            InvalidReferenceError: *host* is not a registry name.
        """
        return self._document.resolve(host, repository)

    def helper_for(self, host: str, *, repository: str | None = None) -> CredentialHelper | None:
        """Return the helper that the file names for a registry, or None.

        Raises:
            CredentialStoreError: No helper can have that name.
            InvalidReferenceError: *host* is not a registry name.
        """
        name = self._document.helper_for(host, repository)
        return CredentialHelper(name) if name else None

    def set(self, host: str, credential: Credential, *, namespace: str = "") -> None:
        """Keep a credential for a registry.

        Args:
            host: The registry, ``host[:port]``.
            credential: Who asks there.
            namespace: The repositories it is for, a name or the beginning of names; empty for all. Docker does not
                know namespaces, Podman does.

        Raises:
            UsageError: The credential is nobody, or none.
            InvalidReferenceError: *host* is not a registry name.
        """
        if isinstance(credential, Anonymous) or not isinstance(credential, Credential):
            raise refusal(credential)
        self._document = self._document.with_entry(host, namespace, credential)
        self._changes.append(_Change(host, namespace, credential))

    def erase(self, host: str, *, namespace: str = "") -> bool:
        """Forget a registry, however its key is spelt.

        Returns:
            Whether there was an entry, or there may be something in a helper.

        Raises:
            InvalidReferenceError: *host* is not a registry name.
        """
        known = bool(self._document.keys_of(host, namespace) or self._document.helper_for(host, namespace or None))
        self._document = self._document.without_entry(host, namespace)
        self._changes.append(_Change(host, namespace, None))
        return known

    async def save(self) -> None:
        """Merge what was set and erased into the file as it is now, and read it anew.

        Where the file names a helper, secrets go there, and never into the file. The file is replaced as a whole, with
        mode 0600; what ocidist does not know in it stays, and so does a symbolic link that leads to it. Others who
        write it by these means are waited for, for ``LOCK_TIMEOUT`` seconds. When cancelled, each registry is as it was
        or as it was to be; calling it again goes on.

        Raises:
            CredentialStoreError: A helper fails, or the file cannot be read, locked or written; it is as it was then.
            UsageError: This is not a file.
        """
        if self.path is None:
            raise UsageError("these credentials were not read from a file, so there is none to save them in")
        changes = tuple(self._changes)
        for _ in range(_TRIES):
            now = await anyio.to_thread.run_sync(read_document, self.path)
            helpers = tuple(now.helper_for(change.host, change.namespace or None) for change in changes)
            for change, helper in zip(changes, helpers, strict=True):
                await _tell(helper, change, now)
            merged = await self._merge(self.path, changes, helpers)
            if merged is not None:
                self._document = merged
                del self._changes[: len(changes)]
                return
        raise CredentialStoreError(f"cannot write {self.path}: others keep changing its credential helpers")

    async def _merge(
        self, path: Path, changes: tuple[_Change, ...], helpers: tuple[str | None, ...]
    ) -> ConfigDocument | None:
        end = anyio.current_time() + LOCK_TIMEOUT
        while True:
            try:
                return await anyio.to_thread.run_sync(_merge, path, changes, helpers)
            except LockedElsewhereError:
                if anyio.current_time() >= end:
                    break
            await anyio.sleep(random.uniform(0.002, 0.02))  # noqa: S311 -- so that writers do not keep step
        raise CredentialStoreError(
            f"cannot write {path}: somebody else has been writing it for {LOCK_TIMEOUT:g} seconds"
        )


def read_document(path: Path) -> ConfigDocument:
    """Read a file in its form, which its name tells; blocks. One that does not exist is empty.

    Raises:
        CredentialStoreError: It cannot be read, or is not such a file.
    """
    document = ConfigDocument.parse(read_file(path) or b"", str(path), legacy=path.name == LEGACY_NAME)
    if document.holds_secrets:
        warn_if_readable_by_others(path)
    return document


async def _tell(name: str | None, change: _Change, document: ConfigDocument) -> None:
    if name is None:
        return
    helper, key = CredentialHelper(name), key_of(change.host, change.namespace)
    if change.credential is None:
        gone = document.names_of(change.host, change.namespace)
    else:
        await helper.store(key, change.credential)
        gone = tuple(other for other in document.keys_of(change.host, change.namespace) if other != key)
    for server in gone:
        await _forget(helper, server)


async def _forget(helper: CredentialHelper, server: str) -> None:
    try:
        await helper.erase(server)
    except CredentialStoreError:
        # docker-credential-pass fails for what it does not have, in words of its own.
        if await helper.get(server) is not None:
            raise


def _merge(path: Path, changes: tuple[_Change, ...], helpers: tuple[str | None, ...]) -> ConfigDocument | None:
    with locked(path) as target:
        before = document = read_document(path)
        for change, helper in zip(changes, helpers, strict=True):
            if document.helper_for(change.host, change.namespace or None) != helper:
                # Somebody has just named another helper: what would be written here belongs there.
                return None
            if change.credential is not None:
                kept = None if helper else change.credential
                document = document.with_entry(change.host, change.namespace, kept)
            else:
                document = document.without_entry(change.host, change.namespace)
        if document.value != before.value:
            replace_file(target, document.value)
        return document
