from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import (
    Basic,
    Digest,
    OnExit,
    TransportError,
    UploadExpiredError,
    UploadInterruptedError,
    UploadState,
)
from tests.faults.uploads import (
    BLOB,
    DIGEST,
    KNOWN,
    UploadRegistry,
    bodies,
    lost,
    refuse,
    stream,
    write_in_chunks,
)
from tests.remote.support import NAME, repository_on

if TYPE_CHECKING:
    from tests.faults.uploads import Step
    from tests.peers.token_server import TokenServer
    from tests.peers.wire_server import Connection, Request, WireServer


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
    assert (len(registry.of("GET")), len(registry.of("POST"))) == (1, 1)
    # What follows begins exactly where the registry was. It cannot say that it has one byte: there the next one tries.
    tried = 1 if applied == 1 and not chunk else 0
    following = (*registry.of("PATCH")[chunk + 1 + tried :], *registry.of("PUT"))[0]
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


@pytest.mark.parametrize("applied", [0, 1])
@pytest.mark.parametrize("size", [1, 2, 300])
async def test_q29_a_registry_that_has_nothing_or_one_byte_is_asked_by_sending_the_byte(
    wire_server: WireServer, registry: UploadRegistry, applied: int, size: int
) -> None:
    registry.moves = False
    registry.script("PATCH", lost(applied))
    async with repository_on(wire_server) as repository, repository.blobs.writer(chunk_size=size) as writer:
        await writer.write(BLOB[: size + 5])
        assert (await writer.commit()).digest == Digest.of(BLOB[: size + 5])
    assert list(registry.blobs.values()) == [BLOB[: size + 5]]
    assert len(registry.of("POST")) == 1


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
