"""How long a server can make a client wait."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import OciError, RateLimitedError, RetryPolicy, ServerError
from tests.http.support import SOME_TAGS, TAGS, client_for, list_tags
from tests.peers.answers import respond

if TYPE_CHECKING:
    from tests.peers.wire_server import WireServer

DAY = 86_400.0
NOW = 1_700_000_000.0
PATIENT = RetryPolicy(attempts=3, jitter=0.0)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, during which this test's clock goes forward, and no other."""
    waited: list[float] = []
    start = 1000.0

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await anyio.lowlevel.checkpoint()

    monkeypatch.setattr("stamina._core._smart_sleep", sleep)
    for module in ("retry", "session", "lanes", "pace"):
        monkeypatch.setattr(f"ocidist.http.{module}.monotonic", lambda: start + sum(waited))
    monkeypatch.setattr("ocidist.http.retry.time.time", lambda: NOW)
    return waited


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("99999999999", 99999999999.0),
        ("61", 61.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799.0 - NOW),
        (formatdate(NOW + 61, usegmt=True), 61.0),
    ],
    ids=["a millennium", "a second too long", "year 9999", "a date too late"],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_t35_a_wait_that_is_too_long_is_an_error_at_once(
    wire_server: WireServer, slept: list[float], value: str, seconds: float, status: int
) -> None:
    route = wire_server.on("GET", TAGS, respond(status, {"Retry-After": value}))
    async with client_for(wire_server, retry=PATIENT) as client:
        with pytest.raises(RateLimitedError if status == 429 else ServerError) as caught:
            await list_tags(client, wire_server)
    assert (caught.value.retry_after, caught.value.attempts) == (seconds, 1)
    assert (len(route.requests), slept) == (1, [])


@pytest.mark.parametrize(
    "value",
    [
        "-1",
        "-99999999999",
        "soon",
        "",
        "nan",
        "inf",
        "1e3",
        "0x10",
        "\u0661".encode().decode("latin-1"),
        "9" * 5000,
        "5;6",
    ],
    ids=["negative", "very negative", "word", "empty", "nan", "inf", "float", "hex", "other digits", "endless", "list"],
)
async def test_t35_what_is_no_time_is_not_waited_for(wire_server: WireServer, slept: list[float], value: str) -> None:
    wire_server.on("GET", TAGS, respond(429, {"Retry-After": value}), SOME_TAGS)
    async with client_for(wire_server, retry=PATIENT) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert slept == [PATIENT.wait_initial]


@pytest.mark.parametrize("skew", [-DAY, 0.0, DAY], ids=["a day behind", "in time", "a day ahead"])
async def test_t35_a_date_counts_from_the_servers_own_clock(
    wire_server: WireServer, slept: list[float], skew: float
) -> None:
    there = NOW + skew
    late = {"Date": formatdate(there, usegmt=True), "Retry-After": formatdate(there + 20, usegmt=True)}
    wire_server.on("GET", TAGS, respond(429, late), SOME_TAGS)
    async with client_for(wire_server, retry=PATIENT) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert slept == [20.0]


@pytest.mark.parametrize("date", [None, "yesterday", formatdate(NOW, usegmt=True)])
async def test_t35_a_date_in_the_past_is_no_wait_at_all(
    wire_server: WireServer, slept: list[float], date: str | None
) -> None:
    past = {"Retry-After": formatdate(NOW - 30, usegmt=True)} | ({} if date is None else {"Date": date})
    wire_server.on("GET", TAGS, respond(503, past), SOME_TAGS)
    async with client_for(wire_server, retry=PATIENT) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert slept == [0.0]


async def test_t35_no_operation_waits_for_more_than_five_minutes_in_all(
    wire_server: WireServer, slept: list[float]
) -> None:
    route = wire_server.on("GET", TAGS, respond(429, {"Retry-After": "60"}))
    async with client_for(wire_server, retry=RetryPolicy(attempts=100, jitter=0.0)) as client:
        with pytest.raises(RateLimitedError) as caught:
            await list_tags(client, wire_server)
    assert slept == [60.0] * 5
    assert (caught.value.retry_after, caught.value.attempts, len(route.requests)) == (60.0, 6, 6)


async def test_a10_waits_are_asked_for_in_seconds_as_a_date_or_not_at_all(
    wire_server: WireServer, slept: list[float]
) -> None:
    ways = ["7", "0.5", formatdate(NOW + 9, usegmt=True), "bogus"]
    wire_server.on("GET", TAGS, *[respond(429, {"Retry-After": way}) for way in ways], SOME_TAGS)
    async with client_for(wire_server, retry=RetryPolicy(jitter=0.0)) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert slept == [7.0, 0.5, 9.0, 4.0]


async def test_what_the_message_asks_for_is_waited_for_too(wire_server: WireServer, slept: list[float]) -> None:
    body = b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "retry-after: 1.5s, allowed: 44000/minute"}]}'
    wire_server.on("GET", TAGS, respond(429, {}, body), SOME_TAGS)
    async with client_for(wire_server, retry=PATIENT) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert slept == [1.5]


async def test_chance_adds_to_what_is_asked_for_and_takes_from_what_is_not(
    wire_server: WireServer, slept: list[float]
) -> None:
    wire_server.on("GET", TAGS, respond(503), respond(503, {"Retry-After": "3"}))
    async with client_for(wire_server, retry=RetryPolicy(attempts=3, wait_initial=2.0, reserve=10**6)) as client:
        for _ in range(3):
            with pytest.raises(OciError):
                await list_tags(client, wire_server)
    assert all(0 <= seconds <= 2 for seconds in slept[:1])
    assert all(3 <= seconds <= 4 for seconds in slept[1:])
    policy = RetryPolicy(wait_initial=2.0)
    waits = [policy.wait(1, None) or 0.0 for _ in range(1000)]
    assert 0 <= min(waits) < 0.2
    assert 1.8 < max(waits) <= 2.0


async def test_t35_a_host_that_asks_for_days_time_after_time_holds_nobody_up(
    wire_server: WireServer, slept: list[float]
) -> None:
    route = wire_server.on("GET", TAGS, respond(429, {"Retry-After": f"{DAY:.0f}"}))
    async with client_for(wire_server, retry=PATIENT) as client:
        with anyio.fail_after(10):
            for _ in range(9):
                with pytest.raises(RateLimitedError):
                    await list_tags(client, wire_server)
    assert (len(route.requests), slept) == (9, [])
