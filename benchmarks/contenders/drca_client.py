"""docker-registry-client-async. What it pulls it hashes, and leaves the comparison to its caller."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import aiofiles
from docker_registry_client_async import DockerRegistryClientAsync, FormattedSHA256, ImageName

from benchmarks.contenders.on_asyncio import share
from benchmarks.job import check

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.job import Job, Meter


def _client(job: Job) -> DockerRegistryClientAsync:
    context = ssl.create_default_context(cafile=job.ca) if job.ca else None
    return DockerRegistryClientAsync(credentials_store=Path("no-credentials"), ssl=context)


def _measure(job: Job, meter: Meter, work: Callable[[DockerRegistryClientAsync, Job], Awaitable[None]]) -> None:
    async def main() -> None:
        async with _client(job) as client:
            await work(client, job.warm_up())
            with meter:
                await work(client, job)

    asyncio.run(main())


def pull(job: Job, meter: Meter) -> None:
    """Pull a blob to a file, verified."""
    _measure(job, meter, _pull)


async def _pull(client: DockerRegistryClientAsync, job: Job) -> None:
    name = ImageName(job.name, endpoint=job.host)
    digest = FormattedSHA256.parse(job.digest)
    async with aiofiles.open(job.path, "w+b") as file:
        pulled = await client.get_blob_to_disk(name, digest, file, protocol=_protocol(job))
    check(pulled.digest, job.digest)


def push(job: Job, meter: Meter) -> None:
    """Push a file of which nothing is known: one PATCH while it is hashed, then PUT."""
    _measure(job, meter, _push)


async def _push(client: DockerRegistryClientAsync, job: Job) -> None:
    name = ImageName(job.name, endpoint=job.host)
    started = await client.post_blob(name, protocol=_protocol(job))
    async with aiofiles.open(job.path, "rb") as file:
        sent = await client.patch_blob_upload_from_disk(started.location, file)
    await client.put_blob_upload(sent.location, sent.digest)


def small(job: Job, meter: Meter) -> None:
    """Read manifests, verified."""

    async def main() -> None:
        async with _client(job) as client:

            async def get(tag: str) -> None:
                name = ImageName(job.name, endpoint=job.host, tag=tag)
                found = await client.get_manifest(name, protocol=_protocol(job))
                body = found.manifest.get_bytes()
                check(hashlib.sha256(body).hexdigest(), found.client_response.headers["Docker-Content-Digest"])

            await share(get, job.tags[: job.warm], job.concurrency)
            with meter:
                await share(get, job.tags[job.warm :], job.concurrency)

    asyncio.run(main())


def _protocol(job: Job) -> str:
    return "https" if job.ca else "http"
