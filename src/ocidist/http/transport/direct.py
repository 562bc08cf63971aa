"""ocidist's own transport: HTTP/1.1 over sockets, without a parser between a blob and its reader.

httpx's default transport takes bodies apart into events and walks over all its connections for each request. Here a
connection is found by its origin in constant time, a body whose length is known is received as it comes, and everything
that has to happen when a request is given up happens without waiting, so that no cancellation can come in between.

Proxies and HTTP/2 are the business of httpx's own transport.

Spec: RFC 9112; architecture, decision 2.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import anyio
import anyio.lowlevel
import httpx

from ocidist._io.load import load_module
from ocidist.http.affinity import asyncio_loop
from ocidist.http.guard import CHECK
from ocidist.http.lean import EARLY, LeanRequest, LeanResponse
from ocidist.http.limits import Slot
from ocidist.http.transport.body import ResponseBody
from ocidist.http.transport.dial import dial, secure
from ocidist.http.transport.exchange import Exchange
from ocidist.http.transport.idle import Connection, IdleConnections, Key
from ocidist.http.transport.socketio import SocketIO
from ocidist.http.transport.trust import SystemTrust

if TYPE_CHECKING:
    import socket

    from ocidist.http.transport.head import Head
    from ocidist.http.transport.trust import TlsContexts

AddressCheck: TypeAlias = Callable[[str, Mapping[str, str]], None]
"""Raises an error for an address that must not be dialled; told the address at which each host was reached before."""


_K = TypeVar("_K")
_V = TypeVar("_V")

PORTS: Final = {"http": 80, "https": 443}
MAX_IDLE: Final = 100
"""Idle connections that are kept."""

IDLE_EXPIRY: Final = 30.0
"""Seconds after which an idle connection is not used any more."""

STALE_AFTER: Final = 1.0
"""Seconds of idleness from which on a connection that ends without an answer was closed for that, and not because of
the request."""

_CLOSED: Final = "the transport was closed"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_MAX_REMEMBERED: Final = 1024


class DirectTransport(httpx.AsyncBaseTransport):
    """Sends requests over connections of its own, to be used within one event loop: asyncio, uvloop or trio.

    It honours httpx's four timeouts, and ``floor`` in the same extension: bytes per second that a message must make
    over 30 seconds of waiting. A GET, HEAD or OPTIONS request whose connection was idle for a while and ends without a
    byte of an answer is sent again over a new one.

    Args:
        tls: TLS settings for all hosts, or what returns those of one; None trusts the system's authorities.
        max_connections: Most requests under way at once; others wait. None sets no limit.
        max_idle: Most idle connections that are kept.
        idle_expiry: Seconds after which an idle connection is not used any more.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | TlsContexts | None = None,
        max_connections: int | None = None,
        max_idle: int = MAX_IDLE,
        idle_expiry: float = IDLE_EXPIRY,
    ) -> None:
        self._tls = SystemTrust().get if tls is None else tls
        self._most = max_connections
        self._limiter = None if max_connections is None else anyio.CapacityLimiter(max_connections)
        self._idle = IdleConnections(max_idle, idle_expiry)
        self._open: set[Connection] = set()
        self._dialling: set[anyio.CancelScope] = set()
        self._waiting = 0
        self._closed = False
        # Where each host was reached last, and the TLS session to go on with there.
        self._reached: dict[str, str] = {}
        self._sessions: dict[Key, tuple[ssl.SSLContext, ssl.SSLSession]] = {}

    @property
    def open_connections(self) -> int:
        """Connections that are open, idle ones included."""
        return len(self._open)

    @property
    def idle_connections(self) -> int:
        """Connections that wait for their next request."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Requests that wait for others to end."""
        return self._waiting

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return its answer, the body unread.

        Raises:
            httpx.TransportError: No answer came.
            OciError: The request's check refuses the address.
        """
        if self._closed:
            raise httpx.ConnectError(_CLOSED)
        if request.method not in _SAFE:
            # Whoever is cancelled already changes nothing any more.
            await anyio.lowlevel.checkpoint_if_cancelled()
        slot = None if self._limiter is None else await self._slot(self._limiter, request)
        try:
            key = key_of(request)
            connection = self._reuse(key, request)
            # The server may be about to close a connection for having been idle; not if it was used a moment ago.
            stale = connection is not None and time.monotonic() - connection.since > STALE_AFTER
            connection = connection or await self._connect(key, request)
            exchange = Exchange(connection.io, request)
            try:
                head = await exchange.run()
                body = self._body(connection, exchange, head, slot)
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                connection.io.close()
                if not (stale and exchange.untouched and _is_safe(request)):
                    raise
                exchange, head, body = await self._afresh(key, request, slot)
            except BaseException:
                connection.io.close()
                raise
        except BaseException:
            if slot is not None:
                slot.release()
            raise
        extensions: dict[str, object] = {"http_version": head.version, "reason_phrase": head.reason}
        if exchange.early:
            extensions[EARLY] = True
        return LeanResponse(head.status, head.fields, head.by_name, stream=body, extensions=extensions)

    async def _afresh(self, key: Key, request: httpx.Request, slot: Slot | None) -> tuple[Exchange, Head, ResponseBody]:
        connection = await self._connect(key, request)
        exchange = Exchange(connection.io, request)
        try:
            head = await exchange.run()
            return exchange, head, self._body(connection, exchange, head, slot)
        except BaseException:
            connection.io.close()
            raise

    def _body(self, connection: Connection, exchange: Exchange, head: Head, slot: Slot | None) -> ResponseBody:
        head.keep_alive = head.keep_alive and exchange.reusable
        return ResponseBody(
            connection.io,
            head,
            exchange.rest,
            timeouts=exchange.timeouts,
            release=partial(self._release, connection, slot),
        )

    async def _slot(self, limiter: anyio.CapacityLimiter, request: httpx.Request) -> Slot:
        slot = Slot(limiter)
        timeout = (request.extensions.get("timeout") or {}).get("pool")
        self._waiting += 1
        try:
            with anyio.move_on_after(timeout):
                await slot.take()
                return slot
        finally:
            self._waiting -= 1
        raise httpx.PoolTimeout(f"no connection became free for {timeout:g} seconds")

    # --- connections -------------------------------------------------------------------------------------------------

    def _reuse(self, key: Key, request: httpx.Request) -> Connection | None:
        connection = self._idle.take(key)
        check: AddressCheck | None = request.extensions.get(CHECK)
        if connection is not None and check is not None:
            try:
                check(connection.io.peer, self._reached)
            except BaseException:
                self._idle.put(connection)
                raise
        return connection

    async def _connect(self, key: Key, request: httpx.Request) -> Connection:
        timeout = (request.extensions.get("timeout") or {}).get("connect")
        if self._most is not None and len(self._open) + len(self._dialling) >= self._most:
            self._idle.close_oldest()
        with anyio.move_on_after(timeout) as scope:
            self._dialling.add(scope)
            try:
                make = await socket_maker()
                # From here on nothing is awaited until the connection is known.
                return self._opened(make(*await self._dial(key, request)), key)
            finally:
                self._dialling.discard(scope)
        if self._closed:
            raise httpx.ConnectError(_CLOSED)
        raise httpx.ConnectTimeout(f"no connection within {timeout:g} seconds")

    async def _dial(self, key: Key, request: httpx.Request) -> tuple[socket.socket, str]:
        scheme, host, port = key
        check: AddressCheck | None = request.extensions.get(CHECK)
        narrowed = None if check is None else partial(_called, check, self._reached)
        if scheme == "http":
            return await dial(host, port, narrowed)
        context = self._tls if isinstance(self._tls, ssl.SSLContext) else await self._tls(host, port)
        name = request.extensions.get("sni_hostname") or host
        known = self._sessions.get(key)
        session = known[1] if known is not None and known[0] is context else None
        sock, peer = await dial(host, port, narrowed)
        return await secure(sock, context, str(name).removesuffix("."), session), peer

    def _opened(self, io: SocketIO, key: Key) -> Connection:
        connection = Connection(io, key)
        io.on_closed = partial(self._forget, connection)
        io.on_stirred = partial(self._idle.stirred, connection)
        self._open.add(connection)
        _remember(self._reached, key[1], io.peer)
        if self._closed:
            io.close()
            raise httpx.ConnectError(_CLOSED)
        return connection

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._idle.discard(connection)

    def _release(self, connection: Connection, slot: Slot | None, reusable: bool) -> None:  # noqa: FBT001 -- a callback
        if not connection.io.closed:
            self._keep_session(connection)
        if reusable and not self._closed and not connection.io.closed:
            self._idle.put(connection)
        else:
            connection.io.close()
        if slot is not None:
            slot.release()

    def _keep_session(self, connection: Connection) -> None:
        sock = connection.io.sock
        if not connection.since and isinstance(sock, ssl.SSLSocket) and sock.session is not None:
            # By the time of the first answer TLS 1.3 has sent its tickets, too.
            _remember(self._sessions, connection.key, (sock.context, sock.session))

    async def aclose(self) -> None:
        """Close every connection, also those in use: whoever waits for them gets an ``httpx.NetworkError``."""
        self._closed = True
        for scope in list(self._dialling):
            scope.cancel()
        for connection in list(self._open):
            connection.io.close()


def key_of(request: httpx.Request) -> Key:
    """Return the origin a request is for."""
    if isinstance(request, LeanRequest):
        return request.key
    url = request.url
    scheme = url.scheme
    port = PORTS.get(scheme)
    if port is None:
        raise httpx.UnsupportedProtocol(f"only http and https URLs can be asked, not {scheme[:20]!r}")
    return scheme, url.raw_host.decode("ascii").strip("[]"), url.port or port


def _is_safe(request: httpx.Request) -> bool:
    return request.method in _SAFE and isinstance(request.stream, httpx.ByteStream)


def _remember(where: dict[_K, _V], key: _K, value: _V) -> None:
    where[key] = value
    if len(where) > _MAX_REMEMBERED:
        del where[next(iter(where))]


def _called(check: AddressCheck, reached: Mapping[str, str], address: str) -> None:
    check(address, reached)


async def socket_maker() -> Callable[[socket.socket, str], SocketIO]:
    """Return what makes a connected socket usable on the event loop that runs."""
    loop = asyncio_loop()
    if loop is None:
        return SocketIO
    await load_module("ocidist.http.transport.asyncio_io")
    from ocidist.http.transport.asyncio_io import AsyncioSocketIO  # noqa: PLC0415 -- where there is no asyncio there is no need for it

    return partial(AsyncioSocketIO, loop=loop)
