"""One request and the head of its answer on a connection that is free.

The server may answer before it has read the whole body: an error then ends the sending, and is what the caller gets
instead of a broken pipe.

Spec: RFC 9112, section 9.5.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx

from ocidist.http.lean import NO_BODY, LeanRequest
from ocidist.http.transport.head import Head, HeadReader, request_head
from ocidist.http.transport.sendfile import send_file
from ocidist.http.transport.socketio import Pace

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Mapping

    from ocidist.http.transport.sendfile import FileSource
    from ocidist.http.transport.socketio import SocketIO, Timeout

READ: Final = 64 * 1024
"""Bytes to receive at once while a head is awaited."""

NOTHING_CAME: Final = "Server disconnected without sending a response."
_LAST_WORDS: Final = 1.0
_REFUSAL: Final = 300


class Exchange:
    """One request and its answer.

    Args:
        io: The connection.
        request: The request.

    Attributes:
        complete: Whether the whole request was sent.
        early: Whether the final answer was there before that.
        timeouts: The request's timeouts.
    """

    __slots__ = ("_ended", "_found", "_io", "_reader", "_request", "complete", "early", "timeouts")

    def __init__(self, io: SocketIO, request: httpx.Request) -> None:
        self._io = io
        self._request = request
        self.timeouts: Mapping[str, Timeout] = request.extensions.get("timeout") or {}
        self._reader = HeadReader(request.method)
        self._found: Head | None = None
        self._ended = False
        self.complete: bool = False
        self.early: bool = False

    @property
    def reusable(self) -> bool:
        """Whether this side leaves the connection in a state in which another request can follow."""
        if isinstance(self._request, LeanRequest):
            return self.complete
        return self.complete and "close" not in self._request.headers.get("Connection", "").lower()

    @property
    def rest(self) -> bytes:
        """What came after the head of the answer."""
        return self._reader.rest

    @property
    def untouched(self) -> bool:
        """Whether nothing of an answer has come."""
        return not self._reader.started

    async def run(self) -> Head:
        """Send the request and return the head of its final answer.

        Raises:
            httpx.TransportError: The connection broke, was too slow, or brought something else than an answer.
            httpx.LocalProtocolError: The request cannot be sent as it is.
            Exception: Whatever the source of the body raises.
        """
        # The head says who asks, and has no name here: the error of who is cancelled while this waits keeps its frame.
        io, stream = self._io, self._request.stream
        try:
            if isinstance(stream, httpx.ByteStream):
                rest = self._send_now(stream)
                self.complete = not rest or await self._send_rest(rest)
            else:
                await self._send_streamed(stream)
        except httpx.WriteError:
            # The server may have said why before it hung up. A success without the whole body is none.
            if not await self._last_words() or (self._found is not None and self._found.status < _REFUSAL):
                raise
        self.early = self._found is not None
        if self._found is None and not self._ended:
            # Nearly always this is all of it.
            data = await io.arrival(READ, self.timeouts.get("read"))
            self._found = self._reader.feed(data) if data else None
            self._ended = not data
        return self._found or await self._answer()

    # --- the body ----------------------------------------------------------------------------------------------------

    def _send_now(self, stream: httpx.ByteStream) -> memoryview:
        """Send the request in one piece and return what is left: a small one is one packet, and one system call."""
        head = head_of(self._request)
        data = head if stream is NO_BODY else head + b"".join(stream)
        return memoryview(data)[self._io.send_now(data) :]

    async def _send_rest(self, rest: memoryview) -> bool:
        pace = Pace(self.timeouts.get("floor"), httpx.WriteTimeout)
        return await self._io.send(rest, self.timeouts.get("write"), pace, stop=self._answered)

    async def _send_streamed(self, stream: Any) -> None:  # noqa: ANN401 -- as httpx types it
        timeout = self.timeouts.get("write")
        pace = Pace(self.timeouts.get("floor"), httpx.WriteTimeout)
        await self._io.send(memoryview(head_of(self._request)), timeout)
        file: FileSource | None = getattr(stream, "file", None)
        if file is not None and self._io.unwatch():
            self.complete = await send_file(self._io, file, patience=timeout, pace=pace, stop=self._answered)
            return
        async with aclosing(_framed(stream, self._request)) as pieces:
            async for piece in pieces:
                if self._answered() or not await self._io.send(piece, timeout, pace, stop=self._answered):
                    return
        self.complete = True

    def _answered(self) -> bool:
        """Return whether sending the rest of the body is pointless."""
        while self._found is None and not self._ended and self._io.answered():
            data = self._io.take_ahead()
            if data:
                self._found = self._reader.feed(data)
            else:
                self._ended = True
        # After a success the server still wants the rest.
        return self._ended or (self._found is not None and self._found.status >= _REFUSAL)

    async def _last_words(self) -> bool:
        try:
            self._found = self._found or await self._answer(most=_LAST_WORDS)
        except httpx.TransportError:
            return False
        return True

    # --- the answer --------------------------------------------------------------------------------------------------

    async def _answer(self, most: Timeout = None) -> Head:
        timeout = self.timeouts.get("read") if most is None else most
        pace, begun = Pace(self.timeouts.get("floor")), self._reader.started
        while True:
            start = time.monotonic()
            data = b"" if self._ended else await self._io.receive(READ, timeout)
            if not data:
                raise httpx.RemoteProtocolError(NOTHING_CAME)
            found = self._reader.feed(data)
            if found is not None:
                return found
            # How long a server takes to begin is its business; from then on it has to go ahead.
            pace.note(time.monotonic() - start if begun else 0.0, len(data))
            begun = True


def head_of(request: httpx.Request) -> bytes:
    """Return the head of a request.

    Raises:
        httpx.LocalProtocolError: It holds what cannot be sent.
    """
    made = request.head() if isinstance(request, LeanRequest) else None
    if made is not None:
        return made
    fields = request.headers.raw
    if "Host" not in request.headers:
        fields = [(b"Host", request.url.netloc), *fields]
    return request_head(request.method.encode("ascii", "replace"), request.url.raw_path, fields)


def _framed(stream: AsyncIterable[bytes], request: httpx.Request) -> AsyncGenerator[bytes, None]:
    field = request.field if isinstance(request, LeanRequest) else request.headers.get
    if (field("Transfer-Encoding") or "").strip().lower() == "chunked":
        return _in_chunks(stream)
    length = (field("Content-Length") or "0").strip()
    if not length.isdecimal():
        raise httpx.LocalProtocolError("Content-Length is not a number")
    return _in_all(stream, int(length))


async def _in_chunks(stream: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    async with _opened(stream) as pieces:
        async for piece in pieces:
            # An empty chunk would be the end.
            if piece:
                yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


async def _in_all(stream: AsyncIterable[bytes], length: int) -> AsyncGenerator[bytes, None]:
    left = length
    async with _opened(stream) as pieces:
        async for piece in pieces:
            left -= len(piece)
            if left < 0:
                raise httpx.LocalProtocolError(f"the body is longer than its Content-Length of {length} bytes")
            if piece:
                yield piece
    if left:
        raise httpx.LocalProtocolError(f"the body ended {left} bytes before its Content-Length of {length} bytes")


@asynccontextmanager
async def _opened(stream: AsyncIterable[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    pieces = aiter(stream)
    try:
        yield pieces
    finally:
        # httpx wraps a caller's generator in one of its own, and would leave closing it to the garbage collector.
        for each in (pieces, getattr(stream, "_stream", None)):
            if isinstance(each, AsyncGenerator):
                await each.aclose()
