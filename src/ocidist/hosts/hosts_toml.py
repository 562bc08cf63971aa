"""containerd's configuration of registries: a directory for each, with a ``hosts.toml`` in it.

Spec: containerd, "Registry Configuration".
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from ocidist.errors import HostsFileError
from ocidist.hosts.certs_d import certificates, directories
from ocidist.hosts.files import Table, exists, is_directory, read_toml
from ocidist.hosts.host import HostConfig, Mirror, MirrorTags
from ocidist.hosts.lookup import DEFAULT_PORTS, agreed, plain
from ocidist.model.reference import RegistryName

if TYPE_CHECKING:
    from pathlib import Path

FILE: Final = "hosts.toml"
DEFAULT: Final = "_default"
# Referrers are the registry's to list, whatever its mirrors can.
_CAPABILITIES: Final = frozenset({"pull", "resolve", "push", "referrers"})
_SETTINGS: Final = ("capabilities", "ca", "client", "skip_verify", "header", "override_path")


def read_tree(path: Path) -> dict[str, Any]:
    """Return what ``HostsConfig`` is to be made of.

    Raises:
        HostsFileError: A file cannot be read or used.
    """
    found: dict[str | None, HostConfig] = {}
    places: list[tuple[str | None, Path]] = [*directories(path).items()]
    if is_directory(path / DEFAULT):
        places.append((None, path / DEFAULT))
    known: dict[str, HostConfig] = {}
    for name, directory in places:
        file = directory / FILE
        found[name] = read_hosts(file, name) if exists(file) else certificates(directory)
        _compare(file, found[name], known)
    default = found.pop(None, None)
    # A directory that says nothing says that the default is not for this registry.
    return {"entries": found, "default": default}


def _compare(file: Path, config: HostConfig, known: dict[str, HostConfig]) -> None:
    """Check that the settings for a mirror's host are those that other files, or entries, have for it."""
    for mirror in (*config.mirrors, *(() if config.location is None else (config.location,))):
        if mirror.host is not None:
            name = plain(mirror.registry)
            both = agreed(known.get(name, mirror.host), mirror.host)
            if both is None:
                reason = "its host is configured in another way elsewhere, and one connection serves both"
                raise HostsFileError(file, reason, key="server" if mirror is config.location else f"host.{mirror.url}")
            known[name] = both


def read_hosts(file: Path, name: str | None) -> HostConfig:
    """Return what one ``hosts.toml`` says.

    Args:
        file: The file.
        name: The registry it is for, None if it is for all that have no file of their own.

    Raises:
        HostsFileError: The file cannot be read or used.
    """
    table = read_toml(file)
    if not table.names():
        # As if it were not there: containerd looks for certificates then, too.
        return certificates(file.parent)
    table.expect("server", "host", *_SETTINGS)
    config = HostConfig()
    registry = None if name is None else RegistryName.parse(name)
    server = table.get("server", str)
    if server:
        config = _placed(config, _mirror(table, table, "server", server), registry, last=True)
    else:
        # Without a server, what stands at the top is about the registry itself, whichever it is.
        config |= _settings(table)
    hosts = table.table("host")
    for url, entry in hosts.items() if hosts is not None else []:
        entry.expect(*_SETTINGS)
        config = _placed(config, _mirror(entry, hosts or table, url, url), registry, last=False)
    return config


def _placed(config: HostConfig, mirror: Mirror, registry: RegistryName | None, *, last: bool) -> HostConfig:
    """Put a host where it belongs: into the registry's own settings, among its mirrors, or after them."""
    if registry is not None and _same(mirror, registry):
        own = mirror.host or HostConfig()
        config |= attrs.evolve(own, scheme=own.scheme or mirror.registry.scheme)
        if last and not (mirror.tags is MirrorTags.TRUSTED and mirror.digests):
            # Nobody else has the last word, and the registry's is not to be taken for everything.
            config = attrs.evolve(config, location=attrs.evolve(mirror, ns=False, host=None))
        return config
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
    # None at all are all of them, as in containerd.
    capabilities = frozenset(text.lower() for text in entry.texts("capabilities")) or _CAPABILITIES
    unknown = sorted(capabilities - _CAPABILITIES)
    if unknown:
        raise entry.wrong("capabilities", f"{unknown[0][:40]!r} is none of pull, resolve, push and referrers")
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
    if any("\0" in name for name in authorities):
        raise entry.wrong("ca", "it is no path")
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
    texts = isinstance(files, list) and len(files) in {1, 2} and all(isinstance(name, str) for name in files)
    if not texts or not files[0] or any("\0" in name for name in files):
        raise entry.wrong("client", "it must be a file, or an array with a certificate and its key")
    paths = [entry.path.parent / name for name in files if name]
    return (paths[0], paths[1]) if len(paths) == 2 else paths[0]
