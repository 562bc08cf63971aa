"""Uploads by programs, and to registries, that do what nobody expects of them."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from ocidist import (
    DigestMismatchError,
    OnExit,
    ServerError,
    UploadInterruptedError,
    UploadState,
    UsageError,
)
from ocidist.wire import upload
from tests.faults.uploads import BLOB, BLOBS, DIGEST, KNOWN, UploadRegistry, bodies, refuse
from tests.peers import answers
from tests.peers.images import noise
from tests.remote.support import repository_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ocidist import Repository
    from tests.faults.uploads import Step
    from tests.peers.wire_server import Connection, Request, WireServer


async def begun(repository: Repository, *, chunk_size: int = 100) -> UploadState:
    """Write the first 200 bytes of the blob, and return where the upload stands."""
    async with repository.blobs.writer(chunk_size=chunk_size) as writer:
        await writer.write(BLOB[:200])
        await writer.flush()
    return writer.state


def cut(_registry: UploadRegistry, _request: Request, connection: Connection) -> None:
    """Reset the connection, and take nothing."""
    connection.reset()


async def small_pieces() -> AsyncIterator[bytes]:
    for start in range(0, len(BLOB), 70):
        yield BLOB[start : start + 70]


async def with_empty_pieces() -> AsyncIterator[bytes]:
    for piece in (b"", BLOB[:150], b"", b"", BLOB[150:], b""):
        yield piece


# --- a commit that is called again -----------------------------------------------------------------------------------


async def test_n3_a_commit_that_was_interrupted_sends_the_rest_when_it_is_called_again(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    async with repository_on(wire_server) as repository:
        state = await begun(repository)
        async with repository.blobs.resume(state, source=small_pieces) as writer:
            registry.script("PATCH", None, None, *[cut] * 4)
            with pytest.raises(UploadInterruptedError):
                await writer.commit()
            assert writer.size < len(BLOB)
            # What is said without an expected digest is all of the source, too, and not what was sent of it.
            assert await writer.commit() == KNOWN
    assert list(registry.blobs) == [DIGEST]


async def test_n3_a_commit_whose_source_failed_cannot_be_called_again(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield BLOB[:450]
        raise OSError("the tape broke")

    async with repository_on(wire_server) as repository:
        state = await begun(repository)
        async with repository.blobs.resume(state, source=breaks) as writer:
            with pytest.raises(OSError, match="tape"):
                await writer.commit()
            for _ in range(2):
                with pytest.raises(UsageError, match="source failed"):
                    await writer.commit()
    assert registry.blobs == {}


# --- sources ---------------------------------------------------------------------------------------------------------


async def test_n3_empty_pieces_do_not_look_like_the_end_of_a_source(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    async with repository_on(wire_server) as repository:
        state = await begun(repository)
        async with repository.blobs.resume(state, source=with_empty_pieces) as writer:
            assert await writer.commit() == KNOWN
        assert await repository.blobs.push(with_empty_pieces, check_exists=False) == KNOWN
        assert await repository.blobs.push(with_empty_pieces, KNOWN, check_exists=False) == KNOWN
    assert len(registry.of("POST")) == 3


async def test_f150_a_wrong_source_that_ends_with_an_empty_piece_is_never_sent_whole(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    async def wrong() -> AsyncIterator[bytes]:
        yield noise(len(BLOB), "something else")
        yield b""

    async with repository_on(wire_server) as repository:
        with pytest.raises(DigestMismatchError):
            await repository.blobs.push(wrong, KNOWN)
    assert all(len(body) < len(BLOB) for body in bodies(registry, "PUT"))
    assert registry.open == {}


@pytest.mark.parametrize("found", [b"bytes", [b"a", b"list"], None], ids=["bytes", "list", "nothing"])
async def test_f149_a_callable_that_opens_no_stream_is_a_usage_error(
    wire_server: WireServer, registry: UploadRegistry, found: object
) -> None:
    async with repository_on(wire_server) as repository:
        with pytest.raises(UsageError, match=f"not {type(found).__name__}"):
            await repository.blobs.push(lambda: found)  # type: ignore[arg-type, return-value]  # the mistake
    assert registry.open == {}


# --- registries ------------------------------------------------------------------------------------------------------


async def test_q43_a_single_request_that_is_answered_too_early_proves_nothing(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    answered = threading.Event()

    def says_done(_registry: UploadRegistry, request: Request, connection: Connection) -> None:
        answers.early(201, {"Location": f"{BLOBS}x"})(request, connection)
        answered.set()

    async def slowly() -> AsyncIterator[bytes]:
        yield BLOB[:500]
        await anyio.to_thread.run_sync(answered.wait)
        await anyio.sleep(0.05)
        yield BLOB[500:]

    registry.script("POST", says_done)
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.push(slowly, KNOWN, single_post=True) == KNOWN
    assert registry.blobs == {DIGEST: BLOB}
    assert registry.open == {}


def no_more_than(most: int) -> Step:
    """Refuse larger bodies as a proxy does."""

    def step(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        request.read()
        if len(request.body) > most:
            answers.respond(413)(request, connection)
        else:
            usual.usual(request, connection)

    return step


@pytest.mark.parametrize("most", [100, 300, 900])
async def test_q34_a_proxy_that_takes_less_than_a_chunk_gets_a_blob_that_is_smaller_than_one_in_smaller_ones(
    wire_server: WireServer, registry: UploadRegistry, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(upload, "LEAST_CHUNK", 50)
    for method in ("PUT", "PATCH"):
        registry.script(method, *[no_more_than(most)] * 40)
    async with repository_on(wire_server) as repository:
        # A chunk has 16 MiB, where nobody says otherwise.
        assert await repository.blobs.push(BLOB) == KNOWN
        assert len(registry.of("PUT")) == 2
        other = noise(len(BLOB), "another")
        await repository.blobs.push(other)
    # What was learned holds for the next one.
    assert len(registry.of("PUT")) == 3
    assert len(registry.blobs) == 2
    assert registry.open == {}


# --- registries that want to be left alone ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_t35_an_upload_that_is_told_to_wait_for_days_fails_at_once(
    wire_server: WireServer, registry: UploadRegistry, method: str
) -> None:
    registry.script(method, *[refuse(503, {"Retry-After": "86400"})] * 9)
    async with repository_on(wire_server) as repository:
        with anyio.fail_after(5), pytest.raises(ServerError) as caught:
            await repository.blobs.push(BLOB, chunk_size=300 if method == "PATCH" else None)
    assert caught.value.retry_after == 86400
    assert len(registry.of(method)) == 1
    assert registry.open == {}


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_t35_an_upload_that_is_told_to_wait_a_moment_waits_for_it(
    wire_server: WireServer, registry: UploadRegistry, method: str
) -> None:
    registry.script(method, refuse(503, {"Retry-After": "0.3"}))
    async with repository_on(wire_server) as repository:
        began = anyio.current_time()
        await repository.blobs.push(BLOB, chunk_size=300 if method == "PATCH" else None)
        assert anyio.current_time() - began >= 0.3
    assert list(registry.blobs) == [DIGEST]


async def test_q32_a_minimum_that_was_learned_meanwhile_limits_how_small_chunks_become(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    async with repository_on(wire_server) as repository, repository.blobs.writer(chunk_size=1_000_000) as writer:
        registry.headers = {"OCI-Chunk-Min-Length": "300000"}
        async with repository.blobs.writer(on_exit=OnExit.CANCEL):
            pass
        registry.headers = {}
        big = noise(900_000)
        await writer.write(big)
        registry.script("PATCH", *[no_more_than(500_000)] * 9)
        await writer.flush()
        await writer.commit()
    assert [len(body) for body in bodies(registry, "PATCH")] == [900_000, *[300_000] * 3]
    assert list(registry.blobs.values()) == [big]


# --- journals and states ---------------------------------------------------------------------------------------------


async def test_n3_a_push_that_goes_on_sends_chunks_of_the_size_it_is_given(
    wire_server: WireServer, registry: UploadRegistry, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    registry.script("PATCH", None, *[cut] * 9)
    async with repository_on(wire_server) as repository:
        with pytest.raises(UploadInterruptedError):
            await repository.blobs.push(BLOB, journal=journal, chunk_size=400)
        registry.forgive()
        before = len(registry.of("PATCH"))
        await repository.blobs.push(BLOB, journal=journal, chunk_size=200)
    assert [len(body) for body in bodies(registry, "PATCH")[before:]] == [200, 200]
    assert list(registry.blobs) == [DIGEST]


async def test_n3_a_state_that_was_opened_after_the_end_of_time_is_damaged(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    async with repository_on(wire_server) as repository:
        said = json.loads((await begun(repository)).to_json())
    assert UploadState.from_json(json.dumps(said)).offset == 200
    with pytest.raises(UsageError, match="started_at"):
        UploadState.from_json(json.dumps(said | {"started_at": 1e12}))
    assert len(registry.of("POST")) == 1
