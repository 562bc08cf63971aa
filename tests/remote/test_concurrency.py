"""Many at once on one client, as in a service: nothing waits for a thread, and nobody sees what is another's."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest
import sniffio

from ocidist import Client, Digest, HostLimits, Manifest, RetryPolicy, build_index

if TYPE_CHECKING:
    from collections.abc import Callable

BLOBS = {Digest.of(data): data for data in (b"%d" % number for number in range(60))}
INDEX = build_index([])


class Registry:
    """An endless registry within the event loop; counts what it does at once."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.loops: set[str] = set()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        self.loops.add(sniffio.current_async_library())
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await anyio.sleep(0.002)
            name = request.url.path.rpartition("/")[2]
            if "/blobs/" in request.url.path:
                return httpx.Response(200, content=BLOBS[Digest(name)])
            return httpx.Response(200, content=INDEX.data, headers={"Content-Type": INDEX.media_type})
        finally:
            self.now -= 1


def client_of(registry: Callable[[httpx.Request], object]) -> Client:
    """Return a client that speaks to a registry in its own loop, and looks for no credentials, which are in files."""
    return Client(
        credentials={},
        transport=httpx.MockTransport(registry),  # type: ignore[arg-type]  # a coroutine function with another name
        retry=RetryPolicy(attempts=1),
        limits=HostLimits(concurrency=16),
    )


async def test_n01_many_tasks_share_a_client_on_any_event_loop_without_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(*_args: object, **_options: object) -> None:
        pytest.fail("a thread was asked for")

    monkeypatch.setattr("anyio.to_thread.run_sync", never)
    registry = Registry()
    threads: set[int] = set()
    found: dict[Digest, bytes] = {}
    async with client_of(registry) as client:

        async def read(digest: Digest) -> None:
            found[digest] = await client.repository("https://registry.example/acme/app").blobs.get(digest)
            threads.add(threading.get_ident())

        async with anyio.create_task_group() as group:
            for digest in BLOBS:
                group.start_soon(read, digest)
    assert found == BLOBS
    assert threads == {threading.get_ident()}
    assert 1 < registry.most <= 16
    assert registry.loops == {"trio" if "trio" in sniffio.current_async_library() else "asyncio"}


async def test_n01_a_cancelled_task_takes_nothing_from_the_others() -> None:
    registry = Registry()
    got: list[Manifest] = []
    async with client_of(registry) as client:
        manifests = client.repository("https://registry.example/acme/app").manifests

        async def read() -> None:
            got.append(await manifests.get("v1"))

        for _ in range(5):
            with anyio.move_on_after(0.001):
                await read()
        async with anyio.create_task_group() as group:
            for _ in range(40):
                group.start_soon(read)
    assert got[-40:] == [INDEX] * 40
    assert registry.now == 0
