"""How TLS connections end, and what TLS itself holds back: whoever cuts a connection must not be able to cut a body."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from tests.peers.answers import chain, close, raw, reset, respond
from tests.peers.images import noise
from tests.transport.support import (
    KIB,
    Counts,
    ask,
    counts,
    finish,
    limits,
    request_for,
    until,
    until_gone,
)

if TYPE_CHECKING:
    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, Request
    from tests.transport.support import Transports

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BODY = noise(300_000)
SIZED = OK + b"Content-Length: %d\r\n\r\n" % len(BODY)


def notify(_request: Request, connection: Connection) -> None:
    """End the connection as TLS wants it: close_notify first, then FIN."""
    only_notify(_request, connection)
    connection.close()


def only_notify(_request: Request, connection: Connection) -> None:
    """Send close_notify, and leave the rest to the client."""
    secured = connection.sock
    assert isinstance(secured, ssl.SSLSocket)
    secured.setblocking(False)  # noqa: FBT003 -- the socket module's own interface
    with suppress(OSError):
        # It is sent before the client's is waited for.
        secured.unwrap()
    secured.setblocking(True)  # noqa: FBT003 -- see above


TRUNCATED = {
    "a body with a length": SIZED + BODY[:-1],
    "a body with a length, at its beginning": SIZED,
    "chunks": CHUNKED + b"10000\r\n" + BODY[: 64 * KIB] + b"\r\n",
    "a chunk": CHUNKED + b"10000\r\n" + BODY[:1000],
    "a head": OK + b"Content-Length: 5\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("end", [close, notify], ids=["cut", "close_notify"])
@pytest.mark.parametrize("wire", TRUNCATED.values(), ids=TRUNCATED)
async def test_f025_an_answer_that_is_cut_is_an_error(
    start_wire_server: StartWireServer, transports: Transports, authority: Authority, wire: bytes, end: Handler
) -> None:
    server = start_wire_server(chain(raw(wire), end), tls=authority)
    async with transports.open(tls=authority.client_context()) as transport:
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await ask(transport, server.origin)
        assert counts(transport) == Counts()
        await until_gone(server)


async def test_a_body_without_a_length_ends_with_close_notify(
    start_wire_server: StartWireServer, transports: Transports, authority: Authority
) -> None:
    server = start_wire_server(chain(raw(OK + b"\r\n" + BODY), notify), tls=authority)
    async with transports.open(tls=authority.client_context()) as transport:
        for _ in range(2):
            assert (await ask(transport, server.origin)).body == BODY
        assert counts(transport) == Counts()


@pytest.mark.parametrize("size", [0, 5, len(BODY)])
@pytest.mark.parametrize("late", [False, True], ids=["at once", "read later"])
async def test_f025_without_close_notify_it_was_cut(
    start_wire_server: StartWireServer, transports: Transports, authority: Authority, size: int, late: bool
) -> None:
    ended = threading.Event()

    def cut(request: Request, connection: Connection) -> None:
        connection.send(OK + b"\r\n" + BODY[:size])
        connection.sock.setblocking(False)  # noqa: FBT003 -- the socket module's own interface
        connection.sock.shutdown(socket.SHUT_WR)
        ended.set()
        connection.sock.setblocking(True)  # noqa: FBT003 -- see above
        connection.wait_closed()

    server = start_wire_server(cut, tls=authority)
    async with transports.open(tls=authority.client_context()) as transport:
        response = await transport.handle_async_request(request_for(server.origin))
        if late:
            # Then the end is there together with the last bytes.
            await until(ended.is_set)
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await finish(response)
        assert counts(transport) == Counts()


COMPLETE = {
    "a body with a length": (SIZED + BODY, BODY),
    "chunks": (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "no body": (OK + b"Content-Length: 0\r\n\r\n", b""),
}


@pytest.mark.parametrize("complete", COMPLETE.values(), ids=COMPLETE)
@pytest.mark.parametrize("end", [close, notify], ids=["cut", "close_notify"])
async def test_an_end_behind_a_complete_answer_is_none_of_its_business(
    start_wire_server: StartWireServer,
    transports: Transports,
    authority: Authority,
    complete: tuple[bytes, bytes],
    end: Handler,
) -> None:
    wire, body = complete
    server = start_wire_server(chain(raw(wire), end), tls=authority)
    async with transports.open(tls=authority.client_context()) as transport:
        for number in range(2):
            assert (await ask(transport, server.origin)).body == body
            # The client hangs up by itself, or finds out when it wants to use the connection again.
            await until(lambda number=number: server.connections[number].closed)  # type: ignore[misc]  # mypy cannot infer a lambda default
    assert len(server.connections) == 2


POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
FOLLOWED = {
    "a short body": (OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    # Longer than what is received at once with the head: the last record has the end of the body and more.
    "a long body": (SIZED + BODY, BODY),
    "a body that ends within a record": (OK + b"Content-Length: 70000\r\n\r\n" + BODY[:70000], BODY[:70000]),
    "chunks": (CHUNKED + b"11170\r\n%b\r\n0\r\n\r\n" % BODY[:70000], BODY[:70000]),
}


@pytest.mark.parametrize(("wire", "body"), FOLLOWED.values(), ids=FOLLOWED)
async def test_t77_what_tls_still_holds_behind_an_answer_is_not_the_next_answer(
    start_wire_server: StartWireServer, transports: Transports, authority: Authority, wire: bytes, body: bytes
) -> None:
    def poisoned(request: Request, connection: Connection) -> None:
        if connection.number or request.path == "/second":
            respond(200, (), b"right")(request, connection)
        else:
            connection.send(wire + POISON)

    server = start_wire_server(poisoned, tls=authority)
    async with transports.open(tls=authority.client_context()) as transport:
        assert (await ask(transport, f"{server.origin}/first")).body == body
        await anyio.sleep(0.02)
        assert (await ask(transport, f"{server.origin}/second")).body == b"right"
    assert b"/second" not in server.connections[0].received


async def test_interim_answers_leave_nothing_behind_in_tls(
    start_wire_server: StartWireServer, transports: Transports, authority: Authority
) -> None:
    go, sent = threading.Event(), threading.Event()
    final = OK + b"Content-Length: 5\r\n\r\nhello"
    hint = b"HTTP/1.1 103 Early Hints\r\nX-Fill: %b\r\n\r\n"
    # A little more than is received at once, the last of it in a record that was begun before.
    wire = (hint % (b"a" * 500)) * 120
    wire += hint % (b"a" * (64 * KIB + 100 - len(wire) - len(hint))) + final

    def answer(request: Request, connection: Connection) -> None:
        go.wait(10)
        connection.send(wire[:1000])
        connection.send(wire[1000:])
        sent.set()

    server = start_wire_server(answer, tls=authority)
    async with transports.open(tls=authority.client_context()) as transport, anyio.create_task_group() as group:
        bodies: list[bytes] = []

        async def one() -> None:
            bodies.append((await ask(transport, server.origin, timeouts=limits(read=1.0))).body)

        group.start_soon(one)
        await until(lambda: len(server.requests) == 1)
        go.set()
        # All of it is there before the event loop has a look.
        assert sent.wait(10)
    assert bodies == [b"hello"]


ENDS: dict[str, Handler] = {
    "cut": lambda _, connection: connection.sock.shutdown(socket.SHUT_WR),
    "close_notify": only_notify,
    "close_notify and FIN": notify,
    "RST": reset,
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_f010_an_idle_connection_that_the_server_ended_is_not_used(
    start_wire_server: StartWireServer, transports: Transports, authority: Authority, end: Handler, method: str
) -> None:
    answered, ended = threading.Event(), threading.Event()

    def answer(request: Request, connection: Connection) -> None:
        respond(200, (), b"hello")(request, connection)
        if not connection.number:
            answered.wait(10)
            end(request, connection)
            ended.set()

    server = start_wire_server(answer, tls=authority)
    async with transports.open(tls=authority.client_context()) as transport:
        assert (await ask(transport, server.origin)).body == b"hello"
        answered.set()
        await until(lambda: ended.is_set() or server.connections[0].closed)
        await anyio.sleep(0.02)
        assert (await ask(transport, server.origin, method)).body == b"hello"
    assert [request.connection.number for request in server.requests] == [0, 1]


@pytest.mark.parametrize("end", [ENDS["close_notify"], ENDS["close_notify and FIN"]], ids=["alone", "and FIN"])
async def test_f010_nor_is_one_whose_close_notify_came_with_the_answer(
    start_wire_server: StartWireServer, transports: Transports, authority: Authority, end: Handler
) -> None:
    go, sent = threading.Event(), threading.Event()

    def answer(request: Request, connection: Connection) -> None:
        if connection.number:
            respond(200, (), b"hello")(request, connection)
            return
        go.wait(10)
        respond(200, (), b"hello")(request, connection)
        only_notify(request, connection)
        sent.set()
        end(request, connection)

    server = start_wire_server(answer, tls=authority)
    async with transports.open(tls=authority.client_context()) as transport:
        async with anyio.create_task_group() as group:
            group.start_soon(ask, transport, server.origin)
            await until(lambda: len(server.requests) == 1)
            go.set()
            # All of it is there before the event loop has a look.
            assert sent.wait(10)
        await anyio.sleep(0.02)
        assert (await ask(transport, server.origin)).body == b"hello"
    assert [request.connection.number for request in server.requests] == [0, 1]


async def test_f026_an_alert_in_the_middle_of_a_request_is_an_error(
    start_wire_server: StartWireServer, transports: Transports, authority: Authority
) -> None:
    def alert(request: Request, connection: Connection) -> None:
        request.read(70_000)
        # Nobody signed this record: the client's TLS takes it for an attack.
        os.write(connection.sock.fileno(), b"\x15\x03\x03\0\x02\x02\x50")
        connection.wait_closed()

    server = start_wire_server(alert, tls=authority)
    async with transports.open(tls=authority.client_context()) as transport:
        with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
            await ask(transport, server.origin, "PUT", content=bytes(80_000))
        assert counts(transport) == Counts()
