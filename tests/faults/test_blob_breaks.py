"""Blobs whose connections break, again and again, and the ends of blobs."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from ocidist import (
    Descriptor,
    Digest,
    TransferFinished,
    TransferResumed,
    TruncatedBodyError,
)
from ocidist.remote import _stream
from tests.faults.blobs import BlobServer
from tests.peers import answers
from tests.peers.answers import chain, close, respond
from tests.peers.images import noise
from tests.remote.support import NAME, repository_on

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist import Event, Repository
    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.wire_server import Connection, Request, WireServer

MIB = 1024 * 1024
BLOB = noise(400_000)
DIGEST = Digest.of(BLOB)
TARGET = f"/v2/{NAME}/blobs/{DIGEST}"
HALF = 150_000


@pytest.fixture
def blob(wire_server: WireServer) -> BlobServer:
    """The blob, at a server that sends all of it."""
    made = BlobServer(BLOB)
    wire_server.on("*", TARGET, made)
    return made


def first_breaks(number: int, _start: int) -> int | None:
    """Break off the first answer."""
    return HALF if number == 0 else None


async def read(repository: Repository) -> bytes:
    async with repository.blobs.open(DIGEST) as reader:
        return b"".join([piece async for piece in reader])


async def test_f119_a_blob_that_vanishes_under_a_reader_is_unknown_after_a_few_questions(
    wire_server: WireServer, blob: BlobServer
) -> None:
    blob.breaks = first_breaks
    route = wire_server.on("GET", TARGET, blob, answers.error(404, "BLOB_UNKNOWN"))
    async with repository_on(wire_server) as repository:
        with pytest.raises(Exception, match="unknown") as caught:
            await read(repository)
    assert caught.type.__name__ == "BlobUnknownError"
    assert len(route.requests) == 2 + _stream.MAX_EXPIRED


EMPTY_ANSWERS: dict[str, Handler] = {
    "length 0": respond(200),
    "no length": chain(answers.raw(answers.head(200, {"Connection": "close"})), close),
    "chunked": answers.respond_chunked(200, (), []),
}


@pytest.mark.parametrize("kind", EMPTY_ANSWERS)
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
async def test_f120_the_empty_blob_is_a_blob(
    wire_server: WireServer, tmp_path: Path, kind: str, *, known: bool
) -> None:
    empty = Descriptor.of(b"")
    wire_server.on("GET", f"/v2/{NAME}/blobs/{empty.digest}", EMPTY_ANSWERS[kind])
    target = empty if known else empty.digest
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.get(target) == b""
        await repository.blobs.download(target, tmp_path / "blob")
        async with repository.blobs.open(target) as reader:
            assert (await reader.read(), reader.verified, reader.size) == (b"", True, 0)
    assert (tmp_path / "blob").read_bytes() == b""


async def test_f120_a_range_of_the_empty_blob_is_empty(wire_server: WireServer) -> None:
    empty = Descriptor.of(b"")
    path = f"/v2/{NAME}/blobs/{empty.digest}"
    wire_server.on("GET", path, respond(416, {"Content-Range": "bytes */0"}))
    wire_server.on("HEAD", path, respond(200, {"Content-Length": "0"}))
    async with repository_on(wire_server) as repository:
        for offset, length in ((0, 5), (5, None), (5, 5)):
            async with repository.blobs.open(empty.digest, offset=offset, length=length) as reader:
                assert await reader.read() == b""


@pytest.mark.timeout(180)
async def test_f121_a_hundred_breaks_are_forgiven_if_each_brought_something(
    wire_server: WireServer, tmp_path: Path
) -> None:
    data = noise(MIB) * 200
    digest = Digest.of(data)
    blob = BlobServer(data)
    blob.breaks = lambda number, _start: MIB if number < 100 else None
    wire_server.on("*", f"/v2/{NAME}/blobs/{digest}", blob)
    seen: list[Event] = []
    async with repository_on(wire_server, hooks=[seen.append]) as repository:
        await repository.blobs.download(digest, tmp_path / "blob")
    assert Digest.of((tmp_path / "blob").read_bytes()) == digest
    assert [start for start, _, _ in blob.asked] == [number * MIB for number in range(101)]
    # Nothing came twice.
    assert sum(count for _, _, count in blob.asked) == len(data)
    assert [event.offset for event in seen if isinstance(event, TransferResumed)] == [
        number * MIB for number in range(1, 101)
    ]
    (finished,) = [event for event in seen if isinstance(event, TransferFinished)]
    assert (finished.done, finished.size) == (len(data), len(data))


async def test_f121_breaks_that_bring_nothing_are_not_forgiven(wire_server: WireServer, blob: BlobServer) -> None:
    blob.breaks = lambda number, _start: HALF if number == 0 else 10
    async with repository_on(wire_server) as repository:
        with pytest.raises(TruncatedBodyError):
            await read(repository)
    assert len(blob.asked) == _stream.MAX_LOSSES + 1


@pytest.mark.parametrize("seed", range(8))
async def test_a6_a_read_that_breaks_anywhere_is_exact_and_proven(
    wire_server: WireServer, blob: BlobServer, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where it breaks is left to chance, and so is how often in a row it brings little.
    monkeypatch.setattr(_stream, "PROGRESS", 1)
    chance = random.Random(seed)  # noqa: S311 -- repeatable, and no secret
    blob.knows_ranges = seed % 4 != 3

    def breaks(number: int, start: int) -> int | None:
        if number % 5 == 4:
            return None
        if not blob.knows_ranges:
            # All of it is sent each time, so each time it has to be more.
            return len(BLOB) * (number % 5 + 1) // 6 + chance.randrange(1000)
        return chance.randrange(len(BLOB) - start + 1)

    blob.breaks = breaks
    async with repository_on(wire_server) as repository:
        for _ in range(3):
            async with repository.blobs.open(DIGEST) as reader:
                assert b"".join([piece async for piece in reader]) == BLOB
                assert reader.verified
            offset = chance.randrange(len(BLOB))
            length = chance.randrange(1, len(BLOB) - offset + 1)
            async with repository.blobs.open(DIGEST, offset=offset, length=length) as reader:
                assert await reader.read() == BLOB[offset : offset + length]
                for _ in range(3):
                    place = chance.randrange(len(BLOB))
                    await reader.seek(place)
                    assert await reader.read(1000) == BLOB[place : min(place + 1000, max(offset + length, place))]
        await repository.blobs.download(DIGEST, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == BLOB


async def test_a6_a_place_that_expires_between_two_parts_is_asked_for_anew(
    wire_server: WireServer, start_wire_server: StartWireServer, tmp_path: Path
) -> None:
    store = start_wire_server(address="127.0.0.2")
    blob = BlobServer(BLOB)
    blob.breaks = lambda number, _start: 70_000 if number < 5 else None
    tickets: list[str] = []
    used: set[str] = set()

    def redirect(request: Request, connection: Connection) -> None:
        tickets.append(f"/ticket/{len(tickets)}")
        respond(307, {"Location": store.origin + tickets[-1]})(request, connection)

    def once(request: Request, connection: Connection) -> None:
        # A presigned URL that lasts for one request.
        if request.path in used:
            answers.error(403, "AccessDenied")(request, connection)
        else:
            used.add(request.path)
            blob(request, connection)

    wire_server.on("GET", TARGET, redirect)
    store.on("GET", "/ticket/*", once)
    async with repository_on(wire_server) as repository:
        await repository.blobs.download(DIGEST, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert len(tickets) == len(used) == 6
    assert blob.conditions[1:] == ['"one"'] * 5
