from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist._io.body import PIECE
from ocidist.errors import (
    BlobUnknownError,
    DigestMismatchError,
    DigestUnsupportedError,
    InvalidDigestError,
    InvalidReferenceError,
    LimitExceededError,
    RangeInvalidError,
    SizeMismatchError,
    UsageError,
)
from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest
from ocidist.model.mediatype import OCTET_STREAM
from ocidist.model.result import Mounted, OnExit
from ocidist.storage.memory import MemoryRegistry
from ocidist.wire.upload_state import UploadStarted
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DATA = noise(2 * PIECE + 100)
DIGEST = Digest.of(DATA)
LAYER = "application/vnd.oci.image.layer.v1.tar"


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


async def _stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_a_blob_comes_back_as_it_was_pushed(registry: MemoryRegistry) -> None:
    blobs = registry.repository("a").blobs
    pushed = await blobs.push(DATA)
    assert pushed == Descriptor(OCTET_STREAM, DIGEST, len(DATA))
    assert await blobs.stat(DIGEST) == pushed
    assert await blobs.exists(DIGEST)
    assert await blobs.get(DIGEST) == DATA
    assert [digest async for digest in blobs.digests()] == [DIGEST]


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_described_blob_keeps_its_media_type_and_algorithm(registry: MemoryRegistry, algorithm: str) -> None:
    descriptor = Descriptor.of(DATA, LAYER, algorithm=algorithm)
    blobs = registry.repository("a").blobs
    assert await blobs.push(_stream(DATA[:10], DATA[10:]), descriptor) == descriptor
    assert await blobs.get(descriptor) == DATA


async def test_the_empty_blob_is_a_blob(registry: MemoryRegistry) -> None:
    blobs = registry.repository("a").blobs
    empty = await blobs.push(b"")
    assert empty.size == 0
    assert await blobs.get(empty) == b""
    async with blobs.open(empty) as reader:
        assert [piece async for piece in reader] == []


async def test_a_blob_of_another_repository_is_not_there(registry: MemoryRegistry) -> None:
    await registry.repository("a").blobs.push(DATA)
    other = registry.repository("b").blobs
    assert not await other.exists(DIGEST)
    with pytest.raises(BlobUnknownError) as caught:
        await other.stat(DIGEST)
    assert (caught.value.status, caught.value.errors[0].code) == (404, "BLOB_UNKNOWN")
    with pytest.raises(BlobUnknownError):
        await other.get(DIGEST)
    with pytest.raises(BlobUnknownError):
        await other.delete(DIGEST)


async def test_a_blob_of_two_repositories_is_stored_once(registry: MemoryRegistry) -> None:
    await registry.repository("a").blobs.push(DATA)
    await registry.repository("b").blobs.push(DATA)
    assert registry.used_bytes == len(DATA)
    await registry.repository("a").blobs.delete(DIGEST)
    assert await registry.repository("b").blobs.get(DIGEST) == DATA
    await registry.repository("b").blobs.delete(DIGEST)
    assert registry.used_bytes == 0


async def test_a_deleted_blob_can_still_be_read_by_who_has_it_open(registry: MemoryRegistry) -> None:
    blobs = registry.repository("a").blobs
    await blobs.push(DATA)
    async with blobs.open(DIGEST) as reader:
        first = await reader.read(10)
        await blobs.delete(DIGEST)
        assert first + await reader.read() == DATA


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, None, DATA),
        (0, 0, b""),
        (5, 10, DATA[5:15]),
        (PIECE - 1, 2, DATA[PIECE - 1 : PIECE + 1]),
        (PIECE, PIECE, DATA[PIECE : 2 * PIECE]),
        (len(DATA) - 3, 100, DATA[-3:]),
        (len(DATA), None, b""),
    ],
)
async def test_a_part_of_a_blob_can_be_read(
    registry: MemoryRegistry, offset: int, length: int | None, expected: bytes
) -> None:
    blobs = registry.repository("a").blobs
    await blobs.push(DATA)
    async with blobs.open(DIGEST, offset=offset, length=length) as reader:
        assert b"".join([piece async for piece in reader]) == expected
        assert reader.descriptor.size == len(DATA)
    async with blobs.open(DIGEST, offset=offset, length=length) as reader:
        assert await reader.read() == expected
        assert await reader.read() == b""


async def test_reading_past_the_end_is_refused_as_a_registry_would(registry: MemoryRegistry) -> None:
    blobs = registry.repository("a").blobs
    await blobs.push(b"abc")
    with pytest.raises(RangeInvalidError) as caught:
        async with blobs.open(Digest.of(b"abc"), offset=4):
            pass
    assert caught.value.status == 416
    for offset, length in ((-1, None), (0, -1)):
        with pytest.raises(UsageError):
            async with blobs.open(Digest.of(b"abc"), offset=offset, length=length):
                pass


async def test_seeking_moves_within_the_whole_blob(registry: MemoryRegistry) -> None:
    blobs = registry.repository("a").blobs
    await blobs.push(b"0123456789")
    async with blobs.open(Digest.of(b"0123456789"), offset=2) as reader:
        assert reader.tell() == 2
        assert await reader.read(3) == b"234"
        assert await reader.seek(-2, 1) == 3
        assert await reader.read(1) == b"3"
        assert await reader.seek(-1, 2) == 9
        assert await reader.read() == b"9"
        assert await reader.seek(0) == 0
        assert await reader.read(2) == b"01"
        for offset, whence in ((11, 0), (-1, 0), (1, 2), (0, 3)):
            with pytest.raises(UsageError):
                await reader.seek(offset, whence)


async def test_a_small_blob_is_small(registry: MemoryRegistry) -> None:
    blobs = registry.repository("a").blobs
    await blobs.push(b"abc")
    assert await blobs.get(Digest.of(b"abc"), max_size=3) == b"abc"
    with pytest.raises(LimitExceededError):
        await blobs.get(Digest.of(b"abc"), max_size=2)


@pytest.mark.parametrize(
    ("descriptor", "error"),
    [
        (Descriptor(OCTET_STREAM, Digest.of(b"xyz"), 3), DigestMismatchError),
        (Descriptor(OCTET_STREAM, Digest.of(b"abc"), 4), SizeMismatchError),
        (Descriptor(OCTET_STREAM, Digest.of(b"abc"), 2), SizeMismatchError),
        (Descriptor(OCTET_STREAM, Digest("md5:900150983cd24fb0d6963f7d28e17f72"), 3), DigestUnsupportedError),
    ],
)
async def test_content_that_is_not_what_was_described_leaves_nothing(
    registry: MemoryRegistry, descriptor: Descriptor, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await registry.repository("a").blobs.push(b"abc", descriptor)
    assert registry.used_bytes == 0
    assert await registry.repositories().collect() == []


async def test_a_descriptor_of_another_size_does_not_open_a_blob(registry: MemoryRegistry) -> None:
    blobs = registry.repository("a").blobs
    await blobs.push(b"abc")
    wrong = Descriptor(OCTET_STREAM, Digest.of(b"abc"), 4)
    with pytest.raises(SizeMismatchError):
        await blobs.get(wrong)
    with pytest.raises(SizeMismatchError):
        await blobs.push(b"abc", wrong)


async def test_a_push_that_is_cancelled_leaves_nothing(registry: MemoryRegistry) -> None:
    started = anyio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"some bytes"
        started.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(registry.repository("a").blobs.push, endless())
        await started.wait()
        assert registry.used_bytes == 10
        tasks.cancel_scope.cancel()
    assert registry.used_bytes == 0


async def test_a_source_that_is_not_needed_is_not_read(registry: MemoryRegistry) -> None:
    async def fail() -> AsyncIterator[bytes]:
        yield b""
        pytest.fail("it was read")

    descriptor = await registry.repository("a").blobs.push(DATA)
    assert await registry.repository("a").blobs.push(fail(), descriptor) == descriptor
    assert await registry.repository("b").blobs.push(fail(), descriptor, mount_from=["x", "a"]) == descriptor
    assert await registry.repository("b").blobs.get(DIGEST) == DATA


async def test_a_mount_links_what_the_other_repository_has(registry: MemoryRegistry) -> None:
    await registry.repository("a").blobs.push(DATA)
    target = registry.repository("b").blobs
    mounted = await target.mount(DIGEST, source="a")
    assert mounted == Mounted(DIGEST, registry.repository("a").name)
    assert await target.get(DIGEST) == DATA
    assert registry.used_bytes == len(DATA)


async def test_a_mount_without_a_source_looks_everywhere(registry: MemoryRegistry) -> None:
    await registry.repository("a").blobs.push(DATA)
    target = registry.repository("b").blobs
    assert await target.mount(DIGEST, source=None) == Mounted(DIGEST)
    assert await target.exists(DIGEST)


@pytest.mark.parametrize("source", ["c", None])
async def test_a_mount_that_finds_nothing_begins_an_upload(registry: MemoryRegistry, source: str | None) -> None:
    await registry.repository("a").blobs.push(b"other")
    target = registry.repository("b").blobs
    begun = await target.mount(DIGEST, source=source)
    assert isinstance(begun, UploadStarted)
    assert begun.state.offset == 0
    async with target.resume(begun.state, on_exit=OnExit.CANCEL) as writer:
        await writer.write(DATA)
        assert (await writer.commit(DIGEST)).digest == DIGEST


async def test_a_mount_is_only_as_good_as_its_arguments(registry: MemoryRegistry) -> None:
    blobs = registry.repository("a").blobs
    with pytest.raises(InvalidDigestError):
        await blobs.mount("latest", source="b")
    with pytest.raises(InvalidReferenceError):
        await blobs.mount(DIGEST, source="B")
    with pytest.raises(DigestUnsupportedError):
        await blobs.mount("md5:900150983cd24fb0d6963f7d28e17f72", source="b")
