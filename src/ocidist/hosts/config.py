"""Per-host configuration.

Keys are registry names as users write them (``host[:port]``); Docker Hub is found under any of its names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from ocidist.errors import InvalidReferenceError, UsageError
from ocidist.model.reference import RegistryName

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ocidist.wire.egress import Origin

Scheme = Literal["http", "https"]
DEFAULT_PORTS = {"http": 80, "https": 443}


def _scheme(_instance: object, _attribute: attrs.Attribute[Scheme | None], value: Scheme | None) -> None:
    if value not in {None, "http", "https"}:
        msg = f"scheme must be 'http', 'https' or None to detect it, not {value!r}"
        raise UsageError(msg)


def _positive(_instance: object, attribute: attrs.Attribute[int | None], value: int | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        msg = f"{attribute.name} must be a whole number above 0, not {value!r}"
        raise UsageError(msg)


@attrs.frozen
class HostConfig:
    """What is configured for one registry host.

    Attributes:
        scheme: ``"http"`` or ``"https"``; None detects it (https first, http only where ``insecure`` or on loopback).
        insecure: Whether plain http may be tried when https does not answer. A certificate failure never leads to it.
        verify: Whether to check the server's certificate. Leave it on; pass ``ca`` instead.
        ca: PEM file of certificate authorities to trust beside the operating system's.
        client_cert: PEM file of a client certificate with its key, or a pair of files.
        concurrency: Most requests under way at once, token requests not counted; None takes the client's default.
        chunk_size: Bytes per chunk of chunked uploads, or None for the default.

    Raises:
        UsageError: A value is out of range.
    """

    scheme: Scheme | None = attrs.field(default=None, validator=_scheme)
    insecure: bool = False
    verify: bool = True
    ca: str | Path | None = None
    client_cert: str | Path | tuple[str | Path, str | Path] | None = None
    concurrency: int | None = attrs.field(default=None, validator=_positive)
    chunk_size: int | None = attrs.field(default=None, validator=_positive)

    @property
    def custom_tls(self) -> bool:
        """Whether connections to this host need a TLS context of their own."""
        return not self.verify or self.ca is not None or self.client_cert is not None


class HostsConfig:
    """The configuration of every host a client knows something about.

    Args:
        entries: Configurations by registry name.

    Raises:
        InvalidReferenceError: A key is not a registry name.
    """

    def __init__(self, entries: Mapping[str, HostConfig] | None = None) -> None:
        self._entries: dict[str, HostConfig] = {}
        for key, config in (entries or {}).items():
            name = RegistryName.parse(key)
            # A key may carry the scheme itself: "http://localhost:5000".
            found = attrs.evolve(config, scheme=name.scheme) if name.scheme and config.scheme is None else config
            self._entries[str(attrs.evolve(name, scheme=None))] = found

    def widest(self, default: int) -> int:
        """Return the largest number of requests that any host may have under way, *default* where it does not say."""
        return max(default, *(config.concurrency or 0 for config in self._entries.values()), 0)

    def for_host(self, registry: RegistryName) -> HostConfig:
        """Return what is configured for a registry; defaults where nothing is."""
        found = self._entries.get(str(attrs.evolve(registry, scheme=None)), _DEFAULT)
        return attrs.evolve(found, scheme=registry.scheme) if registry.scheme else found

    def for_origin(self, origin: Origin) -> HostConfig:
        """Return what is configured for the host of a URL, whether its key spells out the scheme's own port or not."""
        usual = origin.port == DEFAULT_PORTS[origin.scheme]
        for port in (None, origin.port) if usual else (origin.port,):
            try:
                name = RegistryName(origin.host, port)
            except InvalidReferenceError:
                # A host no registry could have, for example behind a redirect.
                break
            if str(name) in self._entries:
                return self._entries[str(name)]
        return _DEFAULT


_DEFAULT = HostConfig()
