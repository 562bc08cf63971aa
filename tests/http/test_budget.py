"""How much a host that fails is asked again: the amplification of retries."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import Digest, HostLimits, OciError, RetryPolicy, ServerError
from ocidist.http.budget import RetryBudget
from tests.http.support import NAME, SOME_TAGS, TAGS, client_for, in_parallel, list_tags, outcomes, until
from tests.peers import answers
from tests.peers.answers import error, respond

if TYPE_CHECKING:
    from ocidist import Client
    from tests.peers.answers import Handler
    from tests.peers.wire_server import Connection, Request, WireServer

SWIFT = RetryPolicy(attempts=5, wait_initial=0.002, wait_max=0.01)
BLOB = b"0123456789"


def failing(share: float, seed: int) -> Handler:
    """Answer 503 to a share of the requests, by chance."""
    chance, lock = random.Random(seed), threading.Lock()  # noqa: S311 -- a test's dice

    def answer(request: Request, connection: Connection) -> None:
        with lock:
            fails = chance.random() < share
        (respond(503) if fails else SOME_TAGS)(request, connection)

    return answer


async def _many(client: Client, server: WireServer, count: int, at_once: int) -> list[object]:
    found: list[object] = []
    for _ in range(count // at_once):

        async def one() -> None:
            found.extend(await outcomes(1, lambda: list_tags(client, server)))

        await in_parallel(at_once, one)
    return found


@pytest.mark.in_turn
@pytest.mark.parametrize("at_once", [1, 20])
async def test_t68_a_host_that_fails_everything_gets_little_more_than_it_is_asked_for(
    wire_server: WireServer, at_once: int
) -> None:
    route = wire_server.on("GET", TAGS, respond(503))
    async with client_for(wire_server, retry=SWIFT) as client:
        found = await _many(client, wire_server, 200, at_once)
    assert all(isinstance(failure, ServerError) for failure in found)
    # The first hundred are free; of the others there are a tenth. Far less than five for each.
    assert len(route.requests) <= 200 + 100 + 20
    assert len(route.requests) / 200 <= SWIFT.attempts


@pytest.mark.in_turn
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_t68_a_host_that_fails_half_of_the_time_gets_no_more_than_twice_as_much(
    wire_server: WireServer, seed: int
) -> None:
    route = wire_server.on("GET", TAGS, failing(0.5, seed))
    async with client_for(wire_server, retry=SWIFT) as client:
        first = await _many(client, wire_server, 80, 20)
        assert len(route.requests) / 80 <= 2.2
        # There was budget enough: five attempts hardly ever fail all.
        assert sum(isinstance(one, list) for one in first) >= 68
        await _many(client, wire_server, 320, 20)
    assert len(route.requests) / 400 <= 2.2


async def test_t68_who_gets_no_retry_is_told_why(wire_server: WireServer) -> None:
    wire_server.on("GET", TAGS, error(503, "UNAVAILABLE", "come back later"), SOME_TAGS)
    async with client_for(wire_server, retry=RetryPolicy(attempts=3, reserve=0)) as client:
        with pytest.raises(ServerError, match=r"come back later.*not tried again.*repetitions") as caught:
            await list_tags(client, wire_server)
        assert caught.value.attempts == 1
        assert await list_tags(client, wire_server) == ["v1"]


async def test_t68_a_lost_connection_is_told_with_it_too(wire_server: WireServer) -> None:
    wire_server.on("GET", TAGS, answers.reset)
    async with client_for(wire_server, retry=RetryPolicy(attempts=3, reserve=0)) as client:
        with pytest.raises(OciError, match="repetitions"):
            await list_tags(client, wire_server)


async def test_t68_ten_good_requests_earn_a_retry(wire_server: WireServer) -> None:
    good = [SOME_TAGS] * 10
    route = wire_server.on("GET", TAGS, *good, respond(503), SOME_TAGS, respond(503), SOME_TAGS)
    policy = RetryPolicy(attempts=3, reserve=0, wait_initial=0.001)
    async with client_for(wire_server, retry=policy) as client:
        for _ in range(11):
            assert await list_tags(client, wire_server) == ["v1"]
        with pytest.raises(ServerError):
            await list_tags(client, wire_server)
    assert len(route.requests) == 13


async def test_t68_hosts_have_budgets_of_their_own(wire_server: WireServer) -> None:
    wire_server.on("GET", TAGS, respond(503))
    wire_server.on("GET", "/v2/other/tags/list", respond(503), SOME_TAGS)
    policy = RetryPolicy(attempts=4, reserve=3, wait_initial=0.001)
    name = f"localhost:{wire_server.port}"
    async with client_for(wire_server, retry=policy) as client:
        for _ in range(2):
            with pytest.raises(ServerError):
                await list_tags(client, wire_server)
        assert len(wire_server.requests) == 5
        assert await client.repository(f"http://{name}/other").tags.list().collect() == ["v1"]


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 405, 409, 410, 412, 413, 416, 418, 422, 431, 451, 501, 505]
)
async def test_t68_no_other_answer_is_tried_again(wire_server: WireServer, status: int) -> None:
    route = wire_server.on("HEAD", f"/v2/{NAME}/blobs/{Digest.of(BLOB)}", respond(status))
    async with client_for(wire_server) as client:
        with pytest.raises(OciError):
            await client.repository(f"{wire_server.host}/{NAME}").blobs.stat(Digest.of(BLOB))
    assert len(route.requests) == 1


@pytest.mark.parametrize(
    "fault",
    [*[respond(status) for status in (408, 429, 500, 502, 503, 504)], answers.reset, answers.close],
    ids=["408", "429", "500", "502", "503", "504", "RST", "FIN"],
)
async def test_t68_what_may_pass_is_tried_again_where_that_is_safe(wire_server: WireServer, fault: Handler) -> None:
    path = f"/v2/{NAME}/blobs/{Digest.of(BLOB)}"
    wire_server.on("HEAD", path, fault, respond(200, {"Content-Length": "10"}))
    wire_server.on("GET", path, fault, respond(200, {}, BLOB))
    wire_server.on("DELETE", path, fault, respond(202))
    async with client_for(wire_server) as client:
        blobs = client.repository(f"{wire_server.host}/{NAME}").blobs
        assert (await blobs.stat(Digest.of(BLOB))).size == 10
        assert await blobs.get(Digest.of(BLOB)) == BLOB
        await blobs.delete(Digest.of(BLOB))
    assert wire_server.targets() == [f"{method} {path}" for method in ("HEAD", "GET", "DELETE") for _ in range(2)]


async def test_a10_no_slot_is_held_while_waiting_for_another_attempt(wire_server: WireServer) -> None:
    route = wire_server.on("GET", TAGS, respond(503, {"Retry-After": "30"}))
    wire_server.on("GET", "/v2/other/tags/list", SOME_TAGS)
    policy = RetryPolicy(attempts=2)
    limits = HostLimits(concurrency=1)
    async with client_for(wire_server, retry=policy, limits=limits) as client, anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(list_tags, client, wire_server)
        with anyio.fail_after(20):
            await until(lambda: len(route.requests) == 5)
            assert await list_tags(client, wire_server, "other") == ["v1"]
        group.cancel_scope.cancel()


def test_a_budget_saves_up_no_more_than_its_reserve() -> None:
    budget = RetryBudget(0.1, 3)
    assert [budget.spend(0) for _ in range(4)] == [True, True, True, False]
    assert [budget.spend(10), budget.spend(10)] == [True, False]
    assert sum(budget.spend(10**6) for _ in range(100)) == 10
    assert not any(RetryBudget(0.0, 0).spend(number) for number in range(100))
    assert sum(RetryBudget(0.0, 5).spend(0) for _ in range(1)) == 1
