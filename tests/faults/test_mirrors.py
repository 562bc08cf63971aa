"""Mirrors that are down, slow, or lack things, and hosts of which none answers: the registry answers in time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
import attrs
import pytest

from ocidist import (
    Client,
    ConnectError,
    HostConfig,
    ManifestUnknownError,
    OciError,
)
from ocidist.hosts.host import Mirror
from ocidist.http import standing
from ocidist.observe.events import MirrorFailed
from tests.faults.mirroring import BLOB, DEAD, DIGEST, IMAGE, Group, failing, read_all
from tests.peers.answers import chain, close, reset, respond, silence
from tests.remote.support import QUICK

if TYPE_CHECKING:
    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.wire_server import Connection, Request


@pytest.fixture
def group(start_wire_server: StartWireServer) -> Group:
    return Group(start_wire_server)


@pytest.fixture
def pair(start_wire_server: StartWireServer) -> Group:
    """A registry with two mirrors."""
    return Group(start_wire_server, 2)


class Clock:
    """What mirrors take for the time."""

    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time as mirrors have it, which stands still until a test moves it."""
    made = Clock()
    monkeypatch.setattr(standing, "monotonic", lambda: made.now)
    monkeypatch.setattr("ocidist.http.mirrors.monotonic", lambda: made.now)
    return made


# --- mirrors that fail -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "instead",
    [failing(500), failing(503, Retry_After="3000"), failing(429), failing(502), close, reset, silence],
    ids=["500", "503", "429", "502", "fin", "rst", "silent"],
)
async def test_f160_a_mirror_that_fails_is_set_aside_and_the_registry_answers_in_time(
    group: Group, instead: Handler
) -> None:
    group.mirror.instead = instead
    config = group.config(patience=0.5)
    started = anyio.current_time()
    async with group.client(config) as client:
        await read_all(group.repository(client))
        # It cost one wait, once: after that nobody asks the mirror for a while.
        assert anyio.current_time() - started < 3
        assert len(group.mirror.asked()) <= 2
        (event,) = group.events
        assert isinstance(event, MirrorFailed)
        assert (event.host, event.mirror) == (group.home.host, group.hosts[0].origin)
        assert event.aside == (standing.MAX_ASIDE if event.reason == "answered 503" else standing.FIRST_ASIDE)
        assert not event.wrong


@pytest.mark.parametrize("scheme", ["http://", "https://", ""])
async def test_f160_a_mirror_that_is_down_is_set_aside(group: Group, scheme: str) -> None:
    config = HostConfig(scheme="http", mirrors=[Mirror(scheme + DEAD)])
    started = anyio.current_time()
    async with group.client(config) as client:
        await read_all(group.repository(client))
    assert anyio.current_time() - started < 5
    assert [event.mirror for event in group.events] == [scheme + DEAD]


async def test_f160_a_mirror_that_is_back_is_found_by_one_request(group: Group, clock: Clock) -> None:
    group.mirror.instead = failing(500)
    async with group.client() as client:
        blobs = group.repository(client).blobs
        for expected in (1, 1):
            await blobs.get(DIGEST)
            assert len(group.mirror.asked()) == expected
        clock.now += standing.FIRST_ASIDE + 1
        await blobs.get(DIGEST)
        assert len(group.mirror.asked()) == 2
        clock.now += standing.FIRST_ASIDE + 1
        await blobs.get(DIGEST)
        # The second time it is left alone for twice as long.
        assert len(group.mirror.asked()) == 2
        clock.now += standing.FIRST_ASIDE
        group.mirror.instead = None
        await blobs.get(DIGEST)
        await blobs.get(DIGEST)
        assert len(group.mirror.asked()) == 4
    assert [event.aside for event in group.events] == [standing.FIRST_ASIDE, 2 * standing.FIRST_ASIDE]


async def test_f160_a_mirror_that_lacks_something_is_back_all_the_same(group: Group, clock: Clock) -> None:
    group.mirror.instead = failing(500)
    async with group.client() as client:
        blobs = group.repository(client).blobs
        await blobs.get(DIGEST)
        clock.now += standing.FIRST_ASIDE + 1
        group.mirror.instead = failing(404)
        await blobs.get(DIGEST)
        await blobs.get(DIGEST)
    assert len(group.mirror.asked()) == 3


async def test_f160_many_at_once_count_as_one_failure(group: Group) -> None:
    group.mirror.instead = silence
    started = anyio.current_time()
    async with group.client(group.config(patience=0.5)) as client, anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(group.repository(client).blobs.get, DIGEST)
    assert anyio.current_time() - started < 5
    assert [event.aside for event in group.events] == [standing.FIRST_ASIDE]


async def test_f160_waiting_for_a_place_at_the_mirror_is_not_held_against_it(group: Group) -> None:
    def slowly(request: Request, connection: Connection) -> None:
        time.sleep(0.4)
        respond(200, {"Docker-Content-Digest": DIGEST}, BLOB)(request, connection)

    group.mirror.instead = slowly
    mirror = Mirror(group.hosts[0].origin, patience=1.0, host=HostConfig(concurrency=1))
    async with (
        group.client(HostConfig(scheme="http", mirrors=[mirror])) as client,
        anyio.create_task_group() as tasks,
    ):
        # One after the other: the last one waits longer than the mirror has to answer.
        for _ in range(5):
            tasks.start_soon(group.repository(client).blobs.get, DIGEST)
    assert len(group.mirror.asked()) == 5
    assert not group.events
    assert not group.upstream.asked()


@pytest.mark.parametrize("how", [close, reset, silence])
async def test_f160_a_body_that_breaks_off_goes_on_at_the_registry(group: Group, how: Handler) -> None:
    group.mirror.instead = chain(respond(200, {"Content-Length": str(len(BLOB))}, BLOB[:70_000]), how)
    async with (
        group.client(group.config(patience=0.5)) as client,
        group.repository(client).blobs.open(DIGEST) as reader,
    ):
        assert b"".join([piece async for piece in reader]) == BLOB
        assert reader.verified
    (request,) = [request for request in group.upstream.requests if "blobs" in request.path]
    assert len(group.mirror.asked()) == 1
    assert request.header("Range") == "bytes=70000-"
    assert [event.mirror for event in group.events] == [group.hosts[0].origin]


async def test_f160_a_manifest_that_breaks_off_comes_from_the_registry(pair: Group) -> None:
    for mirror in pair.mirrors:
        mirror.instead = chain(respond(200, {"Content-Length": "1000"}, b"{"), close)
    async with pair.client() as client:
        assert (await pair.repository(client).manifests.get(IMAGE.digest)).data == IMAGE.data
    assert [(event.mirror, event.wrong) for event in pair.events] == [(host.origin, False) for host in pair.hosts]


async def test_f160_a_connection_that_died_while_idle_is_no_failure_of_the_mirror(group: Group) -> None:
    async with group.client() as client:
        blobs = group.repository(client).blobs
        await blobs.get(DIGEST)
        for connection in group.hosts[0].connections:
            connection.interrupt()
        assert await blobs.get(DIGEST) == BLOB

        def once(request: Request, connection: Connection) -> None:
            group.mirror.instead = None
            close(request, connection)

        # Or so late that the request is under way already.
        group.mirror.instead = once
        assert await blobs.get(DIGEST) == BLOB
    assert not group.events
    assert not group.upstream.asked()


async def test_f162_what_a_mirror_does_not_have_the_next_one_is_asked_for(pair: Group) -> None:
    pair.mirror.instead = failing(404)
    async with pair.client() as client:
        for _ in range(3):
            assert await pair.repository(client).blobs.get(DIGEST) == BLOB
    # No back-off: it may have other things, or the same a moment later.
    assert len(pair.mirrors[0].asked()) == 3
    assert len(pair.mirrors[1].asked()) == 3
    assert not pair.upstream.asked()
    assert not pair.events


async def test_f162_what_nobody_has_is_not_found(pair: Group) -> None:
    missing = "sha256:" + "0" * 64
    async with pair.client() as client:
        with pytest.raises(ManifestUnknownError) as caught:
            await pair.repository(client).manifests.get(missing)
    assert len(caught.value.mirrors) == 2
    assert not pair.events


# --- nobody answers --------------------------------------------------------------------------------------------------


async def test_f164_where_all_are_dead_the_error_lists_every_host(pair: Group) -> None:
    pair.mirrors[0].instead = failing(500)
    pair.mirrors[1].instead = reset
    pair.upstream.instead = reset
    config = pair.config()
    config = attrs.evolve(config, mirrors=(*config.mirrors, Mirror(f"http://{DEAD}")))
    async with pair.client(config) as client:
        for _ in range(2):
            with pytest.raises(OciError) as caught:
                await pair.repository(client).blobs.get(DIGEST)
            text = str(caught.value)
            for host, reason in (
                (pair.hosts[0].origin, "500"),
                (pair.hosts[1].origin, "ended early|failed|reset"),
                (f"http://{DEAD}", "no connection"),
            ):
                assert any(line.startswith(host) for line in caught.value.mirrors)
                assert host in text
                assert any(word in text for word in reason.split("|"))
            assert pair.home.host in text
            assert len(caught.value.mirrors) == 3
        # The second time, too, it says why each was not asked.
        assert all("set aside" in line for line in caught.value.mirrors)


async def test_f164_nobody_answers_at_all() -> None:
    hosts = {"127.0.0.8:9": HostConfig(scheme="http", mirrors=[f"http://{DEAD}"])}
    async with Client(hosts=hosts, retry=QUICK) as client:
        with pytest.raises(ConnectError, match=DEAD) as caught:
            await client.repository("127.0.0.8:9/acme/app").manifests.get("v1")
    assert caught.value.attempts == 3


# --- cancellation ----------------------------------------------------------------------------------------------------


async def test_t74_a_cancelled_read_stays_cancelled(group: Group) -> None:
    group.mirror.instead = silence
    async with group.client() as client:
        with anyio.move_on_after(0.2) as scope:
            await group.repository(client).blobs.get(DIGEST)
        assert scope.cancelled_caught
        assert not group.upstream.asked()
        assert not group.events
        group.mirror.instead = None
        assert await group.repository(client).blobs.get(DIGEST) == BLOB
    assert len(group.mirror.asked()) == 2
