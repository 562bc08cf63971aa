from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocidist._io.body import PIECE
from ocidist.errors import StorageError
from ocidist.model.digest import Digest
from ocidist.storage.memory_pool import Budget, Pieces, Pool, octets

LENGTHS = st.sampled_from([0, 1, 7, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 5])


_PATTERN = bytes(range(251))  # no piece begins where the pattern does


def _content(size: int, start: int = 0) -> bytes:
    return (_PATTERN * (size // len(_PATTERN) + 2))[start % len(_PATTERN) :][:size]


@given(st.lists(LENGTHS, max_size=5), st.data())
def test_pieces_give_back_what_was_appended(lengths: list[int], data: st.DataObject) -> None:
    pieces, whole = Pieces(), b""
    for length in lengths:
        part = _content(length, len(whole))
        pieces.append(part)
        whole += part
    assert pieces.size == len(whole)
    assert b"".join(pieces) == whole
    offset = data.draw(st.integers(0, len(whole)))
    limit = data.draw(st.integers(0, 2 * PIECE))
    found = pieces.piece(offset, limit)
    assert whole[offset : offset + len(found)] == found
    assert len(found) <= min(limit, PIECE)
    assert found or not limit or offset == len(whole)


def test_a_whole_piece_is_handed_out_without_a_copy() -> None:
    pieces = Pieces()
    pieces.append(bytes(PIECE))
    assert pieces.piece(0, PIECE) is pieces.piece(0, 2 * PIECE)


def test_what_was_appended_is_a_copy() -> None:
    pieces, source = Pieces(), bytearray(b"abc")
    pieces.append(source)
    source[:] = b"xyz"
    assert b"".join(pieces) == b"abc"


@pytest.mark.parametrize(
    ("buffer", "expected"),
    [
        (b"abcd", b"abcd"),
        (bytearray(b"abcd"), b"abcd"),
        (memoryview(b"abcd")[::2], b"ac"),
        (memoryview(b"abcdefgh").cast("I"), b"abcdefgh"),
        (b"", b""),
    ],
)
def test_any_buffer_is_seen_as_its_bytes(buffer: bytes | bytearray | memoryview, expected: bytes) -> None:
    assert bytes(octets(buffer)) == expected


@pytest.mark.parametrize(("count", "fits"), [(9, True), (10, True), (11, False)])
def test_a_budget_takes_up_to_its_limit(count: int, fits: bool) -> None:
    budget = Budget(10)
    if fits:
        budget.take(count)
        assert budget.used == count
        return
    with pytest.raises(StorageError, match="10 bytes"):
        budget.take(count)
    assert budget.used == 0


def test_a_blob_is_kept_once_and_as_long_as_somebody_links_it() -> None:
    budget = Budget(None)
    pool, digest = Pool(budget), Digest.of(b"abc")
    for _ in range(2):
        pieces = Pieces()
        budget.take(3)
        pieces.append(b"abc")
        pool.add(digest, pieces)
        pool.link(digest)
    assert budget.used == 3
    pool.unlink(digest)
    assert digest in pool
    pool.unlink(digest)
    assert digest not in pool
    assert budget.used == 0
