"""Connections that are slow to open, break at awkward moments, or are all in use."""

from __future__ import annotations

import socket
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from ocidist import (
    Client,
    ConnectError,
    Digest,
    HostConfig,
    OciError,
    Timeouts,
    TransportTimeoutError,
)
from ocidist.http.transport import direct
from ocidist.observe.events import RequestRetried
from tests.faults.dialling import Network, left_open, open_files
from tests.faults.uploads import BLOB, DIGEST, UPLOADS, bodies, hold, stream, write_in_chunks
from tests.http.support import NAME, ONCE, SOME_TAGS, TAGS, list_tags
from tests.peers import images
from tests.peers.answers import close, reset, respond, silence
from tests.peers.wire_server import WireServer
from tests.remote.support import MANIFESTS, client_for, repository_on, serve_manifest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from ocidist import Repository
    from tests.conftest import StartWireServer
    from tests.faults.uploads import UploadRegistry
    from tests.peers.answers import Handler
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, Request

BLOB_PATH = f"/v2/{NAME}/blobs/{DIGEST}"
MANIFEST = images.image().manifest

READS: dict[str, Callable[[Repository], Awaitable[object]]] = {
    "list": lambda repository: repository.tags.list().collect(),
    "pull": lambda repository: repository.manifests.get("v1"),
    "pull a blob": lambda repository: repository.blobs.get(DIGEST),
    "look for a blob": lambda repository: repository.blobs.stat(DIGEST),
    "look for a manifest": lambda repository: repository.manifests.stat("v1"),
}


def serve(server: WireServer, *before: Handler) -> None:
    """Let every read fail in these ways first, one request after the other, and work from then on."""
    for path, then in (
        (TAGS, SOME_TAGS),
        (f"{MANIFESTS}/v1", serve_manifest(MANIFEST)),
        (BLOB_PATH, respond(200, {"Content-Length": str(len(BLOB))}, BLOB)),
    ):
        server.on("*", path, *before, then)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """A resolver of this test alone."""
    made = Network()
    made.install(monkeypatch)
    return made


# --- F002, F003: names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https", None], ids=["http", "https", "detected"])
async def test_f002_a_resolver_that_hangs_is_given_up_within_the_time_to_connect(
    monkeypatch: pytest.MonkeyPatch,
    scheme: Any,  # noqa: ANN401 -- a literal
) -> None:
    asked = 0

    async def never(*_args: object, **_options: object) -> None:
        nonlocal asked
        asked += 1
        await anyio.sleep_forever()

    monkeypatch.setattr("ocidist.http.transport.dial.getaddrinfo", never)
    hosts = {"registry.example": HostConfig(scheme=scheme)}
    # A read timeout of an hour is none: what counts here is the time to connect.
    timeout = Timeouts(connect=0.1, read=3600)
    with anyio.fail_after(20):
        async with Client(hosts=hosts, timeout=timeout, retry=ONCE) as client:
            with pytest.raises(TransportTimeoutError) as caught:
                await client.repository(f"registry.example/{NAME}").tags.list().collect()
    assert asked == 1
    assert caught.value.host == "registry.example"
    assert caught.value.operation == "list tags"


def _hole(port: int) -> Iterator[str]:
    """Listen at an address where connections are never answered: there is no room in its queue."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.3", port))
        listener.listen(0)
        waiting = []
        try:
            for _ in range(3):
                client = socket.socket()
                client.settimeout(0)
                client.connect_ex(("127.0.0.3", port))
                waiting.append(client)
            yield "127.0.0.3"
        finally:
            for each in waiting:
                each.close()


@pytest.mark.parametrize("dead", ["refuses", "is silent"])
@pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])
async def test_f003_the_second_address_answers_where_the_first_is_dead(
    network: Network,
    start_wire_server: StartWireServer,
    authority: Authority,
    dead: str,
    *,
    tls: bool,
) -> None:
    server = start_wire_server(name="registry.example", tls=authority if tls else None)
    serve(server)
    config = HostConfig(scheme="https" if tls else "http", ca=authority.ca_path)
    with closing(_hole(server.port)) as hole:  # type: ignore[type-var]  # a generator is what it returns
        first = next(hole) if dead == "is silent" else "127.0.0.4"
        network.name("registry.example", [first, "127.0.0.1"])
        before = open_files()
        # One attempt, within one time to connect.
        options: dict[str, Any] = {"retry": ONCE, "timeout": Timeouts(connect=20)}
        async with Client(hosts={server.host: config}, **options) as client:
            assert await list_tags(client, server) == ["v1"]
        assert network.dialled == [first, "127.0.0.1"]
        # The one that lost the race is closed, too.
        assert await left_open(before) == []


async def test_f003_where_every_address_is_dead_the_error_says_so(network: Network, wire_server: WireServer) -> None:
    network.name("registry.example", ["127.0.0.4", "127.0.0.5", "127.0.0.6"])
    name = f"registry.example:{wire_server.port}"
    async with Client(hosts={name: HostConfig(scheme="http")}, retry=ONCE) as client:
        with pytest.raises(ConnectError, match=r"(?i)refused"):
            await client.repository(f"{name}/{NAME}").tags.list().collect()
    assert network.dialled == ["127.0.0.4", "127.0.0.5", "127.0.0.6"]


# --- F007, F009: before the answer -----------------------------------------------------------------------------------


class Rude(WireServer):
    """A server that resets its first connections as soon as they are there."""

    rude = 2

    def _converse(self, connection: Connection) -> None:
        if connection.number < self.rude:
            connection.reset()
        else:
            super()._converse(connection)


@pytest.mark.parametrize("operation", READS)
async def test_f007_a_read_survives_connections_that_are_reset_before_the_answer(
    wire_server: WireServer, operation: str
) -> None:
    serve(wire_server, reset, reset)
    async with repository_on(wire_server) as repository:
        await READS[operation](repository)
    assert len(wire_server.requests) == 3


@pytest.mark.parametrize("operation", READS)
async def test_f007_a_read_survives_connections_that_are_reset_before_they_are_used(operation: str) -> None:
    with Rude() as server:
        serve(server)
        async with repository_on(server) as repository:
            await READS[operation](repository)
        assert len(server.requests) == 1
        assert len(server.connections) == 3


@pytest.mark.parametrize("operation", READS)
async def test_f009_a_read_that_nobody_answers_is_tried_again_and_given_up(
    wire_server: WireServer, operation: str
) -> None:
    wire_server.on("*", "*", silence)
    async with repository_on(wire_server, timeout=Timeouts(read=0.1)) as repository:
        with anyio.fail_after(20), pytest.raises(TransportTimeoutError) as caught:
            await READS[operation](repository)
    assert caught.value.attempts == 3
    assert len(wire_server.requests) == 3


async def test_f009_a_read_that_is_answered_the_second_time_succeeds(wire_server: WireServer) -> None:
    serve(wire_server, silence)
    async with repository_on(wire_server, timeout=Timeouts(read=0.2)) as repository:
        assert (await repository.manifests.get("v1")).data == MANIFEST.data
    assert len(wire_server.requests) == 2


async def test_f009_what_may_have_had_an_effect_is_not_sent_again(wire_server: WireServer) -> None:
    wire_server.on("*", "*", silence)
    async with client_for(wire_server, timeout=Timeouts(read=0.1)) as client:
        with anyio.fail_after(20):
            for method in ("POST", "PATCH"):
                with pytest.raises(httpx.ReadTimeout):
                    await client.request(method, f"{wire_server.origin}/v2/", content=b"{}")
    assert wire_server.targets() == ["POST /v2/", "PATCH /v2/"]


async def test_f009_the_fate_of_a_chunk_that_nobody_answered_is_asked_for(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("PATCH", None, hold(threading.Event()))
    async with repository_on(wire_server, timeout=Timeouts(read=0.3)) as repository:
        await write_in_chunks(repository)
    assert registry.blobs[DIGEST] == BLOB
    assert registry.methods() == ["POST", "PATCH", "PATCH", "GET", "PATCH", "PATCH", "PUT"]
    # What was not answered was not taken: it goes again, and everything else once.
    assert [len(body) for body in bodies(registry, "PATCH")][2:] == [300, 300]


async def test_f009_an_upload_whose_chunks_nobody_answers_is_an_error_in_time(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("PATCH", *[hold(threading.Event())] * 99)
    async with repository_on(wire_server, timeout=Timeouts(read=0.1), retry=ONCE) as repository:
        with anyio.fail_after(30), pytest.raises(OciError):
            await repository.blobs.push(lambda: stream(BLOB), chunk_size=300)
    # This registry does not know a session any more after an answer that was lost: there is nothing to end.
    assert registry.of("GET") != []
    assert registry.blobs == {}


# --- F010, F011: kept connections ------------------------------------------------------------------------------------


def hang_up_after(answer: Handler, over: threading.Event) -> Handler:
    """Answer as if the connection were to be used again, end it, and say so."""

    def step(request: Request, connection: Connection) -> None:
        answer(request, connection)
        connection.sock.shutdown(socket.SHUT_WR)
        over.set()

    return step


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_f010_an_idle_connection_that_the_server_closed_is_replaced_silently(
    wire_server: WireServer, method: str
) -> None:
    over = threading.Event()
    retried: list[object] = []
    serve(wire_server)
    wire_server.on("GET", TAGS, hang_up_after(SOME_TAGS, over))
    wire_server.on("PUT", f"{MANIFESTS}/*", respond(201))
    wire_server.on("POST", UPLOADS, respond(202, {"Location": f"{UPLOADS}1"}))
    # One attempt: it is none to find a connection closed.
    async with client_for(wire_server, retry=ONCE, hooks=[retried.append]) as client:
        repository = client.repository(f"{wire_server.host}/{NAME}")
        for _ in range(3):
            over.clear()
            assert await list_tags(client, wire_server) == ["v1"]
            await anyio.to_thread.run_sync(over.wait)
            if method == "GET":
                assert await repository.blobs.get(DIGEST) == BLOB
            elif method == "PUT":
                await repository.manifests.push(MANIFEST.data, media_type=MANIFEST.media_type, tags=["v1"])
            else:
                async with repository.blobs.writer():
                    pass
    assert not [event for event in retried if isinstance(event, RequestRetried)]


def second_use(server: WireServer, end: Handler, then: Handler) -> Handler:
    """Let the first connection end when its second request arrives."""

    def answer(request: Request, connection: Connection) -> None:
        uses = sum(each.connection is connection for each in server.requests)
        (end if connection.number == 0 and uses == 2 else then)(request, connection)

    return answer


@pytest.mark.parametrize("end", [close, reset], ids=["FIN", "RST"])
@pytest.mark.parametrize("operation", READS)
async def test_f010_a_connection_that_ends_as_it_is_used_again_costs_a_read_no_attempt(
    wire_server: WireServer, operation: str, end: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if it had been idle for so long that a server may well be about to close it.
    monkeypatch.setattr(direct, "STALE_AFTER", -1.0)
    serve(wire_server)
    wire_server.on("GET", "/v2/", respond(200, {}, b"{}"))
    wire_server._handler = second_use(wire_server, end, wire_server.routes)
    retried: list[object] = []
    async with client_for(wire_server, retry=ONCE, hooks=[retried.append]) as client:
        await client.registry(wire_server.host).ping()
        await READS[operation](client.repository(f"{wire_server.host}/{NAME}"))
    assert len(wire_server.connections) == 2
    assert [request.connection.number for request in wire_server.requests] == [0, 0, 1]
    assert not [event for event in retried if isinstance(event, RequestRetried)]


@pytest.mark.parametrize("end", [close, reset], ids=["FIN", "RST"])
async def test_f011_a_start_that_meets_the_end_of_its_connection_leaves_one_session(
    wire_server: WireServer, registry: UploadRegistry, end: Handler
) -> None:
    wire_server._handler = second_use(wire_server, end, registry)
    async with client_for(wire_server) as client:
        await client.registry(wire_server.host).ping()
        repository = client.repository(f"{wire_server.host}/{NAME}")
        async with repository.blobs.writer() as writer:
            await writer.write(BLOB)
            assert len(registry.open) == 1
            await writer.commit(DIGEST)
    assert registry.open == {}
    assert registry.blobs[DIGEST] == BLOB
    assert registry.methods() == ["POST", "PUT"]


@pytest.mark.parametrize("end", [close, reset], ids=["FIN", "RST"])
@pytest.mark.parametrize("count", [0, 1, 500_000])
async def test_f011_a_post_with_a_body_that_meets_the_end_of_its_connection_stores_the_blob_once(
    wire_server: WireServer, registry: UploadRegistry, end: Handler, count: int
) -> None:
    large = images.noise(6_000_000)

    def half(request: Request, connection: Connection) -> None:
        request.read(count)
        end(request, connection)

    wire_server._handler = second_use(wire_server, half, registry)
    async with client_for(wire_server) as client:
        await client.registry(wire_server.host).ping()
        repository = client.repository(f"{wire_server.host}/{NAME}")
        await repository.blobs.push(large, single_post=True, check_exists=False)
    assert registry.blobs == {Digest.of(large): large}
    assert registry.open == {}
    # Nothing is known of what came of the first one: it is not repeated, only the session may be begun once.
    assert len(registry.of("POST")) <= 1
