from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import (
    BlobUploadUnknownError,
    Descriptor,
    Digest,
    DigestMismatchError,
    OnExit,
    SizeMismatchError,
    UploadExpiredError,
    UsageError,
)
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.peers.peer import Peer

BLOB = noise(100_000)
CHUNK = 10_000


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 1])
async def test_a04_a_blob_of_any_length_is_written_in_chunks(any_registry: Peer, fresh_name: str, size: int) -> None:
    data = BLOB[:size]
    async with any_registry.client() as client:
        blobs = client.repository(f"{any_registry.host}/{fresh_name}").blobs
        async with blobs.writer(chunk_size=CHUNK) as writer:
            assert await writer.write(data) == size
            assert writer.size == size
            assert await writer.commit() == Descriptor.of(data)
        assert await blobs.get(Digest.of(data)) == data


@pytest.mark.parametrize("step", [1_000, 7_777, 10_000, 33_333])
async def test_the_size_of_the_pieces_written_does_not_matter(
    docker_registry: Peer, fresh_name: str, step: int
) -> None:
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        async with blobs.writer(chunk_size=CHUNK) as writer:
            for start in range(0, len(BLOB), step):
                await writer.write(BLOB[start : start + step])
            await writer.commit(Descriptor.of(BLOB))
        assert await blobs.get(Digest.of(BLOB)) == BLOB


async def test_a_writer_takes_every_kind_of_buffer_and_lets_go_of_it(docker_registry: Peer, fresh_name: str) -> None:
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        async with blobs.writer() as writer:
            buffer = bytearray(b"abc")
            await writer.write(buffer)
            buffer[:] = b"xyz and more"
            await writer.write(memoryview(b"def"))
            await writer.write(b"")
            described = await writer.commit()
        assert await blobs.get(described) == b"abcdef"


async def test_a_stream_is_written_to_its_end(docker_registry: Peer, fresh_name: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(BLOB), 9_999):
            yield BLOB[start : start + 9_999]

    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        async with blobs.writer(chunk_size=CHUNK) as writer:
            assert await writer.write_from(pieces()) == len(BLOB)
            assert (await writer.commit()).digest == Digest.of(BLOB)


async def test_flush_sends_what_is_buffered(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        blobs = client.repository(f"{any_registry.host}/{fresh_name}").blobs
        async with blobs.writer(chunk_size=CHUNK) as writer:
            await writer.flush()
            await writer.write(b"abc")
            assert writer.state.offset == 0
            await writer.flush()
            assert (writer.state.offset, writer.size) == (3, 3)
            await writer.flush()
            assert (await writer.commit()).digest == Digest.of(b"abc")


async def test_a_writer_tells_when_it_began(docker_registry: Peer, fresh_name: str) -> None:
    before = datetime.now(UTC)
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        async with blobs.writer(on_exit=OnExit.CANCEL) as writer:
            assert before <= writer.started_at <= datetime.now(UTC)


async def test_a_blob_that_is_not_what_was_expected_is_not_stored(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        blobs = client.repository(f"{any_registry.host}/{fresh_name}").blobs
        async with blobs.writer(on_exit=OnExit.CANCEL) as writer:
            await writer.write(BLOB)
            with pytest.raises(DigestMismatchError):
                await writer.commit(Digest.of(b"other"))
            with pytest.raises(SizeMismatchError):
                await writer.commit(Descriptor("a/b", Digest.of(BLOB), 5))
            with pytest.raises(UsageError, match="sha512"):
                await writer.commit(Digest.of(BLOB, "sha512"))
        assert not await blobs.exists(Digest.of(BLOB))
        assert not await blobs.exists(Digest.of(b"other"))


async def test_sha512_can_be_written(embedded_registry: Peer, fresh_name: str) -> None:
    async with embedded_registry.client() as client:
        blobs = client.repository(f"{embedded_registry.host}/{fresh_name}").blobs
        async with blobs.writer(algorithm="sha512", chunk_size=CHUNK) as writer:
            await writer.write(BLOB)
            described = await writer.commit(Digest.of(BLOB, "sha512"))
        assert await blobs.get(described) == BLOB


async def test_nothing_can_be_written_after_the_end(docker_registry: Peer, fresh_name: str) -> None:
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        async with blobs.writer() as committed, blobs.writer() as cancelled:
            await committed.commit()
            await cancelled.cancel()
            for writer in (committed, cancelled):
                with pytest.raises(UsageError):
                    await writer.write(b"x")
                with pytest.raises(UsageError):
                    await writer.flush()
                with pytest.raises(UsageError):
                    await writer.commit()
                await writer.cancel()
        unopened = blobs.writer()
        with pytest.raises(UsageError, match="async with"):
            await unopened.write(b"x")


async def test_a_cancelled_session_is_gone_and_a_kept_one_is_not(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        blobs = client.repository(f"{any_registry.host}/{fresh_name}").blobs
        async with blobs.writer(on_exit=OnExit.CANCEL) as writer:
            await writer.write(b"abc")
            await writer.flush()
        with pytest.raises((UploadExpiredError, BlobUploadUnknownError)):
            await blobs.resume(writer.state).__aenter__()
        async with blobs.writer() as writer:
            await writer.write(b"abc")
            await writer.flush()
        async with blobs.resume(writer.state, on_exit=OnExit.CANCEL) as resumed:
            assert resumed.size == 3


async def test_two_tasks_cannot_write_to_one_writer(docker_registry: Peer, fresh_name: str) -> None:
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        failures: list[BaseException] = []
        async with blobs.writer(chunk_size=CHUNK, on_exit=OnExit.CANCEL) as writer:

            async def write() -> None:
                try:
                    await writer.write(BLOB)
                except anyio.BusyResourceError as error:
                    failures.append(error)

            async with anyio.create_task_group() as group:
                group.start_soon(write)
                group.start_soon(write)
        assert len(failures) == 1


async def test_many_writers_of_one_client_work_at_once(docker_registry: Peer, fresh_name: str) -> None:
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs

        async def write(number: int) -> None:
            async with blobs.writer(chunk_size=CHUNK) as writer:
                await writer.write(noise(3 * CHUNK, str(number)))
                await writer.commit()

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(write, number)
        for number in range(20):
            assert await blobs.exists(Digest.of(noise(3 * CHUNK, str(number))))
