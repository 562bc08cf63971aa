from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from ocidist._io.body import BytesBody, FactoryBody, FileBody, StreamBody
from ocidist._io.verify import OFFLOAD, ProvenBody, digest_of, digest_of_file, update
from ocidist.errors import DigestMismatchError, DigestUnsupportedError, SizeMismatchError
from ocidist.model.digest import Digest, Hasher
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DATA = noise(100)
PIECES = [DATA[:40], DATA[40:70], DATA[70:]]


async def stream(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def taken(body: ProvenBody) -> tuple[bytes, Exception | None]:
    """Return what a body hands out, and how it fails."""
    got = b""
    try:
        async with aclosing(body.open()) as pieces:
            async for piece in pieces:
                got += piece
    except (DigestMismatchError, SizeMismatchError) as error:
        return got, error
    return got, None


@pytest.mark.parametrize("size", [0, 1, OFFLOAD - 1, OFFLOAD, OFFLOAD + 1])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_bytes_hash_the_same_on_the_loop_and_in_a_thread(size: int, algorithm: str) -> None:
    data = noise(size)
    hasher = Hasher(algorithm)
    await update(hasher, data)
    assert hasher.digest() == await digest_of(data, algorithm) == Digest.of(data, algorithm)


@pytest.mark.parametrize("size", [0, 1, 9 * 1024 * 1024])
async def test_a_files_digest_is_that_of_its_bytes(tmp_path: Path, size: int) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"skip" + noise(size))
    body = await FileBody(path, 4).measure()
    assert await digest_of_file(body) == Digest.of(noise(size))


async def test_a_file_that_ends_early_has_no_digest(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"abc")
    with pytest.raises(SizeMismatchError):
        await digest_of_file(FileBody(path, 0, 4))


async def test_a_body_that_is_what_it_should_be_passes_unchanged() -> None:
    body = ProvenBody(FactoryBody(lambda: stream(PIECES)), Digest.of(DATA), len(DATA))
    assert body.size == len(DATA)
    assert await taken(body) == (DATA, None)
    assert await taken(body) == (DATA, None)


async def test_an_empty_body_is_proven_too() -> None:
    assert await taken(ProvenBody(BytesBody(b""), Digest.of(b""), 0)) == (b"", None)
    _, error = await taken(ProvenBody(BytesBody(b""), Digest.of(b"x"), 0))
    assert isinstance(error, DigestMismatchError)


@pytest.mark.parametrize("place", [0, 50, 99])
async def test_f150_a_body_that_changed_is_never_handed_out_whole(place: int) -> None:
    wrong = bytearray(DATA)
    wrong[place] ^= 1
    pieces = [bytes(wrong[:40]), bytes(wrong[40:70]), bytes(wrong[70:])]
    got, error = await taken(ProvenBody(StreamBody(stream(pieces)), Digest.of(DATA), len(DATA)))
    assert isinstance(error, DigestMismatchError)
    assert "source" in str(error)
    assert got == bytes(wrong[:70])


@pytest.mark.parametrize("pieces", [PIECES[:2], [*PIECES, b"x"], [DATA + b"x"], []])
async def test_f149_a_body_of_another_length_is_never_handed_out_whole(pieces: list[bytes]) -> None:
    got, error = await taken(ProvenBody(StreamBody(stream(pieces)), Digest.of(DATA), len(DATA)))
    assert isinstance(error, SizeMismatchError)
    assert len(got) < len(DATA)


def test_a_body_cannot_be_proven_with_an_algorithm_nobody_trusts() -> None:
    with pytest.raises(DigestUnsupportedError):
        ProvenBody(BytesBody(b""), Digest("sha384:" + "0" * 96), 0)


def test_a_proven_body_can_be_sent_again_if_its_source_can() -> None:
    assert ProvenBody(BytesBody(b""), Digest.of(b""), 0).replayable
    assert not ProvenBody(StreamBody(stream([])), Digest.of(b""), 0).replayable
