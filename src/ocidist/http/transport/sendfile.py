"""Files as request bodies: read and sent in a worker thread, by the kernel alone where the connection is plain."""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING, Final, Protocol

import anyio.to_thread
import httpx

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO

    from ocidist.http.transport.socketio import Pace, SocketIO, Timeout

SLICE: Final = 0.1
"""Seconds after which a thread comes back to the event loop: to be cancelled, to tell how far it is."""

FIRST: Final = 1024 * 1024
"""Bytes a thread handles at most the first time; it comes back after twice as many each time after that."""

_PIECE: Final = 1024 * 1024


class FileSource(Protocol):
    """The part of a file that is the body of a request."""

    offset: int
    """First byte to send."""
    size: int
    """Bytes to send."""

    def open_at(self, done: int) -> FileIO:
        """Open the file at the byte after the first *done* ones; called in a worker thread.

        Raises:
            Exception: The file cannot be read, or is not the one it was.
        """
        ...

    def verify(self, file: FileIO) -> None:
        """Look once more, before the last bytes go out, whether the file is the one it was. Raises as ``open_at``."""
        ...

    def report(self, done: int) -> None:
        """Take note of how many bytes were sent."""
        ...


async def send_file(io: SocketIO, file: FileSource, *, patience: Timeout, pace: Pace, stop: Callable[[], bool]) -> bool:
    """Send a file's part and return whether all of it was: not if the server answered meanwhile.

    When this is cancelled the thread ends as soon as the connection is closed.

    Args:
        io: The connection.
        file: The part.
        patience: Seconds without any progress.
        pace: Told how long it took.
        stop: Says whether the server answered.

    Raises:
        httpx.WriteTimeout: Nothing could be sent for so long.
        httpx.WriteError: The connection broke.
        Exception: What *file* raises.
    """
    done, silent, most = 0, 0.0, FIRST
    while done < file.size:
        if stop():
            return False
        io.unwatch()
        sent, waited = await anyio.to_thread.run_sync(_send_slice, io, file, done, most, abandon_on_cancel=True)
        pace.note(waited, sent)
        done, most = done + sent, most * 2
        silent = 0.0 if sent else silent + waited
        if patience is not None and silent >= patience:
            raise httpx.WriteTimeout(f"nothing could be sent for {patience:g} seconds")
        file.report(done)
    return True


def _send_slice(io: SocketIO, file: FileSource, done: int, most: int) -> tuple[int, float]:
    sent, waited = 0, 0.0
    stop = time.monotonic() + SLICE
    writable = select.poll()
    with io.lend(), file.open_at(done) as source:
        writable.register(io.sock, select.POLLOUT)
        send = _sender(io, source)
        while (left := file.size - done - sent) and sent < most and (now := time.monotonic()) < stop:
            if left <= _PIECE:
                file.verify(source)
            count = send(file.offset + done + sent, min(left, _PIECE))
            if count is None:
                writable.poll((stop - now) * 1000)
                waited += time.monotonic() - now
            elif count:
                sent += count
            else:
                file.verify(source)
                raise httpx.LocalProtocolError(f"the file ended {left} bytes before its Content-Length")
    return sent, waited


def _sender(io: SocketIO, source: FileIO) -> Callable[[int, int], int | None]:
    """Return what sends bytes from an offset: as many as can be at once, none at the file's end, None if it blocks."""
    if io.tls or not hasattr(os, "sendfile"):
        # A piece that TLS took only a part of is kept: it wants to see the same bytes again.
        buffer = memoryview(bytearray(_PIECE))
        held = range(0)

        def send(offset: int, count: int) -> int | None:
            nonlocal held
            if offset not in held:
                source.seek(offset)
                held = range(offset, offset + (source.readinto(buffer[:count]) or 0))
                if not held:
                    return 0
            return io.send_now(buffer[offset - held.start : len(held)]) or None

        return send

    out, inn = io.sock.fileno(), source.fileno()

    def send_file_part(offset: int, count: int) -> int | None:
        try:
            return os.sendfile(out, inn, offset, count)
        except BlockingIOError:
            return None
        except OSError as error:
            raise httpx.WriteError(str(error)) from error

    return send_file_part
