"""Response bodies: read on the event loop, or poured out in a worker thread.

Spec: RFC 9112, section 6.3.
"""

from __future__ import annotations

import select
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import anyio.lowlevel
import anyio.to_thread
import httpx

from ocidist.http.transport.head import ChunkReader
from ocidist.http.transport.sendfile import FIRST, SLICE
from ocidist.http.transport.socketio import Pace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from ocidist.http.transport.head import Head
    from ocidist.http.transport.socketio import SocketIO, Timeout

READ: Final = 512 * 1024
"""Bytes to receive at once on the event loop."""
POUR: Final = 1024 * 1024
"""Bytes to receive at once in a worker thread."""


class ResponseBody(httpx.AsyncByteStream):
    """The body of one response, and the connection it comes over.

    Args:
        io: The connection.
        head: The head of the response.
        rest: What came with the head already.
        timeouts: ``read``, the seconds to wait for each next piece, and ``floor``, the bytes per second that have to
            come in the long run.
        release: Called once at the end, with whether the connection can be used again.

    Attributes:
        done: Whether the end of the body is here, and the connection free for others.

    Raises:
        httpx.RemoteProtocolError: What came already is malformed.
    """

    __slots__ = (
        "_chunks",
        "_done",
        "_floor",
        "_io",
        "_keep_alive",
        "_left",
        "_most",
        "_pace",
        "_ready",
        "_release",
        "_silent",
        "_timeout",
    )

    def __init__(
        self,
        io: SocketIO,
        head: Head,
        rest: bytes,
        *,
        timeouts: Mapping[str, Timeout],
        release: Callable[[bool], None],
    ) -> None:
        self._io = io
        self._release: Callable[[bool], None] | None = release
        self._keep_alive = head.keep_alive
        # Bytes still to come; None where only the end will tell.
        self._left = head.length
        self._chunks = ChunkReader() if head.chunked else None
        self._ready: deque[bytes] = deque()
        self.done: bool = False
        self._timeout = timeouts.get("read")
        self._floor = timeouts.get("floor")
        # Most bodies come with their heads, and there is no pace to watch.
        self._pace: Pace | None = None
        self._silent = 0.0
        self._most = FIRST
        if self._left is not None and len(rest) > self._left:
            # What follows the body is no answer to anything.
            self._keep_alive = False
            rest = rest[: self._left]
        if rest:
            self._take(rest)
        elif self._left == 0:
            self._finish(reusable=self._keep_alive)

    # --- on the event loop -------------------------------------------------------------------------------------------

    def whole(self) -> bytes | None:
        """Return the body without waiting, if all of it is here; None if not."""
        if not self.done:
            return None
        data = b"".join(self._ready) if len(self._ready) != 1 else self._ready[0]
        self._ready.clear()
        return data

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the pieces as they arrive."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece.

        Raises:
            httpx.ReadTimeout: Nothing came in time, or too little.
            httpx.ReadError: The connection broke, or was closed by this side.
            httpx.RemoteProtocolError: The body ended early, or its chunks are malformed.
        """
        waited = False
        while not self._ready:
            if self.done:
                raise StopAsyncIteration
            try:
                waited = await self._receive()
            except BaseException:
                # Cancelled, too: what was received in that moment is lost.
                self._end(reusable=False)
                raise
        if not waited:
            # A server that is always faster must not keep all others waiting. Cancelled here, nothing is lost.
            await anyio.lowlevel.checkpoint()
        return self._ready.popleft()

    async def _receive(self) -> bool:
        """Receive something and return whether that meant waiting."""
        self._check_open()
        size = READ if self._left is None else min(self._left, READ)
        data = self._io.receive_now(size)
        waited = data is None
        start = time.monotonic()
        if data is None:
            data = await self._io.arrival(size, self._timeout)
        self._take(data)
        if not self.done:
            # Where that was the end, it does not matter any more how long it took.
            self._note(time.monotonic() - start if waited else 0.0, len(data))
        return waited

    def _note(self, waited: float, count: int) -> None:
        if self._pace is None:
            self._pace = Pace(self._floor)
        self._pace.note(waited, count)

    def _check_open(self) -> None:
        if self._release is None:
            raise httpx.ReadError("the response was closed before its end")

    def _take(self, data: bytes) -> None:
        """Take what was received; nothing is the end of the connection."""
        if self._chunks is not None:
            if not data:
                raise _cut_short()
            self._ready.extend(self._chunks.feed(data))
            if self._chunks.done:
                self._finish(reusable=self._keep_alive and self._chunks.clean)
        elif self._left is None:
            if data:
                self._ready.append(data)
            else:
                self._finish(reusable=False)
        else:
            if not data:
                raise _cut_short()
            self._ready.append(data)
            self._count(len(data))

    def _count(self, count: int) -> None:
        if self._left is not None:
            self._left -= count
            if not self._left:
                self._finish(reusable=self._keep_alive)

    # --- in a worker thread ------------------------------------------------------------------------------------------

    async def pour(self, into: Callable[[bytes | memoryview], object]) -> bool:
        """Receive the next part of the body in a worker thread, and hand each piece to *into* there.

        It returns after ``SLICE`` seconds at the latest, so that it can be cancelled between two parts. When it is
        cancelled while the thread is busy, the thread ends as soon as it comes back from *into*.

        Returns:
            Whether there may be more.

        Raises:
            httpx.TransportError: As iterating does.
            Exception: What *into* raises.
        """
        if self.done and not self._ready:
            return False
        try:
            if self._left and self._io.unwatch():
                await self._pour(into)
            else:
                # Chunks, or the last bytes of a body: whoever reads them is not kept waiting by the event loop.
                async for piece in self:
                    await anyio.to_thread.run_sync(into, piece)
                    break
        except BaseException:
            self._end(reusable=False)
            raise
        return True

    async def _pour(self, into: Callable[[bytes | memoryview], object]) -> None:
        self._check_open()
        here, self._ready = self._ready, deque()
        got, waited = await anyio.to_thread.run_sync(self._pour_slice, into, here, abandon_on_cancel=True)
        self._most *= 2
        self._silent = 0.0 if got else self._silent + waited
        if self._timeout is not None and self._silent >= self._timeout:
            raise httpx.ReadTimeout(f"nothing came for {self._timeout:g} seconds")
        self._count(got)
        if not self.done:
            self._note(waited, got)

    def _pour_slice(self, into: Callable[[bytes | memoryview], object], here: Iterable[bytes]) -> tuple[int, float]:
        got, waited, left = 0, 0.0, self._left or 0
        end = time.monotonic() + SLICE
        readable = select.poll()
        with self._io.lend(), memoryview(bytearray(min(POUR, left))) as buffer:
            readable.register(self._io.sock, select.POLLIN)
            for piece in here:
                into(piece)
            while got < min(left, self._most) and (now := time.monotonic()) < end:
                with buffer[: left - got] as room:
                    count = self._io.receive_into(room)
                    if count:
                        got += count
                        with room[:count] as received:
                            into(received)
                    elif count is None:
                        readable.poll((end - now) * 1000)
                        waited += time.monotonic() - now
                    else:
                        raise _cut_short()
        return got, waited

    # --- the end -----------------------------------------------------------------------------------------------------

    def _finish(self, *, reusable: bool) -> None:
        self.done = True
        self._end(reusable=reusable)

    def _end(self, *, reusable: bool) -> None:
        release, self._release = self._release, None
        if release is not None:
            release(reusable)

    async def aclose(self) -> None:
        """Release the connection; it is closed if the body was not read to its end."""
        self._end(reusable=False)
        self._ready.clear()

    def __del__(self) -> None:
        # Somebody forgot to close it: its connection must not stay open for as long as the server likes.
        self._end(reusable=False)


def _cut_short() -> httpx.RemoteProtocolError:
    return httpx.RemoteProtocolError("peer closed connection without sending complete message body")
