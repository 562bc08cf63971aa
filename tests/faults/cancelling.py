"""Cancelling at every place where a task may be cancelled, each time it gives control back to its event loop.

And a registry that operations talk to which are cancelled.
"""

from __future__ import annotations

import asyncio
import select
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

from ocidist import Client, Descriptor, Digest, HostConfig, HostLimits
from ocidist.http.transport import dial
from tests.faults.blobs import BlobServer
from tests.http.support import NAME, ONCE, TAGS, until
from tests.peers import images
from tests.peers.answers import respond, respond_json
from tests.remote.support import MANIFESTS, serve_manifest

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Coroutine, Generator
    from pathlib import Path

    import pytest

    from tests.faults.uploads import UploadRegistry
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, Request, WireServer

Work: TypeAlias = "Callable[[], Coroutine[Any, Any, object]]"


class _Counted:
    """A coroutine that counts how often it waits, and calls something when it is about to for the nth time.

    ``times`` says how often in a row that is called: at the waits that follow as well.
    """

    def __init__(
        self, work: Coroutine[Any, Any, object], nth: int, then: Callable[[], object], *, times: int = 1
    ) -> None:
        self._work = work
        self._when = range(nth, nth + times)
        self._then = then
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, object]:
        answer: Any = None
        thrown: BaseException | None = None
        while True:
            try:
                waiting = self._work.send(answer) if thrown is None else self._work.throw(thrown)
            except StopIteration as stop:
                return stop.value
            answer, thrown = None, None
            self.waits += 1
            if self.waits in self._when:
                self._then()
            try:
                answer = yield waiting
            except BaseException as error:  # noqa: BLE001 -- whatever it is, it is for the coroutine
                thrown = error


class Outcome:
    """What came of an operation that was to be cancelled.

    Attributes:
        reached: Whether it waited often enough to be cancelled.
        finished: Whether it ended as if nothing had happened.
    """

    def __init__(self, *, reached: bool, finished: bool) -> None:
        self.reached = reached
        self.finished = finished


async def cancelled_by_scope(work: Work, nth: int) -> Outcome:
    """Run an operation in a scope that is cancelled when it waits for the nth time.

    Whatever else it raises is raised here.
    """
    with anyio.CancelScope() as scope:
        counted = _Counted(work(), nth, scope.cancel)
        await counted
    return Outcome(reached=counted.waits >= nth, finished=not scope.cancelled_caught)


async def cancelled_by_asyncio(work: Work, nth: int, *, times: int = 1) -> Outcome:
    """Run an operation in a task of asyncio that is cancelled when it waits for the nth time, and perhaps again."""
    counted: list[_Counted] = []

    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None
        counted.append(_Counted(work(), nth, task.cancel, times=times))
        await counted[0]

    task = asyncio.create_task(run())
    done, _ = await asyncio.wait([task])
    assert done == {task}
    if not task.cancelled():
        task.result()
    return Outcome(reached=counted[0].waits >= nth, finished=not task.cancelled())


Cancelling: TypeAlias = "Callable[[Work, int], Awaitable[Outcome]]"

WAYS: dict[str, Cancelling] = {"by a scope": cancelled_by_scope, "by asyncio": cancelled_by_asyncio}

# Several pieces, and several slices of a worker thread.
BLOB = images.noise(700_000)
DIGEST = Digest.of(BLOB)
KNOWN = Descriptor.of(BLOB)
PULLED = images.noise(900_000, "pulled")
PULLED_DIGEST = Digest.of(PULLED)
MANIFEST = images.image().manifest

_DIALLED: list[None] = []


class Whole:
    """A registry with something to pull, somewhere to push, and a list of tags on three pages."""

    def __init__(self, uploads: UploadRegistry) -> None:
        self.uploads = uploads
        self.pulled = BlobServer(PULLED)
        # Its requests come over several connections, and one that was given up may still be at work.
        self._lock = threading.Lock()

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer."""
        path = request.path
        if request.method == "GET" and path.endswith(str(PULLED_DIGEST)):
            self.pulled(request, connection)
        elif path == TAGS:
            page = int(dict(request.query).get("last", "v0")[1:]) + 1
            link = {"Link": f'<{TAGS}?last=v{page}>; rel="next"'} if page < 3 else {}
            respond_json(200, {"name": NAME, "tags": [f"v{page}"]}, link)(request, connection)
        elif path.startswith(MANIFESTS):
            answer = serve_manifest(MANIFEST) if request.method != "PUT" else respond(201)
            answer(request, connection)
        else:
            request.read()
            if request.method in {"PATCH", "PUT"}:
                _still_wanted(connection)
            with self._lock:
                self.uploads(request, connection)


def _still_wanted(connection: Connection) -> None:
    """Notice when nobody waits for an answer any more, as a registry does whose work takes a moment."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLRDHUP)
    if poll.poll(15):
        raise ConnectionError


def names_in(directory: Path) -> list[str]:
    """Return the names of the files in a directory, hidden ones too."""
    return sorted(path.name for path in directory.iterdir())


def open_client(server: WireServer, authority: Authority, **options: Any) -> Client:  # noqa: ANN401 -- the client's own
    secure = server.origin.startswith("https")
    config = HostConfig(scheme="https" if secure else "http", ca=authority.ca_path if secure else None)
    # With a single place, one that is not given back stops everything after it.
    usual: dict[str, Any] = {"hosts": {server.host: config}, "limits": HostLimits(concurrency=1), "retry": ONCE}
    return Client(**(usual | options))


async def quiet(server: WireServer, client: Client) -> None:
    """Wait until a server has done everything it was ever asked to do: then nothing comes late."""
    transport = client._direct
    assert transport is not None

    def busy() -> int:
        at_work = [thread for thread in server._threads[1:] if thread.ident is None or thread.is_alive()]
        return len(at_work) - transport.open_connections

    await until(lambda: len(server._threads) > len(_DIALLED) and not busy())


def count_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the connections that are opened, each of which a server has to see: ``quiet`` goes by that."""
    real = dial.open_socket

    async def counted(family: int, address: tuple[str, int]) -> socket.socket:
        # Also when it is cancelled: on loopback the server has the connection before anybody waits for it.
        _DIALLED.append(None)
        return await real(family, address)

    _DIALLED.clear()
    monkeypatch.setattr(dial, "open_socket", counted)
