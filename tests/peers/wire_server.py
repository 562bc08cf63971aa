"""An HTTP/1.1 server on raw sockets for fault tests: every byte it sends is scripted, every byte it gets is recorded.

It runs in threads, so the event loop under test may be any of them. Frameworks are no use here: they refuse to send the
malformed, truncated and contradictory answers that a client must survive.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl, urlsplit

from tests.peers.answers import Handler, Route, RouteTable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from types import TracebackType

    from tests.peers.tls import Authority

_PIECE = 64 * 1024
_LINGER_S = 1.0
_HANDSHAKE_S = 3.0
_JOIN_S = 5.0


class ClientGoneError(OSError):
    """The client closed its side in the middle of a request."""


class Connection:
    """One accepted connection.

    Attributes:
        received: Every byte the client has sent so far, heads and bodies alike.
        number: Which connection of its server this is, from 0.
        closed: Whether the end is on its way to the client.
    """

    def __init__(self, sock: socket.socket, number: int) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self.received = bytearray()
        self.number = number
        self.closed = False

    @property
    def sock(self) -> socket.socket:
        """The socket, for what a test has to do by hand; its number is -1 when the connection is over."""
        return self._sock

    def send(self, data: bytes) -> None:
        """Send exactly these bytes.

        Raises:
            OSError: The client is gone.
        """
        self._sock.sendall(data)

    def read(self, limit: int) -> bytes:
        """Return up to *limit* bytes, waiting for the first; empty when the client has finished sending."""
        if not self._buffer:
            self._fill()
        data = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        return data

    def read_until(self, end: bytes) -> bytes | None:
        """Return everything up to and with *end*; None when the client finished before the first byte.

        Raises:
            ClientGoneError: The client finished in the middle.
        """
        while (found := self._buffer.find(end)) < 0:
            if not self._fill():
                if self._buffer:
                    raise ClientGoneError
                return None
        stop = found + len(end)
        data = bytes(self._buffer[:stop])
        del self._buffer[:stop]
        return data

    def wait_closed(self) -> None:
        """Wait until the client closes its side (or the server stops)."""
        with contextlib.suppress(OSError):
            while self._fill():
                pass

    def close(self) -> None:
        """End the connection with FIN; over TLS without ``close_notify``, as a crashed server does."""
        if self.closed:
            return
        with contextlib.suppress(OSError):
            self._sock.settimeout(_LINGER_S)
            try:
                self._sock.shutdown(socket.SHUT_WR)
            finally:
                self.closed = True
            # Unread input would turn the FIN into an RST, so let the client finish first.
            while self._fill():
                pass
        self._sock.close()

    def reset(self) -> None:
        """End the connection with RST: what is still under way is lost."""
        if self.closed:
            return
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()
        self.closed = True

    def interrupt(self) -> None:
        """Wake the thread that serves this connection; called from another thread when the server stops."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def _fill(self) -> int:
        data = self._sock.recv(_PIECE)
        self._buffer += data
        self.received += data
        return len(data)


class Request:
    """A request as it arrived.

    Attributes:
        method: As sent.
        target: As sent: path and query, or an absolute URL.
        headers: Name and value pairs in order, names as sent.
        body: The body bytes read so far; all of them once the answer is sent (unless the answer came early).
        connection: Where it arrived.
    """

    def __init__(self, head: bytes, connection: Connection) -> None:
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, self.version = lines[0].split(" ")
        self.headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:] if line)]
        self.connection = connection
        self._taken = bytearray()
        self._pieces = self._chunked() if self.header("Transfer-Encoding") == "chunked" else self._sized()
        self._go_ahead = (self.header("Expect") or "").lower() == "100-continue"

    def __repr__(self) -> str:
        return f"<{self.method} {self.target}>"

    def header(self, name: str) -> str | None:
        """Return the first value of a header, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> list[tuple[str, str]]:
        """The decoded query, in order, blank values kept."""
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def body(self) -> bytes:
        """The body bytes read so far."""
        return bytes(self._taken)

    def read(self, limit: int | None = None) -> bytes:
        """Read *limit* more bytes of the body, or fewer where it ends; None reads the rest.

        Raises:
            ClientGoneError: The client closed before the body was complete.
        """
        start = len(self._taken)
        while limit is None or len(self._taken) < start + limit:
            if self._go_ahead:
                self._go_ahead = False
                self.connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            piece = self._pieces(_PIECE if limit is None else start + limit - len(self._taken))
            if not piece:
                break
            self._taken += piece
        return bytes(self._taken[start:])

    def _sized(self) -> Callable[[int], bytes]:
        left = int(self.header("Content-Length") or 0)

        def take(limit: int) -> bytes:
            nonlocal left
            if not left:
                return b""
            data = self._some(min(limit, left))
            left -= len(data)
            return data

        return take

    def _chunked(self) -> Callable[[int], bytes]:
        left = 0
        ended = False

        def take(limit: int) -> bytes:
            nonlocal left, ended
            if not left and not ended:
                left = int(self._line().partition(b";")[0], 16)
                if not left:
                    ended = True
                    while self._line() != b"\r\n":
                        pass
            if ended:
                return b""
            data = self._some(min(limit, left))
            left -= len(data)
            if not left:
                self._line()
            return data

        return take

    def _some(self, limit: int) -> bytes:
        data = self.connection.read(limit)
        if not data:
            raise ClientGoneError
        return data

    def _line(self) -> bytes:
        line = self.connection.read_until(b"\r\n")
        if line is None:
            raise ClientGoneError
        return line


class WireServer:
    """The server: give it a handler, or routes with ``on()``; use it as a context manager.

    Args:
        handler: Called in a thread for each request; None answers from the routes.
        address: Address to listen on; ``127.0.0.2`` is "another host".
        name: How URLs call this host, if not by the address (``localhost``).
        tls: Authority that issues the certificate, for https.

    Attributes:
        port: The port it listens on.
        requests: Every request so far, in the order their heads arrived.
        connections: Every connection so far.
        tls_failures: TLS handshakes that did not succeed.
    """

    def __init__(
        self,
        handler: Handler | None = None,
        *,
        address: str = "127.0.0.1",
        name: str | None = None,
        tls: Authority | None = None,
    ) -> None:
        self.routes = RouteTable()
        self.requests: list[Request] = []
        self.connections: list[Connection] = []
        self.tls_failures: list[OSError] = []
        self._failures: list[Exception] = []
        self._handler = handler or self.routes
        self._name = name or address
        self._tls = tls.server_context(self._name, address) if tls else None
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._stopping = False

    @property
    def host(self) -> str:
        """``name:port``, as a registry is named."""
        return f"{self._name}:{self.port}"

    @property
    def origin(self) -> str:
        """``scheme://name:port``."""
        return f"{'https' if self._tls else 'http'}://{self.host}"

    @property
    def received(self) -> bytes:
        """Every byte that arrived, connection after connection: where secrets must not be found."""
        return b"".join(bytes(connection.received) for connection in self.connections)

    def on(self, method: str, target: str, *answers: Handler) -> Route:
        """Add a route; see ``RouteTable.on``."""
        return self.routes.on(method, target, *answers)

    def targets(self, method: str | None = None) -> list[str]:
        """Return ``"METHOD /target"`` of every request so far, or the bare targets of one method's."""
        if method is None:
            return [f"{request.method} {request.target}" for request in self.requests]
        return [request.target for request in self.requests if request.method == method]

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        if self._failures and error is None:
            message = "a handler failed"
            raise ExceptionGroup(message, self._failures)

    def stop(self) -> None:
        """Close everything and wait for the threads."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # on Linux this is what wakes accept()
        for connection in list(self.connections):
            connection.interrupt()
        for thread in self._threads:  # grows by what was just accepted; the first thread is the one that accepts
            thread.join(_JOIN_S)
            if thread.is_alive():
                self._failures.append(TimeoutError(f"{thread.name} still runs: its handler waits for something"))
        self._listener.close()

    def _spawn(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, name=f"wire-server-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._spawn(lambda sock=sock: self._serve(sock))  # type: ignore[misc]  # mypy cannot infer a lambda default

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                secured = self._secure(sock)
            except OSError as error:
                self.tls_failures.append(error)
                return
            connection = Connection(secured, len(self.connections))
            self.connections.append(connection)
            if self._stopping:
                return
            try:
                self._converse(connection)
            except OSError:
                pass  # the client is gone, or the server stops
            except Exception as error:  # noqa: BLE001 -- reported by stop(), in the thread that can fail a test
                self._failures.append(error)
            finally:
                secured.close()

    def _secure(self, sock: socket.socket) -> socket.socket:
        if self._tls is None:
            return sock
        sock.settimeout(_HANDSHAKE_S)
        secured: ssl.SSLSocket = self._tls.wrap_socket(sock, server_side=True)
        secured.settimeout(None)
        return secured

    def _converse(self, connection: Connection) -> None:
        while not connection.closed and (head := connection.read_until(b"\r\n\r\n")) is not None:
            request = Request(head, connection)
            self.requests.append(request)
            self._handler(request, connection)
            if not connection.closed:
                request.read()
            if (request.header("Connection") or "").lower() == "close":
                connection.close()
