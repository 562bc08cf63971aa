"""Which connections are kept, which are used again, and how many there may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from tests.peers.answers import after, respond
from tests.peers.images import noise
from tests.transport.support import (
    MIB,
    Counts,
    ask,
    counts,
    finish,
    in_parallel,
    limits,
    request_for,
    until,
    until_gone,
)

if TYPE_CHECKING:
    import threading

    import httpx

    from tests.conftest import StartWireServer
    from tests.peers.wire_server import WireServer
    from tests.transport.support import Transports

LARGE = noise(MIB)


async def _open_at_once(transport: httpx.AsyncBaseTransport, server: WireServer, count: int) -> list[httpx.Response]:
    return [await transport.handle_async_request(request_for(f"{server.origin}/large")) for _ in range(count)]


@pytest.fixture
def server(wire_server: WireServer) -> WireServer:
    """A server with a body that is not there at once, and one that is."""
    wire_server.on("GET", "/large", respond(200, (), LARGE))
    wire_server.on("GET", "/", respond(200, (), b"hello"))
    return wire_server


async def test_an_expired_connection_is_closed_and_not_used(server: WireServer, transports: Transports) -> None:
    async with transports.open(idle_expiry=0.0) as transport:
        for number in range(3):
            assert (await ask(transport, server.origin)).body == b"hello"
            assert len(server.connections) == number + 1
        assert counts(transport).open <= 1
        await until(lambda: all(each.sock.fileno() < 0 for each in server.connections[:2]))


async def test_a_connection_expires_by_the_time_it_was_idle(server: WireServer, transports: Transports) -> None:
    async with transports.open(idle_expiry=0.05) as transport:
        await ask(transport, server.origin)
        await anyio.sleep(0.1)
        await ask(transport, server.origin)
    assert len(server.connections) == 2


@pytest.mark.parametrize("most", [0, 1, 3])
async def test_no_more_idle_connections_are_kept_than_allowed(
    server: WireServer, transports: Transports, most: int
) -> None:
    async with transports.open(max_idle=most) as transport:
        for response in await _open_at_once(transport, server, 5):
            assert (await finish(response)).body == LARGE
        await ask(transport, server.origin)
        assert counts(transport) == Counts(most, most)
        await until(lambda: sum(each.sock.fileno() >= 0 for each in server.connections) == most)


async def test_connections_are_used_again_whatever_other_hosts_there_are(
    server: WireServer, start_wire_server: StartWireServer, transports: Transports
) -> None:
    other = start_wire_server(respond(200, (), b"other"), address="127.0.0.2")
    named = server.origin.replace("127.0.0.1", "localhost")
    async with transports.open() as transport:
        for _ in range(3):
            assert (await ask(transport, server.origin)).body == b"hello"
            assert (await ask(transport, other.origin)).body == b"other"
            assert (await ask(transport, named)).body == b"hello"
        assert counts(transport) == Counts(3, 3)
    assert len(server.connections) == 2
    assert len(other.connections) == 1


@pytest.mark.parametrize(
    "written", ["HTTP://LOCALHOST:{port}/", "http://localhost:{port}", "http://user:word@localhost:{port}/"]
)
async def test_an_origin_is_the_same_however_it_is_written(
    server: WireServer, transports: Transports, written: str
) -> None:
    async with transports.open() as transport:
        await ask(transport, f"http://localhost:{server.port}/")
        await ask(transport, written.format(port=server.port))
    assert len(server.connections) == 1


async def test_the_number_of_connections_is_bounded(
    start_wire_server: StartWireServer, transports: Transports, released: threading.Event
) -> None:
    server = start_wire_server(after(released, respond(200, (), b"hello")))
    async with transports.open(max_connections=3) as transport:
        async with anyio.create_task_group() as group:
            for _ in range(12):
                group.start_soon(ask, transport, server.origin)
            await until(lambda: len(server.requests) == 3 and counts(transport).waiting == 9)
            assert counts(transport) == Counts(open=3, waiting=9)
            released.set()
        assert counts(transport) == Counts(3, 3)
    assert len(server.connections) == 3
    assert len(server.requests) == 12


async def test_idle_connections_to_one_host_make_room_for_another(
    server: WireServer, start_wire_server: StartWireServer, transports: Transports
) -> None:
    other = start_wire_server(respond(200, (), b"other"), address="127.0.0.2")
    async with transports.open(max_connections=1) as transport:
        for _ in range(3):
            assert (await ask(transport, server.origin)).body == b"hello"
            assert (await ask(transport, other.origin)).body == b"other"
            assert counts(transport) == Counts(1, 1)


async def test_idle_connections_count_as_much_as_those_that_are_being_opened(
    start_wire_server: StartWireServer, transports: Transports, released: threading.Event
) -> None:
    one = start_wire_server(respond(200, (), LARGE))
    two = start_wire_server(after(released, respond(200, (), b"other")), address="127.0.0.2")
    async with transports.open(max_connections=3) as transport:
        for response in [await transport.handle_async_request(request_for(one.origin)) for _ in range(3)]:
            await finish(response)
        assert counts(transport) == Counts(3, 3)
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(ask, transport, two.origin)
            await until(lambda: len(two.requests) == 3)
            assert counts(transport) == Counts(open=3)
            released.set()
        await until_gone(one)
        assert counts(transport) == Counts(3, 3)


async def test_who_waits_gets_the_connection_that_becomes_free(server: WireServer, transports: Transports) -> None:
    async with transports.open(max_connections=2) as transport:
        await in_parallel(30, lambda: ask(transport, f"{server.origin}/large", timeouts=limits(pool=None)))
    assert len(server.requests) == 30
    assert len(server.connections) == 2


async def test_many_requests_one_after_the_other_take_one_connection(
    server: WireServer, transports: Transports
) -> None:
    async with transports.open(max_connections=1) as transport:
        for _ in range(100):
            assert (await ask(transport, server.origin)).body == b"hello"
    assert len(server.connections) == 1
