"""Answers that are no HTTP, or that two readers could understand in two ways: refused, whatever was asked for."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from packaging.requirements import Requirement

from ocidist import Digest, OciError, ProtocolError, Repository, RequestRetried, TransportError
from tests.faults.dialling import left_open, open_files
from tests.faults.uploads import stream
from tests.http.support import ALICE, NAME, SOME_TAGS, TAGS, challenge, list_tags, token_answer, unauthorized, wants
from tests.peers import images
from tests.peers.answers import Handler, chain, close, head, raw, respond
from tests.remote.support import MANIFESTS, client_for, serve_manifest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.faults.uploads import UploadRegistry
    from tests.peers.wire_server import Connection, Request, WireServer

BLOB = images.noise(3000)
DIGEST = Digest.of(BLOB)
BLOB_PATH = f"/v2/{NAME}/blobs/{DIGEST}"
UPLOADS = f"/v2/{NAME}/blobs/uploads/"
MANIFEST = images.image().manifest
MIB = 1024 * 1024

OPERATIONS: dict[str, Callable[[Repository], Awaitable[object]]] = {
    "list": lambda repository: repository.tags.list().collect(),
    "pull": lambda repository: repository.manifests.get("v1"),
    "look": lambda repository: repository.manifests.stat("v1"),
    "pull a blob": lambda repository: repository.blobs.get(DIGEST),
    "push": lambda repository: repository.manifests.push(MANIFEST.data, media_type=MANIFEST.media_type, tags=["v1"]),
    "begin an upload": lambda repository: repository.blobs.push(BLOB, check_exists=False),
    "delete": lambda repository: repository.blobs.delete(DIGEST),
    "referrers": lambda repository: repository.referrers(DIGEST).collect(),
}

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 2\r\n\r\n{}"

GARBAGE = {
    "no status line": b"this is no registry\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.7\r\n\r\n",
    "binary": bytes(range(256)) + b"\r\n\r\n",
    "no number": b"HTTP/1.1 OK 200\r\n" + LENGTH,
    "two digits": b"HTTP/1.1 20 OK\r\n" + LENGTH,
    "four digits": b"HTTP/1.1 2000 OK\r\n" + LENGTH,
    "a status below 100": b"HTTP/1.1 099 What\r\n" + LENGTH,
    "HTTP/2": b"HTTP/2.0 200 OK\r\n" + LENGTH,
    "a NUL in the reason": b"HTTP/1.1 200 O\0K\r\n" + LENGTH,
    "a NUL in a value": OK + b"X-Note: a\0b\r\n" + LENGTH,
    "a NUL in a name": OK + b"X-\0Note: ab\r\n" + LENGTH,
    "a bare CR in a value": OK + b"X-Note: a\rContent-Length: 9\r\n" + LENGTH,
    "no colon": OK + b"X-Note\r\n" + LENGTH,
    "a blank before the colon": OK + b"Content-Length : 9\r\n" + LENGTH,
    "no name": OK + b": value\r\n" + LENGTH,
    "a value that goes on": OK + b"X-Note: a\r\n Content-Length: 9\r\n" + LENGTH,
    "a field of 1 MiB": OK + b"X-Note: " + b"a" * MIB + b"\r\n" + LENGTH,
    "a name of 1 MiB": OK + b"X" * MIB + b": a\r\n" + LENGTH,
    "1 MiB of fields": OK + b"X-Note: a\r\n" * (MIB // 11) + LENGTH,
    "1 MiB of reason": b"HTTP/1.1 200 " + b"a" * MIB + b"\r\n" + LENGTH,
    "1 MiB without a line": b"a" * MIB,
}

AMBIGUOUS = {
    "a length and chunks": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunks and a length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "two lengths the other way round": OK + b"Content-Length: 3\r\nContent-Length: 2\r\n\r\n{} ",
    "two lengths in one field": OK + b"Content-Length: 2, 3\r\n\r\n{} ",
    "the same length twice": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a negative length": OK + b"Content-Length: -2\r\n\r\n{}",
    "a length with a sign": OK + b"Content-Length: +2\r\n\r\n{}",
    "a length in hexadecimal": OK + b"Content-Length: 0x2\r\n\r\n{}",
    "a length with an underscore": OK + b"Content-Length: 0_2\r\n\r\n{}",
    "a length of other digits": OK + "Content-Length: \u0662\r\n\r\n{}".encode(),
    "a length beyond all numbers": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
    "another coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "an unknown coding": OK + b"Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "identity": OK + b"Transfer-Encoding: identity\r\n" + LENGTH,
}


async def refused(server: WireServer, answer: Handler, operation: str) -> None:
    """Hold that an answer is a protocol error which says what was attempted, and is not asked for again."""
    server.on("*", "*", answer)
    before = open_files()
    retried: list[object] = []
    async with client_for(server, hooks=[retried.append]) as client:
        with anyio.fail_after(20), pytest.raises(ProtocolError) as caught:
            await OPERATIONS[operation](client.repository(f"{server.host}/{NAME}"))
    assert not isinstance(caught.value, TransportError)
    assert caught.value.host == server.host
    assert caught.value.operation
    # Whoever wrote it may have wanted it to be read: no control characters, and not all of it.
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    assert len(server.requests) == 1
    assert not any(isinstance(event, RequestRetried) for event in retried)
    assert await left_open(before) == []


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_f014_an_answer_that_is_no_http_is_a_protocol_error(wire_server: WireServer, garbage: str) -> None:
    await refused(wire_server, chain(raw(GARBAGE[garbage]), close), "pull")


@pytest.mark.parametrize("garbage", ["no status line", "a NUL in a value", "a field of 1 MiB"])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_f014_it_is_one_for_every_operation(wire_server: WireServer, operation: str, garbage: str) -> None:
    # The connection stays open: nobody waits for its end to see what came.
    await refused(wire_server, raw(GARBAGE[garbage]), operation)


@pytest.mark.parametrize("ambiguous", AMBIGUOUS)
async def test_f015_a_body_whose_end_could_be_in_two_places_is_a_protocol_error(
    wire_server: WireServer, ambiguous: str
) -> None:
    await refused(wire_server, raw(AMBIGUOUS[ambiguous]), "pull")


@pytest.mark.parametrize("ambiguous", ["a length and chunks", "two lengths"])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_f015_it_is_one_for_every_operation(wire_server: WireServer, operation: str, ambiguous: str) -> None:
    await refused(wire_server, raw(AMBIGUOUS[ambiguous]), operation)


@pytest.mark.parametrize("wire", [*GARBAGE.values(), *AMBIGUOUS.values()], ids=[*GARBAGE, *AMBIGUOUS])
async def test_f015_no_token_is_taken_from_an_answer_that_is_malformed(wire_server: WireServer, wire: bytes) -> None:
    wire_server.on("GET", TAGS, wants("Bearer t0ken", SOME_TAGS, unauthorized(challenge("/token"))))
    route = wire_server.on("GET", "/token*", raw(wire.replace(b"{}", b'{"token":"t0ken"}')), token_answer())
    async with client_for(wire_server, credentials={wire_server.host: ALICE}) as client:
        with anyio.fail_after(20), pytest.raises(ProtocolError):
            await list_tags(client, wire_server)
    assert len(route.requests) == 1


# --- T77: answers within answers -------------------------------------------------------------------------------------

EVIL = b'{"name":"acme/app","tags":["evil"]}'
HIDDEN = head(200, {"Content-Length": str(len(EVIL)), "Content-Type": "application/json"}) + EVIL

SMUGGLING = {
    "behind a length": OK + b"Content-Length: 2\r\n\r\n{}" + HIDDEN,
    "behind the last chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + HIDDEN,
    "behind a 204": b"HTTP/1.1 204 No Content\r\n\r\n" + HIDDEN,
    "behind the head of a 304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n" + HIDDEN,
    "behind a 404": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "behind a long 404": b"HTTP/1.1 404 Not Found\r\nContent-Length: 5000\r\n\r\n" + b" " * 5000 + HIDDEN,
}


@pytest.mark.parametrize("place", SMUGGLING)
async def test_t77_an_answer_behind_an_answer_is_never_the_next_ones(wire_server: WireServer, place: str) -> None:
    wire_server.on("GET", BLOB_PATH, raw(SMUGGLING[place]))
    wire_server.on("GET", TAGS, SOME_TAGS)
    async with client_for(wire_server) as client:
        for _ in range(3):
            with pytest.raises(OciError):
                await client.repository(f"{wire_server.host}/{NAME}").blobs.get(DIGEST)
            assert await list_tags(client, wire_server) == ["v1"]


async def test_t77_what_comes_after_an_answer_to_head_is_never_the_next_ones(wire_server: WireServer) -> None:
    # A server that sends the body of a HEAD, too: it looks like the answer to what is asked next.
    wire_server.on("HEAD", "*", raw(head(200, {"Content-Length": str(len(HIDDEN))}) + HIDDEN))
    wire_server.on("GET", TAGS, SOME_TAGS)
    async with client_for(wire_server) as client:
        for _ in range(3):
            await client.repository(f"{wire_server.host}/{NAME}").blobs.stat(DIGEST)
            assert await list_tags(client, wire_server) == ["v1"]


def test_t77_what_reads_http_is_new_enough() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    needs = {found.name: found.specifier for found in map(Requirement, project["dependencies"])}
    # Each of these read malformed answers leniently, or trusted authorities that are trusted no longer. h11 before 0.16
    # is CVE-2025-43859.
    for name, flawed in (("h11", "0.14.0"), ("httpcore", "1.0.5"), ("certifi", "2022.1.1")):
        assert name in needs, f"{name} has no floor"
        assert flawed not in needs[name]


# --- F016: interim answers -------------------------------------------------------------------------------------------

HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


def hinted(count: int, then: Handler, interim: bytes = HINT) -> Handler:
    """Send interim answers before the final one."""

    def answer(request: Request, connection: Connection) -> None:
        connection.send(interim * count)
        then(request, connection)

    return answer


@pytest.mark.parametrize("interim", [HINT, b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 102 Processing\r\n\r\n"])
async def test_f016_a_thousand_hints_come_before_an_answer(
    wire_server: WireServer, registry: UploadRegistry, interim: bytes
) -> None:
    wire_server.on("GET", TAGS, hinted(1000, SOME_TAGS, interim))
    wire_server.on("GET", f"{MANIFESTS}/v1", hinted(1000, serve_manifest(MANIFEST), interim))
    wire_server.on("GET", BLOB_PATH, hinted(1000, respond(200, {}, BLOB), interim))
    wire_server.on("PUT", f"{MANIFESTS}/*", hinted(1000, respond(201), interim))
    for method in ("POST", "PATCH", "PUT"):
        wire_server.on(method, f"{UPLOADS}*", hinted(1000, registry, interim))
    async with client_for(wire_server) as client:
        repository = client.repository(f"{wire_server.host}/{NAME}")
        assert await list_tags(client, wire_server) == ["v1"]
        assert (await repository.manifests.get("v1")).data == MANIFEST.data
        assert await repository.blobs.get(DIGEST) == BLOB
        await repository.manifests.push(MANIFEST.data, media_type=MANIFEST.media_type, tags=["v1"])
        await repository.blobs.push(BLOB, check_exists=False)
        await repository.blobs.push(lambda: stream(BLOB), chunk_size=1000)
    assert registry.blobs == {DIGEST: BLOB}
    assert len(wire_server.connections) == 1


async def test_f016_nobody_waits_for_the_word_to_go_on(wire_server: WireServer, registry: UploadRegistry) -> None:
    async with client_for(wire_server) as client:
        repository = client.repository(f"{wire_server.host}/{NAME}")
        with anyio.fail_after(20):
            await repository.blobs.push(BLOB)
    assert registry.blobs == {DIGEST: BLOB}
    # It was not asked for, so a server that never sends it keeps nobody waiting.
    assert {request.header("Expect") for request in registry.requests} == {None}


async def test_f016_hints_without_an_end_are_a_protocol_error(wire_server: WireServer) -> None:
    def endless(_request: Request, connection: Connection) -> None:
        while True:
            connection.send(HINT * 100)

    await refused(wire_server, endless, "pull")
