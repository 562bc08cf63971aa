"""Reading a layer of version 1: as a stream that goes on where it broke off, proven if anything can prove it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio
import attrs

from ocidist._io.verify import update
from ocidist.errors import (
    DigestMismatchError,
    NotFoundError,
    ProtocolError,
    ServerError,
    SizeMismatchError,
    TransportError,
    TruncatedBodyError,
)
from ocidist.model.digest import Hasher
from ocidist.wire.ranges import parse_content_range

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    from ocidist.http.sender import Reply
    from ocidist.legacy.v1.models import ImageJson

    Ask = Callable[[int, int | None, int | None], AbstractAsyncContextManager[Reply]]

TRIES: Final = 5
"""Times in a row that a layer may break off before it is an error."""


@attrs.frozen
class Reading:
    """One layer being read.

    Attributes:
        ask: Asks a registry, by its number, for the layer from a byte offset, up to another; None for all of it.
        registries: How many there are; the next one is asked where one has nothing.
        image: The JSON of its image.
        pause: Seconds to wait before the first attempt to go on; the second waits twice as long, and so forth.
    """

    ask: Ask
    registries: int
    image: ImageJson
    pause: float

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the layer; the last piece is held back until size and digest are known to be right."""
        state, number = _State(self.image), 0
        while True:
            try:
                async with self.ask(number, *state.wanted()) as reply:
                    state.begin(reply)
                    async for piece in reply.chunks():
                        fresh = await state.take(piece)
                        if state.held and fresh:
                            yield state.held
                        state.held = fresh or state.held
                    state.end()
            except (TransportError, ServerError, NotFoundError) as error:
                if not state.begun and number + 1 < self.registries:
                    number += 1
                    continue
                if not isinstance(error, TransportError) or not state.may_go_on():
                    raise
                state.losses += 1
                if state.losses >= TRIES:
                    error.attempts = state.losses
                    raise
                await anyio.sleep(self.pause * state.losses)
                continue
            break
        state.prove()
        if state.held:
            yield state.held


class _State:
    def __init__(self, image: ImageJson) -> None:
        self._size = image.size
        self._expected = image.checksums
        self._proof = Hasher()
        self._proof.update(image.data + b"\n")
        self._done = 0
        self._skip = 0
        self._ranges = False
        self.begun = False
        self.held = b""
        self.losses = 0

    def wanted(self) -> tuple[int | None, int | None]:
        """Return what to ask for.

        docker-registry takes no range of a single byte, and counts one byte too many where a range has no end.
        """
        if self._done == 0:
            return None, None
        if self._size is None:
            return self._done, None
        return max(min(self._done, self._size - 2), 0), self._size

    def begin(self, reply: Reply) -> None:
        start = 0
        if reply.status == 206:
            found = parse_content_range(reply.header("Content-Range") or "")
            if found is None or found.start > self._done:
                raise ProtocolError("the registry answers with another part of the layer than it was asked for")
            start = found.start
        self._skip = self._done - start
        self._ranges = (reply.header("Accept-Ranges") or "").strip().lower() == "bytes"
        self.begun = True

    async def take(self, piece: bytes) -> bytes:
        """Return what is new of a piece that arrived."""
        if self._skip:
            cut = min(self._skip, len(piece))
            self._skip -= cut
            piece = piece[cut:]
        if piece:
            self.losses = 0
            self._done += len(piece)
            if self._size is not None and self._done > self._size:
                raise SizeMismatchError(self._size, self._done)
            await update(self._proof, piece)
        return piece

    def end(self) -> None:
        if self._size is not None and self._done < self._size:
            raise TruncatedBodyError(self._size, self._done)

    def may_go_on(self) -> bool:
        # What failed before there was an answer has been tried again already.
        return self.begun and (self._ranges or self._done == 0)

    def prove(self) -> None:
        actual = self._proof.digest()
        if self._expected and actual not in self._expected:
            raise DigestMismatchError(self._expected[0], actual, size=self._done)
