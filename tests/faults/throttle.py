"""A wire that lets only so many bytes a second come down, and writes down what was asked for."""

from __future__ import annotations

import contextlib
import re
import socket
import time

from tests.faults.tap import Tap

_PIECE = 32 * 1024
_GET = re.compile(rb"GET /v2/[^ ]+/blobs/sha256:[^\r\n]*\r\n(.*?)\r\n\r\n", re.DOTALL)
_RANGE = re.compile(rb"^range: *bytes=([0-9]+)-", re.IGNORECASE | re.MULTILINE)


class Throttle(Tap):
    """A ``Tap`` whose way down is slow.

    Args:
        port: The server's port on 127.0.0.1.
        rate: Bytes per second on each connection.

    Attributes:
        came: Bytes that came down so far, heads included.
    """

    def __init__(self, port: int, *, rate: int) -> None:
        super().__init__(port)
        self.rate = rate
        self.came = 0

    @property
    def starts(self) -> list[int]:
        """The first byte that each GET of a blob asked for."""
        heads = [found[1] for sent in self.sent for found in _GET.finditer(bytes(sent))]
        return [int(found[1]) if (found := _RANGE.search(head)) else 0 for head in heads]

    def settle(self) -> None:
        """Wait until nobody sends or receives anything any more: what was asked for is written down then."""
        for thread in self._threads[1:]:
            thread.join(5)

    def _down(self, server: socket.socket, client: socket.socket) -> None:  # type: ignore[override]  # it is called so
        begun, passed = time.monotonic(), 0
        with contextlib.suppress(OSError):
            while data := server.recv(_PIECE):
                client.sendall(data)
                passed += len(data)
                self.came += len(data)
                time.sleep(max(0.0, begun + passed / self.rate - time.monotonic()))
        for sock in (client, server):
            # Nobody has to wait for what the other side will not take any more.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
