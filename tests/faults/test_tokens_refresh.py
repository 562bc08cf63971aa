"""Passwords and refresh tokens at token servers: how they are sent, where to, and what happens when they fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ocidist import (
    AuthError,
    Basic,
    CredentialsRejectedError,
    EgressPolicy,
    IdentityToken,
    TokenError,
    TokenOptions,
)
from tests.faults.auth import SOME_TAGS, Issuer, alice_with, anything, assert_no_secrets, bearer, located, taking
from tests.http.support import NAME, PULL, TAGS, alice_at, challenge, list_tags, token_answer, unauthorized
from tests.peers.answers import respond, respond_json

if TYPE_CHECKING:
    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler, Route
    from tests.peers.token_server import TokenServer
    from tests.peers.wire_server import Connection, Request, WireServer

OTHER = "acme/other"
OTHER_TAGS = f"/v2/{OTHER}/tags/list"
OTHER_PULL = f"repository:{OTHER}:pull"


# --- F052, Q21: POST -------------------------------------------------------------------------------------------------


def guarded(server: WireServer, tokens: TokenServer) -> None:
    """Let a registry send everybody to a token server."""
    for name, path in ((NAME, TAGS), (OTHER, OTHER_TAGS)):
        headers = challenge(tokens.realm, f"repository:{name}:pull")
        server.on("GET", path, taking(anything, headers, SOME_TAGS))


@pytest.mark.parametrize("status", [404, 405])
async def test_f052_a_server_without_post_is_asked_by_get_with_the_same_password(
    wire_server: WireServer, token_server: TokenServer, status: int
) -> None:
    token_server.oauth2 = status
    guarded(wire_server, token_server)
    options = TokenOptions(force_oauth2=True)
    async with alice_with(wire_server, tokens=token_server, foreign=(wire_server,), token_options=options) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert [(call.method, call.status, call.basic) for call in token_server.calls] == [
        ("POST", status, None),
        ("GET", 200, ("alice", "s3cret")),
    ]
    assert token_server.calls[0].param("grant_type") == "password"


async def test_f052_a_password_is_posted_to_no_realm_that_is_not_trusted(
    wire_server: WireServer, start_wire_server: StartWireServer
) -> None:
    foreign = start_wire_server(name="localhost")
    issuer = Issuer(foreign)
    wire_server.on("GET", TAGS, taking(anything, issuer.challenge(), SOME_TAGS))
    async with alice_with(wire_server, foreign=(foreign,), token_options=TokenOptions(force_oauth2=True)) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert [request.method for request in foreign.requests] == ["GET"]


async def test_q21_an_identity_token_is_exchanged_by_post(wire_server: WireServer, token_server: TokenServer) -> None:
    guarded(wire_server, token_server)
    secret = token_server.refresh_token("alice")
    credentials = {wire_server.host: IdentityToken(secret)}
    async with alice_with(wire_server, tokens=token_server, foreign=(wire_server,), credentials=credentials) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        assert await list_tags(client, wire_server, OTHER) == ["v1"]
    for call, scope in zip(token_server.calls, (PULL, OTHER_PULL), strict=True):
        assert (call.method, call.param("grant_type"), call.status) == ("POST", "refresh_token", 200)
        assert (call.scopes, call.param("refresh_token")) == ([scope], secret)
        assert call.param("client_id") == "ocidist"
    assert secret.encode() not in wire_server.received


@pytest.mark.parametrize("status", [404, 405])
async def test_q21_an_identity_token_is_no_password_where_post_is_unknown(
    wire_server: WireServer, token_server: TokenServer, status: int
) -> None:
    token_server.oauth2 = status
    guarded(wire_server, token_server)
    secret = token_server.refresh_token("alice")
    credentials = {wire_server.host: IdentityToken(secret)}
    async with alice_with(wire_server, tokens=token_server, foreign=(wire_server,), credentials=credentials) as client:
        with pytest.raises(TokenError, match="identity tokens") as caught:
            await list_tags(client, wire_server)
    assert located(caught.value, wire_server)
    assert [call.method for call in token_server.calls] == ["POST"]
    assert secret not in repr(caught.value)


# --- F053: refused refresh tokens ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body"), [(401, b"{}"), (400, b'{"error":"invalid_grant"}'), (401, b'{"error":"invalid_grant"}')]
)
async def test_f053_a_refused_identity_token_is_an_error_and_no_loop(
    wire_server: WireServer, status: int, body: bytes
) -> None:
    asked = wire_server.on("*", "/token*", respond(status, {}, body))
    route = wire_server.on("GET", TAGS, unauthorized(challenge(f"{wire_server.origin}/token", PULL)))
    credentials = {wire_server.host: IdentityToken("r3fresh")}
    async with alice_with(wire_server, credentials=credentials) as client:
        with pytest.raises(CredentialsRejectedError) as caught:
            await list_tags(client, wire_server)
    assert located(caught.value, wire_server)
    assert [request.method for request in asked.requests] == ["POST"]
    assert len(route.requests) == 1
    assert "r3fresh" not in repr(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 415])
async def test_f053_a_refused_refresh_token_is_forgotten_and_the_password_used(
    wire_server: WireServer, status: int
) -> None:
    token = token_answer(refresh_token="r3fresh", scope=None)
    asked: list[Request] = []

    def answer(request: Request, connection: Connection) -> None:
        asked.append(request)
        (token if request.method == "GET" else respond(status))(request, connection)

    wire_server.on("*", "/token*", answer)
    for path in (TAGS, OTHER_TAGS):
        wire_server.on("GET", path, taking(anything, challenge(f"{wire_server.origin}/token"), SOME_TAGS))
    async with alice_with(wire_server, token_options=TokenOptions(offline_token=True)) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        assert await list_tags(client, wire_server, OTHER) == ["v1"]
    assert [request.method for request in asked] == ["GET", "POST", "GET"]
    assert b"refresh_token=r3fresh" in asked[1].body
    assert b"s3cret" not in asked[1].body


# --- S10: refresh tokens are used ------------------------------------------------------------------------------------


@pytest.mark.parametrize("oauth2", [True, False], ids=["by POST", "by GET"])
async def test_s10_a_refresh_token_takes_the_place_of_the_password(
    wire_server: WireServer, token_server: TokenServer, *, oauth2: bool
) -> None:
    guarded(wire_server, token_server)
    options = TokenOptions(offline_token=True, force_oauth2=oauth2)
    async with alice_with(wire_server, tokens=token_server, foreign=(wire_server,), token_options=options) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        assert await list_tags(client, wire_server, OTHER) == ["v1"]
        assert await list_tags(client, wire_server) == ["v1"]
    first, second = token_server.calls
    assert (first.method, first.scopes) == ("POST" if oauth2 else "GET", [PULL])
    assert (first.param("access_type") if oauth2 else first.param("offline_token")) in {"offline", "true"}
    assert (second.method, second.param("grant_type"), second.scopes) == ("POST", "refresh_token", [OTHER_PULL])
    assert (second.basic, second.param("password")) == (None, None)


async def test_s10_none_is_asked_for_by_default(wire_server: WireServer, token_server: TokenServer) -> None:
    guarded(wire_server, token_server)
    async with alice_with(wire_server, tokens=token_server, foreign=(wire_server,)) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        assert await list_tags(client, wire_server, OTHER) == ["v1"]
    assert [call.method for call in token_server.calls] == ["GET", "GET"]
    assert {call.param("offline_token") for call in token_server.calls} == {None}


async def test_s10_nobodys_refresh_token_is_not_kept(wire_server: WireServer) -> None:
    asked = wire_server.on("*", "/token*", token_answer(refresh_token="r3fresh"))
    for path in (TAGS, OTHER_TAGS):
        wire_server.on("GET", path, taking(anything, challenge(f"{wire_server.origin}/token"), SOME_TAGS))
    async with alice_with(wire_server, credentials={}) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        assert await list_tags(client, wire_server, OTHER) == ["v1"]
    assert [request.method for request in asked.requests] == ["GET", "GET"]
    assert_no_secrets(wire_server)


# --- T15: bound to where they are from -------------------------------------------------------------------------------

REFRESH = b"r3fresh"


def moving(server: WireServer, first: dict[str, str], second: dict[str, str]) -> Route:
    """Let a registry name one token server, and another one as soon as the first one's token was used."""
    used = 0

    def answer(request: Request, connection: Connection) -> None:
        nonlocal used
        token = bearer(request)
        used += token == "first"
        welcome = token == "second" or (token == "first" and used == 1)
        (SOME_TAGS if welcome else unauthorized(second if used else first))(request, connection)

    return server.on("GET", TAGS, answer)


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted with the password", "foreign"])
@pytest.mark.parametrize(
    "where", [{"name": "localhost"}, {"address": "127.0.0.2"}, {}], ids=["name", "address", "port"]
)
async def test_t15_a_refresh_token_is_not_sent_to_another_realm(
    wire_server: WireServer, start_wire_server: StartWireServer, where: dict[str, str], *, trusted: bool
) -> None:
    home, other = start_wire_server(), start_wire_server(**where)
    home.on("*", "/token*", token_answer(token="first", refresh_token=REFRESH.decode()))
    other.on("*", "/token*", token_answer(token="second"))
    route = moving(wire_server, challenge(f"{home.origin}/token"), challenge(f"{other.origin}/token"))
    realms = (home.origin, other.origin) if trusted else (home.origin,)
    foreign = (wire_server,) if trusted else (wire_server, other)
    policy = EgressPolicy(trusted_realms=realms)
    options = TokenOptions(offline_token=True)
    async with alice_with(wire_server, home, foreign=foreign, egress=policy, token_options=options) as client:
        for _ in range(2):
            assert await list_tags(client, wire_server) == ["v1"]
    assert [bearer(request) for request in route.requests] == [None, "first", "first", "second"]
    assert (len(home.requests), [request.method for request in other.requests]) == (1, ["GET"])
    assert (other.requests[0].header("Authorization") is not None) is trusted
    assert REFRESH not in other.received + wire_server.received


@pytest.mark.parametrize("change", ["realm", "service"])
async def test_t15_another_realm_or_service_of_the_same_server_has_its_own(
    wire_server: WireServer, change: str
) -> None:
    first = token_answer(token="first", refresh_token=REFRESH.decode())
    asked = wire_server.on("*", "/token*", first, token_answer(token="second"))
    here = challenge(f"{wire_server.origin}/token")
    there = challenge(f"{wire_server.origin}/token", **{"service": "another"} if change == "service" else {})
    if change == "realm":
        there = challenge(f"{wire_server.origin}/token/2")
    route = moving(wire_server, here, there)
    async with alice_with(wire_server, token_options=TokenOptions(offline_token=True)) as client:
        for _ in range(2):
            assert await list_tags(client, wire_server) == ["v1"]
    assert [bearer(request) for request in route.requests] == [None, "first", "first", "second"]
    assert [request.method for request in asked.requests] == ["GET", "GET"]
    assert all(REFRESH not in request.body for request in asked.requests)


async def test_t15_the_same_realm_and_service_use_it(wire_server: WireServer) -> None:
    first = token_answer(token="first", refresh_token=REFRESH.decode())
    asked = wire_server.on("*", "/token*", first, token_answer(token="second"))
    same = challenge(f"{wire_server.origin}/token")
    moving(wire_server, same, same)
    async with alice_with(wire_server, token_options=TokenOptions(offline_token=True)) as client:
        for _ in range(2):
            assert await list_tags(client, wire_server) == ["v1"]
    assert [request.method for request in asked.requests] == ["GET", "POST"]
    assert REFRESH in asked.requests[1].body


async def test_t15_another_account_has_its_own(wire_server: WireServer) -> None:
    asked = wire_server.on("*", "/token*", token_answer(refresh_token=REFRESH.decode()))
    for path in (TAGS, OTHER_TAGS):
        wire_server.on("GET", path, taking(anything, challenge(f"{wire_server.origin}/token"), SOME_TAGS))
    who = [Basic("alice", "s3cret"), Basic("bob", "b0b")]
    current = 0
    options: dict[str, Any] = {"token_options": TokenOptions(offline_token=True), "credentials": lambda _: who[current]}
    async with alice_at(wire_server, **options) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        current = 1
        assert await list_tags(client, wire_server, OTHER) == ["v1"]
    assert [request.method for request in asked.requests] == ["GET", "GET"]
    assert all(REFRESH not in request.body for request in asked.requests)


async def test_t15_a_realm_that_changes_from_401_to_401_sees_no_refresh_token(
    wire_server: WireServer, start_wire_server: StartWireServer
) -> None:
    foreign = start_wire_server(name="localhost")
    foreign.on("*", "/token*", respond_json(200, {"token": "second"}))
    wire_server.on("*", "/token*", token_answer(token="first", refresh_token=REFRESH.decode()))
    here = unauthorized(challenge(f"{wire_server.origin}/token", PULL))
    there = unauthorized(challenge(f"{foreign.origin}/token", PULL))
    answers: list[Handler] = [here, SOME_TAGS, there, there, there]
    route = wire_server.on("GET", TAGS, *answers)
    async with alice_with(wire_server, foreign=(foreign,), token_options=TokenOptions(offline_token=True)) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        with pytest.raises(AuthError) as caught:
            await list_tags(client, wire_server)
    assert located(caught.value, wire_server)
    assert len(route.requests) == 4
    assert REFRESH not in foreign.received
    assert b"uthorization" not in foreign.received
