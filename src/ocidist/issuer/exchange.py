"""One request to a token server and its answer, in the terms of ASGI.

The embedded registry has such a class too, made for streams; a token server is below it in the layers, and reads and
writes small things only.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import parse_qsl

import anyio

if TYPE_CHECKING:
    from collections.abc import Mapping

# ASGI's messages are dictionaries whose values have a type per key.
Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

# RFC 6749, section 5.1: no cache keeps a token.
_HEADERS: Final = (("Content-Type", "application/json"), ("Cache-Control", "no-store"), ("Pragma", "no-cache"))


class ClientGoneError(Exception):
    """Raised when the client closed its connection: there is nobody to answer."""


class RefusedError(Exception):
    """Raised to refuse a request.

    Args:
        status: HTTP status.
        error: The OAuth2 error code (RFC 6749, section 5.2).
        text: What the client is told.
        headers: Header fields besides the usual ones.
    """

    def __init__(self, status: int, error: str, text: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(f"{status} {error}: {text}")
        self.status = status
        self.error = error
        self.text = text
        self.headers = headers

    def to_json(self) -> str:
        """Return the body: what OAuth2 clients read, and what Docker's do."""
        code = {401: "UNAUTHORIZED", 403: "DENIED", 429: "TOOMANYREQUESTS", 503: "UNAVAILABLE"}.get(
            self.status, "UNSUPPORTED"
        )
        shown = {"error": self.error, "error_description": self.text, "details": self.text}
        return json.dumps({**shown, "errors": [{"code": code, "message": self.text}]}, separators=(",", ":"))


class Exchange:
    """A request as it came, and the way to answer it.

    Args:
        scope: ASGI's connection scope.
        receive: ASGI's receive.
        send: ASGI's send.

    Attributes:
        method: HTTP method.
        path: Decoded path below where the application is mounted.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        root: str = scope.get("root_path", "").rstrip("/")
        self.method: str = scope["method"]
        self.path: str = path.removeprefix(root) if path.startswith(f"{root}/") else path
        self._scope = scope
        self._receive = receive
        self._send = send

    def header(self, name: str) -> str | None:
        """Return a header field, None if it is not there.

        Args:
            name: Its name in lower case.

        Raises:
            RefusedError: It is there twice.
        """
        found = [value for field, value in self._scope["headers"] if field.lower() == name.encode()]
        if len(found) > 1:
            raise RefusedError(400, "invalid_request", f"the header {name} is there twice")
        return found[0].decode("latin-1") if found else None

    def query(self, limit: int) -> bytes:
        """Return the query.

        Raises:
            RefusedError: It has more than *limit* bytes.
        """
        raw: bytes = self._scope["query_string"]
        if len(raw) > limit:
            raise RefusedError(414, "invalid_request", f"at most {limit} bytes of query are read")
        return raw

    async def body(self, limit: int, idle: float) -> bytes:
        """Return the whole body.

        Args:
            limit: Most bytes.
            idle: Seconds for all of it to come.

        Raises:
            RefusedError: It has more, or does not come.
            ClientGoneError: The client went away before its end.
        """
        found = bytearray()
        try:
            with anyio.fail_after(idle):
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGoneError
                    found += message.get("body", b"")
                    if len(found) > limit:
                        raise RefusedError(413, "invalid_request", f"at most {limit} bytes are taken")
                    if not message.get("more_body", False):
                        return bytes(found)
        except TimeoutError:
            pass
        raise RefusedError(408, "invalid_request", "the rest of the request did not come")

    async def respond(self, status: int, body: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Send the answer; nothing happens if the client is gone."""
        data = body.encode()
        fields = (*_HEADERS, *headers, ("Content-Length", str(len(data))))
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        shown = b"" if self.method == "HEAD" else data
        with contextlib.suppress(OSError):
            await self._send({"type": "http.response.start", "status": status, "headers": encoded})
            await self._send({"type": "http.response.body", "body": shown, "more_body": False})


class Form:
    """The fields of a query or a form; not shown, because some are secrets.

    Args:
        data: The text, percent-encoded or, as some clients write it, in plain UTF-8.
        most: Most fields.

    Raises:
        RefusedError: There are more, or one is not UTF-8.
    """

    def __init__(self, data: bytes, *, most: int) -> None:
        try:
            pairs = parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=most, errors="strict")
        except ValueError:
            pairs = None
        if pairs is None:
            raise RefusedError(400, "invalid_request", f"at most {most} fields in UTF-8 are read")
        self._values: Mapping[str, list[str]] = _grouped(pairs)

    def __repr__(self) -> str:
        return f"<Form of {sorted(self._values)}>"

    def all(self, name: str) -> list[str]:
        """Return the values of a field that may be there several times."""
        return self._values.get(name, [])

    def one(self, name: str, *, most: int) -> str:
        """Return the value of a field, the empty text if it is not there.

        Args:
            name: The field.
            most: Most characters.

        Raises:
            RefusedError: It is there twice, or longer.
        """
        found = self.all(name)
        if len(found) > 1 or any(len(value) > most for value in found):
            raise RefusedError(400, "invalid_request", f"{name} is there twice, or longer than {most} characters")
        return found[0] if found else ""


def _grouped(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values
