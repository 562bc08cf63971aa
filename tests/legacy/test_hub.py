"""Searching an index of version 1, and checking logins there."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import httpx
import pytest

from ocidist import (
    AuthError,
    Basic,
    Client,
    CredentialsRejectedError,
    DeniedError,
    HostConfig,
    IdentityToken,
    LimitExceededError,
    PaginationLoopError,
    ProtocolError,
    RateLimitedError,
    RedirectRefusedError,
    RetryPolicy,
    UnsupportedError,
    UsageError,
)
from ocidist.engine import AuthenticateOKBody
from ocidist.legacy import hub
from ocidist.legacy.v1 import INDEX_SERVER, REGISTRY_SERVER
from tests.peers.answers import respond, respond_json
from tests.remote.support import client_for

if TYPE_CHECKING:
    from tests.peers.answers import Handler
    from tests.peers.wire_server import Connection, Request, WireServer

NAMES = [f"acme/app{number}" for number in range(7)]
PAIR = base64.b64encode(b"alice:s3cret").decode()


def result(name: str) -> dict[str, object]:
    return {"name": name, "description": "x", "star_count": 1, "is_official": False, "is_automated": False}


def serve_names(request: Request, connection: Connection) -> None:
    """Answer as Docker Hub does."""
    query = dict(request.query)
    size, page = int(query["n"]), int(query["page"])
    found = NAMES[(page - 1) * size : page * size]
    body = {
        "num_pages": -(-len(NAMES) // size),
        "num_results": len(NAMES),
        "results": [result(name) for name in found],
        "page_size": size,
        "query": query["q"],
        "page": page,
    }
    respond_json(200, body)(request, connection)


async def test_a_search_is_one_request(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v1/search", serve_names)
    async with client_for(wire_server, credentials={wire_server.host: Basic("alice", "s3cret")}) as client:
        found = await hub.search(client, "a p&p", limit=3, index=wire_server.host)
    assert (found.query, found.num_results) == ("a p&p", 7)
    assert [each.name for each in found.results] == NAMES[:3]
    assert wire_server.targets() == ["GET /v1/search?q=a%20p%26p&n=3&page=1"]
    # What is found is public, so nobody has to say who they are.
    assert b"uthorization" not in wire_server.received


async def test_a_search_can_be_somebodys(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v1/search", serve_names)
    async with client_for(wire_server) as client:
        await hub.search(client, "app", index=wire_server.host, credential=Basic("alice", "s3cret"))
        with pytest.raises(UsageError):
            await hub.search(client, "app", index=wire_server.host, credential=IdentityToken("t0ken"))
    assert [request.header("Authorization") for request in wire_server.requests] == [f"Basic {PAIR}"]


async def test_what_the_same_host_wants_of_todays_clients_does_not_matter(wire_server: WireServer) -> None:
    """Products that offer both versions hand out tokens for the newer one only."""
    realm = f'Bearer realm="{wire_server.origin}/token",service="s"'
    asked = wire_server.on("GET", "/token", respond_json(200, {"token": "t0ken"}))
    wire_server.on("GET", "/v2/", respond(401, {"WWW-Authenticate": realm}), respond(200))
    wire_server.on("GET", "/v1/search", serve_names, respond(401, {"WWW-Authenticate": realm}))
    async with client_for(wire_server, credentials={wire_server.host: Basic("alice", "s3cret")}) as client:
        await client.registry(wire_server.host).ping()
        before = len(asked.requests)
        await hub.search(client, "app", index=wire_server.host)
        with pytest.raises(AuthError):
            await hub.search(client, "app", index=wire_server.host)
    assert len(asked.requests) == before > 0
    assert not [each for each in wire_server.requests if each.path == "/v1/search" and each.header("Authorization")]


async def test_all_results_come_page_by_page(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v1/search", serve_names)
    async with client_for(wire_server) as client:
        found = hub.find(client, "app", page_size=3, index=wire_server.host)
        assert not wire_server.requests
        assert [each.name for each in await found.collect(limit=2)] == NAMES[:2]
        assert len(wire_server.requests) == 1
        assert [each.name async for each in found] == NAMES
    assert len(wire_server.requests) == 4


async def test_a_server_that_gives_fewer_than_it_was_asked_for_is_asked_on(wire_server: WireServer) -> None:
    pages = [{"num_results": 3, "results": [result(name)]} for name in NAMES[:3]]
    wire_server.on("GET", "/v1/search", *(respond_json(200, page) for page in pages))
    async with client_for(wire_server) as client:
        found = await hub.find(client, "app", index=wire_server.host).collect()
    assert [each.name for each in found] == NAMES[:3]


@pytest.mark.parametrize("last", [respond_json(200, {"num_results": 9, "results": []}), respond(404)])
async def test_a_server_that_says_too_much_ends_with_a_page_that_is_none(
    wire_server: WireServer, last: Handler
) -> None:
    first = respond_json(200, {"num_results": 9, "results": [result("a")]})
    wire_server.on("GET", "/v1/search", first, last)
    async with client_for(wire_server) as client:
        assert len(await hub.find(client, "app", index=wire_server.host).collect()) == 1


async def test_results_that_do_not_end_are_an_error(wire_server: WireServer) -> None:
    same = respond_json(200, {"num_results": 10**9, "results": [result("a"), result("b")]})
    wire_server.on("GET", "/v1/search", same)
    async with client_for(wire_server) as client:
        with pytest.raises(PaginationLoopError):
            await hub.find(client, "app", index=wire_server.host).collect()
    assert len(wire_server.requests) == 2


async def test_pages_without_end_are_an_error(wire_server: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "MAX_PAGES", 5)

    def always_more(request: Request, connection: Connection) -> None:
        page = dict(request.query)["page"]
        respond_json(200, {"num_results": 10**9, "results": [result(f"a{page}")]})(request, connection)

    wire_server.on("GET", "/v1/search", always_more)
    async with client_for(wire_server) as client:
        with pytest.raises(PaginationLoopError):
            await hub.find(client, "app", index=wire_server.host).collect()
    assert len(wire_server.requests) == 5


@pytest.mark.parametrize(
    "arguments", [{"term": ""}, {"term": " "}, {"term": "x" * 1025}, {"term": "\ud800"}, {"limit": 0}, {"limit": 101}]
)
async def test_what_cannot_be_searched_for_is_said_before_anything_is_sent(
    wire_server: WireServer, arguments: dict[str, object]
) -> None:
    given = {"term": "app", "limit": 25} | arguments
    term, limit = str(given["term"]), given["limit"]
    assert isinstance(limit, int)
    async with client_for(wire_server) as client:
        with pytest.raises(UsageError):
            await hub.search(client, term, limit=limit, index=wire_server.host)
        with pytest.raises(UsageError):
            hub.find(client, term, page_size=limit, index=wire_server.host)
    assert not wire_server.requests


async def test_awkward_answers_are_typed_errors(wire_server: WireServer) -> None:
    huge = respond(200, {"Content-Length": str(10**9)}, b"{}")
    page = respond(200, {"Content-Type": "text/html"}, b"<html>log in</html>")
    limited = respond_json(429, {"detail": "slow down"}, {"Retry-After": "9999"})
    wire_server.on("GET", "/v1/search", respond(404), huge, page, limited)
    async with client_for(wire_server, retry=RetryPolicy(attempts=1)) as client:
        for expected in (UnsupportedError, LimitExceededError, ProtocolError, RateLimitedError):
            with pytest.raises(expected) as caught:
                await hub.search(client, "app", index=wire_server.host)
            assert caught.value.operation == "search"
            assert caught.value.host == wire_server.host


async def test_a_login_is_checked(wire_server: WireServer) -> None:
    wire_server.on(
        "GET", "/v1/users/", respond_json(200, "OK"), respond(401), respond_json(403, "inactive"), respond(404)
    )
    async with client_for(wire_server) as client:
        assert await hub.check_login(client, Basic("alice", "s3cret"), index=wire_server.host) == AuthenticateOKBody()
        for expected in (CredentialsRejectedError, DeniedError, UnsupportedError):
            with pytest.raises(expected) as caught:
                await hub.check_login(client, Basic("alice", "s3cret"), index=wire_server.host)
            assert "s3cret" not in str(caught.value)
            assert PAIR not in str(caught.value)
        with pytest.raises(UsageError):
            await hub.check_login(client, IdentityToken("t0ken"), index=wire_server.host)
    assert {request.header("Authorization") for request in wire_server.requests} == {f"Basic {PAIR}"}


async def test_docker_hub_is_asked_at_its_index_by_any_of_its_names() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        body = b'"OK"' if request.url.path.endswith("users/") else json.dumps({"results": []}).encode()
        return httpx.Response(200, content=body)

    hosts = {"docker.io": HostConfig(headers={"X-Mine": "t0ken"})}
    async with Client(transport=httpx.MockTransport(answer), credentials={}, hosts=hosts) as client:
        for name in ("docker.io", "index.docker.io", "registry-1.docker.io", INDEX_SERVER, REGISTRY_SERVER):
            await hub.search(client, "app", index=name)
            # An official image is found by its short name.
            await hub.search(client, "library/app", index=name)
        await hub.check_login(client, Basic("alice", "s3cret"))
    assert {str(request.url) for request in asked} == {
        "https://index.docker.io/v1/search?q=app&n=25&page=1",
        "https://index.docker.io/v1/users/",
    }
    assert [request.headers.get("Authorization") for request in asked] == [*[None] * 10, f"Basic {PAIR}"]
    # What is configured for the registry is for the registry.
    assert not any("X-Mine" in request.headers for request in asked)


@pytest.mark.parametrize(("status", "expected"), [(401, CredentialsRejectedError), (403, DeniedError)])
async def test_what_docker_hub_refuses_is_refused(status: int, expected: type[AuthError]) -> None:
    """Its index is at another host than its registry, and speaks for it none the less."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "index.docker.io"
        return httpx.Response(status, json={"detail": "Incorrect authentication credentials"})

    async with Client(transport=httpx.MockTransport(answer), credentials={}) as client:
        with pytest.raises(expected):
            await hub.check_login(client, Basic("alice", "wrong"))
        with pytest.raises(expected):
            await hub.search(client, "app", credential=Basic("alice", "wrong"))


async def test_nobody_else_answers_for_an_index() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("Authorization", "nothing"))
        if request.url.host == "index.docker.io":
            return httpx.Response(302, headers={"Location": "https://search.example/v1/users/"})
        return httpx.Response(200, content=b'"OK"')

    async with Client(transport=httpx.MockTransport(answer), credentials={}) as client:
        # Whatever the other one says: it was not asked with the password.
        with pytest.raises(RedirectRefusedError):
            await hub.check_login(client, Basic("alice", "s3cret"))
    assert seen == [f"Basic {PAIR}"]
