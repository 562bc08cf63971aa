"""Connected sockets: receiving and sending with idle timeouts, on any event loop.

anyio's streams copy every piece and open a cancel scope for each wait; here the socket is used directly and waited for
only when it has nothing to give; ``asyncio_io`` does even better on asyncio. A socket may also be handed to a worker
thread for a while (``lend``), which then waits by itself.

Whatever is interrupted half-way leaves the connection unusable: close it.
"""

from __future__ import annotations

import errno
import select
import socket
import ssl
import struct
import sys
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
import anyio.lowlevel
import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Timeout: TypeAlias = float | None
    Stop: TypeAlias = Callable[[], bool]

FLOOR_WINDOW: Final = 30.0
"""Seconds of waiting after which a message must have made its least progress."""

TURN: Final = 1024 * 1024
"""Bytes that are sent at most before others have their turn: sealing them takes a millisecond."""

LOOK_SECONDS: Final = 0.2
"""How often a blocked sender looks whether the server has answered already."""

_NO_LINGER: Final = struct.pack("ii", 1, 0)
_CLOSED: Final = "the connection was closed"
_AGAIN: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_SCRATCH: Final = 256 * 1024


class Pace:
    """Watches that a message does not trickle in so slowly that it would never end.

    Only the time spent waiting for the other side counts, not what the program does between two pieces.

    Args:
        floor: Bytes per second that must come over ``FLOOR_WINDOW`` seconds of waiting; None allows any pace.
        slow: The error to raise.
    """

    __slots__ = ("_count", "_floor", "_slow", "_waited")

    def __init__(self, floor: float | None, slow: type[httpx.TimeoutException] = httpx.ReadTimeout) -> None:
        self._floor = floor
        self._slow = slow
        self._waited = 0.0
        self._count = 0

    def note(self, seconds: float, count: int, *, final: bool = False) -> None:
        """Take note of a wait and of the bytes that came of it.

        Args:
            seconds: How long it was.
            count: How many came of it.
            final: Whether that may have been all: then it does not matter any more how long it took, unless more comes.

        Raises:
            httpx.TimeoutException: There were too few for too long.
        """
        if final:
            # More came after everything that was noted before.
            self._check()
        self._waited += seconds
        self._count += count
        if not final:
            self._check()

    def _check(self) -> None:
        if self._floor is None or self._waited < FLOOR_WINDOW:
            return
        if self._count < self._floor * self._waited:
            raise self._slow(f"less than {self._floor:g} bytes per second")
        self._waited, self._count = 0.0, 0


class SocketIO:
    """A connected, non-blocking socket, waited for with anyio.

    Args:
        sock: The socket, wrapped for TLS or not; it is owned from now on.
        peer: Address at the other end.

    Attributes:
        sock: The socket.
        peer: Address at the other end.
        tls: Whether it is wrapped for TLS.
        closed: Whether it was closed.
        on_closed: Called once when it is closed.
        on_stirred: Called when the other side says something while nobody asks; not every event loop notices.
    """

    __slots__ = (
        "_ahead",
        "_close_later",
        "_lent",
        "_lock",
        "_readable",
        "_unbroken",
        "closed",
        "on_closed",
        "on_stirred",
        "peer",
        "sock",
        "tls",
    )

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self.sock: socket.socket = sock
        self.peer: str = peer
        self.tls: bool = isinstance(sock, ssl.SSLSocket)
        self.closed: bool = False
        self.on_closed: Callable[[], None] = _nothing
        self.on_stirred: Callable[[], None] = _nothing
        self._readable = _look_at(sock)
        # What was received while nobody waited for it; empty bytes stand for the end.
        self._ahead: bytes | None = None
        self._lock = threading.Lock()
        self._lent = False
        self._close_later = False
        # Bytes sent since something was waited for.
        self._unbroken = 0

    # --- receiving ---------------------------------------------------------------------------------------------------

    async def receive(self, size: int, patience: Timeout) -> bytes:
        """Return the next bytes, or none at the end of the connection.

        Args:
            size: Most bytes to return.
            patience: Seconds to wait for the first of them.

        Raises:
            httpx.ReadTimeout: Nothing came in time, or too little.
            httpx.ReadError: The connection broke.
        """
        data = self.receive_now(size)
        return await self.arrival(size, patience) if data is None else data

    def take_ahead(self, size: int = _SCRATCH) -> bytes:
        """Return what was received while nobody waited for it; none if that was the end, or if there is nothing."""
        data = self._ahead or b""
        self._ahead = data[size:] if len(data) > size else None
        return data[:size]

    def receive_into(self, buffer: memoryview) -> int | None:
        """Receive what is there into a buffer and return how many bytes that were, none at the end; None if nothing is.

        Raises:
            httpx.ReadError: The connection broke.
        """
        try:
            return self._fill(buffer) if self.tls else self.sock.recv_into(buffer)
        except _AGAIN:
            return None
        except OSError as error:
            raise httpx.ReadError(_words(error)) from error

    def receive_now(self, size: int) -> bytes | None:
        """Return what is there, empty at the end of the connection; None if nothing is.

        Raises:
            httpx.ReadError: The connection broke.
        """
        if self._ahead is not None:
            return self.take_ahead(size)
        try:
            return self._read_tls(size) if self.tls else self.sock.recv(size)
        except _AGAIN:
            return None
        except OSError as error:
            raise httpx.ReadError(_words(error)) from error

    def _read_tls(self, size: int) -> bytes:
        # One record at a time would be 16 KiB.
        with memoryview(bytearray(min(size, _SCRATCH))) as buffer:
            got = self._fill(buffer)
            return bytes(buffer[:got])

    def _fill(self, buffer: memoryview) -> int:
        got = 0
        while got < len(buffer):
            try:
                count = self.sock.recv_into(buffer[got:])
            except (*_AGAIN, OSError):
                # What came before is good; a lasting failure shows again the next time.
                if got:
                    return got
                raise
            if not count:
                return got
            got += count
        return got

    async def arrival(self, size: int, patience: Timeout) -> bytes:
        """Wait for bytes that are not there yet; see ``receive``."""
        data = None if self._ahead is None else self.take_ahead(size)
        while data is None:
            data = await self._received(size, patience)
        return data

    async def _received(self, size: int, patience: Timeout) -> bytes | None:
        if not await self._wait(anyio.wait_readable, patience):
            raise httpx.ReadTimeout(f"nothing came for {patience:g} seconds")
        return self.receive_now(size)

    async def _wait(self, ready: Callable[..., object], patience: Timeout) -> bool:
        if self.closed:
            raise httpx.ReadError(_CLOSED)
        try:
            # Made in another way, anyio's scopes make trio's twice.
            with anyio.move_on_after(patience) as scope:
                await ready(self.sock)  # type: ignore[misc]  # one of anyio's two waits
        except (anyio.ClosedResourceError, ValueError) as error:
            raise httpx.ReadError(_CLOSED) from error
        return not scope.cancelled_caught

    def answered(self) -> bool:
        """Return whether the other side has sent something, or has ended the connection."""
        if self._ahead is None and not self.closed and self._readable():
            # Readable need not mean data: TLS has messages of its own.
            with suppress(httpx.ReadError):
                self._ahead = self.receive_now(_SCRATCH)
        return self._ahead is not None

    def alive(self) -> bool:
        """Return whether an idle connection can be used: neither closed nor telling something nobody asked for.

        This asks the kernel, whatever the event loop has noticed so far: what is there already must not be taken for
        the answer to the next request.
        """
        if self.closed or self._ahead is not None:
            return False
        if not self.tls:
            return not self._readable()
        try:
            # What was decrypted already does not show in the socket.
            return self.receive_now(1) is None
        except httpx.ReadError:
            return False

    # --- sending -----------------------------------------------------------------------------------------------------

    async def send(
        self, data: bytes | memoryview, patience: Timeout, pace: Pace | None = None, stop: Stop | None = None
    ) -> bool:
        """Send bytes, and return whether all of them were: not if *stop* said so.

        Args:
            data: The bytes.
            patience: Seconds without any progress.
            pace: Told how long each wait took.
            stop: Asked before each wait whether to stop.

        Raises:
            httpx.WriteTimeout: Nothing could be sent for so long.
            httpx.WriteError: The connection broke.
        """
        sent = self.send_now(data)
        await self._take_turns(sent)
        if sent == len(data):
            return True
        waited = 0.0
        with memoryview(data) as view:
            while sent < len(view):
                with view[sent:] as rest:
                    # TLS takes one record at a time.
                    count = self.send_now(rest)
                sent += count
                if count:
                    if pace is not None:
                        pace.note(waited, count, final=sent == len(view))
                    waited = 0.0
                    await self._take_turns(count)
                    continue
                if stop is not None and stop():
                    return False
                start = time.monotonic()
                await self._until_writable(patience, stop)
                self._unbroken = 0
                waited += time.monotonic() - start
        return True

    async def _take_turns(self, count: int) -> None:
        """Let others run now and then, where the other side takes everything at once."""
        self._unbroken += count
        if self._unbroken >= TURN:
            self._unbroken = 0
            await anyio.lowlevel.checkpoint()

    def send_now(self, data: bytes | memoryview) -> int:
        """Send what can be sent without waiting and return how many bytes that were.

        Raises:
            httpx.WriteError: The connection broke.
        """
        try:
            return self.sock.send(data)
        except _AGAIN:
            return 0
        except OSError as error:
            raise httpx.WriteError(_words(error)) from error

    async def _until_writable(self, patience: Timeout, stop: Stop | None) -> None:
        waited = 0.0
        while patience is None or waited < patience:
            left = None if patience is None else patience - waited
            step = left if stop is None else min(LOOK_SECONDS, LOOK_SECONDS if left is None else left)
            if await self._writable(step) or (stop is not None and stop()):
                return
            waited += step or 0.0
        raise httpx.WriteTimeout(f"nothing could be sent for {patience:g} seconds")

    async def _writable(self, patience: Timeout) -> bool:
        return await self._wait(anyio.wait_writable, patience)

    # --- worker threads ----------------------------------------------------------------------------------------------

    @contextmanager
    def lend(self) -> Iterator[None]:
        """Use the socket in a worker thread within this block; whoever closes it meanwhile makes the block end soon.

        Raises:
            httpx.ReadError: It is closed.
        """
        with self._lock:
            if self.closed:
                raise httpx.ReadError(_CLOSED)
            self._lent = True
        try:
            yield
        finally:
            with self._lock:
                self._lent = False
                if self._close_later:
                    # With a reset: a server that waits for room to send would not notice an orderly end for a while.
                    with suppress(OSError):
                        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                    self.sock.close()

    def unwatch(self) -> bool:
        """Make the event loop forget the socket until it is waited for again, and return whether it can be lent now."""
        return self._ahead is None and hasattr(select, "poll")

    # --- the end -----------------------------------------------------------------------------------------------------

    def idle(self) -> None:
        """Wait for nothing until the next request; ``on_stirred`` may be called if the other side says something."""

    def close(self) -> None:
        """Close the connection at once; closing twice is harmless. Nothing is awaited, so nothing can interrupt it."""
        if self.closed:
            return
        self.closed = True
        self._let_go()
        with self._lock:
            if self._lent:
                # The thread must not find another connection under its number; it wakes up and closes.
                self._close_later = True
                with suppress(OSError):
                    self.sock.shutdown(socket.SHUT_RDWR)
            else:
                self.sock.close()
        self.on_closed()

    def _let_go(self) -> None:
        with suppress(Exception):
            anyio.notify_closing(self.sock)


def _nothing() -> None:
    pass


def _look_at(sock: socket.socket) -> Callable[[], object]:
    """Return what tells whether there is something to receive; not to be called once the socket is closed."""
    if sys.platform == "win32":
        return lambda: select.select([sock], [], [], 0)[0]
    # Unlike select() it takes any number of open files.
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return partial(poll.poll, 0)


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLEOFError):
        return "the connection ended without saying so (no close_notify)"
    return errno.errorcode.get(error.errno or 0, "") + (": " if error.errno else "") + (error.strerror or str(error))
