from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from ocidist import (
    Descriptor,
    Digest,
    DigestInvalidError,
    DigestMismatchError,
    LocationRefusedError,
    OnExit,
    UploadConflictError,
    UploadExpiredError,
    UploadState,
    UsageError,
)
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ocidist._io.body import Source
    from tests.peers.peer import Peer

BLOB = noise(100_000)
KNOWN = Descriptor.of(BLOB)
CHUNK = 10_000


async def begin(peer: Peer, name: str, data: bytes = BLOB[:25_000]) -> str:
    """Write the first bytes of a blob with a client of its own, and return the saved state."""
    async with peer.client() as client:
        async with client.repository(f"{peer.host}/{name}").blobs.writer(chunk_size=CHUNK) as writer:
            await writer.write(data)
            await writer.flush()
        return writer.state.to_json()


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_s07_another_client_goes_on_where_the_first_one_stopped(any_registry: Peer, fresh_name: str) -> None:
    text = await begin(any_registry, fresh_name)
    async with any_registry.client() as client:
        blobs = client.repository(f"{any_registry.host}/{fresh_name}").blobs
        async with blobs.resume(UploadState.from_json(text)) as writer:
            assert writer.size == 25_000
            assert writer.chunk_size == CHUNK
            await writer.write(BLOB[writer.size :])
            assert await writer.commit(KNOWN) == KNOWN
        assert await blobs.get(KNOWN) == BLOB


@pytest.mark.parametrize("kind", ["path", "bytes", "stream", "callable"])
async def test_commit_sends_the_rest_of_the_source(
    docker_registry: Peer, embedded_registry: Peer, fresh_name: str, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "blob"
    path.write_bytes(BLOB)
    for peer in (docker_registry, embedded_registry):
        text = await begin(peer, fresh_name)
        sources: dict[str, Source] = {
            "path": path,
            "bytes": BLOB,
            "stream": stream(BLOB[:20_000], BLOB[20_000:26_000], BLOB[26_000:]),
            "callable": lambda: stream(BLOB[:25_000], BLOB[25_000:]),
        }
        async with peer.client() as client:
            blobs = client.repository(f"{peer.host}/{fresh_name}").blobs
            async with blobs.resume(UploadState.from_json(text), source=sources[kind]) as writer:
                assert writer.size == 25_000
                # The digest need not be known: what the registry has was hashed again.
                assert (await writer.commit()).digest == KNOWN.digest
            assert await blobs.get(KNOWN) == BLOB


async def test_whoever_writes_after_resuming_writes_the_rest_alone(docker_registry: Peer, fresh_name: str) -> None:
    text = await begin(docker_registry, fresh_name)
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        async with blobs.resume(UploadState.from_json(text), source=BLOB) as writer:
            await writer.write(b"something else")
            described = await writer.commit()
        assert await blobs.get(described) == BLOB[:25_000] + b"something else"


async def test_without_the_source_the_expected_digest_is_required_before_any_request(
    docker_registry: Peer, fresh_name: str
) -> None:
    text = await begin(docker_registry, fresh_name)
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        async with blobs.resume(UploadState.from_json(text)) as writer:
            await writer.write(BLOB[writer.size :])
            with pytest.raises(UsageError, match="expected digest"):
                await writer.commit()
            assert await writer.commit(KNOWN.digest) == KNOWN


async def test_without_the_source_the_registry_is_the_one_to_refuse_wrong_bytes(
    docker_registry: Peer, fresh_name: str
) -> None:
    text = await begin(docker_registry, fresh_name)
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        async with blobs.resume(UploadState.from_json(text), on_exit=OnExit.CANCEL) as writer:
            await writer.write(bytes(75_000))
            with pytest.raises(DigestInvalidError):
                await writer.commit(KNOWN)
        assert not await blobs.exists(KNOWN.digest)


async def test_a_source_that_begins_with_something_else_is_found_before_anything_is_sent(
    any_registry: Peer, fresh_name: str
) -> None:
    text = await begin(any_registry, fresh_name)
    other = bytes(25_000) + BLOB[25_000:]
    async with any_registry.client() as client:
        blobs = client.repository(f"{any_registry.host}/{fresh_name}").blobs
        with pytest.raises(DigestMismatchError, match="changed"):
            async with blobs.resume(UploadState.from_json(text), source=other, on_exit=OnExit.CANCEL):
                pass
        # The session is over, as was asked for.
        with pytest.raises(UploadExpiredError):
            async with blobs.resume(UploadState.from_json(text)):
                pass
        assert not await blobs.exists(Digest.of(other))


async def test_with_the_source_wrong_bytes_after_that_are_found_before_they_are_committed(
    docker_registry: Peer, fresh_name: str
) -> None:
    text = await begin(docker_registry, fresh_name)
    other = BLOB[:50_000] + bytes(len(BLOB) - 50_000)
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        async with blobs.resume(UploadState.from_json(text), source=other, on_exit=OnExit.CANCEL) as writer:
            with pytest.raises(DigestMismatchError):
                await writer.commit(KNOWN)
        assert not await blobs.exists(Digest.of(other))


async def test_s13_a_session_with_nothing_or_one_byte_is_resumed_right(
    docker_registry: Peer, embedded_registry: Peer, fresh_name: str
) -> None:
    for peer in (docker_registry, embedded_registry):
        for count in (0, 1, 2):
            text = await begin(peer, fresh_name, BLOB[:count])
            async with peer.client() as client:
                blobs = client.repository(f"{peer.host}/{fresh_name}").blobs
                async with blobs.resume(UploadState.from_json(text)) as writer:
                    assert writer.size == count
                    await writer.write(BLOB[count:])
                    assert await writer.commit(KNOWN) == KNOWN


@pytest.mark.parametrize("kind", ["bytes", "stream"])
async def test_a_session_the_registry_forgot_begins_again_from_the_source(
    any_registry: Peer, fresh_name: str, kind: str
) -> None:
    text = await begin(any_registry, fresh_name)
    async with any_registry.client() as client:
        blobs = client.repository(f"{any_registry.host}/{fresh_name}").blobs
        async with blobs.resume(UploadState.from_json(text), on_exit=OnExit.CANCEL):
            pass
        source = BLOB if kind == "bytes" else stream(BLOB)
        async with blobs.resume(UploadState.from_json(text), source=source) as writer:
            assert writer.size == 0
            assert (await writer.commit(KNOWN)) == KNOWN
        assert await blobs.get(KNOWN) == BLOB


async def test_a_session_the_registry_forgot_has_expired_without_a_source(any_registry: Peer, fresh_name: str) -> None:
    text = await begin(any_registry, fresh_name)
    async with any_registry.client() as client:
        blobs = client.repository(f"{any_registry.host}/{fresh_name}").blobs
        async with blobs.resume(UploadState.from_json(text), on_exit=OnExit.CANCEL):
            pass
        with pytest.raises(UploadExpiredError):
            await blobs.resume(UploadState.from_json(text)).__aenter__()


async def test_a_state_saved_before_the_last_chunk_is_stale_for_docker_registry(
    docker_registry: Peer, fresh_name: str
) -> None:
    """It keeps the offset in the Location alone, and answers 404 to every one but the newest."""
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        async with blobs.writer(chunk_size=CHUNK) as writer:
            await writer.write(BLOB[:15_000])
            stale = writer.state
            await writer.flush()
        with pytest.raises(UploadExpiredError):
            await blobs.resume(stale).__aenter__()
        async with blobs.resume(stale, source=BLOB) as writer:
            assert await writer.commit(KNOWN) == KNOWN


async def test_a_state_saved_before_the_last_chunk_goes_on_where_the_registry_is(
    embedded_registry: Peer, fresh_name: str
) -> None:
    async with embedded_registry.client() as client:
        blobs = client.repository(f"{embedded_registry.host}/{fresh_name}").blobs
        async with blobs.writer(chunk_size=CHUNK) as writer:
            await writer.write(BLOB[:15_000])
            stale = writer.state
            await writer.flush()
        async with blobs.resume(stale) as writer:
            assert (stale.offset, writer.size) == (10_000, 15_000)
            await writer.write(BLOB[15_000:])
            assert await writer.commit(KNOWN) == KNOWN


async def test_a_registry_that_has_more_than_the_source_is_in_conflict(docker_registry: Peer, fresh_name: str) -> None:
    text = await begin(docker_registry, fresh_name)
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        with pytest.raises(UploadConflictError, match="the source 24999"):
            await blobs.resume(UploadState.from_json(text), source=BLOB[:24_999]).__aenter__()


async def test_a_state_belongs_to_one_repository(docker_registry: Peer, fresh_name: str) -> None:
    state = UploadState.from_json(await begin(docker_registry, fresh_name))
    async with docker_registry.client() as client:
        with pytest.raises(UsageError, match="belongs to"):
            client.repository(f"{docker_registry.host}/{fresh_name}-other").blobs.resume(state)
        with pytest.raises(UsageError, match="belongs to"):
            client.repository(f"localhost:1/{fresh_name}").blobs.resume(state)


@pytest.mark.parametrize("location", ["http://169.254.169.254/x", "http://203.0.113.5/x", "ftp://x/y", "/relative?"])
async def test_a_tampered_location_is_not_asked(docker_registry: Peer, fresh_name: str, location: str) -> None:
    state = UploadState.from_json(await begin(docker_registry, fresh_name))
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        with pytest.raises((LocationRefusedError, UsageError, UploadExpiredError)):
            await blobs.resume(attrs.evolve(state, location=location)).__aenter__()
