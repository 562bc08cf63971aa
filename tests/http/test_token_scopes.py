"""What is asked of token servers that give all or nothing, look at the first scope only, or refuse who asks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import pytest

from ocidist import (
    AuthError,
    CredentialsRejectedError,
    DeniedError,
    Digest,
    Manifest,
    ScopeDeniedError,
    TokenOptions,
    UnauthorizedError,
)
from tests.http.support import (
    NAME,
    PULL,
    PUSH,
    SOME_TAGS,
    TAGS,
    alice_at,
    authorizations,
    challenge,
    list_tags,
    unauthorized,
)
from tests.peers import images
from tests.peers.answers import error, respond, respond_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.peers.answers import Handler
    from tests.peers.wire_server import Connection, Request, WireServer

DIGEST = Digest.of(b"a small blob")
BLOB = f"/v2/{NAME}/blobs/{DIGEST}"
MANIFEST = Manifest.of(images.image("linux/amd64").manifest.data)
WRITE = f"repository:{NAME}:*"
DELETE = f"repository:{NAME}:delete,pull"
DENIED = error(403, "DENIED", "requested access to the resource is denied")


class Strict:
    """A token server that gives exactly what it knows, and nothing to whoever asks for a word more.

    Attributes:
        asked: The scopes of each request, in their order.
    """

    def __init__(self, server: WireServer, *given: str, refusal: Handler = DENIED, first_only: bool = False) -> None:
        self.asked: list[list[str]] = []
        self._given = given
        self._refusal = refusal
        self._first_only = first_only
        self.realm = f"{server.origin}/token"
        server.on("*", "/token*", self._answer)

    def _answer(self, request: Request, connection: Connection) -> None:
        scopes = [value for name, value in request.query if name == "scope"]
        self.asked.append(scopes)
        looked_at = scopes[:1] if self._first_only else scopes
        if all(scope in self._given for scope in looked_at):
            respond_json(200, {"token": "+".join(looked_at).replace(",", ";"), "expires_in": 300})(request, connection)
        else:
            self._refusal(request, connection)


def wants(scope: str, realm: str, then: Handler) -> Handler:
    """Let in whoever has a token for exactly this scope; tell everybody else that it takes one."""

    def answer(request: Request, connection: Connection) -> None:
        token = (request.header("Authorization") or "").removeprefix("Bearer ").replace(";", ",")
        (then if scope in token.split("+") else unauthorized(challenge(realm, scope)))(request, connection)

    return answer


REFUSALS = {
    "403": DENIED,
    "401": error(401, "UNAUTHORIZED"),
    "no token": respond_json(200, {"token": ""}),
}


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("refusal", REFUSALS)
async def test_q11_what_was_asked_beyond_the_challenge_is_left_out_where_it_is_refused(
    wire_server: WireServer, refusal: str, *, warm: bool
) -> None:
    issuer = Strict(wire_server, PUSH, PULL, refusal=REFUSALS[refusal])
    wire_server.on("GET", TAGS, wants(PULL, issuer.realm, SOME_TAGS))
    route = wire_server.on("DELETE", BLOB, wants(PUSH, issuer.realm, respond(202)))
    async with alice_at(wire_server) as client:
        repository = client.repository(f"{wire_server.host}/{NAME}")
        if warm:
            await list_tags(client, wire_server)
        await repository.blobs.delete(DIGEST)
        asked = issuer.asked[warm:]
        # What it took is remembered: neither the refusal nor the look at the challenge is repeated.
        await repository.blobs.delete(DIGEST)
        assert issuer.asked[warm:] == asked
    # Where that may have been about the login, it is tried by itself in between.
    assert asked.count([]) == (refusal == "401")
    asked = [scopes for scopes in asked if scopes]
    assert asked == [[DELETE]] * warm + [[f"repository:{NAME}:delete,pull,push"], [PUSH]]
    assert len(route.requests) == 3


async def test_q11_a_mount_whose_source_is_refused_asks_for_the_target_alone(wire_server: WireServer) -> None:
    issuer = Strict(wire_server, PUSH)
    uploads = f"/v2/{NAME}/blobs/uploads/"
    started = respond(202, {"Location": f"{uploads}1"})
    route = wire_server.on("POST", f"{uploads}*", wants(PUSH, issuer.realm, started))
    wire_server.on("DELETE", f"{uploads}*", respond(204))
    async with alice_at(wire_server) as client:
        await client.repository(f"{wire_server.host}/{NAME}").blobs.mount(DIGEST, source="other/app")
    assert issuer.asked == [[PUSH, "repository:other/app:pull"], [PUSH]]
    assert len(route.requests) == 2


async def test_q11_a_token_for_less_is_not_asked_for_again_until_it_is_refused(wire_server: WireServer) -> None:
    uploads = f"/v2/{NAME}/blobs/uploads/"
    tokens: list[list[str]] = []

    def issue(request: Request, connection: Connection) -> None:
        tokens.append([value for name, value in request.query if name == "scope"])
        respond_json(200, {"token": f"t{len(tokens)}", "expires_in": 300, "scope": PUSH})(request, connection)

    answers = [respond(202, {"Location": f"{uploads}1"})] * 3 + [DENIED, respond(202, {"Location": f"{uploads}1"})]
    granted = unauthorized(challenge(f"{wire_server.origin}/token", PUSH))

    def upload(request: Request, connection: Connection) -> None:
        (answers.pop(0) if request.header("Authorization") else granted)(request, connection)

    wire_server.on("GET", "/token*", issue)
    wire_server.on("POST", f"{uploads}*", upload)
    wire_server.on("DELETE", f"{uploads}*", respond(204))
    async with alice_at(wire_server) as client:
        blobs = client.repository(f"{wire_server.host}/{NAME}").blobs
        for _ in range(3):
            await blobs.mount(DIGEST, source="other/app")
        assert tokens == [[PUSH, "repository:other/app:pull"]]
        with pytest.raises(DeniedError):
            await blobs.mount(DIGEST, source="other/app")
        # What was denied may be allowed by now.
        assert await blobs.mount(DIGEST, source="other/app")
    assert len(tokens) == 2


@pytest.mark.parametrize("status", [401, 403])
async def test_q11_where_the_challenge_names_all_of_it_one_refusal_is_the_end(
    wire_server: WireServer, status: int
) -> None:
    issuer = Strict(wire_server, refusal=error(status, "DENIED"))
    route = wire_server.on("PUT", "/v2/*", wants(PUSH, issuer.realm, respond(201)))
    async with alice_at(wire_server) as client:
        with pytest.raises(ScopeDeniedError if status == 403 else CredentialsRejectedError):
            await client.repository(f"{wire_server.host}/{NAME}").manifests.push(MANIFEST)
    assert issuer.asked == [[PUSH]]
    assert len(route.requests) == 1


async def test_q11_a_token_for_less_that_is_refused_is_an_error_and_no_loop(wire_server: WireServer) -> None:
    issuer = Strict(wire_server, PULL)
    wire_server.on("DELETE", BLOB, unauthorized(challenge(issuer.realm, PULL)))
    async with alice_at(wire_server) as client:
        with pytest.raises(AuthError):
            await client.repository(f"{wire_server.host}/{NAME}").blobs.delete(DIGEST)
    assert issuer.asked == [[DELETE], [PULL]]
    assert authorizations(wire_server).count(None) == 1


# --- Q12: credentials that are refused -------------------------------------------------------------------------------


def stale(server: WireServer, scope: str = PULL) -> list[str | None]:
    """Play GHCR with public content: whoever brings credentials that are no longer good is denied, without a challenge.

    Returns the Authorization headers of the requests for tokens, as they come.
    """
    seen: list[str | None] = []

    def token(request: Request, connection: Connection) -> None:
        seen.append(request.header("Authorization"))
        (respond_json(200, {"token": "public"}) if seen[-1] is None else DENIED)(request, connection)

    def tags(request: Request, connection: Connection) -> None:
        known = request.header("Authorization") == "Bearer public"
        (SOME_TAGS if known else unauthorized(challenge(f"{server.origin}/token", scope)))(request, connection)

    server.on("GET", "/token*", token)
    server.on("*", "/v2/*", tags)
    return seen


async def test_q12_bad_credentials_are_an_error_in_the_servers_words(wire_server: WireServer) -> None:
    seen = stale(wire_server)
    async with alice_at(wire_server) as client:
        with pytest.raises(ScopeDeniedError, match="access to the resource is denied"):
            await list_tags(client, wire_server)
    assert len(seen) == 1


async def test_q12_public_content_is_read_as_nobody_where_that_is_wanted(
    wire_server: WireServer, caplog: pytest.LogCaptureFixture
) -> None:
    seen = stale(wire_server)
    with caplog.at_level(logging.WARNING, "ocidist"):
        async with alice_at(wire_server, token_options=TokenOptions(anonymous_fallback=True)) as client:
            assert await list_tags(client, wire_server) == ["v1"]
            assert await list_tags(client, wire_server) == ["v1"]
    assert [header is None for header in seen] == [False, True]
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert wire_server.origin in record.getMessage()
    assert "alice" not in caplog.text


async def test_q12_nothing_is_written_as_nobody(wire_server: WireServer) -> None:
    seen = stale(wire_server, PUSH)
    async with alice_at(wire_server, token_options=TokenOptions(anonymous_fallback=True)) as client:
        with pytest.raises(ScopeDeniedError):
            await client.repository(f"{wire_server.host}/{NAME}").manifests.push(MANIFEST)
    assert None not in seen


async def test_q12_trying_credentials_never_succeeds_as_nobody(wire_server: WireServer) -> None:
    seen = stale(wire_server)
    async with alice_at(wire_server, token_options=TokenOptions(anonymous_fallback=True)) as client:
        with pytest.raises((AuthError, UnauthorizedError)):
            await client.registry(wire_server.host).ping()
    assert None not in seen


# --- Q13: the order --------------------------------------------------------------------------------------------------


async def test_q13_a_token_server_that_reads_the_first_scope_only_reads_the_one_that_writes(
    wire_server: WireServer,
) -> None:
    # In alphabetical order the source would come first.
    issuer = Strict(wire_server, PUSH, "repository:aaa/first:pull", first_only=True)
    uploads = f"/v2/{NAME}/blobs/uploads/"
    wire_server.on(
        "POST", f"{uploads}*", wants(PUSH, issuer.realm, respond(201, {"Docker-Content-Digest": str(DIGEST)}))
    )
    wire_server.on("HEAD", BLOB, respond(200, {"Content-Length": "12"}))
    async with alice_at(wire_server) as client:
        await client.repository(f"{wire_server.host}/{NAME}").blobs.mount(DIGEST, source="aaa/first")
    assert issuer.asked == [[PUSH, "repository:aaa/first:pull"]]


async def test_q13_an_oauth2_server_gets_one_parameter_with_blanks(wire_server: WireServer) -> None:
    forms: list[dict[str, str]] = []

    def token(request: Request, connection: Connection) -> None:
        forms.append(dict(parse_qsl(request.read().decode())))
        respond_json(200, {"access_token": "t"})(request, connection)

    wire_server.on("POST", "/token", token)
    realm = challenge(f"{wire_server.origin}/token", f"repository:aaa/first:pull {PUSH}")
    wire_server.on("POST", "/v2/*", unauthorized(realm), respond(201, {"Docker-Content-Digest": str(DIGEST)}))
    wire_server.on("HEAD", BLOB, respond(200, {"Content-Length": "12"}))
    async with alice_at(wire_server, token_options=TokenOptions(force_oauth2=True)) as client:
        await client.repository(f"{wire_server.host}/{NAME}").blobs.mount(DIGEST, source="aaa/first")
    assert [form["scope"] for form in forms] == [f"{PUSH} repository:aaa/first:pull"]


# --- Q17: expired at ECR ---------------------------------------------------------------------------------------------

EXPIRED = error(403, "DENIED", "Your authorization token has expired. Reauthenticate and try again.")
WORK: dict[str, Callable[..., object]] = {
    "get": lambda repository: repository.manifests.get("v1"),
    "blob": lambda repository: repository.blobs.get(DIGEST),
    "push": lambda repository: repository.manifests.push(MANIFEST),
    "delete": lambda repository: repository.blobs.delete(DIGEST),
}
CONTENT = {"Content-Type": MANIFEST.media_type, "Docker-Content-Digest": str(MANIFEST.digest)}
ANSWERS = {
    "get": respond(200, CONTENT, MANIFEST.data),
    "blob": respond(200, {}, b"a small blob"),
    "push": respond(201),
    "delete": respond(202),
}


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("loops", [False, True])
async def test_q17_a_403_for_a_token_that_worked_is_asked_for_anew_once(
    wire_server: WireServer, name: str, *, loops: bool
) -> None:
    tokens: list[str] = []
    good = {"t1"}

    def issue(request: Request, connection: Connection) -> None:
        tokens.append(f"t{len(tokens) + 1}")
        respond_json(200, {"token": tokens[-1], "expires_in": 43_200})(request, connection)

    def registry(request: Request, connection: Connection) -> None:
        token = (request.header("Authorization") or "").removeprefix("Bearer ")
        then = ANSWERS[name] if token in good else EXPIRED if token else unauthorized(asks)
        then(request, connection)

    asks = challenge(f"{wire_server.origin}/token", PULL)
    wire_server.on("GET", "/token*", issue)
    route = wire_server.on("*", "/v2/*", registry)
    async with alice_at(wire_server) as client:
        repository = client.repository(f"{wire_server.host}/{NAME}")
        await WORK[name](repository)  # type: ignore[misc]  # each of them is awaitable
        good.clear()
        before = len(route.requests)
        if loops:
            with pytest.raises(AuthError):
                await WORK[name](repository)  # type: ignore[misc]  # see above
        else:
            good.add("t2")
            await WORK[name](repository)  # type: ignore[misc]  # see above
    assert tokens == ["t1", "t2"]
    sent = [request.header("Authorization") for request in route.requests[before:]]
    assert [header for header in sent if header != "Bearer t1"][:1] == ["Bearer t2"]
    assert len(sent) <= 3


# --- Q20: delete -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("what", ["blob", "manifest", "tag"])
async def test_q20_quay_gives_nothing_for_delete_and_is_asked_for_what_it_names(
    wire_server: WireServer, what: str, *, warm: bool
) -> None:
    issuer = Strict(wire_server, PUSH, PULL)
    wire_server.on("GET", TAGS, wants(PULL, issuer.realm, SOME_TAGS))
    wire_server.on("GET", f"/v2/{NAME}/manifests/*", wants(PULL, issuer.realm, respond(200, CONTENT, MANIFEST.data)))
    wire_server.on("DELETE", "/v2/*", wants(PUSH, issuer.realm, respond(202)))
    async with alice_at(wire_server) as client:
        repository = client.repository(f"{wire_server.host}/{NAME}")
        if warm:
            await list_tags(client, wire_server)
        match what:
            case "blob":
                await repository.blobs.delete(DIGEST)
            case "manifest":
                await repository.manifests.delete(MANIFEST.digest)
            case _:
                await repository.tags.delete("v1")
    assert issuer.asked[-2:] == [[f"repository:{NAME}:delete,pull,push"], [PUSH]]
    assert issuer.asked.count([PUSH]) == 1


async def test_q20_the_distribution_registry_wants_delete_and_gets_it_at_once(wire_server: WireServer) -> None:
    issuer = Strict(wire_server, DELETE)
    route = wire_server.on("DELETE", "/v2/*", wants(DELETE, issuer.realm, respond(202)))
    async with alice_at(wire_server) as client:
        for _ in range(2):
            await client.repository(f"{wire_server.host}/{NAME}").blobs.delete(DIGEST)
    assert issuer.asked == [[DELETE]]
    assert len(route.requests) == 3


async def test_q20_a_registry_that_names_a_larger_right_gets_both_in_one_scope(wire_server: WireServer) -> None:
    issuer = Strict(wire_server, WRITE)
    wire_server.on("DELETE", "/v2/*", wants(WRITE, issuer.realm, respond(202)))
    async with alice_at(wire_server) as client:
        await client.repository(f"{wire_server.host}/{NAME}").blobs.delete(DIGEST)
    # Everything absorbs the rest.
    assert issuer.asked == [[WRITE]]
