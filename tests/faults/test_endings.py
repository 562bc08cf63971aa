"""Clients that are closed while they work, and things of theirs that nobody closes."""

from __future__ import annotations

import gc
import threading
import warnings
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from ocidist import ClientClosedError, Descriptor, Digest, HostConfig, OnExit, Timeouts, TransportError
from tests.faults.dialling import left_open, open_files
from tests.http.support import NAME, SOME_TAGS, TAGS, gate, list_tags, until
from tests.peers.answers import respond, respond_json, silence
from tests.peers.images import noise
from tests.remote.support import client_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
    from pathlib import Path

    from ocidist import Client, Repository
    from tests.conftest import StartWireServer
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, Request, WireServer

BLOB = noise(3_000_000)
DIGEST = Digest.of(BLOB)
KNOWN = Descriptor.of(BLOB)
# So large that it is never sent.
ENDLESS = Descriptor("application/octet-stream", DIGEST, 10**12)
BLOB_PATH = f"/v2/{NAME}/blobs/{DIGEST}"
UPLOADS = f"/v2/{NAME}/blobs/uploads/"
# Nothing here ends because time is up.
PATIENT = Timeouts(connect=3600, read=3600, write=3600, finalize=3600, floor=None)


async def pieces() -> AsyncGenerator[bytes, None]:
    """Yield the blob piece by piece, without end."""
    while True:
        yield BLOB[:100_000]


async def read(repository: Repository, _directory: Path) -> None:
    """Read the blob as a stream."""
    async with repository.blobs.open(DIGEST) as reader:
        async for _ in reader:
            pass


async def write(repository: Repository, _directory: Path) -> None:
    """Write a blob in chunks."""
    async with (
        repository.blobs.writer(chunk_size=300_000, on_exit=OnExit.CANCEL) as writer,
        aclosing(pieces()) as source,
    ):
        await writer.write_from(source)


TRANSFERS: dict[str, Callable[[Repository, Path], Awaitable[object]]] = {
    "download": lambda repository, directory: repository.blobs.download(DIGEST, directory / "blob"),
    "read": read,
    "get": lambda repository, _directory: repository.blobs.get(KNOWN),
    "push a file": lambda repository, directory: repository.blobs.push(directory / "source", KNOWN),
    "push a stream": lambda repository, _directory: repository.blobs.push(pieces, ENDLESS),
    "push bytes": lambda repository, _directory: repository.blobs.push(BLOB),
    "write": write,
    "list": lambda repository, _directory: repository.tags.list().collect(),
    "pull": lambda repository, _directory: repository.manifests.get("v1"),
}


class HalfWay:
    """A registry that gets to the middle of everything, and no further."""

    def __init__(self) -> None:
        self.busy = 0
        self._lock = threading.Lock()

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer, as far as it goes."""
        if request.method == "HEAD":
            respond(404)(request, connection)
        elif request.method == "POST":
            respond(202, {"Location": f"{UPLOADS}1", "Range": "0-0"})(request, connection)
        elif request.method == "DELETE":
            respond(204)(request, connection)
        else:
            if request.method == "GET" and "/blobs/" in request.path:
                connection.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(BLOB)}\r\n\r\n".encode() + BLOB[:300_000])
            else:
                request.read(50_000)
            with self._lock:
                self.busy += 1
            silence(request, connection)


@pytest.fixture(params=["http", "https"])
def server(request: pytest.FixtureRequest, start_wire_server: StartWireServer, authority: Authority) -> WireServer:
    """A registry that stops half-way, with and without TLS."""
    return start_wire_server(HalfWay(), tls=authority if request.param == "https" else None)


def open_client(server: WireServer, authority: Authority, **options: Any) -> Client:  # noqa: ANN401 -- the client's own
    """Return a client for a server, with or without TLS."""
    secure = server.origin.startswith("https")
    config = HostConfig(scheme="https" if secure else "http", ca=authority.ca_path if secure else None)
    return client_for(server, hosts={server.host: config}, timeout=PATIENT, **options)


async def test_f198_closing_a_client_ends_everything_it_does(
    server: WireServer, authority: Authority, tmp_path: Path
) -> None:
    half_way = server._handler
    assert isinstance(half_way, HalfWay)
    (tmp_path / "source").write_bytes(BLOB)
    before = open_files()
    found: dict[str, BaseException | None] = {}
    client = open_client(server, authority)
    repository = client.repository(f"{server.host}/{NAME}")

    async def run(name: str, work: Callable[[Repository, Path], Awaitable[object]]) -> None:
        try:
            await work(repository, tmp_path)
        except Exception as error:  # noqa: BLE001 -- what it is, is looked at below
            found[name] = error

    with anyio.fail_after(40):
        async with anyio.create_task_group() as group:
            for name, work in TRANSFERS.items():
                group.start_soon(run, name, work)
            await until(lambda: half_way.busy >= len(TRANSFERS))
            await client.aclose()
    assert set(found) == set(TRANSFERS)
    for name, error in found.items():
        assert isinstance(error, ClientClosedError | TransportError), (name, error)
    # Nothing half done shows, and nothing is tried again by a client that is closed.
    assert sorted(path.name for path in _in(tmp_path)) == ["source"]
    assert await left_open(before) == []
    with pytest.raises(ClientClosedError):
        await repository.tags.list().collect()
    gc.collect()


def _in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


@pytest.mark.parametrize("transfer", TRANSFERS)
async def test_f198_each_of_them_ends_by_itself(
    server: WireServer, authority: Authority, tmp_path: Path, transfer: str
) -> None:
    half_way = server._handler
    assert isinstance(half_way, HalfWay)
    (tmp_path / "source").write_bytes(BLOB)
    before = open_files()
    with anyio.fail_after(40):
        async with anyio.create_task_group() as group:
            client = open_client(server, authority)

            async def close() -> None:
                await until(lambda: half_way.busy > 0)
                await client.aclose()

            group.start_soon(close)
            with pytest.raises((ClientClosedError, TransportError)):
                await TRANSFERS[transfer](client.repository(f"{server.host}/{NAME}"), tmp_path)
    # It was half-way once: nobody opened another connection to go on.
    assert half_way.busy == 1
    assert sorted(path.name for path in _in(tmp_path)) == ["source"]
    assert await left_open(before) == []
    gc.collect()


@pytest.mark.parametrize("waits", ["for its turn", "for a connection", "to try again"])
async def test_f198_whoever_waits_is_told_too(wire_server: WireServer, waits: str) -> None:
    wire_server.on("GET", TAGS, respond(503, {"Retry-After": "50"}) if waits == "to try again" else silence)
    before = open_files()
    found: list[object] = []
    hosts = {wire_server.host: HostConfig(scheme="http", concurrency=1)}
    client = client_for(wire_server, hosts=hosts, timeout=PATIENT)

    async def run() -> None:
        try:
            await list_tags(client, wire_server)
        except Exception as error:  # noqa: BLE001 -- what it is, is looked at below
            found.append(error)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            tasks = 3 if waits == "for its turn" else 1
            for _ in range(tasks):
                group.start_soon(run)
            if waits == "for a connection":
                await anyio.lowlevel.checkpoint()
            else:
                await until(lambda: len(wire_server.requests) == 1)
                await anyio.wait_all_tasks_blocked()
            await client.aclose()
    assert all(isinstance(each, ClientClosedError | TransportError) for each in found), found
    assert len(found) == tasks
    assert await left_open(before) == []


async def test_f198_closing_is_not_held_up_by_a_server(wire_server: WireServer) -> None:
    with gate(SOME_TAGS) as (slow, _event):
        wire_server.on("GET", TAGS, slow)
        client = client_for(wire_server, timeout=PATIENT)
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:

                async def run() -> None:
                    with suppress(ClientClosedError, TransportError):
                        await list_tags(client, wire_server)

                group.start_soon(run)
                await until(lambda: len(wire_server.requests) == 1)
                async with client:
                    # Leaving the block is closing.
                    pass


# --- F199: what nobody closes ----------------------------------------------------------------------------------------


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Allow the warnings that an abandoned resource may cause, and say of which classes they were."""
    seen: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # Kept by name only: a warning that is recorded keeps what it is about alive.
        monkeypatch.setattr(warnings, "showwarning", lambda _message, category, *_: seen.append(category.__name__))
        yield seen


async def _reader(client: Client, server: WireServer) -> object:
    reader = client.repository(f"{server.host}/{NAME}").blobs.open(DIGEST)
    await reader.__aenter__()
    await reader.read(1000)
    return reader


async def _iterator(client: Client, server: WireServer) -> object:
    reader = client.repository(f"{server.host}/{NAME}").blobs.open(DIGEST)
    await reader.__aenter__()
    iterator = aiter(reader)
    await anext(iterator)
    return iterator


async def _response(client: Client, server: WireServer) -> object:
    request = client.build_request("GET", f"{server.origin}{BLOB_PATH}")
    return await client.send(request, stream=True)


async def _raw_iterator(client: Client, server: WireServer) -> object:
    request = client.build_request("GET", f"{server.origin}{BLOB_PATH}")
    iterator = (await client.send(request, stream=True)).aiter_raw(1000)
    await anext(iterator)
    return iterator


async def _tags(client: Client, server: WireServer) -> object:
    iterator = aiter(client.repository(f"{server.host}/{NAME}").tags.list())
    assert await anext(iterator) == "v0"
    return iterator


ABANDONED: dict[str, Callable[[Client, WireServer], Awaitable[object]]] = {
    "a reader": _reader,
    "a reader's iterator": _iterator,
    "a response": _response,
    "a response's iterator": _raw_iterator,
    "a list": _tags,
}


@pytest.mark.parametrize("kind", ABANDONED)
async def test_f199_what_is_abandoned_costs_a_warning_at_most_and_its_socket_is_freed(
    wire_server: WireServer, lenient: list[str], kind: str
) -> None:
    def half(request: Request, connection: Connection) -> None:
        connection.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(BLOB)}\r\n\r\n".encode() + BLOB[:300_000])
        silence(request, connection)

    wire_server.on("GET", BLOB_PATH, half)
    more = {"Link": f'<{TAGS}?last=v0>; rel="next"'}
    wire_server.on("GET", TAGS, respond_json(200, {"name": NAME, "tags": ["v0"]}, more))
    wire_server.on("GET", "/v2/", respond(200, {}, b"{}"))
    hosts = {wire_server.host: HostConfig(scheme="http", concurrency=3)}
    async with client_for(wire_server, hosts=hosts, timeout=PATIENT) as client:
        for _ in range(3):
            # Made and forgotten: nobody closes it.
            await ABANDONED[kind](client, wire_server)

        def freed() -> bool:
            gc.collect()
            # A list holds no connection between its pages: the one that is there waits for the next request.
            return sum(thread.is_alive() for thread in wire_server._threads[1:]) <= (kind == "a list")

        with anyio.fail_after(30):
            # The server sees the end of each connection although the client is still there.
            await until(freed)
            # The places are free as well.
            await client.registry(wire_server.host).ping()
    assert set(lenient) <= {"ResourceWarning"}
