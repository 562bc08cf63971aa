"""A blob's bytes from any offset, over as many connections as it takes.

Nothing is verified here: a stream knows where bytes belong, not what they should be.

Spec: distribution-spec, "Pulling blobs"; RFC 9110, section 14.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from ocidist.errors import (
    IntegrityError,
    OciError,
    RangeInvalidError,
    ResponseError,
    SizeMismatchError,
    TransportError,
    TruncatedBodyError,
)
from ocidist.remote._span import GetBlobFrom, Span, span_of, strong_tag
from ocidist.remote._stat import stat
from ocidist.wire.endpoints import GetBlob

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ocidist.http.sender import Pieces, Reply
    from ocidist.model.digest import Digest, Hasher
    from ocidist.remote._channel import Channel

_Piece = TypeVar("_Piece", bytes, "bytes | memoryview")
_Taken = TypeVar("_Taken", bytes, bool)

MAX_LOSSES: Final = 5
"""Connections that may be lost in a row, with less than ``PROGRESS`` bytes between one and the next."""
PROGRESS: Final = 64 * 1024
MAX_EXPIRED: Final = 2
"""Times in a row that a blob may be refused where it was read before."""
CLEANUP_S: Final = 2.0
FIRST_WAIT_S: Final = 0.05
_EXPIRED: Final = frozenset({400, 401, 403, 404, 410})


class PartRefusedError(OciError):
    """Raised when another part came than the one asked for, or the whole blob. It never leaves this package."""


class BlobStream:
    """The bytes of a blob from ``at`` up to ``stop``, or to its end.

    A connection that breaks is opened again at the byte where it broke; a part that is not the one asked for is never
    joined to what came before. Where the whole blob comes in place of the rest, what came before is skipped, and
    compared with what ``proof`` has seen.

    Args:
        channel: The repository.
        digest: The blob.
        size: Its size, if known.
        at: Offset of the first byte wanted.
        stop: Offset after the last byte wanted, or None for the blob's end.

    Attributes:
        at: Offset of the next byte.
        stop: See above.
        size: The blob's size, None until it is known.
        tag: The strong entity tag of what came so far, or None.
        proof: Has seen every byte before ``at``, or is None.
        joined: Whether the bytes come from more than one answer.
        only_parts: Whether to fail where a registry sends more than the part that was asked for.
        mirrored: The answers of mirrors that took part, by the mirror.
        asked: How many requests were made.
        on_loss: Told why a connection was lost, before another one is opened.
    """

    def __init__(self, channel: Channel, digest: Digest, *, size: int | None, at: int, stop: int | None) -> None:
        self._channel = channel
        self._digest = digest
        self.size = size
        self.at = at
        self.stop = stop
        self.tag: str | None = None
        self.proof: Hasher | None = None
        self.joined = False
        self.only_parts = False
        self.on_loss: Callable[[str], object] | None = None
        self._first = at
        self._ranges = True
        # Whether a new entity tag means that something changed.
        self._steady = True
        self._losses = 0
        self.asked = 0
        self._gained = 0
        self._connection: AsyncExitStack | None = None
        self._body: Pieces | None = None
        self._span = Span(0, None, None)
        # Offset of the next byte of the current answer.
        self._came = 0
        # Has seen what is skipped of it.
        self._skipped: Hasher | None = None
        self.mirrored: dict[str, Reply] = {}

    @property
    def end(self) -> int | None:
        """Offset after the last byte there is to read, as far as it is known."""
        size, stop = self.size, self.stop
        if stop is None or size is None:
            return size if stop is None else stop
        return min(size, stop)

    @property
    def done(self) -> bool:
        """Whether the end is known and reached."""
        end = self.end
        return end is not None and self.at >= end

    def disproved(self, error: OciError) -> bool:
        """Tell that the bytes are not the blob's, and return whether mirrors are to blame: another try avoids them."""
        mirrored, self.mirrored = self.mirrored, {}
        error.mirrors = tuple(f"{name} sent the bytes, or some of them" for name in mirrored)
        for reply in mirrored.values():
            reply.disproved(error)
        return bool(mirrored)

    async def start(self) -> None:
        """Send the first request.

        Raises:
            BlobUnknownError: There is no such blob.
            SizeMismatchError: The registry announces another size than is known.
            OciError: See ``Sender.exchange``.
        """
        try:
            await self._connect()
        except BaseException:
            await self.close()
            raise

    async def move(self, at: int) -> None:
        """Go on from another byte; the connection is dropped."""
        await self.close()
        self.at = self._first = at
        self.joined = False
        self.tag = None

    async def next(self) -> bytes:
        """Return the next piece, or nothing at the end.

        Raises:
            SizeMismatchError: The blob goes on after its end.
            TruncatedBodyError: It keeps ending early.
            TransportError: The connection was lost too often.
            OciError: See ``Sender.exchange``.
        """
        while not self.done:
            piece = await self._receive(self._pull)
            if piece:
                self._count(len(piece))
                return piece
            if self.size is None and self._span.whole:
                self.size = self.at
        return b""

    async def pour(self, into: Callable[[bytes | memoryview], object]) -> bool:
        """Hand the next bytes to *into*, in a worker thread, and return whether there may be more.

        Raises:
            Exception: As ``next``, and what *into* raises.
        """
        while not self.done:
            if await self._receive(partial(self._pour, into)):
                return True
            if self.size is None and self._span.whole:
                self.size = self.at
        return False

    async def _pour(self, into: Callable[[bytes | memoryview], object], body: Pieces) -> bool:
        def place(piece: bytes | memoryview) -> None:
            wanted = self._wanted(piece)
            if wanted:
                into(wanted)
                self._count(len(wanted))

        return await body.pour(place)

    def _wanted(self, piece: _Piece) -> _Piece:
        """Return the part of what came that was asked for and not received before."""
        # A server that does not know ranges sends what came before, too.
        gap = self.at - self._came
        self._came += len(piece)
        if gap:
            self._skip(piece[:gap])
            piece = piece[gap:]
        end = self.end
        if end is not None and len(piece) > end - self.at:
            if end == self.size:
                raise self._located(SizeMismatchError(end, end + 1))
            piece = piece[: end - self.at]
        return piece

    def _skip(self, piece: bytes | memoryview) -> None:
        skipped, proof = self._skipped, self.proof
        if skipped is None or proof is None:
            return
        skipped.update(piece)
        if skipped.size == self.at:
            self._skipped = None
            if skipped.digest() != proof.digest():
                raise self._located(IntegrityError(f"the first {self.at} bytes are not those that came before"))

    def _count(self, count: int) -> None:
        self.at += count
        self._gained += count

    async def check_end(self) -> None:
        """Check that nothing follows the last byte; to be called at the end of the blob.

        Raises:
            SizeMismatchError: Something does.
        """
        if self._body is None:
            return
        try:
            extra: bytes = await anext(self._body, b"")
        except TransportError:
            # Everything is there already; how the connection ended does not matter.
            return
        if extra:
            raise self._located(SizeMismatchError(self.at, self.at + 1))

    async def close(self) -> None:
        """Release the connection. The next piece opens another one."""
        connection, self._connection, self._body = self._connection, None, None
        if connection is not None:
            with anyio.move_on_after(CLEANUP_S, shield=True):
                await connection.aclose()

    async def _receive(self, take: Callable[[Pieces], Awaitable[_Taken]]) -> _Taken | None:
        """Take from the current answer, or from the next one if this one broke; nothing if it ended."""
        while True:
            try:
                if self._body is None:
                    await self._connect()
                body, self._body = self._body, None
                if body is None:
                    return None
                piece = await take(body)
                # Put back only now: a body whose reading was cancelled looks as if it had ended.
                self._body = body
            except TransportError as error:
                if self._connection is None:
                    # No answer came; that was tried again already.
                    raise
                await self._lost(error)
                continue
            except ResponseError as error:
                # The place a registry redirects to may have expired since; the registry knows a new one.
                if error.status not in _EXPIRED or not 0 < self._losses <= MAX_EXPIRED:
                    raise
                await self._lost(error)
                continue
            if piece:
                return piece
            expected = self._announced()
            if expected is None or self.at >= expected:
                # Where a part was sent completely, what is missing, if anything, is the next part.
                await self.close()
                return None
            await self._lost(TruncatedBodyError(expected, self.at))

    def _announced(self) -> int | None:
        """Return the offset after the last byte of the current answer, if it or anybody before it said so."""
        return self.end if self._span.stop is None and self.size is not None else self._span.stop

    async def _pull(self, body: Pieces) -> bytes:
        async for piece in body:
            wanted = self._wanted(piece)
            if wanted:
                return wanted
        return b""

    async def _lost(self, error: TransportError | ResponseError) -> None:
        await self.close()
        self._losses = 1 if self._gained >= PROGRESS else self._losses + 1
        self._gained = 0
        if self._losses > MAX_LOSSES:
            error.attempts = self.asked
            raise self._located(error)
        if self.on_loss is not None:
            self.on_loss(error.message)
        if self._losses > 1:
            await anyio.sleep(FIRST_WAIT_S * 2.0**self._losses)

    # --- the connection ----------------------------------------------------------------------------------------------

    @property
    def _ranged(self) -> bool:
        return self._ranges and (self.at > 0 or self.stop is not None)

    async def _connect(self) -> None:
        """Ask for the bytes from the current position; leaves no body where there are none."""
        await self.close()
        if self.done and self.stop is not None:
            return
        try:
            await self._ask()
        except RangeInvalidError as error:
            if error.status != 416 or not self._ranged:
                raise
            if self.only_parts:
                raise PartRefusedError(error.message) from error
            if self.size is None:
                self.size = (await stat(self._channel, self._digest)).size
            if self.at < self.size:
                self._ranges = False
                await self._ask()

    async def _ask(self) -> None:
        tries = 2
        while tries:
            endpoint = self._endpoint()
            self.asked += 1
            connection = AsyncExitStack()
            reply = await connection.enter_async_context(self._channel.exchange(endpoint, about=self._digest))
            self._connection = connection
            span = span_of(reply, endpoint, size=self.size, tag=self.tag)
            if span is not None and not span.whole and span.stop is not None and span.stop <= self.at:
                # Nobody asked for a part, and what it holds is here already: that could go on for ever.
                span = None
            try:
                if self.only_parts and (span is None or reply.status != 206):
                    raise PartRefusedError("the registry does not send the parts it is asked for")
                if span is not None:
                    self._learn(span)
                    self._note_tag(reply)
                    self._body = reply.chunks()
                    if reply.mirror is not None:
                        self.mirrored[reply.mirror] = reply
                    return
            except SizeMismatchError as error:
                if not reply.disproved(error):
                    raise
                await self.close()
                continue
            await self.close()
            # It sent another part than the one asked for: take the whole, and skip.
            self._ranges = False
            if endpoint.ranged or not reply.disproved(self._cut()):
                tries -= 1
        raise self._located(self._cut())

    def _cut(self) -> TruncatedBodyError:
        return TruncatedBodyError(self.end or self.at + 1, self.at)

    def _endpoint(self) -> GetBlob:
        name = self._channel.repository_name
        if not self._ranged:
            return GetBlob(name, self._digest)
        length = None if self.stop is None else self.stop - self.at
        proven = self.proof is not None or self.only_parts
        return GetBlobFrom(name, self._digest, self.at, length, proven=proven, if_range=self.tag)

    def _learn(self, span: Span) -> None:
        if span.total is not None and self.size is not None and span.total != self.size:
            raise self._located(SizeMismatchError(self.size, span.total))
        self.size = self.size if span.total is None else span.total
        self._span = span
        self._came = span.start
        self._skipped = None
        if self.proof is not None and span.start < self.at == self.proof.size:
            self._skipped = self._digest.hasher()
        self.joined = self.joined or self.at > self._first

    def _note_tag(self, reply: Reply) -> None:
        tag = strong_tag(reply)
        if tag is None:
            return
        if self.tag is not None and (tag != self.tag or (reply.status != 206 and self._ranged)):
            # The whole came, and will be compared. If it is the same under another tag, tags tell nothing here; if the
            # tag is the same, too, the server takes any condition for one that is not met.
            self._steady = False
        # Another host has tags of its own, unless they are made of the digest.
        own = reply.mirror is not None and self._digest not in tag
        self.tag = tag if self._steady and not own else None

    def _located(self, error: OciError) -> OciError:
        about = self._channel.name_of(self._digest)
        host = self._channel.host
        return error.locate(operation=GetBlob.operation, reference=about, host=host, attempts=self.asked)
