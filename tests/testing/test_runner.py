from __future__ import annotations

import gc
import http.client
import os
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import MemoryRegistry, UsageError
from ocidist.server import RegistryApp
from ocidist.testing import loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocidist.server.exchange import Receive, Scope, Send

DESCRIPTORS = Path("/proc/self/fd")


def ask(host: str, target: str = "/v2/") -> tuple[http.client.HTTPConnection, int]:
    """Send a request without an event loop; the connection is kept."""
    connection = http.client.HTTPConnection(host, timeout=5)
    connection.request("GET", target)
    answer = connection.getresponse()
    answer.read()
    return connection, answer.status


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fail if a thread or a descriptor is left."""
    gc.collect()
    threads, open_before = set(threading.enumerate()), len(os.listdir(DESCRIPTORS))  # noqa: PTH208 -- their number only
    yield
    gc.collect()
    assert set(threading.enumerate()) - threads == set()
    assert len(os.listdir(DESCRIPTORS)) == open_before  # noqa: PTH208 -- see above


def test_no_answer_waits_for_the_one_before_to_be_acknowledged() -> None:
    with loopback(RegistryApp(MemoryRegistry()), lifespan="off") as server:
        connection, _ = ask(server.host)
        began = time.perf_counter()
        for _ in range(50):
            connection.request("GET", "/v2/")
            connection.getresponse().read()
        took = time.perf_counter() - began
        connection.close()
    # 40 ms for each of them otherwise.
    assert took < 1.0


def test_n12_a_registry_starts_and_stops_at_once_and_leaves_nothing(nothing_left: None) -> None:
    with loopback(RegistryApp(MemoryRegistry())):
        pass  # whatever is imported late is imported now
    began = time.perf_counter()
    with loopback(RegistryApp(MemoryRegistry()), lifespan="off") as server:
        started = time.perf_counter() - began
        connection, status = ask(server.host)
        assert (status, server.connections) == (200, 1)
        assert server.url == f"http://{server.host}"
        assert repr(server) == f"<LoopbackServer {server.url}>"
        leaving = time.perf_counter()
    stopped = time.perf_counter() - leaving
    # It takes 5 ms; the rest is for machines that do something else meanwhile.
    assert max(started, stopped) < 0.3
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(tuple(server.host.split(":")), timeout=5)  # type: ignore[arg-type]  # a port may be text
    assert connection.sock.recv(1) == b""
    connection.close()


def test_a_request_that_does_not_end_is_cut_off_before_the_application_ends(nothing_left: None) -> None:
    told: list[object] = []

    async def stuck(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                kind = (await receive())["type"]
                await send({"type": f"{kind}.complete"})
            told.append(("connections", server.connections))
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:  # the client does not read
                await send({"type": "http.response.body", "body": bytes(1024 * 1024), "more_body": True})
        finally:
            told.append(scope["path"])

    with loopback(stuck) as server:
        connection = http.client.HTTPConnection(server.host, timeout=5)
        connection.request("GET", "/stuck")
        answer = connection.getresponse()
        began = time.perf_counter()
    assert time.perf_counter() - began < 1
    assert told == ["/stuck", ("connections", 0)]
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        answer.read()
    answer.close()
    connection.close()


def test_a_request_that_ends_soon_is_waited_for() -> None:
    leaving = threading.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await anyio.to_thread.run_sync(leaving.wait, 5)
        await send({"type": "http.response.body", "body": b"whole"})

    with loopback(slow, lifespan="off") as server:
        connection = http.client.HTTPConnection(server.host, timeout=5)
        connection.request("GET", "/")
        answer = connection.getresponse()
        leaving.set()
    assert answer.read() == b"whole"
    connection.close()


def test_functions_are_called_in_the_servers_thread() -> None:
    async def name(suffix: str) -> str:
        return f"{threading.current_thread().name}{suffix}"

    with loopback(RegistryApp(MemoryRegistry()), lifespan="off") as server:
        assert server.call(name, "!") == "ocidist-loopback!"
        assert server.call(threading.get_ident) != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            server.call(lambda: 1 // 0)
    with pytest.raises(RuntimeError):
        server.call(threading.get_ident)


def test_an_application_is_told_that_it_starts_and_ends() -> None:
    told = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        for _ in range(2):
            message = await receive()
            told.append(message["type"])
            await send({"type": f"{message['type']}.complete"})

    with loopback(app):
        assert told == ["lifespan.startup"]
    assert told == ["lifespan.startup", "lifespan.shutdown"]


def test_an_application_that_does_not_start_is_an_error(nothing_left: None) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(UsageError, match="did not start"), loopback(app):
        pytest.fail("it did start")


def test_the_logging_of_the_program_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    import logging

    before = {name: logging.getLogger(name).level for name in ("", "uvicorn", "uvicorn.error", "uvicorn.access")}
    caplog.set_level(logging.INFO)
    with loopback(RegistryApp(MemoryRegistry()), lifespan="off") as server:
        ask(server.host)[0].close()
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []
    caplog.set_level(before[""])
    assert {name: logging.getLogger(name).level for name in before} == before
