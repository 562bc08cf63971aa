"""What every store does with blobs that come piece by piece."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import (
    BlobUploadUnknownError,
    Descriptor,
    Digest,
    DigestMismatchError,
    DigestUnsupportedError,
    OciError,
    OnExit,
    SizeMismatchError,
    UploadError,
    UploadState,
    UsageError,
)
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ocidist.storage.protocols import BlobStore
    from tests.storage.stores import Store

DATA = noise(600_000, "writers")
DIGEST = Digest.of(DATA)
CHUNK = 200_000


async def test_a_blob_is_written_in_pieces_of_any_size(store: Store) -> None:
    blobs = store.repository().blobs

    async def rest() -> AsyncIterator[bytes]:
        for start in range(1000, len(DATA), 77_777):
            yield DATA[start : start + 77_777]

    async with blobs.writer(chunk_size=CHUNK) as writer:
        assert (writer.size, writer.chunk_size) == (0, CHUNK)
        assert await writer.write(bytearray(DATA[:500])) == 500
        assert await writer.write(memoryview(DATA)[500:1000]) == 500
        assert await writer.write(b"") == 0
        assert await writer.write_from(rest()) == len(DATA) - 1000
        assert writer.size == len(DATA)
        await writer.flush()
        assert await writer.commit() == Descriptor("application/octet-stream", DIGEST, len(DATA))
        await writer.cancel()  # does nothing any more
    assert await blobs.get(DIGEST) == DATA


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_commit_verifies(store: Store, algorithm: str) -> None:
    blobs = store.repository().blobs
    described = Descriptor.of(DATA, "application/x", algorithm=algorithm)
    async with blobs.writer(algorithm=algorithm) as writer:
        await writer.write(DATA)
        with pytest.raises(DigestMismatchError):
            await writer.commit(Digest.of(b"other", algorithm))
        assert not await blobs.exists(described.digest)
    async with blobs.writer(algorithm=algorithm) as writer:
        await writer.write(DATA)
        with pytest.raises(SizeMismatchError):
            await writer.commit(Descriptor("application/x", described.digest, len(DATA) - 1))
    async with blobs.writer(algorithm=algorithm) as writer:
        await writer.write(DATA)
        assert await writer.commit(described) == described
    assert await blobs.get(described) == DATA


async def test_a_writer_is_gone_on_with(store: Store) -> None:
    blobs = store.repository().blobs
    before = time.time()
    async with blobs.writer(chunk_size=CHUNK) as writer:
        await writer.write(DATA[:CHUNK])
        await writer.flush()
        text = writer.state.to_json()
    state = UploadState.from_json(text)
    assert (state.repository, state.offset, state.chunk_size) == (store.name("a"), CHUNK, CHUNK)
    assert before - 1 <= state.started_at <= time.time() + 1
    async with blobs.resume(state, source=DATA) as writer:
        assert writer.size == CHUNK
        await writer.write(DATA[CHUNK:])
        assert (await writer.commit(DIGEST)).size == len(DATA)
    assert await blobs.get(DIGEST) == DATA


@pytest.mark.parametrize("end", ["commit", "cancel", "exit"])
async def test_a_session_that_has_ended_is_unknown(store: Store, end: str) -> None:
    blobs = store.repository().blobs
    async with blobs.writer(on_exit=OnExit.CANCEL) as writer:
        await writer.write(DATA[:10])
        await writer.flush()
        state = writer.state
        if end == "commit":
            await writer.commit()
        elif end == "cancel":
            await writer.cancel()
            await writer.cancel()
            with pytest.raises(UsageError):
                await writer.write(b"x")
    with pytest.raises((BlobUploadUnknownError, UploadError)):
        await _finish(blobs, state)
    assert await blobs.exists(Digest.of(DATA[:10])) == (end == "commit")


async def _finish(blobs: BlobStore, state: UploadState) -> None:
    async with blobs.resume(state) as writer:
        await writer.write(b"x")
        await writer.commit(Digest.of(DATA[:10] + b"x"))


async def test_what_is_wrong_about_a_writer_is_told_at_once(store: Store) -> None:
    blobs = store.repository().blobs
    with pytest.raises(DigestUnsupportedError):
        async with blobs.writer(algorithm="md5"):
            pass
    with pytest.raises(UsageError):
        async with blobs.writer(chunk_size=0):
            pass
    async with blobs.writer(on_exit=OnExit.CANCEL) as writer:
        pass
    with pytest.raises(OciError):
        await writer.write(b"x")
    with pytest.raises(OciError):
        await writer.commit()


async def test_writers_do_not_disturb_each_other(store: Store) -> None:
    found: list[Digest] = []

    async def write(number: int) -> None:
        async with store.repository(f"at-once-{number % 2}").blobs.writer(chunk_size=CHUNK) as writer:
            for start in range(0, len(DATA), CHUNK):
                await writer.write(DATA[start : start + CHUNK])
            await writer.write(b"%d" % number)
            found.append((await writer.commit()).digest)

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(write, number)
    assert set(found) == {Digest.of(DATA + b"%d" % number) for number in range(8)}
