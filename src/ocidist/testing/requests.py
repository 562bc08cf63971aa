"""What a registry was asked: an ASGI application that notes every request to the one behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ocidist.errors import OciError
from ocidist.wire.routing import parse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ocidist.wire.endpoints import Endpoint

_SECRETS = frozenset({"authorization", "cookie", "proxy-authorization"})


@attrs.frozen
class SeenRequest:
    """A request that a registry answered, or began to.

    Attributes:
        method: HTTP method.
        path: Decoded path.
        query: Query as it was sent.
        headers: Header fields by lower-case name. Of credentials only the scheme is kept, of cookies nothing.
        received: Bytes of the body that had arrived when the answer began.
        status: HTTP status; 0 if the connection was cut before.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    received: int
    status: int

    def __str__(self) -> str:
        target = f"{self.path}?{self.query}" if self.query else self.path
        return f"{self.method} {target} -> {self.status}"

    @property
    def endpoint(self) -> Endpoint | None:
        """What it was in the specification's terms, from ``ocidist.wire.endpoints``; None if it was nothing of that."""
        try:
            return parse(self.method, self.path, self.query, self.headers)
        except OciError:
            return None


class Watched:
    """An application whose requests are noted.

    Args:
        app: The application.
        seen: Where the requests are noted, each before its client gets the first byte of the answer.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], seen: list[SeenRequest]) -> None:
        self._app = app
        self._seen = seen

    async def __call__(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Mapping[str, Any]]],
        send: Callable[[Mapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Serve one connection scope: ASGI's entry point."""
        watch = _Watch(scope, receive, send, self._seen)
        try:
            await self._app(scope, watch.receive, watch.send)
        finally:
            watch.note(0)


class _Watch:
    """One request. Like uvicorn's own it knows its connection, for faults that cut it."""

    def __init__(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Mapping[str, Any]]],
        send: Callable[[Mapping[str, Any]], Awaitable[None]],
        seen: list[SeenRequest],
    ) -> None:
        self.transport = getattr(getattr(send, "__self__", None), "transport", None)
        self._scope = scope
        self._receive = receive
        self._send = send
        self._seen = seen
        self._received = 0
        self._noted = False

    async def receive(self) -> Mapping[str, Any]:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        return message

    async def send(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.note(message["status"])
        await self._send(message)

    def note(self, status: int) -> None:
        if not self._noted:
            self._noted = True
            self._seen.append(_seen(self._scope, self._received, status))


def _seen(scope: Mapping[str, Any], received: int, status: int) -> SeenRequest:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        shown = value.partition(" ")[0] if name.endswith("authorization") else ""
        value = shown if name in _SECRETS else value
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    query = scope["query_string"].decode("latin-1")
    return SeenRequest(scope["method"], scope["path"], query, headers, received, status)
