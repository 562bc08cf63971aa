"""How many requests are under way at once, and that places are given back whatever happens."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from ocidist import (
    Basic,
    Client,
    Digest,
    HostConfig,
    HostLimits,
    NameUnknownError,
    OciError,
    RetryPolicy,
    UnauthorizedError,
    UsageError,
)
from tests.http.support import (
    NAME,
    ONCE,
    SOME_TAGS,
    TAGS,
    client_for,
    gate,
    in_parallel,
    list_tags,
    outcomes,
    unauthorized,
    until,
)
from tests.peers import answers
from tests.peers.answers import error, respond

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.wire_server import Connection, Request, WireServer

TWO = HostLimits(concurrency=2)
BLOB = b"0123456789"
DIGEST = Digest.of(BLOB)
BLOB_PATH = f"/v2/{NAME}/blobs/{DIGEST}"
BASIC = {"WWW-Authenticate": 'Basic realm="registry"'}


class Meter:
    """An answer that measures how many requests are being answered at the same time."""

    def __init__(self, then: Handler) -> None:
        self._then = then
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer, a moment later."""
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        threading.Event().wait(0.005)
        with self._lock:
            self._now -= 1
        self._then(request, connection)


async def _free(client: Client, server: WireServer, *, tasks: int = 200) -> None:
    """Hold that nothing was left behind: many more requests get through two at a time."""
    server.on("GET", TAGS, SOME_TAGS)
    assert await outcomes(tasks, partial(list_tags, client, server)) == [["v1"]] * tasks


def test_a_limit_is_at_least_one() -> None:
    with pytest.raises(UsageError):
        HostLimits(concurrency=0)


async def test_no_more_requests_are_under_way_at_a_host_than_its_limit(wire_server: WireServer) -> None:
    meter = Meter(SOME_TAGS)
    wire_server.on("GET", TAGS, meter)
    async with client_for(wire_server, limits=HostLimits(concurrency=3)) as client:
        await in_parallel(40, partial(list_tags, client, wire_server))
    assert 1 <= meter.most <= 3
    assert len(wire_server.requests) == 40


async def test_the_configuration_of_a_host_decides_its_limit_also_for_raw_requests(wire_server: WireServer) -> None:
    meter = Meter(SOME_TAGS)
    wire_server.on("GET", "/v2/*", meter)
    wire_server.on("GET", "/elsewhere", meter)
    hosts = {wire_server.host: HostConfig(scheme="http", concurrency=2)}
    async with client_for(wire_server, hosts=hosts) as client, anyio.create_task_group() as group:
        for number in range(30):
            path = TAGS if number % 2 else "/elsewhere"
            group.start_soon(client.get, f"{wire_server.origin}{path}")
            group.start_soon(list_tags, client, wire_server)
    # Registry objects and raw requests of the same host share one limit.
    assert 1 <= meter.most <= 2


async def test_reads_and_writes_have_places_of_their_own(wire_server: WireServer) -> None:
    with gate(respond(200, {}, BLOB)) as (slow, event):
        reads = wire_server.on("GET", BLOB_PATH, slow)
        writes = wire_server.on("PUT", f"/v2/{NAME}/manifests/*", respond(201))
        one = HostLimits(concurrency=1)
        async with client_for(wire_server, limits=one, retry=ONCE) as client, anyio.create_task_group() as group:
            wire_server.on("GET", TAGS, SOME_TAGS)
            await list_tags(client, wire_server)
            group.start_soon(client.repository(f"{wire_server.host}/{NAME}").blobs.get, DIGEST)
            await until(lambda: len(reads.requests) == 1)
            await client.put(f"{wire_server.origin}/v2/{NAME}/manifests/v1", content=b"{}")
            assert len(writes.requests) == 1
            event.set()


async def test_hosts_do_not_wait_for_each_other(start_wire_server: StartWireServer) -> None:
    one, other = start_wire_server(), start_wire_server()
    with gate(SOME_TAGS) as (slow, event):
        route = one.on("GET", TAGS, slow)
        other.on("GET", TAGS, SOME_TAGS)
        async with (
            client_for(one, other, limits=HostLimits(concurrency=1)) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(list_tags, client, one)
            await until(lambda: len(route.requests) == 1)
            assert await list_tags(client, other) == ["v1"]
            event.set()


async def test_a_place_is_kept_until_the_body_was_read(wire_server: WireServer) -> None:
    wire_server.on("GET", BLOB_PATH, respond(200, {}, BLOB))
    wire_server.on("GET", TAGS, SOME_TAGS)
    async with client_for(wire_server, limits=HostLimits(concurrency=1)) as client:
        async with client.stream("GET", f"{wire_server.origin}{BLOB_PATH}") as response:
            with anyio.move_on_after(0.05) as scope:
                await list_tags(client, wire_server)
            assert scope.cancelled_caught
            assert await response.aread() == BLOB
        assert await list_tags(client, wire_server) == ["v1"]
    assert wire_server.targets("GET")[0] == BLOB_PATH


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (error(404, "NAME_UNKNOWN"), NameUnknownError),
        (unauthorized(BASIC), UnauthorizedError),
        (respond(503, {}, b"busy"), OciError),
        (respond(302, {"Location": "http://10.0.0.1/"}), OciError),
        (respond(200, {}, b"no JSON"), OciError),
        (respond(200, {"Content-Length": "99999999"}, b"{"), OciError),
        (answers.reset, OciError),
        (answers.raw(b"HTTP/9.9 what\r\n\r\n"), OciError),
        (answers.chain(respond(200, {"Content-Length": "50"}, b"[]"), answers.close), OciError),
    ],
    ids=["404", "401", "503", "bad redirect", "bad body", "too large", "RST", "garbage", "cut"],
)
async def test_failed_requests_leave_no_place_taken(
    wire_server: WireServer, answer: Handler, expected: type[OciError]
) -> None:
    wire_server.on("GET", TAGS, answer)
    credentials = {wire_server.host: Basic("a", "b")}
    async with client_for(wire_server, limits=TWO, retry=ONCE, credentials=credentials) as client:
        found = await outcomes(20, partial(list_tags, client, wire_server))
        assert all(isinstance(failure, expected) for failure in found)
        await _free(client, wire_server, tasks=20)


async def _read_half(client: Client, server: WireServer) -> None:
    async with client.repository(f"{server.host}/{NAME}").blobs.open(DIGEST) as reader:
        await reader.read(3)


async def _stream_half(client: Client, server: WireServer) -> None:
    async with (
        client.stream("GET", f"{server.origin}{BLOB_PATH}") as response,
        aclosing(response.aiter_raw(3)) as pieces,  # type: ignore[type-var]  # a generator, whatever httpx declares
    ):
        await anext(pieces)


async def _send_unread(client: Client, server: WireServer) -> None:
    request = client.build_request("GET", f"{server.origin}{BLOB_PATH}")
    await (await client.send(request, stream=True)).aclose()


@pytest.mark.parametrize("work", [_read_half, _stream_half, _send_unread])
async def test_bodies_that_are_not_read_to_their_end_give_their_place_back(
    wire_server: WireServer, work: Callable[[Client, WireServer], Awaitable[None]]
) -> None:
    wire_server.on("GET", BLOB_PATH, respond(200, {}, BLOB))
    async with client_for(wire_server, limits=TWO) as client:
        await in_parallel(20, partial(work, client, wire_server))
        await _free(client, wire_server, tasks=20)


@pytest.mark.parametrize("phase", ["waiting for a place", "waiting for the head", "in the body", "waiting to retry"])
async def test_cancelled_scopes_leave_nothing_behind(wire_server: WireServer, phase: str) -> None:
    waits = {
        "waiting for a place": answers.silence,
        "waiting for the head": answers.silence,
        "in the body": answers.chain(respond(200, {"Content-Length": "50"}, b"["), answers.silence),
        "waiting to retry": respond(503, {"Retry-After": "50"}),
    }
    route = wire_server.on("GET", TAGS, waits[phase])
    tasks = 40 if phase == "waiting for a place" else 2
    async with client_for(wire_server, limits=TWO, retry=RetryPolicy(attempts=2)) as client:
        async with anyio.create_task_group() as group:
            for _ in range(tasks):
                group.start_soon(list_tags, client, wire_server)
            await until(lambda: len(route.requests) >= 1)
            await anyio.sleep(0.02)
            group.cancel_scope.cancel()
        await _free(client, wire_server)


async def test_native_cancellations_leave_nothing_behind(wire_server: WireServer, anyio_backend_name: str) -> None:
    if anyio_backend_name != "asyncio":
        pytest.skip("trio has scopes only")
    blob = respond(200, {"Content-Length": "10"}, BLOB)
    wire_server.on("GET", BLOB_PATH, blob)
    async with client_for(wire_server, limits=TWO, retry=ONCE) as client:
        repository = client.repository(f"{wire_server.host}/{NAME}")
        for wait in range(60):
            tasks = [asyncio.ensure_future(repository.blobs.get(DIGEST)) for _ in range(6)]
            # At another point each time: in the queue for a place, while connecting, at the head, in the body.
            for _ in range(wait):
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.wait(tasks)
        await _free(client, wire_server)


async def test_a_cancelled_handshake_leaves_no_connection_open(wire_server: WireServer) -> None:
    # It never answers a ClientHello.
    async with client_for(wire_server, hosts={}, limits=TWO, retry=ONCE) as client:
        for number in range(1, 6):
            async with anyio.create_task_group() as group:
                group.start_soon(client.get, f"https://{wire_server.host}/v2/")
                await until(lambda: len(wire_server.connections) == number and bool(wire_server.received))  # noqa: B023 -- called in here
                group.cancel_scope.cancel()
        # The server sees each of them end although the client is still there.
        await until(lambda: not any(thread.is_alive() for thread in wire_server._threads[1:]))
        await _free(client, wire_server, tasks=5)


async def test_closing_the_client_ends_what_comes_after_it(wire_server: WireServer) -> None:
    wire_server.on("GET", TAGS, SOME_TAGS)
    client = client_for(wire_server)
    await list_tags(client, wire_server)
    await client.aclose()
    await client.aclose()
    with pytest.raises(UsageError, match="the client was closed"):
        await list_tags(client, wire_server)
    with pytest.raises(UsageError, match="the client was closed"):
        await client.get(f"{wire_server.origin}{TAGS}")
    with pytest.raises(UsageError, match="the client was closed"):
        await client.detect_scheme("localhost:1")
    with pytest.raises(UsageError, match="the client was closed"):
        await client.get(f"{wire_server.origin}{TAGS}", auth=("a", "b"))


@pytest.mark.parametrize("status", [401, 403, 404, 307, 400])
async def test_q72_short_bodies_of_failures_are_read_so_that_their_connection_is_used_again(
    wire_server: WireServer, status: int
) -> None:
    headers = BASIC if status == 401 else {"Location": "/v2/elsewhere"} if status == 307 else {}
    wire_server.on("GET", "/v2/*", respond(404, {}, b"x" * 3000))
    wire_server.on("GET", TAGS, respond(status, headers, b"x" * 3000))
    async with client_for(wire_server, retry=ONCE, credentials={wire_server.host: Basic("a", "b")}) as client:
        for _ in range(5):
            with pytest.raises(OciError):
                await list_tags(client, wire_server)
        await client.get(f"{wire_server.origin}{TAGS}")
    assert len(wire_server.connections) == 1


async def test_q72_a_body_without_end_costs_its_connection_and_nothing_else(wire_server: WireServer) -> None:
    endless = answers.respond_chunked(404, {}, [b"x" * 8192] * 500)
    wire_server.on("GET", TAGS, endless)
    async with client_for(wire_server, retry=ONCE) as client:
        for _ in range(3):
            with pytest.raises(NameUnknownError) as caught:
                await list_tags(client, wire_server)
            assert len(str(caught.value)) < 1000
    assert len(wire_server.connections) == 3


async def test_a_body_that_drips_does_not_hold_up_the_error(
    wire_server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocidist.http.reply.SNAPSHOT_SECONDS", 0.05)
    wire_server.on("GET", TAGS, answers.chain(respond(404, {"Content-Length": "50"}, b"{"), answers.silence))
    async with client_for(wire_server, limits=TWO) as client:
        with pytest.raises(NameUnknownError):
            await list_tags(client, wire_server)
        raw = await client.get(f"{wire_server.origin}/v2/", headers={"Connection": "close"})
        assert raw.status_code == httpx.codes.NOT_FOUND
