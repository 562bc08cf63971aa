"""Answers that continue what came before a break, and such as do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import (
    Descriptor,
    Digest,
    DigestMismatchError,
    IntegrityError,
    TransferFailed,
    TransferFinished,
    TransferResumed,
    TransferStarted,
    TruncatedBodyError,
)
from tests.faults.blobs import BlobServer
from tests.peers import answers
from tests.peers.answers import chain, close, respond
from tests.peers.images import noise
from tests.remote.support import NAME, repository_on

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist import Event, Repository
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


@pytest.mark.parametrize("total", [len(BLOB), "*"])
async def test_t22_a_part_that_comes_again_and_again_is_given_up(wire_server: WireServer, total: object) -> None:
    route = wire_server.on("GET", TARGET, part(0, BLOB[:HALF], total))
    async with repository_on(wire_server) as repository:
        with anyio.fail_after(20), pytest.raises(TruncatedBodyError):
            await read(repository)
    assert [request.header("Range") for request in route.requests] == [None, f"bytes={HALF}-", None]


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


async def test_f122_a_server_that_does_not_know_conditions_is_asked_without_one(
    wire_server: WireServer, blob: BlobServer
) -> None:
    blob.breaks = lambda number, _start: (HALF, HALF + 70_000, 50_000, None)[number]
    blob.knows_conditions = False
    async with repository_on(wire_server) as repository:
        assert await read(repository) == BLOB
    assert blob.conditions == [None, '"one"', None, None]
    assert [start for start, _, _ in blob.asked] == [0, 0, HALF + 70_000, HALF + 120_000]


async def test_f122_a_part_with_another_tag_is_not_taken_even_if_the_server_sends_it(
    wire_server: WireServer, blob: BlobServer
) -> None:
    blob.breaks = first_breaks
    route = wire_server.on("GET", TARGET, blob, part(HALF, OTHER[HALF:], len(BLOB), ETag='"two"'), blob)
    async with repository_on(wire_server) as repository:
        assert await read(repository) == BLOB
    assert [request.header("Range") for request in route.requests] == [None, f"bytes={HALF}-", None]


@pytest.mark.parametrize("framed", ["in chunks", "by its end"])
@pytest.mark.parametrize("way", ["get", "download", "part"])
async def test_t22_a_server_that_always_ends_early_without_a_length_is_asked_a_few_times_only(
    wire_server: WireServer, tmp_path: Path, framed: str, way: str
) -> None:
    short = BLOB[:HALF]
    answer = answers.respond_chunked(200, {}, [short])
    if framed == "by its end":
        answer = chain(answers.raw(answers.head(200) + short), close)
    route = wire_server.on("GET", TARGET, answer)
    async with repository_on(wire_server) as repository:
        blobs = repository.blobs

        async def part() -> bytes:
            async with blobs.open(KNOWN, offset=10, length=len(BLOB) - 10) as reader:
                return await reader.read()

        there = tmp_path / "blob"
        ways = {"get": lambda: blobs.get(KNOWN), "download": lambda: blobs.download(KNOWN, there), "part": part}
        with anyio.fail_after(20), pytest.raises(TruncatedBodyError) as caught:
            await ways[way]()
    assert len(route.requests) == caught.value.attempts
    assert len(route.requests) <= 7
    assert names_in(tmp_path) == []


async def test_t22_a_server_that_ends_early_without_a_length_once_is_gone_on_with(wire_server: WireServer) -> None:
    wire_server.on(
        "GET", TARGET, answers.respond_chunked(200, {}, [BLOB[:HALF]]), answers.respond_chunked(200, {}, [BLOB])
    )
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.get(KNOWN) == BLOB
