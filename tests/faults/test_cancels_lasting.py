"""What outlives an operation that is cancelled: journals, sessions that are kept, files that are gone on with."""

from __future__ import annotations

import gc
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from ocidist import Descriptor, HostConfig, HostLimits, OnExit, UploadState
from ocidist._io import partial as partial_files
from ocidist.remote import _parts
from tests.faults.cancelling import (
    BLOB,
    DIGEST,
    KNOWN,
    PULLED,
    WAYS,
    Whole,
    count_connections,
    names_in,
    quiet,
)
from tests.faults.dialling import left_open, open_files
from tests.http.support import NAME, ONCE, until
from tests.remote.support import client_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from ocidist import Client, Repository
    from tests.conftest import StartWireServer
    from tests.faults.cancelling import Cancelling
    from tests.faults.uploads import UploadRegistry
    from tests.peers.wire_server import WireServer

CHUNK = 200_000
WANTED = Descriptor.of(PULLED)
MOST = 400
STEP = 100_000
WORTH_IT = 50_000


class StopError(Exception):
    """Raised where a test wants an operation to stop by itself."""


def stop_at(limit: int) -> Callable[[int, int | None], None]:
    """Return a progress callback that fails once so many bytes are there."""

    def progress(done: int, _size: int | None) -> None:
        if done >= limit:
            raise StopError

    return progress


@pytest.fixture(params=WAYS)
def cancelled(request: pytest.FixtureRequest, anyio_backend_name: str) -> Cancelling:
    """Each way of cancelling that the event loop knows."""
    if request.param == "by asyncio" and anyio_backend_name != "asyncio":
        pytest.skip("trio has scopes only")
    return WAYS[request.param]


@pytest.fixture(autouse=True)
def _count_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    count_connections(monkeypatch)


@pytest.fixture(autouse=True)
def _small_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parts, "MIN_PART", STEP)
    monkeypatch.setattr(partial_files, "KEEP_FROM", WORTH_IT)
    monkeypatch.setattr("ocidist.remote.download.KEEP_FROM", WORTH_IT)


@pytest.fixture
def server(start_wire_server: StartWireServer, registry: UploadRegistry) -> WireServer:
    """A registry whose sessions can be gone on with although the answer to the last chunk was lost."""
    registry.moves = False
    return start_wire_server(Whole(registry))


def open_client(server: WireServer, concurrency: int = 1) -> Client:
    """Return a client with so few places that one which is not given back stops everything after it."""
    hosts = {server.host: HostConfig(scheme="http")}
    return client_for(server, hosts=hosts, limits=HostLimits(concurrency=concurrency), retry=ONCE)


# --- journals --------------------------------------------------------------------------------------------------------


class Journalled:
    """Pushes with a journal, and what has to be true of the journal after each of them."""

    def __init__(self, repository: Repository, registry: UploadRegistry, directory: Path) -> None:
        self.repository = repository
        self.registry = registry
        self.source = directory / "source"
        self.journal = directory / "journal"
        self.source.write_bytes(BLOB)

    async def push(self, **options: Any) -> None:  # noqa: ANN401 -- the push's own
        """Push, or go on with it."""
        await self.repository.blobs.push(self.source, KNOWN, chunk_size=CHUNK, journal=self.journal, **options)

    async def interrupted(self) -> None:
        """Leave a journal of a push of which some is there."""
        with pytest.raises(StopError):
            await self.push(progress=stop_at(2 * CHUNK))

    def check(self) -> None:
        """Check that the journal and the registry agree."""
        if not self.journal.exists() or not self.journal.read_text():
            # Nobody could go on with what nobody wrote down.
            assert self.registry.open == {}
            return
        if DIGEST in self.registry.blobs:
            # It was just not removed yet.
            assert self.registry.open == {}
            return
        state = UploadState.from_json(json.loads(self.journal.read_text())["ocidist-journal"]["state"])
        if not self.registry.open:
            # asyncio's own cancellation does not wait for the thread that writes the journal: it may write where a
            # session was that is ended meanwhile. Whoever goes on begins a new one.
            assert state.offset == 0
            return
        (session,) = self.registry.open.values()
        # What was written down is there. More may be: the answer was lost.
        assert 0 <= state.offset <= len(session.data)
        assert BLOB.startswith(bytes(session.data))

    def begin_anew(self) -> None:
        """Forget everything."""
        self.registry.blobs.clear()
        self.registry.open.clear()
        self.journal.unlink(missing_ok=True)


@pytest.mark.in_turn
@pytest.mark.parametrize("resumed", [False, True], ids=["begun", "gone on with"])
async def test_f195_a_push_with_a_journal_may_be_cancelled_anywhere_and_gone_on_with(
    server: WireServer, registry: UploadRegistry, cancelled: Cancelling, tmp_path: Path, *, resumed: bool
) -> None:
    before = open_files()
    nth, kept, reached = 0, 0, True
    async with open_client(server) as client:
        pushes = Journalled(client.repository(f"{server.host}/{NAME}"), registry, tmp_path)
        while reached:
            nth += 1
            assert nth < MOST
            if resumed:
                await pushes.interrupted()
            with anyio.fail_after(30):
                outcome = await cancelled(pushes.push, nth)
            reached = outcome.reached
            await quiet(server, client)
            # asyncio leaves a thread to itself, which may still be writing the journal.
            await until(lambda: not [name for name in names_in(tmp_path) if name.endswith(".part")])
            kept += pushes.journal.exists() and bool(registry.open)
            pushes.check()
            # The lock is gone: whoever comes next has the journal, and the registry all bytes.
            with anyio.fail_after(30):
                await pushes.push()
            assert registry.blobs[DIGEST] == BLOB
            assert registry.open == {}
            assert names_in(tmp_path) == ["source"]
            pushes.begin_anew()
    assert nth > 10
    assert kept > 3
    gc.collect()
    assert await left_open(before) == []


@pytest.mark.parametrize("on_exit", OnExit)
async def test_f195_an_upload_that_is_resumed_may_be_cancelled_anywhere(
    server: WireServer, registry: UploadRegistry, cancelled: Cancelling, tmp_path: Path, on_exit: OnExit
) -> None:
    (tmp_path / "source").write_bytes(BLOB)
    before = open_files()
    nth, reached = 0, True
    async with open_client(server) as client:
        blobs = client.repository(f"{server.host}/{NAME}").blobs

        async def work(state: UploadState) -> None:
            async with blobs.resume(state, source=tmp_path / "source", on_exit=on_exit) as writer:
                await writer.commit(DIGEST)

        while reached:
            nth += 1
            assert nth < MOST
            async with blobs.writer(chunk_size=CHUNK) as writer:
                await writer.write(BLOB[: 2 * CHUNK])
                await writer.flush()
                state = writer.state
            with anyio.fail_after(30):
                outcome = await cancelled(partial(work, state), nth)
            reached = outcome.reached
            await quiet(server, client)
            if on_exit is OnExit.KEEP and not outcome.finished and registry.open:
                # It is still good for whoever has the state.
                with anyio.fail_after(30):
                    await work(state)
                assert registry.blobs[DIGEST] == BLOB
            elif on_exit is OnExit.CANCEL:
                # Before anything is asked of it, it is not ours yet.
                assert registry.open == {} or nth <= 2, nth
            registry.open.clear()
            registry.blobs.clear()
    assert nth > 5
    gc.collect()
    assert await left_open(before) == []


# --- files -----------------------------------------------------------------------------------------------------------


def part_in(directory: Path) -> bytes | None:
    """Return what is in the one file that is kept for the next download; None if there is none."""
    names = [name for name in names_in(directory) if name != "pulled"]
    assert len(names) <= 1
    return (directory / names[0]).read_bytes() if names else None


async def interrupted(repository: Repository, path: Path, *, connections: int, server: WireServer) -> None:
    """Leave the first bytes of a download, or some of its parts."""
    with pytest.raises(StopError):
        await repository.blobs.download(WANTED, path, progress=stop_at(3 * STEP), connections=connections)
    assert part_in(path.parent) is not None, server


@pytest.mark.parametrize("connections", [1, 3])
async def test_f195_a_download_that_goes_on_may_be_cancelled_anywhere(
    server: WireServer, cancelled: Cancelling, tmp_path: Path, connections: int
) -> None:
    path = tmp_path / "pulled"
    before = open_files()
    nth, reached = 0, True
    async with open_client(server, connections) as client:
        repository = client.repository(f"{server.host}/{NAME}")

        async def work() -> None:
            await repository.blobs.download(WANTED, path, connections=connections)

        while reached:
            nth += 1
            assert nth < MOST
            await interrupted(repository, path, connections=connections, server=server)
            found = part_in(tmp_path)
            assert found is not None
            with anyio.fail_after(30):
                outcome = await cancelled(work, nth)
            reached = outcome.reached
            await quiet(server, client)
            if not outcome.finished:
                # A thread that nobody waits for closes the file a moment later.
                await until(lambda: len(open_files() - before) <= connections + 8)
                kept = part_in(tmp_path)
                if connections == 1 and not path.exists():
                    # Of parts, only those count that are complete.
                    assert kept is not None
                    assert len(kept) >= len(found)
                    assert PULLED.startswith(kept)
            with anyio.fail_after(30):
                await work()
            assert names_in(tmp_path) == ["pulled"]
            assert path.read_bytes() == PULLED
            path.unlink()
    assert nth > 4
    gc.collect()
    assert await left_open(before) == []


async def _after_turns(work: Callable[[], Awaitable[object]], turns: int) -> bool:
    """Cancel *work*, with all of its tasks, after so many turns of the event loop; return whether that came in time."""
    async with anyio.create_task_group() as group:

        async def end() -> None:
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            scope.cancel()

        with anyio.CancelScope() as scope:
            group.start_soon(end)
            await work()
        group.cancel_scope.cancel()
    return scope.cancelled_caught


@pytest.mark.in_turn
@pytest.mark.parametrize("begun", [False, True], ids=["new", "gone on with"])
async def test_f195_the_tasks_of_a_download_in_parts_end_whenever_it_is_cancelled(
    server: WireServer, tmp_path: Path, *, begun: bool
) -> None:
    path = tmp_path / "pulled"
    before, tasks = open_files(), len(anyio.get_running_tasks())
    caught = 0
    async with open_client(server, 3) as client:
        repository = client.repository(f"{server.host}/{NAME}")

        async def work() -> None:
            await repository.blobs.download(WANTED, path, connections=3)

        for turns in [*range(40), *range(40, 400, 24)]:
            if begun:
                await interrupted(repository, path, connections=3, server=server)
            with anyio.fail_after(30):
                caught += await _after_turns(work, turns)
            assert len(anyio.get_running_tasks()) == tasks
            with anyio.fail_after(30):
                await work()
            assert names_in(tmp_path) == ["pulled"]
            assert path.read_bytes() == PULLED
            path.unlink()
    assert caught > 20
    gc.collect()
    assert await left_open(before) == []


@pytest.mark.parametrize("seen", range(1, 9, 2))
async def test_f195_a_download_in_parts_may_be_cancelled_by_what_watches_it(
    server: WireServer, cancelled: Cancelling, tmp_path: Path, seen: int
) -> None:
    path = tmp_path / "pulled"
    before, tasks = open_files(), len(anyio.get_running_tasks())
    calls: list[int] = []
    cancel: list[Callable[[], object]] = []

    def progress(done: int, _size: int | None) -> None:
        calls.append(done)
        if len(calls) == seen:
            cancel[0]()

    async with open_client(server, 3) as client:
        repository = client.repository(f"{server.host}/{NAME}")

        async def work() -> None:
            # Each way has something that is called to cancel: here another task does, in the middle of a part.
            with anyio.CancelScope() as scope:
                cancel.append(scope.cancel)
                await repository.blobs.download(WANTED, path, connections=3, progress=progress)

        with anyio.fail_after(30):
            await cancelled(work, MOST)
        assert len(calls) >= seen
        assert len(anyio.get_running_tasks()) == tasks
        with anyio.fail_after(30):
            await repository.blobs.download(WANTED, path, connections=3)
        assert names_in(tmp_path) == ["pulled"]
        assert path.read_bytes() == PULLED
    gc.collect()
    assert await left_open(before) == []
