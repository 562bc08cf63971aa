"""The stall floor: a message that trickles in below a number of bytes per second is given up.

Only ocidist's own transport has one. The window over which it is measured is short here.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio
import httpx
import pytest

from tests.peers.answers import respond
from tests.peers.images import noise
from tests.transport.support import MIB, Counts, Source, Transports, ask, counts, finish, limits, request_for, streamed

if TYPE_CHECKING:
    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.wire_server import Connection, Request

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
FLOOR = 10_000.0
WINDOW = 0.05


@pytest.fixture(autouse=True)
def _short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocidist.http.transport.socketio.FLOOR_WINDOW", WINDOW)


@pytest.fixture
def ours() -> Transports:
    """What makes transports of our own."""
    return Transports("ours")


def trickle(start: bytes, more: bytes) -> Handler:
    """Send the start of an answer, and from then on a little every ten milliseconds, as long as somebody listens."""

    def answer(request: Request, connection: Connection) -> None:
        request.read()
        connection.send(start)
        while True:
            time.sleep(0.01)
            connection.send(more)

    return answer


TRICKLES = {
    "a status line": (b"HTTP/1.1 200 ", b"a"),
    "a head": (OK + b"X-Long: ", b"a"),
    "fields": (OK, b"X: y\r\n"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body": (OK + b"Content-Length: 1000000\r\n\r\n", b"a"),
    "a body that began well": (OK + b"Content-Length: 1000000\r\n\r\n" + b"a" * 500, b"a"),
    "a body without a length": (OK + b"\r\n", b"a"),
    "a chunk": (CHUNKED + b"fffff\r\n", b"a"),
    "chunks": (CHUNKED, b"1\r\na\r\n"),
    "the size of a chunk": (CHUNKED, b"0"),
    "the extension of a chunk": (CHUNKED + b"5;", b"a"),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n"),
}


async def test_t38_an_answer_that_trickles_in_is_a_read_timeout(
    start_wire_server: StartWireServer, ours: Transports
) -> None:
    server = start_wire_server()
    told: dict[str, str] = {}
    async with ours.open() as transport:

        async def one(name: str) -> None:
            # No single wait is longer than the read timeout.
            with pytest.raises(httpx.ReadTimeout) as caught:
                await ask(transport, f"{server.origin}/{name}", timeouts=limits(floor=FLOOR))
            told[name] = str(caught.value)

        async with anyio.create_task_group() as group:
            for name, (start, more) in TRICKLES.items():
                server.on("GET", f"/{quote(name)}", trickle(start, more))
                group.start_soon(one, name)
        assert [name for name in TRICKLES if "bytes per second" not in told[name]] == []
        assert counts(transport) == Counts()


async def test_t38_a_body_that_stalls_after_a_good_start_is_a_read_timeout(
    start_wire_server: StartWireServer, ours: Transports
) -> None:
    server = start_wire_server(trickle(OK + b"Content-Length: 10000000\r\n\r\n" + noise(3 * MIB), b"a"))
    async with ours.open() as transport:
        with pytest.raises(httpx.ReadTimeout, match="bytes per second"):
            await ask(transport, server.origin, timeouts=limits(floor=FLOOR))


async def test_a_trickle_is_fine_without_a_floor(start_wire_server: StartWireServer, ours: Transports) -> None:
    def slow(request: Request, connection: Connection) -> None:
        connection.send(OK + b"Content-Length: 12\r\n\r\n")
        for _ in range(12):
            time.sleep(0.01)
            connection.send(b"a")

    server = start_wire_server(slow)
    async with ours.open() as transport:
        assert (await ask(transport, server.origin)).body == b"a" * 12
        assert (await ask(transport, server.origin, timeouts=limits(floor=None))).body == b"a" * 12
        assert (await ask(transport, server.origin, timeouts=limits(floor=1.0))).body == b"a" * 12


async def test_a_server_may_take_its_time_to_begin(start_wire_server: StartWireServer, ours: Transports) -> None:
    def thinks(request: Request, connection: Connection) -> None:
        time.sleep(3 * WINDOW)
        respond(200, (), b"hello")(request, connection)

    server = start_wire_server(thinks)
    async with ours.open() as transport:
        for _ in range(2):
            assert (await ask(transport, server.origin, timeouts=limits(floor=FLOOR))).body == b"hello"


@pytest.mark.parametrize("coding", ["length", "chunks", "until close"])
async def test_a_reader_that_takes_its_time_is_no_stall(
    start_wire_server: StartWireServer, ours: Transports, coding: str
) -> None:
    body = noise(3 * MIB)
    wire = {
        "length": OK + b"Content-Length: %d\r\n\r\n" % len(body) + body,
        "chunks": CHUNKED
        + b"".join(b"10000\r\n%b\r\n" % body[at : at + 65536] for at in range(0, len(body), 65536))
        + b"0\r\n\r\n",
        "until close": OK + b"\r\n" + body,
    }[coding]

    def answer(request: Request, connection: Connection) -> None:
        connection.send(wire)
        if coding == "until close":
            connection.close()

    server = start_wire_server(answer)
    digest = hashlib.sha256()
    async with ours.open() as transport:
        request = request_for(server.origin, timeouts=limits(floor=FLOOR, read=1.0))
        response = await transport.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        waits = 0
        async for piece in response.stream:
            digest.update(piece)
            if waits < 3:
                waits += 1
                await anyio.sleep(WINDOW)
    assert digest.digest() == hashlib.sha256(body).digest()


@pytest.mark.parametrize("length", [20 * MIB, None], ids=["length", "chunks"])
async def test_t38_a_server_that_reads_in_trickles_is_a_write_timeout(
    start_wire_server: StartWireServer, ours: Transports, length: int | None
) -> None:
    def sips(request: Request, connection: Connection) -> None:
        while connection.sock.recv(100_000):
            time.sleep(0.02)

    server = start_wire_server(sips)
    body = Source([bytes(MIB)] * 20)
    async with ours.open() as transport:
        # The buffers of the system take the first megabytes at once.
        with pytest.raises(httpx.WriteTimeout, match="bytes per second"):
            await transport.handle_async_request(
                streamed(server.origin, body, length=length, timeouts=limits(floor=1000.0 * MIB))
            )
        assert counts(transport) == Counts()


async def test_a_source_that_takes_its_time_is_no_stall(start_wire_server: StartWireServer, ours: Transports) -> None:
    class Slow(Source):
        async def __anext__(self) -> bytes:
            await anyio.sleep(WINDOW / 2)
            return await super().__anext__()

    server = start_wire_server(respond(201))
    async with ours.open() as transport:
        request = streamed(server.origin, Slow([b"a"] * 6), length=6, timeouts=limits(floor=FLOOR))
        assert (await finish(await transport.handle_async_request(request))).status == 201
