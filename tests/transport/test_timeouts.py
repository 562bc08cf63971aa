"""httpx's four timeouts: each for its own phase, each for one wait and not for all of them together."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio
import httpx
import pytest

from tests.peers.answers import after, chain, raw, respond, silence
from tests.peers.images import noise
from tests.transport.support import (
    ENDLESS,
    MIB,
    Counts,
    Source,
    ask,
    counts,
    finish,
    limits,
    request_for,
    streamed,
    until,
    until_gone,
)
from tests.transport.wire import full_port

if TYPE_CHECKING:
    import threading

    from tests.conftest import StartWireServer
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, Request, WireServer
    from tests.transport.conftest import StartRawServer
    from tests.transport.support import Transports

SHORT = 0.05
LARGE = noise(MIB)
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_f009_a_connection_that_is_never_accepted_is_a_connect_timeout(
    transports: Transports, authority: Authority, scheme: str
) -> None:
    with full_port() as port:
        async with transports.open(tls=authority.client_context()) as transport:
            with pytest.raises(httpx.ConnectTimeout):
                await ask(transport, f"{scheme}://127.0.0.1:{port}/", timeouts=limits(connect=SHORT))
            assert counts(transport) == Counts()


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x03\0\x7a\x02"], ids=["nothing", "half a record"])
async def test_f021_a_handshake_that_hangs_is_a_connect_timeout(
    start_raw_server: StartRawServer, transports: Transports, authority: Authority, said: bytes
) -> None:
    def hang(connection: Connection) -> None:
        connection.send(said)
        connection.wait_closed()

    server = start_raw_server(hang)
    async with transports.open(tls=authority.client_context()) as transport:
        with pytest.raises(httpx.ConnectTimeout):
            await ask(transport, server.url("https"), timeouts=limits(connect=SHORT))
        assert counts(transport) == Counts()
        await until(lambda: server.connections[0].sock.fileno() < 0)


SILENT_AFTER = {
    "nothing": b"",
    "half a status line": b"HTTP/1.1 2",
    "half a head": OK + b"Content-Length: 5\r\n",
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "the head": OK + b"Content-Length: 5\r\n\r\n",
    "half the body": OK + b"Content-Length: 5\r\n\r\nhel",
    "the head of chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n",
    "half a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "the last chunk but one": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "half the end of chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "a body without an end": OK + b"\r\nhello",
}


async def test_f009_a_server_that_falls_silent_is_a_read_timeout(
    start_wire_server: StartWireServer, transports: Transports
) -> None:
    server = start_wire_server()
    raised: dict[str, str] = {}
    async with transports.open() as transport:

        async def one(name: str) -> None:
            with pytest.raises(httpx.TransportError) as caught:
                await ask(transport, f"{server.origin}/{name}", timeouts=limits(read=SHORT))
            raised[name] = type(caught.value).__name__

        async with anyio.create_task_group() as group:
            for name, wire in SILENT_AFTER.items():
                server.on("GET", f"/{quote(name)}", chain(raw(wire), silence))
                group.start_soon(one, name)
        assert raised == dict.fromkeys(raised, "ReadTimeout")
        assert counts(transport) == Counts()
        await until_gone(server)
    assert len(server.requests) == len(raised) == len(SILENT_AFTER)


@pytest.mark.parametrize("kind", ["bytes", "length", "chunks"])
async def test_a_server_that_does_not_read_is_a_write_timeout(
    start_wire_server: StartWireServer, transports: Transports, released: threading.Event, kind: str
) -> None:
    server = start_wire_server(after(released, respond(200)))
    body = bytes(MIB)
    if kind == "bytes":
        request = request_for(server.origin, "PUT", content=body * 20, timeouts=limits(write=SHORT))
    else:
        length = 20 * MIB if kind == "length" else None
        request = streamed(server.origin, Source([body] * 20), length=length, timeouts=limits(write=SHORT))
    async with transports.open() as transport:
        with pytest.raises(httpx.WriteTimeout):
            await transport.handle_async_request(request)
        assert counts(transport) == Counts()


async def test_a_read_timeout_is_for_each_wait_and_not_for_all_of_them(
    start_wire_server: StartWireServer, transports: Transports
) -> None:
    wire = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd"

    def slow(request: Request, connection: Connection) -> None:
        for at in range(0, len(wire), 4):
            time.sleep(0.03)
            connection.send(wire[at : at + 4])

    server = start_wire_server(slow)
    async with transports.open() as transport:
        assert (await ask(transport, server.origin, timeouts=limits(read=0.25))).body == b"abcd"


async def test_an_earlier_requests_timeout_is_not_the_next_ones(
    start_wire_server: StartWireServer, transports: Transports
) -> None:
    def answer(request: Request, connection: Connection) -> None:
        if request.path == "/slow":
            time.sleep(6 * SHORT)
        respond(200, (), b"hello")(request, connection)

    server = start_wire_server(answer)
    async with transports.open() as transport:
        for timeouts in (ENDLESS, limits(read=2.0)):
            assert (await ask(transport, f"{server.origin}/fast", timeouts=limits(read=5 * SHORT))).body == b"hello"
            assert (await ask(transport, f"{server.origin}/slow", timeouts=timeouts)).body == b"hello"
    assert len(server.connections) == 1


async def test_a_later_requests_shorter_timeout_is_kept_to(
    start_wire_server: StartWireServer, transports: Transports
) -> None:
    server = start_wire_server()
    server.on("GET", "/", respond(200))
    server.on("GET", "/silent", silence)
    async with transports.open() as transport:
        await ask(transport, server.origin, timeouts=limits(read=30.0))
        with pytest.raises(httpx.ReadTimeout):
            await ask(transport, f"{server.origin}/silent", timeouts=limits(read=SHORT))
    assert len(server.connections) == 1


@pytest.mark.parametrize("given", [True, False], ids=["None", "not given"])
async def test_no_timeout_waits(
    start_wire_server: StartWireServer, transports: Transports, released: threading.Event, given: bool
) -> None:
    server = start_wire_server(after(released, respond(200, (), b"hello")))
    request = request_for(server.origin, timeouts=ENDLESS)
    if not given:
        del request.extensions["timeout"]
    bodies: list[bytes] = []

    async def one(transport: httpx.AsyncBaseTransport) -> None:
        bodies.append((await finish(await transport.handle_async_request(request))).body)

    async with transports.open() as transport, anyio.create_task_group() as group:
        group.start_soon(one, transport)
        await until(lambda: len(server.requests) == 1)
        await anyio.sleep(SHORT)
        assert bodies == []
        released.set()
    assert bodies == [b"hello"]


# --- the pool --------------------------------------------------------------------------------------------------------


async def test_no_free_connection_is_a_pool_timeout(wire_server: WireServer, transports: Transports) -> None:
    wire_server.on("GET", "/", respond(200, (), LARGE))
    async with transports.open(max_connections=1) as transport:
        held = await transport.handle_async_request(request_for(wire_server.origin))
        for _ in range(3):
            with pytest.raises(httpx.PoolTimeout):
                await ask(transport, wire_server.origin, timeouts=limits(pool=SHORT / 2))
        assert counts(transport) == Counts(open=1)
        assert (await finish(held)).body == LARGE
        assert (await ask(transport, wire_server.origin)).body == LARGE
    assert len(wire_server.requests) == 2
    assert len(wire_server.connections) == 1


@pytest.mark.parametrize("pool", [None, 10.0])
@pytest.mark.parametrize("end", ["read", "closed"])
async def test_f013_whoever_waits_goes_on_when_a_response_ends_in_whatever_way(
    wire_server: WireServer, transports: Transports, pool: float | None, end: str
) -> None:
    wire_server.on("GET", "/", respond(200, (), LARGE), respond(200, (), b"hello"))
    done: list[bytes] = []

    async def one(transport: httpx.AsyncBaseTransport) -> None:
        done.append((await ask(transport, wire_server.origin, timeouts=limits(pool=pool))).body)

    async with transports.open(max_connections=1) as transport:
        held = await transport.handle_async_request(request_for(wire_server.origin))
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(one, transport)
            await until(lambda: counts(transport).waiting == 5)
            assert done == []
            if end == "read":
                assert (await finish(held)).body == LARGE
            else:
                await held.aclose()
    assert done == [b"hello"] * 5
    assert len(wire_server.connections) == (1 if end == "read" else 2)


async def test_a_request_that_fails_gives_its_place_back(wire_server: WireServer, transports: Transports) -> None:
    wire_server.on("GET", "/", respond(200))
    wire_server.on("GET", "/silent", silence)
    with full_port() as port:
        async with transports.open(max_connections=1) as transport:
            for _ in range(2):
                with pytest.raises(httpx.ReadTimeout):
                    await ask(transport, f"{wire_server.origin}/silent", timeouts=limits(read=SHORT))
                with pytest.raises(httpx.ConnectTimeout):
                    await ask(transport, f"http://127.0.0.1:{port}/", timeouts=limits(connect=SHORT))
                await ask(transport, wire_server.origin)
