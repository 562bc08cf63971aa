from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from ocidist import (
    Descriptor,
    Digest,
    DigestMismatchError,
    DigestUnsupportedError,
    OnExit,
    RangeInvalidError,
    SizeMismatchError,
    TruncatedBodyError,
    UsageError,
)
from ocidist.remote import _pushing, _upload
from tests.faults.uploads import (
    BLOB,
    DIGEST,
    KNOWN,
    UploadRegistry,
    bodies,
    hold,
    refuse,
    stream,
    write_in_chunks,
)
from tests.peers.images import noise
from tests.remote.support import repository_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from ocidist import Repository
    from tests.peers.wire_server import Connection, Request, WireServer


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
