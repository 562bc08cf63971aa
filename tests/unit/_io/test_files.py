from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist._io.files import BATCH, AtomicFile
from ocidist.errors import StorageError
from tests.peers.images import noise

if TYPE_CHECKING:
    from pathlib import Path


def left(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def store(path: Path, data: bytes) -> None:
    async with AtomicFile(path) as file:
        await file.write(data)
        await file.commit()


async def fail_while_writing(path: Path) -> None:
    async with AtomicFile(path) as file:
        await file.write(b"abc")
        raise ZeroDivisionError


@pytest.mark.parametrize("size", [0, 1, BATCH - 1, BATCH, 2 * BATCH + 1])
async def test_a_file_appears_complete_once_it_is_committed(tmp_path: Path, size: int) -> None:
    path, data = tmp_path / "blob", noise(size)
    async with AtomicFile(path) as file:
        await file.write(data[: size // 2])
        await file.write(data[size // 2 :])
        assert not path.exists()
        await file.commit()
    assert path.read_bytes() == data
    assert left(tmp_path) == ["blob"]


async def test_leaving_without_a_commit_leaves_nothing_behind_and_the_old_file_untouched(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"old")
    async with AtomicFile(path) as file:
        await file.write(noise(2 * BATCH))
    assert left(tmp_path) == ["blob"]
    assert path.read_bytes() == b"old"


async def test_an_error_or_a_cancellation_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        await fail_while_writing(tmp_path / "blob")
    with anyio.CancelScope() as scope:
        async with AtomicFile(tmp_path / "blob") as file:
            scope.cancel()
            await file.write(noise(BATCH))
    assert left(tmp_path) == []


async def test_a_file_that_was_there_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"old")
    await store(path, b"new")
    assert path.read_bytes() == b"new"


async def test_two_writers_of_one_name_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    async with AtomicFile(path) as one, AtomicFile(path) as two:
        await one.write(b"one")
        await two.write(b"two")
        await one.commit()
        await two.commit()
    assert path.read_bytes() == b"two"
    assert left(tmp_path) == ["blob"]


async def test_a_directory_that_does_not_exist_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file") as caught:
        await store(tmp_path / "missing" / "blob", b"")
    assert caught.value.errno == errno.ENOENT


async def test_a_directory_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="directory"):
        await store(tmp_path, b"")
    assert left(tmp_path) == []


async def test_a_full_disk_is_a_storage_error_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StorageError, match="No space left") as caught:
        await store(tmp_path / "blob", b"abc")
    assert caught.value.errno == errno.ENOSPC
    assert left(tmp_path) == []
