"""Where a server of version 1 is, and what it says of itself.

Spec: Docker, "Docker Registry API v1", "Status".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from ocidist.legacy._line import Line
from ocidist.legacy.v1._endpoints import Ping
from ocidist.legacy.v1.models import DEFAULT_API_VERSION, APIVersion, RegistryInfo, info_of
from ocidist.wire.redact import clean_text

if TYPE_CHECKING:
    from ocidist.client import Client
    from ocidist.model.reference import RegistryName

MAX_PING_BODY: Final = 64 * 1024
"""Bytes of the answer to a ping that are read."""
_MAX_VERSION: Final = 100


class Endpoint:
    """A server of version 1. Get it from ``discover``.

    Args:
        line: The way to it.
        info: What it says of itself.

    Attributes:
        line: See above.
        info: See above.
    """

    def __init__(self, line: Line, info: RegistryInfo) -> None:
        self.line = line
        self.info = info

    def __repr__(self) -> str:
        return f"<Endpoint {self.registry}, {'standalone' if self.info.standalone else 'with an index'}>"

    @classmethod
    async def discover(cls, client: Client, name: str | RegistryName) -> Self:
        """Find a server and ask it for a sign of life; Docker Hub's index is known, and not asked.

        The scheme is found out as for any other registry: https first, plain http only for loopback hosts and those
        that are configured so.

        Args:
            client: The client.
            name: ``host[:port]``, with ``http://`` or ``https://`` before it to fix the scheme; ``/v1/`` may be behind
                it.

        Raises:
            InvalidReferenceError: The name does not follow the grammar.
            NotFoundError: It does not speak version 1.
            OciError: Another failure, see the error's class.
        """
        found = cls(await Line.open(client, name), RegistryInfo(standalone=False))
        return cls(found.line, await found.ping())

    @property
    def registry(self) -> RegistryName:
        """The server's name."""
        return self.line.registry

    @property
    def is_index(self) -> bool:
        """Whether it is Docker Hub's index."""
        return self.registry.is_docker_hub

    async def ping(self) -> RegistryInfo:
        """Ask the server what it is. Docker Hub's index is none that stands alone, and is not asked.

        Raises:
            NotFoundError: It does not speak version 1.
            LimitExceededError: The answer is larger than 64 KiB.
            OciError: Another failure, see the error's class.
        """
        if self.is_index:
            return RegistryInfo(standalone=False)
        async with self.line.exchange(Ping(self.line.root)) as reply:
            data = await reply.read(MAX_PING_BODY, "answer to a ping")
            version = reply.header("X-Docker-Registry-Version")
            said = None if version is None else clean_text(version, _MAX_VERSION)
            return info_of(data, said, reply.header("X-Docker-Registry-Standalone"))

    def version_url(self, version: APIVersion = DEFAULT_API_VERSION) -> str:
        """Return the root of a version of the API: ``https://host/v1/``."""
        return f"{self.line.root.removesuffix('v1/')}{version}/"
