"""Downloads over several connections at once, and what may happen to one part of a blob."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial as partial_of
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import (
    BlobUnknownError,
    Descriptor,
    Digest,
    DigestMismatchError,
    HostLimits,
    TransferFailed,
    TransferFinished,
    TransferProgressed,
    TransferResumed,
    TransferStarted,
    TruncatedBodyError,
    UsageError,
)
from ocidist._io import partial
from ocidist._io.partial import PartialFile
from ocidist._io.parts import FOOTER, Plan
from ocidist.remote import _parts, _stream
from tests.faults.blobs import BlobServer, cancelled_after
from tests.faults.dialling import left_open, open_files
from tests.http.support import until
from tests.peers.answers import respond
from tests.peers.images import noise
from tests.remote.support import NAME, repository_on

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist import Event
    from tests.peers.peer import Peer
    from tests.peers.wire_server import Connection, Request, WireServer

STEP = 100_000
PARTS = 16
BLOB = noise(STEP * PARTS - 321)
DIGEST = Digest.of(BLOB)
KNOWN = Descriptor.of(BLOB)
TARGET = f"/v2/{NAME}/blobs/{DIGEST}"
STARTS = range(0, len(BLOB), STEP)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parts, "MIN_PART", STEP)
    monkeypatch.setattr(partial, "KEEP_FROM", STEP)
    monkeypatch.setattr("ocidist.remote.download.KEEP_FROM", STEP)


@pytest.fixture
def blob(wire_server: WireServer) -> BlobServer:
    """The blob, at a server that sends the parts it is asked for."""
    made = BlobServer(BLOB)
    wire_server.on("*", TARGET, made)
    return made


def corrupt(piece: bytes | memoryview) -> bytes:
    return bytes(piece[:-1]) + bytes([piece[-1] ^ 1])


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def starts(blob: BlobServer) -> Counter[int]:
    return Counter(start for start, _, _ in blob.asked)


@pytest.mark.parametrize("target", [DIGEST, KNOWN], ids=["digest", "descriptor"])
@pytest.mark.parametrize("connections", [2, 4, 40])
async def test_parts_make_up_the_blob(
    wire_server: WireServer, blob: BlobServer, tmp_path: Path, target: Digest | Descriptor, connections: int
) -> None:
    seen: list[Event] = []
    told: list[tuple[int, int | None]] = []
    async with repository_on(wire_server, hooks=[seen.append]) as repository:
        got = await repository.blobs.download(
            target, tmp_path / "blob", connections=connections, progress=lambda *at: told.append(at)
        )
    assert got == KNOWN
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert names_in(tmp_path) == ["blob"]
    # Every byte once.
    spans = sorted((start, stop) for start, stop, _ in blob.asked)
    assert [start for start, _ in spans] == [0, *(stop for _, stop in spans[:-1])]
    assert spans[-1][1] == len(BLOB)
    assert sorted(told) == told
    assert told[-1] == (len(BLOB), len(BLOB))
    kinds = [type(event) for event in seen if not isinstance(event, TransferProgressed)]
    assert kinds == [TransferStarted, TransferFinished]
    assert isinstance(seen[-1], TransferFinished)
    assert (seen[-1].done, seen[-1].size) == (len(BLOB), len(BLOB))


async def test_parts_come_from_any_registry(any_registry: Peer, fresh_name: str, tmp_path: Path) -> None:
    async with any_registry.client() as client:
        blobs = client.repository(f"{any_registry.host}/{fresh_name}").blobs
        await blobs.push(BLOB)
        assert await blobs.download(DIGEST, tmp_path / "blob", connections=4) == KNOWN
    assert (tmp_path / "blob").read_bytes() == BLOB


async def test_f124_of_16_parts_only_the_corrupt_one_is_replaced(
    wire_server: WireServer, blob: BlobServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    real = PartialFile._write_at

    def note(self: PartialFile, epoch: int, offset: int, data: bytes | memoryview) -> None:
        written.append(offset)
        real(self, epoch, offset, data)

    monkeypatch.setattr(PartialFile, "_write_at", note)
    bad = 9 * STEP
    spoiled: list[int] = []

    def spoil(_number: int, start: int, piece: memoryview) -> bytes | memoryview:
        if start != bad or spoiled:
            return piece
        spoiled.append(start)
        return corrupt(piece)

    blob.spoil = spoil
    async with repository_on(wire_server) as repository:
        await repository.blobs.download(KNOWN, tmp_path / "blob", connections=4)
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert names_in(tmp_path) == ["blob"]
    # Which one is corrupt is found out by reading parts again, and comparing; only that one is written again.
    assert Counter(written)[bad] == 2
    assert {Counter(written)[start] for start in STARTS} == {1, 2}
    assert all(Counter(written)[start] == 1 for start in STARTS if start != bad)
    assert starts(blob) == Counter({start: (3 if start == bad else 2 if start < bad else 1) for start in STARTS})


async def test_f124_a_part_that_made_trouble_is_suspected_first(
    wire_server: WireServer, blob: BlobServer, tmp_path: Path
) -> None:
    bad = 11 * STEP
    blob.breaks = lambda _number, start: STEP // 2 if start == bad and starts(blob)[bad] == 1 else None
    blob.spoil = lambda _number, start, piece: corrupt(piece) if start == bad + STEP // 2 else piece
    async with repository_on(wire_server) as repository:
        await repository.blobs.download(KNOWN, tmp_path / "blob", connections=4)
    assert (tmp_path / "blob").read_bytes() == BLOB
    # First and second half; and twice as a whole, to compare and to write.
    assert starts(blob) == Counter({bad: 3, bad + STEP // 2: 1} | {start: 1 for start in STARTS if start != bad})


async def test_f124_a_blob_that_is_wrong_in_the_same_way_each_time_is_given_up(
    wire_server: WireServer, blob: BlobServer, tmp_path: Path
) -> None:
    blob.spoil = lambda _number, start, piece: corrupt(piece) if start == 3 * STEP else piece
    seen: list[Event] = []
    async with repository_on(wire_server, hooks=[seen.append]) as repository:
        with pytest.raises(DigestMismatchError) as caught:
            await repository.blobs.download(KNOWN, tmp_path / "blob", connections=4)
    assert str(DIGEST) in str(caught.value)
    assert starts(blob) == Counter(dict.fromkeys(STARTS, 2))
    assert names_in(tmp_path) == []
    assert [type(event) for event in seen if isinstance(event, TransferFinished | TransferFailed)] == [TransferFailed]


async def test_f124_where_many_parts_are_wrong_the_blob_is_read_once_more_in_one_piece(
    wire_server: WireServer, blob: BlobServer, tmp_path: Path
) -> None:
    # Every part, each time in another way.
    blob.spoil = lambda number, _start, piece: bytes([number]) + bytes(piece[1:]) if len(piece) < 2 * STEP else piece
    seen: list[Event] = []
    async with repository_on(wire_server, hooks=[seen.append]) as repository:
        await repository.blobs.download(KNOWN, tmp_path / "blob", connections=4)
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert len(blob.asked) == PARTS + 2 * _parts.MAX_WRONG + 1
    assert [event.offset for event in seen if isinstance(event, TransferResumed)] == [0]


async def test_parts_that_break_anywhere_are_taken_up(
    wire_server: WireServer, blob: BlobServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_stream, "PROGRESS", 1)
    chance = random.Random(1)  # noqa: S311 -- repeatable, and no secret
    blob.breaks = lambda number, _start: chance.randrange(1, STEP) if number % 3 else None
    async with repository_on(wire_server) as repository:
        await repository.blobs.download(KNOWN, tmp_path / "blob", connections=4)
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert set(STARTS) <= set(starts(blob))
    # What goes on is asked for under the tag of what was there.
    assert set(blob.conditions[1:]) == {'"one"'}


async def test_a_registry_that_sends_no_parts_is_asked_for_the_whole(
    wire_server: WireServer, blob: BlobServer, tmp_path: Path
) -> None:
    blob.knows_ranges = False
    async with repository_on(wire_server) as repository:
        await repository.blobs.download(KNOWN, tmp_path / "blob", connections=8)
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert len(blob.asked) == 2


@pytest.mark.parametrize("how", ["no ranges", "another tag", "416"])
async def test_a_registry_that_stops_sending_parts_is_asked_for_the_rest_in_one_piece(
    wire_server: WireServer, blob: BlobServer, tmp_path: Path, how: str
) -> None:
    def answer(request: Request, connection: Connection) -> None:
        if len(blob.asked) == 5:
            blob.knows_ranges = how != "no ranges"
            blob.tag = '"two"' if how == "another tag" else blob.tag
            if how == "416" and request.header("Range") is not None:
                respond(416)(request, connection)
                return
        blob(request, connection)

    wire_server.on("GET", TARGET, answer)
    async with repository_on(wire_server) as repository:
        await repository.blobs.download(KNOWN, tmp_path / "blob", connections=2)
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert names_in(tmp_path) == ["blob"]


async def test_a_small_blob_is_read_in_one_piece(wire_server: WireServer, tmp_path: Path) -> None:
    data = BLOB[: 2 * STEP - 1]
    blob = BlobServer(data)
    wire_server.on("*", f"/v2/{NAME}/blobs/{Digest.of(data)}", blob)
    async with repository_on(wire_server) as repository:
        await repository.blobs.download(Digest.of(data), tmp_path / "blob", connections=4)
    assert blob.asked == [(0, len(data), len(data))]


async def test_a_missing_blob_has_no_parts(wire_server: WireServer, tmp_path: Path) -> None:
    async with repository_on(wire_server) as repository:
        for target in (DIGEST, KNOWN):
            with pytest.raises(BlobUnknownError):
                await repository.blobs.download(target, tmp_path / "blob", connections=4)
    assert names_in(tmp_path) == []


async def test_parts_wait_for_a_place_at_the_host(wire_server: WireServer, blob: BlobServer, tmp_path: Path) -> None:
    async with repository_on(wire_server, limits=HostLimits(concurrency=1)) as repository:
        await repository.blobs.download(KNOWN, tmp_path / "blob", connections=4)
    assert (tmp_path / "blob").read_bytes() == BLOB


@pytest.mark.parametrize("connections", [0, -1])
async def test_a_download_takes_at_least_one_connection(
    wire_server: WireServer, tmp_path: Path, connections: int
) -> None:
    async with repository_on(wire_server) as repository:
        with pytest.raises(UsageError):
            await repository.blobs.download(DIGEST, tmp_path / "blob", connections=connections)
    assert wire_server.requests == []


# --- going on --------------------------------------------------------------------------------------------------------


async def interrupted(wire_server: WireServer, blob: BlobServer, path: Path, failing: int = 7 * STEP) -> Path:
    """Download until a part fails for good, and return what is left."""
    blob.breaks = lambda _number, start: 0 if start == failing else None
    async with repository_on(wire_server) as repository:
        with pytest.raises(TruncatedBodyError):
            await repository.blobs.download(KNOWN, path, connections=4)
    blob.breaks = lambda _number, _start: None
    (left,) = await anyio.to_thread.run_sync(lambda: list(path.parent.iterdir()))
    return left


@pytest.mark.parametrize("connections", [1, 4])
async def test_parts_that_are_there_are_not_asked_for_again(
    wire_server: WireServer, blob: BlobServer, tmp_path: Path, connections: int
) -> None:
    await interrupted(wire_server, blob, tmp_path / "blob")
    there = {start for start, stop, count in blob.asked if count == stop - start}
    blob.asked.clear()
    seen: list[Event] = []
    async with repository_on(wire_server, hooks=[seen.append]) as repository:
        await repository.blobs.download(DIGEST, tmp_path / "blob", connections=connections)
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert names_in(tmp_path) == ["blob"]
    # What was under way when another part failed is read again, and nothing else.
    again = {start for start, _, _ in blob.asked} & there
    assert len(again) <= 4
    assert 7 * STEP in starts(blob)
    (resumed,) = [event for event in seen if isinstance(event, TransferResumed)]
    assert resumed.offset == len(BLOB) - sum(stop - start for start, stop, _ in blob.asked)


def spoiled(kind: str, data: bytes) -> bytes:
    """Return what is left of an unfinished file that somebody or something has spoiled."""
    plan = Plan.parse(data[-FOOTER.size :], len(data))
    assert plan is not None
    if kind == "the length":
        return data + b"x"
    if kind == "the end":
        return data[:-3]
    at = {"a part": 10, "a record": plan.record_at(1), "the footer": len(data) - 1, "the size": len(data) - 50}[kind]
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("kind", ["a part", "a record", "the footer", "the size", "the length", "the end"])
async def test_what_is_left_of_parts_is_not_believed(
    wire_server: WireServer, blob: BlobServer, tmp_path: Path, kind: str
) -> None:
    left = await interrupted(wire_server, blob, tmp_path / "blob")
    left.write_bytes(spoiled(kind, left.read_bytes()))
    async with repository_on(wire_server) as repository:
        await repository.blobs.download(KNOWN, tmp_path / "blob", connections=4)
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert names_in(tmp_path) == ["blob"]


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
async def test_what_one_connection_left_is_gone_on_with_by_several(
    wire_server: WireServer, blob: BlobServer, tmp_path: Path, *, right: bool
) -> None:
    base = 2 * STEP + 77
    async with PartialFile(tmp_path / "blob", DIGEST) as file:
        file.keep = True
        await file.begin()
        file.append(BLOB[:base] if right else b"?" + BLOB[1:base])
    async with repository_on(wire_server) as repository:
        await repository.blobs.download(KNOWN, tmp_path / "blob", connections=4)
    assert (tmp_path / "blob").read_bytes() == BLOB
    if right:
        assert min(starts(blob)) == base
        assert sum(stop - start for start, stop, _ in blob.asked) == len(BLOB) - base


async def test_a_cancelled_download_in_parts_leaves_what_is_there(
    wire_server: WireServer, blob: BlobServer, tmp_path: Path
) -> None:
    async with repository_on(wire_server) as repository:
        with anyio.CancelScope() as scope:

            def stop(done: int, _size: int | None) -> None:
                if done > 5 * STEP:
                    scope.cancel()

            await repository.blobs.download(KNOWN, tmp_path / "blob", connections=4, progress=stop)
        assert scope.cancelled_caught
        (left,) = names_in(tmp_path)
        assert left.endswith(".part")
        await repository.blobs.download(KNOWN, tmp_path / "blob", connections=4)
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert names_in(tmp_path) == ["blob"]


async def test_a_download_in_parts_leaves_nothing_where_that_was_asked_for(
    wire_server: WireServer, blob: BlobServer, tmp_path: Path
) -> None:
    blob.breaks = lambda _number, start: 0 if start == 7 * STEP else None
    async with repository_on(wire_server) as repository:
        with pytest.raises(TruncatedBodyError):
            await repository.blobs.download(KNOWN, tmp_path / "blob", connections=4, resume=False)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("way", [(1, False), (4, False), (1, True), (4, True)], ids="{0[0]}, native: {0[1]}".format)
async def test_f195_a_download_in_parts_may_be_cancelled_at_any_time(
    wire_server: WireServer,
    blob: BlobServer,
    tmp_path: Path,
    anyio_backend_name: str,
    way: tuple[int, bool],
) -> None:
    connections, native = way
    path = tmp_path / "blob"
    before = open_files()
    async with repository_on(wire_server) as repository:
        for turn in range(30):
            work = partial_of(repository.blobs.download, KNOWN, path, connections=connections)
            # trio has scopes only.
            await cancelled_after(0.001 * turn, work, native=native and anyio_backend_name == "asyncio")
            # It is there as a whole, or there is at most one file to go on with; one may take a moment to go.
            await until(lambda: len(names_in(tmp_path)) <= 1)
            if path.exists():
                assert path.read_bytes() == BLOB
                path.unlink()
        await repository.blobs.download(KNOWN, path, connections=connections)
    assert path.read_bytes() == BLOB
    assert names_in(tmp_path) == ["blob"]
    assert await left_open(before) == []
