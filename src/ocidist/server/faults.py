"""Faults on demand: a registry that fails the way a test wants it to.

A ``Fault`` says what goes wrong, with which requests and how often; ``Faults`` holds those that are waiting. Nothing
here belongs into a registry that serves people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio
import attrs

from ocidist.errors import UsageError
from ocidist.server.exchange import ClientGoneError, cut
from ocidist.wire.endpoints import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocidist.server.exchange import Exchange, Message, Receive, Send

FOREVER: Final = 1_000_000_000
"""More often than any test asks."""


@attrs.frozen(kw_only=True)
class Fault:
    """Something that goes wrong. Without a *status*, the request is answered as usual, apart from the rest.

    Attributes:
        on: Endpoint class it happens to, or several; everything unless given.
        repository: Only in this repository.
        reference: Only with this digest or tag.
        skip: Requests that it lets pass first.
        times: Requests that it happens to after that; ``FOREVER`` for all.
        latency: Seconds before the request is looked at.
        status: Status to answer with instead of doing anything, or None.
        headers: Header fields of that answer.
        body: Its body; None for a usual error body.
        drop_request_after: Bytes of the request's body after which the connection is cut, or None.
        drop_answer_after: Bytes of the answer's body after which the connection is cut, or None; 0 cuts before the
            status line, with the request carried out.
        corrupt_at: Position of a byte of the answer's body that is sent wrong, or None.
        pause_after: Bytes of the answer's body after which it falls silent for *pause* seconds, or None.
        pause: How long.

    Raises:
        UsageError: A number makes no sense.
    """

    on: type[Endpoint] | tuple[type[Endpoint], ...] = Endpoint
    repository: str | None = None
    reference: str | None = None
    skip: int = 0
    times: int = 1
    latency: float = 0
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    drop_request_after: int | None = None
    drop_answer_after: int | None = None
    corrupt_at: int | None = None
    pause_after: int | None = None
    pause: float = 0

    def __attrs_post_init__(self) -> None:
        """Check the numbers."""
        for name in (
            "skip", "times", "latency", "pause", "drop_request_after", "drop_answer_after", "corrupt_at", "pause_after"
        ):  # fmt: skip
            if (getattr(self, name) or 0) < 0:
                raise UsageError(f"{name} cannot be negative")
        if self.status is not None and not 200 <= self.status <= 599:
            raise UsageError("a status is a number from 200 to 599")

    def concerns(self, endpoint: Endpoint) -> bool:
        """Return whether it can happen to a request."""
        if not isinstance(endpoint, self.on):
            return False
        if self.repository is not None and getattr(endpoint, "repository", None) != self.repository:
            return False
        names = (getattr(endpoint, "digest", None), getattr(endpoint, "reference", None))
        return self.reference is None or self.reference in names


class Faults:
    """The faults that are waiting to happen, and those that did. One object serves one registry at a time.

    They are tried in the order in which they were added; a request meets at most one. Adding from another thread than
    the registry's is safe.

    Args:
        faults: The first ones.

    Attributes:
        met: What happened, in order: the fault and what the request was.
    """

    def __init__(self, *faults: Fault) -> None:
        self._waiting: list[tuple[Fault, list[int]]] = []
        self.met: list[tuple[Fault, Endpoint]] = []
        self.add(*faults)

    def __iter__(self) -> Iterator[Fault]:
        return iter([fault for fault, (_, left) in list(self._waiting) if left])

    def add(self, *faults: Fault) -> None:
        """Let more go wrong."""
        self._waiting = [*self._waiting, *((fault, [fault.skip, fault.times]) for fault in faults)]

    def clear(self) -> None:
        """Let nothing go wrong any more, and forget what did."""
        self._waiting = []
        self.met = []

    def meet(self, endpoint: Endpoint) -> Fault | None:
        """Return what happens to a request, and count it."""
        for fault, counts in self._waiting:
            skip, left = counts
            if not left or not fault.concerns(endpoint):
                continue
            if skip:
                counts[0] -= 1
                continue
            counts[1] -= 1
            self.met.append((fault, endpoint))
            return fault
        return None


def happen(fault: Fault, exchange: Exchange) -> None:
    """Let a fault happen to the bodies of an exchange."""
    exchange.through(lambda receive, send: (_Receiving(fault, receive, send), _Sending(fault, receive, send)))


class _Receiving:
    def __init__(self, fault: Fault, receive: Receive, send: Send) -> None:
        self._limit = fault.drop_request_after
        self._receive = receive
        self._send = send
        self._taken = 0
        self._over = False

    async def __call__(self) -> Message:
        if self._over:
            # Not asked for what comes next: of a body that is all there, nothing ever does.
            await cut(self._receive, self._send)
            return {"type": "http.disconnect"}
        message = await self._receive()
        if self._limit is None or message["type"] != "http.request":
            return message
        left = self._limit - self._taken
        self._taken += len(message.get("body", b""))
        if self._taken < self._limit and message.get("more_body", False):
            return message
        self._over = True
        return {**message, "body": message["body"][:left], "more_body": True}


class _Sending:
    def __init__(self, fault: Fault, receive: Receive, send: Send) -> None:
        self._fault = fault
        self._receive = receive
        self._send = send
        self._sent = 0

    async def __call__(self, message: Message) -> None:
        limit = self._fault.drop_answer_after
        if message["type"] == "http.response.start":
            if limit == 0:
                await cut(self._receive, self._send)
                raise ClientGoneError
            await self._send(message)
            return
        body = self._corrupted(message.get("body", b""))
        start, self._sent = self._sent, self._sent + len(body)
        if limit is not None and (self._sent >= limit or not message.get("more_body", False)):
            await self._send({**message, "body": body[: limit - start], "more_body": True})
            await cut(self._receive, self._send)
            raise ClientGoneError
        silent = self._fault.pause_after
        if silent is not None and start <= silent < max(self._sent, start + 1):
            await self._send({**message, "body": body[: silent - start], "more_body": True})
            await anyio.sleep(self._fault.pause)
            body = body[silent - start :]
        await self._send({**message, "body": body})

    def _corrupted(self, body: bytes) -> bytes:
        at = self._fault.corrupt_at
        if at is None or not 0 <= at - self._sent < len(body):
            return body
        place = at - self._sent
        return body[:place] + bytes([body[place] ^ 0xFF]) + body[place + 1 :]
