"""A host that fails every request: how much it is asked meanwhile, and how soon it is used again."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import ClientClosedError, Digest, Event, OciError, RequestRetried, RetryPolicy, ServerError, TransportError
from tests.http.support import NAME, SOME_TAGS, TAGS, client_for, in_parallel, list_tags, outcomes, until
from tests.peers import answers
from tests.peers.answers import error, respond

if TYPE_CHECKING:
    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.wire_server import Connection, Request, WireServer

TASKS = 200
OUTAGE_S = 4.0


class Switch:
    """An answer that can be switched off and on again, and that counts."""

    def __init__(self, off: Handler, on: Handler = SOME_TAGS) -> None:
        self._off, self._on = off, on
        self._lock = threading.Lock()
        self.down = False
        self.times: list[float] = []

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer."""
        with self._lock:
            self.times.append(time.monotonic())
        (self._off if self.down else self._on)(request, connection)


@pytest.mark.in_turn
@pytest.mark.parametrize("fault", [respond(503), answers.reset], ids=["503", "RST"])
async def test_l10_an_outage_is_answered_with_patience(wire_server: WireServer, fault: Handler) -> None:
    switch = Switch(fault)
    wire_server.on("GET", TAGS, switch)
    good: list[float] = []
    stopped = False
    async with client_for(wire_server, retry=RetryPolicy()) as client:

        async def work() -> None:
            while not stopped:
                found = await outcomes(1, lambda: list_tags(client, wire_server))
                if found == [["v1"]]:
                    good.append(time.monotonic())
                    await anyio.sleep(0.2)
                else:
                    assert isinstance(found[0], ServerError | TransportError)

        async with anyio.create_task_group() as group:
            for _ in range(TASKS):
                group.start_soon(work)
            await until(lambda: len(good) >= TASKS)
            switch.down, began = True, time.monotonic()
            await anyio.sleep(OUTAGE_S)
            switch.down, ended = False, time.monotonic()
            await until(lambda: any(moment > ended for moment in good))
            back = min(moment for moment in good if moment > ended)
            # Everybody is back at work soon after.
            await until(lambda: len([moment for moment in good if moment > ended]) >= TASKS)
            all_back = time.monotonic()
            asked, done = len(switch.times), len(good)
            await until(lambda: len(good) >= done + 2 * TASKS)
            stopped = True
    more, useful = len(switch.times) - asked, len(good) - done
    # What was under way when it went down is not to be held against anybody.
    settled = [moment for moment in switch.times if began + 0.5 < moment <= ended]
    assert len(settled) <= 3 * (ended - began - 0.5)
    assert back - ended < 5.0
    assert all_back - ended < 5.0 + TASKS * 0.01
    assert more <= 1.1 * useful


@pytest.mark.in_turn
async def test_l10_patient_operations_outlive_an_outage(wire_server: WireServer) -> None:
    switch = Switch(respond(503))
    wire_server.on("GET", TAGS, switch)
    switch.down = True
    async with client_for(wire_server, retry=RetryPolicy(attempts=100)) as client, anyio.create_task_group() as group:
        found: list[object] = []

        async def work() -> None:
            found.append(await list_tags(client, wire_server))

        for _ in range(TASKS):
            group.start_soon(work)
        await anyio.sleep(2.0)
        switch.down = False
        with anyio.fail_after(10):
            await until(lambda: len(found) == TASKS)
    assert len(switch.times) <= 2 * TASKS


async def test_operations_fail_together_with_the_one_that_asks(wire_server: WireServer) -> None:
    route = wire_server.on("GET", TAGS, error(503, "UNAVAILABLE", "closed for today"))
    events: list[Event] = []
    policy = RetryPolicy(attempts=4, wait_initial=0.05, wait_max=0.1)
    async with client_for(wire_server, retry=policy, hooks=[events.append]) as client:
        found = await outcomes(100, lambda: list_tags(client, wire_server))
    assert all(isinstance(failure, ServerError) and failure.attempts == 4 for failure in found)
    # Each has an error of its own, which says what the registry said.
    assert len(set(map(id, found))) == 100
    assert {str(failure) for failure in found} == {str(found[0])}
    assert "closed for today" in str(found[0])
    assert len(route.requests) < 100
    assert {event.reason for event in events if isinstance(event, RequestRetried)} == {"answered 503"}


def test_a_program_without_logging_hears_nothing_of_an_outage() -> None:
    script = """
import anyio, socket, ocidist
with socket.create_server(("127.0.0.1", 0)) as listener:
    host = "127.0.0.1:%d" % listener.getsockname()[1]

async def ping(client):
    try:
        await client.registry(host).ping()
    except ocidist.ConnectError:
        pass

async def main():
    policy = ocidist.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.01)
    async with ocidist.Client(hosts={host: ocidist.HostConfig(scheme="http")}, retry=policy) as client:
        async with anyio.create_task_group() as group:
            for _ in range(30):
                group.start_soon(ping, client)

anyio.run(main)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("", "")


async def test_raw_requests_fail_with_it_too(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v2/x", answers.reset)
    policy = RetryPolicy(attempts=4, wait_initial=0.02, wait_max=0.05)
    async with client_for(wire_server, retry=policy) as client:
        found = await outcomes(50, lambda: client.get(f"{wire_server.origin}/v2/x"))
        assert {type(failure).__name__ for failure in found} <= {"ReadError", "RemoteProtocolError", "WriteError"}
        wire_server.on("GET", "/v2/x", respond(503, {}, b"busy"))
        found = await outcomes(50, lambda: client.get(f"{wire_server.origin}/v2/x"))
    assert {(getattr(one, "status_code", None), getattr(one, "text", None)) for one in found} == {(503, "busy")}


async def test_one_kind_of_request_that_fails_says_nothing_of_the_others(wire_server: WireServer) -> None:
    """A registry whose lists are broken still has blobs."""
    blob = b"0123456789"
    path = f"/v2/{NAME}/blobs/{Digest.of(blob)}"
    wire_server.on("GET", TAGS, respond(500))
    wire_server.on("GET", path, respond(200, {}, blob))
    policy = RetryPolicy(attempts=4, wait_initial=0.05, wait_max=0.1)
    async with client_for(wire_server, retry=policy) as client:
        blobs = client.repository(f"{wire_server.host}/{NAME}").blobs
        found: list[object] = []

        async def lists() -> None:
            found.extend(await outcomes(40, lambda: list_tags(client, wire_server)))

        async with anyio.create_task_group() as group:
            group.start_soon(lists)
            await until(lambda: len(wire_server.requests) > 12)
            assert await outcomes(20, lambda: blobs.get(Digest.of(blob))) == [blob] * 20
    assert all(isinstance(failure, ServerError) for failure in found)


async def test_a_registry_is_not_down_when_the_place_that_it_redirects_to_is(
    start_wire_server: StartWireServer,
) -> None:
    registry, cdn = start_wire_server(), start_wire_server(address="127.0.0.2")
    cdn.on("GET", "/store", answers.reset)
    registry.on("GET", "/v2/*", respond(307, {"Location": f"{cdn.origin}/store"}))
    registry.on("GET", TAGS, SOME_TAGS)
    # So long that nobody would come back from waiting for the registry.
    policy = RetryPolicy(attempts=2, wait_initial=60.0, wait_max=60.0, jitter=0.0)
    async with client_for(registry, cdn, retry=policy) as client, anyio.create_task_group() as group:
        blobs = client.repository(f"{registry.host}/{NAME}").blobs
        for number in range(30):
            group.start_soon(blobs.get, Digest.of(bytes([number])))
        await until(lambda: len(cdn.requests) == 30)
        await anyio.sleep(0.1)
        with anyio.fail_after(20):
            assert await list_tags(client, registry) == ["v1"]
        group.cancel_scope.cancel()


async def test_who_gives_up_while_finding_out_leaves_it_to_the_next(wire_server: WireServer) -> None:
    switch = Switch(answers.reset)
    wire_server.on("GET", TAGS, switch)
    switch.down = True
    policy = RetryPolicy(attempts=2, wait_initial=0.3, wait_max=0.3, jitter=0.0)
    async with client_for(wire_server, retry=policy) as client:
        with anyio.move_on_after(0.2):
            await outcomes(30, lambda: list_tags(client, wire_server))
        for _ in range(5):
            with anyio.move_on_after(0.02):
                await list_tags(client, wire_server)
        switch.down = False
        with anyio.fail_after(10):
            await in_parallel(50, lambda: list_tags(client, wire_server))


async def test_nobody_waits_for_a_host_once_the_client_is_closed(wire_server: WireServer) -> None:
    wire_server.on("GET", TAGS, respond(503))
    client = client_for(wire_server, retry=RetryPolicy(attempts=1000, wait_initial=2.0, wait_max=2.0))
    found: list[object] = []

    async def work() -> None:
        found.extend(await outcomes(50, lambda: list_tags(client, wire_server)))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            await until(lambda: len(wire_server.requests) >= 30)
            await anyio.sleep(0.1)
            await client.aclose()
    assert {type(failure) for failure in found} == {ClientClosedError}


async def test_who_never_tries_again_never_waits(wire_server: WireServer) -> None:
    wire_server.on("GET", TAGS, respond(503))
    async with client_for(wire_server, retry=RetryPolicy(attempts=1)) as client:
        began = time.monotonic()
        found = await outcomes(60, lambda: list_tags(client, wire_server))
        assert all(isinstance(failure, OciError) for failure in found)
        assert len(wire_server.requests) == 60
        assert time.monotonic() - began < 10
