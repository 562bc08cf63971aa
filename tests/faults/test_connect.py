"""Connections that cannot be opened, and an environment that would lead them elsewhere."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ocidist import Client, ConnectError, HostConfig, RetryPolicy, SchemeDetectionError, UsageError
from tests.http.support import NAME, QUICK, alice_at, client_for, list_tags
from tests.peers.answers import chain, close, reset, respond_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.tls import Authority
    from tests.peers.wire_server import WireServer

TAGS = respond_json(200, {"name": NAME, "tags": ["v1"]})
TARGET = f"/v2/{NAME}/tags/list*"


class Lookups:
    """Counts what a program asks the resolver, and knows no host."""

    def __init__(self) -> None:
        self.hosts: list[str] = []

    def __call__(self, host: object, *arguments: int, **named: int) -> Any:  # noqa: ANN401 -- it never returns
        """Know no host."""
        name = host.decode() if isinstance(host, bytes) else str(host)
        flags = named.get("flags", arguments[4] if len(arguments) > 4 else 0)
        # trio first looks whether the name is an address, which asks nobody.
        if not flags & socket.AI_NUMERICHOST:
            self.hosts.append(name)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> Lookups:
    """Let every name be unknown; a real resolver would have to be asked over the network."""
    found = Lookups()
    monkeypatch.setattr(socket, "getaddrinfo", found)
    return found


@pytest.mark.parametrize("config", [HostConfig(), HostConfig(scheme="https"), HostConfig(insecure=True)])
async def test_f001_a_host_that_does_not_exist_is_not_asked_for_again_and_again(
    lookups: Lookups, config: HostConfig, anyio_backend: object
) -> None:
    if anyio_backend == ("asyncio", {"use_uvloop": True}):
        pytest.skip("uvloop resolves names in libuv, where no test can count: the other loops run the same code")
    async with Client(hosts={"registry.invalid": config}, retry=QUICK) as client:
        with pytest.raises(ConnectError) as caught:
            await client.repository(f"registry.invalid/{NAME}").tags.list().collect()
    assert caught.value.host == "registry.invalid"
    assert caught.value.operation == "list tags"
    assert caught.value.reference == f"registry.invalid/{NAME}"
    assert 1 <= len(lookups.hosts) <= 3
    assert set(lookups.hosts) == {"registry.invalid"}


class Reopening:
    """A port that refuses connections until the first one was refused, and answers from then on."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def open(self) -> None:
        """Accept one connection from now on and answer one request."""
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            connection.recv(65536)
            body = b'{"name":"acme/app","tags":["v1"]}'
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            connection.sendall(head + body)

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()


@pytest.fixture
def reopening() -> Iterator[Reopening]:
    """Return a port that refuses until it is told otherwise."""
    port = Reopening()
    yield port
    port.close()


async def test_f005_a_connection_that_is_refused_once_is_tried_again(reopening: Reopening) -> None:
    def opened(_event: object) -> None:
        reopening.open()

    async with Client(hosts={reopening.host: HostConfig(scheme="http")}, retry=QUICK, hooks=[opened]) as client:
        assert await client.repository(f"{reopening.host}/{NAME}").tags.list().collect() == ["v1"]


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("scheme", ["http", None])
async def test_f006_a_connection_that_is_always_refused_is_an_error_after_the_attempts_allowed(
    reopening: Reopening,
    attempts: int,
    scheme: Any,  # noqa: ANN401 -- a literal
) -> None:
    retry = RetryPolicy(attempts=attempts, wait_initial=0.01, wait_max=0.01, jitter=0)
    retried: list[object] = []
    async with Client(hosts={reopening.host: HostConfig(scheme=scheme)}, retry=retry, hooks=[retried.append]) as client:
        with pytest.raises(ConnectError) as caught:
            await client.repository(f"{reopening.host}/{NAME}").tags.list().collect()
    assert len(retried) == attempts - 1
    assert caught.value.attempts == attempts
    assert caught.value.host == reopening.host
    assert isinstance(caught.value, SchemeDetectionError) is (scheme is None)


@pytest.mark.parametrize("scheme", ["http", None])
async def test_a_host_that_was_never_there_is_given_up_as_soon_as_the_policy_says(
    reopening: Reopening,
    scheme: Any,  # noqa: ANN401 -- a literal
) -> None:
    retry = RetryPolicy(attempts=9, refused=2, wait_initial=0.01, wait_max=0.01)
    async with Client(hosts={reopening.host: HostConfig(scheme=scheme)}, retry=retry) as client:
        with pytest.raises(ConnectError) as caught:
            await client.repository(f"{reopening.host}/{NAME}").tags.list().collect()
    assert caught.value.attempts == 2
    with pytest.raises(UsageError, match="refused must be at least 1"):
        RetryPolicy(refused=0)


@pytest.mark.parametrize("end", [close, reset], ids=["FIN", "RST"])
async def test_a_read_whose_connection_ends_before_the_answer_is_tried_again(
    wire_server: WireServer, end: Handler
) -> None:
    route = wire_server.on("GET", TARGET, chain(end), TAGS)
    async with client_for(wire_server) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert len(route.requests) == 2


PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@pytest.fixture
def proxy(start_wire_server: StartWireServer, monkeypatch: pytest.MonkeyPatch) -> WireServer:
    """Start a proxy and let the environment name it."""
    found = start_wire_server(address="127.0.0.2")
    for name in PROXIES:
        monkeypatch.setenv(name, f"http://user:s3cret@{found.host}")
    return found


@pytest.mark.parametrize("trust_env", [False, True])
async def test_t14_no_proxy_of_the_environment_stands_between_this_machine_and_itself(
    wire_server: WireServer, proxy: WireServer, trust_env: bool
) -> None:
    wire_server.on("GET", TARGET, TAGS)
    async with alice_at(wire_server, trust_env=trust_env) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert proxy.connections == []


async def test_t14_a_proxy_of_the_environment_is_used_for_other_machines(proxy: WireServer) -> None:
    route = proxy.on("GET", "*", TAGS)
    async with Client(hosts={"registry.example": HostConfig(scheme="http")}, retry=QUICK) as client:
        assert await client.repository(f"registry.example/{NAME}").tags.list().collect() == ["v1"]
    assert [request.target.partition("?")[0] for request in route.requests] == [
        f"http://registry.example/v2/{NAME}/tags/list"
    ]


async def test_t14_a_proxy_of_the_environment_sees_nothing_where_the_environment_is_not_trusted(
    proxy: WireServer, anyio_backend: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    if anyio_backend == ("asyncio", {"use_uvloop": True}):
        pytest.skip("uvloop resolves names in libuv, where no test can keep it from the network")
    monkeypatch.setattr(socket, "getaddrinfo", Lookups())
    hosts = {"registry.example": HostConfig(scheme="http")}
    async with Client(hosts=hosts, retry=QUICK, trust_env=False) as client:
        with pytest.raises(ConnectError):
            await client.repository(f"registry.example/{NAME}").tags.list().collect()
    assert proxy.connections == []


async def test_t14_neither_netrc_nor_key_logs_of_the_environment_are_followed(
    wire_server: WireServer,
    start_wire_server: StartWireServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    authority: Authority,
) -> None:
    secure = start_wire_server(tls=authority)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login alice password s3cret\n")
    netrc.chmod(0o600)
    keys = tmp_path / "keys"
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    for server in (wire_server, secure):
        server.on("GET", TARGET, TAGS)
    hosts = {wire_server.host: HostConfig(scheme="http"), secure.host: HostConfig(ca=authority.ca_path)}
    async with Client(hosts=hosts) as client:
        for server in (wire_server, secure):
            assert await list_tags(client, server) == ["v1"]
            assert server.requests[-1].header("Authorization") is None
    assert not keys.exists()
