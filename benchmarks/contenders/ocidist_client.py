"""ocidist through its public interface, with everything on that is on by default."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from benchmarks.contenders.on_anyio import run, share
from ocidist import Client, Copier, CopyOptions, Descriptor, HostConfig, HostLimits, open_place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.job import Job, Meter
    from ocidist import Repository

_OCTETS = "application/octet-stream"


def _client(job: Job) -> Client:
    config = HostConfig(ca=job.ca) if job.ca else HostConfig(scheme="http")
    hosts = {host: config for host in (job.host, job.target) if host}
    # What it does by default is 32 requests at once; where 64 are asked for, they are to be under way.
    return Client(hosts=hosts, limits=HostLimits(concurrency=max(32, job.concurrency)))


def _measure(job: Job, meter: Meter, work: Callable[[Repository, Job], Awaitable[object]]) -> None:
    async def main() -> None:
        async with _client(job) as client:
            repository = client.repository(f"{job.host}/{job.name}")
            await work(repository, job.warm_up())
            with meter:
                await work(repository, job)

    run(main, job.loop)


def pull(job: Job, meter: Meter) -> None:
    """Pull a blob to a file, verified."""
    _measure(job, meter, lambda repo, job: repo.blobs.download(_descriptor(job), Path(job.path)))


def push(job: Job, meter: Meter) -> None:
    """Push a file of which nothing is known. Nobody else asks whether the registry has it already."""
    _measure(job, meter, lambda repo, job: repo.blobs.push(Path(job.path), check_exists=False))


def push_known(job: Job, meter: Meter) -> None:
    """Push a file whose digest is known."""
    _measure(job, meter, lambda repo, job: repo.blobs.push(Path(job.path), _descriptor(job), check_exists=False))


def _descriptor(job: Job) -> Descriptor:
    return Descriptor(_OCTETS, job.digest, job.size)


def small(job: Job, meter: Meter) -> None:
    """Read manifests, verified."""

    async def main() -> None:
        async with _client(job) as client:
            get = client.repository(f"{job.host}/{job.name}").manifests.get
            await share(get, job.tags[: job.warm], job.concurrency)
            with meter:
                await share(get, job.tags[job.warm :], job.concurrency)

    run(main, job.loop)


def copy(job: Job, meter: Meter) -> None:
    """Copy images from one registry to another, all at once."""

    async def main() -> None:
        async with _client(job) as client:
            async with open_place(f"{job.host}/{job.names[0]}:latest", client=client) as place:
                await Copier().survey(place)
            with meter:
                copier = Copier(options=CopyOptions(at_once=job.concurrency))
                async with anyio.create_task_group() as tasks:
                    for name in job.names:
                        tasks.start_soon(_copied, client, copier, f"{job.host}/{name}", f"{job.target}/{name}")

    run(main, job.loop)


async def _copied(client: Client, copier: Copier, source: str, target: str) -> None:
    async with open_place(f"{source}:latest", client=client) as one, open_place(target, client=client) as other:
        await copier.copy(one, other)
