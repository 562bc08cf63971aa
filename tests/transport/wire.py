"""Bytes on the wire: servers below HTTP, and answers that arrive in exactly the pieces a test wants."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from array import array
from fcntl import ioctl
from termios import FIONREAD
from typing import TYPE_CHECKING, Self, TypeAlias

from tests.peers.wire_server import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from tests.peers.answers import Handler
    from tests.peers.wire_server import Request

    Script: TypeAlias = Callable[[Connection], None]

_PATIENCE_S = 10.0
_JOIN_S = 5.0


def in_pieces(pieces: Iterable[bytes]) -> Handler:
    """Read the request, then send each piece only when the client has received the one before it."""
    kept = tuple(pieces)

    def answer(request: Request, connection: Connection) -> None:
        request.read()
        send_in_pieces(connection, kept)

    return answer


def byte_by_byte(data: bytes) -> Handler:
    """Read the request, then send an answer in pieces of one byte."""
    return in_pieces(data[at : at + 1] for at in range(len(data)))


def send_in_pieces(connection: Connection, pieces: Iterable[bytes]) -> None:
    """Send each piece only when the client has received the one before it."""
    theirs = connection.sock.getpeername()
    number = _number_of(theirs)
    for piece in pieces:
        connection.send(piece)
        _wait_empty(number, theirs)


def wait_received(connection: Connection) -> None:
    """Wait until the client has taken everything that was sent, or has closed the connection."""
    send_in_pieces(connection, [b""])


def _wait_empty(number: int | None, address: object) -> None:
    # The client is in this process: its socket is asked how many bytes it holds.
    end = time.monotonic() + _PATIENCE_S
    while number is not None and _held(number, address):
        if time.monotonic() > end:
            raise TimeoutError("the client does not take what was sent")
        time.sleep(0.0001)


def _number_of(address: object) -> int | None:
    numbers = (int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208 -- only the names are wanted
    return next((number for number in numbers if _is_at(number, address)), None)


def open_sockets() -> int:
    """Return how many sockets this process has."""
    count = 0
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 -- only the names are wanted
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")  # noqa: PTH115 -- a name, no path
    return count


def _is_at(number: int, address: object) -> bool:
    try:
        sock = socket.socket(fileno=number)
    except OSError:
        return False
    try:
        return bool(sock.getsockname() == address)
    except OSError:
        return False
    finally:
        sock.detach()


def _held(number: int, address: object) -> bool:
    count = array("i", [0])
    with contextlib.suppress(OSError):
        ioctl(number, FIONREAD, count)
    return bool(count[0]) and _is_at(number, address)


@contextlib.contextmanager
def full_port(address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Return a port where connections are neither accepted nor refused: its queue is full, and nobody takes from it."""
    waiting: list[socket.socket] = []
    with socket.socket() as listener:
        listener.bind((address, port))
        listener.listen(0)
        try:
            for _ in range(8):
                waiting.append(socket.socket())
                waiting[-1].setblocking(False)  # noqa: FBT003 -- the socket module's own interface
                waiting[-1].connect_ex(listener.getsockname())
            yield listener.getsockname()[1]
        finally:
            for sock in waiting:
                sock.close()


class RawServer:
    """A server on 127.0.0.1 that runs a script for each connection, before any TLS or HTTP; a context manager.

    Args:
        script: Called in a thread for each connection.

    Attributes:
        port: The port it listens on.
        connections: Every connection so far.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[Connection] = []
        self._threads: list[threading.Thread] = []
        self._failures: list[Exception] = []

    def url(self, scheme: str = "http") -> str:
        """Return a URL of this server."""
        return f"{scheme}://127.0.0.1:{self.port}/"

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for connection in list(self.connections):
            connection.interrupt()
        for thread in self._threads:
            thread.join(_JOIN_S)
        self._listener.close()
        if self._failures and error is None:
            message = "a script failed"
            raise ExceptionGroup(message, self._failures)

    def _spawn(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            connection = Connection(sock, len(self.connections))
            self.connections.append(connection)
            self._spawn(lambda connection=connection: self._serve(connection))  # type: ignore[misc]  # mypy cannot infer a lambda default

    def _serve(self, connection: Connection) -> None:
        try:
            with connection.sock:
                self._script(connection)
        except OSError:
            pass  # the client is gone, or the server stops
        except Exception as error:  # noqa: BLE001 -- reported in the thread that can fail a test
            self._failures.append(error)
