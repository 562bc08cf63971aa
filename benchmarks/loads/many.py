"""L03: many blobs at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from benchmarks.job import OCTETS
from benchmarks.loads.findings import Finding, Growth, control
from benchmarks.loads.source import MIB, NAME, digest_of
from ocidist import Client, Descriptor, HostConfig, HostLimits, OciError

if TYPE_CHECKING:
    from benchmarks.loads.findings import Task

_CONNECTIONS = 16


async def l03(task: Task) -> list[Finding]:
    """Download 64 blobs through 16 connections."""
    count = 64
    sizes = [(MIB // 2 if task.quick else 64 * MIB) + number for number in range(count)]
    digests = [await anyio.to_thread.run_sync(digest_of, size) for size in sizes]
    blobs = [Descriptor(OCTETS, digest, size) for digest, size in zip(digests, sizes, strict=True)]
    for blob in blobs:
        await control(task.source, "blob", digest=blob.digest, size=blob.size, stored=True)
    failures: list[BaseException] = []
    took: list[float] = []

    async with Client(
        hosts={task.source: HostConfig(scheme="http")},
        credentials={},
        limits=HostLimits(concurrency=_CONNECTIONS),
    ) as client:
        source = client.repository(f"{task.source}/{NAME}").blobs

        async def one(number: int) -> None:
            path = Path(task.folder, f"{number}")
            begun = 0.0

            def note(_done: int, _size: int | None) -> None:
                nonlocal begun
                begun = begun or time.perf_counter()

            try:
                await source.download(blobs[number], path, progress=note)
            except (OciError, TimeoutError) as error:
                failures.append(error)
            else:
                took.append(time.perf_counter() - begun)
                await anyio.Path(path).unlink()

        async with anyio.create_task_group() as group:
            for number in range(_CONNECTIONS):
                group.start_soon(one, number)
        took.clear()
        await control(task.source, "forget")
        with Growth() as growth:
            async with anyio.create_task_group() as group:
                for number in range(count):
                    group.start_soon(one, number)
        found = await control(task.source, "state")
    missing = count - len(took)
    return [
        Finding("blobs that failed, among them for want of a connection", missing + len(failures), 0),
        Finding("bytes that were sent / bytes of the blobs", found["sent"] / sum(sizes), 1),
        # This question came over one more.
        Finding("most connections", found["most"] - 1, _CONNECTIONS),
        Finding("RSS growth", growth.mib, 48, "MiB"),
        Finding("longest / shortest time from a blob's first byte to its end", max(took) / min(took), 3, timed=True),
    ]
