"""One request and its answer, in the terms of ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import attrs

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
FLUSH_S: Final = 1
"""Seconds that what was sent before a cut has to get out."""

_BODILESS: Final = frozenset({204, 304})


class CutError(Exception):
    """Raised to let the server cut the connection, where the connection itself is out of reach."""


class ClientGoneError(Exception):
    """Raised when the client closed its connection: there is nobody to answer."""


@attrs.define
class Answer:
    """An answer before it is sent.

    Attributes:
        status: HTTP status.
        headers: Header fields besides the length and the API's version.
        body: The body, or None if it follows in pieces.
        length: Value of Content-Length; None leaves it out.
        cut: Whether the connection is cut after the body.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes | None
    length: int | None
    cut: bool = False

    def header(self, name: str) -> str | None:
        """Return the value of a header field, None if there is none."""
        return next((value for key, value in self.headers if key == name), None)

    def set(self, name: str, value: str | None) -> None:
        """Replace a header field, in its place; None takes it out."""
        if value is None:
            self.headers = [each for each in self.headers if each[0] != name]
        else:
            self.headers = [(key, value if key == name else old) for key, old in self.headers]


class Exchange:
    """A request as it came, and the way to answer it.

    Args:
        scope: ASGI's connection scope.
        receive: ASGI's receive.
        send: ASGI's send.
        idle: Seconds the client may be silent in the middle of its body, or not read in the middle of the answer's.

    Attributes:
        method: HTTP method.
        root: Path under which the application is mounted; empty if it is alone.
        path: Decoded path below *root*.
        query: Query as it was sent.
        headers: Header fields by lower-case name; repeated ones joined by commas.
        origin: Scheme and host as the client addressed them.
        client: Address of the client; empty if it is not known.
        account: Who asks, once that is known; empty for anybody.
        status: Status of the answer, 0 before it has begun.
        received: Bytes of the request's body so far.
        sent: Bytes of the answer's body so far.
        alter: What changes answers before they are sent, if something does.
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
        self.origin: str = f"{scope.get('scheme', 'http')}://{self.headers.get('host', '')}"
        self.client: str = (scope.get("client") or ("",))[0]
        self.account: str = ""
        self.status: int = 0
        self.received: int = 0
        self.sent: int = 0
        self.alter: Callable[[Answer], Awaitable[None]] | None = None
        self._receive = receive
        self._send = send
        self._idle = idle
        self._more = True

    @property
    def started(self) -> bool:
        """Whether the answer has begun."""
        return self.status != 0

    def through(self, wrap: Callable[[Receive, Send], tuple[Receive, Send]]) -> None:
        """Let what is received and sent pass through something."""
        self._receive, self._send = wrap(self._receive, self._send)

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
            self.received += len(piece)
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
        answer = Answer(status, list(headers), body, len(body) if length is None else length)
        await self._start(answer)
        bodiless = self.method == "HEAD" or answer.status in _BODILESS
        await self._body(b"" if bodiless else answer.body or b"", last=not answer.cut)
        if answer.cut:
            await cut(self._receive, self._send)
            raise ClientGoneError

    async def stream(self, status: int, headers: Headers, length: int, pieces: AsyncIterable[bytes]) -> None:
        """Send an answer piece by piece, and stop as soon as the client is gone."""
        await self._start(Answer(status, list(headers), None, length))
        gone: ClientGoneError | CutError | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, tasks.cancel_scope)
            try:
                async for piece in pieces:
                    await self._body(piece)
                await self._body(b"", last=True)
            except (ClientGoneError, CutError) as error:
                gone = error
            tasks.cancel_scope.cancel()
        if gone is not None:
            raise gone

    async def _start(self, answer: Answer) -> None:
        if self.alter is not None:
            await self.alter(answer)
        fields = [*answer.headers, API_VERSION]
        if answer.length is not None and answer.status not in _BODILESS:
            fields.append(("Content-Length", str(answer.length)))
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        self.status = answer.status
        await self._send({"type": "http.response.start", "status": answer.status, "headers": encoded})

    async def _body(self, piece: bytes, *, last: bool = False) -> None:
        self.sent += len(piece)
        try:
            with anyio.fail_after(self._idle):
                await self._send({"type": "http.response.body", "body": piece, "more_body": not last})
        except TimeoutError:
            # Whoever does not read holds a connection, and a file.
            await cut(self._receive, self._send)
            raise ClientGoneError from None

    async def _watch(self, scope: anyio.CancelScope) -> None:
        # Not every server lets send() fail when the client is gone.
        while (await self._receive())["type"] != "http.disconnect":
            pass
        scope.cancel()


def too_large(limit: int) -> PayloadTooLargeError:
    """Return the refusal of a body that is too large."""
    return said(PayloadTooLargeError, 413, f"at most {limit} bytes are taken")


async def cut(receive: Receive, send: Send) -> None:
    """Cut the connection behind ASGI's callables, after what was sent before.

    Raises:
        CutError: It is out of reach.
    """
    # uvicorn's request knows its connection; ASGI itself has no way to say this.
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise CutError
    with anyio.move_on_after(FLUSH_S):
        while transport.get_write_buffer_size():  # noqa: ASYNC110 -- a transport tells nobody that it is empty
            await anyio.sleep(0.001)
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass
