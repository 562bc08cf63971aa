"""python-dxf. It blocks."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from dxf import DXF

from benchmarks.contenders.files import created
from benchmarks.contenders.in_threads import share

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.job import Job, Meter


def _registry(job: Job) -> DXF:
    return DXF(job.host, job.name, insecure=not job.ca, tlsverify=job.ca or True)


def _measure(job: Job, meter: Meter, work: Callable[[DXF, Job], object]) -> None:
    with _registry(job) as registry:
        work(registry, job.warm_up())
        with meter:
            work(registry, job)


def pull(job: Job, meter: Meter) -> None:
    """Pull a blob to a file, verified."""
    _measure(job, meter, _pull)


def _pull(registry: DXF, job: Job) -> None:
    with created(job.path) as file:
        for piece in registry.pull_blob(job.digest):
            file.write(piece)


def push(job: Job, meter: Meter) -> None:
    """Push a file of which nothing is known: it is hashed first."""
    _measure(job, meter, lambda registry, job: registry.push_blob(job.path, check_exists=False))


def small(job: Job, meter: Meter) -> None:
    """Read manifests, verified."""
    with ExitStack() as stack:
        registries = [stack.enter_context(_registry(job)) for _ in range(job.concurrency)]
        share(DXF.get_manifest, job.tags[: job.warm], registries)
        with meter:
            share(DXF.get_manifest, job.tags[job.warm :], registries)
