"""From a name to a connection: several addresses, dead ones among them, and resolvers that do not help.

Spec: RFC 8305.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.peers.answers import respond
from tests.transport.support import Counts, ask, counts, limits, until
from tests.transport.wire import full_port, open_sockets

if TYPE_CHECKING:
    from tests.conftest import StartWireServer
    from tests.peers.wire_server import WireServer
    from tests.transport.support import Resolver, Transports

NAME = "registry.example"


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no ::1")


@pytest.fixture
def server(start_wire_server: StartWireServer) -> WireServer:
    """A server on one address, which other names lead to."""
    return start_wire_server(respond(200, (), b"hello"))


async def test_localhost_is_found_on_the_one_address_that_listens(
    start_wire_server: StartWireServer, transports: Transports
) -> None:
    server = start_wire_server(respond(200, (), b"hello"), name="localhost")
    async with transports.open() as transport:
        assert (await ask(transport, server.origin)).body == b"hello"
    assert server.requests[0].header("Host") == server.host


@ipv6
async def test_an_ipv6_address_is_dialled_and_named_with_brackets(
    start_wire_server: StartWireServer, transports: Transports
) -> None:
    server = start_wire_server(respond(200, (), b"hello"), address="::1", name="[::1]")
    async with transports.open() as transport:
        for _ in range(2):
            assert (await ask(transport, server.origin)).body == b"hello"
    assert server.requests[0].header("Host") == f"[::1]:{server.port}"
    assert len(server.connections) == 1


DEAD_FIRST = {
    "one that refuses": ["127.0.0.3", "127.0.0.1"],
    "several that refuse": [*(f"127.0.0.{last}" for last in range(3, 10)), "127.0.0.1"],
    "the live one first": ["127.0.0.1", "127.0.0.3"],
    "the same several times": ["127.0.0.3", "127.0.0.3", "127.0.0.1", "127.0.0.1"],
    "only the live one": ["127.0.0.1"],
}


@pytest.mark.parametrize("addresses", DEAD_FIRST.values(), ids=DEAD_FIRST)
async def test_f003_the_first_address_that_answers_is_used(
    server: WireServer, transports: Transports, resolver: Resolver, addresses: list[str]
) -> None:
    resolver.addresses = addresses
    async with transports.open() as transport:
        for _ in range(2):
            assert (await ask(transport, f"http://{NAME}:{server.port}/")).body == b"hello"
    assert resolver.asked == [NAME]
    assert server.requests[0].header("Host") == f"{NAME}:{server.port}"
    assert len(server.connections) == 1


@ipv6
async def test_f003_one_family_does_not_stand_in_the_way_of_the_other(
    server: WireServer, transports: Transports, resolver: Resolver
) -> None:
    resolver.addresses = ["::1", "127.0.0.1"]
    async with transports.open() as transport:
        assert (await ask(transport, f"http://{NAME}:{server.port}/")).body == b"hello"


async def test_f003_an_address_that_never_answers_does_not_hold_up_the_next_one(
    server: WireServer, transports: Transports, resolver: Resolver
) -> None:
    resolver.addresses = ["127.0.0.2", "127.0.0.1"]
    with full_port("127.0.0.2", server.port):
        before = open_sockets()
        async with transports.open() as transport:
            assert (await ask(transport, f"http://{NAME}:{server.port}/")).body == b"hello"
            # The server's end, and the client's.
            await until(lambda: open_sockets() == before + 2)
            assert counts(transport) == Counts(1, 1)


async def test_f003_nobody_at_any_address_is_an_error(
    server: WireServer, transports: Transports, resolver: Resolver
) -> None:
    resolver.addresses = ["127.0.0.3", "127.0.0.4", "127.0.0.5"]
    before = open_sockets()
    async with transports.open() as transport:
        with pytest.raises(httpx.ConnectError):
            await ask(transport, f"http://{NAME}:{server.port}/")
        assert counts(transport) == Counts()
    await until(lambda: open_sockets() == before)


async def test_f003_several_that_never_answer_are_one_connect_timeout(
    transports: Transports, resolver: Resolver
) -> None:
    resolver.addresses = ["127.0.0.2", "127.0.0.3"]
    with full_port("127.0.0.2") as port, full_port("127.0.0.3", port):
        before = open_sockets()
        async with transports.open() as transport:
            with pytest.raises(httpx.ConnectTimeout):
                await ask(transport, f"http://{NAME}:{port}/", timeouts=limits(connect=0.4))
            assert counts(transport) == Counts()
        await until(lambda: open_sockets() == before)


async def test_f001_a_name_without_an_address_is_an_error(transports: Transports, resolver: Resolver) -> None:
    async with transports.open() as transport:
        with pytest.raises(httpx.ConnectError):
            await ask(transport, f"http://{NAME}/")
        assert counts(transport) == Counts()
    assert resolver.asked == [NAME]


async def test_f002_a_resolver_that_hangs_is_a_connect_timeout(transports: Transports, resolver: Resolver) -> None:
    resolver.hangs = True
    async with transports.open() as transport:
        with pytest.raises(httpx.ConnectTimeout):
            await ask(transport, f"http://{NAME}/", timeouts=limits(connect=0.05))
        assert counts(transport) == Counts()
    assert resolver.asked == [NAME]


async def test_f002_a_name_may_lead_elsewhere_the_next_time(
    server: WireServer, start_wire_server: StartWireServer, transports: Transports, resolver: Resolver
) -> None:
    url = f"http://{NAME}:{server.port}/"
    async with transports.open(max_idle=0) as transport:
        resolver.addresses = ["127.0.0.1"]
        assert (await ask(transport, url)).body == b"hello"
        resolver.addresses = []
        with pytest.raises(httpx.ConnectError):
            await ask(transport, url)
        resolver.addresses = ["127.0.0.3", "127.0.0.1"]
        assert (await ask(transport, url)).body == b"hello"
    assert resolver.asked == [NAME] * 3


async def test_names_in_other_scripts_are_asked_for_in_ascii(
    server: WireServer, transports: Transports, resolver: Resolver
) -> None:
    resolver.addresses = ["127.0.0.1"]
    async with transports.open() as transport:
        assert (await ask(transport, f"http://bücher.example:{server.port}/")).body == b"hello"
    assert resolver.asked == ["xn--bcher-kva.example"]
    assert server.requests[0].header("Host") == f"xn--bcher-kva.example:{server.port}"


async def test_a_port_that_refuses_is_an_error(transports: Transports) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    before = open_sockets()
    async with transports.open() as transport:
        for _ in range(3):
            with pytest.raises(httpx.ConnectError):
                await ask(transport, f"http://127.0.0.1:{port}/")
        assert counts(transport) == Counts()
    await until(lambda: open_sockets() == before)
