"""Journals that cannot be written."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from ocidist import Descriptor, StorageError
from tests.faults.cancelling import names_in
from tests.remote.support import repository_on

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.uploads import UploadRegistry
    from tests.peers.wire_server import WireServer

BLOB = b"blob" * 1000


@pytest.mark.parametrize("saved", [0, 2])
async def test_f205_a_journal_that_cannot_be_written_leaves_no_session_that_nobody_knows(
    wire_server: WireServer, registry: UploadRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, saved: int
) -> None:
    # One that can be gone on with although the answer to the last chunk was lost.
    registry.moves = False
    left = [saved]

    def fsync(_descriptor: int) -> None:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1

    monkeypatch.setattr("ocidist._io.journal.os.fsync", fsync)
    async with repository_on(wire_server) as repository:
        with pytest.raises(StorageError) as caught:
            await repository.blobs.push(BLOB, Descriptor.of(BLOB), chunk_size=1000, journal=tmp_path / "journal")
        assert caught.value.errno == errno.ENOSPC
        # Where something was written down, it can be gone on with: there is room again.
        assert len(registry.open) == bool(saved)
        monkeypatch.undo()
        await repository.blobs.push(BLOB, Descriptor.of(BLOB), chunk_size=1000, journal=tmp_path / "journal")
    assert list(registry.blobs.values()) == [BLOB]
    assert registry.open == {}
    assert names_in(tmp_path) == []
