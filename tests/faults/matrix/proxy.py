"""A proxy in front of a real registry that knows HTTP, and breaks it where its rules say so.

Requests arrive through the raw sockets of ``WireServer`` and are passed on one by one; what comes back is held as a
whole, so that an action can change it, cut it, delay it or throw it away.
"""

from __future__ import annotations

import http.client
import random
import select
import socket
import threading
from typing import TYPE_CHECKING, Any

import attrs

from tests.faults.matrix.rules import Kind
from tests.peers.answers import head
from tests.peers.wire_server import WireServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.faults.matrix.rules import Rule
    from tests.peers.wire_server import Connection, Request

PATIENCE_S = 10.0
_PER_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "expect", "content-length"})


@attrs.frozen
class Answer:
    """An answer that is held.

    Attributes:
        status: Its status.
        headers: Its headers in order; ``Content-Length`` is added when it is sent, unless it is among them.
        body: Its body.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Return the first value of a header, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def with_header(self, name: str, value: str | None) -> Answer:
        """Return it with another value of a header; None removes it."""
        kept = tuple((key, old) for key, old in self.headers if key.lower() != name.lower())
        return attrs.evolve(self, headers=kept if value is None else (*kept, (name, value)))

    def wire(self, method: str) -> tuple[bytes, bytes]:
        """Return the bytes of its head and those of its body, as they answer a method."""
        headers = self.headers
        bare = self.status < 200 or self.status in {204, 304}
        if not bare and not any(name.lower() in {"content-length", "transfer-encoding"} for name, _ in headers):
            headers = (*headers, ("Content-Length", str(len(self.body))))
        return head(self.status, headers), b"" if bare or method == "HEAD" else self.body


class Exchange:
    """One request at the proxy.

    Attributes:
        request: The request.
        connection: Where it came from.
        proxy: The proxy.
    """

    def __init__(self, proxy: FaultProxy, request: Request, connection: Connection) -> None:
        self.proxy = proxy
        self.request = request
        self.connection = connection

    def pass_on(
        self, *, without: tuple[str, ...] = (), query: bool = True, part: float = 1.0, most: int | None = None
    ) -> Answer:
        """Let the registry answer, or whoever stands before it.

        Args:
            without: Headers that are left out.
            query: Whether the query is passed on.
            part: How much of the body is.
            most: Bytes of the answer's body that are read; its length is told as it was.
        """
        self.request.read()
        if self.proxy.origin.startswith("https:"):
            # What a registry has to be told so that its Locations are right.
            self.request.headers.append(("X-Forwarded-Proto", "https"))
        refusal = self.proxy.gate(self.request) if self.proxy.gate is not None else None
        if refusal is not None:
            return refusal
        return passed_on(self.proxy.upstream, self.request, without=without, query=query, part=part, most=most)

    def fill(self, text: str) -> str:
        """Put the origins of the servers where a text names them (``<cdn>/signed``), and the request's target."""
        text = text.replace("<self>", self.request.target).replace("<path>", self.request.path)
        for name, origin in self.proxy.origins.items():
            text = text.replace(f"<{name}>", origin)
        return text

    def send(self, data: bytes) -> None:
        """Send bytes to the client."""
        self.connection.send(data)

    def wait(self, seconds: float) -> None:
        """Say nothing for a while, or until the client has gone."""
        sock = self.connection.sock
        if sock.fileno() >= 0:
            select.select([sock], [], [], seconds)


class FaultProxy(WireServer):
    """The proxy; a context manager.

    Args:
        upstream: The registry, ``host:port``.
        rules: What goes wrong. The first one that applies to a request decides what happens to it.
        gate: Answers the requests that are not let through to the registry; None lets everybody in.
        origins: Origins of the other servers, for ``Exchange.fill``.
        seed: What the rules that are left to chance begin with.
        options: Of ``WireServer``.
    """

    def __init__(
        self,
        upstream: str,
        rules: Sequence[Rule] = (),
        *,
        gate: Callable[[Request], Answer | None] | None = None,
        origins: Mapping[str, str] | None = None,
        seed: int = 0,
        **options: Any,  # noqa: ANN401 -- those of the server
    ) -> None:
        super().__init__(self._treat, **options)
        self.upstream = upstream
        self.gate = gate
        self.origins: Mapping[str, str] = {} if origins is None else origins
        self.luck = random.Random(seed)  # noqa: S311 -- it is to be repeated
        self.happened = 0
        self._rules = list(rules)
        self._seen = [0] * len(self._rules)
        self._rules_lock = threading.Lock()

    @property
    def ruled(self) -> bool:
        """Whether something is to go wrong here."""
        return bool(self._rules)

    def decide(self, kind: Kind) -> Rule | None:
        """Return what happens to a connection."""
        return self._first(lambda rule: rule.where.kind is kind)

    def _decide_for(self, request: Request) -> Rule | None:
        return self._first(lambda rule: rule.where.covers(request))

    def _first(self, applies: Callable[[Rule], bool]) -> Rule | None:
        found = None
        with self._rules_lock:
            for number, rule in enumerate(self._rules):
                if applies(rule):
                    self._seen[number] += 1
                    if rule.hits(self._seen[number], self.luck) and found is None:
                        found = rule
            self.happened += found is not None
        return found

    def _treat(self, request: Request, connection: Connection) -> None:
        exchange = Exchange(self, request, connection)
        rule = self._decide_for(request)
        if rule is not None:
            rule.action(exchange)
            return
        start, body = exchange.pass_on().wire(request.method)
        connection.send(start + body)

    def _serve(self, sock: socket.socket) -> None:
        rule = self.decide(Kind.ACCEPT)
        if rule is not None:
            rule.action(sock)
            if sock.fileno() < 0:
                return
        super()._serve(sock)


def passed_on(
    upstream: str,
    request: Request,
    *,
    without: tuple[str, ...] = (),
    query: bool = True,
    part: float = 1.0,
    most: int | None = None,
) -> Answer:
    """Send a request to the registry and return its answer; see ``Exchange.pass_on``."""
    connection = http.client.HTTPConnection(upstream, timeout=PATIENCE_S)
    body = request.body[: int(len(request.body) * part)]
    try:
        target = request.target if query else request.path
        connection.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in _onward(request, body):
            if name not in without:
                connection.putheader(name, value)
        connection.endheaders(body or None)
        response = connection.getresponse()
        headers = [(name, value) for name, value in response.getheaders() if name.lower() not in _PER_HOP]
        size = response.getheader("Content-Length")
        if size is not None and (request.method == "HEAD" or most is not None):
            headers.append(("Content-Length", size))
        return Answer(response.status, tuple(headers), response.read(most))
    finally:
        connection.close()


def passed_in_part(upstream: str, request: Request, count: int) -> None:
    """Send a request to the registry with the first bytes of its body only, and hang up."""
    host, _, port = upstream.rpartition(":")
    start = f"{request.method} {request.target} HTTP/1.1"
    lines = [start, *(f"{name}: {value}" for name, value in _onward(request, request.body))]
    with socket.create_connection((host, int(port)), PATIENCE_S) as sock:
        sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + request.body[:count])
        sock.shutdown(socket.SHUT_WR)
        # Until the registry is done with it: what it does next must not depend on luck.
        while sock.recv(65536):
            pass


def _onward(request: Request, body: bytes) -> list[tuple[str, str]]:
    kept = [(name, value) for name, value in request.headers if name.lower() not in _PER_HOP]
    if len(body) < len(request.body):
        first = int((request.header("Content-Range") or "0").partition("-")[0])
        kept = [(name, value) for name, value in kept if name != "Content-Range"]
        kept.append(("Content-Range", f"{first}-{first + len(body) - 1}"))
    if request.body or request.header("Content-Length") is not None:
        kept.append(("Content-Length", str(len(body))))
    return [*kept, ("Connection", "close")]
