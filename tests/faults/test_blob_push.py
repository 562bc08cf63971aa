from __future__ import annotations

import asyncio
import base64
import threading
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from ocidist import (
    Basic,
    Descriptor,
    Digest,
    DigestInvalidError,
    DigestMismatchError,
    DigestUnsupportedError,
    HostConfig,
    LocationRefusedError,
    OnExit,
    PayloadTooLargeError,
    ProtocolError,
    RangeInvalidError,
    ServerError,
    SizeMismatchError,
    TransportError,
    TruncatedBodyError,
    UploadConflictError,
    UploadExpiredError,
    UploadInterruptedError,
    UploadState,
    UsageError,
)
from ocidist.remote import _pushing, _upload
from tests.faults.uploads import UPLOADS, UploadRegistry, hold, lost, refuse, saying
from tests.peers.images import noise
from tests.remote.support import NAME, repository_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from ocidist import Repository
    from tests.conftest import StartWireServer
    from tests.faults.uploads import Step
    from tests.peers.tls import Authority
    from tests.peers.token_server import TokenServer
    from tests.peers.wire_server import Connection, Request, WireServer

BLOB = noise(1000)
DIGEST = Digest.of(BLOB)
KNOWN = Descriptor.of(BLOB)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_upload, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(_upload, "LAG_WAITS", (0.001, 0.001))
    monkeypatch.setattr(_pushing, "FIRST_WAIT_S", 0.001)


@pytest.fixture
def registry(wire_server: WireServer) -> UploadRegistry:
    """The upload endpoints of ``acme/app``."""
    made = UploadRegistry()
    wire_server.on("*", "/*", made)
    return made


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def bodies(registry: UploadRegistry, method: str) -> list[bytes]:
    return [request.body for request in registry.of(method)]


async def write_in_chunks(repository: Repository, **options: Any) -> Descriptor:  # noqa: ANN401 -- the writer's own
    """Write the blob in chunks of 300 bytes: three PATCHes, and the last 100 bytes with the PUT."""
    async with repository.blobs.writer(chunk_size=300, **options) as writer:
        await writer.write(BLOB)
        return await writer.commit(DIGEST)


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


async def test_f130_a_location_on_another_host_gets_the_bytes_and_no_credentials(
    wire_server: WireServer, registry: UploadRegistry, start_wire_server: StartWireServer
) -> None:
    elsewhere = start_wire_server(address="127.0.0.2")
    store = UploadRegistry()
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


# --- S06, T66: authentication during an upload -----------------------------------------------------------------------


async def test_s06_after_a_401_the_whole_body_is_sent_again(wire_server: WireServer, registry: UploadRegistry) -> None:
    challenge = {"WWW-Authenticate": 'Basic realm="r"'}

    def guarded(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        step = UploadRegistry.usual if request.header("Authorization") else refuse(401, challenge)
        step(usual, request, connection)

    registry.script("PUT", guarded)
    async with repository_on(wire_server, credentials={wire_server.host: Basic("alice", "s3cret")}) as repository:
        await repository.blobs.push(BLOB)
    assert bodies(registry, "PUT") == [BLOB, BLOB]
    assert registry.blobs == {DIGEST: BLOB}


@pytest.mark.parametrize("chunk", range(4))
async def test_t66_a_token_that_expires_during_an_upload_costs_one_chunk(
    wire_server: WireServer, registry: UploadRegistry, token_server: TokenServer, chunk: int
) -> None:
    challenge = {"WWW-Authenticate": f'Bearer realm="{token_server.realm}",service="s",error="invalid_token"'}
    expired: set[str | None] = {None}

    def guarded(*, expire: bool = False) -> Step:
        def step(usual: UploadRegistry, request: Request, connection: Connection) -> None:
            sent = request.header("Authorization")
            if expire:
                expired.add(sent)
            (refuse(401, challenge) if sent in expired else UploadRegistry.usual)(usual, request, connection)

        return step

    registry.script("POST", guarded(), guarded())
    sending = [guarded()] * 4
    sending.insert(chunk, guarded(expire=True))
    put = -2 if chunk == 3 else -1
    registry.script("PATCH", *sending[:put])
    registry.script("PUT", *sending[put:])
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
    assert registry.blobs == {DIGEST: BLOB}
    sent = bodies(registry, "PATCH") + bodies(registry, "PUT")
    expected = [BLOB[:300], BLOB[300:600], BLOB[600:900], BLOB[900:]]
    expected.insert(chunk, expected[chunk])
    assert sent == expected
    assert len(token_server.calls) == 2


async def test_s11_cancelling_asks_for_the_repository_scope_and_no_scope_called_delete(
    wire_server: WireServer, registry: UploadRegistry, token_server: TokenServer
) -> None:
    challenge = {"WWW-Authenticate": f'Bearer realm="{token_server.realm}",service="s"'}

    def guarded(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        step = UploadRegistry.usual if request.header("Authorization") else refuse(401, challenge)
        step(usual, request, connection)

    registry.script("POST", guarded, guarded)
    async with repository_on(wire_server) as repository, repository.blobs.writer(on_exit=OnExit.CANCEL):
        pass
    assert registry.cancelled == 1
    assert {scope for call in token_server.calls for scope in call.scopes} == {f"repository:{NAME}:pull,push"}


# --- T67: lost answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("applied", [0, 1, 150, 299, 300])
@pytest.mark.parametrize("chunk", [0, 1, 2])
async def test_t67_a_chunk_whose_answer_was_lost_is_completed_and_never_sent_twice(
    wire_server: WireServer, registry: UploadRegistry, chunk: int, applied: int
) -> None:
    registry.moves = False
    registry.script("PATCH", *[None] * chunk, lost(applied))
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
    assert registry.blobs[DIGEST] == BLOB
    assert len(registry.of("GET")) == 1
    if applied <= 1 and not chunk:
        # Nothing or one byte: nobody can tell.
        assert len(registry.of("POST")) == 2
    else:
        # What follows begins exactly where the registry was.
        following = (*registry.of("PATCH")[chunk + 1 :], *registry.of("PUT"))[0]
        assert (following.header("Content-Range") or "").startswith(f"{300 * chunk + applied}-")


@pytest.mark.parametrize("chunk", [0, 1])
async def test_t67_where_the_session_moved_on_with_the_lost_answer_only_a_new_one_helps(
    wire_server: WireServer, registry: UploadRegistry, chunk: int
) -> None:
    """As docker-registry 2.8.2: only the lost answer said where the session is now."""
    registry.script("PATCH", *[None] * chunk, lost())
    async with repository_on(wire_server) as repository:
        if chunk:
            with pytest.raises(UploadExpiredError):
                await write_in_chunks(repository)
            registry.script("PATCH", *[None] * chunk, lost())
        assert await repository.blobs.push(lambda: stream(BLOB), chunk_size=300) == KNOWN
    assert registry.blobs == {DIGEST: BLOB}


@pytest.mark.parametrize("applied", [0, 50, 100])
async def test_t67_a_lost_answer_to_the_last_request_is_made_up_for(
    wire_server: WireServer, registry: UploadRegistry, applied: int
) -> None:
    def cut(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        if applied == 100:
            usual.apply(request)
        else:
            # The registry kept part of the last chunk without closing the session.
            usual.open[1].data += request.read()[:applied]
        connection.close()

    registry.script("PUT", cut)
    async with repository_on(wire_server) as repository:
        assert await write_in_chunks(repository) == KNOWN
    assert registry.blobs == {DIGEST: BLOB}
    assert bodies(registry, "PUT")[1:] == ([] if applied == 100 else [BLOB[900 + applied :]])


@pytest.mark.parametrize("stored", [True, False])
async def test_t67_a_lost_answer_to_a_whole_blob_is_made_up_for(
    wire_server: WireServer, registry: UploadRegistry, *, stored: bool
) -> None:
    registry.script("PUT", lost() if stored else lost(10))
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.push(BLOB, check_exists=False) == KNOWN
    assert registry.blobs == {DIGEST: BLOB}
    assert len(registry.of("PUT")) == (1 if stored else 2)
    assert registry.open == {}


async def test_t67_a_source_that_can_be_read_once_fails_when_the_connection_does_and_leaves_no_session(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("PUT", lost(10))
    async with repository_on(wire_server) as repository:
        with pytest.raises(TransportError):
            await repository.blobs.push(stream(BLOB), KNOWN)
    assert registry.open == {}


@pytest.mark.parametrize("status", [500, 502, 503, 408])
async def test_a_chunk_that_fails_in_passing_is_sent_again(
    wire_server: WireServer, registry: UploadRegistry, status: int
) -> None:
    registry.script("PATCH", refuse(status))
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
    assert registry.blobs == {DIGEST: BLOB}
    assert bodies(registry, "PATCH")[:2] in ([BLOB[:300]] * 2, [BLOB[:300], BLOB[:300]])


async def test_q29_a_lost_first_chunk_that_left_nothing_or_one_byte_begins_a_new_session(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("PATCH", lost(1))
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
    assert registry.blobs == {DIGEST: BLOB}
    assert len(registry.of("POST")) == 2


@pytest.mark.parametrize("kept", [0, 100])
async def test_q36_a_refused_range_is_settled_by_asking_once(
    wire_server: WireServer, registry: UploadRegistry, kept: int
) -> None:
    """The registry took less than it acknowledged, and says so only when the next chunk comes."""

    def forgetful(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        usual.open[1].data += request.read()[:kept]
        refuse(416)(usual, request, connection)

    registry.script("PATCH", None, forgetful)
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
    assert registry.blobs == {DIGEST: BLOB}
    assert len(registry.of("GET")) == 1
    assert bodies(registry, "PATCH")[2] == BLOB[300 + kept : 600]


async def test_q36_a_registry_that_refuses_its_own_offset_is_given_up(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("PATCH", None, *[refuse(416)] * 10)
    async with repository_on(wire_server) as repository:
        with pytest.raises(UploadExpiredError):
            await write_in_chunks(repository)
    assert len(registry.of("PATCH")) == 3


async def test_f139_a_session_that_vanishes_before_anything_was_acknowledged_is_begun_again(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("PATCH", refuse(404))
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
    assert registry.blobs == {DIGEST: BLOB}


@pytest.mark.parametrize("replayable", [True, False])
async def test_f139_a_session_that_vanishes_later_is_begun_again_if_the_source_can_be(
    wire_server: WireServer, registry: UploadRegistry, *, replayable: bool
) -> None:
    registry.script("PATCH", None, refuse(404))
    async with repository_on(wire_server) as repository:
        if replayable:
            assert await repository.blobs.push(lambda: stream(BLOB), chunk_size=300) == KNOWN
            assert registry.blobs == {DIGEST: BLOB}
        else:
            with pytest.raises(UploadExpiredError):
                await repository.blobs.push(stream(BLOB), chunk_size=300)


async def test_an_upload_that_cannot_go_on_is_kept_and_tells_how_to_resume(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.moves = False
    registry.script("PATCH", None, *[lost(0)] * 10)
    async with repository_on(wire_server) as repository:
        with pytest.raises(UploadInterruptedError) as caught:
            await write_in_chunks(repository)
        assert "_state" not in str(caught.value)
        state = UploadState.from_json(caught.value.state)
        assert state.offset == 300
        registry.forgive()
        async with repository.blobs.resume(state) as writer:
            await writer.write(BLOB[writer.size :])
            assert await writer.commit(DIGEST) == KNOWN
    assert registry.blobs == {DIGEST: BLOB}


# --- the end of an upload --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [202, 204])
async def test_q43_a_blob_that_is_there_was_stored_whatever_success_the_registry_says(
    wire_server: WireServer, registry: UploadRegistry, status: int
) -> None:
    registry.script("PUT", saying(status, Location="https://cdn.example/elsewhere"))
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.push(BLOB) == KNOWN
    assert registry.methods()[-1] == "HEAD"


@pytest.mark.parametrize("status", [202, 204])
async def test_q43_a_success_that_stored_nothing_is_a_protocol_error(
    wire_server: WireServer, registry: UploadRegistry, status: int
) -> None:
    registry.script("PUT", refuse(status))
    async with repository_on(wire_server) as repository:
        with pytest.raises(ProtocolError, match="does not have the blob"):
            await repository.blobs.push(BLOB)
    assert registry.open == {}


async def test_f147_a_registry_that_stored_something_else_is_not_believed(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("PUT", saying(Docker_Content_Digest=Digest.of(b"else")))
    async with repository_on(wire_server) as repository:
        with pytest.raises(DigestMismatchError):
            await repository.blobs.push(BLOB)


async def test_f147_a_registry_that_answers_in_another_algorithm_is(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    """docker-registry 2.8.2 calls a sha512 blob by its sha256 digest."""
    registry.script("PUT", saying(Docker_Content_Digest=DIGEST))
    wanted = Descriptor.of(BLOB, algorithm="sha512")
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.push(BLOB, wanted) == wanted
    assert registry.of("POST")[0].query == [("digest-algorithm", "sha512")]


@pytest.mark.parametrize(("status", "kind"), [(400, DigestInvalidError), (413, PayloadTooLargeError)])
async def test_f145_a_refused_blob_is_not_sent_again_and_leaves_no_session(
    wire_server: WireServer, registry: UploadRegistry, status: int, kind: type[Exception]
) -> None:
    body = b'{"errors":[{"code":"DIGEST_INVALID"}]}' if status == 400 else b""
    registry.script("PUT", refuse(status, {}, body))
    async with repository_on(wire_server) as repository:
        with pytest.raises(kind):
            await repository.blobs.push(BLOB)
    assert len(registry.of("PUT")) == 1
    assert registry.open == {}


async def test_a_server_that_keeps_failing_is_given_up_and_leaves_no_session(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("PUT", *[refuse(500)] * 20)
    async with repository_on(wire_server) as repository:
        with pytest.raises(ServerError):
            await repository.blobs.push(BLOB)
    assert len(registry.of("PUT")) == _pushing.MAX_ATTEMPTS
    assert registry.open == {}


# --- F149, F150: sources that are not what they should be ------------------------------------------------------------


async def failing() -> AsyncIterator[bytes]:
    yield BLOB[:500]
    raise OSError("the tape broke")


async def test_f149_a_source_that_fails_is_reported_as_it_failed_and_leaves_no_session(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    async with repository_on(wire_server) as repository:
        with pytest.raises(OSError, match="tape"):
            await repository.blobs.push(failing(), KNOWN)
        with pytest.raises(OSError, match="tape"):
            await repository.blobs.push(failing, KNOWN)
        with pytest.raises(OSError, match="tape"):
            await repository.blobs.push(failing(), chunk_size=300)
    assert registry.open == {}
    assert len(registry.of("POST")) == 3
    assert registry.blobs == {}


@pytest.mark.parametrize("chunk_size", [None, 300])
async def test_f149_a_source_that_is_a_broken_download_is_not_taken_for_a_broken_upload(
    wire_server: WireServer, registry: UploadRegistry, chunk_size: int | None
) -> None:
    opened = 0

    async def download() -> AsyncIterator[bytes]:
        nonlocal opened
        opened += 1
        yield BLOB[:500]
        raise TruncatedBodyError(1000, 500)

    async with repository_on(wire_server) as repository:
        with pytest.raises(TruncatedBodyError):
            await repository.blobs.push(download, KNOWN, check_exists=False, chunk_size=chunk_size)
    assert opened == 1
    assert registry.of("HEAD") == []
    assert registry.open == {}


@pytest.mark.parametrize("size", [0, 999, 1001])
@pytest.mark.parametrize("chunk_size", [None, 300])
async def test_f149_a_source_of_another_length_is_never_stored(
    wire_server: WireServer, registry: UploadRegistry, size: int, chunk_size: int | None
) -> None:
    async with repository_on(wire_server) as repository:
        with pytest.raises(SizeMismatchError) as caught:
            await repository.blobs.push(stream(noise(1001)[:size]), KNOWN, chunk_size=chunk_size)
    assert "source" in str(caught.value)
    assert (registry.open, registry.blobs) == ({}, {})


@pytest.mark.parametrize("chunk_size", [None, 300])
async def test_f149_a_source_with_another_digest_is_never_stored(
    wire_server: WireServer, registry: UploadRegistry, chunk_size: int | None
) -> None:
    wrong = bytes(len(BLOB))
    async with repository_on(wire_server) as repository:
        with pytest.raises(DigestMismatchError):
            await repository.blobs.push(stream(wrong[:500], wrong[500:]), KNOWN, chunk_size=chunk_size)
    assert (registry.open, registry.blobs) == ({}, {})


@pytest.mark.parametrize("source", [bytes(1000), b"short"])
async def test_f149_bytes_that_contradict_their_descriptor_cause_no_request(
    wire_server: WireServer, registry: UploadRegistry, source: bytes
) -> None:
    async with repository_on(wire_server) as repository:
        with pytest.raises((SizeMismatchError, DigestMismatchError)):
            await repository.blobs.push(source, KNOWN)
    assert registry.requests == []


async def test_f150_a_file_that_changes_while_it_is_sent_is_never_stored(
    wire_server: WireServer, registry: UploadRegistry, tmp_path: Path
) -> None:
    path = tmp_path / "blob"
    path.write_bytes(BLOB)

    def change(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        path.write_bytes(bytes(len(BLOB)))
        usual.usual(request, connection)

    # After the digest was computed, before the first byte is read again.
    registry.script("POST", change)
    async with repository_on(wire_server) as repository:
        with pytest.raises(DigestMismatchError) as caught:
            await repository.blobs.push(path)
    assert "source" in str(caught.value)
    assert (registry.open, registry.blobs) == ({}, {})


async def test_what_cannot_be_verified_or_is_no_content_causes_no_request(
    wire_server: WireServer, registry: UploadRegistry, tmp_path: Path
) -> None:
    unverifiable = Descriptor("a/b", Digest("blake3:" + "0" * 64), 5)
    async with repository_on(wire_server) as repository:
        push: Callable[..., Awaitable[Descriptor]] = repository.blobs.push
        with pytest.raises(DigestUnsupportedError):
            await push(b"12345", unverifiable)
        for source in ("text", tmp_path, 5):
            with pytest.raises(UsageError):
                await push(source)
        with pytest.raises(FileNotFoundError):
            await push(tmp_path / "missing")
        with pytest.raises(UsageError):
            await push(b"", chunk_size=0)
        with pytest.raises(UsageError):
            repository.blobs.writer(chunk_size=0)
        with pytest.raises(DigestUnsupportedError):
            repository.blobs.writer(algorithm="md5")
    assert registry.requests == []


# --- T70, F151: cancelling -------------------------------------------------------------------------------------------

OPERATIONS: dict[str, Callable[[Repository], Awaitable[object]]] = {
    "push": lambda repository: repository.blobs.push(BLOB),
    "push in chunks": lambda repository: repository.blobs.push(lambda: stream(BLOB), chunk_size=300),
    "writer": lambda repository: write_in_chunks(repository, on_exit=OnExit.CANCEL),
    "push after a mount": lambda repository: repository.blobs.push(BLOB, mount_from=["acme/base", "acme/other"]),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("nth", range(6))
async def test_t70_a_cancelled_upload_leaves_no_session_wherever_it_is_cancelled(
    wire_server: WireServer, registry: UploadRegistry, operation: str, nth: int
) -> None:
    reached = threading.Event()
    count = 0

    def counting(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        nonlocal count
        count += 1
        # A POST that is never answered opens no session here: one that did could not be known to the client.
        (hold(reached) if count == nth + 1 else UploadRegistry.usual)(usual, request, connection)

    for method in ("HEAD", "POST", "PATCH", "PUT"):
        registry.script(method, *[counting] * 10)
    async with repository_on(wire_server) as repository:
        async with anyio.create_task_group() as group:

            async def run() -> None:
                with anyio.CancelScope() as scope:
                    scopes.append(scope)
                    await OPERATIONS[operation](repository)
                reached.set()

            scopes: list[anyio.CancelScope] = []
            group.start_soon(run)
            await anyio.to_thread.run_sync(reached.wait)
            scopes[0].cancel()
        assert registry.open == {}


@pytest.mark.parametrize("nth", range(3))
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_t70_a_task_cancelled_by_asyncio_itself_leaves_no_session_either(
    wire_server: WireServer, registry: UploadRegistry, nth: int
) -> None:
    reached = threading.Event()
    registry.script("PATCH", *[None] * nth, hold(reached))
    async with repository_on(wire_server) as repository:
        task = asyncio.create_task(write_in_chunks(repository, on_exit=OnExit.CANCEL))
        await anyio.to_thread.run_sync(reached.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert registry.open == {}
        assert registry.cancelled == 1


async def test_f151_a_registry_that_does_not_answer_the_cancellation_is_not_waited_for(
    wire_server: WireServer, registry: UploadRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_upload, "CANCEL_S", 0.05)
    registry.script("DELETE", hold(threading.Event()))
    async with repository_on(wire_server) as repository, repository.blobs.writer() as writer:
        await writer.cancel()
        await writer.cancel()
    assert len(registry.of("DELETE")) == 1


@pytest.mark.parametrize("status", [200, 202, 204, 400, 401, 403, 404, 405, 500])
async def test_q38_whatever_a_registry_answers_to_a_cancellation_is_ignored(
    wire_server: WireServer, registry: UploadRegistry, status: int
) -> None:
    registry.script("DELETE", *[refuse(status)] * 5)
    async with repository_on(wire_server) as repository, repository.blobs.writer(on_exit=OnExit.CANCEL):
        pass
    assert registry.of("DELETE")


async def test_a_writer_that_is_left_keeps_its_session_unless_told_otherwise(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    async with repository_on(wire_server) as repository:
        async with repository.blobs.writer(chunk_size=300) as writer:
            await writer.write(BLOB)
        assert writer.state.offset == 900
        assert len(registry.open) == 1
        async with repository.blobs.writer(on_exit=OnExit.CANCEL):
            pass
        assert len(registry.open) == 1


async def test_a_cancelled_write_can_be_gone_on_with(wire_server: WireServer, registry: UploadRegistry) -> None:
    """The chunk was stored, but nobody heard the answer: the registry is asked before anything else is sent."""
    reached = threading.Event()

    def unheard(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        usual.apply(request)
        hold(reached)(usual, request, connection)

    registry.moves = False
    registry.script("PATCH", None, unheard)
    async with repository_on(wire_server) as repository, repository.blobs.writer(chunk_size=300) as writer:
        async with anyio.create_task_group() as group:
            group.start_soon(writer.write, BLOB)
            await anyio.to_thread.run_sync(reached.wait)
            group.cancel_scope.cancel()
        await writer.write(BLOB[writer.size :])
        assert await writer.commit(DIGEST) == KNOWN
    assert registry.blobs == {DIGEST: BLOB}
    assert bodies(registry, "PATCH") == [BLOB[:300], BLOB[300:600], BLOB[600:900]]


# --- T75 -------------------------------------------------------------------------------------------------------------


async def test_t75_no_refused_upload_leaves_a_session(wire_server: WireServer, registry: UploadRegistry) -> None:
    async with repository_on(wire_server) as repository:
        for status in (400, 401, 403, 404, 405, 413, 416, 500):
            registry.script("PUT", *[refuse(status)] * _pushing.MAX_ATTEMPTS)
            with pytest.raises(Exception, match=str(status)):
                await repository.blobs.push(BLOB)
            registry.forgive()
    assert registry.open == {}
    assert registry.blobs == {}


async def test_a_refused_chunk_raises_the_registrys_reason(wire_server: WireServer, registry: UploadRegistry) -> None:
    registry.script("PATCH", refuse(400, {}, b'{"errors":[{"code":"RANGE_INVALID","message":"no"}]}'))
    async with repository_on(wire_server) as repository:
        with pytest.raises(RangeInvalidError, match="no"):
            await write_in_chunks(repository)
