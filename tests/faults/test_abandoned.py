"""Transfers whose client is closed, and streams that nobody reads to the end or closes."""

from __future__ import annotations

import gc
import warnings
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import Client, ClientClosedError, Descriptor, HostConfig, HostLimits, TransportError
from tests.faults.dialling import left_open, open_files
from tests.http.support import NAME, ONCE, SOME_TAGS, TAGS, list_tags, until
from tests.peers import images
from tests.peers.answers import respond

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from ocidist import Repository
    from tests.peers.wire_server import Connection, Request, WireServer

LARGE = images.noise(3_000_000)
KNOWN = Descriptor.of(LARGE)
BLOB_PATH = f"/v2/{NAME}/blobs/{KNOWN.digest}"


def half(_request: Request, connection: Connection) -> None:
    """Send the first half of the blob and nothing more."""
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE) + LARGE[: len(LARGE) // 2])
    connection.wait_closed()


def deaf(_request: Request, connection: Connection) -> None:
    """Never read the body of an upload, and never answer."""
    connection.wait_closed()


async def pieces() -> AsyncIterator[bytes]:
    for start in range(0, len(LARGE), 500_000):
        yield LARGE[start : start + 500_000]


WORK: dict[str, Callable[[Repository, Path], Awaitable[object]]] = {
    "download": lambda repository, folder: repository.blobs.download(KNOWN, folder / "pulled"),
    "get": lambda repository, _: repository.blobs.get(KNOWN),
    "push a file": lambda repository, folder: repository.blobs.push(folder / "source", KNOWN, check_exists=False),
    "push a stream": lambda repository, _: repository.blobs.push(pieces(), KNOWN, check_exists=False),
    "list": lambda repository, _: repository.tags.list().collect(),
}


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def open_client(server: WireServer, concurrency: int = 32) -> Client:
    return Client(hosts={server.host: HostConfig(scheme="http")}, retry=ONCE, limits=HostLimits(concurrency))


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
async def test_f198_closing_a_client_ends_its_transfers_and_leaves_nothing(
    wire_server: WireServer, tmp_path: Path, work: Callable[[Repository, Path], Awaitable[object]]
) -> None:
    wire_server.on("GET", BLOB_PATH, half)
    wire_server.on("GET", TAGS, deaf)
    wire_server.on("PUT", "*", deaf)
    wire_server.on("POST", "*", respond(202, {"Location": f"/v2/{NAME}/blobs/uploads/1"}))
    (tmp_path / "source").write_bytes(LARGE)
    before = open_files()
    ended: list[type[Exception]] = []

    async def one() -> None:
        try:
            await work(client.repository(f"{wire_server.host}/{NAME}"), tmp_path)
        except Exception as failure:  # noqa: BLE001 -- which one is what the test is about
            ended.append(type(failure))

    async with open_client(wire_server) as client, anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(one)
        asked = "POST" if any(request.method == "POST" for request in wire_server.requests) else None
        await until(lambda: len([each for each in wire_server.requests if each.method != asked]) >= 4)
        await anyio.sleep(0.05)
        with anyio.fail_after(20):
            await client.aclose()
    assert len(ended) == 4
    assert all(issubclass(kind, ClientClosedError | TransportError) for kind in ended)
    assert names_in(tmp_path) == ["source"]
    gc.collect()
    assert await left_open(before) == []


async def test_f199_a_stream_that_is_forgotten_gives_back_its_socket_and_its_place(wire_server: WireServer) -> None:
    wire_server.on("GET", BLOB_PATH, half)
    wire_server.on("GET", TAGS, SOME_TAGS)
    before = open_files()
    async with open_client(wire_server, concurrency=1) as client:
        for _ in range(3):
            request = client.build_request("GET", f"{wire_server.origin}{BLOB_PATH}")
            stream = (await client.send(request, stream=True)).aiter_raw()
            assert await anext(stream)
            # Told to the event loop, as when an asynchronous generator is collected.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                del stream
                gc.collect()
                await anyio.sleep(0.02)
                gc.collect()
        with anyio.fail_after(20):
            assert await list_tags(client, wire_server) == ["v1"]
        await until(lambda: client._direct is not None and client._direct.open_connections <= 1)
    assert await left_open(before) == []


async def test_f199_a_reader_that_is_forgotten_gives_back_its_socket_and_its_place(wire_server: WireServer) -> None:
    wire_server.on("GET", BLOB_PATH, half)
    wire_server.on("GET", TAGS, SOME_TAGS)
    before = open_files()
    async with open_client(wire_server, concurrency=1) as client:
        blobs = client.repository(f"{wire_server.host}/{NAME}").blobs
        for _ in range(3):
            reader = blobs.open(KNOWN)
            await reader.__aenter__()
            assert await anext(reader)
            del reader
            gc.collect()
        with anyio.fail_after(20):
            assert await list_tags(client, wire_server) == ["v1"]
        await until(lambda: client._direct is not None and client._direct.open_connections <= 1)
    assert await left_open(before) == []
