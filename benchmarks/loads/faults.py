"""L12: a tenth of all requests fails, by seeds; whatever seemed to succeed has to be there, and be right."""

from __future__ import annotations

import random
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from benchmarks.loads.findings import Finding, control
from ocidist import Client, Descriptor, Digest, HostConfig, HostLimits, OciError, build_image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from benchmarks.loads.findings import Task
    from ocidist import Repository

_SHARE = 0.1
_IMAGES = 12
_SECONDS = 3600.0
_HUNG_S = 120.0
_OCTETS = "application/octet-stream"


class _Workload:
    """Pushes images and reads them again, and keeps account.

    Args:
        repository: Where to.
        seed: What chance begins with.
        folder: Where files go.
        quick: Whether a few images will do.
    """

    def __init__(self, repository: Repository, seed: int, folder: Path, *, quick: bool) -> None:
        self._repository = repository
        self._chance = random.Random(seed)  # noqa: S311 -- no secret
        self._folder = folder
        self._quick = quick
        self.stored: dict[Digest, bytes] = {}
        self.tags: dict[str, Digest] = {}
        self.done = 0
        self.failures: list[str] = []
        self.hung = self.corrupted = 0

    async def run(self) -> None:
        """Push all images, four at once."""
        limiter = anyio.CapacityLimiter(4)

        async def one(number: int, layers: list[bytes]) -> None:
            async with limiter:
                await self._image(number, layers)

        async with anyio.create_task_group() as group:
            for number in range(5 if self._quick else _IMAGES):
                sizes = (500, self._chance.randrange(1, 300_000), self._chance.randrange(1, 60_000))
                group.start_soon(one, number, [self._chance.randbytes(size) for size in sizes])

    async def _try(self, what: str, work: Callable[[], Awaitable[object]]) -> bool:
        try:
            with anyio.fail_after(_HUNG_S):
                await work()
        except OciError as error:
            self.failures.append(f"{what}: {error!r}")
            return False
        except TimeoutError:
            self.hung += 1
            return False
        self.done += 1
        return True

    async def _image(self, number: int, layers: list[bytes]) -> None:
        descriptors = [Descriptor(_OCTETS, Digest.of(data), len(data)) for data in layers]
        for way, data, descriptor in zip(range(3), layers, descriptors, strict=True):
            if await self._try("push blob", partial(self._push, way, data, descriptor)):
                self.stored[descriptor.digest] = data
        image = build_image(descriptors[0], descriptors[1:])
        tag = f"v{number}"
        if all(descriptor.digest in self.stored for descriptor in descriptors) and await self._try(
            "push manifest", lambda: self._repository.manifests.push(image, tags=[tag])
        ):
            self.tags[tag] = image.digest
            await self._try("pull manifest", lambda: self._same_manifest(tag, image.data))
        for digest in [one.digest for one in descriptors if one.digest in self.stored]:
            await self._try("pull blob", partial(self._same_blob, digest))
        await self._try("list tags", lambda: self._listed(tag))

    async def _push(self, way: int, data: bytes, known: Descriptor) -> None:
        async def pieces() -> AsyncIterator[bytes]:  # noqa: RUF029 -- what is read is given by an asynchronous iterator
            for start in range(0, len(data), 50_000):
                yield data[start : start + 50_000]

        match way:
            case 0:
                await self._repository.blobs.push(data)
            case 1:
                await self._repository.blobs.push(pieces, chunk_size=100_000)
            case _:
                path = self._folder / known.digest.encoded
                await anyio.Path(path).write_bytes(data)
                await self._repository.blobs.push(path, known)

    async def _same_manifest(self, tag: str, data: bytes) -> None:
        self.corrupted += (await self._repository.manifests.get(tag)).data != data

    async def _same_blob(self, digest: Digest) -> None:
        path = self._folder / f"pulled-{digest.encoded}"
        await self._repository.blobs.download(digest, path)
        self.corrupted += await anyio.Path(path).read_bytes() != self.stored[digest]

    async def _listed(self, tag: str) -> None:
        found = await self._repository.tags.list().collect()
        self.corrupted += tag in self.tags and tag not in found

    async def lost(self, calm: Repository) -> int:
        """Return how much of what seemed to be stored is not there."""
        missing = 0
        for digest, data in self.stored.items():
            missing += not await calm.blobs.exists(digest) or await calm.blobs.get(digest) != data
        for tag, digest in self.tags.items():
            missing += (await calm.manifests.get(tag)).digest != digest
        return missing


async def l12(task: Task) -> list[Finding]:
    """Push and pull through faults, one seed after the other."""
    seeds = range(1, 2 if task.quick else 201)
    ends = time.monotonic() + _SECONDS
    runs: list[_Workload] = []
    lost, counts = 0, {"faults": 0, "requests": 0}
    hosts = {host: HostConfig(scheme="http") for host in (task.flaky, task.registry)}
    for seed in seeds:
        folder = Path(task.folder, f"{seed}")
        await anyio.Path(folder).mkdir()
        name = f"load/s{seed}-{task.seed}"
        await control(task.flaky, "set", seed=seed, share=_SHARE)
        async with Client(hosts=hosts, credentials={}, limits=HostLimits(concurrency=8)) as client:
            run = _Workload(client.repository(f"{task.flaky}/{name}"), seed, folder, quick=task.quick)
            runs.append(run)
            await run.run()
            found = await control(task.flaky, "state")
            counts = {key: counts[key] + found.get(key, 0) for key in counts}
            await control(task.flaky, "set", seed=seed, share=0)
            lost += await run.lost(client.repository(f"{task.registry}/{name}"))
        if time.monotonic() > ends:
            break
    done, failed = sum(run.done for run in runs), [text for run in runs for text in run.failures]
    hung = sum(run.hung for run in runs)
    print(*failed[:20], sep="\n", file=sys.stderr)
    return [
        Finding("seeds", len(runs), None),
        Finding("requests that failed, of all", 100 * counts["faults"] / counts["requests"], unit="%"),
        Finding("corrupted", sum(run.corrupted for run in runs), 0),
        Finding("lost", lost, 0),
        Finding("hung", hung, 0),
        Finding("operations that succeeded", 100 * done / (done + len(failed) + hung), 99.9, "%", at_least=True),
        Finding("operations", done + len(failed) + hung),
    ]
