"""Logging in and out: what Docker, Podman and this library itself find afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ocidist.credentials.authfile import AuthFile
from ocidist.credentials.paths import login_path
from ocidist.errors import CredentialStoreError

if TYPE_CHECKING:
    from ocidist.credentials.store import Credential


@attrs.frozen
class StoredLogin:
    """Where a login was kept.

    Attributes:
        path: The file.
        helper: The name of the helper that keeps the secret; None when it is in the file, in base64, which protects
            from nobody who can read the file.
    """

    path: Path
    helper: str | None = None


async def login(
    host: str, credential: Credential, *, namespace: str = "", path: str | Path | None = None
) -> StoredLogin:
    """Keep a credential for a registry. No request is made: ``Registry.ping()`` tells whether it is good.

    Where the file names a helper, the secret goes there, and never into the file. Cancelling leaves what was there, or
    what was to be.

    Args:
        host: The registry, ``host[:port]``.
        credential: Who asks there.
        namespace: The repositories it is for, a name or the beginning of names; empty for all.
        path: The file; None for ``$REGISTRY_AUTH_FILE``, else Docker's ``config.json``.

    Returns:
        Where it is kept.

    Raises:
        CredentialStoreError: A helper fails, or the file cannot be read, locked or written.
        UsageError: The credential is nobody.
        InvalidReferenceError: *host* is not a registry name.
    """
    file = await AuthFile.load(_target(path))
    file.set(host, credential, namespace=namespace)
    await file.save()
    helper = file.helper_for(host, repository=namespace or None)
    return StoredLogin(_target(path), None if helper is None else helper.name)


async def logout(host: str, *, namespace: str = "", path: str | Path | None = None) -> bool:
    """Forget a registry, in the file and in the helper that it names.

    Args:
        host: The registry, ``host[:port]``.
        namespace: The repositories it is for; empty for what is kept for the whole registry.
        path: The file; None for the one that ``login`` would write.

    Returns:
        Whether there was an entry, or a helper that may have had one.

    Raises:
        CredentialStoreError: A helper fails, or the file cannot be read, locked or written.
        InvalidReferenceError: *host* is not a registry name.
    """
    file = await AuthFile.load(_target(path))
    known = file.erase(host, namespace=namespace)
    if known:
        await file.save()
    return known


def _target(path: str | Path | None) -> Path:
    found = login_path() if path is None else Path(path)
    if found is None:
        raise CredentialStoreError("there is no home directory to keep credentials in: name a file")
    return found
