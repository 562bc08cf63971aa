"""oras-py. It blocks, and does not verify what it pulls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oras.oci import NewLayer
from oras.provider import Registry

from benchmarks.contenders.in_threads import share
from benchmarks.job import OCTETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.job import Job, Meter


def _registry(job: Job) -> Registry:
    return Registry(hostname=job.host, insecure=not job.ca, tls_verify=job.ca or True)


def _measure(job: Job, meter: Meter, work: Callable[[Registry, Job], object]) -> None:
    registry = _registry(job)
    work(registry, job.warm_up())
    with meter:
        work(registry, job)


def pull(job: Job, meter: Meter) -> None:
    """Pull a blob to a file, not verified."""
    _measure(job, meter, lambda registry, job: registry.download_blob(f"{job.host}/{job.name}", job.digest, job.path))


def push(job: Job, meter: Meter) -> None:
    """Push a file of which nothing is known: it is hashed first."""
    _measure(job, meter, _push)


def _push(registry: Registry, job: Job) -> None:
    layer = NewLayer(job.path, OCTETS)
    registry.upload_blob(job.path, f"{job.host}/{job.name}", layer).raise_for_status()


def small(job: Job, meter: Meter) -> None:
    """Read manifests, not verified."""
    registries = [_registry(job) for _ in range(job.concurrency)]

    def get(registry: Registry, tag: str) -> None:
        registry.get_manifest(f"{job.host}/{job.name}:{tag}")

    share(get, job.tags[: job.warm], registries)
    with meter:
        share(get, job.tags[job.warm :], registries)
