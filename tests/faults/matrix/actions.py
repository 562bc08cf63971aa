"""What can go wrong: the actions of the rules of a ``FaultProxy``."""

from __future__ import annotations

import zlib
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

import attrs

from tests.faults.matrix.changes import Header
from tests.faults.matrix.deliveries import Cut, whole
from tests.faults.matrix.proxy import Answer, passed_in_part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.faults.matrix.changes import Change
    from tests.faults.matrix.deliveries import Delivery
    from tests.faults.matrix.proxy import Exchange
    from tests.faults.matrix.rules import Action

_PIECE = 64 * 1024
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
