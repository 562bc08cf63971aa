"""What a session knows of one registry, worked out once instead of for each request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist.wire.egress import Origin

if TYPE_CHECKING:
    from ocidist.hosts.host import HostConfig
    from ocidist.model.reference import RegistryName


class Site:
    """One registry.

    Args:
        registry: Its name.
        config: What is configured for it.
        base: Its base URL, ``scheme://host[:port]``.
        guessed: Whether nobody said which scheme it speaks: it was found out.
        plaintext: Whether what is secret may be sent in plain text all the same.

    Attributes:
        registry: See above.
        config: See above.
        base: See above.
        guessed: See above.
        name: The registry as the user named it.
        origin: The origin of its API.
        too_plain: Whether what is secret would go over a network in plain text, and nobody said that it may.
        opening: The header fields that every request to its API begins with: Host, and what is configured for it.
    """

    __slots__ = ("base", "config", "guessed", "name", "opening", "origin", "registry", "too_plain")

    def __init__(
        self, registry: RegistryName, config: HostConfig, base: str, *, guessed: bool = False, plaintext: bool = False
    ) -> None:
        self.registry: RegistryName = registry
        self.config: HostConfig = config
        self.guessed: bool = guessed
        self.name: str = str(registry)
        self.origin: Origin = Origin.of(base)
        self.base: str = str(self.origin)
        found_out = guessed and self.origin.scheme == "http" and not registry.is_loopback
        self.too_plain: bool = found_out and not plaintext
        # Those that are configured may be keys.
        fields = (("Host", self.origin.netloc), *(() if self.too_plain else config.headers))
        self.opening: bytes = b"".join(f"{name}: {value}\r\n".encode("ascii") for name, value in fields)
