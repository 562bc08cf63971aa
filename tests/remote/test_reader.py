from __future__ import annotations

import io
import tarfile
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import BlobReader, Descriptor, Digest, DigestUnsupportedError, UsageError
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.peers.peer import Peer

BLOB = noise(300_000)
DIGEST = Digest.of(BLOB)


@asynccontextmanager
async def reading(
    peer: Peer, name: str, data: bytes = BLOB, *, offset: int = 0, length: int | None = None
) -> AsyncIterator[BlobReader]:
    async with peer.client() as client:
        blobs = client.repository(f"{peer.host}/{name}").blobs
        described = await blobs.push(data)
        async with blobs.open(described.digest, offset=offset, length=length) as reader:
            yield reader


async def test_a_full_read_is_verified_and_a_partial_one_is_not(any_registry: Peer, fresh_name: str) -> None:
    async with reading(any_registry, fresh_name) as reader:
        assert not reader.verified
        assert await reader.read() == BLOB
        assert reader.verified
    async with reading(any_registry, fresh_name, offset=1) as reader:
        assert await reader.read() == BLOB[1:]
        assert not reader.verified


async def test_iteration_yields_every_byte_once(docker_registry: Peer, fresh_name: str) -> None:
    async with reading(docker_registry, fresh_name) as reader:
        pieces = [piece async for piece in reader]
        assert b"".join(pieces) == BLOB
        assert all(pieces)
        assert reader.verified
        assert [piece async for piece in reader] == []


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 0), (0, 1), (0, 300_000), (0, 300_001), (5, None), (5, 10), (299_999, 1), (299_999, 2), (300_000, None)],
)
async def test_a_part_of_a_blob_is_exactly_that_part(
    any_registry: Peer, fresh_name: str, offset: int, length: int | None
) -> None:
    stop = None if length is None else offset + length
    async with reading(any_registry, fresh_name, offset=offset, length=length) as reader:
        assert await reader.read() == BLOB[offset:stop]
        assert reader.verified == (BLOB[offset:stop] == BLOB)


async def test_reading_in_steps_of_any_size_gives_the_same_bytes(docker_registry: Peer, fresh_name: str) -> None:
    async with reading(docker_registry, fresh_name) as reader:
        got = b""
        for step in (1, 2, 70_000, 0, 65_536, 100_000, 10**9):
            part = await reader.read(step)
            assert len(part) == min(step, len(BLOB) - len(got))
            got += part
            assert reader.tell() == len(got)
        assert got == BLOB
        assert await reader.read(1) == b""
        assert reader.verified


async def test_reading_and_iterating_can_be_mixed(docker_registry: Peer, fresh_name: str) -> None:
    async with reading(docker_registry, fresh_name) as reader:
        got = await reader.read(10)
        async for piece in reader:
            got += piece
        assert got == BLOB
        assert reader.verified


async def test_seeking_moves_and_only_the_very_beginning_can_be_verified_again(
    any_registry: Peer, fresh_name: str
) -> None:
    async with reading(any_registry, fresh_name) as reader:
        assert await reader.seek(-5, io.SEEK_END) == 299_995
        assert await reader.read() == BLOB[-5:]
        assert await reader.seek(100) == 100
        assert await reader.seek(10, io.SEEK_CUR) == 110
        assert await reader.read(5) == BLOB[110:115]
        assert reader.tell() == 115
        assert not reader.verified
        assert await reader.seek(0) == 0
        assert await reader.read() == BLOB
        assert reader.verified
        assert await reader.seek(5) == 5
        assert not reader.verified


async def test_seeking_to_where_one_is_keeps_the_verification(docker_registry: Peer, fresh_name: str) -> None:
    async with reading(docker_registry, fresh_name) as reader:
        await reader.read(1000)
        await reader.seek(0, io.SEEK_CUR)
        await reader.read()
        assert reader.verified


async def test_seeking_stays_within_reason(docker_registry: Peer, fresh_name: str) -> None:
    async with reading(docker_registry, fresh_name) as reader:
        for offset, whence in ((-1, io.SEEK_SET), (-1, io.SEEK_CUR), (-300_001, io.SEEK_END), (0, 7)):
            with pytest.raises(UsageError):
                await reader.seek(offset, whence)
        assert await reader.seek(10**6) == 10**6
        assert await reader.read() == b""


async def test_the_empty_blob_is_verified_too(any_registry: Peer, fresh_name: str) -> None:
    async with reading(any_registry, fresh_name, b"") as reader:
        assert await reader.read() == b""
        assert reader.verified
        assert reader.descriptor == Descriptor.of(b"")


async def test_a_reader_tells_what_it_reads(docker_registry: Peer, fresh_name: str) -> None:
    wanted = Descriptor("application/vnd.acme.thing", DIGEST, len(BLOB))
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        await blobs.push(BLOB)
        async with blobs.open(wanted) as known, blobs.open(DIGEST) as found:
            assert known.descriptor is wanted
            assert found.descriptor == Descriptor.of(BLOB)
            assert found.size == len(BLOB)


async def test_a_reader_that_was_interrupted_goes_on_without_a_gap(docker_registry: Peer, fresh_name: str) -> None:
    async with reading(docker_registry, fresh_name) as reader:
        got = await reader.read(1000)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await reader.read()
        assert scope.cancelled_caught
        assert reader.tell() == 1000
        got += await reader.read()
        assert got == BLOB


async def test_two_tasks_cannot_read_from_one_reader(docker_registry: Peer, fresh_name: str) -> None:
    async with reading(docker_registry, fresh_name) as reader:
        failures: list[BaseException] = []

        async def read() -> None:
            try:
                await reader.read()
            except anyio.BusyResourceError as error:
                failures.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            group.start_soon(read)
        assert len(failures) == 1


async def test_a_tar_archive_can_be_listed_from_a_stream(docker_registry: Peer, fresh_name: str) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("hello")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"world"))
    async with reading(docker_registry, fresh_name, archive.getvalue()) as reader:
        with tarfile.open(fileobj=io.BytesIO(await reader.read())) as tar:
            assert tar.getnames() == ["hello"]


async def test_leaving_early_gives_the_connection_and_its_slot_back(docker_registry: Peer, fresh_name: str) -> None:
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        await blobs.push(BLOB)
        # More readers than there are slots at a host.
        for _ in range(40):
            async with blobs.open(DIGEST) as reader:
                await anext(reader)
        assert await blobs.get(DIGEST) == BLOB


@pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1)])
async def test_a_part_lies_within_the_blob(
    docker_registry: Peer, fresh_name: str, offset: int, length: int | None
) -> None:
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        with pytest.raises(UsageError):
            blobs.open(DIGEST, offset=offset, length=length)
        with pytest.raises(DigestUnsupportedError):
            blobs.open("sha384:" + "0" * 96)
