"""ocidist through its public interface, with everything on that is on by default."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contenders.mirror import Layer, mirror
from benchmarks.contenders.on_anyio import run, share
from ocidist import Client, Descriptor, HostConfig, HostLimits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from benchmarks.job import Job, Meter
    from ocidist import BlobReader, Manifest, Repository

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
    """Copy images from one registry to another."""

    async def main() -> None:
        async with _client(job) as client:
            with meter:
                await mirror(_Copier(client, job), job.names, job.concurrency)

    run(main, job.loop)


class _Copier:
    def __init__(self, client: Client, job: Job) -> None:
        self._sources = {name: client.repository(f"{job.host}/{name}") for name in job.names}
        self._targets = {name: client.repository(f"{job.target}/{name}") for name in job.names}

    async def image(self, name: str) -> Manifest:
        return await self._sources[name].manifests.get("latest")

    def layers(self, image: Manifest) -> Iterable[Layer]:
        return [Layer(str(blob.digest), blob.size) for blob in image.references]

    async def copy(self, name: str, layer: Layer) -> None:
        descriptor = Descriptor(_OCTETS, layer.digest, layer.size)
        async with self._sources[name].blobs.open(descriptor) as reader:
            await self._targets[name].blobs.push(reader, descriptor, check_exists=False)

    async def mount(self, name: str, layer: Layer, source: str) -> None:
        descriptor = Descriptor(_OCTETS, layer.digest, layer.size)

        def again() -> BlobReader:
            raise ValueError(f"not mounted: {layer.digest}")

        await self._targets[name].blobs.push(again, descriptor, mount_from=(source,), check_exists=False)

    async def finish(self, name: str, image: Manifest) -> None:
        await self._targets[name].manifests.push(image, tags=("latest",), by_digest=False)
