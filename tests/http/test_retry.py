"""When requests are sent again, and who is told."""

from __future__ import annotations

import errno
import logging
import subprocess
import sys
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import stamina

from ocidist import (
    ConcurrencyChanged,
    ConnectError,
    Event,
    OciError,
    RateLimitedError,
    RequestRetried,
    RetryPolicy,
    ServerError,
    TransportError,
    TruncatedBodyError,
    UsageError,
    WarningReceived,
)
from ocidist.http import retry
from tests.http.support import NAME, ONCE, QUICK, SOME_TAGS, TAGS, client_for, list_tags
from tests.peers import answers
from tests.peers.answers import error, respond

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.peers.answers import Handler
    from tests.peers.wire_server import WireServer

UPLOAD = f"/v2/{NAME}/blobs/uploads/"


def waits(events: list[Event]) -> list[float]:
    return [event.wait for event in events if isinstance(event, RequestRetried)]


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, which take no time in this test."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await anyio.lowlevel.checkpoint()

    monkeypatch.setattr("stamina._core._smart_sleep", sleep)
    return waited


@pytest.mark.parametrize(
    ("stranger", "number", "made"),
    [(True, errno.ECONNREFUSED, 2), (False, errno.ECONNREFUSED, 4), (True, errno.ECONNRESET, 4)],
)
async def test_a_host_that_was_never_there_may_be_given_up_sooner(
    slept: list[float],
    stranger: bool,
    number: int,
    made: int,
) -> None:
    calls = 0

    async def work() -> None:
        nonlocal calls
        calls += 1
        await anyio.lowlevel.checkpoint()
        raise ConnectError("no connection") from OSError(number, "why")

    policy = RetryPolicy(attempts=4, refused=2)
    with pytest.raises(ConnectError):
        await retry.retrying(work, policy, again=retry.worth_another_try, report=lambda *_: None, stranger=stranger)
    assert (calls, len(slept)) == (made, made - 1)


@pytest.mark.parametrize("status", sorted(retry.RETRIED_STATUSES))
async def test_a_busy_answer_is_followed_by_another_attempt(wire_server: WireServer, status: int) -> None:
    route = wire_server.on("GET", TAGS, respond(status), respond(status), SOME_TAGS)
    events: list[Event] = []
    async with client_for(wire_server, hooks=[events.append]) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        assert (await client.get(f"{wire_server.origin}{TAGS}")).status_code == 200
    assert len(route.requests) == 4
    told = [(event.host, event.operation, event.attempt) for event in events if isinstance(event, RequestRetried)]
    assert told == [(wire_server.host, "list tags", 1), (wire_server.host, "list tags", 2)]
    assert {event.reason for event in events if isinstance(event, RequestRetried)} == {f"answered {status}"}


@pytest.mark.parametrize(
    ("status", "kind"), [(429, RateLimitedError), (503, ServerError), (408, OciError)], ids=["429", "503", "408"]
)
async def test_the_last_of_them_is_the_error(wire_server: WireServer, status: int, kind: type[OciError]) -> None:
    route = wire_server.on("GET", TAGS, error(status, "UNAVAILABLE", "come back later"))
    async with client_for(wire_server) as client:
        with pytest.raises(kind, match="come back later") as caught:
            await list_tags(client, wire_server)
        assert caught.value.attempts == 3
        # Whoever made the request themselves gets the answer.
        response = await client.get(f"{wire_server.origin}{TAGS}")
        assert (response.status_code, response.json()["errors"][0]["message"]) == (status, "come back later")
    assert len(route.requests) == 6


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_waited_for(wire_server: WireServer, slept: list[float], status: int) -> None:
    wire_server.on("GET", TAGS, respond(status, {"Retry-After": "7"}), respond(status, {"Retry-After": "0"}), SOME_TAGS)
    events: list[Event] = []
    policy = RetryPolicy(attempts=3, jitter=0.5)
    async with client_for(wire_server, retry=policy, hooks=[events.append]) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert 7 <= slept[0] <= 7.5
    assert 0 <= slept[1] <= 0.5
    # The record says what was really waited.
    assert waits(events) == slept


async def test_a_date_is_waited_for_too(
    wire_server: WireServer, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocidist.http.retry.time.time", lambda: 1_700_000_000.0)
    date = formatdate(1_700_000_020, usegmt=True)
    wire_server.on("GET", TAGS, respond(503, {"Retry-After": date}), SOME_TAGS)
    async with client_for(wire_server) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert slept == [20.0]


async def test_a_wait_that_would_end_too_late_is_not_begun(wire_server: WireServer, slept: list[float]) -> None:
    route = wire_server.on("GET", TAGS, respond(503, {"Retry-After": "30"}))
    async with client_for(wire_server, retry=RetryPolicy(timeout=50.0)) as client:
        with pytest.raises(ServerError):
            await list_tags(client, wire_server)
    # No time passed while waiting, so each of the waits would have ended in time.
    assert (len(route.requests), len(slept)) == (5, 4)
    slept.clear()
    async with client_for(wire_server, retry=RetryPolicy(timeout=29.0)) as client:
        with pytest.raises(ServerError):
            await list_tags(client, wire_server)
    assert (len(route.requests), slept) == (6, [])


async def test_waits_grow_where_the_registry_names_none(wire_server: WireServer, slept: list[float]) -> None:
    wire_server.on("GET", TAGS, respond(503, {"Retry-After": "soon"}))
    policy = RetryPolicy(attempts=6, wait_initial=1.0, wait_max=5.0, jitter=0.0)
    async with client_for(wire_server, retry=policy) as client:
        with pytest.raises(ServerError):
            await list_tags(client, wire_server)
    assert slept == [1.0, 2.0, 4.0, 5.0, 5.0]


async def test_a_wait_longer_than_allowed_is_not_begun(wire_server: WireServer, slept: list[float]) -> None:
    route = wire_server.on("GET", TAGS, respond(429, {"Retry-After": "3600"}))
    events: list[Event] = []
    async with client_for(wire_server, hooks=[events.append]) as client:
        with pytest.raises(RateLimitedError) as caught:
            await list_tags(client, wire_server)
    assert (caught.value.retry_after, caught.value.attempts) == (3600.0, 1)
    assert (len(route.requests), slept, waits(events)) == (1, [], [])


@pytest.mark.parametrize("policy", [ONCE, RetryPolicy(timeout=0.0)])
async def test_one_attempt_is_one_attempt(wire_server: WireServer, policy: RetryPolicy) -> None:
    route = wire_server.on("GET", TAGS, answers.reset)
    async with client_for(wire_server, retry=policy) as client:
        with pytest.raises(TransportError):
            await list_tags(client, wire_server)
    assert len(route.requests) == 1


async def test_no_attempt_begins_after_the_time_is_up(wire_server: WireServer, slept: list[float]) -> None:
    route = wire_server.on("GET", TAGS, respond(503))
    events: list[Event] = []
    policy = RetryPolicy(attempts=100, timeout=0.05, wait_initial=0.0, jitter=0.0)
    async with client_for(wire_server, retry=policy, hooks=[events.append]) as client:
        with pytest.raises(ServerError):
            await list_tags(client, wire_server)
    assert len(route.requests) < 100
    # Nobody is told of a retry that does not take place.
    assert len(waits(events)) == len(slept) == len(route.requests) - 1


@pytest.mark.parametrize(
    "fault",
    [answers.reset, answers.close, answers.chain(respond(200, {"Content-Length": "50"}, b"{"), answers.close)],
    ids=["RST", "FIN", "cut"],
)
async def test_a_connection_that_ends_early_is_followed_by_another(wire_server: WireServer, fault: Handler) -> None:
    route = wire_server.on("GET", TAGS, fault, SOME_TAGS)
    async with client_for(wire_server) as client:
        try:
            assert await list_tags(client, wire_server) == ["v1"]
        except TruncatedBodyError:
            # Once the head is there the body is its reader's business.
            assert len(route.requests) == 1


async def test_a_request_with_an_effect_is_repeated_only_where_it_had_none(wire_server: WireServer) -> None:
    refused = wire_server.on(
        "PATCH", f"{UPLOAD}1", respond(429), respond(202, {"Location": f"{UPLOAD}1", "Range": "0-3"})
    )
    wire_server.on("POST", UPLOAD, respond(202, {"Location": f"{UPLOAD}1"}))
    wire_server.on("PUT", f"{UPLOAD}1*", respond(201))
    wire_server.on("DELETE", f"{UPLOAD}1*", respond(204))
    async with client_for(wire_server) as client:
        repository = client.repository(f"{wire_server.host}/{NAME}")
        async with repository.blobs.writer(chunk_size=4) as writer:
            await writer.write(b"data")
            await writer.flush()
            await writer.commit()
    assert [request.body for request in refused.requests] == [b"data", b"data"]


async def test_raw_requests_are_repeated_only_where_that_is_safe(wire_server: WireServer) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        wire_server.on(method, "/v2/x", respond(503))
    wire_server.on("HEAD", "/v2/x", respond(503), respond(200))
    async with client_for(wire_server) as client:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert (await client.request(method, f"{wire_server.origin}/v2/x", content=b"x")).status_code == 503
        assert (await client.head(f"{wire_server.origin}/v2/x")).status_code == 200
    assert wire_server.targets() == [f"{m} /v2/x" for m in ("POST", "PUT", "PATCH", "DELETE", "HEAD", "HEAD")]


async def test_a_body_that_cannot_be_sent_again_is_not(wire_server: WireServer) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"data"

    wire_server.on("GET", "/v2/", respond(200))
    route = wire_server.on("PUT", f"/v2/{NAME}/manifests/v1", respond(503))
    async with client_for(wire_server) as client:
        url = f"{wire_server.origin}/v2/{NAME}/manifests/v1"
        assert (await client.put(url, content=pieces())).status_code == 503
    assert len(route.requests) == 1


async def test_a_404_is_no_reason_to_try_again(wire_server: WireServer) -> None:
    async with client_for(wire_server) as client:
        with pytest.raises(OciError):
            await list_tags(client, wire_server)
        assert (await client.get(f"{wire_server.origin}/v2/")).status_code == 404
    assert wire_server.targets() == [f"GET {TAGS}?n=1000", "GET /v2/"]


async def test_a_failing_hook_fails_nothing(wire_server: WireServer, caplog: pytest.LogCaptureFixture) -> None:
    warning = {"Warning": '299 - "this repository moves"'}
    wire_server.on("GET", TAGS, respond(503), respond(200, warning, b'{"tags": ["v1"]}'))
    events: list[Event] = []

    def broken(event: Event) -> None:
        raise RuntimeError(type(event).__name__)

    async with client_for(wire_server, hooks=[broken, events.append]) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    kinds = [ConcurrencyChanged, RequestRetried, WarningReceived]
    assert [type(event) for event in events] == kinds
    told = [record.getMessage() for record in caplog.records if record.name == "ocidist.hooks"]
    assert told == [f"a hook failed on {kind.__name__}" for kind in kinds]


async def test_t37_warnings_are_shown_once_each_and_only_so_many(
    wire_server: WireServer, caplog: pytest.LogCaptureFixture
) -> None:
    count = 0

    def flood(request: Any, connection: Any) -> None:  # noqa: ANN401 -- a handler
        nonlocal count
        texts = [f'299 - "number {number}"' for number in range(count, count + 100)]
        count += 100
        respond(200, {"Warning": ", ".join(texts)}, b'{"tags": []}')(request, connection)

    wire_server.on("GET", TAGS, flood)
    same = [("Warning", '299 - "old \x1b[31mnews"'), ("Warning", '299 - "old \x1b[31mnews"'), ("Warning", '199 - "no"')]
    wire_server.on("GET", "/v2/same", respond(200, same))
    events: list[Event] = []
    async with client_for(wire_server, hooks=[events.append]) as client:
        for _ in range(3):
            await client.get(f"{wire_server.origin}/v2/same")
        assert [event for event in events if isinstance(event, WarningReceived)] == [
            WarningReceived(wire_server.host, "old [31mnews")
        ]
        for _ in range(20):
            await list_tags(client, wire_server)
    assert count == 2000
    assert len(events) == 256
    assert len([record for record in caplog.records if record.name == "ocidist.warnings"]) == 256


def test_a_program_without_logging_hears_nothing_of_retries() -> None:
    script = """
import anyio, socket, stamina, ocidist
with socket.create_server(("127.0.0.1", 0)) as listener:
    host = "127.0.0.1:%d" % listener.getsockname()[1]

async def main():
    policy = ocidist.RetryPolicy(attempts=3, wait_initial=0.0, jitter=0.0)
    async with ocidist.Client(hosts={host: ocidist.HostConfig(scheme="http")}, retry=policy) as client:
        try:
            await client.registry(host).ping()
        except ocidist.ConnectError as error:
            print(error.attempts)

anyio.run(main)
# What others retry is still told, as stamina does it.
for attempt in stamina.retry_context(on=ValueError, attempts=2, wait_initial=0, wait_max=0, wait_jitter=0):
    with attempt:
        if attempt.num == 1:
            raise ValueError
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "3\n"
    assert done.stderr == "stamina.retry_scheduled\n"


async def test_retries_are_logged_with_their_reason(wire_server: WireServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    wire_server.on("GET", TAGS, respond(503), SOME_TAGS)
    async with client_for(wire_server) as client:
        await list_tags(client, wire_server)
    told = [record.getMessage() for record in caplog.records if record.name.startswith(("ocidist", "stamina"))]
    assert told == [f"{wire_server.host}: list tags failed (answered 503), attempt 1; trying again"]


async def test_stamina_may_be_switched_off_as_its_users_expect(wire_server: WireServer) -> None:
    route = wire_server.on("GET", TAGS, respond(503))
    stamina.set_active(False)
    try:
        async with client_for(wire_server) as client:
            with pytest.raises(ServerError):
                await list_tags(client, wire_server)
    finally:
        stamina.set_active(True)
    assert len(route.requests) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"attempts": 0},
        {"timeout": -1},
        {"wait_initial": -1},
        {"wait_max": -1},
        {"jitter": -1},
        {"jitter": 1.5},
        {"max_retry_after": -1},
        {"budget": -0.1},
        {"reserve": -1},
    ],
)
def test_a_policy_makes_sense(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        RetryPolicy(**values)


def test_the_number_of_attempts_may_be_large() -> None:
    assert RetryPolicy(attempts=10**6, jitter=0.0).wait(10**6, None) == 30.0
    assert QUICK.wait(1, QUICK.max_retry_after) == QUICK.max_retry_after
    assert QUICK.wait(1, QUICK.max_retry_after + 0.1) is None
