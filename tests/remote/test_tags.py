from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import (
    Descriptor,
    Digest,
    Manifest,
    ManifestUnknownError,
    NameUnknownError,
    NotFoundError,
    TagDelete,
    TagUnknownError,
    UnsupportedError,
)
from tests.peers import images
from tests.peers.peer import Mode
from tests.remote.support import push_image

if TYPE_CHECKING:
    from tests.conftest import StartRegistry
    from tests.peers.peer import Peer

TAGS = ["1.0", "1.1", "Latest", "_x", "a", "b", "edge", "v10", "v2"]


async def test_tags_are_listed_completely_whatever_the_page_size(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        await push_image(repository, images.image(), *TAGS)
        for page_size in (None, 1, 2, len(TAGS), len(TAGS) + 1, 100_000):
            assert sorted(await repository.tags.list(page_size=page_size).collect()) == TAGS
        assert len(await repository.tags.list(page_size=2).collect(limit=3)) == 3
        first = [tag async for tag in repository.tags.list()]
        assert first == await repository.tags.list().collect()


async def test_a_list_begins_after_a_tag(embedded_registry: Peer, fresh_name: str) -> None:
    async with embedded_registry.client() as client:
        repository = client.repository(f"{embedded_registry.host}/{fresh_name}")
        await push_image(repository, images.image(), *TAGS)
        for page_size in (None, 2):
            assert await repository.tags.list(after="a", page_size=page_size).collect() == ["b", "edge", "v10", "v2"]
            assert await repository.tags.list(after="v2", page_size=page_size).collect() == []


async def test_q53_a_registry_that_ignores_paging_is_read_in_one_request(
    docker_registry: Peer, fresh_name: str
) -> None:
    async with docker_registry.client() as client:
        repository = client.repository(f"{docker_registry.host}/{fresh_name}")
        await push_image(repository, images.image(), *TAGS)
        pages = [page async for page in repository.tags.list(page_size=2).pages()]
        assert [sorted(page.items) for page in pages] == [TAGS]
        whole = await repository.tags.list().collect()
        assert await repository.tags.list(after=whole[3]).collect() == whole[4:]


async def test_the_tags_of_a_repository_that_does_not_exist_are_no_empty_list(
    any_registry: Peer, fresh_name: str
) -> None:
    async with any_registry.client() as client:
        with pytest.raises(NameUnknownError):
            await client.repository(f"{any_registry.host}/{fresh_name}").tags.list().collect()


async def test_a_tag_can_be_set_by_everything_that_names_a_manifest(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        image = await push_image(repository, images.image(), "v1")
        index = await push_image(repository, images.index(), "all")
        targets: list[Manifest | Descriptor | Digest | str] = [image, image.descriptor, image.digest, "v1"]
        for number, target in enumerate([*targets, str(image.digest)]):
            assert await repository.tags.set(f"t{number}", target) == image.descriptor
            assert await repository.tags.stat(f"t{number}") == image.descriptor
        assert await repository.tags.set("t0", index.digest) == index.descriptor
        assert await repository.manifests.get("t0") == index
        with pytest.raises(ManifestUnknownError):
            await repository.tags.set("t9", Digest.of(b"missing"))


async def test_the_tags_of_a_manifest_are_found(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        mine = await push_image(repository, images.image(), "v1", "v2", "latest")
        await push_image(repository, images.image("linux/arm64"), "other")
        for target in (mine.digest, mine.descriptor, str(mine.digest)):
            assert sorted(await repository.tags.lookup(target)) == ["latest", "v1", "v2"]
        assert await repository.tags.lookup(Digest.of(b"missing")) == ()


async def test_n10_deleting_a_tag_leaves_the_manifest_and_its_other_tags(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        pushed = await push_image(repository, images.image(), "old", "new")
        if any_registry.can_delete_tags:
            await repository.tags.delete("old")
            assert await repository.tags.list().collect() == ["new"]
            with pytest.raises(TagUnknownError):
                await repository.tags.delete("old")
        else:
            with pytest.raises(UnsupportedError, match="does not delete single tags"):
                await repository.tags.delete("old")
            assert await repository.manifests.get("old") == pushed
        assert await repository.manifests.get("new") == pushed
        assert await repository.manifests.get(pushed.digest) == pushed


async def test_n10_a_dummy_takes_the_tag_away_where_nothing_else_does(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        pushed = await push_image(repository, images.image(), "old", "new")
        if any_registry.can_delete:
            await repository.tags.delete("old", strategy=TagDelete.DUMMY)
            assert not await repository.manifests.exists("old")
            assert await repository.tags.list().collect() == ["new"]
            with pytest.raises(NotFoundError):
                await repository.tags.delete("old", strategy=TagDelete.DUMMY)
        else:
            with pytest.raises(UnsupportedError, match="neither tags nor manifests"):
                await repository.tags.delete("old", strategy=TagDelete.DUMMY)
            assert await repository.manifests.get("old") == pushed
        assert await repository.manifests.get("new") == pushed


async def test_n10_an_image_that_was_tagged_twice_survives_the_deletion_of_one_tag_after_the_other(
    shared_registry: StartRegistry, fresh_name: str
) -> None:
    peer = shared_registry(Mode.PLAIN)
    async with peer.client() as client:
        repository = client.repository(f"{peer.host}/{fresh_name}")
        pushed = await push_image(repository, images.image(), "a", "b")
        for tag in ("a", "b"):
            await repository.tags.delete(tag, strategy=TagDelete.DUMMY)
        assert await repository.manifests.get(pushed.digest) == pushed


async def test_what_a_tag_names_is_a_descriptor(any_registry: Peer, fresh_name: str) -> None:
    image = images.image()
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        await push_image(repository, image, "v1")
        found = await repository.tags.stat("v1")
    assert found == Descriptor(image.manifest.media_type, image.digest, len(image.manifest.data))
