"""Giving up while a registry opens an upload session: none is left behind, and nobody waits long for that."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from ocidist import HostConfig, HostLimits, OnExit
from ocidist.remote import _opening
from tests.faults.cancelling import BLOB, DIGEST, WAYS, quiet
from tests.faults.dialling import left_open, open_files
from tests.faults.uploads import hold
from tests.http.support import NAME, ONCE, until
from tests.peers.answers import respond
from tests.remote.support import client_for

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from ocidist import Client, Repository
    from tests.conftest import StartWireServer
    from tests.faults.uploads import Step, UploadRegistry
    from tests.peers.wire_server import Connection, Request, WireServer


async def push(repository: Repository, _directory: Path) -> None:
    await repository.blobs.push(BLOB, check_exists=False)


async def push_with_journal(repository: Repository, directory: Path) -> None:
    source = directory / "source"
    await anyio.Path(source).write_bytes(BLOB)
    await repository.blobs.push(source, check_exists=False, journal=directory / "journal")


async def single_post(repository: Repository, _directory: Path) -> None:
    await repository.blobs.push(BLOB, check_exists=False, single_post=True)


async def single_post_of_a_file(repository: Repository, directory: Path) -> None:
    source = directory / "source"
    await anyio.Path(source).write_bytes(BLOB)
    await repository.blobs.push(source, check_exists=False, single_post=True)


async def mount(repository: Repository, _directory: Path) -> None:
    await repository.blobs.mount(DIGEST, source="acme/other")


async def push_by_mount(repository: Repository, _directory: Path) -> None:
    await repository.blobs.push(BLOB, check_exists=False, mount_from=["acme/other"])


async def writer(repository: Repository, _directory: Path) -> None:
    async with repository.blobs.writer(on_exit=OnExit.KEEP) as opened:
        await opened.write(BLOB)


OPENING = [push, push_with_journal, single_post, single_post_of_a_file, mount, push_by_mount, writer]


def open_client(server: WireServer) -> Client:
    hosts = {server.host: HostConfig(scheme="http")}
    return client_for(server, hosts=hosts, limits=HostLimits(concurrency=1), retry=ONCE)


def late(opened: threading.Event, answer: threading.Event) -> Step:
    """Open a session, and say so later."""

    def step(uploads: UploadRegistry, request: Request, connection: Connection) -> None:
        request.read()
        uploads.single_post = False
        status, headers = uploads.apply(request)
        opened.set()
        answer.wait(10)
        respond(status, {name: value or "" for name, value in headers.items()})(request, connection)

    return step


async def given_up_by_a_scope(work: Callable[[], Coroutine[Any, Any, object]], when: threading.Event) -> float:
    """Cancel *work* once something has happened; return how many seconds it took to end."""
    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await until(when.is_set)
        start = time.monotonic()
        group.cancel_scope.cancel()
    return time.monotonic() - start


async def given_up_by_asyncio(work: Callable[[], Coroutine[Any, Any, object]], when: threading.Event) -> float:
    task = asyncio.create_task(work())
    await until(when.is_set)
    start = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return time.monotonic() - start


@pytest.fixture(params=WAYS)
def given_up(request: pytest.FixtureRequest, anyio_backend_name: str) -> Any:  # noqa: ANN401 -- one of the two above
    """Each way of cancelling that the event loop knows."""
    if request.param == "by a scope":
        return given_up_by_a_scope
    if anyio_backend_name != "asyncio":
        pytest.skip("trio has scopes only")
    return given_up_by_asyncio


@pytest.mark.parametrize("way", OPENING)
async def test_l11_a_session_whose_answer_was_on_its_way_is_ended_too(
    start_wire_server: StartWireServer,
    registry: UploadRegistry,
    given_up: Any,  # noqa: ANN401 -- one of the two above
    way: Callable[[Repository, Path], Coroutine[Any, Any, None]],
    tmp_path: Path,
) -> None:
    opened, answer = threading.Event(), threading.Event()
    registry.script("POST", late(opened, answer))
    server = start_wire_server(registry)
    before = open_files()
    async with open_client(server) as client:
        repository = client.repository(f"{server.host}/{NAME}")
        # A moment after the caller has given up, the answer comes.
        timer = threading.Timer(0.3, answer.set)
        timer.start()
        await given_up(lambda: way(repository, tmp_path), opened)
        timer.join()
        assert registry.open == {}
        assert registry.cancelled == 1
        assert registry.blobs == {}
        await quiet(server, client)
    gc.collect()
    assert await left_open(before) == []


async def test_f196_an_answer_that_never_comes_is_waited_for_a_moment_only(
    start_wire_server: StartWireServer,
    registry: UploadRegistry,
    given_up: Any,  # noqa: ANN401 -- one of the two above
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(_opening, "GRACE_S", 0.2)
    reached = threading.Event()
    registry.script("POST", hold(reached))
    server = start_wire_server(registry)
    async with open_client(server) as client:
        repository = client.repository(f"{server.host}/{NAME}")
        took = await given_up(lambda: push(repository, tmp_path), reached)
        assert 0.2 <= took < 10
        # The place is free again.
        with anyio.fail_after(20):
            await push(repository, tmp_path)


async def test_f196_a_session_that_cannot_be_ended_is_left_after_a_moment(
    start_wire_server: StartWireServer,
    registry: UploadRegistry,
    given_up: Any,  # noqa: ANN401 -- one of the two above
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(_opening, "GRACE_S", 0.2)
    opened, answer = threading.Event(), threading.Event()
    registry.script("POST", late(opened, answer))
    registry.script("DELETE", hold(threading.Event()))
    server = start_wire_server(registry)
    async with open_client(server) as client:
        repository = client.repository(f"{server.host}/{NAME}")
        timer = threading.Timer(0.05, answer.set)
        timer.start()
        took = await given_up(lambda: push(repository, tmp_path), opened)
        timer.join()
        assert took < 10
        assert len(registry.of("DELETE")) == 1


async def test_l11_whoever_has_not_sent_anything_yet_is_let_go_at_once(
    start_wire_server: StartWireServer, registry: UploadRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """There is one place, and it is taken."""
    monkeypatch.setattr(_opening, "GRACE_S", 20.0)
    reached = threading.Event()
    registry.script("HEAD", hold(reached))
    server = start_wire_server(registry)
    async with open_client(server) as client, anyio.create_task_group() as group:
        repository = client.repository(f"{server.host}/{NAME}")
        group.start_soon(repository.blobs.stat, DIGEST)
        await until(reached.is_set)
        with anyio.fail_after(10), anyio.move_on_after(0.05) as scope:
            await push(repository, tmp_path)
        assert scope.cancelled_caught
        assert registry.of("POST") == []
        group.cancel_scope.cancel()


@pytest.mark.parametrize("way", [push, mount, writer])
async def test_l11_no_session_is_left_whenever_it_is_cancelled(
    start_wire_server: StartWireServer,
    registry: UploadRegistry,
    way: Callable[[Repository, Path], Coroutine[Any, Any, None]],
    tmp_path: Path,
) -> None:
    """With ``KEEP`` a writer that was opened stays; but for that there is none."""
    server = start_wire_server(registry)
    caught = 0
    async with open_client(server) as client:
        repository = client.repository(f"{server.host}/{NAME}")
        for turns in range(40):
            registry.open.clear()
            inside = False

            async def work() -> None:
                nonlocal inside
                if way is not writer:
                    await way(repository, tmp_path)
                    return
                async with repository.blobs.writer(on_exit=OnExit.KEEP):
                    inside = True

            async with anyio.create_task_group() as group:
                with anyio.CancelScope() as scope:
                    group.start_soon(_cancel_after, turns, scope)
                    await work()
                group.cancel_scope.cancel()
            caught += scope.cancelled_caught
            await quiet(server, client)
            if not inside and (way is not mount or scope.cancelled_caught):
                assert registry.open == {}, turns
            with anyio.fail_after(20):
                await push(repository, tmp_path)
            registry.blobs.clear()
    assert caught > 2


async def _cancel_after(turns: int, scope: anyio.CancelScope) -> None:
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()
    scope.cancel()
