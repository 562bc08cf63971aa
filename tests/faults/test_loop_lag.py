"""How long the event loop's thread computes without giving way, while blobs move in both directions."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from ocidist import Basic, Client, Descriptor, HostConfig
from tests.faults.uploads import UploadRegistry
from tests.http.support import NAME
from tests.peers.answers import respond
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from ocidist import Repository
    from tests.conftest import StartWireServer
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, Request, WireServer

MIB = 1024 * 1024
BLOB = noise(MIB) * 24
KNOWN = Descriptor.of(BLOB)
MOST_SECONDS = 0.2
"""The longest turn that was promised (L14): a hundred times what it usually takes."""


class Turns:
    """Takes note of how much the event loop's thread computes between two turns of a task that only waits.

    Computing time, not time: what the machine does beside this is nobody's fault. A loop that is held up by a system
    call shows in the tests' own watch for blocking calls.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def watch(self) -> None:
        """Watch until cancelled."""
        last = time.thread_time()
        while True:
            await anyio.lowlevel.checkpoint()
            now = time.thread_time()
            self.seconds.append(now - last)
            last = now


class Helper:
    """A credential helper that takes its time, as those that ask a keychain do."""

    def __init__(self) -> None:
        self.over = threading.Event()

    async def get(self, _host: str, *, repository: str | None = None) -> Basic:
        """Return a password, from a thread."""
        await anyio.to_thread.run_sync(self.over.wait, 0.2, abandon_on_cancel=True)
        return Basic("alice", repository or "s3cret")


async def _pieces(size: int) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(BLOB), size):
        yield BLOB[start : start + size]


async def _read(repository: Repository, _directory: Path) -> None:
    async with repository.blobs.open(KNOWN) as reader:
        async for _ in reader:
            pass


async def _write(repository: Repository, _directory: Path) -> None:
    async with repository.blobs.writer(chunk_size=16 * MIB) as writer:
        async for piece in _pieces(700_000):
            await writer.write(piece)
        await writer.commit(KNOWN)


def _small() -> AsyncIterator[bytes]:
    return _pieces(64 * 1024)


def _large() -> AsyncIterator[bytes]:
    return _pieces(8 * MIB)


TRANSFERS: dict[str, Callable[[Repository, Path], Awaitable[object]]] = {
    "download": lambda repository, directory: repository.blobs.download(KNOWN, directory / "blob"),
    "read": _read,
    "get": lambda repository, _directory: repository.blobs.get(KNOWN, max_size=len(BLOB)),
    "push a file": lambda repository, directory: repository.blobs.push(directory / "source", check_exists=False),
    "push bytes": lambda repository, _directory: repository.blobs.push(BLOB, check_exists=False),
    "push small pieces": lambda repository, _directory: repository.blobs.push(_small, KNOWN, check_exists=False),
    "push large pieces": lambda repository, _directory: repository.blobs.push(_large, KNOWN, check_exists=False),
    "write": _write,
}


@pytest.fixture(params=["http", "https"])
def server(request: pytest.FixtureRequest, start_wire_server: StartWireServer, authority: Authority) -> WireServer:
    """A registry, with and without TLS."""
    uploads = UploadRegistry()

    def answer(asked: Request, connection: Connection) -> None:
        (respond(200, {}, BLOB) if asked.method == "GET" else uploads)(asked, connection)

    return start_wire_server(answer, tls=authority if request.param == "https" else None)


@pytest.mark.parametrize("transfer", TRANSFERS)
async def test_l14_no_turn_of_the_event_loop_is_long_while_a_blob_moves(
    server: WireServer, authority: Authority, tmp_path: Path, transfer: str
) -> None:
    (tmp_path / "source").write_bytes(BLOB)
    secure = server.origin.startswith("https")
    config = HostConfig(scheme="https" if secure else "http", ca=authority.ca_path if secure else None)
    turns = Turns()
    options: dict[str, Any] = {"hosts": {server.host: config}, "credentials": Helper()}
    async with Client(**options) as client, anyio.create_task_group() as group:
        group.start_soon(turns.watch)
        await TRANSFERS[transfer](client.repository(f"{server.host}/{NAME}"), tmp_path)
        group.cancel_scope.cancel()
    assert len(turns.seconds) > 10
    assert max(turns.seconds) <= MOST_SECONDS


@pytest.mark.parametrize("size", [16 * 1024, 256 * 1024, 900_000])
@pytest.mark.parametrize("way", ["whole", "chunks"])
async def test_t73_others_have_their_turn_while_small_pieces_are_sent(
    server: WireServer, authority: Authority, size: int, way: str
) -> None:
    secure = server.origin.startswith("https")
    config = HostConfig(scheme="https" if secure else "http", ca=authority.ca_path if secure else None)
    turns = Turns()
    taken: dict[int, int] = {}

    async def pieces() -> AsyncGenerator[bytes, None]:
        # A source that always has something, for a registry that always takes it.
        for start in range(0, len(BLOB), size):
            piece = BLOB[start : start + size]
            turn = len(turns.seconds)
            taken[turn] = taken.get(turn, 0) + len(piece)
            yield piece

    async with Client(hosts={server.host: config}) as client, anyio.create_task_group() as group:
        group.start_soon(turns.watch)
        blobs = client.repository(f"{server.host}/{NAME}").blobs
        # Chunks are collected in memory: a whole one may be copied at a time.
        chunk = MIB if way == "chunks" else None
        await blobs.push(pieces, KNOWN, check_exists=False, chunk_size=chunk)
        group.cancel_scope.cancel()
    assert sum(taken.values()) == len(BLOB)
    # A few milliseconds' worth of hashing, copying and encryption.
    assert max(taken.values()) <= 8 * MIB
