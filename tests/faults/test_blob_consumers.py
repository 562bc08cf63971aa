"""Consumers of blobs that are slow, fail, or are cancelled."""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import (
    BlobReader,
    Digest,
    StorageError,
    TransferFailed,
    TruncatedBodyError,
    UsageError,
)
from tests.faults.blobs import BlobServer
from tests.peers import answers
from tests.peers.images import noise
from tests.remote.support import NAME, repository_on

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist import Event, Repository
    from tests.peers.wire_server import Connection, Request, WireServer

MIB = 1024 * 1024
BLOB = noise(400_000)
DIGEST = Digest.of(BLOB)
TARGET = f"/v2/{NAME}/blobs/{DIGEST}"


@pytest.fixture
def blob(wire_server: WireServer) -> BlobServer:
    """The blob, at a server that sends all of it."""
    made = BlobServer(BLOB)
    wire_server.on("*", TARGET, made)
    return made


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def read(repository: Repository) -> bytes:
    async with repository.blobs.open(DIGEST) as reader:
        return b"".join([piece async for piece in reader])


class Flood:
    """Sends a large blob as fast as it is taken, and counts; a handler."""

    def __init__(self) -> None:
        self.sent = 0
        self.over = threading.Event()

    def __call__(self, _request: Request, connection: Connection) -> None:
        """Answer."""
        piece = bytes(64 * 1024)
        try:
            connection.send(answers.head(200, {"Content-Length": str(2**34)}))
            while True:
                connection.send(piece)
                self.sent += len(piece)
        finally:
            self.over.set()


@pytest.fixture
def flood(wire_server: WireServer) -> Flood:
    """A blob of 16 GiB."""
    made = Flood()
    wire_server.on("GET", TARGET, made)
    return made


async def still(flood: Flood) -> int:
    """Wait until a server can send no more, and return how much it has sent."""
    before = -1
    while flood.sent != before:
        before = flood.sent
        await anyio.sleep(0.1)
    return before


async def test_f123_a_slow_consumer_slows_the_server_down(wire_server: WireServer, flood: Flood) -> None:
    async with repository_on(wire_server) as repository, repository.blobs.open(DIGEST) as reader:
        taken = 0
        for _ in range(20):
            taken += len(await reader.read(1024))
            await anyio.sleep(0.005)
        first = await still(flood)
        for _ in range(20):
            taken += len(await reader.read(1024))
        # What lies in the buffers of two sockets, and a piece or two here.
        assert taken == 40 * 1024
        assert await still(flood) - first <= 2 * MIB
        assert first <= 16 * MIB
    await anyio.to_thread.run_sync(flood.over.wait, 10)
    assert flood.over.is_set()


async def take_some(reader: BlobReader) -> None:
    async for _ in reader:
        raise ZeroDivisionError


async def test_f123_a_consumer_that_raises_releases_the_connection(wire_server: WireServer, flood: Flood) -> None:
    seen: list[Event] = []
    async with repository_on(wire_server, hooks=[seen.append]) as repository:
        with pytest.raises(ZeroDivisionError):
            async with repository.blobs.open(DIGEST) as reader:
                await take_some(reader)
        await anyio.to_thread.run_sync(flood.over.wait, 10)
        assert flood.over.is_set()
    assert [event.reason for event in seen if isinstance(event, TransferFailed)] == ["ZeroDivisionError"]


async def test_f123_a_target_that_raises_in_its_thread_releases_the_connection(
    wire_server: WireServer, flood: Flood
) -> None:
    def refuse(_piece: bytes | memoryview) -> None:
        raise ZeroDivisionError

    async with repository_on(wire_server) as repository:
        with pytest.raises(ZeroDivisionError):
            async with repository.blobs.open(DIGEST) as reader:
                await reader.pour(refuse)
        await anyio.to_thread.run_sync(flood.over.wait, 10)
        assert flood.over.is_set()


@pytest.mark.parametrize("how", ["read", "download"])
async def test_f123_a_consumer_that_is_cancelled_releases_the_connection(
    wire_server: WireServer, flood: Flood, tmp_path: Path, how: str
) -> None:
    seen: list[Event] = []
    async with repository_on(wire_server, hooks=[seen.append]) as repository:

        async def consume() -> None:
            if how == "read":
                async with repository.blobs.open(DIGEST) as reader:
                    await reader.read(1000)
                    await anyio.sleep_forever()
            else:
                await repository.blobs.download(DIGEST, tmp_path / "blob", resume=False)

        async with anyio.create_task_group() as group:
            group.start_soon(consume)
            while not flood.sent:  # noqa: ASYNC110 -- it is another thread that counts
                await anyio.sleep(0.01)
            await anyio.sleep(0.2)
            group.cancel_scope.cancel()
        await anyio.to_thread.run_sync(flood.over.wait, 10)
        assert flood.over.is_set()
    assert [event.reason for event in seen if isinstance(event, TransferFailed)] == ["cancelled"]
    assert names_in(tmp_path) == []


# --- what is poured --------------------------------------------------------------------------------------------------


def fails(_piece: bytes | memoryview) -> None:
    raise OSError("no room")


@pytest.mark.usefixtures("blob")
async def test_f123_what_was_poured_into_something_that_failed_is_not_gone_on_with(wire_server: WireServer) -> None:
    async with repository_on(wire_server) as repository, repository.blobs.open(DIGEST) as reader:
        with pytest.raises(OSError, match="no room"):
            await reader.pour(fails)
        # Nobody knows what was taken: the bytes would be handed over again, and never be proven.
        with pytest.raises(UsageError, match="open the blob again"):
            await reader.pour(lambda _piece: None)
        with pytest.raises(UsageError, match="open the blob again"):
            await reader.read()


async def test_f123_what_is_poured_on_after_a_lost_connection_is_still_proven(
    wire_server: WireServer, blob: BlobServer
) -> None:
    blob.breaks = lambda number, _start: 1000 if number < 6 else None
    taken = bytearray()

    def take(piece: bytes | memoryview) -> None:
        taken.extend(piece)

    async with repository_on(wire_server) as repository, repository.blobs.open(DIGEST) as reader:

        async def pour_all() -> None:
            while await reader.pour(take):
                pass

        with pytest.raises(TruncatedBodyError):
            await pour_all()
        await pour_all()
        assert reader.verified
    assert taken == BLOB


# --- places that are no files ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("blob")
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX systems alone have them")
async def test_f123_a_pipe_or_a_device_is_not_replaced_by_a_file(wire_server: WireServer, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with repository_on(wire_server) as repository:
        with pytest.raises(StorageError, match="it is a device, a pipe or a socket"):
            await repository.blobs.download(DIGEST, pipe)
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert names_in(tmp_path) == ["pipe"]
