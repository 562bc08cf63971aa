"""Well-formed heads: every field as it was sent, interim answers before the final one, and how long a head may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.peers.answers import raw
from tests.transport.support import KIB, Counts, ask, counts, failures, finish, request_for
from tests.transport.wire import in_pieces

if TYPE_CHECKING:
    from tests.conftest import StartWireServer
    from tests.peers.wire_server import Connection, Request
    from tests.transport.differences import Cases
    from tests.transport.support import Playback, Transports

OK = b"HTTP/1.1 200 OK\r\n"
FINAL = OK + b"Content-Length: 5\r\n\r\nhello"
EARLY_HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n"

FIELDS = {
    "no value": (b"X-Empty:\r\n", [(b"X-Empty", b"")]),
    "a value of blanks": (b"X-Empty: \t \r\n", [(b"X-Empty", b"")]),
    "blanks around a value": (b"X-Value: \t value \t\r\n", [(b"X-Value", b"value")]),
    "no blank before a value": (b"X-Value:value\r\n", [(b"X-Value", b"value")]),
    "blanks within a value": (b"X-Value: a  b\tc\r\n", [(b"X-Value", b"a  b\tc")]),
    "colons in a value": (b"X-Value: :a:b:\r\n", [(b"X-Value", b":a:b:")]),
    "names as they were written": (b"x-lOWER: 1\r\nX-UPPER: 2\r\n", [(b"x-lOWER", b"1"), (b"X-UPPER", b"2")]),
    "every character of a name": (b"!#$%&'*+-.^_`|~09azAZ: 1\r\n", [(b"!#$%&'*+-.^_`|~09azAZ", b"1")]),
    "latin-1": (b"X-Value: caf\xe9 \x80\xff\r\n", [(b"X-Value", b"caf\xe9 \x80\xff")]),
    "utf-8": ("X-Value: café\r\n".encode(), [(b"X-Value", "café".encode())]),
    "the same name several times": (
        b"X-Same: 1\r\nX-Other: 2\r\nX-Same: 3\r\nx-same: 1\r\n",
        [(b"X-Same", b"1"), (b"X-Other", b"2"), (b"X-Same", b"3"), (b"x-same", b"1")],
    ),
    "cookies": (
        b"Set-Cookie: a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT\r\nSet-Cookie: b=2, c=3\r\n",
        [(b"Set-Cookie", b"a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT"), (b"Set-Cookie", b"b=2, c=3")],
    ),
    "a long value": (b"X-Long: " + b"a" * 50_000 + b"\r\n", [(b"X-Long", b"a" * 50_000)]),
    "a thousand fields": (
        b"".join(b"X-%d: %d\r\n" % (number, number) for number in range(1000)),
        [(b"X-%d" % number, b"%d" % number) for number in range(1000)],
    ),
}


async def test_fields_are_given_as_they_were_sent(playback: Playback, transports: Transports, cases: Cases) -> None:
    async with transports.open() as transport:

        async def check(case: tuple[bytes, list[tuple[bytes, bytes]]]) -> None:
            sent, fields = case
            answer = await ask(transport, playback.plays(OK + b"Content-Length: 5\r\n" + sent + b"\r\nhello"))
            assert answer.fields == [(b"Content-Length", b"5"), *fields]
            assert answer.body == b"hello"

        assert await failures(cases(FIELDS), check) == {}
    assert len(playback.server.connections) == 1


async def test_cookies_stay_apart_for_whoever_reads_them(
    start_wire_server: StartWireServer, transports: Transports
) -> None:
    server = start_wire_server(raw(OK + b"Content-Length: 0\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n\r\n"))
    async with transports.open() as transport:
        response = await httpx.AsyncClient(transport=transport).get(server.origin)
        assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert dict(response.cookies) == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("line", "version", "reason"),
    [
        (b"HTTP/1.1 200 OK", b"HTTP/1.1", b"OK"),
        (b"HTTP/1.0 200 Fine by me", b"HTTP/1.0", b"Fine by me"),
        (b"HTTP/1.1 200 ", b"HTTP/1.1", b""),
        (b"HTTP/1.1 200", b"HTTP/1.1", b""),
        (b"HTTP/1.1 200 \xe4\tb", b"HTTP/1.1", b"\xe4\tb"),
    ],
)
async def test_version_and_reason_are_told(
    start_wire_server: StartWireServer, transports: Transports, line: bytes, version: bytes, reason: bytes
) -> None:
    server = start_wire_server(raw(line + b"\r\nContent-Length: 0\r\n\r\n"))
    async with transports.open() as transport:
        response = await transport.handle_async_request(request_for(server.origin))
        assert response.extensions["http_version"] == version
        assert response.extensions["reason_phrase"] == reason
        await finish(response)


# --- interim answers -------------------------------------------------------------------------------------------------

INTERIM = {
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "100 without a reason": b"HTTP/1.1 100\r\n\r\n",
    "102 with fields": b"HTTP/1.1 102 Processing\r\nX-Progress: 5\r\n\r\n",
    "103": EARLY_HINT,
    "199": b"HTTP/1.1 199 Odd\r\n\r\n",
    "one with a length, which means nothing": b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n",
    "one that says close, which means nothing": b"HTTP/1.1 103 Early Hints\r\nX-Connection: close\r\n\r\n",
    "several": b"HTTP/1.1 100 Continue\r\n\r\n" + EARLY_HINT * 2,
    "1000": EARLY_HINT * 1000,
}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
async def test_f016_interim_answers_are_read_over(
    playback: Playback, transports: Transports, cases: Cases, method: str
) -> None:
    final, body = (FINAL.removesuffix(b"hello"), b"") if method == "HEAD" else (FINAL, b"hello")
    async with transports.open() as transport:

        async def check(interim: bytes) -> None:
            answer = await ask(transport, playback.plays(interim + final), method)
            assert (answer.status, answer.body, answer.field(b"Link")) == (200, body, [])
            assert counts(transport) == Counts(1, 1)

        assert await failures(cases(INTERIM), check) == {}
    assert len(playback.server.connections) == 1


async def test_interim_answers_may_come_one_by_one(start_wire_server: StartWireServer, transports: Transports) -> None:
    wire = EARLY_HINT * 2 + FINAL
    server = start_wire_server(in_pieces([EARLY_HINT, EARLY_HINT[:30], EARLY_HINT[30:] + FINAL[:10], FINAL[10:]]))
    bytewise = start_wire_server(in_pieces(wire[at : at + 1] for at in range(len(wire))))
    async with transports.open() as transport:
        assert (await ask(transport, server.origin)).body == b"hello"
        assert (await ask(transport, bytewise.origin)).body == b"hello"


@pytest.mark.parametrize("over", [0, 1])
async def test_t77_interim_answers_have_a_limit(playback: Playback, transports: Transports, over: int) -> None:
    from ocidist.http.transport.head import MAX_INTERIM

    wire = b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM + over) + FINAL
    async with transports.open() as transport:
        if over:
            await playback.is_refused(transport, wire)
        else:
            assert (await ask(transport, playback.plays(wire))).body == b"hello"


BROKEN_INTERIM = {
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "101 and more": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n" + FINAL,
    "101 after 100": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n",
    "garbage after 100": b"HTTP/1.1 100 Continue\r\n\r\nhello world\r\n\r\n",
    "a body after 103": b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello" + FINAL,
}


async def test_t77_an_interim_answer_that_is_none_is_refused(
    playback: Playback, transports: Transports, cases: Cases
) -> None:
    async with transports.open() as transport:

        async def check(wire: bytes) -> None:
            await playback.is_refused(transport, wire)

        assert await failures(cases(BROKEN_INTERIM), check) == {}
        # Alone they are no answer, either.
        await playback.is_refused(transport, EARLY_HINT * 3, closed=True)


# --- how long a head may be ------------------------------------------------------------------------------------------


def _head(size: int) -> bytes:
    start, end = OK + b"Content-Length: 5\r\nX-Long: ", b"\r\n\r\n"
    return start + b"a" * (size - len(start) - len(end)) + end


@pytest.mark.parametrize("pieces", [1, 3])
async def test_t77_a_head_of_64_kib_is_read(
    start_wire_server: StartWireServer, transports: Transports, pieces: int
) -> None:
    head = _head(64 * KIB)
    assert len(head) == 65536
    step = -(-len(head) // pieces)
    parts = [head[at : at + step] for at in range(0, len(head), step)]
    server = start_wire_server(in_pieces([*parts, b"hello"]))
    async with transports.open() as transport:
        for _ in range(2):
            assert (await ask(transport, server.origin)).body == b"hello"
    assert len(server.connections) == 1


@pytest.mark.parametrize("size", [64 * KIB + 1, 64 * KIB + 4, 80 * KIB, 1024 * KIB])
async def test_t77_a_head_of_more_is_refused(playback: Playback, transports: Transports, size: int) -> None:
    async with transports.open() as transport:
        await playback.is_refused(transport, _head(size) + b"hello")


ENDLESS = {
    "a field": (OK + b"X-Long: ", b"a" * KIB),
    "fields": (OK, b"X-More: and more\r\n" * 50),
    "a reason": (b"HTTP/1.1 200 ", b"a" * KIB),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
    "a name": (OK, b"a" * KIB),
    "zeros": (b"", b"\0" * KIB),
    "empty lines": (b"", b"\r\n" * KIB),
}


@pytest.mark.parametrize(("start", "more"), ENDLESS.values(), ids=ENDLESS)
async def test_t77_a_head_that_never_ends_is_refused(
    start_wire_server: StartWireServer, transports: Transports, start: bytes, more: bytes
) -> None:
    def endless(request: Request, connection: Connection) -> None:
        request.read()
        connection.send(start)
        while True:
            connection.send(more)

    server = start_wire_server(endless)
    async with transports.open() as transport:
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(transport, server.origin)
        assert counts(transport) == Counts()
