from __future__ import annotations

import errno
import fcntl
import os
import time
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import Hasher
from ocidist._io.partial import KEEP_FROM, PartialFile, sweep_downloads
from ocidist.errors import StorageError
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LARGE = noise(KEEP_FROM)
NAME = "sha256:1234"


def left(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def place(directory: Path) -> Path:
    """Return the name under which an unfinished file lies."""
    (path,) = [path for path in directory.iterdir() if path.name.endswith(".part")]
    return path


async def leave(path: Path, data: bytes = LARGE, *, content: str = NAME) -> None:
    """Leave an unfinished file behind, as a download does whose connection fails."""
    async with PartialFile(path, content) as file:
        file.keep = True
        assert not await file.find()
        await file.begin()
        file.append(data)


async def found(path: Path, *, content: str = NAME) -> bool:
    """Return whether something is found, and make a file of it."""
    async with PartialFile(path, content) as file:
        there = await file.find()
        hasher = Hasher()
        await file.hash_into(hasher)
        await file.begin()
        file.append(b"rest")
        await file.commit()
    return there


async def test_what_was_left_is_found_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    await leave(path)
    assert left(tmp_path) == [place(tmp_path).name]
    assert place(tmp_path).stat().st_mode & 0o777 == 0o600
    assert await found(path)
    assert path.read_bytes() == LARGE + b"rest"
    assert left(tmp_path) == ["blob"]


async def test_what_was_left_is_hashed_as_it_is(tmp_path: Path) -> None:
    data = noise(40_000_000)
    await leave(tmp_path / "blob", data)
    async with PartialFile(tmp_path / "blob", NAME) as file:
        assert await file.find()
        hasher = Hasher()
        await file.hash_into(hasher)
    seen = Hasher()
    seen.update(data)
    assert (hasher.digest(), hasher.size) == (seen.digest(), len(data))


@pytest.mark.parametrize("other", [("blob", "sha256:5678"), ("blob2", NAME)], ids=["content", "target"])
async def test_what_was_left_is_for_one_content_and_one_target_only(tmp_path: Path, other: tuple[str, str]) -> None:
    await leave(tmp_path / "blob")
    name, content = other
    assert not await found(tmp_path / name, content=content)
    assert left(tmp_path) == sorted([name, place(tmp_path).name])


async def test_little_is_not_kept(tmp_path: Path) -> None:
    await leave(tmp_path / "blob", LARGE[:-1])
    assert left(tmp_path) == []


async def test_only_who_asks_for_it_leaves_something(tmp_path: Path) -> None:
    async with PartialFile(tmp_path / "blob", NAME, lasting=False) as file:
        file.keep = True
        assert not await file.find()
        await file.begin()
        file.append(LARGE)
    assert left(tmp_path) == []


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
async def test_a_file_gets_its_mode_when_it_gets_its_name(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        await leave(tmp_path / "blob")
        await found(tmp_path / "blob")
    finally:
        os.umask(before)
    assert (tmp_path / "blob").stat().st_mode & 0o777 == 0o666 & ~umask
    assert left(tmp_path) == ["blob"]


def link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def hard_link(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def fifo(path: Path, _victim: Path) -> None:
    os.mkfifo(path)


def directory(path: Path, _victim: Path) -> None:
    path.mkdir()


def open_to_all(path: Path, _victim: Path) -> None:
    path.write_bytes(LARGE)
    path.chmod(0o666)


def dangling(path: Path, _victim: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("plant", [link, hard_link, fifo, directory, open_to_all, dangling])
@pytest.mark.parametrize("look", [True, False], ids=["found", "begun"])
async def test_what_somebody_planted_is_left_alone(
    tmp_path: Path, plant: Callable[[Path, Path], None], *, look: bool
) -> None:
    path, victim = tmp_path / "blob", tmp_path / "victim"
    victim.write_bytes(LARGE)
    await leave(path)
    planted = place(tmp_path)
    planted.unlink()
    plant(planted, victim)
    before = planted.lstat()
    with anyio.fail_after(10):
        async with PartialFile(path, NAME) as file:
            file.keep = True
            assert not (look and await file.find())
            await file.begin()
            file.append(b"mine")
            await file.commit()
    assert path.read_bytes() == b"mine"
    assert victim.read_bytes() == LARGE
    assert (planted.lstat().st_ino, planted.lstat().st_size) == (before.st_ino, before.st_size)
    assert left(tmp_path) == sorted([planted.name, "blob", "victim"])


async def test_two_that_write_the_same_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    async with PartialFile(path, NAME) as one, PartialFile(path, NAME) as two:
        for file in (one, two):
            file.keep = True
            await file.find()
            await file.begin()
        one.append(b"one")
        two.append(LARGE)
        await one.commit()
        assert path.read_bytes() == b"one"
    # The second one's is private, and of no use to anybody.
    assert left(tmp_path) == ["blob"]


async def test_what_another_process_works_on_is_not_taken(tmp_path: Path) -> None:
    await leave(tmp_path / "blob")
    with place(tmp_path).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert not await found(tmp_path / "blob")
    assert len(left(tmp_path)) == 2


async def test_a_file_that_begins_where_something_was_left_begins_empty(tmp_path: Path) -> None:
    await leave(tmp_path / "blob")
    async with PartialFile(tmp_path / "blob", NAME) as file:
        await file.begin()
        file.append(b"new")
        await file.commit()
    assert (tmp_path / "blob").read_bytes() == b"new"
    assert left(tmp_path) == ["blob"]


async def test_an_unfinished_file_that_is_taken_away_or_exchanged_does_not_become_the_target(tmp_path: Path) -> None:
    for exchanged in (False, True):
        async with PartialFile(tmp_path / "blob", NAME) as file:
            await file.begin()
            file.append(b"mine")
            path = place(tmp_path)
            path.unlink()
            if exchanged:
                path.write_bytes(b"other")
            with pytest.raises(StorageError, match="took the unfinished file away"):
                await file.commit()
    # What is not ours is not removed either.
    assert left(tmp_path) == [path.name]


async def test_a_directory_is_no_target_whatever_was_left(tmp_path: Path) -> None:
    await leave(tmp_path / "blob")
    (tmp_path / "blob").mkdir()
    async with PartialFile(tmp_path / "blob", NAME) as file:
        with pytest.raises(StorageError, match="directory"):
            await file.find()
        with pytest.raises(StorageError, match="directory"):
            await file.begin()


async def test_a_link_that_is_the_target_is_replaced_and_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"other")
    (tmp_path / "blob").symlink_to(other)
    assert not await found(tmp_path / "blob")
    assert not (tmp_path / "blob").is_symlink()
    assert other.read_bytes() == b"other"


async def test_a_directory_that_does_not_exist_is_a_storage_error(tmp_path: Path) -> None:
    async with PartialFile(tmp_path / "missing" / "blob", NAME) as file:
        assert not await file.find()
        with pytest.raises(StorageError) as caught:
            await file.begin()
    assert caught.value.errno == errno.ENOENT


async def test_sweeping_removes_what_is_old_and_nobody_works_on(tmp_path: Path) -> None:
    for name in ("old", "young", "busy"):
        await leave(tmp_path / name, content=name)
    paths = {name: PartialFile(tmp_path / name, name)._lasting_part for name in ("old", "young", "busy")}
    (tmp_path / ".ocidist-0123.part").write_bytes(b"not one of ours")
    (tmp_path / "blob").write_bytes(b"finished")
    stray = tmp_path / ".ocidist-0123456789abcdef.part"
    stray.write_bytes(b"what a kill leaves of a private file")
    (tmp_path / f".ocidist-{'a' * 32}.part").symlink_to(tmp_path / "blob")
    long_ago = time.time() - 100_000
    for path in (paths["old"], paths["busy"], stray, tmp_path / "blob", tmp_path / ".ocidist-0123.part"):
        os.utime(path, (long_ago, long_ago))
    before = set(left(tmp_path))
    async with PartialFile(tmp_path / "busy", "busy") as busy:
        busy.keep = True
        assert await busy.find()
        assert set(await sweep_downloads(tmp_path, older_than=50_000)) == {paths["old"], stray}
    assert before - set(left(tmp_path)) == {paths["old"].name, stray.name}
