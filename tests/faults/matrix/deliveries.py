"""How an answer reaches the client, if it does."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, TypeAlias

import attrs

from tests.peers.answers import head

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.matrix.proxy import Answer, Exchange

    Delivery: TypeAlias = Callable[[Exchange, Answer], None]

_PIECE = 64 * 1024
_MOST = 1024 * 1024 * 1024


def whole(exchange: Exchange, answer: Answer) -> None:
    """Send everything."""
    exchange.send(b"".join(answer.wire(exchange.request.method)))


@attrs.frozen
class Cut:
    """Break off after some bytes of the body: with RST, or with FIN; below 0, count from the end of the body.

    Attributes:
        count: Bytes of the body that are sent; None sends nothing at all, not even the head.
        reset: Whether it ends with RST.
    """

    count: int | None = None
    reset: bool = True

    def __call__(self, exchange: Exchange, answer: Answer) -> None:
        """Send a part of it."""
        start, body = answer.wire(exchange.request.method)
        if self.count is not None:
            exchange.send(start + body[: self.count])
        if self.reset:
            # What was sent must have been read: an RST would take it back.
            time.sleep(0.002 if self.count is not None else 0)
            exchange.connection.reset()
        else:
            exchange.connection.close()


@attrs.frozen
class Stall:
    """Stop for a while after some bytes of the body."""

    count: int
    seconds: float

    def __call__(self, exchange: Exchange, answer: Answer) -> None:
        """Send it with a pause."""
        start, body = answer.wire(exchange.request.method)
        exchange.send(start + body[: self.count])
        exchange.wait(self.seconds)
        exchange.send(body[self.count :])


@attrs.frozen
class Throttle:
    """Send the body slowly."""

    piece: int
    pause: float

    def __call__(self, exchange: Exchange, answer: Answer) -> None:
        """Send it piece by piece."""
        start, body = answer.wire(exchange.request.method)
        exchange.send(start)
        for at in range(0, len(body), self.piece):
            exchange.wait(self.pause)
            exchange.send(body[at : at + self.piece])


@attrs.frozen
class Interim:
    """Send interim answers first."""

    count: int
    status: int = 103

    def __call__(self, exchange: Exchange, answer: Answer) -> None:
        """Send them, and the answer."""
        exchange.send(head(self.status, {"Link": "</style.css>; rel=preload"}) * self.count)
        whole(exchange, answer)


def doubled(exchange: Exchange, answer: Answer) -> None:
    """Send the answer twice, at once: what came after a request was sent might as well be the answer to it."""
    exchange.send(b"".join(answer.wire(exchange.request.method)) * 2)


def chunked(exchange: Exchange, answer: Answer) -> None:
    """Send the body in chunks, its length not told."""
    if exchange.request.method == "HEAD":
        whole(exchange, answer)
        return
    made = answer.with_header("Content-Length", None).with_header("Transfer-Encoding", "chunked")
    start, body = made.wire(exchange.request.method)
    exchange.send(start)
    for at in range(0, len(body), 1000):
        piece = body[at : at + 1000]
        exchange.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    exchange.send(b"0\r\n\r\n")


def unframed(exchange: Exchange, answer: Answer) -> None:
    """Send the body without saying how long it is; the end of the connection ends it."""
    exchange.send(head(answer.status, [*answer.headers, ("Connection", "close")]) + answer.body)
    exchange.connection.close()


def then_closed(exchange: Exchange, answer: Answer) -> None:
    """Send everything, and close the connection that might be used again."""
    data = b"".join(answer.wire(exchange.request.method))
    # The last bytes and the end in one segment: whoever has read the answer can know that the connection is over.
    sock = exchange.connection.sock
    while data:
        data = data[sock.send(data, socket.MSG_MORE) :]
    exchange.connection.close()


def then_reset(exchange: Exchange, answer: Answer) -> None:
    """Send everything, and reset the connection a moment later."""
    whole(exchange, answer)
    time.sleep(0.002)
    exchange.connection.reset()


def endless(exchange: Exchange, answer: Answer) -> None:
    """Send the body, and go on until the client has enough."""
    made = answer.with_header("Content-Length", None).with_header("Transfer-Encoding", "chunked")
    exchange.send(made.wire("HEAD")[0])
    if made.body:
        exchange.send(f"{len(made.body):x}\r\n".encode() + made.body + b"\r\n")
    piece = b"10000\r\n" + b" " * _PIECE + b"\r\n"
    for _ in range(_MOST // _PIECE):
        exchange.send(piece)
