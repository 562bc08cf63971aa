"""The transport family: the same cases for ocidist's own transport and for httpx's."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeAlias

import pytest

from tests.transport.differences import Cases, why_skipped

pytest.register_assert_rewrite("tests.transport.support")

from tests.transport.support import Kind, Playback, Resolver, Transports  # noqa: E402 -- its assertions are to be told in full
from tests.transport.wire import RawServer  # noqa: E402 -- see above

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import StartWireServer
    from tests.transport.wire import Script

    StartRawServer: TypeAlias = Callable[[Script], RawServer]


@pytest.fixture(params=["ours", "httpx"])
def transport_kind(request: pytest.FixtureRequest, _one_loop: None) -> Kind:
    """Each transport in turn; httpx's without the cases in which it is known to behave otherwise."""
    kind: Kind = request.param
    if kind == "httpx" and (why := why_skipped(request.node.originalname, request.node.callspec.id)):
        pytest.skip(why)
    return kind


@pytest.fixture
def transports(transport_kind: Kind) -> Transports:
    """What makes transports of one kind."""
    return Transports(transport_kind)


@pytest.fixture
def cases(request: pytest.FixtureRequest, transport_kind: Kind) -> Cases:
    """What is to be asked of the transport of a table of cases: all of them, unless it is known to behave otherwise."""
    return Cases(request.node.originalname, transport_kind)


@pytest.fixture
def playback(start_wire_server: StartWireServer) -> Playback:
    """A server that answers with whatever bytes are set."""
    return Playback(start_wire_server)


@pytest.fixture
def start_raw_server() -> Iterator[StartRawServer]:
    """Start servers that run a script for each connection. A script that fails, fails the test."""
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(RawServer(script))


@pytest.fixture
def released(start_wire_server: StartWireServer) -> Iterator[threading.Event]:
    """What servers may wait for; set before they are stopped, whatever became of the test."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """Answer every question for an address, whichever transport asks."""
    found = Resolver()
    monkeypatch.setattr("ocidist.http.transport.dial.getaddrinfo", found, raising=False)
    # httpx's asks anyio, and on trio trio itself.
    monkeypatch.setattr("anyio._core._sockets.getaddrinfo", found)
    monkeypatch.setattr("trio._highlevel_open_tcp_stream.getaddrinfo", found)
    return found


@pytest.fixture(scope="module")
async def _one_loop(anyio_backend: object) -> None:
    """Keep the event loop from test to test: there are many, and short ones; what one leaves behind meets the next."""
