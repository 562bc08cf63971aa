"""Per-host configuration.

Keys are registry names as users write them (``host[:port]``), a namespace in one (``host/team``) or all hosts under a
domain (``*.example.com``); Docker Hub is found under any of its names.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import attrs

from ocidist.errors import InvalidReferenceError, UsageError
from ocidist.hosts.host import NOTHING, HostConfig
from ocidist.hosts.lookup import (
    DEFAULT_PORTS,
    Networks,
    agreed,
    canonical,
    covering,
    layered,
    named,
    parts,
    plain,
    spellings,
)
from ocidist.model.reference import RegistryName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ocidist.hosts.host import File, Mirror, Scheme
    from ocidist.hosts.shortnames import ShortNames
    from ocidist.wire.egress import Origin


@attrs.frozen
class Route:
    """Where the reads of a repository go.

    Attributes:
        key: The part of the repository's name that the configuration is for; empty if it is for all of the registry.
        config: The configuration: its mirrors, location, and whether it is blocked.
    """

    key: str
    config: HostConfig


class HostsConfig:
    """The configuration of every host a client knows something about.

    ``configured | {"registry.lan": HostConfig(ca="lan.pem")}`` puts explicit settings on top of those of a file: what
    is said explicitly wins, value by value. A host that only one side has an entry for keeps what the other side says
    of its domain (``*.lan``) or, as its default, of every host, so that it stays blocked, for example; only a default's
    ``insecure`` and ``verify=False`` are not for hosts that have an entry.

    Args:
        entries: Configurations by registry name. Of keys with a namespace (``host/team``) only ``mirrors``,
            ``location`` and ``blocked`` count, and the longest key that fits decides; ``*.example.com`` is every host
            under that domain that has no entry of its own. A host that is blocked is blocked at every port that has no
            entry of its own.
        default: Configuration of hosts without an entry, those included that registries lead to.
        insecure_networks: Networks (``10.0.0.0/8``) in which hosts that are named by address are insecure. A name is
            never made insecure by what it resolves to: whoever answers for it would decide.
        short_names: What names without a registry may mean; None knows nothing about it.
        credential_helpers: Names of the helpers to ask for credentials of every registry, first things first; see
            ``DefaultCredentials``.

    Raises:
        InvalidReferenceError: A key is none of these.
        UsageError: Two mirrors give one host different settings (other authorities add up), a network is none, or a
            value is no configuration.
    """

    def __init__(
        self,
        entries: Mapping[str, HostConfig] | None = None,
        *,
        default: HostConfig | None = None,
        insecure_networks: Iterable[str] = (),
        short_names: ShortNames | None = None,
        credential_helpers: Iterable[str] = (),
    ) -> None:
        self._given = dict(entries or {})
        self._default = default or NOTHING
        for config in (*self._given.values(), self._default):
            if not isinstance(config, HostConfig):
                raise UsageError(f"a host is configured by a HostConfig, not by {type(config).__name__}")
        self._networks = _texts(insecure_networks, "insecure_networks")
        self._short_names = short_names
        self._credential_helpers = _texts(credential_helpers, "credential_helpers")
        self._entries: dict[str, HostConfig] = {}
        self._namespaces: dict[str, dict[str, HostConfig]] = {}
        for key, config in self._given.items():
            self._add(key, config)
        self._mirror_hosts: dict[str, HostConfig] = {}
        for config in (*self._given.values(), self._default):
            for mirror in (*config.mirrors, *(() if config.location is None else (config.location,))):
                self._add_mirror(mirror)
        self._insecure = Networks(self._networks)
        self.routed: bool = any(config.routed for config in (*self._given.values(), self._default))
        """Whether any repository may be read from elsewhere than its registry, or not at all."""

    def _add(self, key: str, config: HostConfig) -> None:
        # A key may carry the scheme itself: "http://localhost:5000".
        key, config = canonical(key, config)
        host, repository = parts(key)
        if repository:
            self._namespaces.setdefault(host, {})[repository] = config
        else:
            self._entries[host] = config

    def _add_mirror(self, mirror: Mirror) -> None:
        if mirror.host is None:
            return
        name = plain(mirror.registry)
        both = agreed(self._mirror_hosts.get(name, mirror.host), mirror.host)
        if both is None:
            raise UsageError(f"the mirror {name} is configured twice, and not in the same way")
        self._mirror_hosts[name] = both

    # --- files -------------------------------------------------------------------------------------------------------

    @classmethod
    async def from_hosts_toml(cls, path: File) -> Self:
        """Read containerd's configuration: a directory of ``<host>[:port]/hosts.toml``, with ``_default`` for the rest.

        The entry of a registry's own host configures the registry, every other one is a mirror; a ``server`` on another
        host becomes ``location``. Directories without the file are read as ``with_certs_d`` does. Files are read in a
        worker thread.

        Args:
            path: The directory, ``/etc/containerd/certs.d`` on most machines.

        Raises:
            HostsFileError: A file cannot be read or used; it names the file and the key.
        """
        from ocidist.hosts.hosts_toml import read_tree  # noqa: PLC0415 -- loaded by those who have such files

        return cls(**await _in_thread(read_tree, path))

    @classmethod
    async def from_registries_conf(cls, path: File) -> Self:
        """Read the configuration of podman, skopeo and CRI-O: ``registries.conf`` and ``registries.conf.d/*.conf``.

        Files are read in a worker thread.

        Args:
            path: The file; the directory beside it is read too. The file need not exist if that does.

        Raises:
            HostsFileError: A file cannot be read or used; it names the file and the key.
        """
        from ocidist.hosts.registries_conf import read_registries  # noqa: PLC0415 -- see above

        return cls(**await _in_thread(read_registries, path))

    @classmethod
    async def from_certs_d(cls, path: File) -> Self:
        """Read certificates: ``<host>[:port]/*.crt`` to trust, ``client.cert`` and ``client.key`` to present.

        Files are listed in a worker thread; certificates are read when a connection first needs them.

        Args:
            path: The directory, ``/etc/docker/certs.d`` or ``/etc/containers/certs.d`` on most machines.

        Raises:
            HostsFileError: The directory cannot be read, or a certificate has no key.
        """
        from ocidist.hosts.certs_d import read_certificates  # noqa: PLC0415 -- see above

        return cls(**await _in_thread(read_certificates, path))

    @classmethod
    async def from_docker_daemon(cls, path: File) -> Self:
        """Read Docker's ``daemon.json``: ``registry-mirrors``, which are for Docker Hub, and ``insecure-registries``.

        The file is read in a worker thread.

        Args:
            path: The file, ``/etc/docker/daemon.json`` on most machines.

        Raises:
            HostsFileError: The file cannot be read or used; it names the key.
        """
        from ocidist.hosts.daemon_json import read_daemon  # noqa: PLC0415 -- see above

        return cls(**await _in_thread(read_daemon, path))

    def __or__(self, other: HostsConfig | Mapping[str, HostConfig]) -> HostsConfig:
        """Return both together; what *other* says wins, value by value."""
        given = other if isinstance(other, HostsConfig) else HostsConfig(other)
        return HostsConfig(
            layered(
                self._by_key(),
                given._by_key(),
                defaults=(_safe(self._default), _safe(given._default)),
            ),
            default=self._default | given._default,
            insecure_networks=dict.fromkeys((*self._networks, *given._networks)),
            short_names=given._short_names or self._short_names,
            credential_helpers=given._credential_helpers or self._credential_helpers,
        )

    def _by_key(self) -> dict[str, HostConfig]:
        return dict(canonical(key, config) for key, config in self._given.items())

    def __repr__(self) -> str:
        return f"<HostsConfig of {', '.join(self._given) or 'no host'}>"

    # --- looking up --------------------------------------------------------------------------------------------------

    @property
    def short_names(self) -> ShortNames | None:
        """What names without a registry may mean, if a file said so."""
        return self._short_names

    @property
    def credential_helpers(self) -> tuple[str, ...]:
        """Names of the helpers to ask for credentials of every registry, if a file said so."""
        return self._credential_helpers

    def widest(self, default: int) -> int:
        """Return the largest number of requests that any host may have under way, *default* where it does not say."""
        configs = (*self._given.values(), self._default, *self._mirror_hosts.values())
        return max(default, *(config.concurrency or 0 for config in configs), 0)

    def for_host(self, registry: RegistryName) -> HostConfig:
        """Return what is configured for a registry; defaults where nothing is."""
        found = self._of(registry)
        return attrs.evolve(found, scheme=registry.scheme) if registry.scheme else found

    def for_origin(self, origin: Origin) -> HostConfig:
        """Return what is configured for the host of a URL, whether its key spells out the scheme's own port or not."""
        port = None if origin.port == DEFAULT_PORTS[origin.scheme] else origin.port
        try:
            return self._of(RegistryName(origin.host, port, cast("Scheme", origin.scheme)))
        except InvalidReferenceError:
            # A host no registry could have, for example behind a redirect.
            return NOTHING

    def _of(self, registry: RegistryName) -> HostConfig:
        own, mirror = named(self._entries, registry), named(self._mirror_hosts, registry)
        if own is not None:
            found = own if mirror is None else _safe(mirror) | own
        else:
            found = mirror or covering(self._entries, registry) or self._default
        if self._insecure.has(registry.host):
            found = attrs.evolve(found, insecure=True, verify=False)
        return found

    def route(self, registry: RegistryName, repository: str | None) -> Route | None:
        """Return where the reads of a repository go; None where they go to its registry.

        Args:
            registry: The registry.
            repository: The repository, or None for the registry itself.

        :meta private:
        """
        key = repository or ""
        known = self._namespaces_of(registry)
        while known and key:
            config = known.get(key)
            if config is not None:
                return Route(key, config) if config.routed else None
            key = key.rpartition("/")[0]
        # Settings of a mirror's host are about connections; where its own repositories are read is another matter.
        config = named(self._entries, registry) or covering(self._entries, registry) or self._default
        return Route("", config) if config.routed else None

    def _namespaces_of(self, registry: RegistryName) -> dict[str, HostConfig]:
        found: dict[str, HostConfig] = {}
        for name in reversed(spellings(registry) if self._namespaces else ()):
            found |= self._namespaces.get(name, {})
        return found


def _texts(value: Iterable[str], name: str) -> tuple[str, ...]:
    if isinstance(value, str):
        raise UsageError(f"{name} is a collection of texts, not one text")
    return tuple(value)


def _safe(config: HostConfig) -> HostConfig:
    """Return what is said elsewhere of a host with an entry of its own: that it is insecure has to be said there."""
    return attrs.evolve(config, insecure=False, verify=True)


async def _in_thread(read: Callable[[Path], dict[str, Any]], path: File) -> dict[str, Any]:
    import anyio.to_thread  # noqa: PLC0415 -- importing the configuration must not load an event loop

    return await anyio.to_thread.run_sync(read, Path(path))
