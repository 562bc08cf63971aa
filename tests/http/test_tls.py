"""TLS settings of hosts, proxies, and what is read from disk: never on the event loop, never before it is needed."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest
import trustme

from ocidist import Client, HostConfig, TlsError, TransportError
from ocidist.hosts.config import HostsConfig
from ocidist.http.transport import trust as settings
from ocidist.wire import domains
from ocidist.wire.egress import Origin
from tests.http.support import (
    ALICE,
    NAME,
    ONCE,
    SOME_TAGS,
    TAGS,
    challenge,
    client_for,
    in_parallel,
    list_tags,
    token_answer,
    unauthorized,
    until,
    wants,
)
from tests.peers.answers import respond
from tests.peers.wire_server import WireServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import StartWireServer
    from tests.http.conftest import Names
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, Request


class Strict:
    """An authority whose servers want a certificate of the client."""

    def __init__(self, directory: Path) -> None:
        self._ca = trustme.CA()
        self.ca_path = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_path))
        leaf = self._ca.issue_cert("client.example")
        self.both = directory / "client.pem"
        leaf.private_key_and_cert_chain_pem.write_to_path(str(self.both))
        self.pair = directory / "client.crt", directory / "client.key"
        leaf.cert_chain_pems[0].write_to_path(str(self.pair[0]))
        leaf.private_key_pem.write_to_path(str(self.pair[1]))

    def server_context(self, *names: str) -> ssl.SSLContext:
        """Return a server context that checks client certificates."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._ca.issue_cert(*dict.fromkeys(names)).configure_cert(context)
        self._ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture
def strict(tmp_path: Path) -> Strict:
    """Certificates for a server that asks for the client's."""
    return Strict(tmp_path)


@pytest.fixture
def strict_server(strict: Strict) -> Iterator[WireServer]:
    """A server that asks for the client's certificate."""
    with WireServer(tls=strict) as server:  # type: ignore[arg-type]  # it is asked for the one thing that it can do
        server.on("GET", TAGS, SOME_TAGS)
        yield server


async def test_a_hosts_own_authority_is_trusted_for_that_host_only(
    start_wire_server: StartWireServer, authority: Authority
) -> None:
    one, other = start_wire_server(tls=authority), start_wire_server(tls=authority)
    for server in (one, other):
        server.on("GET", TAGS, SOME_TAGS)
    hosts = {one.host: HostConfig(scheme="https", ca=authority.ca_path), other.host: HostConfig(scheme="https")}
    async with Client(hosts=hosts) as client:
        assert await list_tags(client, one) == ["v1"]
        assert (await client.get(f"{one.origin}{TAGS}")).status_code == 200
        assert (await client.get(f"{one.origin}{TAGS}", auth=("a", "b"))).status_code == 200
        with pytest.raises(TlsError, match=r"(?i)certificate"):
            await list_tags(client, other)
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{other.origin}{TAGS}")
    assert len(one.connections) == 1


async def test_checking_can_be_turned_off_for_one_host(
    start_wire_server: StartWireServer, authority: Authority
) -> None:
    server = start_wire_server(tls=authority)
    server.on("GET", TAGS, SOME_TAGS)
    async with Client(hosts={server.host: HostConfig(verify=False)}) as client:
        assert await list_tags(client, server) == ["v1"]


async def test_the_wrong_name_in_a_certificate_is_refused(
    start_wire_server: StartWireServer, authority: Authority, names: Names
) -> None:
    names({"registry.example": "127.0.0.1"})
    server = start_wire_server(tls=authority)
    name = f"registry.example:{server.port}"
    async with Client(hosts={name: HostConfig(scheme="https", ca=authority.ca_path)}) as client:
        with pytest.raises(TlsError):
            await client.registry(name).ping()


@pytest.mark.parametrize("form", ["one file", "two files"])
async def test_a_client_certificate_is_shown_where_it_is_asked_for(
    strict: Strict, strict_server: WireServer, form: str
) -> None:
    cert = strict.both if form == "one file" else strict.pair
    config = HostConfig(scheme="https", ca=strict.ca_path, client_cert=cert)
    async with Client(hosts={strict_server.host: config}) as client:
        assert await list_tags(client, strict_server) == ["v1"]


async def test_without_it_the_server_hangs_up(strict: Strict, strict_server: WireServer) -> None:
    config = HostConfig(scheme="https", ca=strict.ca_path)
    async with Client(hosts={strict_server.host: config}, retry=ONCE) as client:
        # With TLS 1.3 the refusal comes after the handshake, in place of the answer.
        with pytest.raises(TransportError):
            await list_tags(client, strict_server)
    assert strict_server.requests == []


@pytest.mark.parametrize("field", ["ca", "client_cert"])
@pytest.mark.parametrize("content", [None, b"no certificate"], ids=["missing", "garbage"])
async def test_a_certificate_file_that_cannot_be_used_is_named(
    wire_server: WireServer, tmp_path: Path, field: str, content: bytes | None
) -> None:
    path = tmp_path / "odd.pem"
    if content is not None:
        path.write_bytes(content)
    config = HostConfig(scheme="https", **{field: path})  # type: ignore[arg-type]  # one of the two paths
    async with Client(hosts={wire_server.host: config}, credentials={wire_server.host: ALICE}) as client:
        with pytest.raises(TlsError, match=r"odd\.pem"):
            await list_tags(client, wire_server)
        with pytest.raises(httpx.ConnectError, match=r"odd\.pem"):
            await client.get(f"https://{wire_server.host}{TAGS}")
    assert wire_server.connections == []


async def test_many_first_requests_read_the_certificates_once(
    start_wire_server: StartWireServer, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    real = settings.tls_context

    def context(config: HostConfig) -> ssl.SSLContext:
        made.append(threading.get_ident())
        return real(config)

    monkeypatch.setattr(settings, "tls_context", context)
    server = start_wire_server(tls=authority)
    server.on("GET", TAGS, SOME_TAGS)
    config = HostConfig(scheme="https", ca=authority.ca_path)
    async with Client(hosts={server.host: config}) as client:
        await in_parallel(20, partial(list_tags, client, server))
    assert len(made) == 1
    # A worker thread's, not the event loop's.
    assert made != [threading.get_ident()]


async def test_the_systems_authorities_are_read_once_in_a_thread_and_only_for_https(
    start_wire_server: StartWireServer, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def trust(context: ssl.SSLContext) -> None:
        read.append(threading.get_ident())
        context.load_verify_locations(cafile=str(authority.ca_path))

    monkeypatch.setattr(settings, "_trust_system", trust)
    plain, secure = start_wire_server(), start_wire_server(tls=authority)
    for server in (plain, secure):
        server.on("GET", TAGS, SOME_TAGS)
    async with client_for(plain, hosts={plain.host: HostConfig(scheme="http")}) as client:
        await list_tags(client, plain)
        assert read == []
        for _ in range(2):
            await in_parallel(10, partial(client.get, f"{secure.origin}{TAGS}"))
        assert (await client.get(f"{secure.origin}{TAGS}", auth=("a", "b"))).status_code == 200
    assert len(read) == 1
    assert read != [threading.get_ident()]


def test_the_systems_authorities_are_found() -> None:
    context = settings.tls_context(HostConfig())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.cert_store_stats()["x509_ca"] > 0


def test_they_are_found_where_openssl_looks_in_the_wrong_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda _context: None)
    missing, found = "/nowhere/bundle.pem", ssl.get_default_verify_paths().cafile
    monkeypatch.setattr(settings, "_BUNDLES", (missing, found))
    assert settings.tls_context(HostConfig()).cert_store_stats()["x509_ca"] > 0
    monkeypatch.setattr(settings, "_BUNDLES", (missing,))
    assert settings.tls_context(HostConfig()).cert_store_stats()["x509_ca"] == 0


async def test_t14_session_keys_are_not_written_because_the_environment_says_so(
    start_wire_server: StartWireServer, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = start_wire_server(tls=authority)
    server.on("GET", TAGS, SOME_TAGS)
    keys = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    async with Client(hosts={server.host: HostConfig(ca=authority.ca_path)}) as client:
        assert await list_tags(client, server) == ["v1"]
    assert not keys.exists()


def _proxy(request: Request, connection: Connection) -> None:
    """Answer in place of every http server, and tunnel to every https one."""
    if request.method != "CONNECT":
        respond(200, {}, b'{"tags": ["proxied"]}')(request, connection)
        return
    host, _, port = request.target.rpartition(":")
    with socket.create_connection(("127.0.0.1" if host.endswith(".example") else host, int(port))) as upstream:
        connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=_pump, args=(upstream, connection), daemon=True)
        back.start()
        while data := connection.read(65536):
            upstream.sendall(data)
        upstream.shutdown(socket.SHUT_WR)
        back.join()
    connection.close()


def _pump(upstream: socket.socket, connection: Connection) -> None:
    try:
        while data := upstream.recv(65536):
            connection.send(data)
    except OSError:
        pass  # one side is gone


@pytest.fixture
def proxy(start_wire_server: StartWireServer, monkeypatch: pytest.MonkeyPatch) -> WireServer:
    """A proxy that the environment names."""
    server = start_wire_server(_proxy)
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, server.origin)
    return server


async def test_t14_a_proxy_of_the_environment_is_used_unless_that_is_turned_off(
    proxy: WireServer, names: Names, start_wire_server: StartWireServer
) -> None:
    server = start_wire_server(name="registry.example")
    server.on("GET", TAGS, SOME_TAGS)
    names({"registry.example": "127.0.0.1"})
    async with client_for(server) as client:
        assert await list_tags(client, server) == ["proxied"]
    seen = len(proxy.requests)
    assert seen == 1
    async with client_for(server, trust_env=False) as client:
        assert await list_tags(client, server) == ["v1"]
    assert len(proxy.requests) == seen


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_t14_nothing_for_this_machine_goes_through_a_proxy_of_the_environment(
    proxy: WireServer, start_wire_server: StartWireServer, name: str
) -> None:
    server = start_wire_server(name=name)
    server.on("GET", TAGS, SOME_TAGS)
    server.on("GET", "/v2/", respond(200))
    async with Client(credentials={server.host: ALICE}) as client:
        assert await list_tags(client, server) == ["v1"]
        assert (await client.get(f"{server.origin}{TAGS}")).status_code == 200
    assert proxy.connections == []


@pytest.mark.parametrize("how", ["environment", "argument"])
async def test_a_hosts_own_authority_is_trusted_through_a_proxy(
    start_wire_server: StartWireServer, authority: Authority, proxy: WireServer, how: str
) -> None:
    server = start_wire_server(tls=authority, name="registry.example")
    server.on("GET", TAGS, SOME_TAGS)
    hosts = {server.host: HostConfig(scheme="https", ca=authority.ca_path)}
    options = {} if how == "environment" else {"proxy": proxy.origin, "trust_env": False}
    async with Client(hosts=hosts, **options) as client:  # type: ignore[arg-type]  # either way
        assert await list_tags(client, server) == ["v1"]
    assert proxy.targets() == [f"CONNECT {server.host}"]


async def test_t14_no_netrc_is_read(wire_server: WireServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login alice password s3cret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    wire_server.on("GET", TAGS, respond(401, {"WWW-Authenticate": "Basic realm=x"}))
    async with client_for(wire_server) as client:
        assert (await client.get(f"{wire_server.origin}{TAGS}")).status_code == 401
    assert b"Authorization" not in wire_server.received


@pytest.mark.parametrize(
    ("key", "url", "found"),
    [
        ("registry.example", "https://registry.example/x", True),
        ("registry.example:443", "https://registry.example/x", True),
        ("registry.example", "https://registry.example:443/x", True),
        ("registry.example:5000", "https://registry.example:5000", True),
        ("registry.example", "https://registry.example:5000", False),
        ("registry.example:80", "https://registry.example", False),
        ("registry.example:80", "http://registry.example", True),
        ("https://registry.example", "https://REGISTRY.example", True),
        ("docker.io", "https://registry-1.docker.io/v2/", True),
        ("index.docker.io", "https://registry-1.docker.io/v2/", True),
        ("registry.example", "https://other_bucket.example", False),
        ("[::1]:5000", "http://[::1]:5000/", True),
    ],
)
def test_the_configuration_of_a_host_is_found_by_its_url(key: str, url: str, *, found: bool) -> None:
    hosts = HostsConfig({key: HostConfig(concurrency=7)})
    assert (hosts.for_origin(Origin.of(url)).concurrency == 7) is found


async def test_a_host_no_registry_could_have_is_still_a_host_to_go_to(names: Names, wire_server: WireServer) -> None:
    names({"some_bucket.example": "127.0.0.1"})
    wire_server.on("GET", "/blob", respond(200, {}, b"data"))
    async with client_for(wire_server) as client:
        response = await client.get(f"http://some_bucket.example:{wire_server.port}/blob")
        assert response.content == b"data"
        with pytest.raises((httpx.ConnectError, httpx.ConnectTimeout)):
            await client.get(f"https://some_bucket.example:{wire_server.port}/blob", timeout=0.5)


async def test_the_public_suffix_list_is_read_in_a_thread(
    names: Names, start_wire_server: StartWireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    class Suffixes:
        def privatesuffix(self, name: str) -> str | None:
            return ".".join(name.split(".")[-2:])

    def load() -> Suffixes:
        threads.append(threading.get_ident())
        return Suffixes()

    domains.public_suffixes.cache_clear()
    monkeypatch.setattr("publicsuffixlist.PublicSuffixList", lambda **_: load())
    names({"registry.acme.example": "127.0.0.1", "auth.acme.example": "127.0.0.1"})
    registry, tokens = start_wire_server(name="registry.acme.example"), start_wire_server(name="auth.acme.example")
    tokens.on("GET", "/token*", token_answer())
    registry.on("GET", TAGS, wants("Bearer t0ken", SOME_TAGS, unauthorized(challenge(f"{tokens.origin}/token"))))
    try:
        async with client_for(registry) as client:
            assert await list_tags(client, registry) == ["v1"]
    finally:
        domains.public_suffixes.cache_clear()
    assert len(threads) == 1
    assert threads != [threading.get_ident()]


def test_importing_and_making_a_client_reads_neither_suffixes_nor_authorities() -> None:
    script = (
        "import sys, ssl\n"
        "def refuse(*args): raise AssertionError\n"
        "ssl.SSLContext.load_default_certs = ssl.SSLContext.load_verify_locations = refuse\n"
        "import ocidist; ocidist.Client()\n"
        "print(sorted({'publicsuffixlist', 'jwt', 'stamina', 'cattrs', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


async def test_closing_a_client_closes_the_connections_of_every_host(
    start_wire_server: StartWireServer, authority: Authority
) -> None:
    servers = [start_wire_server(tls=authority), start_wire_server(tls=authority), start_wire_server()]
    hosts = {server.host: HostConfig(ca=authority.ca_path, scheme=None) for server in servers[:2]}
    for server in servers:
        server.on("GET", "/v2/", respond(200))
        server.on("GET", TAGS, SOME_TAGS)
    ended: list[Connection] = []
    for leave in ("aclose", "async with"):
        client = Client(hosts=hosts)
        for server in servers:
            await client.repository(f"{server.host}/{NAME}").tags.list().collect()
        if leave == "aclose":
            await client.aclose()
        else:
            async with client:
                pass
        ended += [connection for server in servers for connection in server.connections]
    await until(lambda: not any(thread.is_alive() for server in servers for thread in server._threads[1:]))
    assert ended
