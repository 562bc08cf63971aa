"""A registry and its mirrors for fault tests: scripted servers with the same content, to be spoiled one by one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ocidist import Client, HostConfig, Repository
from ocidist.hosts.host import Mirror
from ocidist.observe.events import TransferEvent
from tests.peers import images
from tests.peers.answers import respond
from tests.remote.scripted import Holding, ScriptedRegistry
from tests.remote.support import NAME, QUICK

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocidist.observe.events import Event
    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.wire_server import Connection, Request, WireServer

BLOB = images.noise(200_000)
DIGEST = images.sha256(BLOB)
EMPTY = b"{}"
IMAGE = images.Content(
    json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": images.OCI_MANIFEST,
            "config": images.Content(EMPTY, "application/vnd.oci.empty.v1+json").descriptor,
            "layers": [],
        }
    ).encode(),
    images.OCI_MANIFEST,
)
OLDER = images.Content(IMAGE.data + b" ", images.OCI_MANIFEST)


class Copy(ScriptedRegistry):
    """A registry that holds the blob and the manifest, ``v1``, and can be told to answer something else."""

    def __init__(self, name: str = NAME) -> None:
        super().__init__()
        held = self.held[name] = Holding()
        held.blobs[DIGEST] = BLOB
        for content in (IMAGE, OLDER):
            held.manifests[content.digest] = (content.media_type, content.data)
        held.tags["v1"] = IMAGE.digest
        self.instead: Handler | None = None

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer, or do what is to be done instead."""
        if self.instead is None or request.path == "/v2/":
            super().__call__(request, connection)
            return
        self.requests.append(request)
        self.instead(request, connection)

    def asked(self, method: str | None = None) -> list[str]:
        """Return the targets that were asked for, pings left out."""
        found = [request for request in self.requests if request.path != "/v2/"]
        return [request.target for request in found if method in {None, request.method}]


DEAD = "127.0.0.9:9"
"""A host that nobody listens at."""


class Group:
    """A registry at 127.0.0.1 and mirrors at 127.0.0.2 and up.

    Args:
        start: Starts servers.
        count: How many mirrors there are.
        kind: What they, and the registry, are.
    """

    def __init__(self, start: StartWireServer, count: int = 1, kind: Callable[[], Copy] = Copy) -> None:
        self.upstream = kind()
        self.home: WireServer = start(self.upstream)
        self.mirrors = [kind() for _ in range(count)]
        self.hosts: list[WireServer] = [
            start(mirror, address=f"127.0.0.{number}") for number, mirror in enumerate(self.mirrors, 2)
        ]
        self.events: list[Any] = []

    @property
    def mirror(self) -> Copy:
        """The first mirror."""
        return self.mirrors[0]

    def config(self, **options: Any) -> HostConfig:  # noqa: ANN401 -- the options of Mirror
        """Return a configuration with all of the mirrors."""
        return HostConfig(scheme="http", mirrors=[Mirror(host.origin, **options) for host in self.hosts])

    def client(self, config: HostConfig | None = None, **options: Any) -> Client:  # noqa: ANN401 -- the client's own
        """Return a client that knows the mirrors."""
        usual: dict[str, Any] = {
            "hosts": {self.home.host: config or self.config()},
            "retry": QUICK,
            "hooks": [self._hear],
        }
        return Client(**(usual | options))

    def _hear(self, event: Event) -> None:
        if not isinstance(event, TransferEvent):
            self.events.append(event)

    def repository(self, client: Client, name: str = NAME) -> Repository:
        """Return the repository at the registry."""
        return client.repository(f"{self.home.host}/{name}")


def failing(status: int, **headers: str) -> Handler:
    """Answer with an error, and no more words."""
    return respond(status, {name.replace("_", "-"): value for name, value in headers.items()})


async def read_all(repository: Repository) -> None:
    """Read everything there is to read, in every way, and check it."""
    assert await repository.blobs.get(DIGEST) == BLOB
    assert (await repository.blobs.stat(DIGEST)).size == len(BLOB)
    assert (await repository.manifests.get(IMAGE.digest)).data == IMAGE.data
    assert (await repository.manifests.stat(IMAGE.digest)).digest == IMAGE.digest
    assert (await repository.manifests.get("v1")).data == IMAGE.data
    assert (await repository.manifests.stat("v1")).digest == IMAGE.digest
