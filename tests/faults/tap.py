"""A wire between client and server, below TLS: it records what goes over it, and can spoil it."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_PIECE = 16 * 1024


class Tap:
    """Listens on a port of its own and passes every connection on to a server; a context manager.

    Args:
        port: The server's port on 127.0.0.1.
        flip: Number of the byte from the client that is changed on its way, counted over all connections; None changes
            none.

    Attributes:
        sent: What the client sent over each connection, before any change.
    """

    def __init__(self, port: int, *, flip: int | None = None) -> None:
        self.sent: list[bytearray] = []
        self._there = port
        self._flip = flip
        self._passed = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for sock in [self._listener, *self._sockets]:
            sock.close()

    @property
    def plain(self) -> list[bytes]:
        """What was sent over connections that do not begin with a TLS handshake."""
        return [bytes(data) for data in self.sent if data and data[0] != 0x16]

    def _spawn(self, run: object, *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)  # type: ignore[arg-type]  # a callable
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._there))
            self._sockets += [client, server]
            sent = bytearray()
            self.sent.append(sent)
            self._spawn(self._up, client, server, sent)
            self._spawn(self._down, server, client)

    def _up(self, client: socket.socket, server: socket.socket, sent: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(_PIECE):
                sent += data
                server.sendall(self._spoiled(data))
        _end(server)

    def _spoiled(self, data: bytes) -> bytes:
        with self._lock:
            start, self._passed = self._passed, self._passed + len(data)
        if self._flip is None or not start <= self._flip < start + len(data):
            return data
        at = self._flip - start
        return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]

    @staticmethod
    def _down(server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(_PIECE):
                client.sendall(data)
        _end(client)


def _end(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
