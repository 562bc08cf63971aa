"""How long tokens are used: a day of them in seconds, herds, clocks that are set, and transfers that take long."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import random
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import httpx
import pytest

from ocidist import AuthError, Basic, Client, Credential, EgressPolicy, MemoryTokenCache, Token, TokenOptions
from ocidist.credentials.store import ANONYMOUS
from ocidist.http import auth
from ocidist.http.auth import SLOW, Answered, Authenticator, Proof, Turn
from ocidist.http.caches import MemoryChallengeCache, TokenOwner
from ocidist.http.tokens import Answer, TokenSource
from ocidist.wire.challenge import parse_challenges
from ocidist.wire.egress import Origin
from ocidist.wire.scope import ScopeSet
from tests.faults.auth import Issuer, anything, bearer, taking
from tests.http.simulated import LIFE_S, Clock, Registries, own_blob
from tests.http.support import (
    PULL,
    SOME_TAGS,
    TAGS,
    alice_at,
    challenge,
    list_tags,
    outcomes,
    token_answer,
    unauthorized,
)
from tests.peers.answers import respond_json

if TYPE_CHECKING:
    from tests.peers.peer import Peer
    from tests.peers.wire_server import WireServer

HOUR_S = 3600.0
HOURS = 24 if os.environ.get("NIGHTLY") else 0.25
"""How much of the day is lived through: the whole of it takes a minute on each event loop."""

PEOPLE: dict[str, Credential] = {name: Basic(name, f"password of {name}") for name in ("ann", "ben")}
TRUSTING = EgressPolicy(trusted_realms=("https://tokens.acme.io",))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clocks of the client under test."""
    made = Clock()
    made.install(monkeypatch)
    return made


def client_of(registries: Registries, cache: MemoryTokenCache | None = None) -> Client:
    """Return a client whose every request goes to the simulation."""
    return Client(transport=registries, egress=TRUSTING, token_cache=cache, credentials={}, trust_env=False)


async def look(client: Client, name: str, who: str) -> None:
    """Ask for somebody's own blob."""
    repository = client.repository(name, credential=PEOPLE[who])
    assert await repository.blobs.exists(own_blob(who))


class Asker:
    """What a client does about authentication, without the rest of it: a day has a hundred thousand requests.

    Args:
        registries: Who answers, token server and all.
        cache: Where tokens are kept.
    """

    def __init__(self, registries: Registries, cache: MemoryTokenCache) -> None:
        self._registries = registries
        source = TokenSource(self._token, TRUSTING, TokenOptions())
        self._auth = Authenticator(source, MemoryChallengeCache(), cache, TokenOptions(), self._root)

    async def _token(self, request: httpx.Request) -> Answer:
        await anyio.lowlevel.checkpoint()
        response = await self._registries.handle_async_request(request)
        return Answer(response.status_code, response.content)

    @staticmethod
    async def _root(_origin: Origin) -> tuple[str, ...]:
        await anyio.lowlevel.checkpoint()
        return ()

    async def look(self, name: str, who: str) -> None:
        """Ask for somebody's own blob."""
        host, _, repository = name.partition("/")
        turn = Turn(Origin("https", host, 443), PEOPLE[who], ScopeSet.parse(f"repository:{repository}:pull"))

        async def attempt(proof: Proof) -> Answered:
            headers = {} if proof.header is None else {"Authorization": proof.header}
            url = f"https://{host}/v2/{repository}/blobs/{own_blob(who)}"
            response = await self._registries.handle_async_request(httpx.Request("HEAD", url, headers=headers))
            refused = tuple(response.headers.get_list("WWW-Authenticate")) if response.status_code == 401 else None
            return Answered(refused, response, proof)

        known = self._auth.known(turn)
        answered = await (self._auth.first(turn, attempt) if known is None else attempt(known))
        while answered.refused is not None:
            proof = await self._auth.answer(turn, answered.sent, answered.refused)
            assert proof is not None
            answered = await attempt(proof)


# --- L07: a day ------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(900)
async def test_l07_a_day_of_short_tokens(clock: Clock) -> None:
    hours = HOURS
    order = random.Random(7)  # noqa: S311 -- a repeatable order
    registries, cache = Registries(clock), MemoryTokenCache()
    # Fifty scopes: twenty-five repositories, for each of two accounts. Two hundred tasks, four for each of those.
    scopes = [(f"registry.acme.io/acme/app{number}", who) for number in range(25) for who in PEOPLE]
    tasks = scopes * 4
    start = clock.now
    asker = Asker(registries, cache)
    while clock.now < start + hours * HOUR_S:
        clock.step = order.choice([-HOUR_S, 0.0, HOUR_S])
        async with anyio.create_task_group() as group:
            for name, who in order.sample(tasks, 40):
                group.start_soon(asker.look, name, who)
        clock.now += order.uniform(5, 40)
    assert registries.refused == []
    # Each repository once: what the host asks for is remembered, and nobody is surprised by a 401 afterwards.
    assert registries.bare <= len(tasks)
    assert len(registries.issued) <= len(scopes) * math.ceil(hours * HOUR_S / (LIFE_S * 0.9)) * 1.02
    assert len(registries.issued) > len(scopes) * hours * 20
    assert len(cache._tokens) <= 1024


async def test_l07_the_same_holds_for_a_client(clock: Clock) -> None:
    registries = Registries(clock)
    start, minutes = clock.now, 10
    async with client_of(registries) as client:
        while clock.now < start + minutes * 60:
            async with anyio.create_task_group() as group:
                for number in range(10):
                    group.start_soon(look, client, f"registry.acme.io/acme/app{number % 5}", "ann")
            clock.now += 20
    assert registries.refused == []
    assert len(registries.issued) <= 5 * math.ceil(minutes * 60 / 54)


# --- L08: a herd -----------------------------------------------------------------------------------------------------


async def test_l08_five_hundred_cold_tasks_and_then_a_revoked_token(wire_server: WireServer) -> None:
    issuer = Issuer(wire_server)
    revoked: set[str] = set()
    wire_server.on("GET", TAGS, taking(lambda token: token not in revoked, issuer.challenge(), SOME_TAGS))
    async with alice_at(wire_server) as client:
        work = partial(list_tags, client, wire_server)
        assert await outcomes(500, work) == [["v1"]] * 500
        assert issuer.issued == ["t1"]
        revoked.add("t1")
        assert await outcomes(500, work) == [["v1"]] * 500
        assert issuer.issued == ["t1", "t2"]


# --- T11: identities -------------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
async def test_t11_ten_thousand_steps_of_two_accounts_never_mix(clock: Clock) -> None:
    order = random.Random(11)  # noqa: S311 -- a repeatable order
    # Few places and short lives, so that tokens come and go.
    registries, cache = Registries(clock), MemoryTokenCache(max_entries=7)
    names = [f"{host}/{name}" for host in ("one.acme.io", "two.acme.io") for name in ("a", "a/b", "a/c", "b")]
    # Two clients that share a cache, too.
    askers = [Asker(registries, cache), Asker(registries, cache)]
    for _ in range(500):
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(order.choice(askers).look, order.choice(names), order.choice(sorted(PEOPLE)))
                if order.random() < 0.2:
                    await anyio.lowlevel.checkpoint()
        clock.now += order.choice([0, 0, 1, 30])
    assert registries.refused == []
    for user, _, _ in registries.issued:
        assert user in PEOPLE
    assert len(cache._tokens) <= 7


async def test_t11_another_password_is_another_identity(wire_server: WireServer) -> None:
    issuer = Issuer(wire_server)
    wire_server.on("GET", TAGS, taking(anything, issuer.challenge(), SOME_TAGS))
    current = [Basic("alice", "0ld")]
    cache = MemoryTokenCache()
    async with alice_at(wire_server, credentials=lambda _host: current[0], token_cache=cache) as client:
        await list_tags(client, wire_server)
        await list_tags(client, wire_server)
        current[0] = Basic("alice", "n3w")
        await list_tags(client, wire_server)
    assert issuer.issued == ["t1", "t2"]
    assert len({request.header("Authorization") for request in issuer.requests}) == 2


# --- T65: expiry and clocks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [-86_400.0, -3600.0, 3600.0, 86_400.0])
async def test_t65_a_clock_that_is_set_changes_no_life(clock: Clock, step: float) -> None:
    registries = Registries(clock)
    async with client_of(registries) as client:
        await look(client, "registry.acme.io/a", "ann")
        clock.step = step
        clock.now += 50
        await look(client, "registry.acme.io/a", "ann")
        assert len(registries.issued) == 1
        clock.now += 5
        await look(client, "registry.acme.io/a", "ann")
        assert len(registries.issued) == 2
        clock.step = 0.0
        clock.now += 50
        await look(client, "registry.acme.io/a", "ann")
        assert len(registries.issued) == 2
    assert registries.refused == []


@pytest.mark.parametrize(
    ("life", "until"), [(60.0, 54.0), (300.0, 270.0), (3600.0, 3240.0), (43_200.0, 38_880.0), (20.0, 54.0)]
)
async def test_t65_a_token_is_renewed_five_seconds_or_a_tenth_early(clock: Clock, life: float, until: float) -> None:
    # Servers that say less than a minute mean it; none is asked oftener than that.
    registries = Registries(clock, life_s=max(life, 60.0))
    async with client_of(registries) as client:
        await look(client, "registry.acme.io/a", "ann")
        clock.now += until - 0.5
        await look(client, "registry.acme.io/a", "ann")
        assert len(registries.issued) == 1
        clock.now += 1
        await look(client, "registry.acme.io/a", "ann")
        assert len(registries.issued) == 2


LIVES: list[object] = [0, -1, 1, 60, "300", 1e12, None, "soon", True]


@pytest.mark.parametrize("life", LIVES, ids=repr)
async def test_t65_a_token_that_is_refused_at_once_is_not_asked_for_in_a_loop(
    wire_server: WireServer, life: object
) -> None:
    asked = wire_server.on("GET", "/token*", token_answer(expires_in=life))
    route = wire_server.on("GET", TAGS, unauthorized(challenge(f"{wire_server.origin}/token", PULL)))
    async with alice_at(wire_server) as client:
        with pytest.raises(AuthError):
            await list_tags(client, wire_server)
    assert (len(route.requests), len(asked.requests)) == (2, 1)


async def test_t65_one_request_is_authenticated_again_once(wire_server: WireServer) -> None:
    issuer, good = Issuer(wire_server), {"t1"}
    wire_server.on("GET", TAGS, taking(lambda token: token in good, issuer.challenge(), SOME_TAGS))
    async with alice_at(wire_server) as client:
        await list_tags(client, wire_server)
        good.clear()
        with pytest.raises(AuthError):
            await list_tags(client, wire_server)
    # The old token, and one new one.
    assert issuer.issued == ["t1", "t2"]
    assert [bearer(request) for request in wire_server.requests if request.path == TAGS] == [None, "t1", "t1", "t2"]


@pytest.mark.parametrize(("offset", "margin"), [(-86_400, 0), (86_400, 0), (-3600, 0), (3600, 0), (-20, 20), (20, 0)])
async def test_t65_a_time_of_issue_only_shortens_a_life(
    wire_server: WireServer, clock: Clock, offset: float, margin: float
) -> None:
    issued = dt.datetime.fromtimestamp(clock.true() + offset, dt.UTC).isoformat()
    answer = respond_json(200, {"token": "t", "expires_in": 100, "issued_at": issued})
    asked = wire_server.on("GET", "/token*", answer)
    wire_server.on("GET", TAGS, taking(anything, challenge(f"{wire_server.origin}/token", PULL), SOME_TAGS))
    async with alice_at(wire_server) as client:
        await list_tags(client, wire_server)
        # A tenth of what is left of it is kept in hand.
        end = (100 - margin) * 0.9
        clock.now += end - 1
        await list_tags(client, wire_server)
        assert len(asked.requests) == 1
        clock.now += 2
        await list_tags(client, wire_server)
        assert len(asked.requests) == 2


# --- transfers that take long ----------------------------------------------------------------------------------------


class Source:
    """An authenticator whose token server is a function."""

    def __init__(self, life: float, **options: float) -> None:
        self.fetched = 0
        self._life = life
        chosen = TokenOptions(**options)  # type: ignore[arg-type]  # the margin
        self.challenges = MemoryChallengeCache()
        source = TokenSource(self._send, EgressPolicy(), chosen)
        self.auth = Authenticator(source, self.challenges, MemoryTokenCache(), chosen, self._root)

    async def _send(self, _request: httpx.Request) -> Answer:
        await anyio.lowlevel.checkpoint()
        self.fetched += 1
        return Answer(200, b'{"token":"t%d","expires_in":%d}' % (self.fetched, self._life))

    @staticmethod
    async def _root(_origin: Origin) -> tuple[str, ...]:
        await anyio.lowlevel.checkpoint()
        return ()

    async def prove(self, size: int | None) -> Token:
        """Return the token for a request with a body of this size."""
        origin = Origin("https", "registry.acme.io", 443)
        self.auth.learn(origin, ['Bearer realm="/token",service="s"'])
        proof = await self.auth.prove(Turn(origin, ANONYMOUS, ScopeSet.parse(PULL), size=size))
        assert proof.token is not None
        return proof.token


@pytest.mark.parametrize(
    ("size", "left", "renewed"),
    [
        (None, 100, False),
        (0, 100, False),
        (50 * SLOW, 100, False),
        (150 * SLOW, 100, True),
        (10_000 * SLOW, 160, False),
        (10_000 * SLOW, 140, True),
    ],
)
async def test_a_token_that_would_end_during_a_transfer_is_renewed_before_it(
    clock: Clock, size: int | None, left: float, *, renewed: bool
) -> None:
    source = Source(300)
    await source.prove(None)
    clock.now += 300 - left
    await source.prove(size)
    # A new token would not be better than one with half its life before it.
    assert source.fetched == (2 if renewed else 1)


async def test_a_margin_does_not_add_to_what_is_kept_in_hand_anyway(clock: Clock) -> None:
    source = Source(60, margin=5.0)
    await source.prove(None)
    clock.now += 53
    await source.prove(None)
    assert source.fetched == 1
    wide = Source(60, margin=20.0)
    await wide.prove(None)
    clock.now += 41
    await wide.prove(None)
    assert wide.fetched == 2


async def test_what_is_remembered_of_refusals_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MAX_SEEN", 5)
    source = Source(60)
    origin = Origin("https", "registry.acme.io", 443)

    async def refuse(request: httpx.Request) -> Answer:
        await anyio.lowlevel.checkpoint()
        return Answer(403, b"") if "delete" in str(request.url) else Answer(200, b'{"token":"t"}')

    source.auth._source._send = refuse
    for number in range(20):
        name = f"repository:a/r{number}"
        turn = Turn(origin, ANONYMOUS, ScopeSet.parse(f"{name}:delete,pull"))
        proof = await source.auth.answer(turn, auth.NOTHING, [f'Bearer realm="/token",service="s",scope="{name}:push"'])
        assert proof is not None
    assert len(source.auth._narrow) == 5


async def test_what_is_remembered_of_hosts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    # A service asks the registries that its users name.
    monkeypatch.setattr(auth, "MAX_SEEN", 5)
    source = Source(60)
    open_to_all, wants = httpx.Response(200), ['Bearer realm="/token",service="s"']
    challenges = MemoryChallengeCache(max_entries=5)
    for number in range(20):
        host = Origin("https", f"r{number}.acme.io", 443)
        await source.auth._note(Turn(host, ANONYMOUS, ScopeSet.parse(PULL)), Answered(None, open_to_all, auth.NOTHING))
        challenges.set(str(host), parse_challenges(wants)[0])
    assert len(source.auth._met) <= 5
    assert [challenges.get(f"https://r{number}.acme.io") is not None for number in (14, 15, 19)] == [False, True, True]


async def test_tokens_for_less_do_not_pile_up(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MAX_SEEN", 5)
    source = Source(60)
    origin = Origin("https", "registry.acme.io", 443)

    async def give_less(_request: httpx.Request) -> Answer:
        await anyio.lowlevel.checkpoint()
        source.fetched += 1
        return Answer(200, json.dumps({"token": "t", "scope": wanted.replace("pull,push", "pull")}).encode())

    source.auth._source._send = give_less
    source.auth.learn(origin, ['Bearer realm="/token",service="s"'])
    for number in range(20):
        wanted = f"repository:a/r{number}:pull,push"
        for _ in range(2):
            assert (await source.auth.prove(Turn(origin, ANONYMOUS, ScopeSet.parse(wanted)))).token is not None
    assert source.fetched == 20
    assert len(source.auth._less) == 5
    clock.now += 55
    assert (await source.auth.prove(Turn(origin, ANONYMOUS, ScopeSet.parse(wanted)))).token is not None
    assert source.fetched == 21


def test_a_mirror_of_many_repositories_looks_at_few_tokens_for_one_more() -> None:
    owner = TokenOwner("https://registry.acme.io", "https://tokens.acme.io/token", "registry", "somebody")
    cache, looked = MemoryTokenCache(max_entries=400), []

    class Counted(Token):
        def fresh(self, now: float, margin: float = 0.0) -> bool:
            looked.append(self)
            return super().fresh(now, margin)

    for number in range(1000):
        name = f"repository:acme/app{number}"
        assert cache.find(owner, ScopeSet.parse(f"{name}:pull"), now=0.0) is None
        cache.store(owner, Counted("t", 1000.0, ScopeSet.parse(f"{name}:pull,push repository:acme/base:pull")))
        assert cache.find(owner, ScopeSet.parse(f"{name}:pull"), now=0.0) is not None
    assert len(looked) == 1000
    assert cache.find(owner, ScopeSet.parse("repository:acme/app999:push repository:acme/base:pull"), now=0.0)
    assert cache.find(owner, ScopeSet.parse("repository:acme/app10:pull"), now=0.0) is None
    # What was dropped has left nothing behind.
    assert len(cache._by_resource) == 401
    for token in list(cache._tokens.values()):
        cache.discard(owner, token)
    assert (cache._tokens, cache._by_owner, cache._by_resource) == ({}, {}, {})


async def test_a_push_that_takes_longer_than_its_token_lives_gets_a_new_one_first(
    token_registry: Peer, fresh_name: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = token_registry.token_server
    assert server is not None
    async with token_registry.client(credentials={token_registry.host: Basic("alice", "s3cret")}) as client:
        blobs = client.repository(f"{token_registry.host}/{fresh_name}").blobs
        await blobs.push(b"a" * 1000, check_exists=False)
        clock.now += 200
        before = len(server.calls)
        await blobs.push(b"b" * 1000, check_exists=False)
        assert len(server.calls) == before
        # At a byte a second it would outlive the rest of the token.
        monkeypatch.setattr(auth, "SLOW", 1)
        await blobs.push(b"c" * 1000, check_exists=False)
        assert len(server.calls) == before + 1
