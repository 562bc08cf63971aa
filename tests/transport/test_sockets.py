"""Connections that end or break: before an answer, in it, and while they are idle; and what is then sent again."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.peers.answers import chain, close, raw, reset, respond
from tests.peers.images import noise
from tests.transport.support import (
    MIB,
    Counts,
    Source,
    Transports,
    ask,
    counts,
    finish,
    limits,
    request_for,
    streamed,
    until,
    until_gone,
)

if TYPE_CHECKING:
    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.wire_server import Connection, Request

OK = b"HTTP/1.1 200 OK\r\n"
BROKEN = (httpx.NetworkError, httpx.RemoteProtocolError)
BODY = noise(3 * MIB)


@pytest.mark.parametrize("end", [close, reset], ids=["FIN", "RST"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_f007_a_new_connection_that_ends_before_the_answer_is_an_error_and_nothing_is_sent_again(
    start_wire_server: StartWireServer, transports: Transports, end: Handler, method: str
) -> None:
    server = start_wire_server(end)
    async with transports.open() as transport:
        with pytest.raises(BROKEN):
            await ask(transport, server.origin, method)
        assert counts(transport) == Counts()
    assert len(server.requests) == 1


@pytest.mark.parametrize("head", [b"Content-Length: 5000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n", b"\r\n"])
async def test_a_reset_in_the_body_is_an_error(
    start_wire_server: StartWireServer, transports: Transports, head: bytes
) -> None:
    sent = b"100000\r\n" + bytes(MIB) + b"\r\n" if b"chunked" in head else bytes(MIB)
    server = start_wire_server(chain(raw(OK + head + sent), reset))
    async with transports.open() as transport:
        with pytest.raises(BROKEN):
            await ask(transport, server.origin)
        assert counts(transport) == Counts()


@pytest.mark.parametrize("size", [0, 10, MIB])
async def test_what_came_before_a_body_was_cut_is_given_out_first(
    start_wire_server: StartWireServer, transports: Transports, size: int
) -> None:
    server = start_wire_server(chain(raw(OK + b"Content-Length: 5000000\r\n\r\n" + BODY[:size]), close))
    got = b""
    async with transports.open() as transport:
        response = await transport.handle_async_request(request_for(server.origin))
        assert isinstance(response.stream, httpx.AsyncByteStream)
        pieces = response.stream.__aiter__()
        with pytest.raises(BROKEN):  # noqa: PT012 -- the pieces before the error count, too
            async for piece in pieces:
                got += piece
        await response.aclose()
        assert counts(transport) == Counts()
    assert got == BODY[:size]


async def test_a_server_that_only_stops_sending_has_ended_the_connection(
    start_wire_server: StartWireServer, transports: Transports
) -> None:
    stopped = threading.Event()

    def half_close(request: Request, connection: Connection) -> None:
        respond(200, (), b"hello")(request, connection)
        if not connection.number:
            connection.sock.shutdown(socket.SHUT_WR)
            stopped.set()

    server = start_wire_server(half_close)
    async with transports.open() as transport:
        assert (await ask(transport, server.origin)).body == b"hello"
        assert stopped.wait(10)
        assert (await ask(transport, server.origin)).body == b"hello"
        await until(lambda: server.connections[0].sock.fileno() < 0)
    assert [request.connection.number for request in server.requests] == [0, 1]


async def test_a_body_may_end_with_one_side_of_the_connection(
    start_wire_server: StartWireServer, transports: Transports
) -> None:
    def half_close(request: Request, connection: Connection) -> None:
        connection.send(OK + b"\r\n" + BODY)
        connection.sock.shutdown(socket.SHUT_WR)

    server = start_wire_server(half_close)
    async with transports.open() as transport:
        assert (await ask(transport, server.origin)).body == BODY
        assert counts(transport) == Counts()
        await until_gone(server)


async def test_no_answer_but_one_side_closed_is_an_error(
    start_wire_server: StartWireServer, transports: Transports
) -> None:
    server = start_wire_server(lambda _, connection: connection.sock.shutdown(socket.SHUT_WR))
    async with transports.open() as transport:
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(transport, server.origin)
        await until_gone(server)


# --- connections that end while they are idle ------------------------------------------------------------------------


@pytest.mark.parametrize("end", [close, reset], ids=["FIN", "RST"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("noticed", [False, True], ids=["in between", "long before"])
async def test_f010_an_idle_connection_that_the_server_closed_is_not_used(
    start_wire_server: StartWireServer, transports: Transports, end: Handler, method: str, noticed: bool
) -> None:
    asked, ended = threading.Event(), threading.Event()

    def answer(request: Request, connection: Connection) -> None:
        respond(200, (), b"hello")(request, connection)
        if not connection.number:
            asked.wait(10)
            if end is close:
                connection.sock.shutdown(socket.SHUT_WR)
            else:
                reset(request, connection)
            ended.set()

    server = start_wire_server(answer)
    async with transports.open() as transport:
        assert (await ask(transport, server.origin)).body == b"hello"
        asked.set()
        # The event loop may or may not have had a look at the connection since.
        if noticed:
            await until(ended.is_set)
        else:
            assert ended.wait(10)
        assert (await ask(transport, server.origin, method)).body == b"hello"
    assert [(request.method, request.connection.number) for request in server.requests] == [("GET", 0), (method, 1)]


async def test_f010_ten_idle_connections_that_the_server_closed_are_not_used(
    start_wire_server: StartWireServer, transports: Transports
) -> None:
    server = start_wire_server()
    server.on("GET", "/hold", respond(200, (), BODY))
    server.on("GET", "/", respond(200, (), b"hello"))
    async with transports.open() as transport:
        held = [await transport.handle_async_request(request_for(f"{server.origin}/hold")) for _ in range(10)]
        for response in held:
            await finish(response)
        assert counts(transport) == Counts(10, 10)
        for connection in server.connections:
            connection.interrupt()
        for _ in range(3):
            assert (await ask(transport, server.origin)).body == b"hello"
    assert len(server.connections) == 11


# --- connections that end while they are used again ------------------------------------------------------------------


class Breaks:
    """Answers the first request of each connection, and ends connection 0 when the second one has arrived."""

    def __init__(self, end: Handler, *, always: bool = False) -> None:
        self._end = end
        self._always = always
        self._seen: set[int] = set()

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer a request."""
        if connection.number in self._seen or (self._always and connection.number):
            request.read()
            self._end(request, connection)
        else:
            self._seen.add(connection.number)
            respond(200, (), b"hello")(request, connection)


ENDS: dict[str, Handler] = {"FIN": close, "RST": reset}


@pytest.fixture
def _stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every idle connection count as one that was idle for long."""
    monkeypatch.setattr("ocidist.http.transport.direct.STALE_AFTER", -1.0)


@pytest.mark.usefixtures("_stale")
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_f010_a_safe_request_that_met_the_end_of_its_connection_is_sent_again_once(
    start_wire_server: StartWireServer, transports: Transports, end: Handler, method: str
) -> None:
    server = start_wire_server(Breaks(end))
    async with transports.open() as transport:
        await ask(transport, server.origin)
        assert (await ask(transport, server.origin, method)).status == 200
        assert counts(transport) == Counts(1, 1)
    assert server.targets() == ["GET /", f"{method} /", f"{method} /"]


@pytest.mark.usefixtures("_stale")
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_f011_any_other_request_is_never_sent_again(
    start_wire_server: StartWireServer, transports: Transports, end: Handler, method: str
) -> None:
    server = start_wire_server(Breaks(end))
    async with transports.open() as transport:
        await ask(transport, server.origin)
        with pytest.raises(BROKEN):
            await ask(transport, server.origin, method, content=b"hello" if method != "DELETE" else None)
        assert counts(transport) == Counts()
    assert server.targets() == ["GET /", f"{method} /"]


@pytest.mark.usefixtures("_stale")
@pytest.mark.parametrize("length", [5, None], ids=["length", "chunks"])
async def test_f011_nor_is_a_body_that_can_be_made_once(
    start_wire_server: StartWireServer, transports: Transports, length: int | None
) -> None:
    server = start_wire_server(Breaks(close))
    async with transports.open() as transport:
        await ask(transport, server.origin)
        with pytest.raises(BROKEN):
            await transport.handle_async_request(
                streamed(server.origin, Source([b"hello"]), length=length, method="GET")
            )
    assert len(server.requests) == 2


@pytest.mark.usefixtures("_stale")
@pytest.mark.parametrize(
    "said",
    [b"H", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 100 Continue\r\n\r\n", OK + b"Content-Length: 5\r\n\r\nh"],
)
async def test_f011_nor_is_one_whose_answer_had_begun(
    start_wire_server: StartWireServer, transports: Transports, said: bytes
) -> None:
    server = start_wire_server(Breaks(chain(raw(said), close)))
    async with transports.open() as transport:
        await ask(transport, server.origin)
        with pytest.raises(BROKEN):
            await ask(transport, server.origin)
    assert len(server.requests) == 2


@pytest.mark.usefixtures("_stale")
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_f010_the_second_end_is_an_error(
    start_wire_server: StartWireServer, transports: Transports, end: Handler
) -> None:
    server = start_wire_server(Breaks(end, always=True))
    async with transports.open() as transport:
        await ask(transport, server.origin)
        with pytest.raises(BROKEN):
            await ask(transport, server.origin)
        assert counts(transport) == Counts()
    assert len(server.requests) == 3


@pytest.mark.usefixtures("_stale")
async def test_f010_a_request_that_timed_out_is_not_sent_again(
    start_wire_server: StartWireServer, transports: Transports
) -> None:
    server = start_wire_server(Breaks(lambda _, connection: connection.wait_closed()))
    async with transports.open() as transport:
        await ask(transport, server.origin)
        with pytest.raises(httpx.ReadTimeout):
            await ask(transport, server.origin, timeouts=limits(read=0.05))
    assert len(server.requests) == 2


@pytest.mark.parametrize("idle", [0.99, 1.01])
async def test_f010_only_a_connection_that_was_idle_for_a_second_may_have_been_closed_for_that(
    start_wire_server: StartWireServer, monkeypatch: pytest.MonkeyPatch, idle: float
) -> None:
    from ocidist.http.transport import direct

    class Clock:
        late = 0.0

        def monotonic(self) -> float:
            return self.late

    clock = Clock()
    monkeypatch.setattr("ocidist.http.transport.idle.time", clock)
    monkeypatch.setattr(direct, "time", clock)
    assert direct.STALE_AFTER == 1.0
    server = start_wire_server(Breaks(close))
    async with Transports("ours").open() as transport:
        await ask(transport, server.origin)
        clock.late = idle
        if idle > 1:
            assert (await ask(transport, server.origin)).status == 200
        else:
            with pytest.raises(BROKEN):
                await ask(transport, server.origin)
    assert len(server.requests) == (3 if idle > 1 else 2)
