from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import Descriptor, Digest, Manifest, ProtocolError, PushResult, UnsupportedError, build_artifact
from tests.peers import images
from tests.peers.peer import Mode
from tests.remote.support import push_image

if TYPE_CHECKING:
    from ocidist import Repository
    from tests.conftest import StartRegistry
    from tests.peers.peer import Peer

SBOM = "application/spdx+json"
SIGNATURE = "application/vnd.example.signature"


def note(subject: Manifest, number: int, artifact_type: str = SBOM) -> Manifest:
    return build_artifact(artifact_type, subject=subject.descriptor, annotations={"number": f"{number}"})


async def digests(repository: Repository, subject: Digest, artifact_type: str | None = None) -> set[str]:
    found = await repository.referrers(subject, artifact_type=artifact_type).collect()
    assert len({entry.digest for entry in found}) == len(found)
    return {entry.digest for entry in found}


async def test_what_refers_to_an_image_is_listed_with_type_and_annotations(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        image = await push_image(repository, images.image(), "v1")
        assert await repository.referrers(image.digest).collect() == []
        await repository.blobs.push(b"{}")
        made = [note(image, 1), note(image, 2, SIGNATURE)]
        for manifest in made:
            pushed = await repository.manifests.push(manifest)
            assert pushed.subject == (image.digest if any_registry.has_referrers else None)
        assert await digests(repository, image.digest) == {manifest.digest for manifest in made}
        [signature] = await repository.referrers(image.descriptor, artifact_type=SIGNATURE).collect()
        assert signature == made[1].as_referrer()
        assert await digests(repository, image.digest, "application/none") == set()


async def test_pushing_a_referrer_twice_lists_it_once(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        image = await push_image(repository, images.image())
        await repository.blobs.push(b"{}")
        for _ in range(2):
            await repository.manifests.push(note(image, 1), tags=["note"])
        assert await digests(repository, image.digest) == {note(image, 1).digest}


async def test_a_referrer_may_come_before_its_subject(any_registry: Peer, fresh_name: str) -> None:
    image = Manifest.of(images.image().manifest.data)
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        await repository.blobs.push(b"{}")
        await repository.manifests.push(note(image, 1))
        assert await digests(repository, image.digest) == {note(image, 1).digest}
        assert not await repository.manifests.exists(image.digest)


async def test_q50_a_deleted_referrer_is_no_longer_listed(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        image = await push_image(repository, images.image(), "v1")
        await repository.blobs.push(b"{}")
        for number in (1, 2):
            await repository.manifests.push(note(image, number))
        if not any_registry.can_delete:
            with pytest.raises(UnsupportedError):
                await repository.manifests.delete(note(image, 1).digest)
            assert len(await digests(repository, image.digest)) == 2
            return
        await repository.manifests.delete(note(image, 1).digest)
        assert await digests(repository, image.digest) == {note(image, 2).digest}
        await repository.manifests.delete(note(image, 2).digest)
        assert await digests(repository, image.digest) == set()
        assert await repository.manifests.exists("v1")


async def test_a09_fifty_tasks_that_attach_at_once_are_all_listed(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        image = await push_image(repository, images.image())
        await repository.blobs.push(b"{}")

        async def attach(number: int) -> None:
            one = client.repository(f"{any_registry.host}/{fresh_name}")
            await one.manifests.push(note(image, number))

        with anyio.fail_after(50):
            async with anyio.create_task_group() as group:
                for number in range(50):
                    group.start_soon(attach, number)
        assert await digests(repository, image.digest) == {note(image, number).digest for number in range(50)}


async def test_f104_twenty_clients_that_attach_at_once_lose_nothing(
    shared_registry: StartRegistry, fresh_name: str
) -> None:
    peer = shared_registry(Mode.PLAIN)
    async with peer.client() as client:
        repository = client.repository(f"{peer.host}/{fresh_name}")
        image = await push_image(repository, images.image())
        await repository.blobs.push(b"{}")

        async def attach(number: int) -> None:
            async with peer.client() as mine:
                await mine.repository(f"{peer.host}/{fresh_name}").manifests.push(note(image, number))

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(attach, number)
        assert await digests(repository, image.digest) == {note(image, number).digest for number in range(20)}


async def test_t28_an_image_under_the_index_tag_is_left_alone(docker_registry: Peer, fresh_name: str) -> None:
    async with docker_registry.client() as client:
        repository = client.repository(f"{docker_registry.host}/{fresh_name}")
        image = await push_image(repository, images.image())
        await repository.blobs.push(b"{}")
        tag = image.digest.referrers_tag
        await repository.tags.set(tag, image)
        assert await digests(repository, image.digest) == set()
        with pytest.raises(ProtocolError, match="not an index of referrers"):
            await repository.manifests.push(note(image, 1))
        assert await repository.manifests.get(tag) == image


async def test_n08_the_index_names_no_subject_and_is_one_of_referrers(docker_registry: Peer, fresh_name: str) -> None:
    async with docker_registry.client() as client:
        repository = client.repository(f"{docker_registry.host}/{fresh_name}")
        image = await push_image(repository, images.image())
        await repository.blobs.push(b"{}")
        await repository.manifests.push(note(image, 1))
        index = await repository.manifests.get(image.digest.referrers_tag)
    assert index.subject is None
    assert index.references == (note(image, 1).as_referrer(),)


async def test_what_a_push_of_a_referrer_returns(embedded_registry: Peer, fresh_name: str) -> None:
    async with embedded_registry.client() as client:
        repository = client.repository(f"{embedded_registry.host}/{fresh_name}")
        image = await push_image(repository, images.image())
        await repository.blobs.push(b"{}")
        pushed = await repository.manifests.push(note(image, 1))
    assert pushed == PushResult(note(image, 1).descriptor, subject=image.digest)
    assert isinstance(pushed.descriptor, Descriptor)
