from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import Digest, StorageError, UsageError
from ocidist.transfer import checkpoint
from ocidist.transfer.checkpoint import Checkpoint

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = Digest.of(b"rules")
KEYS = [f"{Digest.of(b'image')}@registry.acme.io/app:v{number}" for number in range(3)]


async def noted(path: Path) -> list[str]:
    async with Checkpoint(path, CONFIG) as found:
        return [key for key in KEYS if key in found]


async def test_what_is_done_is_there_the_next_time(tmp_path: Path) -> None:
    file = tmp_path / "done"
    async with Checkpoint(file, CONFIG) as first:
        assert KEYS[0] not in first
        await first.add(KEYS[0])
        await first.add(KEYS[0])
        assert KEYS[0] in first
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().count(KEYS[0]) == 1
    assert await noted(file) == KEYS[:1]


async def test_half_a_line_counts_for_nothing_and_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "done"
    async with Checkpoint(file, CONFIG) as first:
        await first.add(KEYS[0])
        await first.add(KEYS[1])
    whole = file.read_bytes()
    for cut in range(0, len(whole), 7):
        file.write_bytes(whole[:cut])
        async with Checkpoint(file, CONFIG) as again:
            assert [key in again for key in KEYS[:2]] == [f"{key}\n".encode() in whole[:cut] for key in KEYS[:2]]
            await again.add(KEYS[2])
        assert KEYS[2] in await noted(file)


async def test_the_checkpoint_of_another_mirror_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "done"
    async with Checkpoint(file, CONFIG) as first:
        await first.add(KEYS[0])
    with pytest.raises(UsageError, match="another mirror"):
        async with Checkpoint(file, Digest.of(b"other rules")):
            pass
    assert await noted(file) == KEYS[:1]
    file.write_text(file.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(UsageError, match="another version"):
        await noted(file)


@pytest.mark.parametrize("text", ["hello", "hello\n", "{}\n", "[1]\n", "\0" * 10_000, '{"kind": "x"}\n' + "x" * 20_000])
async def test_what_is_no_checkpoint_stays_as_it_is(tmp_path: Path, text: str) -> None:
    file = tmp_path / "precious"
    file.write_text(text)
    with pytest.raises(UsageError, match="not a checkpoint"):
        await noted(file)
    assert file.read_text() == text


async def test_one_process_uses_it_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "done"
    async with Checkpoint(file, CONFIG):
        with pytest.raises(UsageError, match="another process"):
            await noted(file)
    assert await noted(file) == []


async def test_places_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot use the checkpoint"):
        await noted(tmp_path / "no" / "where")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="not a regular file"):
        await noted(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(StorageError, match="link"):
        await noted(tmp_path / "link")
    assert not (tmp_path / "target").exists()


async def test_it_is_removed_on_demand(tmp_path: Path) -> None:
    file = tmp_path / "done"
    async with Checkpoint(file, CONFIG) as first:
        await first.remove()
    assert not file.exists()
    with pytest.raises(UsageError, match="async with"):
        await first.add(KEYS[0])


async def test_where_no_file_can_be_removed_it_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "read-only directory")

    file = tmp_path / "done"
    async with Checkpoint(file, CONFIG) as first:
        await first.add(KEYS[0])
        monkeypatch.setattr(type(file), "unlink", refuse)
        await first.remove()
    assert file.read_bytes() == b""
    monkeypatch.undo()
    assert await noted(file) == []


async def test_who_opens_it_while_it_is_removed_gets_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "done"
    real = Checkpoint._lock
    opened: list[int] = []

    def late(self: Checkpoint, held: int) -> None:
        # Whoever had it comes to its end between opening and locking it.
        if not opened:
            file.unlink()
        opened.append(held)
        real(self, held)

    monkeypatch.setattr(checkpoint.Checkpoint, "_lock", late)
    async with Checkpoint(file, CONFIG) as second:
        await second.add(KEYS[1])
    assert len(opened) == 2
    assert await noted(file) == [KEYS[1]]


async def test_cancelling_a_note_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, begun = threading.Event(), threading.Event()
    real = Checkpoint._append

    def slow(self: Checkpoint, data: bytes) -> None:
        begun.set()
        assert go.wait(10)
        real(self, data)

    file = tmp_path / "done"
    async with Checkpoint(file, CONFIG):
        pass
    monkeypatch.setattr(checkpoint.Checkpoint, "_append", slow)
    with anyio.move_on_after(0.05):
        async with Checkpoint(file, CONFIG) as held, anyio.create_task_group() as group:
            group.start_soon(held.add, KEYS[0])
            await anyio.to_thread.run_sync(begun.wait, 10)
            # The thread cannot be cancelled, and is waited for.
            threading.Timer(0.1, go.set).start()
            await anyio.sleep(10)
    monkeypatch.undo()
    assert await noted(file) in ([], KEYS[:1])
