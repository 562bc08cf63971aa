"""Hosts that say that it is too much get less to do, and more again later; and rates that were asked for are kept."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from ocidist import ConcurrencyChanged, Digest, Event, HostConfig, HostLimits, RetryPolicy, UsageError
from ocidist.http.lanes import EASE, LET_GO, WATCH, Lane
from ocidist.http.pace import SLACK, Pace
from tests.http.support import NAME, SOME_TAGS, TAGS, client_for, in_parallel, list_tags, outcomes
from tests.peers.answers import respond

if TYPE_CHECKING:
    from tests.peers.answers import Handler
    from tests.peers.wire_server import Connection, Request, WireServer

BLOB = b"0123456789"


class Clock:
    """A clock that a test turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("ocidist.http.lanes.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Changes(list[tuple[int, float | None]]):
    """What a lane tells."""

    def __call__(self, limit: int, rate: float | None) -> None:
        """Keep it."""
        self.append((limit, rate))


def begin(lane: Lane, count: int = 1) -> int:
    lane.begun += count
    return lane.begun


def succeed(lane: Lane, count: int = 1) -> None:
    for _ in range(count):
        lane.answered += 1
        if lane.easing:
            lane.eased()


def changes(events: list[Event]) -> list[ConcurrencyChanged]:
    return [event for event in events if isinstance(event, ConcurrencyChanged)]


@pytest.fixture
async def lane() -> Lane:
    """Return a lane of 32 places, made inside the event loop as a client's are."""
    return Lane(32, adaptive=True, steady=None, changed=Changes())


async def test_n06_a_complaint_halves_the_load_once_in_a_round_trip(clock: Clock) -> None:
    told = Changes()
    lane = Lane(32, adaptive=True, steady=None, changed=told)
    first = begin(lane)
    last = begin(lane, 31)
    for number in range(first, last + 1):
        lane.complained(number, 503, None)
    assert lane.limiter.total_tokens == 16
    # These began after the load was halved: another round.
    lane.complained(begin(lane), 503, None)
    assert lane.limiter.total_tokens == 8
    for _ in range(10):
        lane.complained(begin(lane), 503, None)
    assert lane.limiter.total_tokens == 1
    assert told == [(16, None), (8, None), (4, None), (2, None), (1, None)]


async def test_n06_the_load_grows_by_one_in_each_round_of_answers(clock: Clock) -> None:
    told = Changes()
    lane = Lane(8, adaptive=True, steady=None, changed=told)
    lane.complained(begin(lane), 503, None)
    succeed(lane, 3)
    assert lane.limiter.total_tokens == 4
    succeed(lane, 1)
    assert lane.limiter.total_tokens == 5
    succeed(lane, 5 + 6 + 7)
    assert lane.limiter.total_tokens == 8
    succeed(lane, 100)
    assert lane.limiter.total_tokens == 8
    assert told == [(4, None), (5, None), (6, None), (7, None), (8, None)]
    # After a while nobody counts any more.
    clock.now += WATCH + 1
    succeed(lane)
    assert not lane.easing


async def test_n06_a_rate_limit_is_learned_and_followed(clock: Clock) -> None:
    told = Changes()
    lane = Lane(32, adaptive=True, steady=None, changed=told)
    lane.complained(begin(lane), 429, None)
    assert (lane.limiter.total_tokens, lane.rate) == (16, None)
    succeed(lane, 100)
    clock.now += 2.0
    begin(lane, 100)
    lane.complained(begin(lane), 429, None)
    # A hundred in two seconds are fifty in one.
    assert lane.rate == pytest.approx(50 * EASE)
    assert not lane.clear
    assert lane.limiter.total_tokens > 16
    clock.now += 1.0
    succeed(lane)
    assert lane.rate == pytest.approx(50 * EASE * 1.25)
    lane.complained(begin(lane), 429, None)
    assert lane.rate == pytest.approx(50 * EASE * 1.25 * EASE)
    for _ in range(200):
        clock.now += 1.0
        succeed(lane)
        if lane.rate is None:
            break
        assert lane.rate <= LET_GO * 53
    assert lane.pace is None
    assert lane.clear


async def test_n06_quiet_times_are_not_taken_for_what_a_host_can_take(clock: Clock) -> None:
    lane = Lane(32, adaptive=True, steady=None, changed=Changes())
    lane.complained(begin(lane), 429, None)
    for _ in range(5):
        clock.now += 0.25
        succeed(lane, 10)
    clock.now += 50
    lane.complained(begin(lane), 429, None)
    assert lane.rate is not None
    assert lane.rate > 20


async def test_n06_refusals_in_a_row_stop_everybody_until_the_host_wants_to_be_asked(clock: Clock) -> None:
    lane = Lane(32, adaptive=True, steady=None, changed=Changes())
    begin(lane, 32)
    for number in range(1, 5):
        lane.complained(number, 429, 30.0)
    assert lane.clear
    lane.complained(5, 429, 30.0)
    assert not lane.clear
    clock.now += 29.0
    lane.update()
    assert not lane.clear
    clock.now += 1.1
    lane.update()
    assert lane.clear
    # Others were answered in between: that is a matter of the rate.
    for number in range(6, 20):
        succeed(lane)
        lane.complained(number, 429, 30.0)
    assert lane.clear or lane.pace is not None


async def test_a_host_that_is_not_to_be_adapted_to_is_not(clock: Clock) -> None:
    lane = Lane(32, adaptive=False, steady=None, changed=Changes())
    for _ in range(20):
        lane.complained(begin(lane), 429, 30.0)
    assert lane.limiter.total_tokens == 32
    assert lane.clear


# --- against a server ------------------------------------------------------------------------------------------------


def alternating(*answers: Handler) -> Handler:
    turns = itertools.cycle(answers)
    lock = threading.Lock()

    def answer(request: Request, connection: Connection) -> None:
        with lock:
            chosen = next(turns)
        chosen(request, connection)

    return answer


@pytest.mark.parametrize("status", [429, 503])
async def test_a10_the_load_halves_and_recovers(wire_server: WireServer, status: int) -> None:
    wire_server.on("GET", TAGS, respond(status, {"Retry-After": "0"}), SOME_TAGS)
    events: list[Event] = []
    async with client_for(wire_server, hooks=[events.append], limits=HostLimits(concurrency=8)) as client:
        await in_parallel(30, lambda: list_tags(client, wire_server))
        await in_parallel(30, lambda: list_tags(client, wire_server))
    told = changes(events)
    assert {(event.host, event.kind) for event in told} == {(wire_server.host, "read")}
    assert [event.limit for event in told] == [4, 5, 6, 7, 8]


async def test_n06_kinds_of_requests_are_eased_each_for_itself(wire_server: WireServer) -> None:
    path = f"/v2/{NAME}/blobs/{Digest.of(BLOB)}"
    wire_server.on("GET", path, respond(503), respond(200, {}, BLOB))
    wire_server.on("DELETE", path, respond(503), respond(202))
    events: list[Event] = []
    async with client_for(wire_server, hooks=[events.append]) as client:
        blobs = client.repository(f"{wire_server.host}/{NAME}").blobs
        assert await blobs.get(Digest.of(BLOB)) == BLOB
        await blobs.delete(Digest.of(BLOB))
    assert [(event.kind, event.limit) for event in changes(events)] == [("stream", 16), ("write", 16)]


class Limiter:
    """A registry that allows so many requests in a second, and half a second's at once."""

    def __init__(self, allowed: float) -> None:
        self._allowed = allowed
        self._left = allowed / 2
        self._since = time.monotonic()
        self._lock = threading.Lock()
        self.answers: list[tuple[float, bool]] = []

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer."""
        with self._lock:
            now = time.monotonic()
            self._left = min(self._allowed / 2, self._left + (now - self._since) * self._allowed)
            self._since = now
            good = self._left >= 1
            self._left -= good
            self.answers.append((now, good))
        (SOME_TAGS if good else respond(429, {"Retry-After": "1"}))(request, connection)


async def test_l09_a_rate_limit_is_used_to_the_full_and_hardly_hit(wire_server: WireServer) -> None:
    """The benchmark has it at full size; here the limit is lower, and so is the bar: the machine may be busy."""
    allowed, seconds = 20.0, 14.0
    limiter = Limiter(allowed)
    wire_server.on("GET", TAGS, limiter)
    failures: list[object] = []
    async with client_for(wire_server, retry=RetryPolicy()) as client:
        end = time.monotonic() + seconds

        async def work() -> None:
            while time.monotonic() < end:
                found = await outcomes(1, lambda: list_tags(client, wire_server))
                failures.extend(one for one in found if isinstance(one, Exception))

        with anyio.move_on_after(seconds + 1):
            await in_parallel(24, work)
    settled = [good for moment, good in limiter.answers if moment > end - seconds / 2]
    assert failures == []
    assert sum(settled) >= 0.5 * allowed * seconds / 2
    assert settled.count(False) <= 0.3 * len(settled)


# --- rates that were asked for ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "rate"),
    [(HostLimits(rate=40.0), None), (HostLimits(rate=10_000.0), 40.0)],
    ids=["of the client", "of the host"],
)
async def test_n06_no_more_requests_begin_in_a_second_than_were_asked_for(
    wire_server: WireServer, limits: HostLimits, rate: float | None
) -> None:
    times: list[float] = []

    def answer(request: Request, connection: Connection) -> None:
        times.append(time.monotonic())
        SOME_TAGS(request, connection)

    wire_server.on("GET", "/v2/*", answer)
    hosts = {wire_server.host: HostConfig(scheme="http", rate=rate)}
    async with client_for(wire_server, hosts=hosts, limits=limits) as client:
        began = time.monotonic()
        await in_parallel(20, lambda: list_tags(client, wire_server))
        await in_parallel(20, lambda: client.get(f"{wire_server.origin}/v2/x"))
        taken = time.monotonic() - began
    assert len(times) == 40
    assert taken >= 39 / 40 - 2 * SLACK - 0.05


async def test_n06_a_rate_serves_who_came_first_and_forgets_who_left() -> None:
    pace = Pace(100.0)
    order: list[int] = []

    async def go(number: int) -> None:
        await pace.go()
        order.append(number)

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(go, number)
            await anyio.lowlevel.checkpoint()
    assert sorted(order) == list(range(10))
    slow = Pace(2.0)
    assert slow.go_now()
    assert not slow.go_now()
    with anyio.move_on_after(0.05):
        async with anyio.create_task_group() as group:
            for _ in range(1000):
                group.start_soon(slow.go)
    began = time.monotonic()
    await slow.go()
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("rate", [0, -1.0, float("inf"), float("nan")])
def test_a_rate_is_above_zero(rate: float) -> None:
    with pytest.raises(UsageError):
        HostLimits(rate=rate)
    with pytest.raises(UsageError):
        HostConfig(rate=rate)


@pytest.mark.parametrize("rate", [True, "fast"])
def test_a_hosts_rate_is_a_number(rate: Any) -> None:  # noqa: ANN401 -- anything but one
    with pytest.raises(UsageError):
        HostConfig(rate=rate)


async def test_cancelled_waits_leave_no_place_taken(wire_server: WireServer) -> None:
    wire_server.on("GET", TAGS, SOME_TAGS)
    limits = HostLimits(concurrency=2, rate=20.0)
    async with client_for(wire_server, limits=limits) as client:
        for _ in range(3):
            with anyio.move_on_after(0.08):
                await in_parallel(50, lambda: list_tags(client, wire_server))
        with anyio.fail_after(10):
            await in_parallel(4, lambda: list_tags(client, wire_server))


async def test_l03_many_pulls_over_few_places_finish_at_about_the_same_pace(wire_server: WireServer) -> None:
    data = bytes(2_000_000)
    digest = Digest.of(data)
    wire_server.on("GET", f"/v2/{NAME}/blobs/{digest}", respond(200, {}, data))
    taken: list[float] = []
    async with client_for(wire_server, limits=HostLimits(concurrency=16)) as client:
        blobs = client.repository(f"{wire_server.host}/{NAME}").blobs
        began = time.monotonic()

        async def pull() -> None:
            async with blobs.open(digest) as reader:
                async for _ in reader:
                    pass
            taken.append(time.monotonic() - began)

        await in_parallel(64, pull)
    assert len(taken) == 64
    # Four rounds of sixteen, and nobody is left to the end.
    rounds = [max(taken[16 * number : 16 * number + 16]) for number in range(4)]
    assert rounds == sorted(rounds)
    assert max(taken) <= 4 * 3 * max(rounds[0], 0.05)
