"""containerd's configuration of registries: a directory for each, with a ``hosts.toml`` in it.

Spec: containerd, "Registry Configuration".
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from ocidist.hosts.certs_d import certificates, directories, name_of
from ocidist.hosts.config import HostConfig
from ocidist.hosts.files import Table, read_toml
from ocidist.hosts.lookup import DEFAULT_PORTS
from ocidist.hosts.mirror import Mirror, MirrorTags
from ocidist.model.reference import RegistryName

if TYPE_CHECKING:
    from pathlib import Path

FILE: Final = "hosts.toml"
DEFAULT: Final = "_default"
_CAPABILITIES: Final = frozenset({"pull", "resolve", "push"})


def read_tree(path: Path) -> dict[str, Any]:
    """Return what ``HostsConfig`` is to be made of.

    Raises:
        HostsFileError: A file cannot be read or used.
    """
    entries: dict[str, HostConfig] = {}
    default: HostConfig | None = None
    for directory in directories(path):
        name = None if directory.name == DEFAULT else name_of(directory)
        if name is None and directory.name != DEFAULT:
            continue
        file = directory / FILE
        found = read_hosts(file, name) if file.exists() else certificates(directory)
        if name is None:
            default = found
        elif found != HostConfig():
            entries[name] = found
    return {"entries": entries, "default": default}


def read_hosts(file: Path, name: str | None) -> HostConfig:
    """Return what one ``hosts.toml`` says.

    Args:
        file: The file.
        name: The registry it is for, None if it is for all that have no file of their own.

    Raises:
        HostsFileError: The file cannot be read or used.
    """
    table = read_toml(file)
    config = HostConfig()
    registry = None if name is None else RegistryName.parse(name)
    server = table.get("server", str)
    if server is not None:
        config = _placed(config, _mirror(table, table, "server", server), registry, last=True)
    elif registry is not None:
        # Without a server, what stands at the top is about the registry itself.
        config |= _settings(table)
    hosts = table.table("host")
    for url, entry in hosts.items() if hosts is not None else []:
        config = _placed(config, _mirror(entry, hosts or table, url, url), registry, last=False)
    return config


def _placed(config: HostConfig, mirror: Mirror, registry: RegistryName | None, *, last: bool) -> HostConfig:
    """Put a host where it belongs: into the registry's own settings, among its mirrors, or after them."""
    if registry is not None and _same(mirror, registry):
        own = mirror.host or HostConfig()
        return config | (attrs.evolve(own, scheme=own.scheme or mirror.registry.scheme))
    if last:
        return attrs.evolve(config, location=mirror)
    asked = mirror.tags is not MirrorTags.NEVER or mirror.digests
    return attrs.evolve(config, mirrors=(*config.mirrors, mirror)) if asked else config


def _same(mirror: Mirror, registry: RegistryName) -> bool:
    usual = DEFAULT_PORTS[mirror.registry.scheme or "https"]
    ports = [name.port or usual for name in (mirror.registry, registry)]
    return (
        mirror.registry.host == registry.host and ports[0] == ports[1] and (mirror.root, mirror.inside) == ("/v2", "")
    )


def _mirror(entry: Table, owner: Table, key: str, url: str) -> Mirror:
    named = entry.get("capabilities", list)
    capabilities = _CAPABILITIES if named is None else frozenset(entry.texts("capabilities"))
    unknown = sorted(capabilities - _CAPABILITIES)
    if unknown:
        raise entry.wrong("capabilities", f"{unknown[0][:40]!r} is none of pull, resolve and push")
    host = _settings(entry)
    make = partial(
        Mirror,
        url if "://" in url else f"https://{url}",
        override_path=entry.flag("override_path"),
        tags=MirrorTags.TRUSTED if "resolve" in capabilities else MirrorTags.NEVER,
        digests="pull" in capabilities,
        blobs="pull" in capabilities,
        host=None if host == HostConfig() else host,
    )
    return owner.made(key, make)


def _settings(entry: Table) -> HostConfig:
    """Return what an entry says about connections to its host."""
    directory = entry.path.parent
    authorities = _texts(entry, "ca")
    table = entry.table("header")
    headers = [] if table is None else [(name, value) for name in table.names() for value in _texts(table, name)]
    ca = tuple(directory / name for name in authorities)
    return entry.made(
        "header",
        partial(
            HostConfig,
            ca=ca or None,
            client_cert=_client(entry),
            verify=not entry.flag("skip_verify"),
            headers=tuple(headers),
        ),
    )


def _texts(entry: Table, name: str) -> tuple[str, ...]:
    value = entry.raw(name)
    return (value,) if isinstance(value, str) else entry.texts(name)


def _client(entry: Table) -> Path | tuple[Path, Path] | None:
    value = entry.raw("client")
    items = [value] if isinstance(value, str) else (entry.get("client", list) or [])
    if not items:
        return None
    if len(items) > 1:
        raise entry.wrong("client", "it names several certificates, and one connection can present one")
    files = [items[0]] if isinstance(items[0], str) else items[0]
    if not isinstance(files, list) or len(files) not in {1, 2} or not all(isinstance(name, str) for name in files):
        raise entry.wrong("client", "it must be a file, or an array with a certificate and its key")
    paths = [entry.path.parent / name for name in files if name]
    return (paths[0], paths[1]) if len(paths) == 2 else paths[0]
