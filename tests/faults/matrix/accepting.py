"""What can go wrong before there is a request: the actions of rules about connections."""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from tests.faults.matrix.proxy import Exchange

_PIECE = 64 * 1024


@attrs.frozen
class AcceptReset:
    """Reset a connection that was just accepted."""

    def __call__(self, sock: socket.socket) -> None:
        """Do so."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


@attrs.frozen
class AcceptDelay:
    """Leave a connection that was accepted alone for a while."""

    seconds: float

    def __call__(self, _sock: socket.socket) -> None:
        """Do so."""
        time.sleep(self.seconds)


@attrs.frozen
class AcceptSilence:
    """Never answer on a connection: read what comes until the client goes."""

    def __call__(self, sock: socket.socket) -> None:
        """Do so."""
        sock.settimeout(5.0)
        try:
            while sock.recv(_PIECE):
                pass
        except OSError:
            pass
        sock.close()


@attrs.frozen
class AcceptSays:
    """Send bytes as soon as a connection is there, and close it: something that does not speak TLS, or not HTTP."""

    data: bytes

    def __call__(self, sock: socket.socket) -> None:
        """Do so."""
        sock.settimeout(1.0)
        try:
            sock.recv(_PIECE)
            sock.sendall(self.data)
        except OSError:
            pass
        sock.close()


@attrs.frozen
class Refuse:
    """Dial a port where nobody listens instead; the action of a rule about dialling."""

    def __call__(self, _exchange: Exchange) -> None:
        """Never called: the dialler of the stage sees to it."""
