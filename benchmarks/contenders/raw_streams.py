"""asyncio's own streams, and just enough HTTP: the least that many requests at a time cost without a library."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from benchmarks.contenders.raw import parse
from benchmarks.job import ACCEPT, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.job import Job, Meter


def small(job: Job, meter: Meter) -> None:
    """Read manifests over asyncio's streams, verified."""
    asyncio.run(_small(job, meter))


async def _small(job: Job, meter: Meter) -> None:
    host, _, port = job.host.partition(":")
    connections = [await asyncio.open_connection(host, int(port)) for _ in range(job.concurrency)]

    async def share(tags: Iterator[str]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for reader, writer in connections:
                tasks.create_task(_manifests(reader, writer, job, tags))

    await share(iter(job.tags[: job.warm]))
    with meter:
        await share(iter(job.tags[job.warm :]))
    for _, writer in connections:
        writer.close()


async def _manifests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, job: Job, tags: Iterator[str]) -> None:
    for tag in tags:
        head = f"GET /v2/{job.name}/manifests/{tag} HTTP/1.1\r\nHost: {job.host}\r\nAccept: {ACCEPT}\r\n\r\n"
        writer.write(head.encode())
        header = parse((await reader.readuntil(b"\r\n\r\n")).strip())
        body = await reader.readexactly(int(header["content-length"]))
        check(hashlib.sha256(body).hexdigest(), header["docker-content-digest"])
