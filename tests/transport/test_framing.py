"""Where the body of a well-formed response ends, and whether its connection is used again."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

import attrs
import pytest

from tests.peers.answers import chain, close, raw, respond
from tests.peers.images import noise
from tests.transport.support import MIB, Counts, ask, counts, failures, in_parallel, until_gone
from tests.transport.wire import byte_by_byte, send_in_pieces, wait_received

if TYPE_CHECKING:
    from tests.conftest import StartWireServer
    from tests.peers.wire_server import Connection, Request
    from tests.transport.differences import Cases
    from tests.transport.support import Playback, Transports

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"
BIG = noise(3 * MIB)


@attrs.frozen
class Framed:
    """A response whose connection stays open.

    Attributes:
        wire: The bytes.
        body: What the client should make of them.
        method: Method of the request.
        status: Status code.
    """

    wire: bytes
    body: bytes = b""
    method: str = "GET"
    status: int = 200


REUSED = {
    "a length": Framed(HELLO, b"hello"),
    "a length of zero": Framed(OK + b"Content-Length: 0\r\n\r\n"),
    "a length with leading zeros": Framed(OK + b"Content-Length: 0005\r\n\r\nhello", b"hello"),
    "a length with blanks around it": Framed(OK + b"Content-Length: \t 5 \t\r\n\r\nhello", b"hello"),
    "a length right after the colon": Framed(OK + b"Content-Length:5\r\n\r\nhello", b"hello"),
    "a body that looks like a head": Framed(OK + b"Content-Length: 43\r\n\r\n" + HELLO, HELLO),
    "chunks": Framed(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "no chunk": Framed(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "names in lower case": Framed(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
    "names in upper case": Framed(b"HTTP/1.1 200 OK\r\nCONTENT-LENGTH: 5\r\n\r\nhello", b"hello"),
    "chunks in upper case": Framed(OK + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "no reason": Framed(b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "no reason and no blank": Framed(b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "HEAD with a length": Framed(OK + b"Content-Length: 12345\r\n\r\n", method="HEAD"),
    "HEAD with chunks": Framed(OK + b"Transfer-Encoding: chunked\r\n\r\n", method="HEAD"),
    "HEAD with nothing": Framed(OK + b"\r\n", method="HEAD"),
    "HEAD with an error's length": Framed(
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 99\r\n\r\n", method="HEAD", status=404
    ),
    "204": Framed(b"HTTP/1.1 204 No Content\r\n\r\n", status=204),
    "204 with a length of zero": Framed(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", status=204),
    "204 with a length": Framed(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", status=204),
    "204 with chunks": Framed(b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", status=204),
    "304": Framed(b"HTTP/1.1 304 Not Modified\r\n\r\n", status=304),
    "304 with a length": Framed(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 12345\r\n\r\n", status=304),
    "an error with a body": Framed(b"HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\nhello", b"hello", status=503),
    "a status nobody knows": Framed(b"HTTP/1.1 299 Odd\r\nContent-Length: 5\r\n\r\nhello", b"hello", status=299),
    "three digits and no more": Framed(b"HTTP/1.1 999 End\r\nContent-Length: 5\r\n\r\nhello", b"hello", status=999),
    "keep-alive said aloud": Framed(OK + b"Connection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "1.0 with keep-alive": Framed(
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", b"hello"
    ),
}

NOT_REUSED = {
    "close": Framed(OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "close in upper case": Framed(OK + b"Connection: CLOSE\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "close among others": Framed(OK + b"Connection: upgrade, close\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "close before keep-alive": Framed(
        OK + b"Connection: close\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", b"hello"
    ),
    "close after keep-alive": Framed(
        OK + b"Connection: keep-alive\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", b"hello"
    ),
    "close and no body": Framed(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", status=204),
    "close after HEAD": Framed(OK + b"Connection: close\r\nContent-Length: 5\r\n\r\n", method="HEAD"),
    "close and chunks": Framed(
        OK + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello"
    ),
    "1.0": Framed(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "1.0 and HEAD": Framed(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", method="HEAD"),
}

UNTIL_CLOSE = {
    "1.1": OK + b"\r\n",
    "1.0": b"HTTP/1.0 200 OK\r\n\r\n",
    "1.0 with keep-alive": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n",
    "close": OK + b"Connection: close\r\n\r\n",
    "an error": b"HTTP/1.1 500 Internal Server Error\r\n\r\n",
}


def each(cases: dict[str, Framed]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases.values(), ids=cases)


async def test_a_body_ends_where_it_says_and_the_next_request_goes_over_the_same_connection(
    playback: Playback, transports: Transports, cases: Cases
) -> None:
    async with transports.open() as transport:

        async def check(case: Framed) -> None:
            for _ in range(2):
                answer = await ask(transport, playback.plays(case.wire), case.method)
                assert (answer.status, answer.body) == (case.status, case.body)
            assert counts(transport) == Counts(open=1, idle=1)

        assert await failures(cases(REUSED), check) == {}
    assert len(playback.server.connections) == 1


@pytest.mark.parametrize("name", ["a length", "chunks", "HEAD with a length", "204 with a length", "no chunk"])
async def test_it_may_arrive_byte_by_byte(
    start_wire_server: StartWireServer, transports: Transports, name: str
) -> None:
    case = REUSED[name]
    server = start_wire_server(byte_by_byte(case.wire))
    async with transports.open() as transport:
        for _ in range(2):
            answer = await ask(transport, server.origin, case.method)
            assert (answer.status, answer.body) == (case.status, case.body)
    assert len(server.connections) == 1


async def test_a_connection_that_is_to_end_is_closed_by_the_client_too(
    playback: Playback, transports: Transports, cases: Cases
) -> None:
    async with transports.open() as transport:

        async def check(case: Framed) -> None:
            answer = await ask(transport, playback.plays(case.wire), case.method)
            assert (answer.status, answer.body) == (case.status, case.body)
            assert counts(transport) == Counts()

        assert await failures(cases(NOT_REUSED), check) == {}
        await until_gone(playback.server)


async def test_a_body_without_a_length_ends_with_the_connection(
    playback: Playback, transports: Transports, cases: Cases
) -> None:
    async with transports.open() as transport:

        async def check(head: bytes) -> None:
            for size in (0, 1, 300_000):
                assert (await ask(transport, playback.plays(head + BIG[:size], closed=True))).body == BIG[:size]
                assert counts(transport) == Counts()

        assert await failures(cases(UNTIL_CLOSE), check) == {}


async def test_a_head_may_be_split_anywhere(start_wire_server: StartWireServer, transports: Transports) -> None:
    wire = b"HTTP/1.1 200 OK\r\nA:b\r\nContent-Length: 5\r\nC: \r\n\r\nhello"

    def split(request: Request, connection: Connection) -> None:
        at = int(request.path[1:])
        send_in_pieces(connection, (wire[:at], wire[at:]))

    server = start_wire_server(split)
    async with transports.open() as transport:
        for at in range(1, len(wire)):
            answer = await ask(transport, f"{server.origin}/{at}")
            assert (at, answer.body) == (at, b"hello")
            assert (at, answer.field(b"a"), answer.field(b"c")) == (at, [b"b"], [b""])
    assert len(server.connections) == 1


@pytest.mark.parametrize("coding", ["length", "chunks", "until close"])
async def test_3_mib_arrive_unchanged_again_and_again(
    start_wire_server: StartWireServer, transports: Transports, coding: str
) -> None:
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BIG[:MIB], BIG[MIB:]))
    wire = {
        "length": OK + b"Content-Length: %d\r\n\r\n" % len(BIG) + BIG,
        "chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked + b"0\r\n\r\n",
        "until close": OK + b"\r\n" + BIG,
    }[coding]
    server = start_wire_server(chain(raw(wire), close) if coding == "until close" else raw(wire))
    async with transports.open() as transport:
        for _ in range(3):
            answer = await ask(transport, server.origin)
            assert hashlib.sha256(answer.body).digest() == hashlib.sha256(BIG).digest()
    assert len(server.connections) == (3 if coding == "until close" else 1)


async def test_requests_at_the_same_time_have_connections_of_their_own(
    start_wire_server: StartWireServer, transports: Transports
) -> None:
    server = start_wire_server(lambda request, connection: respond(200, (), request.path.encode())(request, connection))
    bodies: list[bytes] = []

    async with transports.open() as transport:

        async def one() -> None:
            number = len(bodies)
            path = f"/{number}"
            bodies.append(b"")
            bodies[number] = (await ask(transport, server.origin + path)).body

        await in_parallel(20, one)
    assert bodies == [b"/%d" % number for number in range(20)]


FOLLOWED = {
    "a length": Framed(HELLO, b"hello"),
    "a length of zero": Framed(OK + b"Content-Length: 0\r\n\r\n"),
    "chunks": Framed(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "HEAD": Framed(OK + b"Content-Length: 5\r\n\r\n", method="HEAD"),
    "204": Framed(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", status=204),
    "304": Framed(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", status=304),
    "a long body": Framed(OK + b"Content-Length: 300000\r\n\r\n" + BIG[:300_000], BIG[:300_000]),
}
POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
EXTRA = {
    "another answer": POISON,
    "a body": b"hello",
    "one byte": b"H",
    "half a head": POISON[:20],
    "an error": b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
}


@each(FOLLOWED)
@pytest.mark.parametrize("arrival", ["with the answer", "right behind", "later"])
async def test_an_answer_to_nothing_is_not_taken_for_the_next_one(
    start_wire_server: StartWireServer, transports: Transports, case: Framed, arrival: str
) -> None:
    await _next_is_right(start_wire_server, transports, case, POISON, arrival)


@pytest.mark.parametrize("extra", EXTRA.values(), ids=EXTRA)
@pytest.mark.parametrize("name", ["a length", "chunks", "204"])
@pytest.mark.parametrize("arrival", ["with the answer", "later"])
async def test_bytes_behind_an_answer_end_its_connection(
    start_wire_server: StartWireServer, transports: Transports, name: str, extra: bytes, arrival: str
) -> None:
    await _next_is_right(start_wire_server, transports, FOLLOWED[name], extra, arrival)


async def _next_is_right(
    start_wire_server: StartWireServer, transports: Transports, case: Framed, extra: bytes, arrival: str
) -> None:
    sent = threading.Event()

    def poisoned(request: Request, connection: Connection) -> None:
        if connection.number or request.path == "/second":
            respond(200, (), b"right")(request, connection)
            return
        try:
            if arrival == "with the answer":
                connection.send(case.wire + extra)
            else:
                connection.send(case.wire)
                if arrival == "later":
                    wait_received(connection)
                connection.send(extra)
        finally:
            sent.set()

    server = start_wire_server(poisoned)
    async with transports.open() as transport:
        answer = await ask(transport, f"{server.origin}/first", case.method)
        assert (answer.status, answer.body) == (case.status, case.body)
        # The event loop gets no chance to notice anything: whether a connection is fit for use is to be looked at anew.
        assert sent.wait(10)
        assert (await ask(transport, f"{server.origin}/second")).body == b"right"
    assert len(server.connections) == 2
    assert b"/second" not in server.connections[0].received
