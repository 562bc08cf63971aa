"""What hooks are told of transfers, against real registries: each operation, and each way it ends."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from ocidist import (
    BlobMounted,
    BlobUnknownError,
    Descriptor,
    Digest,
    OnExit,
    TransferEvent,
    TransferFailed,
    TransferFinished,
    TransferResumed,
    TransferStarted,
    UploadState,
)
from ocidist._io.partial import KEEP_FROM
from tests.peers.images import noise
from tests.peers.peer import Mode
from tests.remote.telling import PULL, PUSH, Told, names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from ocidist import Blobs, Event
    from tests.conftest import StartRegistry
    from tests.peers.peer import Peer

MIB = 1024 * 1024
BLOB = noise(3 * MIB + 5)
SIZE = len(BLOB)
KNOWN = Descriptor.of(BLOB)


class EnoughError(Exception):
    """Raised where a test wants a transfer to fail."""


@pytest.fixture(params=[Mode.PLAIN, Mode.EMBEDDED], ids=str)
def registry(request: pytest.FixtureRequest, shared_registry: StartRegistry) -> Peer:
    """docker-registry 2.8.2, and the embedded one."""
    return shared_registry(request.param)


@pytest.fixture
async def told() -> Told:
    return Told()


@pytest.fixture
async def blobs(registry: Peer, fresh_name: str, told: Told) -> AsyncIterator[Blobs]:
    async with registry.client(hooks=[told.events.append]) as client:
        yield client.repository(f"{registry.host}/{fresh_name}").blobs


async def pieces(data: bytes = BLOB, size: int = 300_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def failing(limit: int) -> Callable[[int, int | None], None]:
    def progress(done: int, size: int | None) -> None:
        if done >= limit:
            raise EnoughError

    return progress


def cancelling(scope: anyio.CancelScope, limit: int) -> Callable[[int, int | None], None]:
    def progress(done: int, size: int | None) -> None:
        if done >= limit:
            scope.cancel()

    return progress


# --- pushing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bytes", "file", "described stream"])
async def test_n13_a_blob_that_is_pushed_in_one_request(blobs: Blobs, told: Told, tmp_path: Path, kind: str) -> None:
    (tmp_path / "blob").write_bytes(BLOB)
    match kind:
        case "bytes":
            await blobs.push(BLOB)
        case "file":
            await blobs.push(tmp_path / "blob")
        case _:
            await blobs.push(pieces(), KNOWN)
    story = told.only()
    assert names(story) == ["TransferStarted", "TransferProgressed", "TransferFinished"]
    assert all(event.reference.endswith(f"@{KNOWN.digest}") for event in story)
    started, finished = story[0], story[-1]
    assert isinstance(started, TransferStarted)
    assert isinstance(finished, TransferFinished)
    assert (started.operation, started.size) == (PUSH, SIZE)
    assert (finished.done, finished.size) == (SIZE, SIZE)
    assert len(story) >= SIZE // MIB + 2


async def test_n13_a_blob_that_is_pushed_in_chunks(blobs: Blobs, told: Told) -> None:
    await blobs.push(BLOB, chunk_size=MIB)
    story = told.only()
    assert names(story) == ["TransferStarted", "TransferProgressed", "TransferFinished"]
    started, finished = story[0], story[-1]
    assert isinstance(started, TransferStarted)
    assert isinstance(finished, TransferFinished)
    assert started.size == SIZE
    assert (finished.done, finished.size) == (SIZE, SIZE)


@pytest.mark.parametrize("replayable", [True, False])
async def test_n13_a_blob_of_which_nothing_is_known_is_named_at_the_end(
    blobs: Blobs, told: Told, *, replayable: bool
) -> None:
    await blobs.push(pieces if replayable else pieces(), chunk_size=MIB)
    story = told.only()
    assert names(story) == ["TransferStarted", "TransferProgressed", "TransferFinished"]
    started, finished = story[0], story[-1]
    assert isinstance(started, TransferStarted)
    assert isinstance(finished, TransferFinished)
    assert started.size is None
    assert "@" not in started.reference
    assert finished.reference.endswith(f"@{KNOWN.digest}")
    assert (finished.done, finished.size) == (SIZE, SIZE)


async def test_n13_a_blob_that_is_there_already(blobs: Blobs, told: Told) -> None:
    await blobs.push(BLOB)
    told.events.clear()
    await blobs.push(BLOB)
    story = told.only()
    assert names(story) == ["TransferStarted", "TransferFinished"]
    assert isinstance(story[-1], TransferFinished)
    assert (story[-1].done, story[-1].size) == (0, SIZE)


async def test_n13_a_blob_that_is_mounted(registry: Peer, blobs: Blobs, told: Told, fresh_name: str) -> None:
    source = f"{fresh_name}-source"
    async with registry.client() as client:
        await client.repository(f"{registry.host}/{source}").blobs.push(BLOB)
    await blobs.push(BLOB, mount_from=["acme/has-nothing", source])
    story = told.only()
    assert names(story) == ["TransferStarted", "BlobMounted", "TransferFinished"]
    assert isinstance(story[1], BlobMounted)
    assert story[1].source == source
    assert isinstance(story[-1], TransferFinished)
    assert story[-1].done == 0


async def test_n13_a_blob_that_could_not_be_mounted_is_pushed(blobs: Blobs, told: Told) -> None:
    await blobs.push(BLOB, mount_from=["acme/has-nothing"])
    assert names(told.only()) == ["TransferStarted", "TransferProgressed", "TransferFinished"]


@pytest.mark.parametrize("chunk", [None, MIB])
async def test_n13_a_push_whose_source_fails(blobs: Blobs, told: Told, chunk: int | None) -> None:
    async def broken() -> AsyncIterator[bytes]:
        async for piece in pieces(BLOB[: 2 * MIB + 1]):
            yield piece
        raise EnoughError

    with pytest.raises(EnoughError):
        await blobs.push(broken(), None if chunk else KNOWN, chunk_size=chunk)
    last = told.only()[-1]
    assert isinstance(last, TransferFailed)
    assert last.reason == "EnoughError"
    assert last.done >= MIB


@pytest.mark.parametrize("chunk", [None, MIB])
async def test_n13_a_push_that_is_cancelled(blobs: Blobs, told: Told, chunk: int | None) -> None:
    with anyio.CancelScope() as scope:
        await blobs.push(pieces(), None if chunk else KNOWN, chunk_size=chunk, progress=cancelling(scope, MIB))
    assert scope.cancelled_caught
    last = told.only()[-1]
    assert isinstance(last, TransferFailed)
    assert last.reason == "cancelled"


async def test_n13_a_push_that_goes_on_from_its_journal(blobs: Blobs, told: Told, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with pytest.raises(EnoughError):
        await blobs.push(BLOB, chunk_size=MIB, journal=journal, progress=failing(2 * MIB))
    await blobs.push(BLOB, chunk_size=MIB, journal=journal)
    first, second = told.transfers()
    assert isinstance(first[-1], TransferFailed)
    assert (first[-1].reason, first[-1].done) == ("EnoughError", 2 * MIB)
    assert names(second) == ["TransferStarted", "TransferResumed", "TransferProgressed", "TransferFinished"]
    resumed, finished = second[1], second[-1]
    assert isinstance(resumed, TransferResumed)
    assert isinstance(finished, TransferFinished)
    assert resumed.offset == 2 * MIB
    assert (finished.done, finished.size) == (SIZE - 2 * MIB, SIZE)


# --- writing ---------------------------------------------------------------------------------------------------------


async def test_n13_a_blob_that_is_written(blobs: Blobs, told: Told) -> None:
    async with blobs.writer(chunk_size=MIB) as writer:
        await writer.write(BLOB)
        await writer.commit()
    story = told.only()
    assert names(story) == ["TransferStarted", "TransferProgressed", "TransferFinished"]
    assert isinstance(story[0], TransferStarted)
    assert "@" not in story[0].reference
    assert isinstance(story[-1], TransferFinished)
    assert (story[-1].done, story[-1].size) == (SIZE, SIZE)
    assert story[-1].reference.endswith(f"@{KNOWN.digest}")


@pytest.mark.parametrize("sourced", [True, False])
async def test_n13_a_writer_that_is_left_and_resumed(blobs: Blobs, told: Told, *, sourced: bool) -> None:
    async with blobs.writer(chunk_size=MIB) as writer:
        await writer.write(BLOB[: 2 * MIB + 1])
        text = writer.state.to_json()
    async with blobs.resume(UploadState.from_json(text), source=BLOB if sourced else None) as writer:
        if not sourced:
            await writer.write(BLOB[writer.size :])
        await writer.commit(KNOWN)
    first, second = told.transfers()
    assert isinstance(first[-1], TransferFailed)
    assert first[-1].done == 2 * MIB
    assert names(second) == ["TransferStarted", "TransferResumed", "TransferProgressed", "TransferFinished"]
    resumed, finished = second[1], second[-1]
    assert isinstance(resumed, TransferResumed)
    assert isinstance(finished, TransferFinished)
    assert resumed.offset == 2 * MIB
    assert (finished.done, finished.size) == (SIZE - 2 * MIB, SIZE)


@pytest.mark.parametrize("way", ["error", "cancelled", "cancel()"])
async def test_n13_a_writer_that_comes_to_nothing(blobs: Blobs, told: Told, way: str) -> None:
    async def write() -> None:
        async with blobs.writer(chunk_size=MIB, on_exit=OnExit.CANCEL) as writer:
            await writer.write(BLOB)
            if way == "cancelled":
                scope.cancel()
                await anyio.lowlevel.checkpoint()
            elif way == "cancel()":
                await writer.cancel()
            else:
                raise EnoughError

    with anyio.CancelScope() as scope, contextlib.suppress(EnoughError):
        await write()
    last = told.only()[-1]
    assert isinstance(last, TransferFailed)
    assert last.reason == {"error": "EnoughError", "cancelled": "cancelled"}.get(way, "given up before the end")


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def stored(registry: Peer, fresh_name: str) -> Descriptor:
    async with registry.client() as client:
        return await client.repository(f"{registry.host}/{fresh_name}").blobs.push(BLOB)


@pytest.mark.parametrize("way", ["get", "open", "download"])
@pytest.mark.parametrize("described", [True, False])
async def test_n13_a_blob_that_is_read(
    blobs: Blobs, told: Told, stored: Descriptor, tmp_path: Path, way: str, *, described: bool
) -> None:
    what = stored if described else stored.digest
    match way:
        case "get":
            await blobs.get(what)
        case "open":
            async with blobs.open(what) as reader:
                assert b"".join([piece async for piece in reader]) == BLOB
        case _:
            await blobs.download(what, tmp_path / "blob")
    story = told.only()
    assert names(story) == ["TransferStarted", "TransferProgressed", "TransferFinished"]
    assert all(event.reference.endswith(f"@{KNOWN.digest}") for event in story)
    started, finished = story[0], story[-1]
    assert isinstance(started, TransferStarted)
    assert isinstance(finished, TransferFinished)
    assert (started.operation, started.size) == (PULL, SIZE if described else None)
    assert (finished.done, finished.size) == (SIZE, SIZE)
    assert len(story) >= 4


async def test_n13_a_part_of_a_blob_that_is_read(blobs: Blobs, told: Told, stored: Descriptor) -> None:
    async with blobs.open(stored, offset=MIB, length=MIB + 1) as reader:
        assert b"".join([piece async for piece in reader]) == BLOB[MIB : 2 * MIB + 1]
    finished = told.only()[-1]
    assert isinstance(finished, TransferFinished)
    assert (finished.done, finished.size) == (MIB + 1, MIB + 1)


@pytest.mark.parametrize("way", ["get", "open", "download"])
async def test_n13_a_blob_that_is_not_there(blobs: Blobs, told: Told, tmp_path: Path, way: str) -> None:
    missing = Digest.of(b"nowhere to be found")

    async def opened() -> None:
        async with blobs.open(missing) as reader:
            await reader.read()

    async def downloaded() -> None:
        await blobs.download(missing, tmp_path / "blob")

    async def got() -> None:
        await blobs.get(missing)

    ways: dict[str, Callable[[], Awaitable[None]]] = {"get": got, "open": opened, "download": downloaded}
    with pytest.raises(BlobUnknownError):
        await ways[way]()
    story = told.only()
    assert names(story) == ["TransferStarted", "TransferFailed"]
    assert isinstance(story[-1], TransferFailed)
    assert story[-1].done == 0


async def test_n13_a_blob_that_is_read_over_several_connections_is_one_transfer(
    registry: Peer, blobs: Blobs, told: Told, fresh_name: str, tmp_path: Path
) -> None:
    large = noise(18 * MIB)
    async with registry.client() as client:
        known = await client.repository(f"{registry.host}/{fresh_name}").blobs.push(large)
    await blobs.download(known, tmp_path / "blob", connections=3)
    story = told.only()
    assert names(story) == ["TransferStarted", "TransferProgressed", "TransferFinished"]
    finished = story[-1]
    assert isinstance(finished, TransferFinished)
    assert (finished.done, finished.size) == (known.size, known.size)
    assert len(story) > 3


async def test_n13_a_reader_that_is_left_early(blobs: Blobs, told: Told, stored: Descriptor) -> None:
    async with blobs.open(stored) as reader:
        await reader.read(MIB + 1)
    last = told.only()[-1]
    assert isinstance(last, TransferFinished)
    assert last.done < SIZE


async def test_n13_a_download_that_stops_and_goes_on(
    registry: Peer, blobs: Blobs, told: Told, fresh_name: str, tmp_path: Path
) -> None:
    large = noise(KEEP_FROM + 8 * MIB)
    async with registry.client() as client:
        known = await client.repository(f"{registry.host}/{fresh_name}").blobs.push(large)
    with anyio.CancelScope() as scope:
        await blobs.download(known, tmp_path / "blob", progress=cancelling(scope, KEEP_FROM))
    assert scope.cancelled_caught
    await blobs.download(known, tmp_path / "blob")
    first, second = told.transfers()
    assert isinstance(first[-1], TransferFailed)
    assert first[-1].reason == "cancelled"
    # All of it may have been there when the cancellation came.
    expected = ["TransferStarted", "TransferResumed", "TransferFinished"]
    assert [name for name in names(second) if name != "TransferProgressed"] == expected
    resumed, finished = second[1], second[-1]
    assert isinstance(resumed, TransferResumed)
    assert isinstance(finished, TransferFinished)
    assert resumed.offset >= KEEP_FROM
    assert (finished.done, finished.size) == (known.size - resumed.offset, known.size)


# --- several ---------------------------------------------------------------------------------------------------------


async def test_n13_transfers_at_once_are_told_apart_by_their_number(
    blobs: Blobs, told: Told, stored: Descriptor, tmp_path: Path
) -> None:
    async def push(number: int) -> None:
        await blobs.push(noise(2 * MIB + number), chunk_size=MIB)

    async def pull(number: int) -> None:
        await blobs.download(stored, tmp_path / f"{number}")

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(push, number)
            tasks.start_soon(pull, number)
    stories = told.transfers()
    assert len(stories) == 12
    finished = [story[-1] for story in stories]
    assert all(isinstance(event, TransferFinished) and event.done == event.size for event in finished)
    assert len({event.transfer for event in told.events if isinstance(event, TransferEvent)}) == 12


async def test_n13_the_reading_and_the_writing_of_a_pipe_are_two_transfers(
    registry: Peer, blobs: Blobs, told: Told, stored: Descriptor, fresh_name: str
) -> None:
    async with registry.client(hooks=[told.events.append]) as client:
        target = client.repository(f"{registry.host}/{fresh_name}-copy").blobs
        async with blobs.open(stored) as reader:
            await target.push(reader, stored)
    reading, writing = told.transfers()
    assert (reading[0].operation, writing[0].operation) == (PULL, PUSH)
    assert isinstance(reading[-1], TransferFinished)
    assert isinstance(writing[-1], TransferFinished)


# --- hooks that misbehave, and secrets -------------------------------------------------------------------------------


async def test_n13_hooks_that_raise_or_are_slow_do_not_fail_a_transfer(
    registry: Peer, fresh_name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()

    def broken(event: Event) -> None:
        raise EnoughError

    def slow(event: Event) -> None:
        sum(range(100_000))

    async with registry.client(hooks=[broken, slow, told.events.append]) as client:
        blobs = client.repository(f"{registry.host}/{fresh_name}").blobs
        await blobs.push(BLOB, chunk_size=MIB)
        await blobs.download(KNOWN, tmp_path / "blob")
    assert [names(story) for story in told.transfers()] == [
        ["TransferStarted", "TransferProgressed", "TransferFinished"]
    ] * 2
    failures = [record for record in caplog.records if record.name == "ocidist.hooks"]
    assert len(failures) >= len(told.events)


async def test_n13_no_event_of_any_registry_holds_a_secret(any_registry: Peer, fresh_name: str, tmp_path: Path) -> None:
    """Every event is searched for the secrets of the suite while tests run; this is one of each kind."""
    told = Told()
    journal = tmp_path / "journal"
    async with any_registry.client(hooks=[told.events.append]) as client:
        blobs = client.repository(f"{any_registry.host}/{fresh_name}").blobs
        with pytest.raises(EnoughError):
            await blobs.push(BLOB, chunk_size=MIB, journal=journal, progress=failing(MIB))
        await blobs.push(BLOB, chunk_size=MIB, journal=journal)
        await blobs.get(KNOWN)
        await client.repository(f"{any_registry.host}/{fresh_name}-2").blobs.push(BLOB, mount_from=[fresh_name])
    assert len(told.transfers()) == 4
    if any_registry.password is not None:
        assert any_registry.password not in repr(told.events)
