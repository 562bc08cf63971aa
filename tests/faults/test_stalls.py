"""Silence and trickles: what is waited for, what is given up, and what is taken up again."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from ocidist import Descriptor, Digest, OciError, Repository, Timeouts, TransportTimeoutError
from ocidist.http.transport import socketio
from ocidist.remote import _stream
from tests.faults.dialling import left_open, open_files
from tests.faults.uploads import UPLOADS
from tests.http.support import ALICE, NAME, ONCE, QUICK, SOME_TAGS, TAGS, challenge, list_tags, unauthorized
from tests.peers import images
from tests.peers.answers import chain, head, respond, silence
from tests.remote.support import MANIFESTS, client_for, repository_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.faults.uploads import UploadRegistry
    from tests.peers.answers import Handler
    from tests.peers.wire_server import Connection, Request, WireServer

BLOB = images.noise(300_000)
DIGEST = Digest.of(BLOB)
BLOB_PATH = f"/v2/{NAME}/blobs/{DIGEST}"
MANIFEST = images.image().manifest
JSON = {"Content-Type": "application/json"}

READS: dict[str, Callable[[Repository], Awaitable[object]]] = {
    "list": lambda repository: repository.tags.list().collect(),
    "pull": lambda repository: repository.manifests.get("v1"),
    "pull a blob": lambda repository: repository.blobs.get(DIGEST),
    "look": lambda repository: repository.manifests.stat("v1"),
    "referrers": lambda repository: repository.referrers(DIGEST).collect(),
    "push a manifest": lambda repository: repository.manifests.push(MANIFEST.data, media_type=MANIFEST.media_type),
    "push a blob": lambda repository: repository.blobs.push(BLOB, check_exists=False),
}


def drip(data: bytes, every: float = 0.02) -> Handler:
    """Send one byte after the other until the client has had enough."""

    def answer(request: Request, connection: Connection) -> None:
        request.read()
        with suppress(OSError):
            for at in range(len(data)):
                connection.send(data[at : at + 1])
                threading.Event().wait(every)
        connection.close()

    return answer


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Timeouts:
    """Timeouts that no single wait of these tests exceeds; only the pace is too slow, and that is seen soon."""
    monkeypatch.setattr(socketio, "FLOOR_WINDOW", 0.3)
    return Timeouts(connect=30, read=30, write=30, finalize=30, floor=1024)


# --- T38, F117: trickles ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["head", "body"])
@pytest.mark.parametrize("operation", READS)
async def test_t38_a_server_that_trickles_is_given_up_whatever_was_asked(
    wire_server: WireServer, impatient: Timeouts, monkeypatch: pytest.MonkeyPatch, *, operation: str, part: str
) -> None:
    monkeypatch.setattr(_stream, "MAX_LOSSES", 1)
    said = head(200, JSON | {"Content-Length": "5000"})
    wire_server.on("*", "*", drip(said + b" " * 5000) if part == "head" else chain(_sending(said), drip(b" " * 5000)))
    before = open_files()
    if part == "body" and operation in {"look", "push a manifest", "push a blob"}:
        pytest.skip("there is no body to wait for, or none that matters")
    async with repository_on(wire_server, timeout=impatient, retry=ONCE) as repository:
        with anyio.fail_after(25), pytest.raises(TransportTimeoutError) as caught:
            await READS[operation](repository)
    assert caught.value.host == wire_server.host
    assert await left_open(before) == []


def _sending(data: bytes) -> Handler:
    def answer(request: Request, connection: Connection) -> None:
        request.read()
        connection.send(data)

    return answer


@pytest.mark.parametrize("part", ["head", "body"])
async def test_t38_a_token_server_that_trickles_is_given_up(
    wire_server: WireServer, impatient: Timeouts, part: str
) -> None:
    said = head(200, JSON | {"Content-Length": "5000"})
    wire_server.on("GET", TAGS, unauthorized(challenge("/token")))
    slow = drip(said + b" " * 5000) if part == "head" else chain(_sending(said), drip(b" " * 5000))
    route = wire_server.on("GET", "/token*", slow)
    options: dict[str, Any] = {"timeout": impatient, "retry": ONCE, "credentials": {wire_server.host: ALICE}}
    async with client_for(wire_server, **options) as client:
        with anyio.fail_after(25), pytest.raises(TransportTimeoutError):
            await list_tags(client, wire_server)
    assert len(route.requests) == 1


async def test_t38_a_page_that_trickles_is_asked_for_again(wire_server: WireServer, impatient: Timeouts) -> None:
    wire_server.on("GET", TAGS, drip(head(200, JSON | {"Content-Length": "5000"}) + b" " * 5000), SOME_TAGS)
    async with client_for(wire_server, timeout=impatient, retry=QUICK) as client:
        with anyio.fail_after(25):
            assert await list_tags(client, wire_server) == ["v1"]


async def test_t38_slow_but_steady_is_fast_enough(wire_server: WireServer, impatient: Timeouts) -> None:
    def steady(request: Request, connection: Connection) -> None:
        connection.send(head(200, {"Content-Length": str(len(BLOB))}))
        for start in range(0, len(BLOB), 20_000):
            connection.send(BLOB[start : start + 20_000])
            threading.Event().wait(0.1)

    route = wire_server.on("GET", BLOB_PATH, steady)
    async with repository_on(wire_server, timeout=impatient) as repository:
        assert await repository.blobs.get(DIGEST) == BLOB
    assert len(route.requests) == 1


async def test_t38_the_floor_can_be_taken_away(
    wire_server: WireServer, impatient: Timeouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b'{"name":"acme/app","tags":["v1"]}'
    wire_server.on("GET", TAGS, drip(head(200, JSON | {"Content-Length": str(len(body))}) + body, every=0.01))
    timeout = Timeouts(read=30, floor=None)
    async with client_for(wire_server, timeout=timeout, retry=ONCE) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert impatient.floor is not None


async def pieces() -> AsyncIterator[bytes]:
    """Yield a blob larger than all the buffers between here and there."""
    for _ in range(64):
        yield bytes(256 * 1024)


LARGE = Descriptor.of(bytes(64 * 256 * 1024))


def taking(count: int, over: threading.Event) -> Handler:
    """Take what is sent in sips of *count* bytes, or nothing at all, until it is over."""

    def answer(_request: Request, connection: Connection) -> None:
        with suppress(OSError):
            while not over.wait(0.02):
                if count:
                    connection.sock.recv(count)
        # What is still under way is of no interest to anybody.
        connection.reset()

    return answer


@pytest.mark.parametrize("how", ["sips", "takes nothing"])
@pytest.mark.parametrize("source", ["stream", "file", "bytes"])
async def test_t38_a_server_that_hardly_takes_what_is_sent_is_given_up(
    wire_server: WireServer,
    registry: UploadRegistry,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    source: str,
    how: str,
) -> None:
    monkeypatch.setattr(socketio, "FLOOR_WINDOW", 0.3)
    wire_server._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    # Whoever sips is never silent for long, but far below what this client asks for.
    timeout = Timeouts(write=30, floor=4_000_000) if how == "sips" else Timeouts(write=0.3, floor=None)
    over = threading.Event()
    wire_server.on("PUT", f"{UPLOADS}*", taking(32 * 1024 if how == "sips" else 0, over))
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(LARGE.size)
    sources: dict[str, Any] = {"stream": pieces(), "file": path, "bytes": bytes(LARGE.size)}
    before = open_files()
    async with repository_on(wire_server, timeout=timeout, retry=ONCE) as repository:
        with anyio.fail_after(40), pytest.raises(TransportTimeoutError):
            await repository.blobs.push(sources[source], LARGE, check_exists=False)
    over.set()
    assert registry.open == {}
    assert await left_open(before) == []
    await sources["stream"].aclose()


@pytest.mark.parametrize("how", ["drips", "stays silent"])
async def test_t38_a_deadline_of_the_callers_own_ends_everything(wire_server: WireServer, how: str) -> None:
    said = head(200, {"Content-Length": str(len(BLOB))})
    wire_server.on("GET", BLOB_PATH, drip(said + BLOB) if how == "drips" else silence)
    before = open_files()
    async with repository_on(wire_server, timeout=Timeouts(read=3600, floor=None)) as repository:
        with anyio.fail_after(20):
            with anyio.move_on_after(0.2) as scope:
                await repository.blobs.get(DIGEST)
            assert scope.cancelled_caught
    assert await left_open(before) == []


def part(request: Request, connection: Connection) -> None:
    """Answer as a registry that knows ranges."""
    first = int((request.header("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
    span = {"Content-Range": f"bytes {first}-{len(BLOB) - 1}/{len(BLOB)}"} if first else {}
    respond(206 if first else 200, span, BLOB[first:])(request, connection)


def stalling(count: int, then: Handler) -> Handler:
    """Send *count* bytes of what is asked for, and then something else."""

    def answer(request: Request, connection: Connection) -> None:
        first = int((request.header("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        span = {"Content-Range": f"bytes {first}-{len(BLOB) - 1}/{len(BLOB)}"} if first else {}
        length = {"Content-Length": str(len(BLOB) - first)}
        connection.send(head(206 if first else 200, span | length) + BLOB[first : first + count])
        then(request, connection)

    return answer


async def read(repository: Repository, _directory: Path) -> None:
    """Read the blob into memory."""
    assert await repository.blobs.get(DIGEST) == BLOB


async def download(repository: Repository, directory: Path) -> None:
    """Write the blob to a file."""
    path = directory / "blob"
    await repository.blobs.download(DIGEST, path)
    assert path.read_bytes() == BLOB


FETCHES = {"read": read, "download": download}
STALLS: dict[str, Handler] = {"silence": silence, "a trickle": drip(BLOB[100_000:])}


@pytest.mark.parametrize("how", FETCHES)
@pytest.mark.parametrize("stall", STALLS)
async def test_f117_a_blob_that_stalls_is_taken_up_where_it_stalled(
    wire_server: WireServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, stall: str, how: str
) -> None:
    monkeypatch.setattr(socketio, "FLOOR_WINDOW", 0.3)
    timeout = Timeouts(read=0.4 if stall == "silence" else 30, floor=1024)
    route = wire_server.on("GET", BLOB_PATH, stalling(100_000, STALLS[stall]), part)
    before = open_files()
    async with repository_on(wire_server, timeout=timeout) as repository:
        with anyio.fail_after(25):
            await FETCHES[how](repository, tmp_path)
    asked = [request.header("Range") for request in route.requests]
    assert asked[0] is None
    assert len(asked) == 2
    # Nothing that came is asked for again. A trickle has brought a few bytes more.
    start = int(str(asked[1]).removeprefix("bytes=").removesuffix("-"))
    assert 100_000 <= start < 100_200
    assert await left_open(before) == []


@pytest.mark.parametrize("how", FETCHES)
@pytest.mark.parametrize("stall", STALLS)
async def test_f117_a_blob_that_stalls_again_and_again_is_given_up(
    wire_server: WireServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, stall: str, how: str
) -> None:
    monkeypatch.setattr(socketio, "FLOOR_WINDOW", 0.2)
    timeout = Timeouts(read=0.2 if stall == "silence" else 30, floor=1024)
    # No progress that would count as such: a hundred bytes each time.
    route = wire_server.on("GET", BLOB_PATH, stalling(100, STALLS[stall]))
    before = open_files()
    async with repository_on(wire_server, timeout=timeout) as repository:
        with anyio.fail_after(40), pytest.raises(TransportTimeoutError) as caught:
            await FETCHES[how](repository, tmp_path)
    assert len(route.requests) == _stream.MAX_LOSSES + 1
    assert caught.value.operation == "pull blob"
    assert not (tmp_path / "blob").exists()
    assert await left_open(before) == []


# --- Q66: what may take long -----------------------------------------------------------------------------------------


def test_q66_the_end_of_an_upload_may_take_minutes() -> None:
    timeouts = Timeouts()
    assert timeouts.finalize is not None
    assert timeouts.finalize >= 300
    assert timeouts.read is not None
    # httpx waits 5 seconds.
    assert timeouts.read > 5


def later(seconds: float, then: Handler) -> Handler:
    """Answer after a while in which nothing is said."""

    def answer(request: Request, connection: Connection) -> None:
        request.read()
        threading.Event().wait(seconds)
        then(request, connection)

    return answer


async def test_q66_the_answers_that_store_something_may_take_longer_than_others(
    wire_server: WireServer, registry: UploadRegistry, tmp_path: Path
) -> None:
    wire_server.on("PUT", f"{UPLOADS}*", later(1.0, registry))
    wire_server.on("PUT", f"{MANIFESTS}/*", later(1.0, respond(201)))
    path = tmp_path / "blob"
    path.write_bytes(BLOB)
    async with repository_on(wire_server, timeout=Timeouts(read=0.6, finalize=30), retry=ONCE) as repository:
        await repository.blobs.push(path, check_exists=False)
        await repository.blobs.push(lambda: _stream_of(BLOB), chunk_size=200_000)
        await repository.manifests.push(MANIFEST.data, media_type=MANIFEST.media_type)
    assert len(registry.of("PUT")) == 2
    assert registry.blobs == {DIGEST: BLOB}


async def _stream_of(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_q66_a_chunk_is_not_given_so_long(wire_server: WireServer, registry: UploadRegistry) -> None:
    route = wire_server.on("PATCH", f"{UPLOADS}*", silence)
    async with repository_on(wire_server, timeout=Timeouts(read=0.2, finalize=3600), retry=ONCE) as repository:
        with anyio.fail_after(25), pytest.raises(OciError):
            await repository.blobs.push(lambda: _stream_of(BLOB), chunk_size=100_000)
    assert route.requests
    assert registry.blobs == {}


async def test_q66_no_time_limits_the_whole_of_a_transfer(wire_server: WireServer, tmp_path: Path) -> None:
    def slow(request: Request, connection: Connection) -> None:
        connection.send(head(200, {"Content-Length": str(len(BLOB))}))
        for start in range(0, len(BLOB), 30_000):
            connection.send(BLOB[start : start + 30_000])
            threading.Event().wait(0.3)

    route = wire_server.on("GET", BLOB_PATH, slow)
    # Three seconds in all; none of its pauses is as long as what is allowed for one.
    async with repository_on(wire_server, timeout=1.5, retry=ONCE) as repository:
        await repository.blobs.download(DIGEST, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert len(route.requests) == 1
