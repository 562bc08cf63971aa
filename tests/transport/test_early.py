"""Answers that come while the request is still being sent: what the server said counts, not the broken pipe."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import attrs
import httpx
import pytest

from tests.peers.answers import early, respond
from tests.peers.images import noise
from tests.transport.support import (
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

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conftest import StartWireServer
    from tests.peers.wire_server import Connection, Request
    from tests.transport.support import Transports

LARGE = noise(20 * MIB)
WORDS = b'{"errors":[{"code":"DENIED","message":"no"}]}'


@pytest.fixture(params=["bytes", "stream"])
def put(request: pytest.FixtureRequest) -> Put:
    """Make requests with a body of 20 MiB, or less."""
    return Put(request.param)


@attrs.frozen
class Put:
    """Makes requests with one kind of body."""

    kind: str

    def __call__(self, url: str, size: int = len(LARGE)) -> httpx.Request:
        """Return a request."""
        if self.kind == "bytes":
            return request_for(url, "PUT", content=LARGE[:size])
        return streamed(url, Source(_pieces(size)))


def _pieces(size: int = len(LARGE)) -> list[bytes]:
    return [LARGE[at : at + MIB] for at in range(0, size, MIB)]


async def _check(transport: httpx.AsyncBaseTransport, request: httpx.Request, status: int) -> None:
    answer = await finish(await transport.handle_async_request(request))
    assert (answer.status, answer.body) == (status, WORDS)


async def test_t76_an_early_refusal_is_the_answer_while_the_server_reads_on(
    start_wire_server: StartWireServer, transports: Transports, put: Put
) -> None:
    server = start_wire_server(early(413, (), WORDS))
    async with transports.open() as transport:
        await _check(transport, put(server.origin, 6 * MIB), 413)


@pytest.mark.parametrize("status", [307, 400, 401, 403, 503])
async def test_t76_so_is_any_answer_but_a_success(
    start_wire_server: StartWireServer, transports: Transports, status: int
) -> None:
    def refuse(request: Request, connection: Connection) -> None:
        early(status, {"Connection": "close"}, WORDS)(request, connection)
        connection.close()

    server = start_wire_server(refuse)
    async with transports.open() as transport:
        await _check(transport, streamed(server.origin, Source(_pieces()), length=len(LARGE)), status)


@pytest.mark.parametrize("taken", [0, 3 * MIB])
async def test_t76_an_early_refusal_is_the_answer_while_nobody_reads_the_body_any_more(
    start_wire_server: StartWireServer,
    transports: Transports,
    put: Put,
    released: threading.Event,
    taken: int,
) -> None:
    def refuse(request: Request, connection: Connection) -> None:
        request.read(taken)
        early(413, (), WORDS)(request, connection)
        released.wait(30)

    server = start_wire_server(refuse)
    async with transports.open() as transport:
        await _check(transport, put(server.origin), 413)
        assert counts(transport) == Counts()


@pytest.mark.parametrize("end", ["FIN", "RST"])
async def test_t76_an_early_refusal_is_the_answer_when_the_server_hangs_up(
    start_wire_server: StartWireServer,
    transports: Transports,
    put: Put,
    end: str,
) -> None:
    def refuse(request: Request, connection: Connection) -> None:
        request.read(3 * MIB * connection.number)
        early(413, {"Connection": "close"}, WORDS)(request, connection)
        if end == "FIN":
            connection.close()
        else:
            connection.reset()

    server = start_wire_server(refuse)
    async with transports.open() as transport:
        for _ in range(2):
            await _check(transport, put(server.origin), 413)
            assert counts(transport) == Counts()
        await until_gone(server)
    assert len(server.connections) == 2


async def test_t76_the_rest_of_a_body_that_was_refused_is_not_sent(
    start_wire_server: StartWireServer, transports: Transports
) -> None:
    told = threading.Event()

    def refuse(request: Request, connection: Connection) -> None:
        early(413, (), WORDS)(request, connection)
        told.set()

    server = start_wire_server(refuse)

    class Slow(Source):
        async def __anext__(self) -> bytes:
            if self.given == 1:
                told.wait(10)
            return await super().__anext__()

    source = Slow([b"a" * 100] * 1000)
    async with transports.open() as transport:
        await _check(transport, streamed(server.origin, source), 413)
        assert counts(transport) == Counts()
        await until_gone(server)
    assert source.given <= 2


async def test_t76_the_source_of_a_body_that_was_refused_is_closed(
    start_wire_server: StartWireServer, transports: Transports
) -> None:
    server = start_wire_server(early(413, {"Connection": "close"}, WORDS))
    ended: list[bool] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            for piece in _pieces():
                yield piece
        finally:
            ended.append(True)

    async with transports.open() as transport:
        request = request_for(server.origin, "PUT", content=pieces())
        response = await transport.handle_async_request(request)
        assert ended == [True]
        assert (await finish(response)).status == 413


async def test_t76_after_an_early_success_the_rest_is_still_sent(
    start_wire_server: StartWireServer, transports: Transports, put: Put
) -> None:
    bodies: list[bytes] = []

    def accept(request: Request, connection: Connection) -> None:
        request.read(MIB)
        early(201, (), WORDS)(request, connection)
        request.read()
        bodies.append(request.body)

    server = start_wire_server(accept)
    async with transports.open() as transport:
        for number in range(2):
            await _check(transport, put(server.origin, 6 * MIB), 201)
            await until(lambda number=number: len(bodies) > number)  # type: ignore[misc]  # mypy cannot infer a lambda default
    assert [body == LARGE[: 6 * MIB] for body in bodies] == [True, True]
    assert len(server.connections) == 1


async def test_f016_an_interim_answer_in_the_middle_of_the_body_changes_nothing(
    start_wire_server: StartWireServer, transports: Transports, put: Put
) -> None:
    def encourage(request: Request, connection: Connection) -> None:
        for _ in range(5):
            request.read(MIB)
            connection.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nX-Progress: 5\r\n\r\n")
        respond(201, (), WORDS)(request, connection)

    server = start_wire_server(encourage)
    async with transports.open() as transport:
        for _ in range(2):
            await _check(transport, put(server.origin, 6 * MIB), 201)
    assert [request.body == LARGE[: 6 * MIB] for request in server.requests] == [True, True]
    assert len(server.connections) == 1


@pytest.mark.parametrize("end", ["FIN", "RST", "garbage", "half a head"])
async def test_t76_a_server_that_hangs_up_without_a_word_is_an_error(
    start_wire_server: StartWireServer, transports: Transports, put: Put, end: str
) -> None:
    def hang_up(request: Request, connection: Connection) -> None:
        if connection.number:
            respond(200)(request, connection)
            return
        request.read(3 * MIB)
        if end == "RST":
            connection.reset()
            return
        connection.send({"garbage": b"hello world\r\n\r\n", "half a head": b"HTTP/1.1 413 Pay"}.get(end, b""))
        connection.close()

    server = start_wire_server(hang_up)
    async with transports.open() as transport:
        with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
            await transport.handle_async_request(put(server.origin, 12 * MIB))
        assert counts(transport) == Counts()
        await until_gone(server)
        assert len(server.requests) == 1
        await ask(transport, server.origin)


async def test_t76_the_last_words_of_a_server_are_not_waited_for_longer_than_the_read_timeout_allows(
    start_wire_server: StartWireServer, transports: Transports, released: threading.Event
) -> None:
    def half(request: Request, connection: Connection) -> None:
        connection.send(b"HTTP/1.1 413 Pay")
        released.wait(30)

    server = start_wire_server(half)
    request = streamed(server.origin, Source([b"hello"]), length=5, timeouts=limits(read=0.1))
    async with transports.open() as transport:
        with pytest.raises(httpx.ReadTimeout):
            await transport.handle_async_request(request)
        assert counts(transport) == Counts()
