"""Token servers that fail, dawdle, or answer with something that is no token."""

from __future__ import annotations

import gzip
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from ocidist import (
    CredentialsRejectedError,
    LimitExceededError,
    Manifest,
    RateLimitedError,
    RedirectRefusedError,
    RetryPolicy,
    ScopeDeniedError,
    ServerError,
    Timeouts,
    TokenError,
    TransportError,
    TransportTimeoutError,
    UnexpectedStatusError,
)
from tests.faults.auth import (
    SOME_TAGS,
    Issuer,
    alice_with,
    anything,
    bearer,
    located,
    taking,
)
from tests.http.support import (
    NAME,
    PULL,
    PUSH,
    TAGS,
    challenge,
    list_tags,
    outcomes,
    token_answer,
    unauthorized,
    until,
)
from tests.peers import answers, images
from tests.peers.answers import chain, error, respond

if TYPE_CHECKING:
    from ocidist import OciError
    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler, Route
    from tests.peers.wire_server import Connection, Request, WireServer

FETCH = "fetch a token"
JSON = {"Content-Type": "application/json"}
MANIFEST = Manifest.of(images.image("linux/amd64").manifest.data)


def tokens_of(server: WireServer, *said: Handler) -> Route:
    """Let a registry that takes any token hand them out itself, with these answers."""
    server.on("*", f"/v2/{NAME}/*", taking(anything, challenge(f"{server.origin}/token", PULL), SOME_TAGS))
    return server.on("*", "/token*", *said)


def untouched(error: OciError, server: WireServer, attempts: int) -> None:
    """Check that a token server's failure says where it happened, and that no token reached the registry."""
    assert located(error, server, FETCH, attempts)
    assert [bearer(request) for request in server.requests if request.path == TAGS] == [None]


# --- F045, F046: busy ------------------------------------------------------------------------------------------------

PASSING: dict[str, Handler] = {
    "500": respond(500),
    "502": respond(502),
    "503": respond(503, {}, b"<html>busy</html>"),
    "504": respond(504),
    "408": respond(408),
    "FIN": answers.close,
    "RST": answers.reset,
    "cut": chain(respond(200, {"Content-Length": "100"}, b'{"token"'), answers.close),
}


@pytest.mark.parametrize("kind", PASSING)
async def test_f045_a_token_server_that_fails_twice_is_asked_a_third_time(wire_server: WireServer, kind: str) -> None:
    asked = tokens_of(wire_server, PASSING[kind], PASSING[kind], token_answer())
    async with alice_with(wire_server) as client:
        assert await outcomes(10, partial(list_tags, client, wire_server)) == [["v1"]] * 10
    assert len(asked.requests) == 3
    # Waiting for a token, everybody waits together; the registry saw one bare request.
    assert [request.header("Authorization") for request in wire_server.requests].count(None) == 1


@pytest.mark.parametrize("kind", PASSING)
async def test_f045_a_token_server_that_keeps_failing_is_an_error_after_the_attempts_allowed(
    wire_server: WireServer, kind: str
) -> None:
    asked = tokens_of(wire_server, PASSING[kind])
    async with alice_with(wire_server) as client:
        with pytest.raises((ServerError, TransportError, UnexpectedStatusError)) as caught:
            await list_tags(client, wire_server)
    untouched(caught.value, wire_server, 3)
    assert "after 3 attempts" in str(caught.value)
    assert len(asked.requests) == 3


async def test_f046_a_token_server_that_asks_to_wait_is_waited_for_by_all(wire_server: WireServer) -> None:
    asked = tokens_of(wire_server, respond(429, {"Retry-After": "1"}), token_answer())
    async with alice_with(wire_server) as client:
        started = anyio.current_time()
        assert await outcomes(20, partial(list_tags, client, wire_server)) == [["v1"]] * 20
        assert anyio.current_time() - started >= 1
    assert len(asked.requests) == 2


@pytest.mark.parametrize("after", ["3600", "1e9", "Fri, 01 Jan 2100 00:00:00 GMT"])
async def test_f046_a_wait_that_is_too_long_is_told_at_once(wire_server: WireServer, after: str) -> None:
    asked = tokens_of(wire_server, respond(429, {"Retry-After": after}))
    async with alice_with(wire_server, retry=RetryPolicy(attempts=2, wait_initial=0.0, jitter=0.0)) as client:
        with pytest.raises(RateLimitedError) as caught:
            await list_tags(client, wire_server)
    attempts = 2 if after == "1e9" else 1
    untouched(caught.value, wire_server, attempts)
    assert len(asked.requests) == attempts


# --- F047, F057: silent, and cancelled -------------------------------------------------------------------------------

SILENT: dict[str, Handler] = {
    "says nothing": answers.silence,
    "stops in the head": chain(answers.raw(b"HTTP/1.1 200 OK\r\nContent-"), answers.silence),
    "stops in the body": chain(respond(200, {"Content-Length": "100"}, b'{"token"'), answers.silence),
}


@pytest.mark.parametrize("kind", SILENT)
async def test_f047_a_silent_token_server_fails_a_hundred_once_each(wire_server: WireServer, kind: str) -> None:
    asked = tokens_of(wire_server, SILENT[kind])
    quick: dict[str, Any] = {
        "timeout": Timeouts(read=0.3),
        "retry": RetryPolicy(attempts=2, wait_initial=0.0, jitter=0.0),
    }
    async with alice_with(wire_server, **quick) as client:
        found = await outcomes(100, partial(list_tags, client, wire_server))
    assert {type(failure) for failure in found} == {TransportTimeoutError}
    assert {getattr(failure, "attempts", None) for failure in found} == {2}
    assert {getattr(failure, "operation", None) for failure in found} == {FETCH}
    assert len(asked.requests) == 2


@pytest.mark.parametrize("kind", SILENT)
async def test_f047_cancelling_frees_all_who_wait(wire_server: WireServer, kind: str) -> None:
    asked = tokens_of(wire_server, SILENT[kind], token_answer())
    async with alice_with(wire_server) as client:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(list_tags, client, wire_server)
                await until(lambda: len(asked.requests) == 1)
                scope.cancel()
        # What was cancelled holds up nobody who comes later.
        assert await list_tags(client, wire_server) == ["v1"]
    assert len(asked.requests) == 2


@pytest.mark.parametrize("kind", SILENT)
async def test_f057_a_cancelled_leader_costs_one_other_request(wire_server: WireServer, kind: str) -> None:
    asked = tokens_of(wire_server, SILENT[kind], token_answer())
    found: list[object] = []
    leader = anyio.CancelScope()
    async with alice_with(wire_server) as client, anyio.create_task_group() as group:

        async def lead() -> None:
            with leader:
                await list_tags(client, wire_server)

        async def follow() -> None:
            found.extend(await outcomes(99, partial(list_tags, client, wire_server)))

        group.start_soon(lead)
        await until(lambda: len(asked.requests) == 1)
        group.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        leader.cancel()
    assert found == [["v1"]] * 99
    assert leader.cancelled_caught
    assert len(asked.requests) == 2


# --- F048, F056: no tokens -------------------------------------------------------------------------------------------

USELESS = {
    "web page": b"<html><body>s3cr3t-in-the-page</body></html>",
    "empty": b"",
    "empty object": b"{}",
    "empty token": b'{"token": ""}',
    "both empty": b'{"token": "", "access_token": ""}',
    "number": b'{"token": 12345}',
    "boolean": b'{"token": true}',
    "object": b'{"token": {"token": "s3cr3t-in-the-page"}}',
    "null": b'{"token": null}',
    "list": b'["s3cr3t-in-the-page"]',
    "text": b'"s3cr3t-in-the-page"',
    "cut": b'{"token": "s3cr3t-in-the-page',
    "two": b'{"token": "s3cr3t-in-the-page"}{"token": "a"}',
    "byte order mark": b'\xef\xbb\xbf{"token": "s3cr3t-in-the-page"}',
    "not UTF-8": b'{"token": "s3cr3t-in-the-page\xff"}',
    "deep": b'{"token": ' + b"[" * 50_000,
    "zipped": gzip.compress(b'{"token": "s3cr3t-in-the-page"}'),
}
UNSENDABLE = [
    "a\r\nX-Evil: 1",
    "a\nX-Evil: 1",
    "a\rb",
    "\r\n",
    "a\x00b",
    "a b",
    "a\tb",
    "t\xf6ken",
    "\u2028",
    "\U0001f600",
    "a\x7f",
    "a,b",
    "\ud800",
    "a\x1b[2J",
]


@pytest.mark.parametrize("name", USELESS)
async def test_f048_an_answer_without_a_token_is_an_error_that_does_not_quote_it(
    wire_server: WireServer, name: str
) -> None:
    asked = tokens_of(wire_server, respond(200, JSON, USELESS[name]))
    async with alice_with(wire_server) as client:
        with pytest.raises(TokenError) as caught:
            await list_tags(client, wire_server)
    assert located(caught.value, wire_server)
    assert "s3cr3t" not in repr(caught.value)
    assert len(asked.requests) == 1
    assert [bearer(request) for request in wire_server.requests] == [None, None]


@pytest.mark.parametrize("field", ["token", "access_token"])
@pytest.mark.parametrize("value", UNSENDABLE, ids=ascii)
async def test_f056_a_token_that_cannot_be_sent_in_a_header_is_not(
    wire_server: WireServer, field: str, value: str
) -> None:
    asked = tokens_of(wire_server, respond(200, JSON, json.dumps({field: value}).encode()))
    async with alice_with(wire_server) as client:
        with pytest.raises(TokenError) as caught:
            await list_tags(client, wire_server)
    assert located(caught.value, wire_server)
    assert str(caught.value).isprintable()
    assert len(asked.requests) == 1
    assert len(wire_server.requests) == 2
    assert b"Evil" not in wire_server.received


# --- F049: too much --------------------------------------------------------------------------------------------------


def endless(headers: dict[str, str], piece: bytes) -> Handler:
    """Send a body for as long as somebody takes it."""

    def answer(request: Request, connection: Connection) -> None:
        request.read()
        connection.send(answers.head(200, JSON | headers))
        while True:
            connection.send(piece)

    return answer


BLANKS = b" " * 0x10000
TOO_MUCH: dict[str, Handler] = {
    "10 GiB announced": endless({"Content-Length": str(10 << 30)}, BLANKS),
    "chunked": endless({"Transfer-Encoding": "chunked"}, b"10000\r\n" + BLANKS + b"\r\n"),
    "until the end": endless({"Connection": "close"}, BLANKS),
    "zipped": respond(200, JSON | {"Content-Encoding": "gzip"}, gzip.compress(images.noise(200_000))),
    "a byte": respond(200, JSON, b" " * (128 * 1024 + 1)),
}


@pytest.mark.parametrize("kind", TOO_MUCH)
async def test_f049_an_answer_that_is_too_large_is_refused_while_it_arrives(wire_server: WireServer, kind: str) -> None:
    asked = tokens_of(wire_server, TOO_MUCH[kind])
    async with alice_with(wire_server) as client:
        with pytest.raises(LimitExceededError, match="token") as caught:
            await list_tags(client, wire_server)
    untouched(caught.value, wire_server, 1)
    assert len(asked.requests) == 1


async def test_f049_a_small_bomb_is_not_unpacked(wire_server: WireServer) -> None:
    bomb = gzip.compress(b'{"token": "' + b"a" * 50_000_000 + b'"}')
    asked = tokens_of(wire_server, respond(200, JSON | {"Content-Encoding": "gzip"}, bomb))
    async with alice_with(wire_server) as client:
        with pytest.raises(TokenError) as caught:
            await list_tags(client, wire_server)
    assert located(caught.value, wire_server)
    assert [request.header("Accept-Encoding") for request in asked.requests] == ["identity"]


# --- F054: elsewhere -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["{foreign}/token", "{own}/elsewhere", "/elsewhere", "", "http://169.254.169.254/"])
async def test_f054_a_redirect_of_a_token_server_is_not_followed(
    wire_server: WireServer, start_wire_server: StartWireServer, status: int, where: str
) -> None:
    foreign = start_wire_server(name="localhost")
    location = where.format(foreign=foreign.origin, own=wire_server.origin)
    asked = tokens_of(wire_server, respond(status, {"Location": location}))
    async with alice_with(wire_server, foreign=(foreign,)) as client:
        with pytest.raises(RedirectRefusedError) as caught:
            await list_tags(client, wire_server)
    assert located(caught.value, wire_server)
    assert len(asked.requests) == 1
    assert "GET /elsewhere" not in wire_server.targets()
    assert foreign.connections == []


# --- F055: less ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [True, False], ids=["token server says so", "only the registry does"])
async def test_f055_a_token_for_less_than_needed_is_an_error_after_one_try(
    wire_server: WireServer, *, said: bool
) -> None:
    issuer = Issuer(wire_server, **({"scope": PULL} if said else {}))
    params = {} if said else {"error": "insufficient_scope"}

    def manifests(request: Request, connection: Connection) -> None:
        headers = issuer.challenge(PUSH, **(params if bearer(request) else {}))
        unauthorized(headers)(request, connection)

    put = wire_server.on("PUT", f"/v2/{NAME}/manifests/*", manifests)
    async with alice_with(wire_server) as client:
        with pytest.raises(ScopeDeniedError, match="does not grant") as caught:
            await client.repository(f"{wire_server.host}/{NAME}").manifests.push(MANIFEST)
    assert located(caught.value, wire_server, "push manifest")
    assert caught.value.scope == PUSH
    assert [bearer(request) for request in put.requests] == [None, "t1"]
    assert issuer.scopes() == [[PUSH]]


async def test_f055_a_token_for_less_is_used_where_it_is_enough(wire_server: WireServer) -> None:
    issuer = Issuer(wire_server, scope=PULL)
    wire_server.on("PUT", f"/v2/{NAME}/manifests/*", unauthorized(issuer.challenge(PUSH)))
    route = wire_server.on("GET", TAGS, taking(anything, issuer.challenge(), SOME_TAGS))
    async with alice_with(wire_server) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        for _ in range(2):
            with pytest.raises(ScopeDeniedError):
                await client.repository(f"{wire_server.host}/{NAME}").manifests.push(MANIFEST)
        assert await list_tags(client, wire_server) == ["v1"]
    assert all(bearer(request) for request in route.requests[1:])
    assert len(issuer.issued) <= 4


@pytest.mark.parametrize(("status", "kind"), [(401, CredentialsRejectedError), (403, ScopeDeniedError)])
async def test_f055_a_token_server_that_refuses_is_asked_once_and_its_words_are_told(
    wire_server: WireServer, status: int, kind: type[OciError]
) -> None:
    said = error(status, "DENIED", "alice:s3cret may\x1b[2J not")
    asked = tokens_of(wire_server, said)
    async with alice_with(wire_server) as client:
        with pytest.raises(kind, match="may") as caught:
            await list_tags(client, wire_server)
    assert located(caught.value, wire_server)
    assert "s3cret" not in repr(caught.value)
    assert str(caught.value).isprintable()
    assert len(asked.requests) == 1
    assert len(wire_server.requests) == 2
