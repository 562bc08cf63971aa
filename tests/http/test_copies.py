"""Blobs piped from one host to another, with fewer places than tasks: nobody waits for somebody who waits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import Descriptor, Digest, HostLimits
from tests.http.support import QUICK, client_for
from tests.peers.answers import respond

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ocidist import Client
    from tests.conftest import StartWireServer
    from tests.peers.wire_server import Connection, Request, WireServer

COPIES = 64
SIZE = 300_000
TWO = HostLimits(concurrency=2)


class Store:
    """A registry that has every blob, and takes every blob; each second stream of a blob is cut in the middle."""

    def __init__(self, *, cuts: bool) -> None:
        self._cuts = cuts
        self._count = 0
        self.stored: list[str] = []

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer."""
        match request.method:
            case "HEAD":
                respond(404)(request, connection)
            case "GET":
                self._blob(request, connection)
            case "POST":
                respond(202, {"Location": f"{request.path}1"})(request, connection)
            case "PUT":
                request.read()
                digest = dict(request.query)["digest"]
                assert digest == str(Digest.of(request.body))
                self.stored.append(digest)
                respond(201, {"Location": request.path, "Docker-Content-Digest": digest})(request, connection)
            case _:
                respond(204)(request, connection)

    def _blob(self, request: Request, connection: Connection) -> None:
        number = int(request.path.split("/")[2].removeprefix("n"))
        data = blob(number)
        self._count += 1
        start = int((request.header("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        headers = {"Content-Length": str(len(data) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = self._cuts and not start and self._count % 2
        respond(206 if start else 200, headers, data[start : start + 150_000] if cut else data[start:])(
            request, connection
        )
        if cut:
            connection.close()


def blob(number: int) -> bytes:
    """Return the blob of a repository."""
    return number.to_bytes(4, "big") * (SIZE // 4)


async def _opened_first(client: Client, source: WireServer, target: WireServer, number: int) -> None:
    digest = Digest.of(blob(number))
    into = client.repository(f"{target.host}/to/n{number}").blobs
    async with client.repository(f"{source.host}/n{number}").blobs.open(digest) as reader:
        await into.push(reader, reader.descriptor, check_exists=False)


async def _opened_late(client: Client, source: WireServer, target: WireServer, number: int) -> None:
    data = blob(number)

    async def pieces() -> AsyncIterator[bytes]:
        async with client.repository(f"{source.host}/n{number}").blobs.open(Digest.of(data)) as reader:
            async for piece in reader:
                yield piece

    into = client.repository(f"{target.host}/to/n{number}").blobs
    await into.push(pieces, Descriptor("application/octet-stream", Digest.of(data), len(data)), check_exists=False)


@pytest.mark.parametrize("cuts", [False, True], ids=["whole", "cut"])
@pytest.mark.parametrize("way", ["opened first", "opened late", "both"])
async def test_t69_copies_between_two_hosts_never_wait_for_each_other(
    start_wire_server: StartWireServer, way: str, *, cuts: bool
) -> None:
    stores = [Store(cuts=cuts), Store(cuts=cuts)]
    a, b = (start_wire_server(store) for store in stores)
    async with client_for(a, b, limits=TWO, retry=QUICK) as client:
        with anyio.fail_after(45):
            async with anyio.create_task_group() as group:
                for number in range(COPIES):
                    source, target = ((a, a), (a, b), (b, a))[number % 3]
                    late = way == "opened late" or (way == "both" and number % 2)
                    group.start_soon(_opened_late if late else _opened_first, client, source, target, number)
    assert sorted(stores[0].stored + stores[1].stored) == sorted(str(Digest.of(blob(n))) for n in range(COPIES))
