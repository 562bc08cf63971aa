from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import BlobUnknownError, Descriptor, Digest, StorageError
from tests.peers.images import noise

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.peer import Peer

BLOB = noise(3_000_000)
DIGEST = Digest.of(BLOB)


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_a_blob_becomes_a_file(any_registry: Peer, fresh_name: str, tmp_path: Path) -> None:
    path = tmp_path / "blob"
    async with any_registry.client() as client:
        blobs = client.repository(f"{any_registry.host}/{fresh_name}").blobs
        pushed = await blobs.push(BLOB)
        assert await blobs.download(pushed.digest, path) == pushed
    assert path.read_bytes() == BLOB
    assert names_in(tmp_path) == ["blob"]


async def test_the_empty_blob_becomes_an_empty_file(docker_registry: Peer, fresh_name: str, tmp_path: Path) -> None:
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        await blobs.push(b"")
        await blobs.download(Descriptor.of(b""), str(tmp_path / "blob"))
    assert (tmp_path / "blob").read_bytes() == b""


async def test_a_file_that_is_there_is_replaced_only_by_a_whole_blob(
    docker_registry: Peer, fresh_name: str, tmp_path: Path
) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"old")
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        await blobs.push(BLOB)
        with pytest.raises(BlobUnknownError):
            await blobs.download(Digest.of(b"missing"), path)
        assert path.read_bytes() == b"old"
        await blobs.download(DIGEST, path)
    assert path.read_bytes() == BLOB
    assert names_in(tmp_path) == ["blob"]


async def test_progress_ends_with_the_whole_blob(docker_registry: Peer, fresh_name: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        await blobs.push(BLOB)
        await blobs.download(DIGEST, tmp_path / "blob", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(BLOB), len(BLOB))
    assert len(seen) > 1


async def test_a_cancelled_download_leaves_nothing_behind(
    docker_registry: Peer, fresh_name: str, tmp_path: Path
) -> None:
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        await blobs.push(BLOB)
        with anyio.CancelScope() as scope:
            await blobs.download(DIGEST, tmp_path / "blob", progress=lambda *_: scope.cancel())
        assert scope.cancelled_caught
    assert names_in(tmp_path) == []


async def test_a_place_that_cannot_be_written_to_is_a_storage_error(
    docker_registry: Peer, fresh_name: str, tmp_path: Path
) -> None:
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        await blobs.push(BLOB)
        for path in (tmp_path / "missing" / "blob", tmp_path):
            with pytest.raises(StorageError):
                await blobs.download(DIGEST, path)
    assert names_in(tmp_path) == []
