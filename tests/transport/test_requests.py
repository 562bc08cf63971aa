"""Requests as they arrive: heads, bodies of every kind, and bodies that go wrong half-way."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.peers.answers import respond
from tests.peers.images import noise
from tests.transport.support import (
    KIB,
    MIB,
    Counts,
    Source,
    ask,
    counts,
    failures,
    finish,
    request_for,
    streamed,
    until_gone,
)

if TYPE_CHECKING:
    from tests.conftest import StartWireServer
    from tests.peers.wire_server import Connection, Request, WireServer
    from tests.transport.differences import Cases
    from tests.transport.support import Transports

LARGE = noise(20 * MIB)

BODIES = {
    "nothing": [],
    "one piece": [b"hello"],
    "one byte at a time": [b"%c" % byte for byte in LARGE[:500]],
    "pieces of all sizes": [LARGE[:1], LARGE[1 : 64 * KIB], LARGE[64 * KIB : 3 * MIB]],
    "empty pieces": [b"", b"hello", b"", b"", b" world", b""],
    "only empty pieces": [b"", b""],
    "what looks like the last chunk": [b"0\r\n\r\n", b"0\r\n\r\n"],
}


@pytest.mark.parametrize("framing", ["bytes", "length", "chunks"])
@pytest.mark.parametrize("pieces", BODIES.values(), ids=BODIES)
async def test_a_body_arrives_as_it_was_given(
    wire_server: WireServer, transports: Transports, pieces: list[bytes], framing: str
) -> None:
    wire_server.on("PUT", "/", respond(201))
    body = b"".join(pieces)
    async with transports.open() as transport:
        for _ in range(2):
            request = request_for(wire_server.origin, "PUT", content=body)
            if framing != "bytes":
                length = len(body) if framing == "length" else None
                request = streamed(wire_server.origin, Source(pieces), length=length)
            answer = await finish(await transport.handle_async_request(request))
            assert answer.status == 201
    assert [request.body == body for request in wire_server.requests] == [True, True]
    for arrived in wire_server.requests:
        assert arrived.header("Content-Length") == (None if framing == "chunks" else str(len(body)))
        assert arrived.header("Transfer-Encoding") == ("chunked" if framing == "chunks" else None)
    assert len(wire_server.connections) == 1


async def test_20_mib_arrive_at_a_server_that_reads_slowly(
    start_wire_server: StartWireServer, transports: Transports
) -> None:
    found: list[str] = []

    def slow(request: Request, connection: Connection) -> None:
        digest = hashlib.sha256()
        while piece := request.read(1000 * (len(found) + 7)):
            digest.update(piece)
        found.append(digest.hexdigest())
        respond(201)(request, connection)

    server = start_wire_server(slow)
    parts = [LARGE[at : at + MIB] for at in range(0, len(LARGE), MIB)]
    async with transports.open() as transport:
        for request in (
            request_for(server.origin, "PUT", content=LARGE),
            streamed(server.origin, Source(parts), length=len(LARGE)),
            streamed(server.origin, Source(parts)),
        ):
            assert (await finish(await transport.handle_async_request(request))).status == 201
    assert found == [hashlib.sha256(LARGE).hexdigest()] * 3
    assert len(server.connections) == 1


async def test_a_request_without_a_body_says_so_where_one_is_usual(
    wire_server: WireServer, transports: Transports
) -> None:
    wire_server.on("*", "/*", respond(200))
    methods = ("GET", "HEAD", "DELETE", "OPTIONS", "POST", "PUT", "PATCH", "PROPFIND")
    async with transports.open() as transport:
        for method in methods:
            await ask(transport, wire_server.origin, method)
    assert [request.method for request in wire_server.requests] == list(methods)
    for arrived in wire_server.requests:
        assert arrived.header("Content-Length") == ("0" if arrived.method in {"POST", "PUT", "PATCH"} else None)
        assert arrived.header("Transfer-Encoding") is None


async def test_fields_are_sent_as_they_were_given_and_in_order(wire_server: WireServer, transports: Transports) -> None:
    wire_server.on("GET", "/*", respond(200))
    fields = [("x-lOWER", "1"), ("X-Same", "a"), ("X-Empty", ""), ("X-Same", "b"), ("X-Latin", "caf\xe9")]
    raw = [(name.encode(), value.encode("latin-1")) for name, value in fields]
    async with transports.open() as transport:
        await ask(transport, wire_server.origin, headers=raw)
    assert wire_server.requests[0].headers == [("Host", wire_server.host), *fields]


async def test_a_host_that_was_given_is_sent_once_and_where_it_was_given(
    wire_server: WireServer, transports: Transports
) -> None:
    wire_server.on("GET", "/*", respond(200))
    fields = [("X-First", "1"), ("hOST", "registry.example"), ("X-Last", "2")]
    async with transports.open() as transport:
        await ask(transport, wire_server.origin, headers=fields)
    assert wire_server.requests[0].headers == fields


TARGETS = {
    "": "/",
    "/": "/",
    "/?": "/?",
    "/v2/a/b?n=1&last=%2F": "/v2/a/b?n=1&last=%2F",
    "//v2//": "//v2//",
    "/%41%20b": "/%41%20b",
    "/a#fragment": "/a",
}


async def test_the_target_is_the_path_and_the_query(wire_server: WireServer, transports: Transports) -> None:
    wire_server.on("GET", "*", respond(200))
    async with transports.open() as transport:
        for path in TARGETS:
            await ask(transport, wire_server.origin + path)
    assert wire_server.targets("GET") == list(TARGETS.values())


# --- what cannot be sent ---------------------------------------------------------------------------------------------

ILLEGAL: dict[str, dict[str, Any]] = {
    "CRLF in a value": {"headers": [("X-Value", "a\r\nX-Evil: b")]},
    "LF in a value": {"headers": [("X-Value", "a\nX-Evil: b")]},
    "CR in a value": {"headers": [("X-Value", "a\rX-Evil: b")]},
    "NUL in a value": {"headers": [("X-Value", "a\0b")]},
    "CRLF at the end of a value": {"headers": [("X-Value", "a\r\n")]},
    "CRLF in the Host": {"headers": [("Host", "registry.example\r\nX-Evil: b")]},
    "CRLF in a name": {"headers": [("X-Value: a\r\nX-Evil", "b")]},
    "a colon in a name": {"headers": [("X:Value", "a")]},
    "a blank in a name": {"headers": [("X Value", "a")]},
    "a blank behind a name": {"headers": [("X-Value ", "a")]},
    "latin-1 in a name": {"headers": [("X-Val\xfce".encode("latin-1"), b"a")]},
    "no name": {"headers": [("", "a")]},
    "CRLF in the method": {"method": "GET / HTTP/1.1\r\nX-Evil: b\r\nX-Rest:"},
    "a blank in the method": {"method": "GET /evil"},
}


async def test_t77_what_would_be_read_as_something_else_is_not_sent(
    wire_server: WireServer, transports: Transports, cases: Cases
) -> None:
    wire_server.on("*", "*", respond(200))
    async with transports.open() as transport:

        async def check(options: dict[str, Any]) -> None:
            request = request_for(wire_server.origin, **options)
            with pytest.raises(httpx.LocalProtocolError):
                await transport.handle_async_request(request)
            assert wire_server.received == b""

        assert await failures(cases(ILLEGAL), check) == {}
        for path in ("/a\r\nX-Evil: b", "/a\nb", "/a b", "/a\0b", "/a\x7fb"):
            request = request_for(wire_server.origin)
            # httpx's URL would not have taken it.
            request.url._uri_reference = request.url._uri_reference._replace(path=path)
            with pytest.raises(httpx.LocalProtocolError):
                await transport.handle_async_request(request)
        assert wire_server.received == b""
        assert (await ask(transport, wire_server.origin)).status == 200


@pytest.mark.parametrize("scheme", ["ftp", "ws+unix", "file"])
async def test_other_schemes_are_not_supported(transports: Transports, scheme: str) -> None:
    async with transports.open() as transport:
        with pytest.raises(httpx.UnsupportedProtocol):
            await ask(transport, f"{scheme}://127.0.0.1/")


# --- bodies that go wrong --------------------------------------------------------------------------------------------


class SourceError(Exception):
    """What only the body's source can raise."""


class Arrivals:
    """Answers 200 to whatever is complete, and remembers what was."""

    def __init__(self) -> None:
        self.complete: list[bytes] = []

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer a request."""
        self.complete.append(request.read())
        respond(200)(request, connection)


@pytest.mark.parametrize("length", [20, None], ids=["length", "chunks"])
@pytest.mark.parametrize("pieces", [0, 1, 3])
async def test_an_error_of_the_bodys_source_is_the_callers_and_ends_the_connection(
    start_wire_server: StartWireServer, transports: Transports, length: int | None, pieces: int
) -> None:
    failure = SourceError("the disk is gone")
    arrivals = Arrivals()
    server = start_wire_server(arrivals)
    async with transports.open() as transport:
        await ask(transport, server.origin)
        with pytest.raises(SourceError) as caught:
            await transport.handle_async_request(
                streamed(server.origin, Source([b"hello"] * pieces, failure), length=length)
            )
        assert caught.value is failure
        assert counts(transport) == Counts()
        await until_gone(server)
        assert arrivals.complete == [b""]
        await ask(transport, server.origin)
    assert len(server.connections) == 2


MISCOUNTED = {
    "too short": ([b"hello"], 6),
    "nothing at all": ([], 1),
    "too long in one piece": ([b"hello!"], 5),
    "too long in the second piece": ([b"hel", b"lo!"], 5),
    "too long by a piece": ([b"hello", b"!"], 5),
    "something instead of nothing": ([b"!"], 0),
}


@pytest.mark.parametrize(("pieces", "length"), MISCOUNTED.values(), ids=MISCOUNTED)
async def test_t77_a_body_of_another_length_than_announced_is_an_error_and_ends_the_connection(
    start_wire_server: StartWireServer, transports: Transports, pieces: list[bytes], length: int
) -> None:
    arrivals = Arrivals()
    server = start_wire_server(arrivals)
    async with transports.open() as transport:
        with pytest.raises(httpx.LocalProtocolError):
            await transport.handle_async_request(streamed(server.origin, Source(pieces), length=length))
        assert counts(transport) == Counts()
        await until_gone(server)
    whole = b"".join(pieces)
    # One that ends at the end of a piece is complete before anybody knows; nothing of the rest may follow it.
    assert arrivals.complete in ([], [whole[:length]])
    assert re.search(rb"!", server.received) is None


async def test_a_connection_header_of_the_request_is_kept_to(
    start_wire_server: StartWireServer, transports: Transports
) -> None:
    def keeps_open(request: Request, connection: Connection) -> None:
        # The server closes such connections by itself, unless it does not know.
        request.headers = [("Connection", "keep-alive")]
        respond(200)(request, connection)

    server = start_wire_server(keeps_open)
    async with transports.open() as transport:
        for _ in range(2):
            await ask(transport, server.origin, headers={"Connection": "close"})
            assert counts(transport) == Counts()
    assert len(server.connections) == 2


async def test_f016_a_server_that_never_says_continue_gets_the_body_anyway(
    start_wire_server: StartWireServer, transports: Transports
) -> None:
    def silent(request: Request, connection: Connection) -> None:
        request._go_ahead = False
        respond(201)(request, connection)

    server = start_wire_server(silent)
    async with transports.open() as transport:
        answer = await ask(transport, server.origin, "PUT", content=b"hello", headers={"Expect": "100-continue"})
    assert answer.status == 201
    assert server.requests[0].body == b"hello"
