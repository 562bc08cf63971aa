from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import StorageError, UsageError
from ocidist._io.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path

WRITER = """
import sys
from pathlib import Path
import anyio
from ocidist._io.journal import Journal

async def main() -> None:
    async with Journal(Path(sys.argv[1])) as journal:
        number = 0
        while True:
            number += 1
            await journal.save(str(number) * 500)
            print(number, flush=True)

anyio.run(main)
"""


def entries(path: Path) -> list[Path]:
    return list(path.iterdir())


async def test_a_journal_keeps_what_was_saved_last(tmp_path: Path) -> None:
    path = tmp_path / "push.journal"
    async with Journal(path) as journal:
        assert journal.text == ""
        await journal.save("one")
        await journal.save("two")
    assert path.read_text() == "two"
    async with Journal(path) as journal:
        assert journal.text == "two"
        await journal.remove()
    assert entries(tmp_path) == []


async def test_a_journal_that_nothing_was_saved_in_leaves_nothing(tmp_path: Path) -> None:
    async with Journal(tmp_path / "journal"):
        pass
    assert entries(tmp_path) == []


async def test_a_journal_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    before = os.umask(0)
    try:
        async with Journal(path) as journal:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            await journal.save("x")
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


async def test_two_cannot_have_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with Journal(path) as journal:
        for text in ("", "saved"):
            if text:
                await journal.save(text)
            with pytest.raises(UsageError, match="another process uses the journal"):
                async with Journal(path):
                    pass
            assert path.read_text() == text
    async with Journal(path) as journal:
        assert journal.text == "saved"


@pytest.mark.parametrize("kind", ["directory", "fifo", "symlink", "missing directory"])
async def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "journal"
    target = tmp_path / "precious"
    target.write_text("precious")
    match kind:
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "symlink":
            path.symlink_to(target)
        case _:
            path = tmp_path / "missing" / "journal"
    with anyio.fail_after(5), pytest.raises((UsageError, StorageError)) as caught:
        async with Journal(path):
            pass
    assert str(path) in str(caught.value)
    assert target.read_text() == "precious"


async def test_f207_a_disk_that_is_full_leaves_the_old_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal"

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    async with Journal(path) as journal:
        await journal.save("old")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(StorageError, match="No space left") as caught:
                await journal.save("new")
        assert caught.value.errno == 28
        assert path.read_text() == "old"
        await journal.save("newer")
    assert path.read_text() == "newer"
    assert entries(tmp_path) == [path]


async def test_f207_a_journal_whose_writer_was_killed_is_whole_and_its_leftovers_go(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    for delay in (0.0, 0.003, 0.01, 0.02, 0.05):
        process = subprocess.Popen(  # noqa: ASYNC220 -- it is ended a moment later
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)  # noqa: ASYNC251 -- nothing else runs
        process.send_signal(signal.SIGKILL)
        said = process.communicate()[0].split()
        async with Journal(path) as journal:
            number = journal.text[: len(journal.text) // 500]
            assert journal.text == number * 500
            assert int(number) >= int(said[-1] if said else 1)
        assert entries(tmp_path) == [path]
        path.unlink()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_t71_a_cancelled_save_leaves_the_old_text_or_the_new_one(tmp_path: Path) -> None:
    import asyncio

    path = tmp_path / "journal"
    for number in range(30):

        async def work(text: str) -> None:
            async with Journal(path) as journal:
                await journal.save(text)

        before = path.read_text() if path.exists() else ""
        task = asyncio.ensure_future(work(f"text {number}"))
        await asyncio.sleep(number / 10_000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.02)
        assert (path.read_text() if path.exists() else "") in {before, f"text {number}", ""}
    async with Journal(path):
        pass
    assert [entry for entry in entries(tmp_path) if entry.name.endswith(".part")] == []
