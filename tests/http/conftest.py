"""Fixtures of the tests of the HTTP layer."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import anyio
import pytest
import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable

Names: TypeAlias = Callable[[dict[str, str | None]], None]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Let host names resolve to addresses of this machine, or (None) to nothing at all, for this test."""
    known: dict[str, str | None] = {}

    def over(real: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def resolve(host: str | bytes, *args: object, **kwargs: object) -> object:
            name = host.decode() if isinstance(host, bytes) else host
            address = known.get(name, name)
            if address is None:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return await real(address, *args, **kwargs)

        return resolve

    monkeypatch.setattr("ocidist.http.transport.dial.getaddrinfo", over(anyio.getaddrinfo))
    # httpcore, for proxies and HTTP/2, asks anyio, and on trio trio itself.
    monkeypatch.setattr("anyio._core._sockets.getaddrinfo", over(anyio.getaddrinfo))
    monkeypatch.setattr("trio._highlevel_open_tcp_stream.getaddrinfo", over(trio.socket.getaddrinfo))
    return known.update
