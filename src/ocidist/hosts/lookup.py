"""Which configuration is meant for a registry, however its name, its port and the keys are spelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ocidist.errors import InvalidReferenceError, UsageError
from ocidist.hosts.host import NOTHING, HostConfig
from ocidist.model.reference import RegistryName, RepositoryName

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Network, IPv6Network

    from ocidist.hosts.host import File

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
WILDCARD: Final = "*."


def canonical(key: str, config: HostConfig) -> tuple[str, HostConfig]:
    """Return a key as others spell it, so that two names of one host meet.

    Raises:
        InvalidReferenceError: It does not begin with a host.
    """
    if key.startswith(WILDCARD):
        return key.lower(), config
    scheme, separator, rest = key.partition("://")
    host, slash, repository = (rest if separator else key).partition("/")
    if slash and not host:
        # Alone, the empty text is Docker Hub.
        raise InvalidReferenceError(f"{key[:80]!r} names no host")
    name = RegistryName.parse(f"{scheme}://{host}" if separator else host)
    if name.scheme and not config.scheme and not slash:
        config = attrs.evolve(config, scheme=name.scheme)
    return f"{plain(name)}{slash}{repository}", config


def parts(key: str) -> tuple[str, str]:
    """Return the host or domain of a canonical key, and the part of it that it is for; the empty text for all of it.

    Raises:
        InvalidReferenceError: It is none of these.
    """
    if key.startswith(WILDCARD):
        return f"{WILDCARD}{RegistryName(key.removeprefix(WILDCARD))}", ""
    host, slash, repository = key.partition("/")
    return host, str(RepositoryName(repository)) if slash else ""


def plain(registry: RegistryName) -> str:
    """Return a registry's name without the scheme."""
    return str(registry if registry.scheme is None else attrs.evolve(registry, scheme=None))


def spellings(registry: RegistryName) -> tuple[str, ...]:
    """Return a registry's name as it is, and as it reads where the scheme's own port is spelled out or left out."""
    usual = DEFAULT_PORTS[registry.scheme or "https"]
    names = [plain(registry)]
    if registry.port in {None, usual}:
        names.append(str(RegistryName(registry.host, usual if registry.port is None else None)))
    return tuple(names)


def named(known: Mapping[str, HostConfig], registry: RegistryName) -> HostConfig | None:
    """Return the configuration of a registry itself; None where there is none."""
    exact, *others = spellings(registry)
    found = known.get(exact)
    for other in others if found is None else ():
        scheme = registry.scheme or "https"
        found = known.get(other)
        if found is not None and found.scheme not in {None, scheme}:
            # The port that goes with the scheme configured there is another one.
            found = None
    return found


def covering(known: Mapping[str, HostConfig], registry: RegistryName) -> HostConfig | None:
    """Return the configuration of what a registry is part of: its host, where all of that is blocked, or a domain."""
    if registry.port is not None:
        host = known.get(str(RegistryName(registry.host)))
        if host is not None and host.blocked:
            # Another port is not a way around it.
            return host
    return _domain(known, registry.host)


def layered(
    below: Mapping[str, HostConfig],
    above: Mapping[str, HostConfig],
    *,
    defaults: tuple[HostConfig, HostConfig] = (NOTHING, NOTHING),
) -> dict[str, HostConfig]:
    """Return two sets of configurations as one, in which what *above* says wins, value by value.

    What only one of them has an entry for keeps what the other says of the domain that it is in, or of everything: to
    know more of a host must not take it out of what is blocked.

    Args:
        below: Some.
        above: The others.
        defaults: What each of them says of hosts that it has no entry for.
    """
    sides = tuple(zip((below, above), defaults, strict=True))
    said = {key: [_said(known, key, default) for known, default in sides] for key in {**below, **above}}
    return {key: mine | theirs for key, (mine, theirs) in said.items()}


def _said(known: Mapping[str, HostConfig], key: str, default: HostConfig) -> HostConfig:
    found = known.get(key)
    if found is not None:
        return found
    if key.startswith(WILDCARD):
        return _domain(known, key.removeprefix(WILDCARD)) or default
    host, _, repository = key.partition("/")
    registry = RegistryName.parse(host)
    whole = named(known, registry) or covering(known, registry) or default
    if not repository:
        return whole
    # Its mirrors are its own; that the whole is blocked, it cannot be taken out of.
    return HostConfig(blocked=(_part(known, registry, repository) or whole).blocked)


def _part(known: Mapping[str, HostConfig], registry: RegistryName, repository: str) -> HostConfig | None:
    while repository:
        for name in spellings(registry):
            found = known.get(f"{name}/{repository}")
            if found is not None:
                return found
        repository = repository.rpartition("/")[0]
    return None


def _domain(known: Mapping[str, HostConfig], host: str) -> HostConfig | None:
    domain = host.partition(".")[2]
    while domain:
        found = known.get(f"{WILDCARD}{domain}")
        if found is not None:
            return found
        domain = domain.partition(".")[2]
    return None


def agreed(one: HostConfig, other: HostConfig) -> HostConfig | None:
    """Return the settings that two mirrors at one host share; None if they contradict each other.

    Each may name its own certificate authorities, often copies of one file: all of them are trusted at that host.
    """
    if one == other:
        return one
    if attrs.evolve(one, ca=None) != attrs.evolve(other, ca=None):
        return None
    files = tuple(dict.fromkeys(file for config in (one, other) for file in _files(config)))
    return attrs.evolve(one, ca=files or None)


def _files(config: HostConfig) -> tuple[File, ...]:
    if config.ca is None:
        return ()
    return config.ca if isinstance(config.ca, tuple) else (config.ca,)


class Networks:
    """Networks in which hosts that are named by address are insecure.

    Args:
        texts: The networks (``10.0.0.0/8``).

    Raises:
        UsageError: One is none.
    """

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._networks: tuple[IPv4Network | IPv6Network, ...] = ()
        if texts:
            from ipaddress import ip_network  # noqa: PLC0415 -- rarely needed, and slow to import

            try:
                self._networks = tuple(ip_network(text, strict=False) for text in texts)
            except ValueError as error:
                raise UsageError(f"insecure_networks: {error}") from None

    def has(self, host: str) -> bool:
        """Return whether a host is an address in one of them."""
        if not self._networks:
            return False
        from ipaddress import ip_address  # noqa: PLC0415 -- see above

        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)
