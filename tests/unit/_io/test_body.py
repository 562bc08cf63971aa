from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import pytest

from ocidist._io.body import (
    FILE_PIECE,
    PIECE,
    BytesBody,
    FactoryBody,
    FileBody,
    StreamBody,
    WatchedBody,
    as_body,
)
from ocidist.errors import BodyNotReplayableError, SizeMismatchError, UsageError
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from ocidist._io.body import Body


async def read(body: Body) -> bytes:
    async with aclosing(body.open()) as pieces:
        return b"".join([piece async for piece in pieces])


async def letters() -> AsyncGenerator[bytes, None]:
    for letter in (b"a", b"b", b"c"):
        yield letter


# --- what callers may give -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [b"abc", bytearray(b"abc"), memoryview(b"abc")])
async def test_bytes_of_every_kind_can_be_sent_again_and_again(source: bytes | bytearray | memoryview) -> None:
    body = as_body(source)
    assert (body.size, body.replayable) == (3, True)
    assert [await read(body), await read(body)] == [b"abc", b"abc"]


async def test_a_stream_can_be_sent_once_and_says_so() -> None:
    body = as_body(letters())
    assert (body.size, body.replayable) == (None, False)
    assert await read(body) == b"abc"
    with pytest.raises(BodyNotReplayableError):
        body.open()


async def test_a_callable_is_called_again_for_every_attempt() -> None:
    body = as_body(letters)
    assert (body.size, body.replayable) == (None, True)
    assert [await read(body), await read(body)] == [b"abc", b"abc"]


async def test_a_path_can_be_sent_again_and_has_a_size_once_it_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"abc")
    body = as_body(path)
    assert isinstance(body, FileBody)
    assert body.size is None
    measured = await body.measure()
    assert (measured.size, measured.replayable) == (3, True)
    assert [await read(measured), await read(measured), await read(body)] == [b"abc", b"abc", b"abc"]


def test_a_string_is_refused_because_it_might_be_a_path_or_the_text_itself() -> None:
    with pytest.raises(UsageError, match="Path"):
        as_body(cast("Any", "blob.tar"))


@pytest.mark.parametrize("source", [None, 5, [b"abc"], iter([b"abc"]), object()])
def test_what_is_no_content_is_refused(source: object) -> None:
    with pytest.raises(UsageError, match=type(source).__name__):
        as_body(cast("Any", source))


# --- pieces ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
@pytest.mark.parametrize("kind", [bytes, bytearray])
async def test_bytes_in_memory_go_out_in_small_pieces_that_join_to_the_whole(size: int, kind: type) -> None:
    data = noise(size)
    pieces = [piece async for piece in BytesBody(kind(data)).open()]
    assert b"".join(pieces) == data
    assert all(0 < len(piece) <= PIECE for piece in pieces)


async def test_a_buffer_is_not_held_between_pieces_so_that_its_owner_may_empty_it() -> None:
    buffer = bytearray(noise(2 * PIECE))
    async with aclosing(BytesBody(buffer).open()) as pieces:
        await anext(pieces)
        buffer.clear()


async def test_a_view_of_larger_items_is_sent_byte_by_byte() -> None:
    data = noise(16)
    body = BytesBody(memoryview(data).cast("I"))
    assert body.size == 16
    assert await read(body) == data


@pytest.mark.parametrize("size", [0, 1, FILE_PIECE, FILE_PIECE + 1])
async def test_a_file_is_read_to_its_end(tmp_path: Path, size: int) -> None:
    path = tmp_path / "blob"
    path.write_bytes(noise(size))
    assert await read(await FileBody(path).measure()) == noise(size)


async def test_a_part_of_a_file_is_exactly_that_part(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"0123456789")
    assert await read(FileBody(path, 3, 4)) == b"3456"
    rest = await FileBody(path, 3).measure()
    assert (rest.size, await read(rest)) == (7, b"3456789")


async def test_f149_a_file_that_shrank_is_noticed_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"0123456789")
    body = await FileBody(path).measure()
    path.write_bytes(b"01234")
    with pytest.raises(SizeMismatchError, match="expected 10 bytes, got 5") as caught:
        await read(body)
    assert "source" in str(caught.value)


async def test_a_file_that_grew_is_sent_as_it_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"0123")
    body = await FileBody(path).measure()
    path.write_bytes(b"0123456789")
    assert await read(body) == b"0123"


async def test_only_regular_files_are_measured(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a regular file"):
        await FileBody(tmp_path).measure()
    with pytest.raises(FileNotFoundError):
        await FileBody(tmp_path / "missing").measure()
    short = tmp_path / "short"
    short.write_bytes(b"ab")
    with pytest.raises(UsageError, match="fewer than the offset"):
        await FileBody(short, 3).measure()


@pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1)])
def test_a_part_of_a_file_lies_within_it(tmp_path: Path, offset: int, length: int | None) -> None:
    with pytest.raises(UsageError):
        FileBody(tmp_path / "blob", offset, length)


async def test_pieces_of_other_buffers_become_bytes() -> None:
    async def mixed() -> AsyncIterator[Any]:
        yield bytearray(b"a")
        yield memoryview(b"b")

    assert [piece async for piece in StreamBody(mixed()).open()] == [b"a", b"b"]


async def test_a_stream_of_text_is_refused() -> None:
    async def text() -> AsyncIterator[Any]:
        yield "a"

    with pytest.raises(UsageError, match="str"):
        await read(FactoryBody(text))


async def test_a_stream_that_is_given_up_half_way_is_closed() -> None:
    closed = False

    async def source() -> AsyncGenerator[bytes, None]:
        nonlocal closed
        try:
            yield b"a"
            yield b"b"
        finally:
            closed = True

    async with aclosing(StreamBody(source()).open()) as pieces:
        await anext(pieces)
    assert closed


# --- watching --------------------------------------------------------------------------------------------------------


async def test_progress_counts_what_was_taken_and_begins_anew_when_the_body_is_opened_again() -> None:
    seen: list[tuple[int, int | None]] = []
    body = WatchedBody(FactoryBody(letters, 3), lambda done, total: seen.append((done, total)))
    await read(body)
    await read(body)
    assert seen == [(1, 3), (2, 3), (3, 3)] * 2


async def test_a_failing_source_is_remembered_until_it_is_opened_again() -> None:
    failing = True

    async def source() -> AsyncIterator[bytes]:
        yield b"a"
        if failing:
            raise OSError("the disk is gone")

    body = WatchedBody(FactoryBody(source))
    with pytest.raises(OSError, match="disk"):
        await read(body)
    assert isinstance(body.failure, OSError)
    failing = False
    assert await read(body) == b"a"
    assert body.failure is None
