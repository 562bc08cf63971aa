from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import Descriptor, ImageManifest, ManifestUnknownError, UsageError
from ocidist.model.builder import EMPTY_DESCRIPTOR
from tests.peers import images
from tests.remote.support import client_for, push_image

if TYPE_CHECKING:
    from tests.peers.peer import Peer
    from tests.peers.wire_server import WireServer

SBOM = "application/spdx+json"


async def test_n02_an_artifact_is_attached_found_read_and_removed(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        image = await push_image(repository, images.image(), "v1")
        attached = await repository.attach("v1", artifact_type=SBOM, layers=[b"packages"], annotations={"by": "me"})
        [found] = await repository.referrers(image.digest, artifact_type=SBOM).collect()
        assert found.digest == attached.descriptor.digest
        assert found.annotations == {"by": "me"}
        manifest = await repository.manifests.get(found.digest)
        assert manifest.subject == image.descriptor
        view = manifest.parse()
        assert isinstance(view, ImageManifest)
        assert [layer.media_type for layer in view.layers] == [SBOM]
        assert await repository.blobs.get(view.layers[0]) == b"packages"
        if any_registry.can_delete:
            await repository.manifests.delete(found.digest)
            assert await repository.referrers(image.digest).collect() == []


async def test_an_artifact_without_content_has_the_empty_blob(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        image = await push_image(repository, images.image(), "v1")
        for subject in (image, image.descriptor, image.digest, str(image.digest)):
            await repository.attach(subject, artifact_type=SBOM)
        [found] = await repository.referrers(image.digest).collect()
        view = (await repository.manifests.get(found.digest)).parse()
    assert isinstance(view, ImageManifest)
    assert (view.config, view.layers) == (EMPTY_DESCRIPTOR, (EMPTY_DESCRIPTOR,))
    assert view.artifact_type == SBOM


async def test_content_that_is_there_already_is_only_named(docker_registry: Peer, fresh_name: str) -> None:
    async with docker_registry.client() as client:
        repository = client.repository(f"{docker_registry.host}/{fresh_name}")
        image = await push_image(repository, images.image(), "v1")
        pushed = await repository.blobs.push(b"content")
        config = await repository.blobs.push(b'{"config": 1}')
        layer = Descriptor("text/plain", pushed.digest, pushed.size, annotations={"title": "a.txt"})
        attached = await repository.attach(image, artifact_type=SBOM, layers=[layer, b"more"], config=config)
        view = (await repository.manifests.get(attached.descriptor.digest)).parse()
    assert isinstance(view, ImageManifest)
    assert view.layers == (layer, Descriptor.of(b"more", SBOM))
    assert view.config == config


async def test_a_subject_named_by_descriptor_need_not_exist_and_is_reduced_to_what_identifies_it(
    any_registry: Peer, fresh_name: str
) -> None:
    missing = Descriptor(images.OCI_MANIFEST, images.sha256(b"x"), 1, annotations={"a": "b"}, data=b"x")
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        attached = await repository.attach(missing, artifact_type=SBOM)
        manifest = await repository.manifests.get(attached.descriptor.digest)
        assert manifest.subject == Descriptor(missing.media_type, missing.digest, missing.size)
        [found] = await repository.referrers(missing).collect()
    assert found.digest == attached.descriptor.digest


async def test_a_subject_named_by_tag_has_to_exist(docker_registry: Peer, fresh_name: str) -> None:
    async with docker_registry.client() as client:
        repository = client.repository(f"{docker_registry.host}/{fresh_name}")
        with pytest.raises(ManifestUnknownError):
            await repository.attach("missing", artifact_type=SBOM)


async def test_an_artifact_type_is_checked_before_anything_is_sent(wire_server: WireServer) -> None:
    async with client_for(wire_server) as client:
        with pytest.raises(UsageError, match="media type"):
            await client.repository(f"{wire_server.host}/a/b").attach("v1", artifact_type="sbom")
    assert wire_server.requests == []
