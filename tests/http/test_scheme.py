"""Which scheme a host speaks: https first, plain http only on this machine or where it is configured."""

from __future__ import annotations

import socket
import threading
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import (
    Client,
    ClientClosedError,
    ConnectError,
    Digest,
    HostConfig,
    InvalidReferenceError,
    RegistryName,
    RequestRetried,
    SchemeDetectionError,
    TlsError,
    TransportError,
    TransportTimeoutError,
)
from ocidist.http import scheme
from tests.http.support import (
    ALICE,
    NAME,
    ONCE,
    QUICK,
    SOME_TAGS,
    TAGS,
    challenge,
    in_parallel,
    list_tags,
    outcomes,
    unauthorized,
    until,
    wants,
)
from tests.peers import answers
from tests.peers.answers import error, respond

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocidist import Event
    from tests.conftest import StartWireServer
    from tests.http.conftest import Names
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, Request, WireServer


@pytest.fixture
def plain() -> Iterator[tuple[str, list[bytes]]]:
    """A server that speaks http only and hangs up on everything else; what it received, connection by connection."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    data = connection.recv(65536)
                    received.append(data)
                    if data.startswith(b"GET "):
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", received
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _is_plain(data: bytes) -> bool:
    return b"HTTP/1.1" in data


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let https take as long as it does on a busy machine, before plain http is tried beside it."""
    monkeypatch.setattr(scheme, "STAGGER", 30)


A_BUSY_MACHINE = pytest.mark.usefixtures("patient")


@A_BUSY_MACHINE
async def test_q02_https_is_found(start_wire_server: StartWireServer, authority: Authority) -> None:
    server = start_wire_server(tls=authority)
    server.on("GET", "/v2/", respond(200))
    async with Client(hosts={server.host: HostConfig(ca=authority.ca_path)}) as client:
        assert await client.detect_scheme(server.host) == "https"
        assert await client.detect_scheme(server.host) == "https"
    assert server.targets() == ["GET /v2/"]
    assert server.tls_failures == []


@pytest.mark.parametrize("status", [200, 401, 404, 403, 302, 500])
@pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])
async def test_q04_any_answer_tells_the_scheme(
    start_wire_server: StartWireServer, authority: Authority, status: int, *, tls: bool
) -> None:
    server = start_wire_server(tls=authority) if tls else start_wire_server()
    server.on("GET", "/v2/", respond(status))
    server.on("GET", TAGS, SOME_TAGS)
    async with Client(hosts={server.host: HostConfig(ca=authority.ca_path)}) as client:
        # What the ping says about itself stops nobody.
        assert await list_tags(client, server) == ["v1"]
        assert await client.detect_scheme(server.host) == ("https" if tls else "http")


@A_BUSY_MACHINE
async def test_q02_plain_http_is_found_at_once_where_https_is_refused(plain: tuple[str, list[bytes]]) -> None:
    host, received = plain
    async with Client() as client:
        assert await client.detect_scheme(host) == "http"
    assert [_is_plain(data) for data in received] == [False, True]


async def test_q02_plain_http_is_found_where_https_hangs(
    wire_server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheme, "STAGGER", 0.01)

    def answer(request: Request, connection: Connection) -> None:
        while len(wire_server.connections) < 2:
            threading.Event().wait(0.005)
        respond(200)(request, connection)

    # It waits for the end of a head that never comes, which is what TLS gets from some http servers.
    wire_server.on("GET", "/v2/", answer)
    async with Client(timeout=None) as client:
        assert await client.detect_scheme(wire_server.host) == "http"
    assert sorted(_is_plain(bytes(connection.received)) for connection in wire_server.connections) == [False, True]


@pytest.mark.parametrize("name", ["127.0.0.1", "127.0.0.2", "127.1.2.3", "localhost", "registry.localhost"])
async def test_q02_all_of_loopback_may_speak_plain_http(
    start_wire_server: StartWireServer, names: Names, name: str
) -> None:
    address = name if name[0].isdigit() else "127.0.0.1"
    names({name: address})
    server = start_wire_server(address=address, name=name)
    server.on("GET", "/v2/", respond(200))
    async with Client() as client:
        assert await client.detect_scheme(server.host) == "http"


async def test_s15_a_named_host_is_never_asked_over_plain_http(
    start_wire_server: StartWireServer, names: Names
) -> None:
    names({"registry.example": "127.0.0.1"})
    server = start_wire_server(name="registry.example")
    server.on("GET", "/v2/", respond(200))
    async with Client(timeout=0.3, retry=ONCE, credentials={server.host: ALICE}) as client:
        with pytest.raises(TransportTimeoutError) as caught:
            await client.detect_scheme(server.host)
        assert (caught.value.operation, caught.value.host) == ("detect the scheme", server.host)
        with pytest.raises(TransportError):
            await list_tags(client, server)
    assert server.requests == []
    assert not _is_plain(server.received)


async def test_s15_a_host_marked_insecure_is(start_wire_server: StartWireServer, names: Names) -> None:
    names({"registry.example": "127.0.0.1"})
    server = start_wire_server(name="registry.example")
    server.on("GET", "/v2/", respond(200))
    async with Client(hosts={server.host: HostConfig(insecure=True)}) as client:
        assert await client.detect_scheme(server.host) == "http"


@A_BUSY_MACHINE
@pytest.mark.parametrize("insecure", [False, True])
async def test_s15_a_certificate_that_is_refused_never_leads_to_plain_http(
    start_wire_server: StartWireServer, authority: Authority, *, insecure: bool
) -> None:
    server = start_wire_server(tls=authority)
    async with Client(hosts={server.host: HostConfig(insecure=insecure)}, credentials={server.host: ALICE}) as client:
        with pytest.raises(TlsError, match=r"(?i)certificate") as caught:
            await client.detect_scheme(server.host)
        assert caught.value.host == server.host
        with pytest.raises(TlsError):
            await list_tags(client, server)
    # One attempt each: trying again does not make a certificate better.
    await until(lambda: len(server.tls_failures) == 2)
    assert server.requests == []


async def test_a_server_that_wants_tls_and_says_so_is_no_plain_registry(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v2/", respond(400, {}, b"Client sent an HTTP request to an HTTPS server."))
    async with Client(timeout=0.5, retry=ONCE) as client:
        with pytest.raises(SchemeDetectionError, match="the port wants TLS"):
            await client.detect_scheme(wire_server.host)


@A_BUSY_MACHINE
async def test_a_certificate_file_that_is_missing_is_no_reason_for_plain_http(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v2/", respond(200))
    async with Client(hosts={wire_server.host: HostConfig(ca="/nowhere/ca.pem")}) as client:
        with pytest.raises(TlsError, match=r"/nowhere/ca\.pem"):
            await client.detect_scheme(wire_server.host)
    assert wire_server.connections == []


async def test_a_dead_port_is_told_with_what_was_tried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
    events: list[Event] = []
    async with Client(retry=QUICK, hooks=[events.append]) as client:
        with pytest.raises(SchemeDetectionError) as caught:
            await client.registry(host).ping()
    assert [cause.partition(":")[0] for cause in caught.value.causes] == ["https", "http"]
    assert (caught.value.attempts, caught.value.host) == (3, host)
    assert [event.attempt for event in events if isinstance(event, RequestRetried)] == [1, 2]
    assert isinstance(caught.value, ConnectError)


async def test_fifty_tasks_on_a_dead_host_wait_for_one_attempt_together(wire_server: WireServer) -> None:
    # Neither scheme is answered.
    wire_server.on("GET", "/v2/", answers.silence)
    async with Client(retry=ONCE, timeout=0.5) as client:
        found = await outcomes(50, partial(list_tags, client, wire_server))
    assert {type(failure) for failure in found} == {SchemeDetectionError}
    assert len(wire_server.connections) == 2


async def test_fifty_tasks_detect_once(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v2/", respond(200))
    wire_server.on("GET", TAGS, SOME_TAGS)
    async with Client() as client:
        await in_parallel(50, partial(list_tags, client, wire_server))
    assert wire_server.targets().count("GET /v2/") == 1


async def test_cancelling_the_one_who_detects_fails_nobody(
    wire_server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheme, "STAGGER", 0.05)
    wire_server.on("GET", "/v2/", respond(200))
    found: list[str] = []
    first = anyio.CancelScope()
    async with Client() as client, anyio.create_task_group() as group:

        async def leader() -> None:
            with first:
                await client.detect_scheme(wire_server.host)

        async def follower() -> None:
            found.append(await client.detect_scheme(wire_server.host))

        group.start_soon(leader)
        await anyio.sleep(0.01)
        for _ in range(10):
            group.start_soon(follower)
        await anyio.sleep(0.01)
        first.cancel()
    assert found == ["http"] * 10


async def test_nothing_secret_is_sent_while_the_scheme_is_unknown(
    wire_server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheme, "STAGGER", 0.01)
    ok = wants("Basic YWxpY2U6czNjcmV0", SOME_TAGS, error(401, "UNAUTHORIZED"))
    wire_server.on("GET", "/v2/", unauthorized({"WWW-Authenticate": "Basic realm=x"}))
    wire_server.on("GET", TAGS, ok)
    async with Client(credentials={wire_server.host: ALICE}) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    # The challenge came with the detection: the first request brings what was asked for.
    assert [request.header("Authorization") for request in wire_server.requests] == [None, "Basic YWxpY2U6czNjcmV0"]


async def test_q10_the_scope_in_the_challenge_of_v2_is_never_asked_for(
    wire_server: WireServer, start_wire_server: StartWireServer
) -> None:
    tokens = start_wire_server()
    tokens.on("GET", "/token*", respond(200, {}, b'{"token": "t0ken"}'))
    placeholder = challenge(f"{tokens.origin}/token", "repository:user/image:pull")
    wire_server.on("GET", "/v2/", wants("Bearer t0ken", respond(200), unauthorized(placeholder)))
    wire_server.on("GET", TAGS, wants("Bearer t0ken", SOME_TAGS, respond(401)))
    async with Client() as client:
        assert await list_tags(client, wire_server) == ["v1"]
        await client.registry(wire_server.host).ping()
    scopes = [value for request in tokens.requests for name, value in request.query if name == "scope"]
    assert scopes == [f"repository:{NAME}:pull"]


async def test_a_scheme_that_is_known_is_not_asked_for(wire_server: WireServer) -> None:
    wire_server.on("GET", TAGS, SOME_TAGS)
    async with Client() as client:
        assert await client.detect_scheme(f"http://{wire_server.host}") == "http"
        assert await client.detect_scheme(RegistryName.parse("https://registry.example")) == "https"
        repository = client.repository(f"http://{wire_server.host}/{NAME}")
        assert await repository.tags.list().collect() == ["v1"]
        with pytest.raises(InvalidReferenceError):
            await client.detect_scheme("no such name")
    assert wire_server.targets("GET") == [f"{TAGS}?n=1000"]


async def test_a_closed_client_detects_nothing_and_says_why(wire_server: WireServer) -> None:
    client = Client()
    await client.aclose()
    with pytest.raises(ClientClosedError):
        await client.detect_scheme(wire_server.host)
    with pytest.raises(ClientClosedError):
        await client.repository(f"{wire_server.host}/{NAME}").blobs.exists(Digest.of(b""))
    assert wire_server.connections == []
