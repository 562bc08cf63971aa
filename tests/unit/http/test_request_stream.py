from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from ocidist.http.reply import RequestStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Watched:
    """A body of two pieces that knows whether its source was closed."""

    replayable = True
    size = 2

    def __init__(self) -> None:
        self.closed = 0

    async def open(self) -> AsyncGenerator[bytes, None]:
        """Return its pieces."""
        try:
            yield b"a"
            yield b"b"
        finally:
            self.closed += 1


async def test_a_source_that_an_attempt_left_half_read_is_known_and_closed() -> None:
    body = Watched()
    stream = RequestStream(body)
    assert not stream.half_read
    async for piece in stream:
        assert piece == b"a"
        break
    assert stream.half_read
    assert body.closed == 0
    await stream.aclose()
    assert not stream.half_read
    assert body.closed == 1


async def test_a_source_that_was_read_to_its_end_needs_no_closing() -> None:
    body = Watched()
    stream = RequestStream(body)
    assert [piece async for piece in stream] == [b"a", b"b"]
    assert body.closed == 1
    assert not stream.half_read


async def test_a_source_that_failed_needs_no_closing() -> None:
    class Failing(Watched):
        async def open(self) -> AsyncGenerator[bytes, None]:
            async with aclosing(super().open()) as pieces:
                async for piece in pieces:
                    yield piece
                    raise OSError("gone")

    body = Failing()
    stream = RequestStream(body)
    with pytest.raises(OSError, match="gone"):
        assert [piece async for piece in stream]
    assert body.closed == 1
    assert not stream.half_read
