"""Closing what a cancelled TLS handshake leaves open."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, runtime_checkable

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

CLEANUP_SECONDS: Final = 2.0

_Trace: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[None]]


@runtime_checkable
class _Closable(Protocol):
    async def aclose(self) -> None: ...


class Dialled:
    """The connection that is being opened for a request, as httpcore's trace tells of it.

    Attributes:
        secured: Whether it got as far as a TLS handshake: past the proxy, where there is one.
    """

    def __init__(self, also: _Trace | None) -> None:
        self._also = also
        self.secured: bool = False
        self._stream: _Closable | None = None

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Take note of what httpcore tells."""
        if event.endswith("connect_tcp.complete"):
            stream = info["return_value"]
            self._stream = stream if isinstance(stream, _Closable) else None
        elif event.endswith("start_tls.started"):
            self.secured = True
        elif event.endswith("start_tls.complete"):
            self._stream = None
        elif event.endswith("send_request_headers.started"):
            # Over a connection that is there already nothing is opened.
            self.secured = self.secured or getattr(info.get("request"), "method", b"") != b"CONNECT"
        if self._also is not None:
            await self._also(event, info)

    async def hang_up(self) -> None:
        """Close what was opened and not finished."""
        stream, self._stream = self._stream, None
        if stream is not None:
            with anyio.move_on_after(CLEANUP_SECONDS, shield=True):
                await stream.aclose()


@asynccontextmanager
async def no_handshake_left(request: httpx.Request) -> AsyncIterator[Dialled]:
    """Send an https request within this block; if it fails during the handshake, its connection is closed.

    httpcore does so itself for errors and timeouts, and forgets it when it is cancelled: the socket would stay open for
    as long as the server likes.
    """
    given = request.extensions
    dialled = Dialled(given.get("trace"))
    request.extensions = {**given, "trace": dialled}
    try:
        yield dialled
    except BaseException:
        await dialled.hang_up()
        raise
    finally:
        request.extensions = given
