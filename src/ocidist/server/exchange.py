"""One request and its answer, in the terms of ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio

from ocidist.errors import PayloadTooLargeError, ProtocolError, SizeInvalidError, UnexpectedStatusError
from ocidist.server.refusal import said
from ocidist.wire.ranges import content_length

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable

# ASGI's messages are dictionaries whose values have a type per key.
Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = "Iterable[tuple[str, str]]"

API_VERSION: Final = ("Docker-Distribution-API-Version", "registry/2.0")
_BODILESS: Final = frozenset({204, 304})


class ClientGoneError(Exception):
    """Raised when the client closed its connection: there is nobody to answer."""


class Exchange:
    """A request as it came, and the way to answer it.

    Args:
        scope: ASGI's connection scope.
        receive: ASGI's receive.
        send: ASGI's send.
        idle: Seconds the client may be silent in the middle of its body.

    Attributes:
        method: HTTP method.
        root: Path under which the application is mounted; empty if it is alone.
        path: Decoded path below *root*.
        query: Query as it was sent.
        headers: Header fields by lower-case name; repeated ones joined by commas.
        started: Whether the answer has begun.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, idle: float) -> None:
        path: str = scope["path"]
        root: str = scope.get("root_path", "").rstrip("/")
        self.method: str = scope["method"]
        self.root = root
        self.path: str = path.removeprefix(root) if path.startswith(f"{root}/") else path
        self.query: str = scope["query_string"].decode("latin-1")
        self.headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value
        self.started: bool = False
        self._receive = receive
        self._send = send
        self._idle = idle
        self._more = True

    @property
    def announced(self) -> int | None:
        """Bytes the body has according to its Content-Length, or None.

        Raises:
            SizeInvalidError: The header is malformed; most HTTP servers refuse that themselves.
        """
        text = self.headers.get("content-length")
        try:
            return None if text is None else content_length([text])
        except ProtocolError as error:
            raise said(SizeInvalidError, 400, error.message) from None

    async def next_piece(self) -> bytes | None:
        """Return more of the body, None at its end.

        Raises:
            ClientGoneError: The client went away before that.
            UnexpectedStatusError: The client was silent for too long (408).
        """
        while self._more:
            try:
                with anyio.fail_after(self._idle):
                    message = await self._receive()
            except TimeoutError:
                raise said(UnexpectedStatusError, 408, "the rest of the body did not come") from None
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            self._more = message.get("more_body", False)
            piece: bytes = message.get("body", b"")
            if piece:
                return piece
        return None

    async def read(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            PayloadTooLargeError: It has more than *limit* bytes.
            ClientGoneError: See ``next_piece``.
            UnexpectedStatusError: See ``next_piece``.
        """
        found = bytearray()
        if (self.announced or 0) > limit:
            raise too_large(limit)
        while (piece := await self.next_piece()) is not None:
            found += piece
            if len(found) > limit:
                raise too_large(limit)
        return bytes(found)

    async def respond(
        self, status: int, headers: Headers = (), body: bytes = b"", *, length: int | None = None
    ) -> None:
        """Send a whole answer.

        Args:
            status: HTTP status.
            headers: Header fields besides the length and the API's version.
            body: The body; left out after HEAD.
            length: Value of Content-Length if there is a body that is not sent, as after HEAD.
        """
        size = len(body) if length is None else length
        await self._start(status, headers, None if status in _BODILESS else size)
        shown = b"" if self.method == "HEAD" or status in _BODILESS else body
        await self._send({"type": "http.response.body", "body": shown, "more_body": False})

    async def stream(self, status: int, headers: Headers, length: int, pieces: AsyncIterable[bytes]) -> None:
        """Send an answer piece by piece, and stop as soon as the client is gone."""
        await self._start(status, headers, length)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, tasks.cancel_scope)
            async for piece in pieces:
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            tasks.cancel_scope.cancel()

    async def _start(self, status: int, headers: Headers, length: int | None) -> None:
        fields = [*headers, API_VERSION]
        if length is not None:
            fields.append(("Content-Length", str(length)))
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def _watch(self, scope: anyio.CancelScope) -> None:
        # Not every server lets send() fail when the client is gone.
        while (await self._receive())["type"] != "http.disconnect":
            pass
        scope.cancel()


def too_large(limit: int) -> PayloadTooLargeError:
    """Return the refusal of a body that is too large."""
    return said(PayloadTooLargeError, 413, f"at most {limit} bytes are taken")
