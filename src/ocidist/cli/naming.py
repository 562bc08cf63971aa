"""What the arguments of commands name: registries, repositories, manifests, blobs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from ocidist.cli.failure import hinted
from ocidist.errors import InvalidReferenceError, UsageError
from ocidist.model.digest import Digest
from ocidist.model.places import DOCKER, check_path, is_local, on_registry
from ocidist.model.reference import Reference, RegistryName, located

HELM: Final = "oci://"

_DIGEST: Final = re.compile(r"sha(?:256|512):")

_ONLY_HOST: Final = re.compile(r"[^/]+:[0-9]{1,5}/?|[^/:@]*\.[^/:@]*/?|localhost/?|\[[0-9a-fA-F:]+\](?::[0-9]{1,5})?/?")


def reference(text: str) -> Reference:
    """Read ``[http[s]://][host/]repository[:tag][@digest]``.

    Raises:
        InvalidReferenceError: It is none.
    """
    return located(on_registry(text))


def registry(text: str) -> RegistryName:
    """Read ``[http[s]://]host[:port]``.

    Raises:
        InvalidReferenceError: It is anything else.
    """
    if not text.strip():
        raise InvalidReferenceError("the registry has no name")
    name = text.removeprefix(DOCKER).removesuffix("/")
    if "/" in name.partition("://")[2 if "://" in name else 0]:
        raise InvalidReferenceError(f"{text[:80]!r} is not a registry: leave the repository out")
    return RegistryName.parse(name)


def names_registry(text: str) -> bool:
    """Return whether an argument names a registry, and nothing in it."""
    scheme, separator, rest = text.removeprefix(DOCKER).partition("://")
    if separator:
        return "/" not in rest.removesuffix("/")
    return _ONLY_HOST.fullmatch(scheme) is not None


def registry_in(text: str) -> RegistryName:
    """Return the registry that an argument names, by itself or with something in it.

    Raises:
        InvalidReferenceError: It names none.
    """
    return registry(text) if names_registry(text) else reference(text).registry


def local_path(text: str) -> tuple[Path, Digest | None]:
    """Read ``oci:DIR`` or ``oci-archive:FILE``, with ``@digest`` after it or without.

    Raises:
        UsageError: It names a tag.
        InvalidReferenceError: It names no path.
        InvalidDigestError: The digest is none.
    """
    rest = text.partition(":")[2]
    path, at, digest = rest.rpartition("@")
    if not (at and _DIGEST.match(digest)):
        path, digest = rest, ""
    if ":" in path:
        raise UsageError(f"{text[:200]!r} names one manifest: leave the tag out")
    check_path(path, text)
    return Path(path), Digest(digest) if digest else None


def remote(text: str) -> Reference:
    """Read the reference of something that is to be changed on a registry.

    Raises:
        InvalidReferenceError: It is none.
        UsageError: It is a place on this machine.
    """
    if text.startswith(HELM):
        raise hinted(UsageError(f"{text[:200]!r} is not on a registry"), f"Leave out {HELM}, which Helm alone writes")
    if is_local(text):
        raise hinted(UsageError(f"{text[:200]!r} is not on a registry"), "ocidist cp copies to layouts and archives")
    return reference(text)


def digest_in(text: str) -> Digest:
    """Return the digest of ``repository@digest``.

    Raises:
        InvalidReferenceError: It is no reference.
        UsageError: There is no digest.
    """
    found = local_path(text)[1] if is_local(text) else reference(text).digest
    if found is None:
        raise UsageError(f"{text[:200]!r} names no blob: blobs have no tags, write repository@digest")
    return found
