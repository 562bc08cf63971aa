"""Section A of the fault matrix: connections that cannot be opened."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from ocidist import Client, ConnectError, HostConfig, RequestRetried
from tests.http import conftest
from tests.http.support import NAME, QUICK, SOME_TAGS, TAGS

if TYPE_CHECKING:
    from ocidist import Event
    from tests.conftest import StartWireServer
    from tests.http.conftest import Names

names = conftest.names


async def _tags(client: Client, host: str) -> list[str]:
    return list(await client.repository(f"{host}/{NAME}").tags.list().collect())


@pytest.mark.parametrize("scheme", ["http", "https", None])
async def test_f001_a_name_that_does_not_exist_is_not_asked_for_again(names: Names, scheme: str | None) -> None:
    names({"registry.example": None})
    events: list[Event] = []
    config = HostConfig(scheme=scheme)  # type: ignore[arg-type]  # one of the schemes
    async with Client(hosts={"registry.example": config}, hooks=[events.append], retry=QUICK) as client:
        with pytest.raises(ConnectError, match="not known") as caught:
            await _tags(client, "registry.example")
    error = caught.value
    told = (error.host, error.operation, error.reference, error.attempts)
    assert told == ("registry.example", "list tags", f"registry.example/{NAME}", 1)
    assert isinstance(error.__cause__, socket.gaierror)
    assert events == []


async def test_f005_a_connection_refused_once_is_tried_again(names: Names, start_wire_server: StartWireServer) -> None:
    server = start_wire_server(name="registry.example")
    server.on("GET", TAGS, SOME_TAGS)
    # Nobody listens at that address until the registry moves.
    names({"registry.example": "127.0.0.77"})
    events: list[Event] = []

    def move(event: Event) -> None:
        events.append(event)
        names({"registry.example": "127.0.0.1"})

    async with Client(hosts={server.host: HostConfig(scheme="http")}, hooks=[move], retry=QUICK) as client:
        assert await _tags(client, server.host) == ["v1"]
    (event,) = events
    assert isinstance(event, RequestRetried)
    assert (event.host, event.operation, event.attempt) == (server.host, "list tags", 1)
    assert event.reason.startswith("no connection")
    assert 0 < event.wait <= QUICK.wait_max
    assert len(server.requests) == 1


async def test_f006_a_connection_refused_always_fails_after_the_attempts_that_are_configured() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
    events: list[Event] = []
    async with Client(hosts={host: HostConfig(scheme="http")}, hooks=[events.append], retry=QUICK) as client:
        with pytest.raises(ConnectError, match=r"\(after 3 attempts\)") as caught:
            await _tags(client, host)
    assert (caught.value.attempts, caught.value.host) == (3, host)
    assert [event.attempt for event in events if isinstance(event, RequestRetried)] == [1, 2]
