"""Bodies: what can be read once is sent once, what can be opened again is, and each says how long it is."""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from typing import TYPE_CHECKING

import httpx
import pytest

from ocidist import (
    BodyNotReplayableError,
    Descriptor,
    Digest,
    ServerError,
    TransportError,
    UploadExpiredError,
    UsageError,
)
from tests.faults.uploads import UploadRegistry, lost, refuse
from tests.http.support import ALICE, NAME, ONCE, QUICK, client_for, unauthorized, wants
from tests.peers.answers import chain, close, reset, respond
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from pathlib import Path

    from ocidist import Client, Repository
    from tests.peers.answers import Handler
    from tests.peers.wire_server import Request, WireServer

BLOB = noise(700_000)
DIGEST = Digest.of(BLOB)
KNOWN = Descriptor.of(BLOB)
UPLOADS = f"/v2/{NAME}/blobs/uploads/"
BASIC = {"WWW-Authenticate": 'Basic realm="registry"'}
OPENED = respond(202, {"Location": f"{UPLOADS}1", "Range": "0-0"})
STORED = respond(201, {"Docker-Content-Digest": str(DIGEST)})


class Source:
    """A source of the blob that counts how often it was opened."""

    def __init__(self) -> None:
        self.opened = 0

    def __call__(self) -> AsyncGenerator[bytes, None]:
        """Open it afresh."""
        self.opened += 1
        return self._pieces()

    @staticmethod
    async def _pieces() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(BLOB), 50_000):
            yield BLOB[start : start + 50_000]


@pytest.fixture
def source() -> Source:
    """A source of the blob."""
    return Source()


@pytest.fixture
def registry(wire_server: WireServer) -> UploadRegistry:
    """A registry that takes the blob with the second request."""
    wire_server.on("HEAD", "*", respond(404))
    wire_server.on("DELETE", f"{UPLOADS}*", respond(204))
    wire_server.on("POST", UPLOADS, OPENED)
    return UploadRegistry()


def repository_of(client: Client, server: WireServer) -> Repository:
    return client.repository(f"{server.host}/{NAME}")


REDIRECT = respond(307, {"Location": f"{UPLOADS}2"})
FAULTS: dict[str, Handler] = {
    "a redirect": REDIRECT,
    "a challenge": unauthorized(BASIC),
    "an answer lost": chain(close),
    "a reset": reset,
    "a failing server": respond(503),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_q69_what_can_be_opened_again_is_sent_completely_again(
    wire_server: WireServer, registry: UploadRegistry, source: Source, fault: str
) -> None:
    first = wire_server.on("PUT", f"{UPLOADS}1*", FAULTS[fault], STORED)
    second = wire_server.on("PUT", f"{UPLOADS}2*", STORED)
    credentials = {wire_server.host: ALICE}
    async with client_for(wire_server, credentials=credentials, retry=QUICK) as client:
        await repository_of(client, wire_server).blobs.push(source, KNOWN)
    sent = [*first.requests, *second.requests]
    assert len(sent) == 2
    # Every request had the whole body, not what an earlier one had left of it.
    assert sent[1].body == BLOB
    assert source.opened == 2


@pytest.mark.parametrize("fault", FAULTS)
async def test_q69_what_can_be_read_once_is_never_sent_a_second_time(
    wire_server: WireServer, registry: UploadRegistry, source: Source, fault: str
) -> None:
    first = wire_server.on("PUT", f"{UPLOADS}1*", FAULTS[fault], STORED)
    second = wire_server.on("PUT", f"{UPLOADS}2*", STORED)
    credentials = {wire_server.host: ALICE}
    async with client_for(wire_server, credentials=credentials, retry=QUICK) as client:
        # Not an empty body that the registry takes for a blob, either.
        with pytest.raises((BodyNotReplayableError, TransportError, ServerError)) as caught:
            await repository_of(client, wire_server).blobs.push(source(), KNOWN)
    assert len(first.requests) == 1
    assert second.requests == []
    if fault in {"a redirect", "a challenge"}:
        assert isinstance(caught.value, BodyNotReplayableError)
        assert "callable" in str(caught.value)


@pytest.mark.parametrize("status", [307, 308])
async def test_q69_a_raw_generator_is_not_sent_on_empty(wire_server: WireServer, source: Source, status: int) -> None:
    wire_server.on("POST", "/here", respond(status, {"Location": "/there"}))
    there = wire_server.on("POST", "/there", respond(200))
    async with client_for(wire_server) as client:
        with pytest.raises((UsageError, httpx.StreamConsumed)):
            await client.post(f"{wire_server.origin}/here", content=source(), follow_redirects=True)
        again = await client.post(f"{wire_server.origin}/here", content=BLOB, follow_redirects=True)
    assert again.status_code == 200
    assert [request.body for request in there.requests] == [BLOB]


async def test_q69_a_raw_generator_is_not_sent_again_after_a_challenge(wire_server: WireServer, source: Source) -> None:
    guarded = wants(httpx.BasicAuth(*("alice", "s3cret"))._auth_header, respond(201), unauthorized(BASIC))
    wire_server.on("GET", "/v2/", unauthorized(BASIC))
    route = wire_server.on("PUT", f"{UPLOADS}1", guarded)
    async with client_for(wire_server, credentials={wire_server.host: ALICE}) as client:
        # What it needs is found out before: then once is enough.
        answer = await client.put(f"{wire_server.origin}{UPLOADS}1", content=source())
    assert answer.status_code == 201
    assert [request.body for request in route.requests] == [BLOB]
    assert source.opened == 1


# --- how long it is --------------------------------------------------------------------------------------------------


def lengths(requests: list[Request]) -> list[tuple[str, str | None, str | None]]:
    """Return how each request said where its body ends."""
    return [
        (request.method, request.header("Content-Length"), request.header("Transfer-Encoding")) for request in requests
    ]


async def test_q69_every_request_says_how_long_its_body_is(
    wire_server: WireServer, source: Source, tmp_path: Path
) -> None:
    registry = UploadRegistry()
    wire_server._handler = registry
    path = tmp_path / "blob"
    path.write_bytes(BLOB)
    empty = Descriptor.of(b"")
    async with client_for(wire_server, retry=ONCE) as client:
        blobs = repository_of(client, wire_server).blobs
        await blobs.push(BLOB, check_exists=False)
        await blobs.push(path, check_exists=False)
        await blobs.push(source, KNOWN, check_exists=False)
        await blobs.push(source(), KNOWN, check_exists=False)
        await blobs.push(b"", check_exists=False)
        await blobs.push(source(), chunk_size=400_000, check_exists=False)
    size = str(len(BLOB))
    whole = [("POST", "0", None), ("PUT", size, None)]
    assert lengths(registry.requests) == [
        *whole * 4,
        *[("POST", "0", None), ("PUT", "0", None)],
        *[("POST", "0", None), ("PATCH", "400000", None), ("PUT", "300000", None)],
    ]
    assert {request.header("Host") for request in registry.requests} == {wire_server.host}
    assert set(registry.blobs) == {DIGEST, empty.digest}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_q69_an_empty_body_is_one_of_no_bytes(wire_server: WireServer, method: str) -> None:
    wire_server.on(method, "/here", respond(200))
    async with client_for(wire_server) as client:
        await client.request(method, f"{wire_server.origin}/here")
    assert lengths(wire_server.requests) == [(method, "0", None)]


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_q69_what_has_no_body_says_nothing_of_one(wire_server: WireServer, method: str) -> None:
    wire_server.on(method, "/here", respond(200))
    async with client_for(wire_server) as client:
        await client.request(method, f"{wire_server.origin}/here")
    assert lengths(wire_server.requests) == [(method, None, None)]


async def test_q69_a_raw_body_of_unknown_length_goes_in_chunks(wire_server: WireServer, source: Source) -> None:
    route = wire_server.on("PUT", "/here", respond(201))
    async with client_for(wire_server) as client:
        await client.put(f"{wire_server.origin}/here", content=source())
        await client.put(f"{wire_server.origin}/here", content=source(), headers={"Content-Length": str(len(BLOB))})
    assert lengths(route.requests) == [("PUT", None, "chunked"), ("PUT", str(len(BLOB)), None)]
    assert [request.body for request in route.requests] == [BLOB, BLOB]


@pytest.mark.parametrize("change", [-1, 1], ids=["shorter", "longer"])
async def test_q69_a_raw_body_of_another_length_than_it_says_is_an_error(
    wire_server: WireServer, source: Source, change: int
) -> None:
    wire_server.on("PUT", "/here", respond(201))
    wire_server.on("GET", "/here", respond(200, {}, b"fine"))
    async with client_for(wire_server) as client:
        async with aclosing(source()) as pieces:
            headers = {"Content-Length": str(len(BLOB) + change)}
            with pytest.raises((httpx.LocalProtocolError, UsageError)):
                await client.put(f"{wire_server.origin}/here", content=pieces, headers=headers)
        # Its connection is not one where the next request would be taken for the rest.
        assert (await client.get(f"{wire_server.origin}/here")).content == b"fine"


async def test_q69_a_body_that_is_sent_again_is_hashed_again(wire_server: WireServer) -> None:
    registry = UploadRegistry()
    wire_server._handler = registry
    registry.script("PUT", lost(100_000), refuse(503))
    opened: list[Callable[[], AsyncIterator[bytes]]] = []

    def changing() -> AsyncIterator[bytes]:
        opened.append(changing)
        # The third time it is something else.
        return _one(BLOB if len(opened) < 3 else BLOB[::-1])

    async with client_for(wire_server, retry=QUICK) as client:
        with pytest.raises(Exception, match=hashlib.sha256(BLOB[::-1]).hexdigest()) as caught:
            await repository_of(client, wire_server).blobs.push(changing, KNOWN, check_exists=False)
    assert not isinstance(caught.value, UploadExpiredError)
    assert registry.blobs == {}
    assert registry.open == {}


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data
