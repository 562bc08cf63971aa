"""asyncio's and trio's own streams, and just enough HTTP: the least that requests cost on an event loop."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import trio

from benchmarks.contenders.raw import parse
from benchmarks.job import ACCEPT, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.job import Job, Meter


def small(job: Job, meter: Meter) -> None:
    """Read manifests over the event loop's streams, verified."""
    if job.loop == "trio":
        trio.run(_small_on_trio, job, meter)
    else:
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
        writer.write(_head(job, tag))
        header = parse((await reader.readuntil(b"\r\n\r\n")).strip())
        body = await reader.readexactly(int(header["content-length"]))
        check(hashlib.sha256(body).hexdigest(), header["docker-content-digest"])


async def _small_on_trio(job: Job, meter: Meter) -> None:
    host, _, port = job.host.partition(":")
    connections = [await trio.open_tcp_stream(host, int(port)) for _ in range(job.concurrency)]

    async def share(tags: Iterator[str]) -> None:
        async with trio.open_nursery() as tasks:
            for stream in connections:
                tasks.start_soon(_manifests_on_trio, stream, job, tags)

    await share(iter(job.tags[: job.warm]))
    with meter:
        await share(iter(job.tags[job.warm :]))
    for stream in connections:
        await stream.aclose()


async def _manifests_on_trio(stream: trio.SocketStream, job: Job, tags: Iterator[str]) -> None:
    for tag in tags:
        await stream.send_all(_head(job, tag))
        data = bytearray(await stream.receive_some())
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += await stream.receive_some()
        header = parse(bytes(data[:end]))
        body = data[end + 4 :]
        while len(body) < int(header["content-length"]):
            body += await stream.receive_some()
        check(hashlib.sha256(body).hexdigest(), header["docker-content-digest"])


def _head(job: Job, tag: str) -> bytes:
    return f"GET /v2/{job.name}/manifests/{tag} HTTP/1.1\r\nHost: {job.host}\r\nAccept: {ACCEPT}\r\n\r\n".encode()
