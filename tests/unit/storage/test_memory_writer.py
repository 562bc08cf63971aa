from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import attrs
import pytest

from ocidist._io.body import PIECE
from ocidist.errors import (
    BlobUnknownError,
    BlobUploadUnknownError,
    DigestMismatchError,
    DigestUnsupportedError,
    SizeMismatchError,
    StorageError,
    UsageError,
)
from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest
from ocidist.model.mediatype import OCTET_STREAM
from ocidist.model.reference import RepositoryName
from ocidist.model.result import OnExit
from ocidist.storage.memory import MemoryRegistry
from ocidist.wire.upload import DEFAULT_CHUNK
from ocidist.wire.upload_state import UploadState
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DATA = noise(5 * PIECE + 17)


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


async def test_writes_of_any_size_make_one_blob(registry: MemoryRegistry) -> None:
    blobs = registry.repository("a").blobs
    async with blobs.writer() as writer:
        assert writer.chunk_size == DEFAULT_CHUNK
        assert await writer.write(DATA[:1]) == 1
        assert await writer.write(b"") == 0
        assert await writer.write(bytearray(DATA[1:1000])) == 999
        assert await writer.write(memoryview(DATA)[1000 : 4 * PIECE]) == 4 * PIECE - 1000
        assert await writer.write_from(_pieces(DATA[4 * PIECE :])) == PIECE + 17
        await writer.flush()
        assert writer.size == len(DATA)
        assert await writer.commit() == Descriptor(OCTET_STREAM, Digest.of(DATA), len(DATA))
    assert await blobs.get(Digest.of(DATA)) == DATA


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


@pytest.mark.parametrize("session", ["sha256", "sha512"])
@pytest.mark.parametrize("wanted", ["sha256", "sha512"])
async def test_a_blob_is_finished_under_the_digest_that_is_asked_for(
    registry: MemoryRegistry, session: str, wanted: str
) -> None:
    blobs = registry.repository("a").blobs
    digest = Digest.of(DATA, wanted)
    async with blobs.writer(algorithm=session) as writer:
        await writer.write(DATA)
        assert (await writer.commit(digest)).digest == digest
    assert await blobs.get(digest) == DATA


@pytest.mark.parametrize(
    ("expected", "error"),
    [
        (Digest.of(b"xyz"), DigestMismatchError),
        (Digest.of(b"xyz", "sha512"), DigestMismatchError),
        (Descriptor(OCTET_STREAM, Digest.of(b"abc"), 4), SizeMismatchError),
        (Digest("md5:900150983cd24fb0d6963f7d28e17f72"), DigestUnsupportedError),
    ],
)
async def test_a_commit_that_fails_stores_nothing_and_may_be_repeated(
    registry: MemoryRegistry, expected: Digest | Descriptor, error: type[Exception]
) -> None:
    blobs = registry.repository("a").blobs
    async with blobs.writer() as writer:
        await writer.write(b"abc")
        with pytest.raises(error):
            await writer.commit(expected)
        assert not await blobs.exists(Digest.of(b"abc"))
        assert (await writer.commit(Digest.of(b"abc"))).size == 3


async def test_a_writer_that_was_left_can_be_resumed_from_its_state(registry: MemoryRegistry) -> None:
    blobs = registry.repository("a").blobs
    async with blobs.writer(algorithm="sha512", chunk_size=10) as writer:
        await writer.write(b"abc")
        text = writer.state.to_json()
    state = UploadState.from_json(text)
    assert (state.offset, state.algorithm, state.chunk_size, state.repository) == (3, "sha512", 10, "a")
    async with blobs.resume(state) as writer:
        assert writer.size == 3
        await writer.write(b"def")
        assert (await writer.commit()).digest == Digest.of(b"abcdef", "sha512")
    with pytest.raises(BlobUploadUnknownError):
        async with blobs.resume(state):
            pass


async def test_a_session_belongs_to_its_repository_and_its_store(registry: MemoryRegistry) -> None:
    async with registry.repository("a").blobs.writer() as writer:
        state = writer.state
    for blobs in (registry.repository("b").blobs, MemoryRegistry().repository("a").blobs):
        with pytest.raises(BlobUploadUnknownError) as caught:
            async with blobs.resume(attrs.evolve(state, repository=RepositoryName("b"))):
                pass
        assert caught.value.status == 404


async def test_leaving_without_a_commit_keeps_or_cancels(registry: MemoryRegistry) -> None:
    blobs = registry.repository("a").blobs
    async with blobs.writer(on_exit=OnExit.CANCEL) as writer:
        await writer.write(b"abc")
        state = writer.state
    assert registry.used_bytes == 0
    with pytest.raises(BlobUploadUnknownError):
        async with blobs.resume(state):
            pass
    async with blobs.writer() as writer:
        await writer.write(b"abc")
        state = writer.state
    assert registry.used_bytes == 3
    async with blobs.resume(state, on_exit=OnExit.CANCEL):
        pass
    assert registry.used_bytes == 0


async def test_cancelling_twice_or_after_the_commit_does_nothing(registry: MemoryRegistry) -> None:
    blobs = registry.repository("a").blobs
    async with blobs.writer() as writer:
        await writer.write(b"abc")
        await writer.cancel()
        await writer.cancel()
    assert registry.used_bytes == 0
    async with blobs.writer() as writer:
        await writer.write(b"abc")
        await writer.commit()
        await writer.cancel()
    assert await blobs.get(Digest.of(b"abc")) == b"abc"


async def test_a_closed_writer_takes_nothing(registry: MemoryRegistry) -> None:
    blobs = registry.repository("a").blobs
    async with blobs.writer() as writer:
        pass
    with pytest.raises(UsageError):
        await writer.write(b"abc")
    with pytest.raises(UsageError):
        await writer.commit()
    async with blobs.writer() as writer:
        await writer.commit()
        with pytest.raises(UsageError):
            await writer.commit()


async def test_a_writer_whose_session_was_ended_elsewhere_says_so(registry: MemoryRegistry) -> None:
    blobs = registry.repository("a").blobs
    async with blobs.writer() as writer:
        await writer.write(b"abc")
        async with blobs.resume(writer.state) as other:
            await other.cancel()
        with pytest.raises(BlobUploadUnknownError):
            await writer.write(b"def")
        with pytest.raises(BlobUploadUnknownError):
            await writer.commit()
    assert registry.used_bytes == 0
    with pytest.raises(BlobUnknownError):
        await blobs.stat(Digest.of(b"abc"))


async def test_a_full_store_refuses_bytes_and_keeps_what_it_has() -> None:
    registry = MemoryRegistry(max_bytes=10)
    blobs = registry.repository("a").blobs
    async with blobs.writer() as writer:
        await writer.write(b"0123456789")
        with pytest.raises(StorageError, match="10 bytes"):
            await writer.write(b"x")
        assert writer.size == 10
        assert (await writer.commit()).digest == Digest.of(b"0123456789")
    with pytest.raises(StorageError):
        await blobs.push(b"x")
    await blobs.delete(Digest.of(b"0123456789"))
    await blobs.push(b"x")


async def test_a_large_write_lets_other_tasks_run(registry: MemoryRegistry) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks, registry.repository("a").blobs.writer() as writer:
        tasks.start_soon(count)
        await writer.write(bytes(20 * PIECE))
        tasks.cancel_scope.cancel()
    # Five parts are five turns; the counter needs one to begin, and may come last in another.
    assert turns >= 3


@pytest.mark.parametrize(
    ("option", "error"), [({"algorithm": "md5"}, DigestUnsupportedError), ({"chunk_size": 0}, UsageError)]
)
async def test_a_writer_is_refused_what_makes_no_sense(
    registry: MemoryRegistry, option: dict[str, str | int], error: type[Exception]
) -> None:
    with pytest.raises(error):
        async with registry.repository("a").blobs.writer(**option):  # type: ignore[arg-type]  # each is of its own type
            pass
