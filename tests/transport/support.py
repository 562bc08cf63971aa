"""What the transport family shares: transports that are checked when they are closed, requests, and their answers."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import anyio
import anyio.lowlevel
import attrs
import httpx
import pytest

from tests.peers.answers import respond

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

    from ocidist.http.transport.direct import DirectTransport
    from tests.conftest import StartWireServer
    from tests.peers.wire_server import Connection, Request, WireServer

_T = TypeVar("_T")

Kind: TypeAlias = Literal["ours", "httpx"]

KIB = 1024
MIB = 1024 * 1024
PATIENT: Mapping[str, float | None] = {"connect": 2.0, "read": 2.0, "write": 2.0, "pool": 2.0}
ENDLESS: Mapping[str, float | None] = dict.fromkeys(PATIENT)


@attrs.frozen
class Counts:
    """What a transport holds.

    Attributes:
        open: Connections that are not closed.
        idle: Those of them that wait for their next request.
        waiting: Requests that wait for a connection to become free.
    """

    open: int = 0
    idle: int = 0
    waiting: int = 0


@attrs.frozen
class Answer:
    """A response that was read to its end.

    Attributes:
        status: Status code.
        fields: Names and values as the transport gave them.
        body: The body, undecoded.
    """

    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes

    def field(self, name: bytes) -> list[bytes]:
        """Return the values of a field."""
        return [value for key, value in self.fields if key.lower() == name.lower()]


@attrs.frozen
class Transports:
    """Makes transports of one kind.

    Attributes:
        kind: Whose.
    """

    kind: Kind

    def make(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        max_connections: int | None = None,
        max_idle: int = 100,
        idle_expiry: float = 30.0,
    ) -> httpx.AsyncBaseTransport:
        """Return a transport with the options of ours; without *tls* it is for plain http."""
        if self.kind == "ours":
            return _ours(tls=tls, max_connections=max_connections, max_idle=max_idle, idle_expiry=idle_expiry)
        limits = httpx.Limits(
            max_connections=max_connections, max_keepalive_connections=max_idle, keepalive_expiry=idle_expiry
        )
        return httpx.AsyncHTTPTransport(verify=tls or _no_tls(), http2=False, limits=limits, trust_env=False)

    @asynccontextmanager
    async def open(self, **options: Any) -> AsyncIterator[httpx.AsyncBaseTransport]:  # noqa: ANN401 -- those of make
        """Return a transport for the block, after which nothing may be under way any more, and nothing be left open."""
        transport = self.make(**options)
        try:
            yield transport
            held = counts(transport)
            assert held == Counts(held.idle, held.idle)
        finally:
            await transport.aclose()
        assert counts(transport).open == 0
        assert counts(transport).waiting == 0


def _ours(**options: Any) -> DirectTransport:  # noqa: ANN401 -- those of make
    from ocidist.http.transport.direct import DirectTransport

    return DirectTransport(**options)


def _no_tls() -> ssl.SSLContext:
    import ssl

    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def counts(transport: httpx.AsyncBaseTransport) -> Counts:
    """Return what a transport of either kind holds."""
    if not isinstance(transport, httpx.AsyncHTTPTransport):
        ours: Any = transport
        return Counts(ours.open_connections, ours.idle_connections, ours.waiting)
    pool = transport._pool
    found = [connection for connection in pool.connections if not connection.is_closed()]
    idle = sum(connection.is_idle() for connection in found)
    return Counts(len(found), idle, sum(request.is_queued() for request in pool._requests))


def request_for(
    url: str,
    method: str = "GET",
    *,
    timeouts: Mapping[str, float | None] = PATIENT,
    **options: Any,  # noqa: ANN401 -- httpx's own arguments
) -> httpx.Request:
    """Return a request with its timeouts."""
    return httpx.Request(method, url, extensions={"timeout": dict(timeouts)}, **options)


async def ask(
    transport: httpx.AsyncBaseTransport,
    url: str,
    method: str = "GET",
    *,
    timeouts: Mapping[str, float | None] = PATIENT,
    **options: Any,  # noqa: ANN401 -- httpx's own arguments
) -> Answer:
    """Send a request and read its answer to the end."""
    return await finish(await transport.handle_async_request(request_for(url, method, timeouts=timeouts, **options)))


async def finish(response: httpx.Response) -> Answer:
    """Read a response to its end and close it."""
    assert isinstance(response.stream, httpx.AsyncByteStream)
    try:
        body = b"".join([piece async for piece in response.stream])
    finally:
        await response.aclose()
    return Answer(response.status_code, response.headers.raw, body)


@asynccontextmanager
async def begun(response: httpx.Response) -> AsyncIterator[AsyncIterator[bytes]]:
    """Read the first piece of a body; the block has the iterator for the rest."""
    assert isinstance(response.stream, httpx.AsyncByteStream)
    pieces = response.stream.__aiter__()
    assert await anext(pieces)
    try:
        yield pieces
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()


def limits(**changed: float | None) -> Mapping[str, float | None]:
    """Return the patient timeouts with some of them changed."""
    return {**PATIENT, **changed}


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread or task brings about."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 -- other threads set no anyio event
            await anyio.sleep(0.002)


async def until_gone(server: WireServer) -> None:
    """Wait until every connection of a server was closed by the client."""
    await until(lambda: all(connection.sock.fileno() < 0 for connection in server.connections))


async def in_parallel(count: int, work: Callable[[], Awaitable[object]]) -> None:
    """Run the same thing many times at once."""

    async def one() -> None:
        await work()

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(one)


class Resolver:
    """Takes the place of the resolver.

    Attributes:
        addresses: What every name resolves to, in this order.
        hangs: Whether no answer ever comes.
        asked: The names that were asked for.
    """

    def __init__(self) -> None:
        self.addresses: Sequence[str] = ()
        self.hangs = False
        self.asked: list[str] = []

    async def __call__(self, host: object, port: int, *_given: object, **_named: object) -> list[tuple[Any, ...]]:
        """Answer as ``anyio.getaddrinfo`` does."""
        self.asked.append(host.decode() if isinstance(host, bytes) else str(host))
        if self.hangs:
            await anyio.sleep_forever()
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in self.addresses
        ]


class Playback:
    """A server that answers with whatever bytes are set, and with ``fine`` where it is asked for that.

    Args:
        start: Starts the server.

    Attributes:
        server: The server.
    """

    def __init__(self, start: StartWireServer) -> None:
        self._wire = b""
        self._closed = False
        self.server = start(self._answer)

    def plays(self, wire: bytes, *, closed: bool = False) -> str:
        """Set the next answers, and whether the connection ends after them; return where they are."""
        self._wire, self._closed = wire, closed
        return f"{self.server.origin}/"

    def _answer(self, request: Request, connection: Connection) -> None:
        if request.path == "/fine":
            respond(200, (), b"fine")(request, connection)
            return
        request.read()
        connection.send(self._wire)
        if self._closed:
            connection.close()

    async def is_refused(
        self, transport: httpx.AsyncBaseTransport, wire: bytes, *, closed: bool = False, method: str = "GET"
    ) -> None:
        """Check that an answer is refused, its connection closed, and the next request made over another one.

        Args:
            transport: The transport.
            wire: The answer.
            closed: Whether the server ends the connection after it; else the client must not wait for that.
            method: Method of the request.
        """
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(transport, self.plays(wire, closed=closed), method)
        assert counts(transport) == Counts()
        assert (await ask(transport, f"{self.server.origin}/fine")).body == b"fine"


async def failures(table: Mapping[str, _T], check: Callable[[_T], Awaitable[None]]) -> dict[str, str]:
    """Check every case of a table and return those that fail, each with what it failed with."""
    found = {}
    for name, case in table.items():
        try:
            await check(case)
        except (Exception, pytest.fail.Exception) as failure:  # noqa: BLE001 -- all of them are told together
            found[name] = f"{type(failure).__name__}: {failure}"
    return found


class Source(httpx.AsyncByteStream):
    """A request body that is made piece by piece, as it is asked for.

    Args:
        pieces: The pieces.
        failure: Raised in place of the end.

    Attributes:
        given: How many pieces were asked for and given.
    """

    def __init__(self, pieces: Iterable[bytes], failure: BaseException | None = None) -> None:
        self._pieces = iter(pieces)
        self._failure = failure
        self.given = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the pieces."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece."""
        await anyio.lowlevel.checkpoint()
        for piece in self._pieces:
            self.given += 1
            return piece
        if self._failure is not None:
            raise self._failure
        raise StopAsyncIteration


def streamed(
    url: str,
    source: httpx.AsyncByteStream,
    *,
    length: int | None = None,
    method: str = "PUT",
    timeouts: Mapping[str, float | None] = PATIENT,
) -> httpx.Request:
    """Return a request with a body that is made as it is sent, in chunks if its length is None."""
    framing = ("Transfer-Encoding", "chunked") if length is None else ("Content-Length", str(length))
    host = ("Host", httpx.URL(url).netloc.decode())
    return httpx.Request(method, url, headers=[host, framing], stream=source, extensions={"timeout": dict(timeouts)})
