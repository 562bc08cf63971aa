"""A client used where it does not belong: in another event loop, or in the child of a fork."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from ocidist import UsageError
from tests.http.support import SOME_TAGS, TAGS, client_for, list_tags

if TYPE_CHECKING:
    from tests.peers.wire_server import WireServer


@pytest.fixture
def registry(wire_server: WireServer) -> WireServer:
    """A registry with one tag."""
    wire_server.on("GET", TAGS, SOME_TAGS)
    return wire_server


@pytest.mark.parametrize("other", ["asyncio", "trio"])
async def test_t72_a_client_is_refused_in_another_event_loop(registry: WireServer, other: str) -> None:
    async with client_for(registry) as client:
        assert await list_tags(client, registry) == ["v1"]

        def elsewhere() -> None:
            anyio.run(list_tags, client, registry, backend=other)

        with pytest.raises(UsageError, match="another event loop"):
            await anyio.to_thread.run_sync(elsewhere)
        assert await list_tags(client, registry) == ["v1"]
    assert len(registry.requests) == 2


async def test_t72_a_thread_that_hands_its_work_to_the_clients_loop_is_welcome(registry: WireServer) -> None:
    async with client_for(registry) as client:

        def elsewhere() -> list[str]:
            return anyio.from_thread.run(list_tags, client, registry)

        assert await anyio.to_thread.run_sync(elsewhere) == ["v1"]
        assert await list_tags(client, registry) == ["v1"]


FORKED = """
import os, sys, anyio
from ocidist import Client, HostConfig, UsageError

host = sys.argv[1]
client = Client(hosts={host: HostConfig(scheme="http")})

async def tags():
    return list(await client.repository(f"{host}/acme/app").tags.list().collect())

assert anyio.run(tags, backend=sys.argv[2]) == ["v1"]
child = os.fork()
if not child:
    try:
        anyio.run(tags, backend=sys.argv[2])
    except UsageError as error:
        os._exit(7 if "fork" in str(error) else 8)
    os._exit(9)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 7, status
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_t72_a_client_is_refused_after_a_fork(registry: WireServer, backend: str) -> None:
    script = textwrap.dedent(FORKED)
    done = subprocess.run(
        [sys.executable, "-c", script, registry.host, backend], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    # Nothing of the child's went over the parent's connection.
    assert len(registry.requests) == 1
