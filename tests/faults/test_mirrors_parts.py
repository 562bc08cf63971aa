"""Downloads from mirrors that go on, or come in parts: the whole is proven, so mirrors may send it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import Descriptor, Digest
from ocidist._io import partial
from ocidist._io.partial import PartialFile
from ocidist.remote import _parts
from tests.faults.blobs import BlobServer
from tests.faults.mirroring import Copy, Group
from tests.peers.images import noise
from tests.remote.support import NAME

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartWireServer
    from tests.peers.wire_server import Connection, Request

STEP = 100_000
PARTS = 16
BLOB = noise(STEP * PARTS - 321)
DIGEST = Digest.of(BLOB)
KNOWN = Descriptor.of(BLOB)
TARGET = f"/v2/{NAME}/blobs/{DIGEST}"


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parts, "MIN_PART", STEP)
    monkeypatch.setattr(partial, "KEEP_FROM", STEP)
    monkeypatch.setattr("ocidist.remote.download.KEEP_FROM", STEP)


class Ranged(Copy):
    """A mirror, or the registry, with the blob of this module."""

    def __init__(self) -> None:
        super().__init__()
        self.blob = BlobServer(BLOB)

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer."""
        if request.path == TARGET:
            self.blob(request, connection)
        else:
            super().__call__(request, connection)


async def test_parts_of_a_mirror_that_sends_wrong_ones_come_from_the_registry(
    start_wire_server: StartWireServer, tmp_path: Path
) -> None:
    pair = Group(start_wire_server, kind=Ranged)
    mirror, home = pair.mirror, pair.upstream
    assert isinstance(mirror, Ranged)
    assert isinstance(home, Ranged)
    mirror.blob.data = noise(len(BLOB), "another")
    async with pair.client() as client:
        await pair.repository(client).blobs.download(KNOWN, tmp_path / "blob", connections=4)
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert len(mirror.blob.asked) == len(home.blob.asked) == PARTS
    (failed,) = pair.events
    assert failed.wrong


async def test_a_download_goes_on_at_a_mirror_because_its_whole_is_proven(
    start_wire_server: StartWireServer, tmp_path: Path
) -> None:
    pair = Group(start_wire_server, kind=Ranged)
    mirror, home = pair.mirror, pair.upstream
    assert isinstance(mirror, Ranged)
    assert isinstance(home, Ranged)
    async with PartialFile(tmp_path / "blob", DIGEST) as file:
        file.keep = True
        await file.begin()
        file.append(BLOB[:STEP])
    async with pair.client() as client:
        await pair.repository(client).blobs.download(KNOWN, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert [start for start, _, _ in mirror.blob.asked] == [STEP]
    assert home.blob.asked == []
