from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import (
    BlobUnknownError,
    Descriptor,
    Digest,
    HostConfig,
    LimitExceededError,
    UnsupportedError,
)
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ocidist._io.body import Source
    from tests.peers.peer import Peer

BLOB = noise(100_000)
DIGEST = Digest.of(BLOB)
MISSING = Digest.of(b"nobody ever pushed this")


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_what_was_pushed_can_be_found_and_read(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        blobs = client.repository(f"{any_registry.host}/{fresh_name}").blobs
        assert not await blobs.exists(DIGEST)
        pushed = await blobs.push(BLOB)
        assert (pushed.digest, pushed.size) == (DIGEST, len(BLOB))
        assert await blobs.exists(DIGEST)
        assert await blobs.stat(DIGEST) == pushed
        assert await blobs.get(DIGEST) == await blobs.get(pushed) == await blobs.get(str(DIGEST)) == BLOB


async def test_a_missing_blob_is_unknown_by_every_way_of_asking(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        blobs = client.repository(f"{any_registry.host}/{fresh_name}").blobs
        await blobs.push(b"so that the repository exists")
        for ask in (blobs.stat, blobs.get):
            with pytest.raises(BlobUnknownError) as caught:
                await ask(MISSING)
            assert f"{fresh_name}@{MISSING}" in str(caught.value)
        with pytest.raises(BlobUnknownError):
            await blobs.open(MISSING).__aenter__()
        assert not await blobs.exists(MISSING)


async def test_a_blob_can_be_deleted_where_the_registry_allows_it(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        blobs = client.repository(f"{any_registry.host}/{fresh_name}").blobs
        await blobs.push(BLOB)
        if not any_registry.can_delete:
            with pytest.raises(UnsupportedError):
                await blobs.delete(DIGEST)
            return
        await blobs.delete(DIGEST)
        assert not await blobs.exists(DIGEST)
        with pytest.raises(BlobUnknownError):
            await blobs.delete(DIGEST)


async def test_every_kind_of_source_is_stored_byte_for_byte(
    docker_registry: Peer, embedded_registry: Peer, fresh_name: str, tmp_path: Path
) -> None:
    path = tmp_path / "blob"
    path.write_bytes(BLOB)
    half = len(BLOB) // 2
    for peer in (docker_registry, embedded_registry):
        sources: list[Source] = [
            BLOB,
            bytearray(BLOB),
            memoryview(BLOB),
            path,
            stream(BLOB[:half], BLOB[half:]),
            lambda: stream(BLOB[:half], BLOB[half:]),
        ]
        async with peer.client() as client:
            for number, source in enumerate(sources):
                blobs = client.repository(f"{peer.host}/{fresh_name}-{number}").blobs
                assert (await blobs.push(source)).digest == DIGEST
                assert await blobs.get(DIGEST) == BLOB


@pytest.mark.parametrize("size", [0, 1, 2])
async def test_the_smallest_blobs_are_stored(any_registry: Peer, fresh_name: str, size: int) -> None:
    async with any_registry.client() as client:
        blobs = client.repository(f"{any_registry.host}/{fresh_name}").blobs
        described = await blobs.push(BLOB[:size])
        assert described == Descriptor.of(BLOB[:size])
        assert await blobs.get(described) == BLOB[:size]
        assert (await blobs.stat(described.digest)).size == size


async def test_a_descriptor_comes_back_as_it_was_given(embedded_registry: Peer, fresh_name: str) -> None:
    wanted = Descriptor("application/vnd.acme.thing", DIGEST, len(BLOB), annotations={"a": "b"})
    async with embedded_registry.client() as client:
        blobs = client.repository(f"{embedded_registry.host}/{fresh_name}").blobs
        assert await blobs.push(BLOB, wanted) is wanted


async def test_sha512_blobs_are_stored_under_their_own_digest(
    docker_registry: Peer, embedded_registry: Peer, fresh_name: str
) -> None:
    wanted = Descriptor.of(BLOB, algorithm="sha512")
    for peer in (docker_registry, embedded_registry):
        async with peer.client() as client:
            blobs = client.repository(f"{peer.host}/{fresh_name}").blobs
            assert await blobs.push(BLOB, wanted) == wanted
            assert await blobs.get(wanted) == BLOB


async def test_a_single_request_is_tried_and_made_up_for(
    docker_registry: Peer, embedded_registry: Peer, fresh_name: str
) -> None:
    """docker-registry opens a session instead, and cuts the connection if there are many bytes."""
    for peer in (docker_registry, embedded_registry):
        async with peer.client() as client:
            blobs = client.repository(f"{peer.host}/{fresh_name}").blobs
            for data in (b"small", noise(2_000_000)):
                described = await blobs.push(data, single_post=True)
                assert await blobs.get(described) == data


@pytest.mark.parametrize("limit", [len(BLOB) - 1, len(BLOB), len(BLOB) + 1])
async def test_a_blob_is_read_into_memory_up_to_the_limit(docker_registry: Peer, fresh_name: str, limit: int) -> None:
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        described = await blobs.push(BLOB)
        if limit >= len(BLOB):
            assert await blobs.get(DIGEST, max_size=limit) == BLOB
            return
        for target in (DIGEST, described):
            with pytest.raises(LimitExceededError):
                await blobs.get(target, max_size=limit)


async def test_progress_is_told_while_a_blob_is_sent(docker_registry: Peer, fresh_name: str, tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(BLOB)
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        seen: list[tuple[int, int | None]] = []
        for chunk_size in (None, 30_000):
            seen.clear()
            await blobs.push(
                path,
                progress=lambda done, total: seen.append((done, total)),
                check_exists=False,
                chunk_size=chunk_size,
            )
            assert seen[-1] == (len(BLOB), len(BLOB))
            assert [done for done, _ in seen] == sorted(done for done, _ in seen)


async def test_the_chunk_size_of_a_host_holds_unless_the_caller_says_otherwise(
    docker_registry: Peer, fresh_name: str
) -> None:
    hosts = {docker_registry.host: HostConfig(scheme="http", chunk_size=12_345)}
    async with docker_registry.client(hosts=hosts) as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        async with blobs.writer() as configured, blobs.writer(chunk_size=5) as chosen:
            assert (configured.chunk_size, chosen.chunk_size) == (12_345, 5)
            await configured.cancel()
            await chosen.cancel()


async def test_a_descriptor_names_a_blob_wherever_a_digest_does(embedded_registry: Peer, fresh_name: str) -> None:
    async with embedded_registry.client() as client:
        blobs = client.repository(f"{embedded_registry.host}/{fresh_name}").blobs
        pushed = await blobs.push(b"named by its descriptor")
        assert await blobs.stat(pushed) == pushed
        assert await blobs.exists(pushed)
        other = client.repository(f"{embedded_registry.host}/{fresh_name}-2").blobs
        await other.mount(pushed, source=fresh_name)
        assert await other.get(pushed) == b"named by its descriptor"
        await other.delete(pushed)
        assert not await other.exists(pushed)
