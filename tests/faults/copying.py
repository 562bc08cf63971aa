"""Images to copy, registries to copy between, and what is left in them afterwards."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from ocidist import Client, HostConfig, MemoryRegistry
from tests.http.support import QUICK
from tests.peers.images import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Content, Image, noise
from tests.remote.support import push_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocidist.storage.protocols import Repository
    from ocidist.testing import LoopbackRegistry
    from tests.peers.wire_server import WireServer

NAME = "acme/app"


def blob(seed: str, size: int = 3000) -> Content:
    return Content(noise(size, seed), OCI_LAYER)


def made_of(*layers: Content, config: Content | None = None, **fields: object) -> Image:
    """Return an image of these layers."""
    about = config or Content(
        json.dumps({"os": "linux", "layers": [each.digest for each in layers]}).encode(), OCI_CONFIG
    )
    value = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": about.descriptor,
        "layers": [each.descriptor for each in layers],
        **fields,
    }
    return Image(Content(json.dumps(value).encode(), OCI_MANIFEST), (about, *layers))


def listing(*parts: dict[str, object], children: Sequence[Image] = (), **fields: object) -> Image:
    """Return an index of these descriptors."""
    value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(parts), **fields}
    return Image(Content(json.dumps(value).encode(), OCI_INDEX), children=tuple(children))


def index_of(*children: Image) -> Image:
    return listing(*(child.manifest.descriptor for child in children), children=children)


def loose(name: str = NAME) -> Repository:
    """Return a repository that takes manifests without what they name."""
    return MemoryRegistry(check_references=False).repository(name)


async def put(repository: Repository, top: Image, *tags: str) -> None:
    await push_image(repository, top, *tags)  # type: ignore[arg-type]  # every store does


def client_for(*registries: LoopbackRegistry, **others: Any) -> Client:  # noqa: ANN401 -- as the client has them
    """Return a client that does not wait long before it asks again."""
    hosts = {host: value for each in registries for host, value in each.client_options["hosts"].items()}
    options: dict[str, Any] = {"credentials": {}, "hosts": hosts, "retry": QUICK}
    return Client(**(options | others))


def client_of_wire(server: WireServer, *registries: LoopbackRegistry) -> Client:
    """Return a client for a scripted registry, and others."""
    return client_for(
        *registries,
        hosts={each: HostConfig(scheme="http") for each in (server.host, *(one.host for one in registries))},
    )


def sent(registry: LoopbackRegistry) -> Counter[str]:
    """Return how often each blob was stored by being sent."""
    queries = [
        each.query
        for each in registry.requests
        if each.method == "PUT" and "/blobs/uploads/" in each.path and each.status == 201
    ]
    return Counter(query.partition("digest=")[2].partition("&")[0].replace("%3A", ":") for query in queries)


def sessions(registry: LoopbackRegistry) -> int:
    """Return how many uploads are open."""
    return len(registry.store._state.uploads)  # type: ignore[attr-defined]  # of a MemoryRegistry; nothing else says
