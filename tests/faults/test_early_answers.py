"""Servers that answer before they have read what is sent, and hang up: their answer is what the caller hears of."""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from ocidist import (
    Client,
    CredentialsRejectedError,
    DeniedError,
    Descriptor,
    Digest,
    HostConfig,
    OnExit,
    PayloadTooLargeError,
    ProtocolError,
    RegistryProfile,
    Repository,
    ResponseError,
    TransportError,
)
from tests.faults.dialling import left_open, open_files
from tests.faults.uploads import UploadRegistry
from tests.http.support import ALICE, NAME, QUICK
from tests.peers.answers import early
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.conftest import StartWireServer
    from tests.faults.uploads import Step
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, Request, WireServer

# More than the buffers of two sockets hold, so that the client is still sending when the answer comes.
LARGE = noise(8 * 1024 * 1024)
RECEIVE_BUFFER = 64 * 1024
DIGEST = Digest.of(LARGE)
KNOWN = Descriptor.of(LARGE)
PIECE = 256 * 1024


async def pieces() -> AsyncIterator[bytes]:
    """Yield the blob: a source that can be read once."""
    for start in range(0, len(LARGE), PIECE):
        yield LARGE[start : start + PIECE]


async def write_whole(repository: Repository) -> None:
    """Write the blob as one large chunk and the rest."""
    async with repository.blobs.writer(chunk_size=len(LARGE) - PIECE, on_exit=OnExit.CANCEL) as writer:
        await writer.write(LARGE)
        await writer.commit(DIGEST)


SOURCES: dict[str, Callable[[Repository, Path], Awaitable[object]]] = {
    "a file": lambda repository, path: repository.blobs.push(path, KNOWN, check_exists=False),
    "bytes": lambda repository, _path: repository.blobs.push(LARGE, check_exists=False),
    "a stream": lambda repository, _path: repository.blobs.push(pieces(), KNOWN, check_exists=False),
    "a factory": lambda repository, _path: repository.blobs.push(pieces, KNOWN, check_exists=False),
    "chunks": lambda repository, _path: write_whole(repository),
}

ERROR = b'{"errors":[{"code":"%b","message":"the registry said why"}]}'
REFUSALS: dict[str, tuple[int, bytes, type[ResponseError]]] = {
    "413": (413, ERROR % b"TOO_BIG", PayloadTooLargeError),
    "403": (403, ERROR % b"DENIED", DeniedError),
}


def answer_and(end: str, status: int, headers: dict[str, str], body: bytes) -> Step:
    """Answer when a little of the body has come, and end the connection: it is not read any further."""

    def step(_registry: UploadRegistry, request: Request, connection: Connection) -> None:
        request.read(100_000)
        early(status, headers, body)(request, connection)
        if end == "RST":
            # Closed with unread input, as most servers do it.
            connection.reset()
        elif end == "FIN":
            connection.close()
        else:
            # It neither reads on nor hangs up before the client does.
            poll = select.poll()
            poll.register(connection.sock, select.POLLRDHUP)
            poll.poll(30_000)
            connection.reset()

    return step


def small(server: WireServer) -> WireServer:
    """Let a server take little at once."""
    server._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    return server


@pytest.fixture
def blob_file(tmp_path: Path) -> Path:
    """The blob as a file."""
    path = tmp_path / "blob"
    path.write_bytes(LARGE)
    return path


@pytest.fixture(params=["http", "https"])
def server(
    request: pytest.FixtureRequest, start_wire_server: StartWireServer, authority: Authority, registry: UploadRegistry
) -> WireServer:
    """The registry, with and without TLS."""
    return small(start_wire_server(registry, tls=authority if request.param == "https" else None))


def open_client(server: WireServer, authority: Authority, **options: Any) -> Client:  # noqa: ANN401 -- the client's own
    """Return a client for the registry."""
    secure = server.origin.startswith("https")
    # With chunks as small as they may be, a refusal for their size is final.
    profile = RegistryProfile(min_chunk=len(LARGE))
    ca = authority.ca_path if secure else None
    config = HostConfig(scheme="https" if secure else "http", ca=ca, profile=profile)
    return Client(hosts={server.host: config}, retry=QUICK, **options)


@pytest.mark.parametrize("end", ["FIN", "RST"])
@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("source", SOURCES)
async def test_t76_the_answer_is_told_and_not_the_broken_pipe(
    server: WireServer,
    registry: UploadRegistry,
    authority: Authority,
    blob_file: Path,
    *,
    source: str,
    refusal: str,
    end: str,
) -> None:
    status, body, expected = REFUSALS[refusal]
    step = answer_and(end, status, {"Content-Type": "application/json"}, body)
    for method in ("PUT", "PATCH"):
        registry.script(method, *[step] * 9)
    before = open_files()
    async with open_client(server, authority) as client:
        with anyio.fail_after(40), pytest.raises(expected) as caught:
            await SOURCES[source](client.repository(f"{server.host}/{NAME}"), blob_file)
    assert caught.value.status == status
    assert "the registry said why" in str(caught.value)
    # A refusal is final: it is not sent again, and the session is not left behind.
    assert len(registry.of("PUT") + registry.of("PATCH")) == 1
    assert registry.open == {}
    assert registry.cancelled == 1
    assert await left_open(before) == []


@pytest.mark.parametrize("end", ["FIN", "RST"])
@pytest.mark.parametrize("source", ["a file", "bytes", "a factory", "chunks"])
async def test_t76_an_early_401_is_answered_with_the_password_and_the_whole_body(
    server: WireServer, registry: UploadRegistry, authority: Authority, blob_file: Path, *, source: str, end: str
) -> None:
    refuse = answer_and(end, 401, {"WWW-Authenticate": 'Basic realm="registry"'}, ERROR % b"UNAUTHORIZED")

    def guarded(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        step = UploadRegistry.usual if request.header("Authorization") else refuse
        step(usual, request, connection)

    for method in ("PUT", "PATCH"):
        registry.script(method, *[guarded] * 9)
    async with open_client(server, authority, credentials={server.host: ALICE}) as client:
        with anyio.fail_after(40):
            await SOURCES[source](client.repository(f"{server.host}/{NAME}"), blob_file)
    assert list(registry.blobs) == [DIGEST]
    assert registry.open == {}


@pytest.mark.parametrize("end", ["FIN", "RST"])
async def test_t76_an_early_401_to_wrong_credentials_is_told(
    server: WireServer, registry: UploadRegistry, authority: Authority, blob_file: Path, end: str
) -> None:
    refuse = answer_and(end, 401, {"WWW-Authenticate": 'Basic realm="registry"'}, ERROR % b"UNAUTHORIZED")
    registry.script("PUT", *[refuse] * 9)
    async with open_client(server, authority, credentials={server.host: ALICE}) as client:
        with anyio.fail_after(40), pytest.raises(CredentialsRejectedError):
            await SOURCES["a file"](client.repository(f"{server.host}/{NAME}"), blob_file)
    assert len(registry.of("PUT")) == 2
    assert registry.open == {}


@pytest.mark.parametrize("source", SOURCES)
async def test_t76_a_server_that_answers_and_reads_no_further_is_not_waited_for(
    server: WireServer, registry: UploadRegistry, authority: Authority, blob_file: Path, source: str
) -> None:
    step = answer_and("stays", 413, {}, ERROR % b"TOO_BIG")
    for method in ("PUT", "PATCH"):
        registry.script(method, step)
    async with open_client(server, authority) as client:
        # Far less than the time that a silent connection is given.
        with anyio.fail_after(20), pytest.raises(PayloadTooLargeError):
            await SOURCES[source](client.repository(f"{server.host}/{NAME}"), blob_file)
    assert registry.open == {}


@pytest.mark.parametrize("end", ["FIN", "RST"])
async def test_t76_a_refused_manifest_is_told(
    start_wire_server: StartWireServer, authority: Authority, end: str
) -> None:
    # As large as a manifest may be.
    data = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    large = data[:-1] + b',"annotations":{"a":"' + b"x" * (4 * 1024 * 1024 - 200) + b'"}}'
    refuse = answer_and(end, 413, {}, ERROR % b"TOO_BIG")
    server = small(start_wire_server(lambda request, connection: refuse(UploadRegistry(), request, connection)))
    async with open_client(server, authority) as client:
        repository = client.repository(f"{server.host}/{NAME}")
        with anyio.fail_after(40), pytest.raises(PayloadTooLargeError, match="the registry said why"):
            await repository.manifests.push(large, media_type="application/vnd.oci.image.index.v1+json", tags=["v1"])
    assert len(server.requests) == 1


async def test_t76_a_success_before_the_end_is_no_success(
    server: WireServer, registry: UploadRegistry, authority: Authority, blob_file: Path
) -> None:
    # It cannot have stored what it has not received.
    registry.script("PUT", *[answer_and("FIN", 201, {}, b"")] * 9)
    async with open_client(server, authority) as client:
        with anyio.fail_after(40), pytest.raises((TransportError, ResponseError, ProtocolError)):
            await SOURCES["a file"](client.repository(f"{server.host}/{NAME}"), blob_file)
    assert registry.blobs == {}
    assert registry.open == {}


async def test_t76_an_answer_after_the_whole_body_is_the_usual_case(
    server: WireServer, registry: UploadRegistry, authority: Authority, blob_file: Path
) -> None:
    async with open_client(server, authority) as client:
        repository = client.repository(f"{server.host}/{NAME}")
        for source in SOURCES.values():
            await source(repository, blob_file)
    assert list(registry.blobs) == [DIGEST]
    assert registry.open == {}
