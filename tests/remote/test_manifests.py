from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ocidist import (
    Digest,
    ImageIndex,
    ImageManifest,
    Manifest,
    ManifestBlobUnknownError,
    ManifestInvalidError,
    ManifestUnknownError,
    NotFoundError,
    NotModifiedError,
    TagUnknownError,
    UnsupportedError,
)
from tests.peers import images
from tests.remote.support import push_image

if TYPE_CHECKING:
    from tests.peers.images import Image
    from tests.peers.peer import Peer

KINDS = {
    "oci": images.image(),
    "docker": images.image(docker=True),
    "index": images.index(),
    "docker-list": images.index(docker=True),
    "no-media-type": images.image(fields={"mediaType": None}),
    "extra": images.image(fields={"annotations": {"k": "v"}, "x-vendor": [1, {"deep": None}]}),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_manifest_comes_back_byte_for_byte(any_registry: Peer, fresh_name: str, kind: str) -> None:
    image = KINDS[kind]
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        pushed = await push_image(repository, image, "v1", "latest")
        for reference in ("v1", "latest", image.digest):
            found = await repository.manifests.get(reference)
            assert found == pushed
            assert await repository.manifests.stat(reference) == pushed.descriptor
            assert await repository.manifests.exists(reference)
    view = found.parse()
    assert isinstance(view, ImageIndex if image.children else ImageManifest)


async def test_a_push_says_what_is_there_now(any_registry: Peer, fresh_name: str) -> None:
    image = images.image()
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        await push_image(repository, image)
        pushed = await repository.manifests.push(Manifest.of(image.manifest.data), tags=["v1", "v2"])
        assert pushed.tags == ("v1", "v2")
        assert pushed.failed == {}
        assert pushed.descriptor == (await repository.manifests.get("v2")).descriptor
        assert await repository.manifests.push(image.manifest.data, tags=["v3"], by_digest=False)
        assert await repository.manifests.exists("v3")


async def test_odd_bytes_survive(any_registry: Peer, fresh_name: str) -> None:
    image = images.image()
    odd = json.dumps(json.loads(image.manifest.data), indent=5).replace("\n", "\r\n").encode() + b"\n\n"
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        await push_image(repository, image)
        pushed = await repository.manifests.push(odd, tags=["odd"])
        assert (await repository.manifests.get("odd")).data == odd
    assert pushed.descriptor.digest == images.sha256(odd)


async def test_what_does_not_exist_is_unknown(any_registry: Peer, fresh_name: str) -> None:
    missing = Digest.of(b"missing")
    async with any_registry.client() as client:
        empty = client.repository(f"{any_registry.host}/{fresh_name}")
        filled = client.repository(f"{any_registry.host}/{fresh_name}-filled")
        await push_image(filled, images.image(), "v1")
        for repository in (empty, filled):
            assert not await repository.manifests.exists("missing")
            assert not await repository.manifests.exists(missing)
        with pytest.raises(TagUnknownError):
            await filled.manifests.get("missing")
        with pytest.raises(TagUnknownError):
            await filled.tags.stat("missing")
        with pytest.raises(ManifestUnknownError):
            await filled.manifests.get(missing)
        with pytest.raises(NotFoundError) as caught:
            await empty.manifests.stat("missing")
    assert caught.value.reference == f"{any_registry.host}/{fresh_name}:missing"


async def test_what_is_there_already_is_not_sent_again(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        pushed = await push_image(repository, images.image(), "v1")
        for reference in ("v1", pushed.digest):
            with pytest.raises(NotModifiedError):
                await repository.manifests.get(reference, if_none_match=pushed.digest)
        assert await repository.manifests.get("v1", if_none_match=Digest.of(b"other")) == pushed


async def test_a_manifest_whose_content_is_missing_is_refused(any_registry: Peer, fresh_name: str) -> None:
    image = images.image()
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        with pytest.raises(ManifestBlobUnknownError) as caught:
            await repository.manifests.push(image.manifest.data)
        assert set(caught.value.digests) <= {blob.digest for blob in image.blobs}
        assert caught.value.digests
        assert not await repository.manifests.exists(image.digest)


async def test_a_manifest_the_registry_refuses_is_invalid(docker_registry: Peer, fresh_name: str) -> None:
    async with docker_registry.client() as client:
        repository = client.repository(f"{docker_registry.host}/{fresh_name}")
        with pytest.raises(ManifestInvalidError):
            await repository.manifests.push(b"{}", media_type="application/vnd.unknown+json")


async def test_a_deleted_manifest_takes_its_tags_along(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        pushed = await push_image(repository, images.image(), "v1", "v2")
        other = await push_image(repository, images.image("linux/arm64"), "other")
        if not any_registry.can_delete:
            with pytest.raises(UnsupportedError):
                await repository.manifests.delete(pushed.digest)
            assert await repository.manifests.get("v1") == pushed
            return
        await repository.manifests.delete(pushed.digest)
        assert [await repository.manifests.exists(name) for name in (pushed.digest, "v1", "v2")] == [False] * 3
        assert await repository.manifests.get("other") == other
        with pytest.raises(ManifestUnknownError):
            await repository.manifests.delete(pushed.digest)


def test_the_kinds_differ() -> None:
    def digest(image: Image) -> str:
        return image.digest

    assert len({digest(image) for image in KINDS.values()}) == len(KINDS)
