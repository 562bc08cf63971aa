"""TLS that fails, at the handshake or later: never answered with plain http, and never taken for the end of a blob."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trustme

from ocidist import Client, Digest, HostConfig, ProtocolError, Timeouts, TlsError, TransportTimeoutError
from ocidist.http import scheme as detection
from tests.faults.dialling import Network, left_open, open_files
from tests.faults.tap import Tap
from tests.faults.uploads import UploadRegistry
from tests.http.support import ALICE, NAME, ONCE, QUICK, SOME_TAGS, TAGS, in_parallel
from tests.peers.answers import chain, close, respond
from tests.peers.images import noise
from tests.peers.wire_server import WireServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, Request

NAMED = "registry.example"
BLOB = noise(600_000)
DIGEST = Digest.of(BLOB)
BLOB_PATH = f"/v2/{NAME}/blobs/{DIGEST}"
YESTERDAY = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)


class Flawed:
    """An authority whose certificates are not good enough: expired, for somebody else, or its own."""

    def __init__(self, flaw: str, directory: Path) -> None:
        self._flaw = flaw
        self._ca = trustme.CA()
        self.ca_path = directory / "ca.pem"
        trusted = self._ca if flaw in {"expired", "wrong host"} else trustme.CA()
        trusted.cert_pem.write_to_path(str(self.ca_path))

    def server_context(self, *names: str) -> ssl.SSLContext:
        """Return a server context with a flawed certificate for these names."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        unique = tuple(dict.fromkeys(names))
        if self._flaw == "expired":
            issued = self._ca.issue_cert(*unique, not_after=YESTERDAY)
        elif self._flaw == "wrong host":
            issued = self._ca.issue_cert("somebody.else.example")
        else:
            issued = self._ca.issue_cert(*unique)
        issued.configure_cert(context)
        return context


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """A resolver that knows one name, which is of this machine but does not say so."""
    made = Network()
    made.install(monkeypatch)
    made.name(NAMED, ["127.0.0.1"])
    return made


def repository(client: Client, host: str) -> Any:  # noqa: ANN401 -- short for Repository
    return client.repository(f"{host}/{NAME}")


# --- F020, F021, F022: the handshake ---------------------------------------------------------------------------------


@pytest.mark.parametrize("flaw", ["self-signed", "expired", "wrong host"])
@pytest.mark.parametrize("name", [NAMED, "127.0.0.1", "localhost"])
@pytest.mark.parametrize("config", ["detected", "https", "insecure"])
async def test_f020_a_certificate_that_is_no_good_ends_it(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, flaw: str, name: str, config: str
) -> None:
    # On a busy machine a handshake takes longer than the wait before plain http, which this is not about.
    monkeypatch.setattr(detection, "STAGGER", 15)
    network.name("localhost", ["127.0.0.1"])
    authority = Flawed(flaw, tmp_path)
    host_config = HostConfig(
        ca=authority.ca_path, scheme="https" if config == "https" else None, insecure=config == "insecure"
    )
    with WireServer(name=name, tls=authority) as server, Tap(server.port) as tap:  # type: ignore[arg-type]  # it does what is asked of it
        server.on("*", "*", SOME_TAGS)
        host = f"{name}:{tap.port}"
        async with Client(hosts={host: host_config}, retry=QUICK, credentials={host: ALICE}) as client:
            with anyio.fail_after(20), pytest.raises(TlsError, match=r"(?i)certificate"):
                await repository(client, host).tags.list().collect()
        assert server.requests == []
        # Not one byte that is not TLS, and no second attempt: a certificate does not get better.
        assert tap.plain == []
        assert len(tap.sent) == 1


# On loopback, where it is not said, a hanging port is asked in plain http as well: see F023.
@pytest.mark.in_turn
@pytest.mark.parametrize(("name", "scheme"), [(NAMED, "https"), (NAMED, None), ("127.0.0.1", "https")])
async def test_f021_a_handshake_that_hangs_is_given_up_within_the_time_to_connect(
    network: Network,
    name: str,
    scheme: Any,  # noqa: ANN401 -- a literal
) -> None:
    # It waits for the end of a head, and so for ever.
    with WireServer(name=name) as server:
        before = open_files()
        config = HostConfig(scheme=scheme)
        timeout = Timeouts(connect=2.0, read=3600)
        async with Client(hosts={server.host: config}, retry=ONCE, timeout=timeout) as client:
            with anyio.fail_after(20), pytest.raises(TransportTimeoutError):
                await repository(client, server.host).tags.list().collect()
        assert await left_open(before) == []
        assert len(server.connections) == 1
        assert b"HTTP/1.1" not in server.received


BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@contextmanager
def speaking(answer: bytes | None) -> Iterator[tuple[int, list[bytes]]]:
    """Serve plain http on a port: requests are answered with tags, everything else with *answer* or nothing."""
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
                        body = b'{"name":"acme/app","tags":["plain"]}'
                        connection.sendall(
                            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
                        )
                    elif answer is not None:
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], received
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("answer", [BAD_REQUEST, b"HTTP/1.0 400\r\n\r\n<html>", b"hello\n", None])
@pytest.mark.parametrize("scheme", ["https", None], ids=["https", "detected"])
async def test_f022_a_named_host_that_speaks_http_where_tls_is_due_is_an_error(
    network: Network,
    answer: bytes | None,
    scheme: Any,  # noqa: ANN401 -- a literal
) -> None:
    with speaking(answer) as (port, received):
        host = f"{NAMED}:{port}"
        async with Client(hosts={host: HostConfig(scheme=scheme)}, retry=ONCE, credentials={host: ALICE}) as client:
            # Who hangs up without a word has not shown what it speaks.
            expected = (TlsError, ProtocolError) if answer is not None else Exception
            with anyio.fail_after(20), pytest.raises(expected):
                await repository(client, host).tags.list().collect()
    assert received
    assert all(data[:1] == b"\x16" for data in received)


# --- F023, F024: what is found out -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_f023_plain_http_on_this_machine_is_found_once_and_remembered(network: Network, name: str) -> None:
    network.name("localhost", ["127.0.0.1"])
    with speaking(BAD_REQUEST) as (port, received):
        host = f"{name}:{port}"
        async with Client(retry=ONCE) as client:
            for _ in range(3):
                assert await repository(client, host).tags.list().collect() == ["plain"]
            await in_parallel(10, lambda: repository(client, host).tags.list().collect())
    handshakes = [data for data in received if data[:1] == b"\x16"]
    # None, if the answer to plain http came before the other attempt got as far as that.
    assert len(handshakes) <= 1
    assert sum(data.startswith(b"GET /v2/ ") for data in received) == 1


class Changing(WireServer):
    """A server that speaks plain http until it is told to speak TLS, on the same port."""

    def secure_with(self, authority: Authority) -> None:
        """Speak TLS from the next connection on, and end those that are there."""
        self._tls = authority.server_context(self._name, "127.0.0.1")
        for connection in list(self.connections):
            connection.interrupt()


def hang_up_or_say(server: Changing, said: bytes | None) -> None:
    """Let a server that wants TLS say so to plain http, as nginx does, or just hang up."""
    secure = server._secure

    def polite(sock: socket.socket) -> socket.socket:
        if server._tls is not None and sock.recv(1, socket.MSG_PEEK)[:1] != b"\x16":
            sock.recv(65536)
            if said is not None:
                sock.sendall(said)
            raise ConnectionError
        return secure(sock)

    server._secure = polite  # type: ignore[method-assign]  # this one server's


@pytest.mark.parametrize("said", [BAD_REQUEST, None], ids=["says so", "hangs up"])
async def test_f024_a_registry_that_begins_to_speak_https_is_found_again(
    authority: Authority, said: bytes | None
) -> None:
    with Changing() as server:
        hang_up_or_say(server, said)
        server.on("GET", "/v2/", respond(200))
        server.on("GET", TAGS, SOME_TAGS)
        async with Client(hosts={server.host: HostConfig(ca=authority.ca_path)}, retry=QUICK) as client:
            assert await repository(client, server.host).tags.list().collect() == ["v1"]
            assert await client.detect_scheme(server.host) == "http"
            server.secure_with(authority)
            with anyio.fail_after(20):
                for _ in range(2):
                    assert await repository(client, server.host).tags.list().collect() == ["v1"]
            assert await client.detect_scheme(server.host) == "https"


# --- F025, F026: later -----------------------------------------------------------------------------------------------


def ranged(request: Request, connection: Connection) -> None:
    """Answer as a registry that knows ranges."""
    first = int((request.header("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
    span = {"Content-Range": f"bytes {first}-{len(BLOB) - 1}/{len(BLOB)}"}
    respond(206 if first else 200, span if first else {}, BLOB[first:])(request, connection)


def cut_after(count: int, *, told: bool) -> Handler:
    """Send the beginning of the blob and end the connection without the words that end TLS."""
    headers = {"Content-Length": str(len(BLOB))} if told else {"Transfer-Encoding": "identity"}

    def answer(request: Request, connection: Connection) -> None:
        if told:
            chain(respond(200, headers, BLOB[:count]), close)(request, connection)
        else:
            connection.send(b"HTTP/1.1 200 OK\r\n\r\n" + BLOB[:count])
            close(request, connection)

    return answer


@pytest.mark.parametrize("count", [0, 1, 300_000, 599_999])
@pytest.mark.parametrize("told", [True, False], ids=["length told", "length not told"])
@pytest.mark.parametrize("how", ["read", "download"])
async def test_f025_a_connection_that_ends_without_its_last_words_is_no_end_of_a_blob(
    start_wire_server: StartWireServer, authority: Authority, tmp_path: Path, *, count: int, told: bool, how: str
) -> None:
    server = start_wire_server(tls=authority)
    route = server.on("GET", BLOB_PATH, cut_after(count, told=told), ranged)
    async with Client(hosts={server.host: HostConfig(scheme="https", ca=authority.ca_path)}, retry=QUICK) as client:
        blobs = repository(client, server.host).blobs
        if how == "read":
            assert await blobs.get(DIGEST) == BLOB
        else:
            await blobs.download(DIGEST, tmp_path / "blob")
            assert (tmp_path / "blob").read_bytes() == BLOB
    # Taken up where it broke, not begun again.
    asked = [request.header("Range") for request in route.requests]
    assert asked == [None, f"bytes={count}-" if count else None]


def keep_what_came(registry: UploadRegistry, request: Request, connection: Connection) -> None:
    """Store what came of a chunk before the connection broke, as a registry that streams to its disk does."""
    try:
        registry.usual(request, connection)
    except OSError:
        upload = registry._find(request)
        if upload is not None:
            upload.data += request.body
        raise


@pytest.mark.parametrize("moves", [True, False])
async def test_f026_an_alert_within_a_chunk_is_made_up_for(
    start_wire_server: StartWireServer, authority: Authority, *, moves: bool
) -> None:
    registry = UploadRegistry()
    registry.moves = moves
    registry.script("PATCH", *[keep_what_came] * 20)
    server = start_wire_server(registry, tls=authority)
    # Somewhere within the second chunk, so that the server finds a record it cannot decrypt, and says so.
    with Tap(server.port, flip=300_000) as tap:
        host = f"127.0.0.1:{tap.port}"
        config = HostConfig(scheme="https", ca=authority.ca_path)
        async with (
            Client(hosts={host: config}, retry=QUICK) as client,
            repository(client, host).blobs.writer(chunk_size=200_000) as writer,
        ):
            with anyio.fail_after(20):
                await writer.write(BLOB)
                await writer.commit(DIGEST)
    assert registry.blobs == {DIGEST: BLOB}
    assert registry.open == {}
    assert len(tap.sent) == 2
    # It was asked what had arrived; only the rest was sent again.
    methods = registry.methods()
    assert methods[methods.index("GET") - 1] == "PATCH"
    assert methods.count("GET") == 1
    first = {int((request.header("Content-Range") or "0-").partition("-")[0]) for request in registry.of("PATCH")}
    assert any(200_000 < start < 400_000 for start in first)


# --- F027: a certificate of the client -------------------------------------------------------------------------------


@contextmanager
def demanding(version: ssl.TLSVersion, authority: Authority) -> Iterator[int]:
    """Serve TLS to those who show a certificate, and tell the others so: with an alert that nothing overtakes."""
    context = authority.server_context("127.0.0.1")
    context.maximum_version = version
    context.load_verify_locations(cafile=str(authority.ca_path))
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with sock, context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) as secured:
                    try:
                        secured.do_handshake()
                        secured.recv(1)
                    except OSError:
                        raw = socket.socket(fileno=secured.detach())
                        with raw:
                            raw.shutdown(socket.SHUT_WR)
                            while raw.recv(65536):
                                pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("scheme", ["https", None], ids=["https", "detected"])
async def test_f027_a_certificate_that_is_missing_is_told_with_how_to_give_one(
    authority: Authority,
    version: ssl.TLSVersion,
    scheme: Any,  # noqa: ANN401 -- a literal
) -> None:
    with demanding(version, authority) as port:
        host = f"127.0.0.1:{port}"
        config = HostConfig(scheme=scheme, ca=authority.ca_path)
        async with Client(hosts={host: config}, retry=ONCE, credentials={host: ALICE}) as client:
            with anyio.fail_after(20), pytest.raises(TlsError, match=r"(?i)client.cert"):
                await repository(client, host).tags.list().collect()
