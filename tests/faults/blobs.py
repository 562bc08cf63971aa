"""One blob behind a server that knows ranges and entity tags, and can be told to break off or to lie."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import anyio

from tests.peers.answers import head, respond

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.peers.wire_server import Connection, Request


class BlobServer:
    """Answers GET and HEAD for one blob; a handler.

    Args:
        data: The blob.

    Attributes:
        data: See above.
        tag: Its entity tag, in quotes, or None.
        knows_ranges: Whether a Range is answered with the part.
        knows_conditions: Whether that is so where an If-Range comes with it, too.
        breaks: Given the number of an answer, from 0, and its first byte, returns after how many bytes of it the
            connection ends; None sends everything.
        spoil: Given the number of an answer, its first byte and its bytes, returns what is sent in their place.
        asked: What each GET asked for, start and stop, and what it sent, in bytes.
        conditions: The If-Range of each GET.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.tag: str | None = '"one"'
        self.knows_ranges = True
        self.knows_conditions = True
        self.breaks: Callable[[int, int], int | None] = lambda _number, _start: None
        self.spoil: Callable[[int, int, memoryview], bytes | memoryview] = lambda _number, _start, piece: piece
        self.asked: list[tuple[int, int, int]] = []
        self.conditions: list[str | None] = []
        self._lock = threading.Lock()

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer."""
        size = len(self.data)
        tags = {} if self.tag is None else {"ETag": self.tag}
        if request.method == "HEAD":
            respond(200, {**tags, "Content-Length": str(size)})(request, connection)
            return
        wanted, condition = request.header("Range"), request.header("If-Range")
        start, stop = 0, size
        met = condition is None or (self.knows_conditions and condition == self.tag)
        part = wanted is not None and self.knows_ranges and met
        if part and wanted is not None:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last or size) + 1, size)
        if part and start >= size:
            respond(416, {"Content-Range": f"bytes */{size}"})(request, connection)
            return
        with self._lock:
            number = len(self.asked)
            self.asked.append((start, stop, 0))
            self.conditions.append(condition)
        headers = {**tags, "Content-Length": str(stop - start)}
        if part:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self._send(connection, head(206 if part else 200, headers), number, start, stop)

    def _send(self, connection: Connection, lines: bytes, number: int, start: int, stop: int) -> None:
        count = self.breaks(number, start)
        whole = memoryview(self.data)[start:stop]
        body = self.spoil(number, start, whole if count is None else whole[:count])
        self.asked[number] = (start, stop, len(body))
        connection.send(lines)
        connection.send(bytes(body) if len(body) < 1024 else body)  # type: ignore[arg-type]  # any buffer will do
        if count is not None and count < stop - start:
            connection.close()


async def cancelled_after(seconds: float, work: Callable[[], Coroutine[Any, Any, object]], *, native: bool) -> None:
    """Do some work, and cancel that after so many seconds, by a scope or by asyncio itself."""
    if not native:
        with anyio.move_on_after(seconds):
            await work()
        return
    task = asyncio.get_running_loop().create_task(work())
    await asyncio.wait([task], timeout=seconds)
    task.cancel()
    await asyncio.wait([task])
