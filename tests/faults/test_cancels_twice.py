"""Cancellations by asyncio that also hit the cleanup, of what others go on with afterwards."""

from __future__ import annotations

import fcntl
import gc
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from ocidist import Descriptor, HostLimits
from ocidist._io import partial as partial_files
from ocidist.remote import _parts
from tests.faults.cancelling import BLOB, KNOWN, PULLED, Whole, cancelled_by_asyncio, names_in
from tests.faults.dialling import left_open, open_files
from tests.http.support import ONCE, until
from tests.remote.support import repository_on

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from ocidist import Repository
    from tests.conftest import StartWireServer
    from tests.faults.uploads import UploadRegistry

CHUNK = 200_000
WANTED = Descriptor.of(PULLED)
MOST = 400


@pytest.fixture(autouse=True)
def _small_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parts, "MIN_PART", 100_000)
    monkeypatch.setattr(partial_files, "KEEP_FROM", 50_000)
    monkeypatch.setattr("ocidist.remote.download.KEEP_FROM", 50_000)


def is_locked(path: Path) -> bool:
    """Return whether somebody works on a file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def unfinished(directory: Path) -> list[Path]:
    """Return the files that somebody may go on with, or is about to put in their places."""
    return [path for path in directory.iterdir() if path.name not in {"source", "pulled"}]


async def _push(repository: Repository, directory: Path) -> None:
    journal = directory / "journal"
    await repository.blobs.push(directory / "source", KNOWN, chunk_size=CHUNK, journal=journal, check_exists=False)


async def _download(repository: Repository, directory: Path) -> None:
    await repository.blobs.download(WANTED, directory / "pulled")


async def _download_parts(repository: Repository, directory: Path) -> None:
    await repository.blobs.download(WANTED, directory / "pulled", connections=3)


@pytest.mark.parametrize("anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("operation", [_push, _download, _download_parts])
async def test_t70_what_is_kept_can_be_gone_on_with_although_the_cleanup_was_cancelled_too(
    start_wire_server: StartWireServer,
    registry: UploadRegistry,
    tmp_path: Path,
    operation: Callable[[Repository, Path], Coroutine[Any, Any, None]],
) -> None:
    registry.moves = False
    server = start_wire_server(Whole(registry))
    # asyncio's own cancellations go through the shields of anyio.
    (tmp_path / "source").write_bytes(BLOB)
    before, tasks = open_files(), len(anyio.get_running_tasks())
    nth, reached = 0, True
    async with repository_on(server, limits=HostLimits(concurrency=3), retry=ONCE) as repository:
        while reached:
            nth += 1
            assert nth < MOST
            with anyio.fail_after(30):
                outcome = await cancelled_by_asyncio(partial(operation, repository, tmp_path), nth, times=3)
            reached = outcome.reached
            # A thread that nobody waits for lets go of what it has a moment later.
            await until(lambda: not any(is_locked(path) for path in unfinished(tmp_path)))
            with anyio.fail_after(30):
                await operation(repository, tmp_path)
            assert len(anyio.get_running_tasks()) == tasks
            assert set(names_in(tmp_path)) <= {"source", "pulled"}
            (tmp_path / "pulled").unlink(missing_ok=True)
            registry.blobs.clear()
            registry.open.clear()
    assert nth > 5
    gc.collect()
    assert await left_open(before) == []
