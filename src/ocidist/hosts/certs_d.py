"""Certificates by host, as Docker and podman keep them: ``<host>[:port]/`` with ``*.crt``, ``*.cert`` and ``*.key``.

Spec: containers-certs.d(5); Docker, "Verify repository client with certificates".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ocidist.errors import HostsFileError, InvalidReferenceError
from ocidist.hosts.files import is_directory, listed
from ocidist.hosts.host import HostConfig
from ocidist.model.reference import RegistryName

if TYPE_CHECKING:
    from pathlib import Path

# Where a name may hold no colon, containerd writes "host_5000_".
_WITHOUT_COLON: Final = re.compile(r"(.+)_([0-9]{1,5})_", re.ASCII)


def read_certificates(path: Path) -> dict[str, Any]:
    """Return what ``HostsConfig`` is to be made of.

    Raises:
        HostsFileError: The directory cannot be read, or a certificate has no key.
    """
    entries: dict[str, HostConfig] = {}
    for name, directory in directories(path).items():
        config = certificates(directory)
        if config != HostConfig():
            entries[name] = config
    return {"entries": entries}


def directories(path: Path) -> dict[str, Path]:
    """Return the directories of registries in a directory, by the registry's name.

    Of several for one registry it is the one that containerd would take: the port between underscores, or the name as
    it is. Other names of Docker Hub come last.

    Raises:
        HostsFileError: It cannot be read.
    """
    found: dict[str, Path] = {}
    for item in listed(path):
        name = name_of(item)
        if name is None or not is_directory(item):
            continue
        if name not in found or _rank(item, name) < _rank(found[name], name):
            found[name] = item
    return found


def _rank(directory: Path, name: str) -> int:
    if _WITHOUT_COLON.fullmatch(directory.name):
        return 0
    return 1 if directory.name == name else 2


def name_of(directory: Path) -> str | None:
    """Return the registry that a directory is named after; None if it is none."""
    found = _WITHOUT_COLON.fullmatch(directory.name)
    try:
        return str(RegistryName.parse(f"{found[1]}:{found[2]}" if found else directory.name))
    except InvalidReferenceError:
        return None


def certificates(directory: Path) -> HostConfig:
    """Return the certificates that a host's directory holds.

    Raises:
        HostsFileError: It cannot be read, a certificate has no key or a key no certificate, or there are several.
    """
    files = listed(directory)
    authorities = tuple(file for file in files if file.suffix == ".crt")
    pairs = []
    for file in files:
        if file.suffix not in {".cert", ".key"}:
            continue
        certificate, key = file.with_suffix(".cert"), file.with_suffix(".key")
        missing = next((part for part in (certificate, key) if part not in files), None)
        if missing is not None:
            raise HostsFileError(file, f"there is no {missing.name} beside it")
        if (certificate, key) not in pairs:
            pairs.append((certificate, key))
    if len(pairs) > 1:
        raise HostsFileError(directory, "it holds several client certificates, and one connection can present one")
    return HostConfig(ca=authorities or None, client_cert=pairs[0] if pairs else None)
