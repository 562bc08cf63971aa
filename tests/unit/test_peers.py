"""What the other tests rely on: registries, scripted servers, tokens and sample images do what they say."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from anyio import to_thread
from blockbuster import BlockingError

from tests.peers import answers, images
from tests.peers.answers import respond
from tests.peers.clients import run
from tests.peers.peer import CATALOG_PAGE, Mode, Peer
from tests.peers.token_server import SERVICE, TokenServer, claims
from tests.peers.tools import missing
from tests.peers.wire_server import Connection, Request, WireServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import StartRegistry, StartWireServer
    from tests.peers.clients import Skopeo
    from tests.peers.tls import Authority


def _talk(server: WireServer, data: bytes, *, finish: bool = False) -> bytes:
    """Send raw bytes and return everything the server says until it closes (or one second has passed)."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=1) as client:
        client.sendall(data)
        if finish:
            client.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while piece := client.recv(65536):
                received += piece
        except TimeoutError:
            pass
        return received


def _http(peer: Peer) -> httpx.Client:
    """Return a plain HTTP client for a registry: what is known without any of our code."""
    auth = (peer.username, peer.password) if peer.mode is Mode.HTPASSWD else None
    verify = ssl.create_default_context(cafile=str(peer.ca_path)) if peer.ca_path else False
    return httpx.Client(base_url=peer.origin, auth=auth, verify=verify, trust_env=False)  # type: ignore[arg-type]  # both are text


def test_a_response_goes_out_byte_for_byte_and_the_request_is_recorded(wire_server: WireServer) -> None:
    route = wire_server.on("PUT", "/v2/x", respond(201, [("X-A", "1"), ("X-A", "2")], b"done"))
    said = _talk(
        wire_server, b"PUT /v2/x?digest=a%3Ab HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    )
    assert said == b"HTTP/1.1 201 Created\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 4\r\n\r\ndone"
    (request,) = route.requests
    assert (request.method, request.path, request.query) == ("PUT", "/v2/x", [("digest", "a:b")])
    assert request.header("host") == "h"
    assert request.body == b"abc"
    assert wire_server.targets() == ["PUT /v2/x?digest=a%3Ab"]
    assert wire_server.received.endswith(b"\r\n\r\nabc")


def test_a_chunked_request_body_is_put_together(wire_server: WireServer) -> None:
    wire_server.on("PATCH", "*", respond(202))
    _talk(
        wire_server,
        b"PATCH /u HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
        b"GET /next HTTP/1.1\r\nConnection: close\r\n\r\n",
    )
    assert [request.body for request in wire_server.requests] == [b"abcde", b""]
    assert wire_server.targets("GET") == ["/next"]


def test_routes_answer_in_turn_and_the_last_answer_stays(wire_server: WireServer) -> None:
    wire_server.on("GET", "/a", respond(500), respond(200, {}, b"ok"))
    with httpx.Client(trust_env=False) as client:
        assert [client.get(f"{wire_server.origin}/a").status_code for _ in range(3)] == [500, 200, 200]


def test_a_newer_route_wins_and_a_query_or_a_star_narrows_or_widens(wire_server: WireServer) -> None:
    wire_server.on("*", "/a*", respond(200, {}, b"star"))
    wire_server.on("GET", "/a/list?n=2", respond(200, {}, b"query"))
    with httpx.Client(trust_env=False, base_url=wire_server.origin) as client:
        assert client.get("/a/list?n=2").text == "query"
        assert client.get("/a/list?n=3").text == "star"
        assert client.post("/abc").text == "star"
        missed = client.get("/b")
    assert missed.status_code == 404
    assert missed.json()["errors"][0]["code"] == "NOT_FOUND"


def test_a_truncated_answer_ends_where_the_script_says(wire_server: WireServer) -> None:
    wire_server.on("GET", "/cut", answers.chain(respond(200, {"Content-Length": "10"}, b"12345"), answers.close))
    assert _talk(wire_server, b"GET /cut HTTP/1.1\r\n\r\n").endswith(b"Content-Length: 10\r\n\r\n12345")


def test_a_reset_is_seen_as_a_reset(wire_server: WireServer) -> None:
    wire_server.on("GET", "/reset", answers.reset)
    with pytest.raises(ConnectionResetError):
        _talk(wire_server, b"GET /reset HTTP/1.1\r\n\r\n")


def test_an_early_answer_comes_before_the_body(wire_server: WireServer) -> None:
    wire_server.on("PUT", "/early", answers.chain(answers.take(2), answers.early(413), answers.silence))
    with socket.create_connection(("127.0.0.1", wire_server.port), timeout=5) as client:
        client.sendall(b"PUT /early HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc")
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")
    assert wire_server.requests[0].body == b"ab"


def test_chunked_and_raw_answers_and_head(wire_server: WireServer) -> None:
    wire_server.on("*", "/chunks", answers.respond_chunked(200, {}, [b"ab", b"cde"]))
    wire_server.on("GET", "/raw", answers.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"))
    assert _talk(wire_server, b"GET /chunks HTTP/1.1\r\nConnection: close\r\n\r\n").endswith(
        b"\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"
    )
    assert _talk(wire_server, b"HEAD /chunks HTTP/1.1\r\nConnection: close\r\n\r\n").endswith(b"chunked\r\n\r\n")
    assert b"Content-Length: 1\r\nContent-Length: 2" in _talk(
        wire_server, b"GET /raw HTTP/1.1\r\nConnection: close\r\n\r\n"
    )


def test_an_answer_can_wait_for_the_test(wire_server: WireServer) -> None:
    go = threading.Event()
    wire_server.on("GET", "/slow", answers.after(go, respond(200, {}, b"now")))
    with socket.create_connection(("127.0.0.1", wire_server.port), timeout=5) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(1)
        go.set()
        client.settimeout(5)
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


def test_100_continue_is_said_when_the_body_is_wanted(wire_server: WireServer) -> None:
    wire_server.on("PUT", "/c", respond(201))
    said = _talk(
        wire_server,
        b"PUT /c HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
    )
    assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n")


def test_silence_ends_with_the_server() -> None:
    with (
        WireServer(answers.silence) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while not server.requests:
            time.sleep(0.001)
        server.stop()
        assert client.recv(10) == b""


def test_a_handler_that_fails_fails_the_test() -> None:
    def broken(_request: Request, _connection: Connection) -> None:
        message = "wrong script"
        raise ValueError(message)

    server = WireServer(broken)
    with pytest.raises(ExceptionGroup) as caught, server:
        assert _talk(server, b"GET / HTTP/1.1\r\n\r\n") == b""
    assert caught.group_contains(ValueError, match="wrong script")


def test_servers_can_be_different_hosts(start_wire_server: StartWireServer) -> None:
    first, second = start_wire_server(), start_wire_server(address="127.0.0.2")
    third = start_wire_server(name="localhost")
    assert first.host.startswith("127.0.0.1:")
    assert second.host.startswith("127.0.0.2:")
    assert third.origin.startswith("http://localhost:")
    for server in (first, second, third):
        server.on("GET", "/", respond(200))
    with httpx.Client(trust_env=False) as client:
        assert [client.get(f"{server.origin}/").status_code for server in (first, second, third)] == [200, 200, 200]


async def test_a_wire_server_speaks_tls_to_those_who_know_its_authority(
    start_wire_server: StartWireServer, authority: Authority
) -> None:
    server = start_wire_server(tls=authority)
    server.on("GET", "/", respond(200, {}, b"secret"))
    async with httpx.AsyncClient(verify=authority.client_context(), trust_env=False) as client:
        assert (await client.get(f"{server.origin}/")).text == "secret"
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{server.origin}/")
    server.stop()
    assert len(server.tls_failures) == 1


def test_the_token_server_grants_what_a_user_may_do(token_server: TokenServer) -> None:
    query = {"service": SERVICE, "scope": ["repository:a/b:pull,push", "repository:public/x:pull,push"]}
    with httpx.Client(trust_env=False) as client:
        granted = client.get(token_server.realm, params=query, auth=("alice", "s3cret")).json()
        less = client.get(token_server.realm, params=query, auth=("bob", "b0b")).json()
        least = client.get(token_server.realm, params=query).json()
        refused = client.get(token_server.realm, params=query, auth=("alice", "wrong"))
    assert claims(granted["token"])["access"] == [
        {"type": "repository", "name": "a/b", "actions": ["pull", "push"]},
        {"type": "repository", "name": "public/x", "actions": ["pull", "push"]},
    ]
    public = [{"type": "repository", "name": "public/x", "actions": ["pull"]}]
    assert claims(less["token"])["access"] == claims(least["token"])["access"] == public
    assert claims(granted["token"])["aud"] == SERVICE
    assert refused.status_code == 401
    assert [call.basic for call in token_server.calls] == [
        ("alice", "s3cret"),
        ("bob", "b0b"),
        None,
        ("alice", "wrong"),
    ]
    assert token_server.calls[0].scopes == ["repository:a/b:pull,push", "repository:public/x:pull,push"]
    assert [call.status for call in token_server.calls] == [200, 200, 200, 401]


def test_the_token_server_speaks_oauth2_unless_it_is_told_not_to(token_server: TokenServer) -> None:
    form = {
        "grant_type": "password",
        "service": SERVICE,
        "client_id": "tests",
        "username": "alice",
        "password": "s3cret",
    }
    with httpx.Client(trust_env=False) as client:
        first = client.post(token_server.realm, data=form | {"access_type": "offline"}).json()
        again = {
            "grant_type": "refresh_token",
            "service": SERVICE,
            "client_id": "tests",
            "scope": "repository:a:pull repository:b:push",
        }
        second = client.post(token_server.realm, data=again | {"refresh_token": first["refresh_token"]}).json()
        refused = client.post(token_server.realm, data=again | {"refresh_token": "made up"})
        token_server.oauth2 = 405
        older = client.post(token_server.realm, data=form)
    assert [entry["name"] for entry in claims(second["access_token"])["access"]] == ["a", "b"]
    assert "token" not in second
    assert (refused.status_code, older.status_code) == (401, 405)


def test_token_answers_can_be_held_and_changed(token_server: TokenServer) -> None:
    token_server.overrides = {"token": "", "access_token": "opaque", "expires_in": None}
    statuses: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: statuses.append(httpx.get(token_server.realm, trust_env=False)))
    with token_server.held():
        asking.start()
        while not token_server.wire.requests:
            time.sleep(0.001)
        assert not statuses
    asking.join(10)
    assert statuses[0].json()["access_token"] == "opaque"
    assert "expires_in" not in statuses[0].json()


def test_every_registry_answers_as_its_mode_says(any_registry: Peer) -> None:
    with _http(any_registry) as client:
        answer = client.get("/v2/")
        assert answer.status_code == (401 if any_registry.mode is Mode.TOKEN else 200)
        if any_registry.mode is Mode.HTPASSWD:
            assert client.get("/v2/", auth=("alice", "wrong")).status_code == 401
        if any_registry.mode is Mode.TOKEN:
            assert any_registry.token_server is not None
            assert (
                f'realm="{any_registry.token_server.realm}",service="{SERVICE}"' in answer.headers["WWW-Authenticate"]
            )
            bearer = {"Authorization": f"Bearer {any_registry.token_server.token('alice')}"}
            assert client.get("/v2/", headers=bearer).status_code == 200
        if any_registry.mode is Mode.CATALOG:
            assert client.get("/v2/_catalog", params={"n": CATALOG_PAGE + 1}).status_code == 400
        if any_registry.mode is Mode.NODELETE:
            assert client.delete(f"/v2/x/manifests/{images.sha256(b'')}").status_code == 405


async def test_skopeo_gets_back_what_it_pushed_from_every_registry(
    any_registry: Peer, skopeo: Callable[[Peer], Skopeo], fresh_name: str, tmp_path: Path
) -> None:
    index = images.index()
    images.write_layout(index, tmp_path / "layout", "v1")
    client = skopeo(any_registry)
    await client.push(tmp_path / "layout", "v1", f"{fresh_name}:v1")
    pulled = await client.pull(f"{fresh_name}:v1", tmp_path / "pulled")
    assert pulled == index
    assert await client.manifest(f"{fresh_name}@{index.digest}") == index.manifest.data


def test_an_empty_registry_is_empty_and_alone(empty_registry: StartRegistry) -> None:
    first, second = empty_registry(Mode.PLAIN), empty_registry(Mode.PLAIN)
    assert first.host != second.host
    with _http(first) as client:
        assert client.get("/v2/_catalog").json() == {"repositories": []}


async def test_a_layout_made_by_umoci_has_no_media_types_in_its_manifests(real_layout: Path) -> None:
    found = await to_thread.run_sync(images.read_layout, real_layout, "v1")
    manifest = json.loads(found.manifest.data)
    assert "mediaType" not in manifest
    assert [images.sha256(blob.data) for blob in found.blobs] == [
        manifest["config"]["digest"],
        *(entry["digest"] for entry in manifest["layers"]),
    ]
    assert len(found.blobs) == 3


def test_sample_images_are_the_same_each_time_and_consistent(tmp_path: Path) -> None:
    index = images.index()
    assert index == images.index()
    assert index.digest != images.index(docker=True).digest
    assert len(index.all_blobs) == 5  # two configs, two own layers, one shared layer
    assert list(index.walk())[-1] is index
    images.write_layout(index, tmp_path / "layout", "v1")
    assert images.read_layout(tmp_path / "layout", "v1") == index
    note = images.artifact(index)
    assert json.loads(note.manifest.data)["subject"]["digest"] == index.digest
    assert "mediaType" not in json.loads(images.image(fields={"mediaType": None}).manifest.data)


def test_noise_does_not_change() -> None:
    assert len(images.noise(1000)) == 1000
    assert images.noise(1000) == images.noise(2000)[:1000] != images.noise(1000, "other")


def test_a_failing_program_says_why() -> None:
    with pytest.raises(RuntimeError, match="exit status 1"):
        run("false")


def test_a_missing_peer_skips_and_in_ci_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="to run this test: apt-get install it"):
        missing("it", "apt-get install it")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="it is not installed"):
        missing("it", "apt-get install it")


async def test_all_three_event_loops_are_used(
    anyio_backend_name: str, anyio_backend_options: dict[str, object]
) -> None:
    if anyio_backend_options.get("use_uvloop"):
        import asyncio

        import uvloop

        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
    assert anyio_backend_name in {"asyncio", "trio"}


async def test_a_blocking_call_inside_the_package_is_an_error(anyio_backend_name: str) -> None:
    source = "import time\ndef block():\n    time.sleep(0.001)\n"
    import ocidist

    scope: dict[str, Callable[[], None]] = {}
    exec(compile(source, f"{ocidist.__path__[0]}/made_up.py", "exec"), scope)  # noqa: S102 -- code "of" the package
    if anyio_backend_name == "asyncio":
        with pytest.raises(BlockingError):
            scope["block"]()
    else:
        scope["block"]()
