"""What can go wrong: the actions of the rules of a ``FaultProxy``."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import time
import zlib
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import attrs

from tests.faults.matrix.proxy import Answer, passed_in_part, passed_on
from tests.peers.answers import head

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.faults.matrix.proxy import Exchange
    from tests.faults.matrix.rules import Action

Change: TypeAlias = "Callable[[Answer], Answer]"
Delivery: TypeAlias = "Callable[[Exchange, Answer], None]"

_PIECE = 64 * 1024
_MOST = 1024 * 1024 * 1024
_BOMB = 64 * 1024 * 1024


# --- where an answer comes from --------------------------------------------------------------------------------------


@attrs.frozen
class Said:
    """An answer of the proxy's own; the registry is not asked.

    Attributes:
        status: Its status.
        headers: Its headers; other servers are named as in ``Exchange.fill``.
        body: Its body.
        early: Whether it comes before the body of the request was read.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    early: bool = False

    def __call__(self, exchange: Exchange) -> Answer:
        """Return it."""
        if not self.early:
            exchange.request.read()
        headers = tuple((name, exchange.fill(value)) for name, value in self.headers)
        return Answer(self.status, headers, self.body)


@attrs.frozen
class Moved:
    """A redirect to the same path elsewhere, with more after it.

    Attributes:
        status: Its status.
        origin: Where to, as in ``Exchange.fill``.
        more: What is appended: a signature, say.
    """

    status: int = 307
    origin: str = "<cdn>"
    more: str = ""

    def __call__(self, exchange: Exchange) -> Answer:
        """Return it."""
        exchange.request.read()
        more = self.more.replace("?", "&") if "?" in exchange.request.target else self.more
        return Answer(self.status, (("Location", exchange.fill(self.origin) + exchange.request.target + more),))


@attrs.frozen
class Asked:
    """What the registry answers to a request that is not quite the same.

    Attributes:
        without: Headers that are left out.
        query: Whether the query is kept.
    """

    without: tuple[str, ...] = ()
    query: bool = True

    def __call__(self, exchange: Exchange) -> Answer:
        """Return it."""
        return exchange.pass_on(without=self.without, query=self.query)


@attrs.frozen
class Begun:
    """The beginning of what the registry answers, for who breaks off there: the rest of a large blob is not read."""

    count: int

    def __call__(self, exchange: Exchange) -> Answer:
        """Return it."""
        return exchange.pass_on(most=self.count)


@attrs.frozen
class Taken:
    """What the registry answers to a part of the body, in a request that is complete: it takes less than was sent."""

    part: float = 0.5

    def __call__(self, exchange: Exchange) -> Answer:
        """Return it."""
        return exchange.pass_on(part=self.part)


def registry(exchange: Exchange) -> Answer:
    """Answer as the registry does."""
    return exchange.pass_on()


# --- how it is changed -----------------------------------------------------------------------------------------------


@attrs.frozen
class Corrupt:
    """Change one byte of the body; offsets below 0 count from the end."""

    offset: int
    xor: int = 0x01

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer with it."""
        body = bytearray(answer.body)
        if body:
            body[self.offset] ^= self.xor
        return attrs.evolve(answer, body=bytes(body))


@attrs.frozen
class Swap:
    """Another body."""

    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer with it."""
        return attrs.evolve(answer, body=self.body)


@attrs.frozen
class Truncate:
    """Leave bytes at the end of the body out, and say so."""

    count: int

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer without them."""
        return attrs.evolve(answer, body=answer.body[: -self.count])


@attrs.frozen
class Extend:
    """Append bytes to the body, and say so."""

    extra: bytes

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer with them."""
        return attrs.evolve(answer, body=answer.body + self.extra)


@attrs.frozen
class Header:
    """Replace or add a header; None removes it."""

    name: str
    value: str | None

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer with it."""
        return answer.with_header(self.name, self.value)


@attrs.frozen
class Fields:
    """Other values for fields of a JSON object; None leaves a field out."""

    fields: tuple[tuple[str, object], ...]

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer with them."""
        value = json.loads(answer.body) | dict(self.fields)
        kept = {name: field for name, field in value.items() if field is not None}
        return attrs.evolve(answer, body=json.dumps(kept).encode())


@attrs.frozen
class Renamed:
    """Another name for a field of a JSON object."""

    old: str
    new: str

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer with it."""
        value = json.loads(answer.body)
        if self.old in value:
            value[self.new] = value.pop(self.old)
        return attrs.evolve(answer, body=json.dumps(value).encode())


@attrs.frozen
class Relative:
    """The Location without scheme and host."""

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer with it."""
        parts = urlsplit(answer.header("Location") or "")
        return answer.with_header("Location", urlunsplit(parts._replace(scheme="", netloc="")))


@attrs.frozen
class Twice:
    """Add a second value of a header."""

    name: str
    value: str

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer with it."""
        return attrs.evolve(answer, headers=(*answer.headers, (self.name, self.value)))


@attrs.frozen
class Status:
    """Another status, the rest as it was."""

    status: int

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer with it."""
        return attrs.evolve(answer, status=self.status)


@attrs.frozen
class Coded:
    """Encode the body as its Content-Encoding says."""

    coding: str = "gzip"

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer encoded."""
        body = answer.body
        for coding in self.coding.split(", "):
            body = gzip.compress(body, mtime=0) if coding == "gzip" else body
        return attrs.evolve(answer, body=body).with_header("Content-Encoding", self.coding)


# --- how it is delivered ---------------------------------------------------------------------------------------------


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
    """Send the answer twice."""
    whole(exchange, answer)
    whole(exchange, answer)


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


# --- actions ---------------------------------------------------------------------------------------------------------


def _named(part: object) -> str:
    return str(getattr(part, "__name__", part))


@attrs.frozen
class Act:
    """Take an answer, change it, deliver it: what most faults come down to."""

    source: Callable[[Exchange], Answer] = attrs.field(default=registry, repr=_named)
    changes: tuple[Change, ...] = ()
    delivery: Delivery = attrs.field(default=whole, repr=_named)

    def __call__(self, exchange: Exchange) -> None:
        """Do so."""
        answer = self.source(exchange)
        for change in self.changes:
            answer = change(answer)
        self.delivery(exchange, answer)


def says(status: int, body: bytes = b"", *, early: bool = False, delivery: Delivery = whole, **headers: str) -> Act:
    """Answer with a status; underscores in the names of headers stand for hyphens."""
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Act(Said(status, pairs, body, early), delivery=delivery)


def changed(*changes: Change, delivery: Delivery = whole) -> Act:
    """Answer as the registry does, with changes."""
    return Act(changes=changes, delivery=delivery)


@attrs.frozen
class Filled:
    """Answer as the registry does, with a header whose value names servers or the request, as in ``Exchange.fill``."""

    name: str
    value: str

    def __call__(self, exchange: Exchange) -> None:
        """Do so."""
        whole(exchange, exchange.pass_on().with_header(self.name, exchange.fill(self.value)))


def header(name: str, value: str | None) -> Act:
    """Answer as the registry does, with another header."""
    return changed(Header(name, value))


def reset_after(count: int | None = None) -> Act:
    """Pass on, and break the connection with RST within the answer."""
    return Act(delivery=Cut(count))


def closed_after(count: int | None = None) -> Act:
    """Pass on, and close the connection within the answer."""
    return Act(delivery=Cut(count, reset=False))


@attrs.frozen
class Drop:
    """Break the connection before anything is done about the request."""

    reset: bool = True

    def __call__(self, exchange: Exchange) -> None:
        """Do so."""
        if self.reset:
            exchange.connection.reset()
        else:
            exchange.request.read()
            exchange.connection.close()


@attrs.frozen
class Lose:
    """Apply a request with a part of its body, and lose the answer.

    Attributes:
        part: How much of the body the registry gets, from 0 to 1; all of it counts as a complete request.
        reset: Whether the client sees RST.
    """

    part: float = 1.0
    reset: bool = False

    def __call__(self, exchange: Exchange) -> None:
        """Do so."""
        body = exchange.request.read()
        if self.part >= 1:
            exchange.pass_on()
        else:
            passed_in_part(exchange.proxy.upstream, exchange.request, int(len(body) * self.part))
        if self.reset:
            exchange.connection.reset()
        else:
            exchange.connection.close()


@attrs.frozen
class Raw:
    """Read the request and send exactly these bytes; then close."""

    data: bytes = attrs.field(repr=lambda data: repr(data[:40]))

    def __call__(self, exchange: Exchange) -> None:
        """Do so."""
        exchange.request.read()
        exchange.send(self.data)
        exchange.connection.close()


@attrs.frozen
class Hang:
    """Say nothing, for as long as the client waits; apply the request first, or not."""

    applied: bool = False

    def __call__(self, exchange: Exchange) -> None:
        """Do so."""
        exchange.request.read()
        if self.applied:
            exchange.pass_on()
        exchange.connection.wait_closed()
        exchange.connection.close()


@attrs.frozen
class Slow:
    """Answer late."""

    seconds: float

    def __call__(self, exchange: Exchange) -> None:
        """Do so."""
        answer = exchange.pass_on()
        exchange.wait(self.seconds)
        whole(exchange, answer)


@attrs.frozen
class Repeat:
    """Pass a request on twice, as a proxy does that tries again by itself; the second answer counts."""

    def __call__(self, exchange: Exchange) -> None:
        """Do so."""
        exchange.pass_on()
        whole(exchange, passed_on(exchange.proxy.upstream, exchange.request))


@attrs.frozen
class Revoke:
    """Let the token that came with the request be worth nothing from now on."""

    def __call__(self, exchange: Exchange) -> None:
        """Do so."""
        revoke = getattr(exchange.proxy.gate, "revoke", None)
        assert revoke is not None, "there is no gate"
        revoke(exchange.request)
        whole(exchange, exchange.pass_on())


@cache
def bomb(coding: str) -> bytes:
    """Return 64 MiB of zeros, encoded."""
    squeezed = zlib.compressobj(6, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    zeros = b"\0" * _PIECE
    return b"".join([squeezed.compress(zeros) for _ in range(_BOMB // _PIECE)] + [squeezed.flush()])


@attrs.frozen
class Bomb:
    """Answer with little that becomes 64 MiB when it is decoded."""

    status: int = 200
    coding: str = "gzip"
    media_type: str = "application/json"

    def __call__(self, exchange: Exchange) -> None:
        """Do so."""
        exchange.request.read()
        headers = (("Content-Type", self.media_type), ("Content-Encoding", self.coding))
        whole(exchange, Answer(self.status, headers, bomb(self.coding)))


LOST: Mapping[str, Action] = MappingProxyType(
    {"lost": Lose(), "lost with RST": Lose(reset=True), "never arrived": Drop()}
)
"""What becomes of a request when nobody hears of it again."""
PARTS: Mapping[str, Action] = MappingProxyType(
    {"none of it": Drop(), "0 bytes": Lose(0.0), "half of it": Lose(0.5), "all of it": Lose(1.0)}
)
"""How much of a body may have been taken then."""


# --- actions on connections ------------------------------------------------------------------------------------------


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
