"""Storms of cancellations, and a server that is fast enough for them: one thread, no request is looked at twice."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
import threading
from typing import TYPE_CHECKING, Self

import anyio
import anyio.lowlevel

from tests.transport.support import ENDLESS, Source, begun, finish, request_for, streamed

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    import httpx

BODY = bytes(range(256)) * 200
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"

ANSWERS = {
    b"/now": _HEAD % 5 + b"hello",
    b"/body": _HEAD % len(BODY) + BODY,
    b"/half": _HEAD % len(BODY) + BODY[:5000],
    b"/head": b"HTTP/1.1 200 OK\r\nContent-Le",
    b"/never": b"",
    b"/put": _HEAD % 5 + b"hello",
}
PATHS = ("/now", "/now", "/body", "/half", "/half", "/head", "/never", "/never", "/put")


class StormServer:
    """Answers from a table, in one thread; a context manager."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._received: dict[socket.socket, bytes] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.origin = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def open(self) -> int:
        """Connections that no client has closed."""
        return len(self._received)

    def __enter__(self) -> Self:
        for sock in (self._listener, self._woken):
            self._selector.register(sock, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._wake.close()
        self._thread.join()
        for sock in (self._listener, self._woken, *self._received):
            sock.close()
        self._selector.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is self._woken:
                    return
                if sock is self._listener:
                    client, _ = sock.accept()
                    self._received[client] = b""
                    self._selector.register(client, selectors.EVENT_READ)
                else:
                    self._serve(sock)

    def _serve(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(65536)
            if data:
                self._received[sock] = self._answered(sock, self._received[sock] + data)
                return
        except OSError:
            pass  # it was reset
        self._selector.unregister(sock)
        del self._received[sock]
        sock.close()

    @staticmethod
    def _answered(sock: socket.socket, data: bytes) -> bytes:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            return data
        if head.startswith(b"PUT"):
            if not rest.endswith(b"0\r\n\r\n"):
                return data
            rest = b""
        sock.sendall(ANSWERS[head.split(b" ", 2)[1]])
        return rest


class Storm:
    """Makes requests that are cancelled at random moments.

    Args:
        transport: The transport.
        origin: The server.
        chance: Decides everything.
        native: Whether tasks of asyncio are cancelled, too.
    """

    def __init__(
        self, transport: httpx.AsyncBaseTransport, origin: str, chance: random.Random, *, native: bool
    ) -> None:
        self._transport = transport
        self._origin = origin
        self._chance = chance
        self._ways: tuple[Callable[[], Awaitable[None]], ...] = (self._by_steps, self._by_deadline)
        if native:
            self._ways += (self._natively, self._natively)
        self.cancelled = 0

    async def rage(self, workers: int, cancels: int) -> None:
        """Go on until so many requests were cancelled."""

        async def work() -> None:
            while self.cancelled < cancels:
                await self._chance.choice(self._ways)()

        async with anyio.create_task_group() as group:
            for _ in range(workers):
                group.start_soon(work)

    async def _request(self) -> None:
        try:
            await self._ask(self._chance.choice(PATHS))
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise

    async def _ask(self, path: str) -> None:
        url = self._origin + path
        request = request_for(url, timeouts=ENDLESS)
        if path == "/put":
            request = streamed(url, Source([b"hello"] * 5), timeouts=ENDLESS)
        response = await self._transport.handle_async_request(request)
        try:
            if path == "/half":
                async with begun(response):
                    await anyio.sleep_forever()
            assert (await finish(response)).body in {BODY, b"hello"}
        finally:
            await response.aclose()

    async def _a_while(self) -> None:
        if self._chance.random() < 0.3:
            await anyio.sleep(self._chance.uniform(0, 0.004))
        else:
            for _ in range(self._chance.randrange(12)):
                await anyio.lowlevel.checkpoint()

    async def _by_steps(self) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._request)
            await self._a_while()
            group.cancel_scope.cancel()

    async def _by_deadline(self) -> None:
        with anyio.move_on_after(self._chance.choice((0.0, self._chance.uniform(0, 0.004)))):
            await self._request()

    async def _natively(self) -> None:
        task = asyncio.create_task(self._request())
        await self._a_while()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
