"""Sockets on asyncio: the event loop watches a socket as long as it is open.

anyio's ``wait_readable`` registers and removes a socket for each wait, which takes two system calls and an event. Here
the loop's callback receives by itself and hands the bytes to whoever waits: half of what a small request would cost.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx

from ocidist.http.transport.socketio import SocketIO

if TYPE_CHECKING:
    import socket

    from ocidist.http.transport.socketio import Timeout


class AsyncioSocketIO(SocketIO):
    """A socket that an asyncio event loop watches as long as it is open."""

    __slots__ = ("_deadline", "_fd", "_future", "_idling", "_loop", "_size", "_timer", "_watched")

    def __init__(self, sock: socket.socket, peer: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(sock, peer)
        self._loop = loop
        self._fd = sock.fileno()
        self._watched = False
        self._future: asyncio.Future[bytes | None] | None = None
        # Most bytes the waiting reader takes; 0 while a writer waits.
        self._size = 0
        self._idling = False
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def arrival(self, size: int, patience: Timeout) -> bytes:
        """Wait for bytes that are not there yet; see ``receive``."""
        if self._ahead is not None:
            return self.take_ahead(size)
        future = self._begin(patience)
        if not self._watched:
            self._watch()
        self._idling = False
        self._size = size
        try:
            data = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                # It failed in the same moment, and nobody else will ask why.
                future.exception()
            raise
        finally:
            self._future = None
            self._size = 0
        if data is None:
            raise httpx.ReadTimeout(f"nothing came for {patience:g} seconds")
        return data

    async def _received(self, size: int, patience: Timeout) -> bytes | None:
        return await self.arrival(size, patience)

    async def _writable(self, patience: Timeout) -> bool:
        future = self._begin(patience)
        self._loop.add_writer(self._fd, self._ready)
        try:
            await future
        finally:
            self._future = None
            if not self.closed:
                self._loop.remove_writer(self._fd)
        return not self._expired(patience)

    # --- one wait at a time ------------------------------------------------------------------------------------------

    def _begin(self, patience: Timeout) -> asyncio.Future[bytes | None]:
        if self.closed:
            raise httpx.ReadError("the connection was closed")
        self._future = self._loop.create_future()
        if patience is not None:
            self._deadline = self._loop.time() + patience
            # A timer of an earlier wait goes on to this one's deadline when it fires.
            if self._timer is None or self._timer.when() > self._deadline:
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = self._loop.call_at(self._deadline, self._ring)
        else:
            self._deadline = float("inf")
        return self._future

    def _expired(self, patience: Timeout) -> bool:
        return patience is not None and self._loop.time() >= self._deadline

    def _ring(self) -> None:
        self._timer = None
        if self._future is None or self._deadline == float("inf"):
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._ring)
        else:
            self._ready()

    def _ready(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def _watch(self) -> None:
        self._loop.add_reader(self._fd, self._on_readable)
        self._watched = True

    def unwatch(self) -> bool:
        """Make the event loop forget the socket until it is waited for again, and return whether it can be lent now."""
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._fd)
        return super().unwatch()

    def _on_readable(self) -> None:
        future = self._future
        if future is None or not self._size:
            # Nobody is reading: what comes stays where it is until somebody does.
            self.unwatch()
            if self._idling:
                self.on_stirred()
            return
        if future.done():
            return
        try:
            data = self.receive_now(self._size)
        except httpx.ReadError as error:
            future.set_exception(error)
        else:
            if data is not None:
                future.set_result(data)

    # --- handing over and ending -------------------------------------------------------------------------------------

    def idle(self) -> None:
        """Wait for nothing until the next request; ``on_stirred`` is called if the other side says something."""
        self._idling = True
        if not self._watched:
            self._watch()

    def _let_go(self) -> None:
        self._idling = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._loop.is_closed():
            return
        self.unwatch()
        if self._future is not None:
            self._loop.remove_writer(self._fd)
            if not self._future.done():
                self._future.set_exception(httpx.ReadError("the connection was closed"))
