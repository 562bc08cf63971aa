"""Downloads that go on where another one ended."""

from __future__ import annotations

import errno
import os
import resource
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import (
    Descriptor,
    Digest,
    DigestMismatchError,
    SizeMismatchError,
    StorageError,
    TransferFailed,
    TransferFinished,
    TransferResumed,
    TruncatedBodyError,
)
from ocidist._io.partial import KEEP_FROM, PartialFile
from ocidist.remote import _parts
from tests.faults.blobs import BlobServer
from tests.faults.dialling import left_open, open_files
from tests.peers import answers
from tests.peers.images import noise
from tests.remote.support import NAME, repository_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ocidist import Event
    from tests.peers.wire_server import WireServer

MIB = 1024 * 1024


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


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


@pytest.fixture
def small_files() -> Iterator[int]:
    """Let no file of this process grow beyond some megabytes; what is written there fails as on a full disk."""
    least = KEEP_FROM + MIB
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (least, before[1]))
    yield least
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("connections", [1, 2])
async def test_a_disk_that_refuses_is_told_and_has_its_room_back(
    wire_server: WireServer, large: BlobServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connections: int
) -> None:
    monkeypatch.setattr(_parts, "MIN_PART", MIB)
    path = tmp_path / "blob"
    path.write_bytes(b"old")
    await begun(path)
    seen: list[Event] = []
    async with repository_on(wire_server, hooks=[seen.append]) as repository:
        with pytest.raises(StorageError) as caught:
            await repository.blobs.download(LARGE_KNOWN, path, connections=connections)
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["blob"]
    assert isinstance(seen[-1], TransferFailed)
    assert len(large.asked) == (connections == 1)


@pytest.mark.usefixtures("large")
async def test_a_disk_that_is_full_in_the_middle_of_a_part_is_told_and_has_its_room_back(
    wire_server: WireServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_parts, "MIN_PART", MIB)
    real, written = os.pwrite, 0

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        nonlocal written
        written += len(data)
        if written > 4 * MIB:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    before = open_files()
    async with repository_on(wire_server) as repository:
        with pytest.raises(StorageError, match="No space left") as caught:
            await repository.blobs.download(LARGE_KNOWN, tmp_path / "blob", connections=3)
    assert caught.value.errno == errno.ENOSPC
    assert names_in(tmp_path) == []
    assert await left_open(before) == []
