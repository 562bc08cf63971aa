"""L11: transfers that are cancelled at random points."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from benchmarks.job import OCTETS
from benchmarks.loads.findings import Complaints, Finding, control, sockets, within
from benchmarks.loads.source import BLOCK, MIB, NAME, digest_of
from ocidist import Client, Descriptor, HostConfig, HostLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from benchmarks.loads.findings import Task

_AT_ONCE = 64
_SIZE = 4 * MIB
_GRACE_S = 2.0


class _Storm:
    """Does transfers, and cancels them.

    Attributes:
        cancelled: How many were cancelled before they were done.
        finished: How many were done before.
    """

    def __init__(self, client: Client, task: Task, blob: Descriptor) -> None:
        self._blob = blob
        self._source = client.repository(f"{task.source}/{NAME}").blobs
        self._target = client.repository(f"{task.target}/{NAME}").blobs
        self._folder = Path(task.folder)
        self._file = self._folder / "source"
        self._file.write_bytes(BLOCK * (blob.size // MIB))
        self._natively = task.loop != "trio"
        self._chance = random.Random(task.seed)  # noqa: S311 -- no secret
        self._limiter = anyio.CapacityLimiter(_AT_ONCE)
        self._took: dict[str, float] = {}
        self.cancelled = self.finished = 0
        self._kinds: dict[str, Callable[[int], Awaitable[object]]] = {
            "download": self._download,
            "push a file": lambda _number: self._target.push(self._file, self._blob, check_exists=False),
            "push a file of unknown digest": lambda _number: self._target.push(self._file, check_exists=False),
            "push in chunks": lambda _number: self._target.push(_pieces, chunk_size=MIB, check_exists=False),
            "copy": lambda _number: self._copy(),
        }

    async def _download(self, number: int) -> None:
        path = self._folder / f"pulled-{number}"
        await self._source.download(self._blob, path)
        await anyio.to_thread.run_sync(path.unlink)

    async def _copy(self) -> None:
        async with self._source.open(self._blob) as reader:
            await self._target.push(reader, self._blob, check_exists=False)

    async def measure(self) -> None:
        """Find out how long each kind takes among as many others."""

        async def one(number: int, kind: str) -> None:
            started = time.monotonic()
            await self._kinds[kind](number)
            self._took[kind] = max(self._took.get(kind, 0), time.monotonic() - started)

        async with anyio.create_task_group() as group:
            for number in range(_AT_ONCE):
                group.start_soon(one, number, list(self._kinds)[number % len(self._kinds)])

    async def run(self, count: int) -> None:
        """Begin so many transfers and cancel each at some moment."""
        async with anyio.create_task_group() as group:
            for number in range(count):
                await self._limiter.acquire_on_behalf_of(number)
                group.start_soon(self._one, number)

    async def _one(self, number: int) -> None:
        try:
            kind = self._chance.choice(list(self._kinds))
            seconds = self._chance.uniform(0, self._took[kind])
            way = self._by_asyncio if self._natively and self._chance.random() < 0.5 else self._by_a_scope
            if await way(partial(self._kinds[kind], number), seconds):
                self.cancelled += 1
            else:
                self.finished += 1
        finally:
            self._limiter.release_on_behalf_of(number)

    async def _by_a_scope(self, work: Callable[[], Awaitable[object]], seconds: float) -> bool:
        with anyio.move_on_after(seconds) as scope:
            await work()
        return scope.cancelled_caught

    async def _by_asyncio(self, work: Callable[[], Awaitable[object]], seconds: float) -> bool:
        task: asyncio.Future[object] = asyncio.ensure_future(work())
        asyncio.get_running_loop().call_later(seconds, task.cancel)
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
        return task.cancelled()

    def left(self) -> list[str]:
        """Return the names of files that are there and should not be."""
        return [path.name for path in self._folder.iterdir() if path.name.startswith(".")]


async def _pieces() -> AsyncIterator[bytes]:  # noqa: RUF029 -- a source that is read piece by piece
    for _ in range(_SIZE // MIB):
        yield BLOCK


async def l11(task: Task) -> list[Finding]:
    """Cancel a thousand transfers."""
    count = 96 if task.quick else 1000
    # Small runs are those of tests, which go on while the machine has other things to do.
    grace = 30.0 if task.quick else _GRACE_S
    complaints = Complaints()
    blob = Descriptor(OCTETS, digest_of(_SIZE), _SIZE)
    for host in (task.source, task.target):
        await control(host, "blob", digest=blob.digest, size=blob.size, stored=host == task.source)
        await control(host, "forget")
    gc.collect()
    before, tasks = sockets(), len(anyio.get_running_tasks())
    counts: dict[str, Any] = {}
    async with _client(task) as client:
        storm = _Storm(client, task, blob)
        await storm.measure()
        await storm.run(count)
        started = time.monotonic()
        settled = await within(grace, lambda: len(anyio.get_running_tasks()) <= tasks and not storm.left())
        counts = await _sessions(task, started + grace)
        # All places are free again, or this would wait for ever.
        with anyio.fail_after(60):
            await storm.measure()
    closed = await within(grace, lambda: sockets() <= before)
    gc.collect()
    return [
        Finding("cancelled before they were done", storm.cancelled, count // 10, at_least=True),
        Finding("done before they were cancelled", storm.finished),
        Finding("tasks left", len(anyio.get_running_tasks()) - tasks, 0),
        Finding("sockets left", sockets() - before, 0),
        Finding("hidden files left", len(storm.left()), 0),
        Finding("upload sessions left", counts["open"], 0),
        Finding("sessions whose number never reached the client", counts["lost"]),
        Finding("wrong bytes stored", counts["wrong"], 0),
        Finding("warnings", len(complaints.texts), 0),
        Finding("until tasks and files were gone", settled, 2, "s", timed=True),
        Finding("until sockets were gone, after closing the client", closed, 2, "s", timed=True),
    ]


async def _sessions(task: Task, ends: float) -> dict[str, Any]:
    """Return the counts of the registry once it has no session any more, or the time is up."""
    while True:
        found = await control(task.target, "state")
        if not found["open"] or time.monotonic() > ends:
            return found
        await anyio.sleep(0.05)


def _client(task: Task) -> Client:
    hosts = {host: HostConfig(scheme="http") for host in (task.source, task.target)}
    return Client(hosts=hosts, credentials={}, limits=HostLimits(concurrency=16))
