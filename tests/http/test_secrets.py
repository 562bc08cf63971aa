"""Secrets in odd places: repeated by servers, in raw requests, in the frames of exceptions that are not ocidist's."""

from __future__ import annotations

import base64
import json
import traceback
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

import httpx
import pytest

from ocidist import (
    Basic,
    CredentialsRejectedError,
    IdentityToken,
    MemoryChallengeCache,
    MemoryTokenCache,
    OciError,
    Token,
    TokenOptions,
    TokenOwner,
)
from ocidist.http.auth import Proof
from ocidist.wire.scope import NO_SCOPES
from tests.canary import PASSWORD, REFRESH, SIGNATURE, TOKEN, USER
from tests.http import test_leaks
from tests.http.support import NAME, PULL, SOME_TAGS, TAGS, challenge, client_for, list_tags, unauthorized
from tests.http.test_leaks import found_in
from tests.peers.answers import respond, respond_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ocidist import Credential
    from tests.conftest import StartWireServer
    from tests.http.test_leaks import Logs
    from tests.peers.wire_server import Connection, Request, WireServer

logs = test_leaks.logs


# The server repeats two secrets, of which the client knows one.
@pytest.mark.usefixtures("secrets_may_show")
@pytest.mark.parametrize("status", [400, 401, 403, 500])
@pytest.mark.parametrize("credential", [Basic(USER, PASSWORD), IdentityToken(REFRESH)], ids=repr)
async def test_t45_a_token_server_that_repeats_the_secret_is_not_quoted(
    wire_server: WireServer, start_wire_server: StartWireServer, logs: Logs, credential: Credential, status: int
) -> None:
    tokens = start_wire_server(name="localhost")

    def repeat(request: Request, connection: Connection) -> None:
        respond_json(status, {"details": f"{PASSWORD} and {REFRESH} are wrong"})(request, connection)

    wire_server.on("*", "/token*", repeat)
    wire_server.on("GET", TAGS, unauthorized(challenge(f"{wire_server.origin}/token", PULL)))
    async with client_for(wire_server, credentials={wire_server.host: credential}) as client:
        with pytest.raises(OciError) as caught:
            await list_tags(client, wire_server)
    own = PASSWORD if isinstance(credential, Basic) else REFRESH
    assert own not in test_leaks.told(caught.value)
    assert own not in "\n".join(logs.lines)
    assert tokens.connections == []


@pytest.mark.usefixtures("secrets_may_show")
@pytest.mark.parametrize("password", [PASSWORD, f'{PASSWORD} ü"/&'])
@pytest.mark.parametrize("grant", [True, False])
async def test_t45_a_token_server_that_repeats_the_request_is_not_quoted(
    wire_server: WireServer, logs: Logs, password: str, *, grant: bool
) -> None:
    def repeat(request: Request, connection: Connection) -> None:
        said = {"got": request.header("authorization"), "form": request.body.decode(), "password": password}
        escaped = "".join(f"\\u{ord(char):04x}" for char in password)
        body = json.dumps(said).encode() if grant else f'{{"errors":[{{"message":"{escaped}"}}]}}'.encode()
        respond(403, {}, body)(request, connection)

    wire_server.on("*", "/token*", repeat)
    wire_server.on("GET", TAGS, unauthorized(challenge(f"{wire_server.origin}/token", PULL)))
    found, options = {wire_server.host: Basic(USER, password)}, TokenOptions(force_oauth2=grant)
    async with client_for(wire_server, credentials=found, token_options=options) as client:
        with pytest.raises(OciError, match="403") as caught:
            await list_tags(client, wire_server)
    told = test_leaks.told(caught.value) + "\n".join(logs.lines)
    pair = base64.b64encode(f"{USER}:{password}".encode()).decode()
    for form in (PASSWORD, password, quote_plus(password), json.dumps(password)[1:-1], pair):
        assert form not in told


async def test_t45_a_refresh_token_that_is_repeated_is_not_quoted(wire_server: WireServer, logs: Logs) -> None:
    def repeat(request: Request, connection: Connection) -> None:
        answer = {"token": "opaque", "refresh_token": REFRESH, "expires_in": 60}
        if request.method == "POST" or "other" in request.target:
            # Refused in both ways: the password is tried where the refresh token is not good any more.
            respond_json(403, {"details": f"{REFRESH} may not"})(request, connection)
        else:
            respond_json(200, answer)(request, connection)

    wire_server.on("*", "/token*", repeat)

    def guard(request: Request, connection: Connection) -> None:
        known = request.path == TAGS and request.header("Authorization") is not None
        answer = SOME_TAGS if known else unauthorized(challenge(f"{wire_server.origin}/token", PULL))
        answer(request, connection)

    wire_server.on("GET", "/v2/*", guard)
    async with client_for(wire_server, credentials={wire_server.host: Basic(USER, PASSWORD)}) as client:
        await list_tags(client, wire_server)
        with pytest.raises(OciError, match="403") as caught:
            await list_tags(client, wire_server, "acme/other")
    assert REFRESH not in test_leaks.told(caught.value) + "\n".join(logs.lines)


async def test_t45_raw_requests_with_their_own_identity_are_not_logged_either(
    wire_server: WireServer, logs: Logs
) -> None:
    wire_server.on("GET", "/v2/*", respond(200))
    async with client_for(wire_server) as client:
        await client.get(f"{wire_server.origin}/v2/?key={SIGNATURE}", auth=(USER, PASSWORD))
    assert found_in("\n".join(logs.lines)) == []


@pytest.mark.parametrize("where", ["request hook", "response hook", "body"])
async def test_t45_no_secret_is_in_the_frames_of_somebody_elses_exception(wire_server: WireServer, where: str) -> None:
    class BrokenError(Exception):
        pass

    async def fail(_: object) -> None:
        raise BrokenError

    async def source() -> AsyncIterator[bytes]:
        yield b"some"
        raise BrokenError

    grant = respond_json(200, {"token": TOKEN, "refresh_token": REFRESH})
    wire_server.on("GET", "/token*", grant)
    wire_server.on("GET", "/v2/*", unauthorized(challenge(f"{wire_server.origin}/token", PULL)))
    location = {"Location": f"/v2/{NAME}/blobs/uploads/1?_state={SIGNATURE}"}
    wire_server.on("POST", "/v2/*", respond(202, location))
    wire_server.on("*", f"/v2/{NAME}/blobs/uploads/1*", respond(202, location))
    hooks: dict[str, list[Callable[..., object]]] = {"request": [], "response": []}
    async with client_for(
        wire_server, credentials={wire_server.host: Basic(USER, PASSWORD)}, event_hooks=hooks
    ) as client:
        if where != "body":
            client.event_hooks = {where.partition(" ")[0]: [fail]}
        push = client.repository(f"{wire_server.host}/{NAME}").blobs.push
        with pytest.raises(BrokenError) as caught:
            await (push(source) if where == "body" else list_tags(client, wire_server))
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in shown.stack if "ocidist" in frame.filename and frame.locals]
    assert ours
    assert found_in("\n".join(f"{frame.locals}" for frame in ours)) == []


def test_t45_what_a_program_may_look_at_shows_no_secret() -> None:
    token = Token(TOKEN, 100.0, refresh_token=REFRESH)
    owner = TokenOwner("https://h", f"https://{USER}:{PASSWORD}@h/token?key={SIGNATURE}", "s", "a digest")
    tokens, challenges = MemoryTokenCache(), MemoryChallengeCache()
    tokens.store(owner, token)
    shown = [token, owner, tokens, challenges, Proof(f"Bearer {TOKEN}", token), Basic(USER, PASSWORD)]
    assert found_in("\n".join(map(repr, shown))) == []
    assert "a digest" not in repr(owner)
    assert tokens.find(owner, NO_SCOPES, now=0.0) is token


async def test_t45_a_refused_password_is_in_no_chain_of_causes(wire_server: WireServer) -> None:
    wire_server.on("GET", TAGS, unauthorized({"WWW-Authenticate": 'Basic realm="r"'}))
    async with client_for(wire_server, credentials={wire_server.host: Basic(USER, PASSWORD)}) as client:
        with pytest.raises(CredentialsRejectedError) as caught:
            await list_tags(client, wire_server)
        link: BaseException | None = caught.value
        while link is not None:
            assert not isinstance(link, httpx.HTTPError)
            link = link.__cause__ or link.__context__
    assert found_in(test_leaks.told(caught.value)) == []
