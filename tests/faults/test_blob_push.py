from __future__ import annotations

import base64
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from ocidist import (
    Basic,
    Digest,
    HostConfig,
    LocationRefusedError,
    OnExit,
    ProtocolError,
    UploadConflictError,
)
from tests.faults.uploads import (
    BLOB,
    DIGEST,
    KNOWN,
    UPLOADS,
    UploadRegistry,
    bodies,
    lost,
    refuse,
    saying,
    stream,
    write_in_chunks,
)
from tests.remote.support import repository_on

if TYPE_CHECKING:
    from tests.conftest import StartWireServer
    from tests.faults.uploads import Step
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, Request, WireServer


# --- F130, F131: opening a session -----------------------------------------------------------------------------------


async def test_f130_an_upload_session_without_a_location_is_a_protocol_error(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("POST", saying(Location=None))
    async with repository_on(wire_server) as repository:
        with pytest.raises(ProtocolError, match="Location"):
            await repository.blobs.push(BLOB)
    assert registry.of("PUT") == []


@pytest.mark.parametrize("absolute", [False, True], ids=["relative", "absolute"])
async def test_f130_a_relative_and_an_absolute_location_are_used_with_their_query(
    wire_server: WireServer, registry: UploadRegistry, *, absolute: bool
) -> None:
    if absolute:
        location = f"{wire_server.origin}{UPLOADS}1?_state=a%2Fb%3D%3D.0&x="
        registry.script("POST", saying(Location=location))
    async with repository_on(wire_server) as repository:
        await repository.blobs.push(BLOB)
    assert registry.of("PUT")[0].target == f"{UPLOADS}1?_state=a%2Fb%3D%3D.0&x=&digest={DIGEST}"
    assert registry.blobs == {DIGEST: BLOB}


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/u?", f"/u?digest={DIGEST}"),
        ("/u", f"/u?digest={DIGEST}"),
        ("/u?a=1&&b", f"/u?a=1&&b&digest={DIGEST}"),
        ("/u?sig=%2f%2F+~&digest-like=x", f"/u?sig=%2f%2F+~&digest-like=x&digest={DIGEST}"),
        ("/u?a=1#part", f"/u?a=1&digest={DIGEST}"),
    ],
)
async def test_q28_the_query_of_a_location_is_kept_byte_for_byte(
    wire_server: WireServer, registry: UploadRegistry, location: str, target: str
) -> None:
    registry.script("POST", saying(Location=location))
    registry.script("PUT", refuse(201))
    async with repository_on(wire_server) as repository:
        await repository.blobs.push(BLOB)
    assert registry.of("PUT")[0].target == target


@pytest.mark.parametrize(
    "location",
    [
        "http://203.0.113.5/upload",
        "http://169.254.169.254/latest",
        "http://10.0.0.5/upload",
        "https://user:pw@uploads.example/x",
        "ftp://uploads.example/x",
        "http://[::ffff:169.254.169.254]/x",
    ],
)
async def test_f130_a_location_where_no_bytes_may_go_is_refused(
    wire_server: WireServer, registry: UploadRegistry, location: str
) -> None:
    registry.script("POST", saying(Location=location))
    async with repository_on(wire_server) as repository:
        with pytest.raises(LocationRefusedError):
            await repository.blobs.push(BLOB)
    assert registry.of("PUT") == []


async def test_f130_a_location_without_tls_is_refused_after_https(
    start_wire_server: StartWireServer, authority: Authority, wire_server: WireServer
) -> None:
    secure = start_wire_server(tls=authority)
    made = UploadRegistry()
    made.script("POST", saying(Location=f"{wire_server.origin}{UPLOADS}1"))
    secure.on("*", "/*", made)
    hosts = {secure.host: HostConfig(scheme="https", ca=authority.ca_path)}
    async with repository_on(secure, hosts=hosts) as repository:
        with pytest.raises(LocationRefusedError):
            await repository.blobs.push(BLOB)
    assert wire_server.requests == []


@pytest.mark.parametrize("honest", [True, False])
async def test_f130_a_location_on_another_host_gets_the_bytes_and_no_credentials(
    wire_server: WireServer, registry: UploadRegistry, start_wire_server: StartWireServer, *, honest: bool
) -> None:
    elsewhere = start_wire_server(address="127.0.0.2")
    store = UploadRegistry()
    if honest:
        store.blobs = registry.blobs
    elsewhere.on("*", "/*", store)
    secret = base64.b64encode(b"alice:s3cret").decode()

    def guarded(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        if request.header("Authorization") != f"Basic {secret}":
            refuse(401, {"WWW-Authenticate": 'Basic realm="r"'})(usual, request, connection)
        else:
            store.apply(request)
            saying(Location=f"{elsewhere.origin}{UPLOADS}1?_state=a%2Fb%3D%3D.0&x=")(usual, request, connection)

    registry.script("POST", guarded, guarded)
    async with repository_on(wire_server, credentials={wire_server.host: Basic("alice", "s3cret")}) as repository:
        # What another host says to have stored counts once the registry has it.
        with nullcontext() if honest else pytest.raises(ProtocolError):
            await repository.blobs.push(BLOB, check_exists=False)
    assert store.blobs == {DIGEST: BLOB}
    assert elsewhere.requests
    assert b"uthorization" not in elsewhere.received
    assert secret.encode() in wire_server.received


async def test_f131_a_lost_answer_to_the_start_leaves_one_orphan_at_most(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("POST", lost())
    async with repository_on(wire_server) as repository:
        await repository.blobs.push(BLOB)
    assert registry.blobs == {DIGEST: BLOB}
    assert len(registry.open) == 1


# --- F132: a single request ------------------------------------------------------------------------------------------


async def test_f132_a_registry_that_takes_a_blob_with_the_post_needs_no_more(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.push(BLOB, check_exists=False, single_post=True) == KNOWN
    assert registry.methods() == ["POST"]
    assert registry.blobs == {DIGEST: BLOB}


async def test_f132_a_registry_that_opens_a_session_instead_gets_the_bytes_there(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.single_post = False
    async with repository_on(wire_server) as repository:
        await repository.blobs.push(BLOB, check_exists=False, single_post=True)
    assert registry.methods() == ["POST", "PUT"]
    assert registry.blobs == {DIGEST: BLOB}
    assert registry.open == {}


@pytest.mark.parametrize("answer", [refuse(405), refuse(404), refuse(400), lost(0)], ids=["405", "404", "400", "cut"])
async def test_f132_a_registry_that_refuses_a_single_request_gets_two(
    wire_server: WireServer, registry: UploadRegistry, answer: Step
) -> None:
    registry.script("POST", lambda _r, request, connection: answer(UploadRegistry(), request, connection))
    async with repository_on(wire_server) as repository:
        await repository.blobs.push(BLOB, check_exists=False, single_post=True)
    assert registry.blobs == {DIGEST: BLOB}
    assert registry.open == {}


# --- how bytes are sent ----------------------------------------------------------------------------------------------


async def test_q35_every_request_states_its_length(wire_server: WireServer, registry: UploadRegistry) -> None:
    async with repository_on(wire_server) as repository:
        await repository.blobs.push(BLOB)
        await repository.blobs.push(stream(b"a", b"b"))
        await write_in_chunks(repository, on_exit=OnExit.CANCEL)
    for request in registry.requests:
        assert request.header("Transfer-Encoding") is None
        if request.method in {"POST", "PATCH", "PUT"}:
            assert request.header("Content-Length") == str(len(request.body))


async def test_q44_the_empty_blob_is_one_put_without_a_range(wire_server: WireServer, registry: UploadRegistry) -> None:
    async with repository_on(wire_server) as repository:
        await repository.blobs.push(b"")
        async with repository.blobs.writer() as writer:
            await writer.commit()
    assert registry.of("PATCH") == []
    for put in registry.of("PUT"):
        assert (put.header("Content-Length"), put.header("Content-Range")) == ("0", None)
    assert registry.blobs == {Digest.of(b""): b""}


async def test_a_blob_of_known_size_goes_in_one_request(wire_server: WireServer, registry: UploadRegistry) -> None:
    async with repository_on(wire_server) as repository:
        await repository.blobs.push(stream(BLOB[:10], BLOB[10:]), KNOWN)
    assert registry.methods() == ["HEAD", "POST", "PUT"]
    assert registry.of("PUT")[0].header("Content-Range") is None


async def test_a_blob_that_is_there_is_not_sent(wire_server: WireServer, registry: UploadRegistry) -> None:
    registry.blobs[DIGEST] = BLOB
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.push(BLOB) == KNOWN
        await repository.blobs.push(BLOB, check_exists=False)
    assert registry.methods() == ["HEAD", "POST", "PUT"]


async def test_a_blob_of_another_size_under_the_same_digest_is_sent_again(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.blobs[DIGEST] = BLOB[:5]
    async with repository_on(wire_server) as repository:
        await repository.blobs.push(BLOB)
    assert registry.blobs == {DIGEST: BLOB}


async def test_a04_chunks_follow_each_other_and_the_last_bytes_go_with_the_put(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    async with repository_on(wire_server) as repository:
        assert await write_in_chunks(repository) == KNOWN
    assert bodies(registry, "PATCH") == [BLOB[:300], BLOB[300:600], BLOB[600:900]]
    assert [request.header("Content-Range") for request in registry.of("PATCH")] == ["0-299", "300-599", "600-899"]
    assert bodies(registry, "PUT") == [BLOB[900:]]
    assert registry.of("PUT")[0].header("Content-Range") == "900-999"
    assert registry.blobs == {DIGEST: BLOB}


@pytest.mark.parametrize("size", [299, 300, 301, 600, 601])
async def test_a04_no_chunk_is_ever_empty(wire_server: WireServer, registry: UploadRegistry, size: int) -> None:
    async with repository_on(wire_server) as repository, repository.blobs.writer(chunk_size=300) as writer:
        await writer.write(BLOB[:size])
        assert writer.size == size
        await writer.commit()
    assert all(bodies(registry, "PATCH"))
    assert len(bodies(registry, "PATCH")) == (size - 1) // 300
    assert registry.blobs == {Digest.of(BLOB[:size]): BLOB[:size]}


async def test_a04_a_registry_may_ask_for_larger_chunks(wire_server: WireServer, registry: UploadRegistry) -> None:
    registry.headers["OCI-Chunk-Min-Length"] = "400"
    async with repository_on(wire_server) as repository, repository.blobs.writer(chunk_size=300) as writer:
        assert writer.chunk_size == 400
        assert repository.registry.profile.min_chunk == 400
        await writer.write(BLOB[:399])
        await writer.flush()
        assert registry.of("PATCH") == []
        await writer.write(BLOB[399:])
        await writer.commit(DIGEST)
    assert [len(body) for body in bodies(registry, "PATCH")] == [400, 400]


async def test_q32_chunks_answered_with_201_or_204_are_accepted(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("PATCH", saying(201), saying(204))
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
    assert registry.blobs == {DIGEST: BLOB}


@pytest.mark.parametrize("header", [None, "0-0", "0-300", "bytes=0-299", "0-5", "x", "299-0"])
async def test_q30_a_strange_range_does_not_disturb_an_upload(
    wire_server: WireServer, registry: UploadRegistry, header: str | None
) -> None:
    registry.script("PATCH", *[saying(Range=header)] * 3)
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
    assert registry.blobs == {DIGEST: BLOB}


async def test_f136_a_registry_that_has_more_than_was_sent_ends_the_upload(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("PATCH", saying(Range="0-5000"))
    async with repository_on(wire_server) as repository:
        with pytest.raises(UploadConflictError):
            await write_in_chunks(repository)
    assert (registry.open, registry.cancelled) == ({}, 1)


async def test_f138_an_omitted_location_keeps_the_old_one(wire_server: WireServer, registry: UploadRegistry) -> None:
    registry.moves = False
    registry.script("PATCH", *[saying(Location=None)] * 3)
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
    assert registry.blobs == {DIGEST: BLOB}
