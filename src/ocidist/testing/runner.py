"""An ASGI application on a loopback port, served by uvicorn from a thread of its own.

uvicorn runs on asyncio only; from a thread it serves programs on trio, and ones without any event loop, just as well.
Of uvicorn's server only the part that opens sockets is used: the rest of it polls, and takes 0.2 s to stop.
"""

from __future__ import annotations

import asyncio  # what uvicorn waits for at its end are tasks of asyncio
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, overload

import anyio
import uvicorn
from anyio.from_thread import start_blocking_portal

from ocidist.errors import UsageError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterator

    from anyio.from_thread import BlockingPortal

T = TypeVar("T")

Lifespan: TypeAlias = Literal["auto", "off", "on"]

LOOPBACK: Final = "127.0.0.1"
GRACE_S: Final = 0.1
"""Seconds that requests under way have to end at the end; then their connections are cut."""

_TICK_S: Final = 1  # how old a Date header may be


class LoopbackServer:
    """An application that is being served. Get it from ``loopback``.

    Attributes:
        host: Where it listens, ``127.0.0.1:port``.
        url: The same with the scheme before it.
    """

    def __init__(self, server: _Server, portal: BlockingPortal, address: str) -> None:
        self._server = server
        self._portal = portal
        self.host: str = address
        self.url: str = f"{'https' if server.config.ssl else 'http'}://{address}"

    def __repr__(self) -> str:
        return f"<LoopbackServer {self.url}>"

    @property
    def connections(self) -> int:
        """Connections that are open at the moment."""
        return len(self._server.server_state.connections)

    @overload
    def call(self, function: Callable[..., Awaitable[T]], *args: object) -> T: ...

    @overload
    def call(self, function: Callable[..., T], *args: object) -> T: ...

    def call(self, function: Callable[..., Any], *args: object) -> Any:
        """Call a function, or a coroutine function, in the server's thread and return what it returns.

        That is the way to what belongs to the application: it is not safe to touch from another thread. The caller
        waits, which takes no longer than the function does, so it may be called inside an event loop too.

        Args:
            function: What to call.
            *args: Its arguments.

        Raises:
            RuntimeError: The server has stopped, or this is its own thread.
        """
        return self._portal.call(function, *args)


@contextmanager
def loopback(
    app: Callable[..., Awaitable[None]],
    *,
    tls: ssl.SSLContext | None = None,
    lifespan: Lifespan = "auto",
    listener: socket.socket | None = None,
) -> Iterator[LoopbackServer]:
    """Serve an ASGI application on 127.0.0.1 until the block ends.

    It is ready when the block begins. At its end no thread and no socket is left: requests under way have a tenth of a
    second to end, then their connections are cut.

    Args:
        app: The application.
        tls: Serve over TLS with this context.
        lifespan: Whether the application is told that it starts and ends; ``"auto"`` if it wants to know.
        listener: Socket to listen on, closed at the end; a port of the kernel's choice unless given.

    Raises:
        UsageError: The application did not start.
    """
    with (
        socket.create_server((LOOPBACK, 0)) if listener is None else listener as bound,
        start_blocking_portal("asyncio", name="ocidist-loopback") as portal,
    ):
        # Inherited by every connection: asyncio sets it only for sockets that know their protocol, and an answer in two
        # pieces takes 40 ms without it.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        address = f"{LOOPBACK}:{bound.getsockname()[1]}"
        server = _Server(app, tls, lifespan)
        portal.call(server.open, bound)
        date = portal.start_task_soon(server.tell_the_date)
        try:
            yield LoopbackServer(server, portal, address)
        finally:
            date.cancel()
            portal.call(server.close)


class _Server(uvicorn.Server):
    def __init__(self, app: Callable[..., Awaitable[None]], tls: ssl.SSLContext | None, lifespan: Lifespan) -> None:
        # Without a log configuration the loggers of the program around are left as they are.
        config = uvicorn.Config(
            app, http="httptools", ws="none", lifespan=lifespan, log_config=None, log_level=None, access_log=False
        )
        config.load()
        config.ssl = tls
        super().__init__(config)

    async def open(self, listener: socket.socket) -> None:
        """Start the application and listen."""
        self.lifespan: Any = self.config.lifespan_class(self.config)
        try:
            await self.startup([listener])
        except SystemExit:
            raise UsageError("the application did not start: its own log says why") from None

    async def close(self) -> None:
        """Stop listening, let go of all connections, and stop the application."""
        for listening in self.servers:
            listening.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=GRACE_S)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=GRACE_S)
        await self.lifespan.shutdown()

    async def tell_the_date(self) -> None:
        """Keep the Date header right until it is cancelled."""
        while True:
            await self.on_tick(0)
            await anyio.sleep(_TICK_S)
