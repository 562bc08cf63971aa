"""Schema 1, as docker-registry 2.8.2 makes it of a schema 2 image for whoever accepts anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ocidist import Digest, DigestMismatchError, MalformedManifestError, Schema1View, SchemaV1UnsupportedError
from ocidist.model.mediatype import DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED
from ocidist.model.schema1 import signed_payload
from tests.peers import images
from tests.peers.answers import respond
from tests.remote.support import MANIFESTS, repository_on

if TYPE_CHECKING:
    from ocidist import Repository
    from tests.peers.peer import Peer
    from tests.peers.wire_server import WireServer


async def push_schema2(repository: Repository) -> Digest:
    """Push a Docker image with a history, without which the registry cannot convert it."""
    layer = images.layer({"hello": b"world"}, images.DOCKER_LAYER)
    await repository.blobs.push(layer.data)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "a test"}],
    }
    text = json.dumps(config).encode()
    about = await repository.blobs.push(text)
    manifest = {
        "schemaVersion": 2,
        "mediaType": images.DOCKER_MANIFEST,
        "config": {"mediaType": images.DOCKER_CONFIG, "size": about.size, "digest": about.digest},
        "layers": [{"mediaType": images.DOCKER_LAYER, "size": len(layer.data), "digest": layer.digest}],
    }
    return (await repository.manifests.push(json.dumps(manifest).encode(), tags=["v1"])).descriptor.digest


async def test_q57_the_digest_of_a_signed_manifest_is_that_of_its_payload(
    docker_registry: Peer, fresh_name: str, wire_server: WireServer
) -> None:
    async with docker_registry.client() as client:
        repository = client.repository(f"{docker_registry.host}/{fresh_name}")
        pushed = await push_schema2(repository)
        found = await repository.manifests.get("v1", accept="*/*")
        assert found.media_type == DOCKER_SCHEMA1_SIGNED
        view = found.parse()
        assert isinstance(view, Schema1View)
        assert (view.name, view.tag) == (fresh_name, "v1")
        # What the registry states agrees, or the manifest would not be here; the bytes have another one.
        assert found.digest == Digest.of(signed_payload(found.data))
        assert found.digest not in {Digest.of(found.data), pushed}
        stated = await repository.manifests.stat("v1", accept="*/*")
        assert stated.media_type == DOCKER_SCHEMA1_SIGNED

    # The same bytes by digest: it is their payload that counts.
    answer = respond(200, {"Content-Type": DOCKER_SCHEMA1_SIGNED}, found.data)
    wire_server.on("GET", f"{MANIFESTS}/*", answer)
    async with repository_on(wire_server) as repository:
        assert (await repository.manifests.get(found.digest)).data == found.data
        with pytest.raises(DigestMismatchError):
            await repository.manifests.get(Digest.of(found.data))

    # Registries of that time did not always say what it is; the digest is of the payload all the same.
    for kind in ("application/json; charset=utf-8", DOCKER_SCHEMA1):
        stated_so = {"Content-Type": kind, "Docker-Content-Digest": found.digest}
        wire_server.on("GET", f"{MANIFESTS}/*", respond(200, stated_so, found.data))
        async with repository_on(wire_server) as repository:
            for reference in ("v1", found.digest):
                again = await repository.manifests.get(reference)
                assert (again.digest, again.media_type) == (found.digest, DOCKER_SCHEMA1_SIGNED)

    tampered = found.data.replace(b'"tag": "v1"', b'"tag": "v2"', 1)
    assert tampered != found.data
    wire_server.on("GET", f"{MANIFESTS}/*", respond(200, {"Content-Type": DOCKER_SCHEMA1_SIGNED}, tampered))
    async with repository_on(wire_server) as repository:
        with pytest.raises(DigestMismatchError):
            await repository.manifests.get(found.digest)

    more = found.data.rstrip()[:-1] + b', "extra": 1}'
    wire_server.on("GET", f"{MANIFESTS}/*", respond(200, {"Content-Type": DOCKER_SCHEMA1_SIGNED}, more))
    async with repository_on(wire_server) as repository:
        with pytest.raises(MalformedManifestError):
            await repository.manifests.get(found.digest)


async def test_a_real_schema_1_manifest_has_layers_and_history_and_is_not_pushed(
    docker_registry: Peer, fresh_name: str, wire_server: WireServer
) -> None:
    async with docker_registry.client() as client:
        repository = client.repository(f"{docker_registry.host}/{fresh_name}")
        await push_schema2(repository)
        found = await repository.manifests.get("v1", accept="*/*")
        view = found.parse()
        assert isinstance(view, Schema1View)
        (layer,) = view.v1_layers
        assert (layer.image.architecture, layer.image.os) == ("amd64", "linux")
        assert layer.image.parent is None
        assert layer.image.created == "2026-01-01T00:00:00Z"
        # The layer is there under the digest that the manifest has for it.
        assert await repository.blobs.exists(layer.blob_sum)
    async with repository_on(wire_server) as repository:
        with pytest.raises(SchemaV1UnsupportedError):
            await repository.manifests.push(found, tags=["v2"])
        with pytest.raises(SchemaV1UnsupportedError):
            await repository.manifests.push(found.data, media_type=DOCKER_SCHEMA1_SIGNED)
    assert not wire_server.requests
