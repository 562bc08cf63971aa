"""Many tasks at once: what they may share, and that nobody's misfortune becomes everybody's."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import (
    Basic,
    CredentialsRejectedError,
    Digest,
    HostConfig,
    HostLimits,
    TransportError,
    TransportTimeoutError,
)
from ocidist.http import auth
from ocidist.model.mediatype import OCI_MANIFEST
from tests.http.support import (
    ALICE,
    NAME,
    ONCE,
    PULL,
    SOME_TAGS,
    TAGS,
    alice_at,
    authorizations,
    challenge,
    client_for,
    gate,
    guarded,
    in_parallel,
    list_tags,
    outcomes,
    token_answer,
    unauthorized,
    until,
)
from tests.peers import answers
from tests.peers.answers import error, respond

if TYPE_CHECKING:
    from ocidist import Client
    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.token_server import TokenServer
    from tests.peers.wire_server import Connection, Request, WireServer

OPEN = respond(200, {}, b"{}")
MISSING = error(404, "NOT_FOUND")


@pytest.mark.parametrize("scheme", ["http", None], ids=["scheme known", "scheme detected"])
@pytest.mark.parametrize("root", ["challenges", "open", "missing"])
async def test_a01_a_cold_cache_costs_one_challenge_and_one_token_request(
    wire_server: WireServer, token_server: TokenServer, root: str, scheme: str | None
) -> None:
    roots = {"challenges": guarded(token_server.realm, OPEN, root=True), "open": OPEN, "missing": MISSING}
    wire_server.on("GET", "/v2/", roots[root])
    route = wire_server.on("GET", TAGS, guarded(token_server.realm, SOME_TAGS))
    hosts = {wire_server.host: HostConfig(scheme="http" if scheme else None)}
    async with alice_at(wire_server, token_server, hosts=hosts) as client:
        await in_parallel(200, partial(list_tags, client, wire_server))
    bare = [request.path for request in route.requests if request.header("Authorization") is None]
    # A challenge that came with the detection of the scheme is not asked for again.
    assert bare == ([] if scheme is None and root == "challenges" else [TAGS])
    assert len(route.requests) == 200 + len(bare)
    assert [call.scopes for call in token_server.calls] == [[PULL]]


async def test_q25_the_same_holds_where_only_v2_says_how_to_authenticate(
    wire_server: WireServer, token_server: TokenServer
) -> None:
    wire_server.on("GET", "/v2/", unauthorized(challenge(token_server.realm)))
    token = respond(401)

    def tags(request: Request, connection: Connection) -> None:
        (SOME_TAGS if request.header("Authorization") else token)(request, connection)

    route = wire_server.on("GET", TAGS, tags)
    async with alice_at(wire_server, token_server) as client:
        await in_parallel(100, partial(list_tags, client, wire_server))
    assert wire_server.targets("GET").count("/v2/") == 1
    assert authorizations(wire_server).count(None) == 2
    assert (len(route.requests), len(token_server.calls)) == (101, 1)


async def test_t64_five_hundred_cold_tasks_ask_for_one_token_and_survive_the_first_ones_cancellation(
    wire_server: WireServer, token_server: TokenServer
) -> None:
    wire_server.on("GET", TAGS, guarded(token_server.realm, SOME_TAGS))
    found: list[object] = []
    first = anyio.CancelScope()
    async with alice_at(wire_server, token_server) as client, anyio.create_task_group() as group:

        async def leader() -> None:
            with first:
                await list_tags(client, wire_server)

        async def followers() -> None:
            found.extend(await outcomes(499, partial(list_tags, client, wire_server)))

        with token_server.held():
            group.start_soon(leader)
            await until(lambda: len(token_server.wire.requests) == 1)
            group.start_soon(followers)
            await anyio.wait_all_tasks_blocked()
            first.cancel()
            await until(lambda: len(token_server.wire.requests) == 2)
    assert found == [["v1"]] * 499
    # The cancelled request was under way; its connection is closed, and one other took its place.
    assert len(token_server.wire.requests) == 2


async def test_q25_a_token_that_was_revoked_among_many_is_replaced_for_all_of_them(wire_server: WireServer) -> None:
    given: list[str] = []
    good: set[str] = set()
    served: list[Request] = []
    slow, replaced = threading.Event(), threading.Event()

    def token(request: Request, connection: Connection) -> None:
        given.append(f"token-number-{len(given)}")
        good.add(given[-1])
        token_answer(token=given[-1])(request, connection)

    def answer(request: Request, connection: Connection) -> None:
        found = (request.header("Authorization") or "").removeprefix("Bearer ")
        if found and request.path.endswith("/slow") and not replaced.is_set():
            slow.set()
            replaced.wait(10)
        if found not in good:
            unauthorized(challenge(f"{wire_server.origin}/token", PULL))(request, connection)
        else:
            served.append(request)
            said = {"Docker-Content-Digest": str(Digest.of(b"x")), "Content-Type": OCI_MANIFEST}
            respond(200, said, b"x")(request, connection)

    wire_server.on("GET", "/token*", token)
    wire_server.on("*", "/v2/*", answer)
    async with alice_at(wire_server) as client:
        repository = client.repository(f"{wire_server.host}/{NAME}")
        async with anyio.create_task_group() as group:
            for tag in ("slow", "quick"):
                group.start_soon(repository.manifests.stat, tag)
            await until(slow.is_set)
            await until(
                lambda: any("quick" in each.path and each.header("Authorization") for each in wire_server.requests)
            )
            good.clear()
            await repository.manifests.stat("later")
            replaced.set()
    assert given == ["token-number-0", "token-number-1"]


async def test_t64_without_a_cancellation_it_is_one(wire_server: WireServer, token_server: TokenServer) -> None:
    wire_server.on("GET", TAGS, guarded(token_server.realm, SOME_TAGS))
    async with alice_at(wire_server, token_server) as client:
        assert await outcomes(500, partial(list_tags, client, wire_server)) == [["v1"]] * 500
    assert len(token_server.wire.requests) == 1


async def test_t64_a_refusal_is_shared_for_a_moment_and_no_longer(
    wire_server: WireServer, token_server: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("ocidist._io.flight.time.monotonic", lambda: now)
    wire_server.on("GET", TAGS, guarded(token_server.realm, SOME_TAGS))
    wrong = {wire_server.host: Basic("alice", "wr0ng")}
    limits = HostLimits(concurrency=4)
    async with alice_at(wire_server, token_server, credentials=wrong, limits=limits) as client:
        found = await outcomes(40, partial(list_tags, client, wire_server))
        assert {type(failure) for failure in found} == {CredentialsRejectedError}
        assert len(token_server.calls) == 1
        now += auth.KEEP_FAILURES
        with pytest.raises(CredentialsRejectedError):
            await list_tags(client, wire_server)
    assert len(token_server.calls) == 2


async def test_t64_a_wrong_password_is_no_failed_login_for_each_repository(
    wire_server: WireServer, token_server: TokenServer
) -> None:
    wire_server.on("GET", "/v2/*", guarded(token_server.realm, SOME_TAGS))
    names = iter(range(40))
    async with alice_at(wire_server, token_server, credentials={wire_server.host: Basic("alice", "wr0ng")}) as client:
        found = await outcomes(40, lambda: list_tags(client, wire_server, f"acme/app{next(names)}"))
    assert {type(failure) for failure in found} == {CredentialsRejectedError}
    assert [bool(call.scopes) for call in token_server.calls] == [True, False]


async def test_f057_a_natively_cancelled_leader_costs_one_other_request(
    wire_server: WireServer, token_server: TokenServer, anyio_backend_name: str
) -> None:
    if anyio_backend_name != "asyncio":
        pytest.skip("trio has scopes only")
    wire_server.on("GET", TAGS, guarded(token_server.realm, SOME_TAGS))
    async with alice_at(wire_server, token_server) as client:
        with token_server.held():
            leader = asyncio.ensure_future(list_tags(client, wire_server))
            await until(lambda: len(token_server.wire.requests) == 1)
            others = [asyncio.ensure_future(list_tags(client, wire_server)) for _ in range(20)]
            await anyio.wait_all_tasks_blocked()
            leader.cancel()
            await until(lambda: len(token_server.wire.requests) == 2)
        assert await asyncio.gather(*others) == [["v1"]] * 20
    assert leader.cancelled()
    assert len(token_server.wire.requests) == 2


async def test_f047_a_silent_token_server_fails_everybody_once(
    wire_server: WireServer, start_wire_server: StartWireServer
) -> None:
    tokens = start_wire_server()
    tokens.on("GET", "/token*", answers.silence)
    wire_server.on("GET", TAGS, unauthorized(challenge(f"{tokens.origin}/token")))
    # Half of them have to wait for a place first.
    limits = HostLimits(concurrency=50)
    async with client_for(wire_server, timeout=0.3, limits=limits) as client:
        found = await outcomes(100, partial(list_tags, client, wire_server))
    assert {type(failure) for failure in found} == {TransportTimeoutError}
    told = {
        (failure.operation, failure.host, failure.attempts) for failure in found if isinstance(failure, TransportError)
    }
    assert told == {("fetch a token", tokens.host, 3)}
    # Each attempt the policy allows was made once, for all of them.
    assert len(tokens.requests) == 3


async def test_f047_cancelling_frees_all_who_wait(wire_server: WireServer, token_server: TokenServer) -> None:
    wire_server.on("GET", TAGS, guarded(token_server.realm, SOME_TAGS))
    async with alice_at(wire_server, token_server) as client:
        with token_server.held():
            async with anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(list_tags, client, wire_server)
                await until(lambda: len(token_server.wire.requests) == 1)
                group.cancel_scope.cancel()
        assert await list_tags(client, wire_server) == ["v1"]


async def test_cancelling_the_one_that_goes_ahead_lets_another_go_ahead(
    wire_server: WireServer, token_server: TokenServer
) -> None:
    found: list[object] = []
    first = anyio.CancelScope()
    with gate(guarded(token_server.realm, SOME_TAGS)) as (slow, event):
        route = wire_server.on("GET", TAGS, slow)
        async with alice_at(wire_server, token_server) as client, anyio.create_task_group() as group:

            async def leader() -> None:
                with first:
                    await list_tags(client, wire_server)

            async def followers() -> None:
                found.extend(await outcomes(30, partial(list_tags, client, wire_server)))

            group.start_soon(leader)
            await until(lambda: len(route.requests) == 1)
            group.start_soon(followers)
            await anyio.wait_all_tasks_blocked()
            assert len(route.requests) == 1
            first.cancel()
            await until(lambda: len(route.requests) == 2)
            event.set()
    assert found == [["v1"]] * 30
    assert authorizations(wire_server).count(None) == 2
    assert len(token_server.calls) == 1


async def test_a_silent_host_is_not_tried_by_one_task_after_the_other(
    wire_server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "PATIENCE", 0.05)
    with gate(SOME_TAGS) as (slow, event):
        route = wire_server.on("GET", TAGS, slow)
        limits = HostLimits(concurrency=50)
        async with client_for(wire_server, limits=limits) as client, anyio.create_task_group() as group:
            group.start_soon(outcomes, 50, partial(list_tags, client, wire_server))
            # All of them are under way although none has been answered: together they wait for one timeout.
            await until(lambda: len(route.requests) == 50)
            event.set()


@pytest.mark.parametrize(
    "fault", [answers.reset, respond(503), answers.raw(b"nonsense\r\n\r\n")], ids=["RST", "503", "garbage"]
)
async def test_when_the_one_that_goes_ahead_fails_the_others_go_on_together(
    wire_server: WireServer, token_server: TokenServer, fault: Handler
) -> None:
    with gate(guarded(token_server.realm, SOME_TAGS)) as (slow, event):
        route = wire_server.on("GET", TAGS, fault, slow)
        limits = HostLimits(concurrency=50)
        async with alice_at(wire_server, token_server, retry=ONCE, limits=limits) as client:
            found: list[object] = []

            async def everybody() -> None:
                found.extend(await outcomes(30, partial(list_tags, client, wire_server)))

            async with anyio.create_task_group() as group:
                group.start_soon(everybody)
                await until(lambda: len(route.requests) == 30)
                event.set()
    assert sorted(map(str, found)).count("['v1']") == 29
    assert len(token_server.calls) == 1


async def test_repositories_of_an_open_registry_are_asked_together(wire_server: WireServer) -> None:
    names = [f"acme/app{number}" for number in range(40)]
    with gate(respond(200, {}, b'{"tags": ["v1"]}')) as (slow, event):
        wire_server.on("GET", "/v2/*", slow)
        wire_server.on("GET", TAGS, SOME_TAGS)
        limits = HostLimits(concurrency=50)
        async with client_for(wire_server, limits=limits) as client:
            await list_tags(client, wire_server)
            async with anyio.create_task_group() as group:
                for name in names:
                    group.start_soon(list_tags, client, wire_server, name)
                # It let the first one in without asking, so each of the others finds out for itself, all at once.
                await until(lambda: len(wire_server.requests) == 41)
                event.set()


async def test_what_is_missing_from_an_open_registry_is_asked_for_together(wire_server: WireServer) -> None:
    with gate(error(404, "NAME_UNKNOWN")) as (slow, event):
        route = wire_server.on("GET", TAGS, error(404, "NAME_UNKNOWN"), slow)
        async with client_for(wire_server) as client:
            await outcomes(1, partial(list_tags, client, wire_server))
            async with anyio.create_task_group() as group:
                group.start_soon(outcomes, 30, partial(list_tags, client, wire_server))
                await until(lambda: len(route.requests) == 31)
                event.set()


async def test_who_can_do_nothing_with_the_challenge_waits_for_nobody(wire_server: WireServer) -> None:
    with gate(unauthorized({"WWW-Authenticate": "Negotiate"})) as (slow, event):
        route = wire_server.on("GET", TAGS, unauthorized({"WWW-Authenticate": "Negotiate"}), slow)
        async with client_for(wire_server) as client:
            await outcomes(1, partial(list_tags, client, wire_server))
            async with anyio.create_task_group() as group:
                group.start_soon(outcomes, 30, partial(list_tags, client, wire_server))
                await until(lambda: len(route.requests) == 31)
                event.set()


async def test_q25_a_401_for_a_token_that_was_replaced_meanwhile_is_retried_with_the_new_one(
    wire_server: WireServer, start_wire_server: StartWireServer
) -> None:
    tokens = start_wire_server()
    issued = tokens.on(
        "GET", "/token*", token_answer(token="one"), token_answer(token="two"), token_answer(token="three")
    )
    refusal = unauthorized(challenge(f"{tokens.origin}/token", PULL, error="invalid_token"))
    good = "one"

    def tags(request: Request, connection: Connection) -> None:
        (SOME_TAGS if request.header("Authorization") == f"Bearer {good}" else refusal)(request, connection)

    wire_server.on("GET", TAGS, tags)
    async with client_for(wire_server) as client:
        await list_tags(client, wire_server)
        good = "two"
        await in_parallel(50, partial(list_tags, client, wire_server))
    assert len(issued.requests) == 2


async def _push(client: Client, server: WireServer) -> None:
    await client.repository(f"{server.host}/{NAME}").blobs.push(b"data")


async def test_a_long_upload_that_goes_ahead_holds_up_no_reads(
    wire_server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "PATIENCE", 0.05)
    with gate(respond(202, {"Location": f"/v2/{NAME}/blobs/uploads/1"})) as (slow, event):
        route = wire_server.on("*", f"/v2/{NAME}/blobs/*", slow)
        wire_server.on("GET", TAGS, SOME_TAGS)
        credentials = {wire_server.host: ALICE}
        async with (
            client_for(wire_server, credentials=credentials, retry=ONCE) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(outcomes, 1, partial(_push, client, wire_server))
            await until(lambda: len(route.requests) == 1)
            assert await list_tags(client, wire_server) == ["v1"]
            event.set()
