"""Reads of blobs that are interrupted, and answers that do not continue what came before."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import (
    BlobReader,
    Descriptor,
    Digest,
    DigestMismatchError,
    IntegrityError,
    SizeMismatchError,
    TransferFailed,
    TransferFinished,
    TransferResumed,
    TransferStarted,
    TruncatedBodyError,
)
from ocidist._io.partial import KEEP_FROM, PartialFile
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
KNOWN = Descriptor.of(BLOB)
TARGET = f"/v2/{NAME}/blobs/{DIGEST}"
HALF = 150_000
OTHER = noise(len(BLOB), "another blob of this size")


@pytest.fixture
def blob(wire_server: WireServer) -> BlobServer:
    """The blob, at a server that sends all of it."""
    made = BlobServer(BLOB)
    wire_server.on("*", TARGET, made)
    return made


def first_breaks(number: int, _start: int) -> int | None:
    """Break off the first answer."""
    return HALF if number == 0 else None


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def read(repository: Repository) -> bytes:
    async with repository.blobs.open(DIGEST) as reader:
        return b"".join([piece async for piece in reader])


async def wrong(repository: Repository) -> type[Exception]:
    """Read what is wrong and return how that is told."""
    with pytest.raises(IntegrityError) as caught:
        await read(repository)
    return caught.type


# --- T22, T23, F113, F122: what continues, and what does not ---------------------------------------------------------


async def test_t22_what_goes_on_is_asked_for_with_the_entity_tag_of_what_came(
    wire_server: WireServer, blob: BlobServer
) -> None:
    blob.breaks = first_breaks
    async with repository_on(wire_server) as repository:
        assert await read(repository) == BLOB
    assert blob.conditions == [None, '"one"']
    assert blob.asked[1] == (HALF, len(BLOB), len(BLOB) - HALF)


@pytest.mark.parametrize("tag", ['W/"one"', "one", '"a\u00e4"', f'"{"x" * 2000}"', None])
async def test_t22_a_tag_that_does_not_promise_equal_bytes_is_not_sent_back(
    wire_server: WireServer, blob: BlobServer, tag: str | None
) -> None:
    blob.tag, blob.breaks = tag, first_breaks
    async with repository_on(wire_server) as repository:
        assert await read(repository) == BLOB
    assert blob.conditions == [None, None]


def part(start: int, data: bytes, total: object, **headers: str) -> Handler:
    return respond(206, {"Content-Range": f"bytes {start}-{start + len(data) - 1}/{total}", **headers}, data)


NO_CONTINUATION: dict[str, Handler] = {
    "another object": part(HALF, OTHER[HALF:], len(OTHER)),
    "another object's tag": part(HALF, OTHER[HALF:], len(OTHER), ETag='"two"'),
    "shifted": part(HALF + 1, BLOB[HALF + 1 :], len(BLOB)),
    "another total": part(HALF, BLOB[HALF:] + b"x", len(BLOB) + 1),
    "multipart": respond(206, {"Content-Type": "multipart/byteranges; boundary=x"}, b"--x\r\n\r\n--x--"),
    "no header": respond(206, (), BLOB[HALF:]),
    "whole": respond(200, (), BLOB),
    "whole, another tag": respond(200, {"ETag": '"two"'}, BLOB),
}


@pytest.mark.parametrize("kind", NO_CONTINUATION)
async def test_t22_a_download_is_never_joined_to_something_else(
    wire_server: WireServer, blob: BlobServer, tmp_path: Path, kind: str
) -> None:
    blob.breaks = first_breaks
    route = wire_server.on("GET", TARGET, blob, NO_CONTINUATION[kind], blob)
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.download(DIGEST, tmp_path / "blob") == KNOWN
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert names_in(tmp_path) == ["blob"]
    # One more request at most, for all of it.
    assert len(route.requests) == (2 if kind.startswith("whole") else 3)
    assert [request.header("Range") for request in route.requests[2:]] in ([], [None])


@pytest.mark.parametrize("kind", NO_CONTINUATION)
async def test_f113_a_reader_hands_out_no_byte_of_something_else_as_proven(
    wire_server: WireServer, blob: BlobServer, kind: str
) -> None:
    blob.breaks = first_breaks
    wire_server.on("GET", TARGET, blob, NO_CONTINUATION[kind], blob)
    async with repository_on(wire_server) as repository:
        if kind == "another object":
            # Only the digest tells, and what was handed out cannot be taken back.
            assert await wrong(repository) is DigestMismatchError
        else:
            assert await read(repository) == BLOB
        assert await repository.blobs.get(DIGEST) == BLOB


async def test_t22_a_small_blob_that_was_joined_wrongly_is_read_once_more(
    wire_server: WireServer, blob: BlobServer
) -> None:
    blob.breaks = first_breaks
    route = wire_server.on("GET", TARGET, blob, NO_CONTINUATION["another object"], blob)
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.get(DIGEST) == BLOB
    assert [request.header("Range") for request in route.requests] == [None, f"bytes={HALF}-", None]


@pytest.mark.parametrize("how", ["get", "download"])
async def test_t22_a_joined_blob_that_is_wrong_again_is_given_up(
    wire_server: WireServer, blob: BlobServer, tmp_path: Path, how: str
) -> None:
    seen: list[Event] = []
    blob.spoil = lambda _number, start, piece: OTHER[start : start + len(piece)]
    blob.breaks = lambda number, _start: HALF if number in {0, 2} else None
    async with repository_on(wire_server, hooks=[seen.append]) as repository:
        with pytest.raises(DigestMismatchError):
            await (
                repository.blobs.get(DIGEST) if how == "get" else repository.blobs.download(DIGEST, tmp_path / "blob")
            )
    # Broken off, gone on with; read anew, broken off, gone on with.
    assert [start for start, _, _ in blob.asked] == [0, HALF, 0, HALF]
    assert names_in(tmp_path) == []
    ends = [event for event in seen if isinstance(event, TransferStarted | TransferFailed | TransferFinished)]
    assert [type(event) for event in ends] == [TransferStarted, TransferFailed]


async def test_t22_a_blob_that_came_in_one_piece_and_is_wrong_is_not_read_again(
    wire_server: WireServer, blob: BlobServer, tmp_path: Path
) -> None:
    blob.data = OTHER
    async with repository_on(wire_server) as repository:
        for call in (repository.blobs.get(DIGEST), repository.blobs.download(DIGEST, tmp_path / "blob")):
            with pytest.raises(DigestMismatchError):
                await call
    assert len(blob.asked) == 2


@pytest.mark.parametrize("total", [len(BLOB), "*"])
async def test_t22_a_part_that_nobody_asked_for_is_no_whole(
    wire_server: WireServer, blob: BlobServer, total: object
) -> None:
    route = wire_server.on("GET", TARGET, part(0, BLOB[:HALF], total), blob)
    async with repository_on(wire_server) as repository:
        assert await read(repository) == BLOB
    assert [request.header("Range") for request in route.requests] == [None, f"bytes={HALF}-"]


async def test_t22_a_part_from_the_middle_that_nobody_asked_for_is_refused(wire_server: WireServer) -> None:
    route = wire_server.on("GET", TARGET, part(HALF, BLOB[HALF:], len(BLOB)))
    async with repository_on(wire_server) as repository:
        with pytest.raises(TruncatedBodyError):
            await read(repository)
    assert len(route.requests) == 2


async def test_t23_what_is_skipped_is_compared_with_what_came_before(wire_server: WireServer, blob: BlobServer) -> None:
    blob.knows_ranges, blob.breaks = False, first_breaks
    # The first answer was wrong in its last byte, the second one is right.
    blob.spoil = lambda number, _start, piece: bytes(piece[:-1]) + b"!" if number == 0 else piece
    async with repository_on(wire_server) as repository:
        assert await wrong(repository) is IntegrityError
        blob.breaks = lambda number, _start: HALF if number == 3 else None
        blob.spoil = lambda number, _start, piece: bytes(piece[:-1]) + b"!" if number == 3 else piece
        await repository.blobs.get(DIGEST)
        assert await repository.blobs.get(DIGEST) == BLOB


async def test_t23_what_differs_is_noticed_before_the_rest_is_read(wire_server: WireServer) -> None:
    sent: list[int] = []

    def endless(_request: Request, connection: Connection) -> None:
        connection.send(answers.head(200, {"Content-Length": str(2**40)}))
        while True:
            connection.send(OTHER)
            sent.append(len(OTHER))

    wire_server.on("GET", TARGET, chain(respond(200, {"Content-Length": str(2**40)}, BLOB), close), endless)
    async with repository_on(wire_server) as repository:
        assert await wrong(repository) is IntegrityError
    assert sum(sent) < 100 * MIB


async def test_f122_a_new_tag_on_other_bytes_makes_a_download_begin_anew(
    wire_server: WireServer, blob: BlobServer, tmp_path: Path
) -> None:
    # What was there first was wrong.
    blob.spoil = lambda number, start, piece: OTHER[start : start + len(piece)] if number == 0 else piece

    def breaks(number: int, _start: int) -> int | None:
        if number:
            return None
        blob.tag = '"two"'
        return HALF

    blob.breaks = breaks
    seen: list[Event] = []
    async with repository_on(wire_server, hooks=[seen.append]) as repository:
        await repository.blobs.download(DIGEST, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert blob.conditions == [None, '"one"', None] or blob.conditions[:2] == [None, '"one"']
    assert [event.offset for event in seen if isinstance(event, TransferResumed)] == [HALF, 0]


async def test_f122_a_new_tag_on_the_same_bytes_does_no_harm_and_is_asked_for_no_more(
    wire_server: WireServer, blob: BlobServer
) -> None:
    def breaks(number: int, _start: int) -> int | None:
        blob.tag = f'"{number}"'
        return (HALF, HALF + 70_000, 50_000, None)[number]

    blob.breaks = breaks
    async with repository_on(wire_server) as repository:
        assert await read(repository) == BLOB
    # Tags that change like this say nothing about the bytes.
    assert blob.conditions == [None, '"one"', None, None]
    assert [start for start, _, _ in blob.asked[:2]] == [0, 0]
    assert blob.asked[2][0] > 0


async def test_f122_a_part_with_another_tag_is_not_taken_even_if_the_server_sends_it(
    wire_server: WireServer, blob: BlobServer
) -> None:
    blob.breaks = first_breaks
    route = wire_server.on("GET", TARGET, blob, part(HALF, OTHER[HALF:], len(BLOB), ETag='"two"'), blob)
    async with repository_on(wire_server) as repository:
        assert await read(repository) == BLOB
    assert [request.header("Range") for request in route.requests] == [None, f"bytes={HALF}-", None]


# --- F119, F120, F121: ends and beginnings ---------------------------------------------------------------------------


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


# --- F123: slow consumers --------------------------------------------------------------------------------------------


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
        with anyio.move_on_after(0.2) as scope:
            if how == "read":
                async with repository.blobs.open(DIGEST) as reader:
                    await reader.read(1000)
                    await anyio.sleep_forever()
            else:
                await repository.blobs.download(DIGEST, tmp_path / "blob", resume=False)
        assert scope.cancelled_caught
        await anyio.to_thread.run_sync(flood.over.wait, 10)
        assert flood.over.is_set()
    assert [event.reason for event in seen if isinstance(event, TransferFailed)] == ["cancelled"]
    assert names_in(tmp_path) == []


# --- A6: the promises of a reader ------------------------------------------------------------------------------------


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


# --- downloads that go on where another one ended --------------------------------------------------------------------

LARGE = noise(KEEP_FROM + 3 * MIB + 17)
LARGE_DIGEST = Digest.of(LARGE)
LARGE_KNOWN = Descriptor.of(LARGE)


@pytest.fixture
def large(wire_server: WireServer) -> BlobServer:
    """A blob that is worth keeping when it is nearly there."""
    made = BlobServer(LARGE)
    wire_server.on("*", f"/v2/{NAME}/blobs/{LARGE_DIGEST}", made)
    return made


async def begun(path: Path, data: bytes = LARGE[: KEEP_FROM + 5]) -> None:
    """Leave what a killed download leaves."""
    async with PartialFile(path, LARGE_DIGEST) as file:
        file.keep = True
        await file.begin()
        file.append(data)


@pytest.mark.parametrize("target", [LARGE_DIGEST, LARGE_KNOWN], ids=["digest", "descriptor"])
async def test_a_download_asks_only_for_what_is_missing(
    wire_server: WireServer, large: BlobServer, tmp_path: Path, target: Digest | Descriptor
) -> None:
    await begun(tmp_path / "blob")
    seen: list[Event] = []
    told: list[int] = []
    async with repository_on(wire_server, hooks=[seen.append]) as repository:
        got = await repository.blobs.download(target, tmp_path / "blob", progress=lambda done, _: told.append(done))
    assert got == LARGE_KNOWN
    assert (tmp_path / "blob").read_bytes() == LARGE
    assert [start for start, _, _ in large.asked] == [KEEP_FROM + 5]
    assert names_in(tmp_path) == ["blob"]
    assert (told[0] > KEEP_FROM, told[-1]) == (True, len(LARGE))
    assert [event.offset for event in seen if isinstance(event, TransferResumed)] == [KEEP_FROM + 5]
    (finished,) = [event for event in seen if isinstance(event, TransferFinished)]
    assert (finished.done, finished.size) == (len(LARGE) - KEEP_FROM - 5, len(LARGE))


@pytest.mark.parametrize("target", [LARGE_DIGEST, LARGE_KNOWN], ids=["digest", "descriptor"])
@pytest.mark.parametrize("kind", ["corrupt", "too long", "complete", "complete and corrupt"])
async def test_what_is_found_is_not_believed(
    wire_server: WireServer, large: BlobServer, tmp_path: Path, target: Digest | Descriptor, kind: str
) -> None:
    found = {
        "corrupt": b"?" + LARGE[1 : KEEP_FROM + 5],
        "too long": LARGE + b"more",
        "complete": LARGE,
        "complete and corrupt": LARGE[:-1] + b"?",
    }[kind]
    await begun(tmp_path / "blob", found)
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.download(target, tmp_path / "blob") == LARGE_KNOWN
    assert (tmp_path / "blob").read_bytes() == LARGE
    assert names_in(tmp_path) == ["blob"]
    assert len(large.asked) <= 2
    if kind == "complete":
        assert sum(count for _, _, count in large.asked) == 0


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
async def test_a_registry_without_ranges_sends_all_and_it_is_compared(
    wire_server: WireServer, large: BlobServer, tmp_path: Path, *, ranges: bool
) -> None:
    await begun(tmp_path / "blob")
    large.knows_ranges = ranges
    async with repository_on(wire_server) as repository:
        await repository.blobs.download(LARGE_DIGEST, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == LARGE
    assert len(large.asked) == 1


async def test_a_download_whose_connections_fail_leaves_what_the_next_one_goes_on_with(
    wire_server: WireServer, large: BlobServer, tmp_path: Path
) -> None:
    large.breaks = lambda number, _start: KEEP_FROM + 100 if number == 0 else 0
    async with repository_on(wire_server) as repository:
        with pytest.raises(TruncatedBodyError):
            await repository.blobs.download(LARGE_DIGEST, tmp_path / "blob")
        assert len(names_in(tmp_path)) == 1
        large.asked.clear()
        large.breaks = lambda _number, _start: None
        await repository.blobs.download(LARGE_DIGEST, tmp_path / "blob")
    assert [start for start, _, _ in large.asked] == [KEEP_FROM + 100]
    assert (tmp_path / "blob").read_bytes() == LARGE
    assert names_in(tmp_path) == ["blob"]


async def test_a_download_that_shall_not_be_gone_on_with_leaves_nothing_and_uses_nothing(
    wire_server: WireServer, large: BlobServer, tmp_path: Path
) -> None:
    await begun(tmp_path / "blob")
    (there,) = names_in(tmp_path)
    large.breaks = lambda number, _start: KEEP_FROM + 100 if number == 0 else 0
    async with repository_on(wire_server) as repository:
        with pytest.raises(TruncatedBodyError):
            await repository.blobs.download(LARGE_DIGEST, tmp_path / "blob", resume=False)
    assert large.asked[0][0] == 0
    assert names_in(tmp_path) == [there]


async def test_a_cancelled_download_goes_on_later(wire_server: WireServer, large: BlobServer, tmp_path: Path) -> None:
    async with repository_on(wire_server) as repository:
        with anyio.CancelScope() as scope:

            def stop(done: int, _size: int | None) -> None:
                if done >= KEEP_FROM + MIB:
                    scope.cancel()

            await repository.blobs.download(LARGE_DIGEST, tmp_path / "blob", progress=stop)
        if scope.cancelled_caught:
            assert len(names_in(tmp_path)) == 1
        await repository.blobs.download(LARGE_DIGEST, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == LARGE
    # What was there is not asked for again.
    assert all(start >= KEEP_FROM for start, _, _ in large.asked[1:])
    assert names_in(tmp_path) == ["blob"]


async def test_a_wrong_blob_is_not_kept(wire_server: WireServer, large: BlobServer, tmp_path: Path) -> None:
    large.spoil = lambda _number, _start, piece: b"?" + bytes(piece[1:])
    async with repository_on(wire_server) as repository:
        with pytest.raises(DigestMismatchError):
            await repository.blobs.download(LARGE_DIGEST, tmp_path / "blob")
        wire_server.on("GET", f"/v2/{NAME}/blobs/{LARGE_DIGEST}", answers.respond_chunked(200, (), [LARGE, b"x"]))
        with pytest.raises(SizeMismatchError):
            await repository.blobs.download(LARGE_KNOWN, tmp_path / "blob")
    assert names_in(tmp_path) == []


async def test_two_downloads_to_one_path_at_once_both_end_well(
    wire_server: WireServer, large: BlobServer, tmp_path: Path
) -> None:
    await begun(tmp_path / "blob")
    async with repository_on(wire_server) as repository, anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(repository.blobs.download, LARGE_DIGEST, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == LARGE
    assert names_in(tmp_path) == ["blob"]
    assert KEEP_FROM + 5 in [start for start, _, _ in large.asked]


async def test_a_missing_blob_leaves_what_was_there_and_creates_nothing(
    wire_server: WireServer, tmp_path: Path
) -> None:
    async with repository_on(wire_server) as repository:
        for known in ([], ["one"]):
            with pytest.raises(Exception, match=r"(?i)not found|unknown|no route"):
                await repository.blobs.download(LARGE_DIGEST, tmp_path / "blob")
            assert len(names_in(tmp_path)) == len(known)
            await begun(tmp_path / "blob")
