"""TLS: whom to trust, which versions, sessions, client certificates, and handshakes that fail."""

from __future__ import annotations

import hashlib
import ssl
import warnings
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import anyio.lowlevel
import httpx
import pytest

from tests.peers.answers import early, respond
from tests.peers.images import noise
from tests.transport.certificates import OddAuthority, StrictAuthority
from tests.transport.support import (
    MIB,
    Counts,
    Source,
    Transports,
    ask,
    counts,
    finish,
    request_for,
    streamed,
    until,
    until_gone,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import StartWireServer
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, Request
    from tests.transport.conftest import StartRawServer
    from tests.transport.support import Resolver

HELLO = respond(200, (), b"hello")
LARGE = noise(5 * MIB)


def _only(version: ssl.TLSVersion) -> Callable[[ssl.SSLContext], None]:
    def alter(context: ssl.SSLContext) -> None:
        context.minimum_version = context.maximum_version = version

    return alter


VERSIONS = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}
either = pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found


@either
async def test_a_server_that_is_trusted_is_talked_to(
    start_wire_server: StartWireServer, transports: Transports, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    authority = OddAuthority(tmp_path, _only(version))
    server = start_wire_server(HELLO, tls=authority)
    async with transports.open(tls=authority.client_context()) as transport:
        for _ in range(3):
            assert (await ask(transport, server.origin)).body == b"hello"
        assert counts(transport) == Counts(1, 1)
        secured = server.connections[0].sock
        assert isinstance(secured, ssl.SSLSocket)
        assert secured.version() == {1.2: "TLSv1.2", 1.3: "TLSv1.3"}[1.2 if version is ssl.TLSVersion.TLSv1_2 else 1.3]
    assert len(server.connections) == 1


@either
async def test_5_mib_arrive_unchanged_in_both_directions(
    start_wire_server: StartWireServer, transports: Transports, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    authority = OddAuthority(tmp_path, _only(version))
    server = start_wire_server(
        lambda request, connection: respond(200, (), request.read())(request, connection), tls=authority
    )
    wanted = hashlib.sha256(LARGE).digest()
    pieces = [LARGE[at : at + 70_000] for at in range(0, len(LARGE), 70_000)]
    async with transports.open(tls=authority.client_context()) as transport:
        for request in (
            request_for(server.origin, "PUT", content=LARGE),
            streamed(server.origin, Source(pieces)),
        ):
            answer = await finish(await transport.handle_async_request(request))
            assert hashlib.sha256(answer.body).digest() == wanted
    assert len(server.connections) == 1


async def test_t76_an_early_refusal_is_the_answer_over_tls_too(
    start_wire_server: StartWireServer, transports: Transports, authority: Authority
) -> None:
    def refuse(request: Request, connection: Connection) -> None:
        early(413, {"Connection": "close"}, b"no")(request, connection)
        request.read()

    server = start_wire_server(refuse, tls=authority)
    async with transports.open(tls=authority.client_context()) as transport:
        request = streamed(server.origin, Source([LARGE] * 4), length=4 * len(LARGE))
        answer = await finish(await transport.handle_async_request(request))
        assert (answer.status, answer.body) == (413, b"no")
        await until_gone(server)


@either
async def test_a_second_connection_goes_on_with_the_session_of_the_first(
    start_wire_server: StartWireServer, transports: Transports, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    authority = OddAuthority(tmp_path, _only(version))
    reused: list[bool | None] = []

    def answer(request: Request, connection: Connection) -> None:
        if len(reused) == connection.number:
            secured = connection.sock
            assert isinstance(secured, ssl.SSLSocket)
            reused.append(secured.session_reused)
        respond(200, (), LARGE)(request, connection)

    server = start_wire_server(answer, tls=authority)
    async with transports.open(tls=authority.client_context()) as transport:
        await ask(transport, server.origin)
        held = [await transport.handle_async_request(request_for(server.origin)) for _ in range(3)]
        for response in held:
            await finish(response)
    assert reused == [False, True, True]


async def test_the_session_is_kept_of_a_connection_that_the_server_ends_after_each_answer(
    start_wire_server: StartWireServer, transports: Transports, authority: Authority
) -> None:
    reused: list[bool | None] = []

    def answer(request: Request, connection: Connection) -> None:
        secured = connection.sock
        assert isinstance(secured, ssl.SSLSocket)
        reused.append(secured.session_reused)
        respond(200, {"Connection": "close"}, b"hello")(request, connection)

    server = start_wire_server(answer, tls=authority)
    async with transports.open(tls=authority.client_context()) as transport:
        for _ in range(3):
            assert (await ask(transport, server.origin)).body == b"hello"
    assert reused == [False, True, True]


async def test_a_session_is_of_one_origin_only(
    start_wire_server: StartWireServer, transports: Transports, authority: Authority
) -> None:
    reused: list[bool | None] = []

    def answer(request: Request, connection: Connection) -> None:
        secured = connection.sock
        assert isinstance(secured, ssl.SSLSocket)
        reused.append(secured.session_reused)
        HELLO(request, connection)

    one, two = (start_wire_server(answer, tls=authority) for _ in range(2))
    async with transports.open(tls=authority.client_context()) as transport:
        for server in (one, two):
            await ask(transport, server.origin)
    assert reused == [False, False]


async def test_the_server_is_told_the_name_that_is_wanted(
    start_wire_server: StartWireServer, transports: Transports, tmp_path: Path, resolver: Resolver
) -> None:
    told: list[object] = []

    def listen(context: ssl.SSLContext) -> None:
        context.sni_callback = lambda _sock, name, _context: told.append(name)

    authority = OddAuthority(tmp_path, listen, names=("registry.example", "127.0.0.1"))
    server = start_wire_server(HELLO, tls=authority)
    resolver.addresses = ["127.0.0.1"]
    async with transports.open(tls=authority.client_context()) as transport:
        for host in ("registry.example", "127.0.0.1"):
            assert (await ask(transport, f"https://{host}:{server.port}/")).body == b"hello"
    # An address is no name.
    assert told == ["registry.example", None]


# --- who is not trusted ----------------------------------------------------------------------------------------------

DAY = timedelta(days=1)


@either
@pytest.mark.parametrize("what", ["unknown authority", "expired", "another name"])
async def test_f020_a_certificate_that_is_not_good_is_an_error_and_nothing_is_sent(
    start_wire_server: StartWireServer, transports: Transports, tmp_path: Path, what: str, version: ssl.TLSVersion
) -> None:
    authority = OddAuthority(
        tmp_path / "server",
        _only(version),
        names=("elsewhere.example",) if what == "another name" else (),
        expired=datetime.now(UTC) - DAY if what == "expired" else None,
    )
    trusted = OddAuthority(tmp_path / "other") if what == "unknown authority" else authority
    server = start_wire_server(HELLO, tls=authority)
    async with transports.open(tls=trusted.client_context()) as transport:
        with pytest.raises(httpx.ConnectError) as caught:
            await ask(transport, server.origin)
        assert counts(transport) == Counts()
        await until_gone(server)
    assert any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(caught.value))
    assert server.received == b""


async def test_tls_1_1_is_refused(start_wire_server: StartWireServer, transports: Transports, tmp_path: Path) -> None:
    def old(context: ssl.SSLContext) -> None:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1

    authority = OddAuthority(tmp_path, old)
    server = start_wire_server(HELLO, tls=authority)
    async with transports.open(tls=authority.client_context()) as transport:
        with pytest.raises(httpx.ConnectError) as caught:
            await ask(transport, server.origin)
        assert counts(transport) == Counts()
    assert any(isinstance(cause, ssl.SSLError) for cause in _causes(caught.value))
    assert server.connections == []


@either
async def test_f027_a_server_that_wants_a_certificate_gets_it(
    start_wire_server: StartWireServer, transports: Transports, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    authority = StrictAuthority(tmp_path, _only(version))
    server = start_wire_server(HELLO, tls=authority)
    async with transports.open(tls=authority.known_client()) as transport:
        assert (await ask(transport, server.origin)).body == b"hello"


@either
@pytest.mark.parametrize("shown", ["none", "of another authority"])
async def test_f027_without_a_good_certificate_there_is_no_answer(
    start_wire_server: StartWireServer, transports: Transports, tmp_path: Path, version: ssl.TLSVersion, shown: str
) -> None:
    authority = StrictAuthority(tmp_path / "server", _only(version))
    context = authority.client_context()
    if shown != "none":
        context = OddAuthority(tmp_path / "other").known_client()
        context.load_verify_locations(cafile=str(authority.ca_path))
    server = start_wire_server(HELLO, tls=authority)
    async with transports.open(tls=context) as transport:
        # With TLS 1.3 the refusal comes after the handshake, in place of the answer.
        with pytest.raises(httpx.ConnectError if version is ssl.TLSVersion.TLSv1_2 else httpx.TransportError):
            await ask(transport, server.origin)
        assert counts(transport) == Counts()
    assert server.requests == []


# --- handshakes that fail --------------------------------------------------------------------------------------------

SPOKEN = {
    "nothing": b"",
    "plain http": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\n\r\nhello",
    "plain http before being asked": b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n",
    "an alert": b"\x15\x03\x03\0\x02\x02\x28",
    "a close_notify": b"\x15\x03\x03\0\x02\x01\0",
    "garbage": noise(3000),
    "SSH": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "half a record": b"\x16\x03\x03\0\x7a\x02\0\0",
}


@pytest.mark.parametrize("said", SPOKEN.values(), ids=SPOKEN)
@pytest.mark.parametrize("end", ["FIN", "RST"])
async def test_f022_a_server_that_speaks_no_tls_is_a_connect_error_and_is_told_nothing(
    start_raw_server: StartRawServer, transports: Transports, authority: Authority, said: bytes, end: str
) -> None:
    def script(connection: Connection) -> None:
        if not said.startswith(b"HTTP/1.1 408"):
            connection.read(65536)
        connection.send(said)
        if end == "FIN":
            connection.close()
        else:
            connection.reset()

    server = start_raw_server(script)
    async with transports.open(tls=authority.client_context()) as transport:
        with pytest.raises(httpx.ConnectError):
            await ask(transport, server.url("https"))
        assert counts(transport) == Counts()
        await until(lambda: server.connections[0].sock.fileno() < 0)
    assert len(server.connections) == 1
    assert b"GET" not in server.connections[0].received


@pytest.mark.parametrize("name", ["plain http", "an alert", "garbage"])
async def test_f022_the_cause_says_what_openssl_says(
    start_raw_server: StartRawServer, transports: Transports, authority: Authority, name: str
) -> None:
    def script(connection: Connection) -> None:
        connection.read(65536)
        connection.send(SPOKEN[name])
        connection.wait_closed()

    server = start_raw_server(script)
    async with transports.open(tls=authority.client_context()) as transport:
        with pytest.raises(httpx.ConnectError) as caught:
            await ask(transport, server.url("https"))
    assert any(isinstance(cause, ssl.SSLError) for cause in _causes(caught.value))
    if transports.kind == "ours":
        assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_settings_may_differ_from_host_to_host(start_wire_server: StartWireServer, tmp_path: Path) -> None:
    from ocidist.http.transport.direct import DirectTransport

    authorities = [OddAuthority(tmp_path / str(number)) for number in range(2)]
    servers = [start_wire_server(HELLO, tls=authority) for authority in authorities]
    contexts = {server.port: each.client_context() for server, each in zip(servers, authorities, strict=True)}
    asked: list[tuple[str, int]] = []

    async def settings(host: str, port: int) -> ssl.SSLContext:
        asked.append((host, port))
        await anyio.lowlevel.checkpoint()
        return contexts[port]

    transport = DirectTransport(tls=settings)
    for server in servers * 2:
        assert (await ask(transport, server.origin)).body == b"hello"
    await transport.aclose()
    assert asked == [("127.0.0.1", server.port) for server in servers]
