"""Cancellations that others could feel: of one among many, of a cleanup, and of one that takes too long."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from ocidist import Descriptor, Digest, HostConfig, HostLimits, OnExit, Repository, Timeouts
from tests.faults.cancelling import cancelled_by_asyncio
from tests.faults.dialling import left_open, open_files
from tests.faults.uploads import hold
from tests.http.support import NAME, ONCE, SOME_TAGS, TAGS, alice_at, challenge, gate, guarded, list_tags, until
from tests.peers.answers import head, respond
from tests.peers.images import noise
from tests.remote.support import client_for, repository_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.conftest import StartWireServer
    from tests.faults.uploads import UploadRegistry
    from tests.peers.tls import Authority
    from tests.peers.token_server import TokenServer
    from tests.peers.wire_server import Connection, Request, WireServer

BLOB = noise(700_000)
DIGEST = Digest.of(BLOB)
KNOWN = Descriptor.of(BLOB)
BLOB_PATH = f"/v2/{NAME}/blobs/{DIGEST}"
MANY = 100


async def pieces() -> AsyncIterator[bytes]:
    """Yield the blob piece by piece."""
    for start in range(0, len(BLOB), 100_000):
        yield BLOB[start : start + 100_000]


def names_in(directory: Path, pattern: str) -> list[str]:
    """Return the names of the files in a directory that match."""
    return [path.name for path in directory.glob(pattern)]


# --- T70: a cleanup that is cancelled itself -------------------------------------------------------------------------


async def _write(repository: Repository, _directory: Path) -> None:
    async with repository.blobs.writer(chunk_size=300_000, on_exit=OnExit.CANCEL) as writer:
        await writer.write(BLOB)
        await writer.commit(DIGEST)


TWICE: dict[str, Callable[[Repository, Path], Awaitable[object]]] = {
    "download": lambda repository, directory: repository.blobs.download(DIGEST, directory / "blob"),
    "get": lambda repository, _directory: repository.blobs.get(DIGEST),
    "push a file": lambda repository, directory: repository.blobs.push(directory / "source", check_exists=False),
    "push a stream": lambda repository, _directory: repository.blobs.push(pieces, chunk_size=300_000),
    "write": _write,
}


@pytest.mark.parametrize("anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("operation", TWICE)
async def test_t70_a_cleanup_that_is_cancelled_too_keeps_no_connection_and_no_place(
    wire_server: WireServer, registry: UploadRegistry, tmp_path: Path, operation: str
) -> None:
    # asyncio's own cancellations go through the shields of anyio.
    wire_server.on("GET", BLOB_PATH, respond(200, {}, BLOB))
    (tmp_path / "source").write_bytes(BLOB)
    before = open_files()
    nth, reached = 0, True
    stranded: list[tuple[int, str]] = []
    async with repository_on(wire_server, limits=HostLimits(concurrency=1), retry=ONCE) as repository:

        async def work() -> None:
            await TWICE[operation](repository, tmp_path)

        while reached:
            nth += 1
            with anyio.fail_after(30):
                reached = (await cancelled_by_asyncio(work, nth, times=3)).reached
            # A file that was half written is removed by a thread, a moment later.
            with anyio.move_on_after(2):
                await until(lambda: not names_in(tmp_path, ".ocidist-*"))
            stranded += [(nth, name) for name in names_in(tmp_path, ".ocidist-*")]
            for _, name in stranded:
                (tmp_path / name).unlink(missing_ok=True)
        with anyio.fail_after(30):
            await work()
    assert nth > 2
    assert stranded == []
    gc.collect()
    assert await left_open(before) == []
    assert registry.blobs.get(DIGEST, BLOB) == BLOB


@pytest.mark.parametrize("anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("secure", [True, False], ids=["https", "http"])
async def test_t70_a_file_that_a_thread_just_opened_is_closed_though_nobody_waits_for_it(
    start_wire_server: StartWireServer,
    authority: Authority,
    registry: UploadRegistry,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    nth: int,
    described: bool,
    secure: bool,
) -> None:
    server = start_wire_server(registry, tls=authority if secure else None)
    path = tmp_path / "source"
    path.write_bytes(BLOB)
    before = open_files()
    opened, go_on = threading.Event(), threading.Event()
    count, real = 0, Path.open

    def slow(self: Path, *args: Any, **options: Any) -> Any:  # noqa: ANN401 -- pathlib's own
        nonlocal count
        file = real(self, *args, **options)
        if self == path:
            count += 1
            if count == nth:
                opened.set()
                go_on.wait(30)
        return file

    monkeypatch.setattr(Path, "open", slow)
    config = HostConfig(scheme="https" if secure else "http", ca=authority.ca_path if secure else None)
    async with client_for(server, hosts={server.host: config}, retry=ONCE) as client:
        blobs = client.repository(f"{server.host}/{NAME}").blobs
        task = asyncio.ensure_future(blobs.push(path, KNOWN if described else None, check_exists=False))
        await until(lambda: opened.is_set() or task.done())
        task.cancel()
        # asyncio does not wait for the thread.
        await asyncio.wait([task], timeout=0.1)
        go_on.set()
        await asyncio.wait([task])
        assert task.cancelled() or count < nth
    gc.collect()
    assert await left_open(before) == []


# --- F196: a scope that is shorter than the cleanup ------------------------------------------------------------------


@pytest.mark.parametrize("source", ["a file", "a stream", "a writer"])
async def test_f196_a_push_returns_soon_after_its_time_is_up_whatever_the_registry_does(
    wire_server: WireServer, registry: UploadRegistry, tmp_path: Path, source: str
) -> None:
    (tmp_path / "source").write_bytes(BLOB)
    # Neither the bytes nor the cancellation are ever answered.
    for method in ("PUT", "PATCH", "DELETE"):
        registry.script(method, *[hold(threading.Event())] * 9)
    before = open_files()
    timeout = Timeouts(connect=3600, read=3600, write=3600, finalize=3600, floor=None)
    async with repository_on(wire_server, timeout=timeout, retry=ONCE) as repository:
        work: dict[str, Callable[[], Awaitable[object]]] = {
            "a file": lambda: repository.blobs.push(tmp_path / "source", KNOWN, check_exists=False),
            "a stream": lambda: repository.blobs.push(pieces, chunk_size=300_000),
            "a writer": lambda: _write(repository, tmp_path),
        }
        started = time.monotonic()
        with anyio.fail_after(30), anyio.move_on_after(0.3) as scope:
            await work[source]()
        took = time.monotonic() - started
    assert scope.cancelled_caught
    assert len(registry.of("DELETE")) == 1
    # Two seconds are what a cleanup may take; the rest is for a machine that has other things to do.
    assert took < 0.3 + 2 + 10
    assert await left_open(before) == []


async def test_f196_leaving_is_cut_short_only_where_something_is_waited_for(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("PUT", hold(threading.Event()))
    async with repository_on(wire_server, retry=ONCE) as repository:
        with anyio.fail_after(30), anyio.move_on_after(0.3) as scope:
            await repository.blobs.push(BLOB, check_exists=False)
    assert scope.cancelled_caught
    # A registry that answers has its session ended although the time was up.
    assert registry.open == {}
    assert registry.cancelled == 1


# --- F197: one of a hundred ------------------------------------------------------------------------------------------


class Crowd:
    """A hundred tasks that do the same, one of which is cancelled.

    Args:
        victim: Which one.
        natively: Whether asyncio cancels it, and not a scope.
    """

    def __init__(self, victim: int, *, natively: bool) -> None:
        self._victim = victim
        self._natively = natively
        self._cancel: Callable[[], object] | None = None
        self.found: list[object] = []
        self.cancelled = 0

    async def run(
        self, work: Callable[[], Awaitable[object]], ready: Callable[[], bool], then: Callable[[], object]
    ) -> None:
        """Let all of them begin, wait until they are *ready*, cancel the one, do something, and wait for the others."""
        async with anyio.create_task_group() as group:
            for number in range(MANY):
                group.start_soon(self._one, number, work)
            await until(ready)
            await anyio.wait_all_tasks_blocked()
            assert self._cancel is not None
            self._cancel()
            await anyio.wait_all_tasks_blocked()
            then()

    async def _one(self, number: int, work: Callable[[], Awaitable[object]]) -> None:
        if number != self._victim:
            self.found.append(await work())
        elif self._natively:
            task = asyncio.ensure_future(work())
            self._cancel = task.cancel
            await asyncio.wait([task])
            self.cancelled += task.cancelled()
        else:
            with anyio.CancelScope() as scope:
                self._cancel = scope.cancel
                await work()
            self.cancelled += scope.cancelled_caught


@pytest.fixture(params=["by a scope", "by asyncio"])
def natively(request: pytest.FixtureRequest, anyio_backend_name: str) -> bool:
    """Say who cancels."""
    found: bool = request.param == "by asyncio"
    if found and anyio_backend_name != "asyncio":
        pytest.skip("trio has scopes only")
    return found


VICTIMS = [0, 1, 50, MANY - 1]


@pytest.mark.parametrize("victim", VICTIMS)
async def test_f197_ninety_nine_share_a_token_whoever_is_cancelled(
    wire_server: WireServer, token_server: TokenServer, victim: int, *, natively: bool
) -> None:
    wire_server.on("GET", TAGS, guarded(token_server.realm, SOME_TAGS))
    crowd = Crowd(victim, natively=natively)
    before = open_files()
    token_server._open.clear()
    async with alice_at(wire_server, token_server, retry=ONCE) as client:
        with anyio.fail_after(40):
            await crowd.run(
                partial(list_tags, client, wire_server),
                ready=lambda: len(token_server.wire.requests) >= 1,
                then=token_server._open.set,
            )
    assert crowd.found == [["v1"]] * (MANY - 1)
    assert crowd.cancelled == 1
    # Where it was the one that asked, another one asked instead.
    assert len(token_server.wire.requests) <= 2
    assert await left_open(before) == []


@pytest.mark.parametrize("victim", VICTIMS)
async def test_f197_ninety_nine_have_their_token_refreshed_whoever_is_cancelled(
    wire_server: WireServer, token_server: TokenServer, victim: int, *, natively: bool
) -> None:
    token = ["nobody's"]

    def tags(request: Request, connection: Connection) -> None:
        # A token that worked is refused from some moment on.
        current = request.header("Authorization") != f"Bearer {token[0]}"
        then = SOME_TAGS if current else respond(401, challenge(token_server.realm, f"repository:{NAME}:pull"))
        (guarded(token_server.realm, then) if request.header("Authorization") else then_asked)(request, connection)

    then_asked = guarded(token_server.realm, SOME_TAGS)
    wire_server.on("GET", TAGS, tags)
    crowd = Crowd(victim, natively=natively)
    async with alice_at(wire_server, token_server, retry=ONCE) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        token[0] = str(wire_server.requests[-1].header("Authorization")).removeprefix("Bearer ")
        token_server._open.clear()
        with anyio.fail_after(40):
            await crowd.run(
                partial(list_tags, client, wire_server),
                ready=lambda: len(token_server.wire.requests) >= 2,
                then=token_server._open.set,
            )
    assert crowd.found == [["v1"]] * (MANY - 1)
    assert crowd.cancelled == 1
    assert len(token_server.wire.requests) <= 3


@pytest.mark.parametrize("victim", VICTIMS)
async def test_f197_ninety_nine_read_the_blob_that_one_gave_up(
    wire_server: WireServer, victim: int, *, natively: bool
) -> None:
    middle = threading.Event()

    def halting(request: Request, connection: Connection) -> None:
        connection.send(head(200, {"Content-Length": str(len(BLOB))}) + BLOB[:1000])
        middle.wait(30)
        connection.send(BLOB[1000:])

    wire_server.on("GET", TAGS, SOME_TAGS)
    route = wire_server.on("GET", BLOB_PATH, halting)
    crowd = Crowd(victim, natively=natively)
    before = open_files()
    async with client_for(wire_server, limits=HostLimits(concurrency=MANY), retry=ONCE) as client:
        await list_tags(client, wire_server)
        blobs = client.repository(f"{wire_server.host}/{NAME}").blobs
        with anyio.fail_after(40):
            await crowd.run(partial(blobs.get, DIGEST), ready=lambda: len(route.requests) == MANY, then=middle.set)
    assert crowd.found == [BLOB] * (MANY - 1)
    assert crowd.cancelled == 1
    assert await left_open(before) == []


@pytest.mark.parametrize("victim", VICTIMS)
async def test_f197_ninety_nine_find_out_the_scheme_whoever_is_cancelled(
    wire_server: WireServer, victim: int, *, natively: bool
) -> None:
    wire_server.on("GET", TAGS, SOME_TAGS)
    crowd = Crowd(victim, natively=natively)
    with gate(respond(200)) as (slow, event):
        route = wire_server.on("GET", "/v2/", slow)
        async with client_for(wire_server, hosts={}, retry=ONCE) as client:
            with anyio.fail_after(40):
                await crowd.run(
                    partial(list_tags, client, wire_server),
                    ready=lambda: len(route.requests) >= 1,
                    then=event.set,
                )
    assert crowd.found == [["v1"]] * (MANY - 1)
    assert crowd.cancelled == 1
    assert len(route.requests) <= 2
