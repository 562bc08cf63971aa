"""Answers a ``WireServer`` can give, and the table that picks one.

An answer is a function of the request and its connection. Those here read the whole request body first, so that a test
may look at it as soon as it has the response; ``early`` does not.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from tests.peers.wire_server import Connection, Request

Handler: TypeAlias = "Callable[[Request, Connection], None]"
Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]

_PATIENCE_S = 30.0


def head(status: int, headers: Headers = ()) -> bytes:
    """Return a response head, exactly with these headers."""
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Unknown"
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in pairs)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _framed(status: int, headers: Headers, body: bytes) -> bytes:
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    names = {name.lower() for name, _ in pairs}
    if status >= 200 and status not in {204, 304} and names.isdisjoint({"content-length", "transfer-encoding"}):
        pairs.append(("Content-Length", str(len(body))))
    return head(status, pairs)


def early(status: int, headers: Headers = (), body: bytes = b"") -> Handler:
    """Answer before the request body is read."""

    def answer(request: Request, connection: Connection) -> None:
        connection.send(_framed(status, headers, body) + (b"" if request.method == "HEAD" else body))

    return answer


def respond(status: int, headers: Headers = (), body: bytes = b"") -> Handler:
    """Answer with a status, headers and a body.

    ``Content-Length`` is added unless *headers* have one, right or wrong, or ``Transfer-Encoding``. HEAD gets no body.
    """
    answer = early(status, headers, body)

    def after_body(request: Request, connection: Connection) -> None:
        request.read()
        answer(request, connection)

    return after_body


def respond_json(status: int, value: object, headers: Headers = ()) -> Handler:
    """Answer with JSON."""
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    return respond(status, [("Content-Type", "application/json"), *pairs], json.dumps(value).encode())


def error(status: int, code: str, message: str = "", headers: Headers = ()) -> Handler:
    """Answer with an error body as the distribution specification has it."""
    return respond_json(
        status, {"errors": [{"code": code, "message": message or code.lower(), "detail": None}]}, headers
    )


def respond_chunked(status: int, headers: Headers, pieces: Iterable[bytes]) -> Handler:
    """Answer with ``Transfer-Encoding: chunked``, one chunk per piece, properly ended."""
    kept = tuple(pieces)

    def answer(request: Request, connection: Connection) -> None:
        request.read()
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        connection.send(head(status, [*pairs, ("Transfer-Encoding", "chunked")]))
        if request.method != "HEAD":
            for piece in kept:
                connection.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            connection.send(b"0\r\n\r\n")

    return answer


def raw(data: bytes) -> Handler:
    """Read the request, then send exactly these bytes."""

    def answer(request: Request, connection: Connection) -> None:
        request.read()
        connection.send(data)

    return answer


def close(_request: Request, connection: Connection) -> None:
    """End the connection with FIN."""
    connection.close()


def reset(_request: Request, connection: Connection) -> None:
    """End the connection with RST."""
    connection.reset()


def silence(_request: Request, connection: Connection) -> None:
    """Say nothing (more) until the client gives up."""
    connection.wait_closed()
    connection.close()


def take(count: int) -> Handler:
    """Read *count* bytes of the request body and leave the rest unread."""

    def answer(request: Request, _connection: Connection) -> None:
        request.read(count)

    return answer


def chain(*steps: Handler) -> Handler:
    """Do one step after the other: ``chain(respond(200, {"Content-Length": "9"}, b"half"), close)``."""

    def answer(request: Request, connection: Connection) -> None:
        for step in steps:
            step(request, connection)

    return answer


def after(event: threading.Event, then: Handler) -> Handler:
    """Answer only once *event* is set."""

    def answer(request: Request, connection: Connection) -> None:
        if not event.wait(_PATIENCE_S):
            message = f"nobody released the answer to {request.method} {request.target}"
            raise TimeoutError(message)
        then(request, connection)

    return answer


class Route:
    """One line of the table: what it matches, what it answers, and what it has seen.

    Attributes:
        requests: Requests that came to this route.
    """

    def __init__(self, method: str, target: str, answers: tuple[Handler, ...]) -> None:
        if not answers:
            message = f"{method} {target} needs an answer"
            raise ValueError(message)
        self._method = method
        self._target = target
        self._answers = answers
        self._lock = threading.Lock()
        self.requests: list[Request] = []

    def matches(self, request: Request) -> bool:
        """Say whether a request is for this route."""
        if self._method not in {"*", request.method}:
            return False
        # A pattern with a query is about the whole target, any other about the path only.
        found = request.target if "?" in self._target else request.path
        if self._target.endswith("*"):
            return found.startswith(self._target[:-1])
        return found == self._target

    def __call__(self, request: Request, connection: Connection) -> None:
        """Give the next answer; the last one stays."""
        with self._lock:
            turn = min(len(self.requests), len(self._answers) - 1)
            self.requests.append(request)
        self._answers[turn](request, connection)


class RouteTable:
    """Routes, the newest first; what none matches gets 404 with a registry's error body."""

    def __init__(self) -> None:
        self._routes: list[Route] = []
        self._missing = error(404, "NOT_FOUND", "no route")

    def on(self, method: str, target: str, *answers: Handler) -> Route:
        """Add a route.

        Args:
            method: The method, or ``*`` for any.
            target: A path, or a path with its query; a final ``*`` stands for anything.
            answers: One for each request in turn; the last one also for all that follow.
        """
        route = Route(method, target, answers)
        self._routes.insert(0, route)
        return route

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer a request."""
        next((route for route in self._routes if route.matches(request)), self._missing)(request, connection)
