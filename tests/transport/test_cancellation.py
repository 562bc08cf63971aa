"""Requests cancelled at any moment: afterwards nothing is left of them, and the pool serves as if nothing had been."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import anyio.lowlevel
import pytest
import trio

from tests.peers.answers import after, chain, respond, silence
from tests.peers.images import noise
from tests.transport.storm import ANSWERS, Storm, StormServer
from tests.transport.support import (
    ENDLESS,
    KIB,
    MIB,
    Counts,
    Source,
    Transports,
    ask,
    begun,
    counts,
    finish,
    in_parallel,
    limits,
    request_for,
    streamed,
    until,
    until_gone,
)
from tests.transport.wire import full_port, open_sockets

if TYPE_CHECKING:
    import httpx

    from tests.conftest import StartWireServer
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, Request, WireServer
    from tests.transport.conftest import StartRawServer
    from tests.transport.support import Resolver

Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
Cancelled: TypeAlias = Callable[[Work, Callable[[], bool]], Awaitable[None]]

# 10 000 in all; without contention each costs a connection.
CANCELS = {None: 3000, 4: 7000}


def _on_trio(backend: object) -> bool:
    return backend == "trio"


def _tasks(backend: object) -> int:
    return trio.lowlevel.current_statistics().tasks_living if _on_trio(backend) else len(asyncio.all_tasks())


@pytest.mark.in_turn
@pytest.mark.parametrize("most", CANCELS, ids=["free", "contended"])
async def test_t70_after_a_storm_of_cancellations_nothing_is_left_and_everything_works(
    transports: Transports, anyio_backend: object, most: int | None
) -> None:
    with StormServer() as server:
        sockets, tasks = open_sockets(), _tasks(anyio_backend)
        transport = transports.make(max_connections=most)
        storm = Storm(transport, server.origin, random.Random(f"{most}"), native=not _on_trio(anyio_backend))  # noqa: S311 -- a test's dice
        await storm.rage(32, CANCELS[most])
        held = counts(transport)
        assert held == Counts(held.idle, held.idle)
        await until(lambda: server.open == held.open)
        answers: list[bytes] = []

        async def one() -> None:
            answers.append((await ask(transport, f"{server.origin}/now", timeouts=limits(pool=5.0))).body)

        await in_parallel(50, one)
        assert answers == [b"hello"] * 50
        assert _tasks(anyio_backend) == tasks
        await transport.aclose()
        await until(lambda: server.open == 0)
        await until(lambda: open_sockets() == sockets)


async def test_t70_a_storm_over_tls_leaves_nothing_either(
    start_wire_server: StartWireServer, transports: Transports, authority: Authority, anyio_backend: object
) -> None:
    def answer(request: Request, connection: Connection) -> None:
        request.read()
        connection.send(ANSWERS[request.path.encode()])

    server = start_wire_server(answer, tls=authority)
    sockets, tasks = open_sockets(), _tasks(anyio_backend)
    transport = transports.make(tls=authority.client_context())
    storm = Storm(transport, server.origin, random.Random(7), native=not _on_trio(anyio_backend))  # noqa: S311 -- a test's dice
    await storm.rage(8, 150)
    held = counts(transport)
    assert held == Counts(held.idle, held.idle)
    await in_parallel(10, lambda: ask(transport, f"{server.origin}/now"))
    assert _tasks(anyio_backend) == tasks
    await transport.aclose()
    await until_gone(server)
    await until(lambda: open_sockets() == sockets)


# --- one by one ------------------------------------------------------------------------------------------------------


async def _by_scope(work: Work, ready: Callable[[], bool]) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await until(ready)
        group.cancel_scope.cancel()


async def _natively(work: Work, ready: Callable[[], bool]) -> None:
    task = asyncio.create_task(work())
    await until(ready)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.fixture(params=["scope", "native"])
def cancelled(request: pytest.FixtureRequest, anyio_backend: object) -> Cancelled:
    """Start some work, and cancel it as soon as it has got to where it waits."""
    if request.param == "scope":
        return _by_scope
    if _on_trio(anyio_backend):
        pytest.skip("a task of trio cannot be cancelled by itself")
    return _natively


async def _is_as_before(transport: httpx.AsyncBaseTransport, server: WireServer, sockets: int) -> None:
    assert counts(transport) == Counts()
    await until(lambda: open_sockets() == sockets)
    assert (await ask(transport, f"{server.origin}/")).body == b"hello"
    assert counts(transport) == Counts(1, 1)


@pytest.fixture
def server(wire_server: WireServer, released: threading.Event) -> WireServer:
    """A server that keeps some requests waiting."""
    wire_server.on("GET", "/", respond(200, (), b"hello"))
    wire_server.on("GET", "/silent", silence)
    wire_server.on("GET", "/half", chain(respond(200, {"Content-Length": "100"}, b"half"), silence))
    wire_server.on("PUT", "/unread", after(released, respond(200)))
    return wire_server


@pytest.mark.parametrize("path", ["/silent", "/half"])
async def test_t70_a_request_that_waits_for_its_answer_can_be_cancelled(
    server: WireServer, transports: Transports, cancelled: Cancelled, path: str
) -> None:
    sockets = open_sockets()
    reading = threading.Event()

    async with transports.open(max_connections=1) as transport:

        async def work() -> None:
            response = await transport.handle_async_request(request_for(server.origin + path, timeouts=ENDLESS))
            try:
                async with begun(response) as pieces:
                    reading.set()
                    await anext(pieces)
            finally:
                await response.aclose()

        await cancelled(work, reading.is_set if path == "/half" else lambda: len(server.requests) == 1)
        await _is_as_before(transport, server, sockets)


async def test_t70_a_body_whose_reader_was_cancelled_has_no_connection_even_if_nobody_closes_it(
    server: WireServer, transports: Transports, cancelled: Cancelled
) -> None:
    reading = threading.Event()
    async with transports.open() as transport:
        response = await transport.handle_async_request(request_for(f"{server.origin}/half", timeouts=ENDLESS))
        async with begun(response) as pieces:

            async def work() -> None:
                reading.set()
                await anext(pieces)

            await cancelled(work, reading.is_set)
            assert counts(transport) == Counts()
            await until_gone(server)
        await response.aclose()


async def test_t70_so_can_one_that_is_being_sent(
    server: WireServer, transports: Transports, cancelled: Cancelled
) -> None:
    sockets = open_sockets()
    source = Source([bytes(KIB)] * 40 * KIB)
    async with transports.open(max_connections=1) as transport:

        async def work() -> None:
            await transport.handle_async_request(
                streamed(f"{server.origin}/unread", source, length=40 * MIB, timeouts=ENDLESS)
            )

        await cancelled(work, lambda: source.given > 1 and len(server.requests) == 1)
        assert counts(transport) == Counts()
        assert 1 < source.given < 40 * KIB
    await until(lambda: open_sockets() <= sockets + 1)


async def test_t70_so_can_one_that_is_being_connected(
    server: WireServer, transports: Transports, cancelled: Cancelled
) -> None:
    with full_port() as port:
        sockets = open_sockets()
        async with transports.open(max_connections=1) as transport:

            async def work() -> None:
                await ask(transport, f"http://127.0.0.1:{port}/", timeouts=ENDLESS)

            await cancelled(work, lambda: open_sockets() == sockets + 1)
            await _is_as_before(transport, server, sockets)


async def test_t70_so_can_one_in_its_handshake(
    server: WireServer,
    start_raw_server: StartRawServer,
    transports: Transports,
    authority: Authority,
    cancelled: Cancelled,
) -> None:
    mute = start_raw_server(lambda connection: connection.wait_closed())
    sockets = open_sockets()
    async with transports.open(max_connections=1, tls=authority.client_context()) as transport:

        async def work() -> None:
            await ask(transport, mute.url("https"), timeouts=ENDLESS)

        await cancelled(work, lambda: bool(mute.connections and mute.connections[0].received))
        await _is_as_before(transport, server, sockets)


async def test_t70_so_can_one_that_waits_for_a_connection(
    server: WireServer, transports: Transports, cancelled: Cancelled
) -> None:
    server.on("GET", "/large", respond(200, (), noise(3 * MIB)))
    async with transports.open(max_connections=1) as transport:
        held = await transport.handle_async_request(request_for(f"{server.origin}/large"))

        async def work() -> None:
            await ask(transport, server.origin, timeouts=ENDLESS)

        for _ in range(3):
            await cancelled(work, lambda: counts(transport).waiting == 1)
            assert counts(transport) == Counts(open=1)
        assert len((await finish(held)).body) == 3 * MIB
        assert (await ask(transport, server.origin)).body == b"hello"
    assert len(server.connections) == 1


@pytest.mark.parametrize("how", ["http", "https", "several addresses"])
async def test_t70_a_request_can_be_cancelled_at_each_of_its_steps(
    start_wire_server: StartWireServer,
    transports: Transports,
    authority: Authority,
    resolver: Resolver,
    how: str,
) -> None:
    secure = how == "https"
    server = start_wire_server(respond(200, (), b"hello"), tls=authority if secure else None)
    resolver.addresses = ["127.0.0.4", "127.0.0.3", "127.0.0.1"]
    url = f"http://registry.example:{server.port}/" if how == "several addresses" else server.origin
    sockets = open_sockets()
    transport = transports.make(tls=authority.client_context() if secure else None, max_idle=0, max_connections=1)
    done: list[bytes] = []

    async def work() -> None:
        done.append((await ask(transport, url)).body)

    for steps in range(45):
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert (steps, counts(transport)) == (steps, Counts())
    await work()
    assert set(done) == {b"hello"}
    await transport.aclose()
    await until_gone(server)
    await until(lambda: open_sockets() == sockets)


async def test_t70_a_response_can_be_closed_although_its_task_was_cancelled(
    server: WireServer, transports: Transports
) -> None:
    async with transports.open() as transport:
        response = await transport.handle_async_request(request_for(f"{server.origin}/half"))
        async with begun(response):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await response.aclose()
        assert counts(transport) == Counts()
        await until_gone(server)
