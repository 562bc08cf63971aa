"""Many requests and few places for them: nobody waits for themselves, and no place is lost."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from ocidist import Client, Descriptor, HostConfig, HostLimits, Timeouts, TransportTimeoutError
from ocidist.http.transport.fallback import POOL
from ocidist.remote import _stream
from tests.faults.dialling import left_open, open_files
from tests.faults.uploads import BLOB, DIGEST
from tests.http.support import NAME, ONCE, SOME_TAGS, TAGS, in_parallel, list_tags, outcomes
from tests.peers import images
from tests.peers.answers import chain, respond, silence
from tests.remote.support import client_for

if TYPE_CHECKING:
    from tests.conftest import StartWireServer
    from tests.faults.uploads import UploadRegistry
    from tests.peers.wire_server import Connection, Request, WireServer

BLOB_PATH = f"/v2/{NAME}/blobs/{DIGEST}"


# --- Q67: the limiter is what a request waits for ---------------------------------------------------------------------


def slow_tags(request: Request, connection: Connection) -> None:
    """Answer a moment later."""
    threading.Event().wait(0.03)
    SOME_TAGS(request, connection)


async def test_q67_whoever_waits_for_a_place_is_not_timed_out(wire_server: WireServer) -> None:
    wire_server.on("GET", TAGS, slow_tags)
    # Forty tasks one after the other take longer than any of these; none of them counts while a task waits its turn.
    timeout = Timeouts(connect=0.6, read=0.6, write=0.6)
    options: dict[str, Any] = {"timeout": timeout, "limits": HostLimits(concurrency=1), "retry": ONCE}
    async with client_for(wire_server, **options) as client:
        found = await outcomes(40, lambda: list_tags(client, wire_server))
    assert found == [["v1"]] * 40


async def test_q67_httpxs_own_pool_is_never_what_a_request_waits_for(wire_server: WireServer) -> None:
    assert Timeouts().pool is None
    assert POOL.max_connections is None
    wire_server.on("GET", TAGS, slow_tags)
    # More than the hundred connections that httpx would allow.
    async with client_for(wire_server, limits=HostLimits(concurrency=130), retry=ONCE) as client:
        assert await outcomes(260, lambda: list_tags(client, wire_server)) == [["v1"]] * 260


@pytest.mark.parametrize("width", [32, 130])
async def test_q67_a_fan_out_keeps_as_many_connections_as_it_uses(wire_server: WireServer, width: int) -> None:
    together = threading.Barrier(width)

    def tags(request: Request, connection: Connection) -> None:
        # Each round is one in which all connections are in use at the same moment.
        together.wait(30)
        SOME_TAGS(request, connection)

    wire_server.on("GET", TAGS, SOME_TAGS, tags)
    async with client_for(wire_server, limits=HostLimits(concurrency=width), retry=ONCE) as client:
        # The first request to a host goes ahead alone, to see whether it is challenged.
        await list_tags(client, wire_server)
        for _ in range(5):
            assert await outcomes(width, lambda: list_tags(client, wire_server)) == [["v1"]] * width
    assert len(wire_server.requests) == 5 * width + 1
    assert len(wire_server.connections) == width


# --- F012, F013: connections that are all in use ---------------------------------------------------------------------


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("hosts", ["one host", "two hosts"])
async def test_f012_a_copy_through_a_single_place_does_not_wait_for_itself(
    start_wire_server: StartWireServer, registry: UploadRegistry, hosts: str, *, described: bool
) -> None:
    # So large that the reader holds its place while the other side is asked.
    large = images.noise(3_000_000)
    known = Descriptor.of(large)
    target = start_wire_server(registry)
    source = target if hosts == "one host" else start_wire_server(respond(200, {}, large))

    def read(request: Request, connection: Connection) -> None:
        found = request.method == "GET" and "/acme/base/" in request.path
        (respond(200, {}, large) if found else registry)(request, connection)

    target._handler = read
    config = {server.host: HostConfig(scheme="http") for server in (source, target)}
    async with Client(hosts=config, limits=HostLimits(concurrency=1), retry=ONCE) as client:

        async def copy() -> None:
            here = client.repository(f"{source.host}/acme/base").blobs
            there = client.repository(f"{target.host}/{NAME}").blobs
            async with here.open(known.digest) as reader:
                await there.push(reader, known if described else None, chunk_size=None if described else 1_000_000)

        with anyio.fail_after(10):
            await in_parallel(3, copy)
    assert registry.blobs[known.digest] == large
    assert registry.open == {}


async def test_f013_streams_that_stop_half_way_end_in_time_and_the_places_are_free_again(
    wire_server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_stream, "MAX_LOSSES", 1)
    half = respond(200, {"Content-Length": str(len(BLOB))}, BLOB[:500])
    wire_server.on("GET", BLOB_PATH, chain(half, silence))
    before = open_files()
    options: dict[str, Any] = {"timeout": Timeouts(read=0.2), "limits": HostLimits(concurrency=25)}
    async with client_for(wire_server, **options) as client:
        blobs = client.repository(f"{wire_server.host}/{NAME}").blobs
        with anyio.fail_after(50):
            found = await outcomes(200, lambda: blobs.get(DIGEST))
        assert {type(each) for each in found} == {TransportTimeoutError}
        wire_server.on("GET", BLOB_PATH, respond(200, {}, BLOB))
        with anyio.fail_after(20):
            assert await outcomes(200, lambda: blobs.get(DIGEST)) == [BLOB] * 200
    assert await left_open(before) == []


async def test_f013_readers_that_are_left_half_way_free_their_places(wire_server: WireServer) -> None:
    half = respond(200, {"Content-Length": str(len(BLOB))}, BLOB[:500])
    wire_server.on("GET", BLOB_PATH, chain(half, silence))
    before = open_files()
    async with client_for(wire_server, limits=HostLimits(concurrency=2)) as client:
        blobs = client.repository(f"{wire_server.host}/{NAME}").blobs

        async def half_way() -> None:
            async with blobs.open(Descriptor.of(BLOB)) as reader:
                assert await reader.read(100) == BLOB[:100]

        with anyio.fail_after(20):
            await in_parallel(200, half_way)
            wire_server.on("GET", BLOB_PATH, respond(200, {}, BLOB))
            assert await blobs.get(DIGEST) == BLOB
    assert await left_open(before) == []
