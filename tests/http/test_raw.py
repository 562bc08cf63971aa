"""Requests made with httpx's own methods: what an httpx user expects, with authentication for the host they named."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from ocidist import (
    Basic,
    Client,
    ClientClosedError,
    Digest,
    HostConfig,
    RegistryToken,
    UnauthorizedError,
)
from tests.http.support import (
    ALICE,
    NAME,
    ONCE,
    PULL,
    QUICK,
    SOME_TAGS,
    TAGS,
    alice_at,
    authorizations,
    challenge,
    client_for,
    guarded,
    list_tags,
    token_answer,
    unauthorized,
    wants,
)
from tests.peers import answers
from tests.peers.answers import error, respond

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.conftest import StartWireServer
    from tests.peers.peer import Peer
    from tests.peers.token_server import TokenServer
    from tests.peers.wire_server import WireServer

BASIC_ALICE = "Basic " + base64.b64encode(b"alice:s3cret").decode()
BASIC_OTHER = "Basic " + base64.b64encode(b"other:word").decode()
REFUSAL = unauthorized({"WWW-Authenticate": 'Basic realm="registry"'})


async def test_a_url_of_a_named_registry_is_authenticated(token_registry: Peer, fresh_name: str) -> None:
    async with token_registry.client() as client:
        missing = await client.get(f"{token_registry.origin}/v2/{fresh_name}/tags/list")
        assert missing.status_code == 404
        assert (await client.get(f"{token_registry.origin}/v2/")).status_code == 200
        push = await client.post(f"{token_registry.origin}/v2/{fresh_name}/blobs/uploads/")
        assert push.status_code == 202


async def test_a_401_stays_an_answer_when_nothing_can_be_done_about_it(
    wire_server: WireServer, token_server: TokenServer
) -> None:
    wire_server.on("GET", TAGS, guarded(token_server.realm, SOME_TAGS))
    wire_server.on("GET", "/v2/bare", respond(401))
    wire_server.on("GET", "/v2/odd", respond(401, {"WWW-Authenticate": '"'}))
    wire_server.on("GET", "/v2/evil", unauthorized(challenge("http://169.254.169.254/")))
    wrong = {wire_server.host: Basic("alice", "wr0ng")}
    async with alice_at(wire_server, token_server, credentials=wrong) as client:
        # The second time the challenge is known before the request is made.
        for _ in range(2):
            for path in (TAGS, "/v2/bare", "/v2/odd", "/v2/evil"):
                assert (await client.get(f"{wire_server.origin}{path}")).status_code == 401
        refused = await client.get(f"{wire_server.origin}{TAGS}")
        assert refused.json()["errors"][0]["code"] == "UNAUTHORIZED"
        with pytest.raises(httpx.HTTPStatusError):
            refused.raise_for_status()


async def test_hosts_whose_urls_are_no_registrys_get_no_credentials(wire_server: WireServer) -> None:
    wire_server.on("GET", "/other", REFUSAL)
    async with alice_at(wire_server) as client:
        assert (await client.get(f"{wire_server.origin}/other")).status_code == 401
    assert authorizations(wire_server) == [None]


@pytest.mark.parametrize("how", ["auth", "auth of the client", "header", "header of the client", "in the url"])
async def test_an_identity_of_the_callers_own_is_left_as_it_is(wire_server: WireServer, how: str) -> None:
    wire_server.on("GET", TAGS, wants(BASIC_OTHER, SOME_TAGS, REFUSAL))
    url, own = f"{wire_server.origin}{TAGS}", httpx.BasicAuth("other", "word")
    options: dict[str, dict[str, Any]] = {
        "auth of the client": {"auth": own},
        "header of the client": {"headers": {"Authorization": BASIC_OTHER}},
    }
    async with alice_at(wire_server, **options.get(how, {})) as client:
        match how:
            case "auth":
                response = await client.get(url, auth=own)
            case "header":
                response = await client.get(url, headers={"Authorization": BASIC_OTHER})
            case "in the url":
                response = await client.get(url.replace("://", "://other:word@"))
            case _:
                response = await client.get(url)
    assert response.json()["tags"] == ["v1"]
    assert set(authorizations(wire_server)) == {BASIC_OTHER}


async def test_headers_of_the_client_go_with_every_request_to_a_registry_and_nowhere_else(
    start_wire_server: StartWireServer,
) -> None:
    registry, elsewhere, tokens = start_wire_server(), start_wire_server(), start_wire_server()
    blob = Digest.of(b"data")
    registry.on("GET", TAGS, SOME_TAGS)
    registry.on("GET", f"/v2/{NAME}/blobs/*", respond(307, {"Location": f"{elsewhere.origin}/blob"}))
    elsewhere.on("GET", "/blob", respond(200, {}, b"data"))
    registry.on("GET", "/v2/other/tags/list", unauthorized(challenge(f"{tokens.origin}/token")))
    tokens.on("GET", "/token*", respond(403))
    headers = {"X-Tenant": "acme", "User-Agent": "mirror/1", "Accept": "text/html", "Range": "bytes=1-2"}
    async with client_for(registry, headers=headers, retry=ONCE) as client:
        await list_tags(client, registry)
        assert await client.repository(f"{registry.host}/{NAME}").blobs.get(blob) == b"data"
        with pytest.raises(Exception, match="403"):
            await list_tags(client, registry, "other")
    for request in registry.requests:
        assert request.header("X-Tenant") == "acme"
        assert request.header("Accept") != "text/html"
        assert request.header("Range") is None
    assert [request.header("X-Tenant") for request in (*elsewhere.requests, *tokens.requests)] == [None, None]
    everything = (*registry.requests, *elsewhere.requests, *tokens.requests)
    assert {request.header("User-Agent") for request in everything} == {"mirror/1"}


async def test_an_authorization_header_of_the_client_is_the_identity_of_registry_objects_too(
    wire_server: WireServer,
) -> None:
    wire_server.on("GET", TAGS, wants("Bearer mine", SOME_TAGS, REFUSAL))
    async with alice_at(wire_server, headers={"Authorization": "Bearer mine"}) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        client.headers["Authorization"] = "Bearer stale"
        with pytest.raises(UnauthorizedError):
            await list_tags(client, wire_server)
    assert authorizations(wire_server) == ["Bearer mine", "Bearer stale"]


async def test_the_callers_authorization_follows_within_its_origin_and_never_beyond(
    start_wire_server: StartWireServer,
) -> None:
    here, there = start_wire_server(), start_wire_server()
    here.on("GET", "/v2/a", respond(307, {"Location": "/v2/b"}))
    here.on("GET", "/v2/b", respond(307, {"Location": f"{there.origin}/v2/c"}))
    there.on("GET", "/v2/c", respond(200))
    async with client_for(here) as client:
        headers = {"Authorization": "Bearer mine", "Cookie": "a=b", "X-Api-Key": "key"}
        response = await client.get(f"{here.origin}/v2/a", headers=headers, follow_redirects=True)
        assert response.status_code == 200
        assert [hop.status_code for hop in response.history] == [307, 307]
        assert response.url == f"{there.origin}/v2/c"
    assert authorizations(here) == ["Bearer mine"] * 2
    assert b"mine" not in there.received
    assert b"a=b" not in there.received
    assert b"key" not in there.received


async def test_redirects_are_followed_when_asked_for(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v2/a", respond(302, {"Location": "/v2/b"}))
    wire_server.on("GET", "/v2/b", respond(200, {}, b"there"))
    url = f"{wire_server.origin}/v2/a"
    async with client_for(wire_server) as client:
        assert (await client.get(url)).status_code == 302
        assert (await client.get(url, follow_redirects=True)).text == "there"
    async with client_for(wire_server, follow_redirects=True) as client:
        assert (await client.get(url)).text == "there"
        assert (await client.get(url, follow_redirects=False)).status_code == 302
        async with client.stream("GET", url) as response:
            assert b"".join([piece async for piece in response.aiter_bytes()]) == b"there"
        assert (await client.get(url, auth=("a", "b"))).text == "there"


async def test_failures_are_httpxs_own_with_their_request(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v2/reset", answers.reset)
    wire_server.on("GET", "/v2/silent", answers.silence)
    wire_server.on("GET", "/v2/bad", answers.raw(b"nonsense\r\n\r\n"))
    wire_server.on("GET", "/v2/loop", respond(307, {"Location": "/v2/loop"}))
    wire_server.on("GET", "/v2/evil", respond(307, {"Location": "http://10.1.2.3/"}))
    expected = {
        "reset": httpx.ReadError,
        "silent": httpx.ReadTimeout,
        "bad": httpx.RemoteProtocolError,
        "loop": httpx.TooManyRedirects,
        "evil": httpx.TooManyRedirects,
    }
    async with client_for(wire_server, follow_redirects=True, retry=ONCE) as client:
        for name, kind in expected.items():
            with pytest.raises(kind) as caught:
                await client.get(f"{wire_server.origin}/v2/{name}", timeout=0.1 if name == "silent" else 5)
            assert caught.value.request.url.path == f"/v2/{name}"
        with pytest.raises(httpx.UnsupportedProtocol):
            await client.get("ftp://127.0.0.1/v2/")


async def test_a_token_server_that_cannot_be_asked_is_httpxs_error_too(
    wire_server: WireServer, start_wire_server: StartWireServer
) -> None:
    tokens = start_wire_server()
    tokens.on("GET", "/token*", answers.silence)
    wire_server.on("GET", TAGS, unauthorized(challenge(f"{tokens.origin}/token")))
    async with client_for(wire_server, retry=ONCE, timeout=0.2) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get(f"{wire_server.origin}{TAGS}")


async def test_a_request_made_without_the_client_gets_its_timeouts(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v2/", answers.silence)
    async with client_for(wire_server, retry=ONCE, timeout=0.2) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.send(httpx.Request("GET", f"{wire_server.origin}/v2/"))


async def test_a_closed_client_says_so(wire_server: WireServer) -> None:
    client = client_for(wire_server)
    async with client:
        pass
    with pytest.raises(ClientClosedError):
        await client.get(f"{wire_server.origin}/v2/")


async def test_a_body_that_can_be_sent_once_is_authenticated_before_its_first_byte(
    wire_server: WireServer, token_server: TokenServer
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    wire_server.on("GET", "/v2/", unauthorized(challenge(token_server.realm)))
    path = f"/v2/{NAME}/blobs/uploads/1"
    wire_server.on("PATCH", path, respond(202))
    async with alice_at(wire_server, token_server) as client:
        response = await client.patch(f"{wire_server.origin}{path}", content=pieces())
        assert response.status_code == 202
    assert wire_server.targets() == ["GET /v2/", f"PATCH {path}"]
    assert (wire_server.requests[-1].header("Authorization") or "").startswith("Bearer ")
    assert wire_server.requests[-1].body == b"onetwo"


async def test_a_body_that_was_sent_once_gets_the_registrys_401(wire_server: WireServer) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"data"

    wire_server.on("GET", "/v2/", respond(200))
    wire_server.on("PUT", TAGS, REFUSAL)
    async with alice_at(wire_server) as client:
        assert (await client.put(f"{wire_server.origin}{TAGS}", content=pieces())).status_code == 401
    assert wire_server.targets("PUT") == [TAGS]


async def test_s06_a_body_is_whole_again_when_it_is_sent_again_after_a_401(
    wire_server: WireServer, token_server: TokenServer
) -> None:
    path = f"/v2/{NAME}/manifests/v1"
    wire_server.on("PUT", path, unauthorized(challenge(token_server.realm, PULL)), respond(201))
    async with alice_at(wire_server, token_server) as client:
        assert (await client.put(f"{wire_server.origin}{path}", content=b"manifest")).status_code == 201
    assert [request.body for request in wire_server.requests] == [b"manifest"] * 2


async def test_a_transport_of_the_users_own_carries_every_request(anyio_backend_name: str) -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(f"{request.method} {request.url} {request.headers.get('Authorization')}")
        if request.url.host == "auth.example.com":
            return httpx.Response(200, json={"token": "t0ken"})
        if "Authorization" in request.headers:
            return httpx.Response(200, json={"tags": ["v1"]})
        return httpx.Response(401, headers=challenge("https://auth.example.com/token", PULL))

    # A configuration that could not work: with a transport of their own TLS is the user's business.
    hosts = {"reg.example.com": HostConfig(scheme="https", ca="/nowhere/ca.pem")}
    transport = httpx.MockTransport(answer)
    async with Client(transport=transport, hosts=hosts, credentials={"reg.example.com": ALICE}) as client:
        assert await client.repository(f"reg.example.com/{NAME}").tags.list().collect() == ["v1"]
        assert (await client.get(f"https://reg.example.com{TAGS}")).status_code == 200
    assert [line.partition("?")[0] for line in seen] == [
        f"GET https://reg.example.com{TAGS}",
        "GET https://auth.example.com/token",
        f"GET https://reg.example.com{TAGS}",
        f"GET https://reg.example.com{TAGS} Bearer t0ken",
    ]
    assert seen[1].endswith(BASIC_ALICE)


async def test_mounts_carry_what_is_theirs(wire_server: WireServer) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"tags": [request.url.host]})

    wire_server.on("GET", TAGS, SOME_TAGS)
    mounts = {"https://mounted.example": httpx.MockTransport(answer)}
    async with client_for(wire_server, mounts=mounts) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        mounted = client.repository(f"https://mounted.example/{NAME}")
        assert await mounted.tags.list().collect() == ["mounted.example"]


async def test_event_hooks_see_each_request_and_may_read_answers(
    wire_server: WireServer, token_server: TokenServer
) -> None:
    seen: list[str] = []

    async def sending(request: httpx.Request) -> None:
        request.headers["X-Traced"] = "yes"
        seen.append(f"> {request.url.path}")

    async def answered(response: httpx.Response) -> None:
        await response.aread()
        seen.append(f"< {response.request.url.path} {response.status_code}")

    wire_server.on("GET", TAGS, guarded(token_server.realm, SOME_TAGS))
    hooks: dict[str, list[Callable[..., object]]] = {"request": [sending], "response": [answered]}
    async with alice_at(wire_server, token_server, event_hooks=hooks) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        await client.get(f"{wire_server.origin}{TAGS}", auth=("a", "b"))
    first = [f"> {TAGS}", f"< {TAGS} 401", "> /token", "< /token 200", f"> {TAGS}", f"< {TAGS} 200"]
    assert seen[:-2] == first
    assert {request.header("X-Traced") for request in wire_server.requests} == {"yes"}


async def test_an_event_hook_that_raises_releases_everything_and_is_heard(wire_server: WireServer) -> None:
    class VetoError(Exception):
        pass

    async def veto(response: httpx.Response) -> None:
        raise VetoError

    async def check(response: httpx.Response) -> None:
        response.raise_for_status()

    wire_server.on("GET", TAGS, error(418, "TEAPOT"))
    hooks: dict[str, list[Callable[..., object]]] = {"response": [veto]}
    async with client_for(wire_server, event_hooks=hooks, limits=None) as client:
        for _ in range(40):
            with pytest.raises(VetoError):
                await list_tags(client, wire_server)
        hooks["response"][:] = [check]
        client.event_hooks = {"response": [check]}
        for _ in range(40):
            with pytest.raises(httpx.HTTPStatusError):
                await list_tags(client, wire_server)
        with pytest.raises(httpx.HTTPStatusError):
            await client.get(f"{wire_server.origin}{TAGS}")
    assert len(wire_server.targets()) == 81


async def test_q68_no_compression_is_asked_for(wire_server: WireServer, token_server: TokenServer) -> None:
    wire_server.on("GET", TAGS, guarded(token_server.realm, SOME_TAGS))
    async with Client(
        hosts={},
        credentials={wire_server.host: ALICE},
        egress=None,
        headers={"Accept-Encoding": "gzip, br"},
        retry=QUICK,
    ) as client:
        await client.detect_scheme(wire_server.host)
        await client.get(f"{wire_server.origin}{TAGS}")
        with pytest.raises(Exception, match="trusted"):
            await list_tags(client, wire_server)
    everything = (*wire_server.requests, *token_server.wire.requests)
    assert {request.header("Accept-Encoding") for request in everything} == {"identity"}


async def test_q70_cookies_are_never_sent_back(start_wire_server: StartWireServer) -> None:
    here, there = start_wire_server(), start_wire_server()
    cookies = [("Set-Cookie", f"c{number}=v{number}; Domain=127.0.0.1; Path=/") for number in range(1000)]
    here.on("GET", "/v2/", respond(200, cookies[:100]))
    here.on("GET", TAGS, respond(200, [*cookies[:100], ("Set-Cookie", "sid=1")], json.dumps({"tags": []}).encode()))
    here.on("GET", f"/v2/{NAME}/blobs/*", respond(307, [("Location", f"{there.origin}/x"), ("Set-Cookie", "sid=2")]))
    there.on("GET", "/x", respond(200, {"Set-Cookie": "cdn=1"}, b"data"))
    async with client_for(here) as client:
        for _ in range(2):
            await client.get(f"{here.origin}/v2/")
            await client.get(f"{here.origin}/v2/", auth=("a", "b"))
            await list_tags(client, here)
            await client.repository(f"{here.host}/{NAME}").blobs.get(Digest.of(b"data"))
        assert list(client.cookies.jar) == []
    assert {request.header("Cookie") for request in (*here.requests, *there.requests)} == {None}


async def test_a11_a_cookie_and_a_compressed_answer_change_nothing(wire_server: WireServer) -> None:
    wire_server.on("GET", TAGS, respond(200, {"Set-Cookie": "a=b"}, b'{"tags": ["v1"]}'))
    async with client_for(wire_server) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        assert await list_tags(client, wire_server) == ["v1"]
    assert {(request.header("Cookie"), request.header("Accept-Encoding")) for request in wire_server.requests} == {
        (None, "identity")
    }


async def test_n01_one_client_serves_many_tasks_of_either_library(wire_server: WireServer) -> None:
    wire_server.on("GET", TAGS, SOME_TAGS)
    found: list[list[str]] = []

    async def one(client: Client) -> None:
        found.append(await list_tags(client, wire_server))

    async with client_for(wire_server) as client, anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(one, client)
    assert found == [["v1"]] * 10


async def test_a_registry_token_is_sent_as_it_is_and_never_exchanged(
    wire_server: WireServer, start_wire_server: StartWireServer
) -> None:
    tokens = start_wire_server()
    tokens.on("GET", "/token*", token_answer())
    wire_server.on("GET", TAGS, wants("Bearer given", SOME_TAGS, unauthorized(challenge(f"{tokens.origin}/token"))))
    async with client_for(wire_server, credentials={wire_server.host: RegistryToken("given")}) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    async with client_for(wire_server, credentials={wire_server.host: RegistryToken("stale")}) as client:
        with pytest.raises(UnauthorizedError):
            await list_tags(client, wire_server)
    assert authorizations(wire_server) == ["Bearer given", "Bearer stale"]
    assert tokens.requests == []
