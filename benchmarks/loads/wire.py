"""HTTP/1.1 by hand, for servers that have to break off in the middle: one thread for each connection."""

from __future__ import annotations

import socket
import struct
import threading
from io import BufferedReader
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_BUFFER = 128 * 1024
_RESET = struct.pack("ii", 1, 0)


class GoneError(ConnectionError):
    """The client ended its side in the middle of a body."""


class Asked(NamedTuple):
    """The head of a request.

    Attributes:
        method: As sent.
        target: Path and query, as sent.
        headers: By their names in small letters.
    """

    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The last value of each name of the query."""
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}


class Line:
    """One connection of a client.

    Args:
        sock: Its socket.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._reader = BufferedReader(sock.makefile("rb", buffering=0), 64 * 1024)
        self._view = memoryview(bytearray(_BUFFER))

    def ask(self) -> Asked | None:
        """Return the next request's head, or None when there is none any more."""
        line = self._reader.readline().decode("latin-1")
        if not line:
            return None
        method, target, _ = line.split(" ", 2)
        headers = {}
        while field := self._reader.readline().decode("latin-1").strip():
            name, _, value = field.partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return Asked(method, target, headers)

    def pieces(self, asked: Asked) -> Iterator[memoryview]:
        """Yield a request's body; each piece is good until the next one.

        Raises:
            GoneError: It ends too early.
        """
        if asked.headers.get("transfer-encoding", "").lower() != "chunked":
            yield from self._some(int(asked.headers.get("content-length", 0)))
            return
        while size := int(self._reader.readline() or b"0", 16):
            yield from self._some(size)
            self._reader.readline()
        self._reader.readline()

    def body(self, asked: Asked) -> bytes:
        """Return a request's whole body."""
        return b"".join(bytes(piece) for piece in self.pieces(asked))

    def _some(self, left: int) -> Iterator[memoryview]:
        while left:
            count = self._reader.readinto1(self._view[:left])
            if not count:
                raise GoneError
            left -= count
            yield self._view[:count]

    def say(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        """Send an answer with this body."""
        self.head(status, {"Content-Length": str(len(body))} | dict(headers or {}), body)

    def head(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Send an answer's head, and perhaps the first bytes of its body."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._sock.sendall(f"HTTP/1.1 {status} .\r\n{lines}\r\n".encode("latin-1") + body)

    def send(self, data: bytes | memoryview) -> None:
        """Send bytes of a body."""
        self._sock.sendall(data)

    def drained(self) -> int:
        """Return how many bytes there are that were sent and not read, and read them."""
        self._sock.settimeout(0)
        count = len(self._reader.peek())
        try:
            while more := self._sock.recv_into(self._view):
                count += more
        except OSError:
            pass
        return count

    def close(self, *, reset: bool = False) -> None:
        """End the connection; *reset* throws away what is under way."""
        if reset:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._reader.close()
        self._sock.close()


def listen(port: int, serve: Callable[[Line], None]) -> None:
    """Serve each connection of a loopback port in a thread of its own, until the process is ended."""

    def one(sock: socket.socket) -> None:
        line = Line(sock)
        try:
            serve(line)
        except OSError:
            pass
        finally:
            line.close()

    with socket.create_server(("127.0.0.1", port), backlog=1024) as listener:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=one, args=(sock,), daemon=True).start()
