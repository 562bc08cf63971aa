from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist import Descriptor, Digest, Mounted, OnExit, UploadStarted
from tests.peers.images import noise
from tests.peers.peer import Mode

if TYPE_CHECKING:
    from tests.conftest import StartRegistry
    from tests.peers.peer import Peer

BLOB = noise(100_000)
DIGEST = Digest.of(BLOB)


async def test_s01_a_blob_is_mounted_from_another_repository(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        registry = client.registry(any_registry.host)
        source, target = registry.repository(f"{fresh_name}-src"), registry.repository(fresh_name)
        await source.blobs.push(BLOB)
        assert not await target.blobs.exists(DIGEST)
        assert await target.blobs.mount(DIGEST, source=source.name) == Mounted(DIGEST, source.name)
        assert await target.blobs.get(DIGEST) == BLOB


async def test_s02_a_mount_that_is_declined_opens_a_session_for_the_upload(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        blobs = client.repository(f"{any_registry.host}/{fresh_name}").blobs
        answer = await blobs.mount(DIGEST, source=f"{fresh_name}-empty")
        assert isinstance(answer, UploadStarted)
        assert not await blobs.exists(DIGEST)
        async with blobs.resume(answer.state, source=BLOB) as writer:
            assert writer.size == 0
            assert await writer.commit(DIGEST) == Descriptor.of(BLOB)
        assert await blobs.get(DIGEST) == BLOB


async def test_a_declined_mount_can_be_cancelled(docker_registry: Peer, fresh_name: str) -> None:
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        answer = await blobs.mount(DIGEST, source=f"{fresh_name}-empty")
        assert isinstance(answer, UploadStarted)
        async with blobs.resume(answer.state, on_exit=OnExit.CANCEL):
            pass


async def test_a_push_mounts_what_it_can_and_sends_the_rest(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        registry = client.registry(any_registry.host)
        await registry.repository(f"{fresh_name}-src").blobs.push(BLOB)
        blobs = registry.repository(fresh_name).blobs
        sources = [f"{fresh_name}-empty", f"{fresh_name}-src"]
        assert (await blobs.push(BLOB, mount_from=sources)).digest == DIGEST
        assert (await blobs.push(b"new", mount_from=sources)).digest == Digest.of(b"new")
        assert await blobs.get(DIGEST) == BLOB
        assert await blobs.get(Digest.of(b"new")) == b"new"


async def test_a03_a_real_token_server_is_asked_once_for_both_repositories(
    shared_registry: StartRegistry, fresh_name: str
) -> None:
    peer = shared_registry(Mode.TOKEN)
    assert peer.token_server is not None
    async with peer.client() as client:
        await client.repository(f"{peer.host}/{fresh_name}-src").blobs.push(BLOB)
    async with peer.client() as client:
        before = len(peer.token_server.calls)
        blobs = client.repository(f"{peer.host}/{fresh_name}").blobs
        assert isinstance(await blobs.mount(DIGEST, source=f"{fresh_name}-src"), Mounted)
        calls = peer.token_server.calls[before:]
    assert [call.scopes for call in calls] == [
        sorted([f"repository:{fresh_name}:pull,push", f"repository:{fresh_name}-src:pull"])
    ]
