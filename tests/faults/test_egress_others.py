"""Plain text that nobody asked for, helpers that fail, and cookies: what else must not take a secret anywhere."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import struct
import threading
from typing import TYPE_CHECKING, Self

import pytest

from ocidist import Basic, Client, EgressPolicy, HostConfig, OciError, TransportError
from ocidist.credentials.files import FileCredentials
from ocidist.errors import CredentialsRejectedError, CredentialStoreError
from ocidist.http import scheme
from ocidist.http.timeouts import Timeouts
from tests.faults.egress import (
    COOKIE,
    DIGEST,
    HOME,
    PATHS,
    TEAM,
    Honest,
    alice,
    assert_nothing_secret,
    public_network,
    with_token,
)
from tests.http.support import NAME, ONCE, SOME_TAGS, TAGS, client_for, list_tags
from tests.peers.answers import respond

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from tests.conftest import StartWireServer
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, Request, WireServer

# What is decided does not depend on the event loop, and each row has tests on all of them.
pytestmark = pytest.mark.in_turn

SECRET = Basic("alice", "s3cret")


class Listener:
    """A port that reads what is sent first, does one thing about it, and keeps every byte.

    Args:
        act: What it does with a connection.
    """

    def __init__(self, act: Callable[[socket.socket], None]) -> None:
        self._act = act
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.received = bytearray()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock, contextlib.suppress(OSError):
                sock.settimeout(2)
                self.received += sock.recv(65536)
                self._act(sock)
                while piece := sock.recv(65536):
                    self.received += piece


def _alert(sock: socket.socket) -> None:
    # A fatal handshake_failure.
    sock.sendall(b"\x15\x03\x03\x00\x02\x02\x28")


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def _nothing(_sock: socket.socket) -> None:
    pass


def _http(sock: socket.socket) -> None:
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    sock.shutdown(socket.SHUT_WR)


def _end(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


FAILURES: dict[str, Callable[[socket.socket], None]] = {
    "alert": _alert,
    "reset": _reset,
    "black hole": _nothing,
    "http": _http,
    "end": _end,
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("path", ["ping", "tags", "push manifest", "raw"])
async def test_t10_a_named_host_is_never_spoken_to_in_plain_text(
    monkeypatch: pytest.MonkeyPatch, failure: str, path: str
) -> None:
    public_network(monkeypatch)
    with Listener(FAILURES[failure]) as listener:
        host = f"registry.example:{listener.port}"
        # Long enough for a busy machine to say hello, where there is an end to wait for.
        seconds = 1 if failure == "black hole" else 10
        quick = Timeouts(connect=seconds, read=seconds)
        async with Client(credentials={host: SECRET}, retry=ONCE, timeout=quick) as client:
            with pytest.raises(OciError):
                await PATHS[path].run(client, host)
    assert listener.received[:2] == b"\x16\x03"
    for plain in (b"HTTP/1.", b"GET ", b"/v2/", b"s3cret"):
        assert plain not in listener.received


@pytest.mark.parametrize("host", ["registry.example", "localhost"])
async def test_t10_a_certificate_that_is_refused_ends_the_matter_even_on_loopback(
    start_wire_server: StartWireServer, monkeypatch: pytest.MonkeyPatch, authority: Authority, host: str
) -> None:
    network = public_network(monkeypatch)
    network.name("localhost", ["127.0.0.1"])
    # On a busy machine a handshake takes longer than plain http is put off.
    monkeypatch.setattr(scheme, "STAGGER", 30)
    server = start_wire_server(name=host, tls=authority)
    for insecure in (False, True):
        hosts = {server.host: HostConfig(insecure=insecure)}
        async with Client(credentials={server.host: SECRET}, hosts=hosts, retry=ONCE) as client:
            with pytest.raises(TransportError):
                await PATHS["tags"].run(client, server.host)
    assert server.requests == []
    assert server.received == b""
    # What OpenSSL says when it is spoken to in plain text.
    assert "HTTP_REQUEST" not in "".join(map(str, server.tls_failures))


async def test_t10_a_registry_that_is_gone_over_tls_is_not_found_again_in_plain_text(
    start_wire_server: StartWireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = public_network(monkeypatch)
    plain = start_wire_server(name="registry.example")
    plain.on("GET", "*", SOME_TAGS)
    async with Client(credentials={plain.host: SECRET}, retry=ONCE) as client:
        for _ in range(3):
            with pytest.raises(OciError):
                await list_tags(client, plain)
    assert plain.requests == []
    assert set(network.dialled) == {HOME}


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("challenge", ['Basic realm="here"', 'Bearer realm="/token",service="here"'])
async def test_t10_credentials_go_in_plain_text_only_where_somebody_said_so(
    start_wire_server: StartWireServer, monkeypatch: pytest.MonkeyPatch, challenge: str, allowed: bool
) -> None:
    public_network(monkeypatch)
    server = start_wire_server(name="registry.example")

    def ask(request: Request, connection: Connection) -> None:
        if request.path.startswith("/token") and request.header("Authorization"):
            respond(200, {}, json.dumps({"token": "of-alice-0123456789"}).encode())(request, connection)
        elif request.path.startswith("/token"):
            respond(401)(request, connection)
        elif request.header("Authorization"):
            SOME_TAGS(request, connection)
        else:
            respond(401, {"WWW-Authenticate": challenge})(request, connection)

    server.on("GET", "*", ask)
    hosts = {server.host: HostConfig(insecure=True, headers={"X-Key": TEAM})}
    policy = EgressPolicy(allow_plaintext_credentials=allowed)
    async with Client(credentials={server.host: SECRET}, hosts=hosts, egress=policy, retry=ONCE) as client:
        if allowed:
            assert await list_tags(client, server) == ["v1"]
            assert TEAM.encode() in server.received
            return
        with pytest.raises(CredentialsRejectedError, match="allow_plaintext_credentials"):
            await list_tags(client, server)
    for request in server.requests:
        assert request.header("Authorization") is None
    assert_nothing_secret(server)
    # Where the scheme is given, they are sent.
    hosts = {server.host: HostConfig(scheme="http", headers={"X-Key": TEAM})}
    async with Client(credentials={server.host: SECRET}, hosts=hosts, retry=ONCE) as client:
        assert await list_tags(client, server) == ["v1"]
    assert TEAM.encode() in server.received


async def test_t10_a_login_that_was_not_sent_is_none(
    start_wire_server: StartWireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    public_network(monkeypatch)
    server = start_wire_server(name="registry.example")
    server.on("GET", "/token*", respond(200, {}, json.dumps({"token": "of-nobody-0123456789"}).encode()))
    asks = respond(401, {"WWW-Authenticate": 'Bearer realm="/token",service="here"'})
    server.on("GET", "/v2/", lambda request, to: (SOME_TAGS if request.header("Authorization") else asks)(request, to))
    async with Client(hosts={server.host: HostConfig(insecure=True)}, retry=ONCE) as client:
        with pytest.raises(CredentialsRejectedError, match="allow_plaintext_credentials"):
            await client.registry(server.host).login(SECRET)
    assert {request.header("Authorization") for request in server.requests} == {None, "Bearer of-nobody-0123456789"}


# --- T12 -------------------------------------------------------------------------------------------------------------


def put(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file."""
    path.write_text(text)
    path.chmod(mode)


BROKEN = {
    "missing": None,
    "not executable": "#!/bin/sh\necho no\n",
    "fails": "#!/bin/sh\necho something is wrong >&2\nexit 3\n",
    "no JSON": "#!/bin/sh\necho '<html>'\n",
    "floods": "#!/bin/sh\nyes | head -c 200000\n",
}


@pytest.mark.parametrize("helper", BROKEN)
@pytest.mark.parametrize("path", ["tags", "pull blob", "push manifest", "upload", "mount", "catalog"])
async def test_t12_a_helper_that_fails_sends_nobody_elses_credentials(
    wire_server: WireServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, helper: str, path: str
) -> None:
    registry = Honest(wire_server)
    wire_server.on("*", "/v2/*", respond(401, {"WWW-Authenticate": 'Basic realm="r"'}))
    pair = base64.b64encode(b"alice:s3cret").decode()
    others = {"https://index.docker.io/v1/": {"auth": pair}, "ghcr.io": {"auth": pair}, "127.0.0.1": {"auth": pair}}
    put(tmp_path / "config.json", json.dumps({"auths": others, "credHelpers": {wire_server.host: "broken"}}))
    script = BROKEN[helper]
    if script is not None:
        put(tmp_path / "docker-credential-broken", script, 0o600 if helper == "not executable" else 0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    provider = FileCredentials(tmp_path / "config.json")
    async with client_for(wire_server, credentials=provider) as client:
        with pytest.raises(CredentialStoreError):
            await PATHS[path].run(client, wire_server.host)
    assert_nothing_secret(wire_server)
    assert registry.requests == []
    assert wire_server.requests == []


async def test_t12_a_helper_that_has_nothing_means_nobody(
    wire_server: WireServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "#!/bin/sh\necho credentials not found in native keychain\nexit 1\n"
    put(tmp_path / "docker-credential-empty", script, 0o700)
    pair = base64.b64encode(b"alice:s3cret").decode()
    others = {"https://index.docker.io/v1/": {"auth": pair}}
    put(tmp_path / "config.json", json.dumps({"auths": others, "credHelpers": {wire_server.host: "empty"}}))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    wire_server.on("GET", TAGS, SOME_TAGS)
    async with client_for(wire_server, credentials=FileCredentials(tmp_path / "config.json")) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert_nothing_secret(wire_server)


# --- T13 -------------------------------------------------------------------------------------------------------------


def baking(then: Callable[[Request, Connection], None], domains: list[str]) -> Callable[[Request, Connection], None]:
    """Set a thousand cookies with every answer, for every domain there is."""
    fields = [
        ("Set-Cookie", f"c{number}={COOKIE}; Path=/; Max-Age=9999{domains[number % len(domains)]}")
        for number in range(1000)
    ]

    def answer(request: Request, connection: Connection) -> None:
        redirects = [("Location", "/jar")] if request.path == "/v2/" else []
        if redirects:
            respond(307, [*fields[:400], *redirects])(request, connection)
        elif request.path == "/jar":
            respond(200, fields[:400])(request, connection)
        else:
            then(request, connection)

    return answer


async def test_t13_no_cookie_is_ever_sent_back_or_elsewhere(
    start_wire_server: StartWireServer, wire_server: WireServer
) -> None:
    cdn = start_wire_server(name="localhost")
    cdn.on("*", "*", respond(200, {"Set-Cookie": f"cdn={COOKIE}; Domain=localhost"}, b"a small blob"))
    registry = Honest(wire_server)
    domains = ["", "; Domain=127.0.0.1", "; Domain=localhost", "; Domain=.localhost", "; Domain=local", "; Domain=com"]
    wire_server.on("*", "/*", baking(registry, domains))
    registry.replace("GET", respond(307, {"Location": f"{cdn.origin}/blob", "Set-Cookie": f"a={COOKIE}"}))
    async with alice(wire_server) as client:
        repository = client.repository(f"{wire_server.host}/{NAME}")
        for _ in range(5):
            await client.registry(wire_server.host).ping()
            await repository.blobs.get(DIGEST)
            await client.get(f"{wire_server.origin}/v2/", follow_redirects=True)
        assert len(client.cookies.jar) == 0
    assert_nothing_secret(cdn)
    assert b"cookie" not in wire_server.received.lower()


@pytest.mark.parametrize("path", PATHS)
async def test_t13_no_path_sends_a_cookie_back(wire_server: WireServer, path: str) -> None:
    registry = Honest(wire_server)
    wire_server.on(
        "*", "/token*", respond(200, {"Set-Cookie": f"t={COOKIE}"}, b'{"token":"canary-bearer-1f0d-of-the-registry"}')
    )
    wire_server.on("*", "/v2/*", with_token(registry, f"{wire_server.origin}/token"))
    async with alice(wire_server) as client:
        await PATHS[path].repeat(2, client, wire_server.host)
    assert COOKIE.encode() not in wire_server.received
    assert b"cookie" not in wire_server.received.lower()
