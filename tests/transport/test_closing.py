"""Responses that are not read to their end, and transports that are closed in the middle of everything."""

from __future__ import annotations

import gc
from contextlib import nullcontext
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from tests.peers.answers import after, respond, silence
from tests.peers.images import noise
from tests.transport.support import (
    ENDLESS,
    MIB,
    Counts,
    Source,
    Transports,
    ask,
    begun,
    counts,
    finish,
    request_for,
    streamed,
    until,
    until_gone,
)

if TYPE_CHECKING:
    import threading
    from collections.abc import Awaitable, Callable

    from tests.conftest import StartWireServer
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, WireServer
    from tests.transport.conftest import StartRawServer

LARGE = noise(20 * MIB)


@pytest.fixture
def server(wire_server: WireServer, released: threading.Event) -> WireServer:
    """A server whose answers come in various ways."""
    wire_server.on("GET", "/small", respond(200, (), b"hello"))
    wire_server.on("GET", "/large", respond(200, (), LARGE))
    wire_server.on("GET", "/silent", silence)
    wire_server.on("PUT", "/unread", after(released, respond(200)))
    return wire_server


@pytest.mark.parametrize("read", [False, True], ids=["unread", "half read"])
async def test_closing_a_response_before_its_end_closes_the_connection(
    server: WireServer, transports: Transports, read: bool
) -> None:
    async with transports.open() as transport:
        response = await transport.handle_async_request(request_for(f"{server.origin}/large"))
        async with begun(response) if read else nullcontext():
            assert counts(transport) == Counts(open=1)
            for _ in range(2):
                await response.aclose()
                assert counts(transport) == Counts()
        await until_gone(server)
        assert (await ask(transport, f"{server.origin}/small")).body == b"hello"


async def test_closing_a_response_at_its_end_keeps_the_connection(server: WireServer, transports: Transports) -> None:
    async with transports.open() as transport:
        for _ in range(2):
            answer = await ask(transport, f"{server.origin}/large")
            assert len(answer.body) == len(LARGE)
        assert counts(transport) == Counts(1, 1)
    assert len(server.connections) == 1


async def test_a_closed_response_gives_no_more_bytes(server: WireServer, transports: Transports) -> None:
    async with transports.open() as transport:
        response = await transport.handle_async_request(request_for(f"{server.origin}/large"))
        async with begun(response) as pieces:
            await response.aclose()
            with pytest.raises((httpx.ReadError, httpx.StreamError)):
                [piece async for piece in pieces]


async def test_a_response_that_nobody_closes_ends_with_its_last_reference(
    server: WireServer, transports: Transports
) -> None:
    async with transports.open() as transport:
        response = await transport.handle_async_request(request_for(f"{server.origin}/large"))
        assert isinstance(response.stream, httpx.AsyncByteStream)
        assert await anext(response.stream.__aiter__())
        del response
        gc.collect()
        assert counts(transport) == Counts()
        await until_gone(server)


async def test_a_transport_that_made_no_request_can_be_closed_twice(transports: Transports) -> None:
    transport = transports.make()
    for _ in range(2):
        await transport.aclose()
        assert counts(transport) == Counts()


async def test_closing_a_transport_closes_its_idle_connections(server: WireServer, transports: Transports) -> None:
    transport = transports.make()
    held = [await transport.handle_async_request(request_for(f"{server.origin}/large")) for _ in range(3)]
    for response in held:
        await finish(response)
    assert counts(transport) == Counts(3, 3)
    await transport.aclose()
    assert counts(transport) == Counts()
    await until_gone(server)


# --- closed in the middle --------------------------------------------------------------------------------------------


async def _reads(transport: httpx.AsyncBaseTransport, server: WireServer) -> None:
    response = await transport.handle_async_request(request_for(f"{server.origin}/silent-body", timeouts=ENDLESS))
    await finish(response)


async def _sends(transport: httpx.AsyncBaseTransport, server: WireServer) -> None:
    source = Source([bytes(MIB)] * 30)
    await transport.handle_async_request(streamed(f"{server.origin}/unread", source, length=30 * MIB, timeouts=ENDLESS))


async def _waits(transport: httpx.AsyncBaseTransport, server: WireServer) -> None:
    await transport.handle_async_request(request_for(f"{server.origin}/silent", timeouts=ENDLESS))


WORK: dict[str, Callable[[httpx.AsyncBaseTransport, WireServer], Awaitable[None]]] = {
    "for a head": _waits,
    "for a body": _reads,
    "to send": _sends,
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
@pytest.mark.parametrize("contended", [False, True], ids=["free", "contended"])
async def test_closing_a_transport_ends_whatever_waits(
    server: WireServer,
    transports: Transports,
    work: Callable[[httpx.AsyncBaseTransport, WireServer], Awaitable[None]],
    contended: bool,
) -> None:
    def half(_request: object, connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nh")
        connection.wait_closed()

    server.on("GET", "/silent-body", half)
    transport = transports.make(max_connections=2 if contended else None)
    failures: list[Exception] = []

    async def one() -> None:
        try:
            await work(transport, server)
        except Exception as failure:  # noqa: BLE001 -- which one is what the test is about
            failures.append(failure)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(one)
            await until(lambda: len(server.requests) == (2 if contended else 5))
            await until(lambda: counts(transport).waiting == (3 if contended else 0))
            await transport.aclose()
    assert len(failures) == 5
    assert [failure for failure in failures if not isinstance(failure, httpx.TransportError)] == []
    assert counts(transport).open == counts(transport).waiting == 0
    assert len(server.requests) == (2 if contended else 5)


async def test_closing_a_transport_ends_a_handshake(
    start_raw_server: StartRawServer, transports: Transports, authority: Authority
) -> None:
    server = start_raw_server(lambda connection: connection.wait_closed())
    transport = transports.make(tls=authority.client_context())
    failures: list[Exception] = []

    async def one() -> None:
        try:
            await ask(transport, server.url("https"), timeouts=ENDLESS)
        except Exception as failure:  # noqa: BLE001 -- which one is what the test is about
            failures.append(failure)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(one)
            await until(lambda: bool(server.connections and server.connections[0].received))
            await transport.aclose()
    assert [type(failure) for failure in failures] in ([httpx.ConnectError], [httpx.ReadError])
    assert counts(transport) == Counts()


async def test_a_closed_transport_opens_no_connection(server: WireServer, transports: Transports) -> None:
    transport = transports.make()
    await ask(transport, f"{server.origin}/small")
    await transport.aclose()
    with pytest.raises((httpx.TransportError, RuntimeError)):
        await ask(transport, f"{server.origin}/small")
    assert counts(transport) == Counts()
    assert len(server.requests) == 1
    await until_gone(server)


async def test_a_body_that_was_received_before_the_transport_was_closed_can_still_be_read_or_fails(
    start_wire_server: StartWireServer, transports: Transports
) -> None:
    server = start_wire_server(respond(200, (), LARGE))
    transport = transports.make()
    response = await transport.handle_async_request(request_for(server.origin))
    await transport.aclose()
    with pytest.raises(httpx.TransportError):
        await finish(response)
    assert counts(transport).open == 0
