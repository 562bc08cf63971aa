"""What every store does with blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import (
    BlobUnknownError,
    Descriptor,
    Digest,
    DigestMismatchError,
    InvalidDigestError,
    LimitExceededError,
    Mounted,
    RangeInvalidError,
    SizeMismatchError,
    UploadStarted,
    UsageError,
)
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.storage.stores import Store

PIECE = 256 * 1024
DATA = noise(2 * PIECE + 100)
DIGEST = Digest.of(DATA)
OCTETS = "application/octet-stream"


async def _stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_a_blob_comes_back_as_it_was_pushed(store: Store, tmp_path: Path) -> None:
    blobs = store.repository().blobs
    pushed = await blobs.push(DATA)
    assert pushed == Descriptor(OCTETS, DIGEST, len(DATA))
    assert (await blobs.stat(DIGEST)).size == len(DATA)
    assert await blobs.exists(DIGEST)
    assert await blobs.get(DIGEST) == DATA
    (tmp_path / "source").write_bytes(DATA[:1000])
    for source in (tmp_path / "source", _stream(DATA[:1], DATA[1:1000]), lambda: _stream(DATA[:1000])):
        described = Descriptor.of(DATA[:1000], "application/x")
        assert await store.repository("b").blobs.push(source, described) == described
    assert await store.repository("b").blobs.get(described) == DATA[:1000]


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_blob_of_either_algorithm_is_verified(store: Store, algorithm: str) -> None:
    descriptor = Descriptor.of(DATA, "application/x", algorithm=algorithm)
    blobs = store.repository().blobs
    with pytest.raises(DigestMismatchError):
        await blobs.push(b"x" * len(DATA), descriptor)
    assert not await blobs.exists(descriptor.digest)
    assert await blobs.push(_stream(DATA[:10], DATA[10:]), descriptor) == descriptor
    assert await blobs.get(descriptor) == DATA


async def test_the_empty_blob_is_a_blob(store: Store) -> None:
    blobs = store.repository().blobs
    empty = await blobs.push(b"")
    assert empty.size == 0
    assert await blobs.get(empty) == b""
    async with blobs.open(empty) as reader:
        assert [piece async for piece in reader] == []


async def test_what_is_not_there_is_unknown(store: Store) -> None:
    blobs = store.repository().blobs
    for _ in range(2):
        assert not await blobs.exists(DIGEST)
        for act in (blobs.stat, blobs.get, blobs.delete):
            with pytest.raises(BlobUnknownError) as caught:
                await act(DIGEST)
            assert caught.value.status == 404
        await blobs.push(b"so that there is a repository")


async def test_what_is_no_digest_is_refused(store: Store) -> None:
    blobs = store.repository().blobs
    for evil in ("sha256:../../../../etc/passwd", "sha256:", "../x", "sha256:" + "A" * 64, "v1", ""):
        for act in (blobs.stat, blobs.exists, blobs.get, blobs.delete):
            with pytest.raises(InvalidDigestError):
                await act(evil)
        with pytest.raises(InvalidDigestError):
            await blobs.mount(evil, source=None)


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, 5, DATA[:5]),
        (5, 10, DATA[5:15]),
        (PIECE - 1, 2, DATA[PIECE - 1 : PIECE + 1]),
        (PIECE, PIECE, DATA[PIECE : 2 * PIECE]),
        (len(DATA) - 3, 100, DATA[-3:]),
        (7, None, DATA[7:]),
    ],
)
async def test_a_part_can_be_read(store: Store, offset: int, length: int | None, expected: bytes) -> None:
    blobs = store.repository().blobs
    described = await blobs.push(DATA)
    async with blobs.open(described, offset=offset, length=length) as reader:
        assert b"".join([piece async for piece in reader]) == expected
        assert reader.descriptor.size == len(DATA)
    async with blobs.open(described, offset=offset, length=length) as reader:
        assert await reader.read() == expected
        assert await reader.read() == b""


async def test_a_reader_goes_where_it_is_told(store: Store) -> None:
    blobs = store.repository().blobs
    described = await blobs.push(DATA)
    async with blobs.open(described) as reader:
        assert reader.tell() == 0
        assert await reader.read(10) == DATA[:10]
        assert await reader.seek(-4, 2) == len(DATA) - 4
        assert await reader.read() == DATA[-4:]
        assert await reader.seek(3) == 3
        assert await reader.seek(2, 1) == reader.tell() == 5
        assert await reader.read(3) == DATA[5:8]
        for offset, whence in ((-1, 0), (0, 3)):
            with pytest.raises(UsageError):
                await reader.seek(offset, whence)


async def test_a_wrong_reading_is_refused(store: Store) -> None:
    blobs = store.repository().blobs
    described = await blobs.push(DATA)
    with pytest.raises(LimitExceededError):
        await blobs.get(described, max_size=len(DATA) - 1)
    assert await blobs.get(described, max_size=len(DATA)) == DATA
    if store.is_local:
        with pytest.raises(RangeInvalidError):
            async with blobs.open(DIGEST, offset=len(DATA) + 1):
                pass
    for options in ({"offset": -1}, {"length": -1}):
        with pytest.raises(UsageError):
            async with blobs.open(DIGEST, **options):
                pass
    lying = Descriptor(OCTETS, DIGEST, len(DATA) + 1)
    with pytest.raises(SizeMismatchError):
        async with blobs.open(lying) as reader:
            await reader.read()


async def test_a_blob_of_another_repository_is_mounted(store: Store) -> None:
    await store.repository("a").blobs.push(DATA)
    other = store.repository("b").blobs
    assert not await other.exists(DIGEST)
    mounted = await other.mount(DIGEST, source=store.name("a"))
    assert isinstance(mounted, Mounted)
    assert (mounted.digest, mounted.source) == (DIGEST, store.name("a"))
    assert await other.get(DIGEST) == DATA
    # Once more, where it is already.
    assert isinstance(await other.mount(DIGEST, source=store.name("a")), Mounted)
    # Each repository has it for itself.
    await store.repository("a").blobs.delete(DIGEST)
    assert not await store.repository("a").blobs.exists(DIGEST)
    assert await other.get(DIGEST) == DATA


async def test_a_mount_of_what_is_not_there_begins_an_upload(store: Store) -> None:
    blobs = store.repository("b").blobs
    started = await blobs.mount(DIGEST, source=store.name("nobody"))
    assert isinstance(started, UploadStarted)
    assert started.state.offset == 0
    async with blobs.resume(started.state, source=DATA) as writer:
        await writer.write(DATA)
        assert (await writer.commit(DIGEST)).digest == DIGEST
    assert await blobs.get(DIGEST) == DATA


async def test_a_push_links_what_another_repository_has(store: Store) -> None:
    described = await store.repository("a").blobs.push(DATA)

    async def never() -> AsyncIterator[bytes]:
        raise AssertionError
        yield b""

    other = store.repository("b").blobs
    sources = [store.name("nobody"), store.name("a")]
    assert await other.push(never, described, mount_from=sources) == described
    assert await other.push(never, described) == described
    assert await other.get(described) == DATA


async def test_a_push_that_fails_leaves_nothing(store: Store) -> None:
    blobs = store.repository().blobs

    async def breaks() -> AsyncIterator[bytes]:
        yield DATA[:100]
        raise RuntimeError

    for size in (len(DATA) - 1, len(DATA) + 1):
        with pytest.raises(SizeMismatchError):
            await blobs.push(_stream(DATA), Descriptor(OCTETS, DIGEST, size))
    with pytest.raises(RuntimeError):
        await blobs.push(breaks, Descriptor.of(DATA))
    assert not await blobs.exists(DIGEST)
    with pytest.raises(UsageError):
        await blobs.push("text")  # type: ignore[arg-type]  # that is the mistake


async def test_a_deleted_blob_is_gone(store: Store) -> None:
    blobs = store.repository().blobs
    await blobs.push(DATA)
    await blobs.delete(DIGEST)
    assert not await blobs.exists(DIGEST)
    with pytest.raises(BlobUnknownError):
        await blobs.delete(DIGEST)
    await blobs.push(DATA)
    assert await blobs.get(DIGEST) == DATA
