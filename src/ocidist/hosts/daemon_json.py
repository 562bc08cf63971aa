"""Docker's ``daemon.json``: mirrors of Docker Hub, and registries without proper TLS.

Spec: Docker, "dockerd", "Daemon configuration file".
"""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from ocidist.errors import HostsFileError, UsageError
from ocidist.hosts.files import Table, read_text
from ocidist.hosts.host import HostConfig, Mirror, MirrorTags
from ocidist.model.reference import DOCKER_HUB, RegistryName

if TYPE_CHECKING:
    from pathlib import Path


_log = logging.getLogger("ocidist.hosts")


def read_daemon(path: Path) -> dict[str, Any]:
    """Return what ``HostsConfig`` is to be made of.

    Raises:
        HostsFileError: The file cannot be read or used.
    """
    text = read_text(path)
    try:
        values = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        where = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise HostsFileError(path, f"it is not JSON{where}") from None
    if not isinstance(values, dict):
        raise HostsFileError(path, "it is not a JSON object")
    table = Table(path, "", values)
    entries: dict[str, HostConfig] = {}
    networks: list[str] = []
    for text in table.texts("insecure-registries"):
        host = text.rpartition("://")[2]
        if "/" in host:
            networks.append(table.made("insecure-registries", partial(_network, host)))
            continue
        name = table.made("insecure-registries", partial(_registry, text))
        if name.is_docker_hub:
            # As in Docker, which leaves its own registry alone.
            _log.warning("%s: Docker Hub cannot be among the insecure-registries", path)
            continue
        # What Docker does: any certificate will do, and plain http where https does not answer.
        entries[str(RegistryName(name.host, name.port))] = HostConfig(insecure=True, verify=False)
    mirrors = [table.made("registry-mirrors", partial(_mirror, url)) for url in table.texts("registry-mirrors")]
    if mirrors:
        entries[DOCKER_HUB] = entries.get(DOCKER_HUB, HostConfig()) | HostConfig(mirrors=mirrors)
    return {"entries": entries, "insecure_networks": tuple(networks)}


def _registry(text: str) -> RegistryName:
    if not text:
        # Elsewhere the empty text is Docker Hub.
        raise UsageError("it names no host")
    return RegistryName.parse(text)


def _mirror(url: str) -> Mirror:
    if not url:
        raise UsageError("it names no host")
    return Mirror(url, tags=MirrorTags.TRUSTED, ns=False)


def _network(text: str) -> str:
    from ipaddress import ip_network  # noqa: PLC0415 -- rarely needed, and slow to import

    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        raise UsageError(f"{text[:80]!r} is neither a host nor a network") from None
