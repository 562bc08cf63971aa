"""The Docker Engine's configuration of registries, as ``docker info`` shows it.

Spec: Docker Engine API v1.44, "Get system information" (``RegistryServiceConfig``).
"""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final, Self, TypeAlias

import attrs

from ocidist.engine import _json
from ocidist.engine.names import IndexInfo
from ocidist.errors import InvalidReferenceError, ProtocolError, UsageError
from ocidist.hosts.config import HostsConfig
from ocidist.hosts.host import HostConfig, Mirror, MirrorTags
from ocidist.model.fields import FrozenMap, strings
from ocidist.model.reference import DOCKER_HUB, RegistryName

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Network: TypeAlias = IPv4Network | IPv6Network
Address: TypeAlias = IPv4Address | IPv6Address

_WHAT: Final = "the configuration of registries"
LOOPBACK: Final = (IPv6Network("::1/128"), IPv4Network("127.0.0.0/8"))
"""Where no TLS is asked for, whatever is configured."""

# Engines of old did not look at what they were told, and those of today take IPv6 addresses without brackets.
_ENGINES: Final = re.compile(r"[\w.:/\[\]-]+", re.ASCII)


def _networks(values: Iterable[Network | str]) -> tuple[Network, ...]:
    if isinstance(values, str):
        raise UsageError(f"networks are given as a list: [{values[:80]!r}]")
    try:
        return tuple(ip_network(value, strict=False) for value in values)
    except ValueError as error:
        raise UsageError(f"not a network: {error}") from None


def _indexes(values: Mapping[str, IndexInfo]) -> Mapping[str, IndexInfo]:
    return FrozenMap({_configured(host): info for host, info in values.items()})


def _key(host: str) -> str:
    return str(attrs.evolve(RegistryName.parse(host), scheme=None))


def _configured(host: str) -> str:
    """Return a host as it is asked for later; what only the Engine takes for one stays as it is.

    Raises:
        InvalidReferenceError: Nobody takes it for one.
    """
    with suppress(ValueError):
        return _key(f"[{IPv6Address(host)}]")
    try:
        return _key(host)
    except InvalidReferenceError:
        if _ENGINES.fullmatch(host) is None:
            raise
        return host


@attrs.frozen(kw_only=True)
class ServiceConfig:
    """What the Engine was told about registries.

    Attributes:
        allow_nondistributable_cidrs: Networks to whose registries layers may be pushed that their licence keeps off
            others.
        allow_nondistributable_hostnames: Registries of which the same holds.
        insecure_cidrs: Networks whose registries need no TLS. Loopback needs none, whether it is among them or not: the
            Engine adds it to what is configured.
        index_configs: Registries that have something of their own, by ``host[:port]``. Those that a client cannot name,
            such as ``old_host:5000``, are kept for the document only.
        mirrors: URLs that are asked before Docker Hub.

    Raises:
        UsageError: A network or a host cannot be read.
    """

    allow_nondistributable_cidrs: tuple[Network, ...] = attrs.field(default=(), converter=_networks)
    allow_nondistributable_hostnames: tuple[str, ...] = attrs.field(default=(), converter=strings)
    insecure_cidrs: tuple[Network, ...] = attrs.field(default=LOOPBACK, converter=_networks)
    index_configs: Mapping[str, IndexInfo] = attrs.field(factory=dict, converter=_indexes, hash=False)
    mirrors: tuple[str, ...] = attrs.field(default=(), converter=strings)

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Read ``RegistryConfig`` of ``docker info``.

        Raises:
            ProtocolError: It is no such document.
        """
        fields = _json.Fields.load(data, _WHAT)
        indexes = {
            host: IndexInfo.of(_json.Fields(entry, f"the entry of a registry in {_WHAT}"))
            for host, entry in fields.mapping("IndexConfigs").items()
        }
        try:
            return cls(
                allow_nondistributable_cidrs=fields.texts("AllowNondistributableArtifactsCIDRs"),
                allow_nondistributable_hostnames=fields.texts("AllowNondistributableArtifactsHostnames"),
                insecure_cidrs=fields.texts("InsecureRegistryCIDRs"),
                index_configs=indexes,
                mirrors=fields.texts("Mirrors"),
            )
        except UsageError as error:
            raise ProtocolError(f"{_WHAT} cannot be used: {error.message}") from None

    def to_json(self) -> bytes:
        """Return the document as the Engine writes it; Docker Hub is always among the registries."""
        indexes = sorted(self._indexes().items())
        return _json.write(
            {
                "AllowNondistributableArtifactsCIDRs": _texts(self.allow_nondistributable_cidrs),
                "AllowNondistributableArtifactsHostnames": _texts(self.allow_nondistributable_hostnames),
                "InsecureRegistryCIDRs": _texts(self.insecure_cidrs),
                "IndexConfigs": {host: info.as_fields() for host, info in indexes},
                "Mirrors": _texts(self.mirrors),
            }
        )

    def index(self, host: str, *, addresses: Iterable[str] = ()) -> IndexInfo:
        """Return what there is to know about a registry.

        Args:
            host: ``host[:port]``; Docker Hub by any of its names.
            addresses: See ``is_secure``.

        Raises:
            InvalidReferenceError: It is no registry name.
        """
        key = _key(host)
        known = self.index_configs.get(key)
        if key == DOCKER_HUB:
            mirrors = self.mirrors if known is None else known.mirrors
            return IndexInfo(DOCKER_HUB, mirrors, secure=True, official=True)
        return known or IndexInfo(key, secure=self.is_secure(key, addresses=addresses))

    def is_secure(self, host: str, *, addresses: Iterable[str] = ()) -> bool:
        """Return whether a registry has to have TLS, with a certificate that is trusted.

        Docker Hub always has. Elsewhere, what is configured for the very host decides, then the networks. No name is
        looked up here: whoever answers for a name would decide whether TLS is needed. The Engine does look it up.

        Args:
            host: ``host[:port]``; Docker Hub by any of its names.
            addresses: What the name resolves to, for who wants what the Engine does.

        Raises:
            InvalidReferenceError: It is no registry name.
            UsageError: An address is none.
        """
        name = RegistryName.parse(host)
        key = str(attrs.evolve(name, scheme=None))
        if name.is_docker_hub:
            # Whatever somebody wrote.
            return True
        known = self.index_configs.get(key)
        if known is not None:
            return known.secure
        if name.is_loopback:
            return False
        return not _within(name.host, addresses, (*self.insecure_cidrs, *LOOPBACK))

    def allows_nondistributable(self, host: str, *, addresses: Iterable[str] = ()) -> bool:
        """Return whether layers may be pushed to a registry that their licence keeps off others.

        Args:
            host: ``host[:port]``.
            addresses: See ``is_secure``.

        Raises:
            InvalidReferenceError: It is no registry name.
            UsageError: An address is none.
        """
        name = RegistryName.parse(host)
        key = str(attrs.evolve(name, scheme=None))
        named = key in {hostname.lower() for hostname in self.allow_nondistributable_hostnames}
        return named or _within(name.host, addresses, self.allow_nondistributable_cidrs)

    def to_hosts(self) -> HostsConfig:
        """Return the same as a client takes it: ``Client(hosts=service.to_hosts())``.

        Raises:
            UsageError: A mirror is no URL; or a registry is to have TLS although it is in a network of those that need
                none, which a client cannot be told.
        """
        hosts: dict[str, HostConfig] = {}
        for key, info in self._indexes().items():
            try:
                host = RegistryName.parse(key).host
            except InvalidReferenceError:
                # No client can name it.
                continue
            mirrors = [Mirror(url, tags=MirrorTags.TRUSTED, ns=False) for url in info.mirrors]
            lax = not info.secure
            if info.secure and _within(host, (), self.insecure_cidrs):
                raise UsageError(f"{key} is in a network whose registries need no TLS, and is to have it")
            if mirrors or lax:
                hosts[key] = HostConfig(mirrors=mirrors, insecure=lax, verify=not lax)
        # Loopback is for a client what it is for everybody.
        networks = [str(network) for network in self.insecure_cidrs if network not in LOOPBACK]
        return HostsConfig(hosts, insecure_networks=networks)

    def _indexes(self) -> dict[str, IndexInfo]:
        return {**self.index_configs, DOCKER_HUB: self.index(DOCKER_HUB)}


def _texts(values: Iterable[object]) -> list[str]:
    return [str(value) for value in values]


def _within(host: str, addresses: Iterable[str], networks: tuple[Network, ...]) -> bool:
    found = [_address(text) for text in addresses]
    with suppress(ValueError):
        found.append(ip_address(host))
    return any(address in network for address in found for network in networks if address.version == network.version)


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise UsageError(f"{text[:80]!r} is not an IP address") from None
