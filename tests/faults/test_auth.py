"""Challenges that say nothing, nonsense, several things at once, or something new each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import (
    AuthError,
    Basic,
    ChallengeError,
    CredentialsRejectedError,
    DeniedError,
    Digest,
    Manifest,
    OciError,
    ProtocolError,
    ScopeDeniedError,
    UnauthorizedError,
    UnexpectedStatusError,
)
from tests.faults.auth import (
    SOME_TAGS,
    Issuer,
    alice_with,
    assert_no_secrets,
    bearer,
    located,
    taking,
)
from tests.http.support import NAME, PULL, PUSH, TAGS, authorizations, list_tags, unauthorized, wants
from tests.peers import answers, images
from tests.peers.answers import error, respond

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ocidist import Repository
    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.token_server import TokenServer
    from tests.peers.wire_server import Connection, Request, WireServer

BLOB = b"a small blob"
DIGEST = Digest.of(BLOB)
MANIFEST = Manifest.of(images.image("linux/amd64").manifest.data)
BASIC = "Basic YWxpY2U6czNjcmV0"

OPERATIONS: dict[str, tuple[str, Callable[[Repository], Awaitable[object]]]] = {
    "list": ("list tags", lambda repository: repository.tags.list().collect()),
    "get": ("pull manifest", lambda repository: repository.manifests.get("v1")),
    "stat": ("stat manifest", lambda repository: repository.manifests.stat(MANIFEST.digest)),
    "blob": ("pull blob", lambda repository: repository.blobs.get(DIGEST)),
    "push": ("push manifest", lambda repository: repository.manifests.push(MANIFEST, tags=["v1"])),
    "upload": ("start upload", lambda repository: repository.blobs.push(BLOB, check_exists=False)),
    "mount": ("mount blob", lambda repository: repository.blobs.mount(DIGEST, source="other/app")),
    "delete": ("delete blob", lambda repository: repository.blobs.delete(DIGEST)),
}
every_operation = pytest.mark.parametrize("name", OPERATIONS)


# --- F030: nothing ---------------------------------------------------------------------------------------------------

ROOTS: dict[str, Handler] = {
    "bare 401": respond(401),
    "open": respond(200, {}, b"{}"),
    "missing": respond(404),
    "forbidden": respond(403),
    "breaks": answers.reset,
}


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("headers", [{}, {"WWW-Authenticate": ""}], ids=["no header", "empty header"])
async def test_f030_a_401_that_says_nothing_costs_one_request_and_a_look_at_the_root(
    wire_server: WireServer, root: str, headers: dict[str, str]
) -> None:
    wire_server.on("GET", "/v2/", ROOTS[root])
    route = wire_server.on("GET", TAGS, unauthorized(headers))
    async with alice_with(wire_server) as client:
        with pytest.raises(ChallengeError, match="without saying how") as caught:
            await list_tags(client, wire_server)
    assert located(caught.value, wire_server)
    assert len(route.requests) == 1
    assert wire_server.targets().count("GET /v2/") <= 1
    assert_no_secrets(wire_server)


@every_operation
async def test_f030_no_operation_sends_its_request_twice(wire_server: WireServer, name: str) -> None:
    wire_server.on("*", "/*", respond(401))
    operation, run = OPERATIONS[name]
    async with alice_with(wire_server) as client:
        with pytest.raises(AuthError) as caught:
            await run(client.repository(f"{wire_server.host}/{NAME}"))
    assert located(caught.value, wire_server, operation)
    assert [line for line in wire_server.targets() if line != "GET /v2/"] == wire_server.targets()[:1]
    assert len(wire_server.requests) <= 2
    assert_no_secrets(wire_server)


# --- F031: nonsense --------------------------------------------------------------------------------------------------

REALM = 'Bearer realm="http://127.0.0.1:1/token'
MALFORMED = {
    "open quote": REALM,
    "open quote with escape": REALM + "\\",
    "twice": 'Bearer realm="a",realm="b"',
    "no scheme": '="x"',
    "separator first": ';Bearer realm="a"',
    "no comma": 'Bearer realm="a"service="b"',
    "blank in a word": "Negotiate s3cr3t-of-the-registry s3cr3t",
    "huge": f'Bearer realm="{"a" * 17_000}"',
    "thousands": ", ".join(["Bearer x=1"] * 2_000),
    "latin": 'Bearer realm="http://h\xe9/t" \xff',
}
USELESS = {
    "bare bearer": "Bearer",
    "no realm": 'Bearer service="registry"',
    "empty realm": 'Bearer realm="",service="registry"',
    "digest": 'Digest realm="r",nonce="s3cr3t-of-the-registry"',
    "negotiate": "Negotiate s3cr3t-of-the-registry==",
}


@pytest.mark.parametrize("text", (MALFORMED | USELESS).values(), ids=(MALFORMED | USELESS).keys())
async def test_f031_a_challenge_that_cannot_be_read_or_met_is_an_error_that_does_not_repeat_it(
    wire_server: WireServer, text: str
) -> None:
    route = wire_server.on("GET", TAGS, unauthorized({"WWW-Authenticate": text}))
    async with alice_with(wire_server) as client:
        with pytest.raises(ChallengeError) as caught:
            await list_tags(client, wire_server)
        # Nothing of it is remembered that would stop the next attempt.
        wire_server.on("GET", TAGS, SOME_TAGS)
        assert await list_tags(client, wire_server) == ["v1"]
    assert located(caught.value, wire_server)
    assert len(route.requests) == 1
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()
    assert "s3cr3t-of-the-registry" not in repr(caught.value)
    assert_no_secrets(wire_server)


@pytest.mark.parametrize("byte", ["\x1b[2J", "\x00", "\x07"], ids=["escape", "nul", "bell"])
async def test_f031_a_challenge_with_control_characters_is_not_shown(wire_server: WireServer, byte: str) -> None:
    wire_server.on("GET", TAGS, unauthorized({"WWW-Authenticate": f'Bearer realm="{byte}"'}))
    async with alice_with(wire_server) as client:
        with pytest.raises((ChallengeError, ProtocolError)) as caught:
            await list_tags(client, wire_server)
    assert str(caught.value).isprintable()
    assert caught.value.host == wire_server.host
    assert_no_secrets(wire_server)


# --- F032: several ---------------------------------------------------------------------------------------------------


def several(bearer_first: bool, one_line: bool, realm: str) -> list[tuple[str, str]]:
    """Write a basic and a bearer challenge."""
    texts = [f'Bearer realm="{realm}",service="s",scope="{PULL}"', 'Basic realm="r", charset="UTF-8"']
    texts = texts if bearer_first else texts[::-1]
    return [("WWW-Authenticate", text) for text in ([", ".join(texts)] if one_line else texts)]


@pytest.mark.parametrize("one_line", [True, False], ids=["one line", "two lines"])
@pytest.mark.parametrize("bearer_first", [True, False], ids=["bearer first", "basic first"])
@pytest.mark.parametrize("anonymous", [True, False], ids=["nobody", "alice"])
async def test_f032_a_token_is_preferred_to_showing_the_password_to_the_registry(
    wire_server: WireServer, token_server: TokenServer, *, one_line: bool, bearer_first: bool, anonymous: bool
) -> None:
    offer = error(401, "UNAUTHORIZED", headers=several(bearer_first, one_line, token_server.realm))

    def tags(request: Request, connection: Connection) -> None:
        (SOME_TAGS if bearer(request) else offer)(request, connection)

    wire_server.on("GET", TAGS, tags)
    options: dict[str, object] = {"credentials": {}} if anonymous else {}
    async with alice_with(wire_server, tokens=token_server, foreign=(wire_server,), **options) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert [call.basic for call in token_server.calls] == [None if anonymous else ("alice", "s3cret")]
    assert [bool(value) for value in authorizations(wire_server)] == [False, True]


@pytest.mark.parametrize("first", ["Negotiate", 'Digest realm="r",nonce="n"', 'Bearer service="no realm"'])
@pytest.mark.parametrize("one_line", [True, False], ids=["one line", "two lines"])
async def test_f032_what_cannot_be_done_is_passed_over_for_the_password(
    wire_server: WireServer, first: str, *, one_line: bool
) -> None:
    texts = [f'{first}, Basic realm="r"'] if one_line else [first, 'Basic realm="r"']
    offer = error(401, "UNAUTHORIZED", headers=[("WWW-Authenticate", text) for text in texts])
    route = wire_server.on("GET", TAGS, wants(BASIC, SOME_TAGS, offer))
    async with alice_with(wire_server) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        assert await list_tags(client, wire_server) == ["v1"]
    assert authorizations(wire_server) == [None, BASIC, BASIC]
    assert len(route.requests) == 3


async def test_f032_a_password_that_is_wanted_and_not_there_is_named(wire_server: WireServer) -> None:
    route = wire_server.on("GET", TAGS, unauthorized({"WWW-Authenticate": 'Basic realm="r"'}))
    async with alice_with(wire_server, credentials={}) as client:
        with pytest.raises(CredentialsRejectedError, match="user name and password") as caught:
            await list_tags(client, wire_server)
    assert located(caught.value, wire_server)
    assert len(route.requests) == 1


async def test_f032_a_refused_password_is_sent_once(wire_server: WireServer) -> None:
    wire_server.on("GET", TAGS, unauthorized({"WWW-Authenticate": 'Basic realm="r"'}))
    wrong = {wire_server.host: Basic("alice", "wr0ng")}
    async with alice_with(wire_server, credentials=wrong) as client:
        with pytest.raises(UnauthorizedError) as caught:
            await list_tags(client, wire_server)
    assert located(caught.value, wire_server)
    assert [bool(value) for value in authorizations(wire_server)] == [False, True]
    assert "wr0ng" not in str(caught.value)


# --- F033, Q22: for ever ---------------------------------------------------------------------------------------------


def never(server: WireServer, issuer: Issuer, *, scope: bool, realm: bool, reason: str | None) -> None:
    """Answer every request but those for tokens with 401 and something new."""
    count = 0

    def answer(request: Request, connection: Connection) -> None:
        nonlocal count
        count += 1
        params = {} if reason is None else {"error": reason}
        headers = issuer.challenge(f"repository:{NAME}:action{count}" if scope else PULL, **params)
        if realm:
            headers = {"WWW-Authenticate": headers["WWW-Authenticate"].replace("/token", f"/token{count}", 1)}
        unauthorized(headers)(request, connection)

    server.on("*", "/v2/*", answer)


@every_operation
@pytest.mark.parametrize("reason", [None, "insufficient_scope", "invalid_token"])
@pytest.mark.parametrize(("scope", "realm"), [(True, False), (False, True), (True, True), (False, False)])
async def test_f033_endless_challenges_end_after_two_rounds(
    wire_server: WireServer, name: str, reason: str | None, *, scope: bool, realm: bool
) -> None:
    issuer = Issuer(wire_server)
    never(wire_server, issuer, scope=scope, realm=realm, reason=reason)
    operation, run = OPERATIONS[name]
    async with alice_with(wire_server) as client:
        with pytest.raises(ScopeDeniedError if reason == "insufficient_scope" else CredentialsRejectedError) as caught:
            await run(client.repository(f"{wire_server.host}/{NAME}"))
    assert located(caught.value, wire_server, operation)
    rounds = 2 if scope else 1
    assert len(issuer.requests) == rounds
    assert len(wire_server.requests) == 2 * rounds + 1


async def test_q22_a_fresh_token_that_is_refused_is_an_error_and_no_loop(wire_server: WireServer) -> None:
    issuer = Issuer(wire_server)
    route = wire_server.on("GET", TAGS, unauthorized(issuer.challenge()))
    async with alice_with(wire_server) as client:
        for _ in range(2):
            with pytest.raises(CredentialsRejectedError, match="fetched just now"):
                await list_tags(client, wire_server)
    # Each attempt of the caller may try once more, and none of them more often.
    assert [bearer(request) for request in route.requests] == [None, "t1", "t2"]
    assert len(issuer.issued) == 2


async def test_q22_insufficient_scope_is_asked_for_once_more(wire_server: WireServer) -> None:
    issuer = Issuer(wire_server)
    more = unauthorized(issuer.challenge(f"repository:{NAME}:metadata_read", error="insufficient_scope"))
    route = wire_server.on("GET", TAGS, unauthorized(issuer.challenge()), more, SOME_TAGS)
    async with alice_with(wire_server) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert issuer.scopes() == [[PULL], [f"repository:{NAME}:metadata_read,pull"]]
    assert [bearer(request) for request in route.requests] == [None, "t1", "t2"]


# --- F034: now and then ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
async def test_f034_a_token_revoked_at_every_tenth_request_costs_one_new_one_each(
    wire_server: WireServer, status: int
) -> None:
    issuer = Issuer(wire_server)
    uses: dict[str, int] = {}

    def tags(request: Request, connection: Connection) -> None:
        token = bearer(request)
        if token is not None:
            uses[token] = uses.get(token, 0) + 1
        if token is not None and uses[token] < 10:
            SOME_TAGS(request, connection)
            return
        code = 401 if token is None else status
        error(code, "UNAUTHORIZED", headers=issuer.challenge())(request, connection)

    route = wire_server.on("GET", TAGS, tags)
    async with alice_with(wire_server) as client:
        for _ in range(36):
            assert await list_tags(client, wire_server) == ["v1"]
    # Four tokens, nine good uses each; three were refused, and the very first request had none.
    assert len(issuer.issued) == 4
    assert len(route.requests) == 36 + 3 + 1


# --- F035: more ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["push", "delete", "mount"])
async def test_f035_a_larger_scope_is_asked_for_together_with_what_was_needed(
    wire_server: WireServer, name: str
) -> None:
    issuer = Issuer(wire_server)
    first = unauthorized(issuer.challenge(PULL))
    more = unauthorized(issuer.challenge("repository:base/image:pull", error="insufficient_scope"))
    accepted = respond({"push": 201, "delete": 202, "mount": 201}[name], {"Location": "/v2/x"})
    wire_server.on("HEAD", f"/v2/{NAME}/*", respond(200, {"Content-Length": str(len(BLOB))}))
    method = {"push": "PUT", "delete": "DELETE", "mount": "POST"}[name]
    route = wire_server.on(method, f"/v2/{NAME}/*", first, more, accepted)
    async with alice_with(wire_server) as client:
        await OPERATIONS[name][1](client.repository(f"{wire_server.host}/{NAME}"))
    one, two = (set(scopes) for scopes in issuer.scopes())
    assert two == one | {"repository:base/image:pull"}
    assert any(scope.startswith(f"repository:{NAME}:") for scope in one)
    # An image that gets a tag is stored under its digest and then under the tag, which needs no other token.
    assert len(route.requests) == (4 if name == "push" else 3)


# --- F036: no --------------------------------------------------------------------------------------------------------


@every_operation
@pytest.mark.parametrize("challenged", [True, False], ids=["with challenge", "without"])
async def test_f036_a_denial_with_a_fresh_token_is_final(
    wire_server: WireServer, name: str, *, challenged: bool
) -> None:
    issuer = Issuer(wire_server)
    denied = error(403, "DENIED", "not for you", issuer.challenge() if challenged else {})
    wire_server.on("*", f"/v2/{NAME}/*", taking(lambda _: True, issuer.challenge(PUSH), denied))
    operation, run = OPERATIONS[name]
    async with alice_with(wire_server) as client:
        with pytest.raises(DeniedError) as caught:
            await run(client.repository(f"{wire_server.host}/{NAME}"))
    assert located(caught.value, wire_server, operation)
    assert isinstance(caught.value, ScopeDeniedError)
    assert len(issuer.issued) == 1
    assert len(wire_server.requests) == 3


async def test_f036_a_denial_with_a_token_that_worked_costs_no_new_token(wire_server: WireServer) -> None:
    issuer = Issuer(wire_server)
    denied = error(403, "DENIED", "not for you")
    taken = taking(lambda _: True, issuer.challenge(), SOME_TAGS)
    route = wire_server.on("GET", TAGS, taken, taken, denied)
    async with alice_with(wire_server) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        for _ in range(3):
            with pytest.raises(DeniedError, match="not for you"):
                await list_tags(client, wire_server)
    assert len(issuer.issued) == 1
    assert len(route.requests) == 5


# --- F038, T06: the challenges of others -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [302, 303, 307, 308])
@pytest.mark.parametrize("kind", ["Bearer", "Basic"])
@pytest.mark.parametrize("known", [True, False], ids=["with a token", "without"])
async def test_f038_the_challenge_of_a_redirect_target_is_an_error_of_that_fetch(
    wire_server: WireServer, start_wire_server: StartWireServer, status: int, kind: str, *, known: bool
) -> None:
    issuer = Issuer(wire_server)
    foreign, other = start_wire_server(name="localhost"), start_wire_server(address="127.0.0.2")
    offer = f'{kind} realm="{other.origin}/token",service="s",scope="repository:{NAME}:pull"'
    foreign.on("GET", "/signed*", unauthorized({"WWW-Authenticate": offer}))
    there = respond(status, {"Location": f"{foreign.origin}/signed?x=1"})
    wanted = taking(lambda _: True, issuer.challenge(), there) if known else there
    wire_server.on("GET", f"/v2/{NAME}/blobs/{DIGEST}", wanted)
    async with alice_with(wire_server, foreign=(foreign, other)) as client:
        with pytest.raises(UnexpectedStatusError) as caught:
            await client.repository(f"{wire_server.host}/{NAME}").blobs.get(DIGEST)
    assert located(caught.value, wire_server, "pull blob")
    assert caught.value.status == 401
    assert not isinstance(caught.value, AuthError)
    assert [bearer(request) for request in wire_server.requests if request.path != "/token"] == (
        [None, "t1"] if known else [None]
    )
    assert len(foreign.requests) == 1
    assert b"uthorization" not in foreign.received
    assert other.connections == []


async def test_t06_no_operation_follows_the_challenge_of_another_host(
    wire_server: WireServer, start_wire_server: StartWireServer
) -> None:
    foreign, other = start_wire_server(name="localhost"), start_wire_server(address="127.0.0.2")
    foreign.on("*", "/*", unauthorized({"WWW-Authenticate": f'Bearer realm="{other.origin}/token",service="s"'}))
    wire_server.on("*", "/*", respond(307, {"Location": f"{foreign.origin}/x"}))
    async with alice_with(wire_server, foreign=(foreign, other)) as client:
        for operation, run in OPERATIONS.values():
            with pytest.raises(OciError) as caught:
                await run(client.repository(f"{wire_server.host}/{NAME}"))
            assert not isinstance(caught.value, AuthError)
            assert located(caught.value, wire_server, operation)
    assert b"uthorization" not in foreign.received
    assert other.connections == []
    assert all(line in {"GET /x", "HEAD /x"} for line in foreign.targets())
