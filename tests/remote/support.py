"""What the tests of remote objects share: clients that do not wait long, and content put there by hand."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ocidist import Client, HostConfig, Manifest, Repository, RetryPolicy
from tests.peers.answers import respond

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.peers.answers import Handler
    from tests.peers.images import Content, Image
    from tests.peers.wire_server import WireServer

QUICK = RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02, jitter=0.0)
NAME = "acme/app"
MANIFESTS = f"/v2/{NAME}/manifests"


def client_for(server: WireServer, **options: Any) -> Client:  # noqa: ANN401 -- the client's own options
    """Return a client for a scripted server."""
    usual: dict[str, Any] = {"hosts": {server.host: HostConfig(scheme="http")}, "retry": QUICK}
    return Client(**(usual | options))


@asynccontextmanager
async def repository_on(server: WireServer, **options: Any) -> AsyncIterator[Repository]:  # noqa: ANN401 -- see above
    """Open a client and yield the repository ``acme/app`` of a scripted server."""
    async with client_for(server, **options) as client:
        yield client.repository(f"{server.host}/{NAME}")


def serve_manifest(content: Content, **changes: str | None) -> Handler:
    """Answer with a manifest as a registry should; *changes* replace or add headers, None removes one."""
    usual: dict[str, str | None] = {
        "Content-Type": content.media_type,
        "Docker-Content-Digest": content.digest,
        "ETag": f'"{content.digest}"',
    }
    usual |= {name.replace("_", "-"): value for name, value in changes.items()}
    pairs = [(name, value) for name, value in usual.items() if value is not None]
    return respond(200, pairs, content.data)


async def push_image(repository: Repository, image: Image, *tags: str) -> Manifest:
    """Push an image with everything in it and return its manifest."""
    for blob in image.all_blobs:
        await repository.blobs.push(blob.data)
    for child in image.walk():
        names = tags if child is image else ()
        await repository.manifests.push(child.manifest.data, media_type=child.manifest.media_type, tags=names)
    return Manifest.of(image.manifest.data, image.manifest.media_type)
