"""Proxies that do not let a client through: which one it was is told, its password is not."""

from __future__ import annotations

import socket
import traceback
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from ocidist import Client, ConnectError, HostConfig, Timeouts, TransportError
from tests.http.support import NAME, ONCE
from tests.peers.answers import chain, close, respond, silence

if TYPE_CHECKING:
    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.wire_server import WireServer

PASSWORD = "canary-pr0xy"

ANSWERS: dict[str, Handler] = {
    "407": respond(407, {"Proxy-Authenticate": "Basic realm=proxy"}, b"who are you?"),
    "502": respond(502, {}, b"<html>no such host</html>"),
    "hangs": silence,
    "hangs up": chain(close),
}


@pytest.fixture
def proxy(start_wire_server: StartWireServer) -> WireServer:
    """A proxy."""
    return start_wire_server()


def open_client(proxy: str, how: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Client:  # noqa: ANN401 -- the client's own
    """Return a client whose proxy is an argument or comes from the environment."""
    url = f"http://user:{PASSWORD}@{proxy}"
    if how == "environment":
        monkeypatch.setenv("HTTPS_PROXY", url)
    else:
        options["proxy"] = url
    hosts = {"registry.example": HostConfig(scheme="https")}
    return Client(hosts=hosts, retry=ONCE, timeout=Timeouts(connect=0.3, read=0.3), **options)


def told(error: BaseException) -> str:
    """Return everything that a log or a traceback would show of an error."""
    return f"{error}\n{error!r}\n" + "".join(traceback.format_exception(error))


@pytest.mark.parametrize("how", ["argument", "environment"])
@pytest.mark.parametrize("answer", ANSWERS)
async def test_f017_a_proxy_that_lets_nobody_through_is_named_without_its_password(
    proxy: WireServer, monkeypatch: pytest.MonkeyPatch, answer: str, how: str
) -> None:
    proxy.on("CONNECT", "*", ANSWERS[answer])
    async with open_client(proxy.host, how, monkeypatch) as client:
        with anyio.fail_after(20), pytest.raises(ConnectError) as caught:
            await client.repository(f"registry.example/{NAME}").tags.list().collect()
    assert proxy.host in str(caught.value)
    assert PASSWORD not in told(caught.value)
    # It was asked for a tunnel and for nothing else, and shown the password that is its own.
    assert proxy.targets() == ["CONNECT registry.example:443"]
    assert proxy.requests[0].header("Proxy-Authorization") is not None
    assert b"/v2/" not in proxy.received


async def test_f017_a_proxy_that_is_not_there_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gone = f"127.0.0.1:{listener.getsockname()[1]}"
    async with open_client(gone, "argument", monkeypatch) as client:
        with anyio.fail_after(20), pytest.raises(ConnectError) as caught:
            await client.repository(f"registry.example/{NAME}").tags.list().collect()
    assert gone in str(caught.value)
    assert PASSWORD not in told(caught.value)


async def test_f017_a_refusal_is_not_taken_for_the_registrys(
    proxy: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A registry's challenge would be answered with a token or a password: a proxy's must not be.
    proxy.on("CONNECT", "*", respond(401, {"WWW-Authenticate": "Basic realm=proxy"}))
    async with open_client(proxy.host, "argument", monkeypatch) as client:
        with anyio.fail_after(20), pytest.raises(TransportError):
            await client.repository(f"registry.example/{NAME}").tags.list().collect()
    assert proxy.targets() == ["CONNECT registry.example:443"]
    assert {request.header("Authorization") for request in proxy.requests} == {None}
