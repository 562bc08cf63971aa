"""httpx as it comes: what somebody writes who has no registry client."""

from __future__ import annotations

import hashlib
import ssl
from typing import TYPE_CHECKING

import httpx

from benchmarks.contenders.files import created, pieces
from benchmarks.contenders.mirror import Layer, mirror
from benchmarks.contenders.on_anyio import run, share
from benchmarks.job import ACCEPT, OCTETS, check

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from benchmarks.job import Job, Meter


def _client(job: Job) -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=ssl.create_default_context(cafile=job.ca) if job.ca else True, timeout=60)


def _measure(job: Job, meter: Meter, work: Callable[[httpx.AsyncClient, Job], Awaitable[None]]) -> None:
    async def main() -> None:
        async with _client(job) as client:
            await work(client, job.warm_up())
            with meter:
                await work(client, job)

    run(main, job.loop)


def pull(job: Job, meter: Meter) -> None:
    """Pull a blob to a file, verified."""
    _measure(job, meter, _pull)


async def _pull(client: httpx.AsyncClient, job: Job) -> None:
    hasher = hashlib.sha256()
    with created(job.path) as file:
        async with client.stream("GET", f"{job.url}/blobs/{job.digest}") as response:
            response.raise_for_status()
            async for piece in response.aiter_raw():
                hasher.update(piece)
                file.write(piece)
    check(hasher.hexdigest(), job.digest)


def push(job: Job, meter: Meter) -> None:
    """Push a file of which only the size is known: one PATCH while it is hashed, then PUT."""
    _measure(job, meter, _push)


async def _push(client: httpx.AsyncClient, job: Job) -> None:
    hasher = hashlib.sha256()
    started = (await client.post(f"{job.url}/blobs/uploads/")).raise_for_status()
    body = pieces(job.path, hasher)
    sent = await client.patch(started.headers["Location"], content=body, headers=_octets(job.size))
    location = sent.raise_for_status().headers["Location"]
    (await client.put(_with_digest(location, f"sha256:{hasher.hexdigest()}"))).raise_for_status()


def push_known(job: Job, meter: Meter) -> None:
    """Push a file whose digest is known, without hashing it."""
    _measure(job, meter, _push_known)


async def _push_known(client: httpx.AsyncClient, job: Job) -> None:
    started = (await client.post(f"{job.url}/blobs/uploads/")).raise_for_status()
    location = _with_digest(started.headers["Location"], job.digest)
    (await client.put(location, content=pieces(job.path), headers=_octets(job.size))).raise_for_status()


def small(job: Job, meter: Meter) -> None:
    """Read manifests, verified."""

    async def main() -> None:
        async with _client(job) as client:

            async def get(tag: str) -> None:
                response = await client.get(f"{job.url}/manifests/{tag}", headers={"Accept": ACCEPT})
                response.raise_for_status()
                check(hashlib.sha256(response.content).hexdigest(), response.headers["Docker-Content-Digest"])

            await share(get, job.tags[: job.warm], job.concurrency)
            with meter:
                await share(get, job.tags[job.warm :], job.concurrency)

    run(main, job.loop)


def copy(job: Job, meter: Meter) -> None:
    """Copy images from one registry to another."""

    async def main() -> None:
        async with _client(job) as client:
            copier = _Copier(client, job)
            await copier.image(job.names[0])
            with meter:
                await mirror(copier, job.names, job.concurrency)

    run(main, job.loop)


class _Copier:
    def __init__(self, client: httpx.AsyncClient, job: Job) -> None:
        self._client = client
        self._source, self._target = f"http://{job.host}/v2", f"http://{job.target}/v2"

    async def image(self, name: str) -> httpx.Response:
        url = f"{self._source}/{name}/manifests/latest"
        return (await self._client.get(url, headers={"Accept": ACCEPT})).raise_for_status()

    def layers(self, image: httpx.Response) -> Iterable[Layer]:
        parsed = image.json()
        return [Layer(blob["digest"], blob["size"]) for blob in (parsed["config"], *parsed["layers"])]

    async def copy(self, name: str, layer: Layer) -> None:
        started = (await self._client.post(f"{self._target}/{name}/blobs/uploads/")).raise_for_status()
        location = _with_digest(started.headers["Location"], layer.digest)
        async with self._client.stream("GET", f"{self._source}/{name}/blobs/{layer.digest}") as response:
            body = _verified(response.raise_for_status().aiter_raw(), layer.digest)
            (await self._client.put(location, content=body, headers=_octets(layer.size))).raise_for_status()

    async def mount(self, name: str, layer: Layer, source: str) -> None:
        url = f"{self._target}/{name}/blobs/uploads/?mount={layer.digest}&from={source}"
        mounted = await self._client.post(url)
        if mounted.status_code != httpx.codes.CREATED:
            raise ValueError(f"not mounted: {mounted.status_code}")

    async def finish(self, name: str, image: httpx.Response) -> None:
        url = f"{self._target}/{name}/manifests/latest"
        headers = {"Content-Type": image.headers["Content-Type"]}
        (await self._client.put(url, content=image.content, headers=headers)).raise_for_status()


async def _verified(body: AsyncIterator[bytes], digest: str) -> AsyncIterator[bytes]:
    hasher = hashlib.sha256()
    async for piece in body:
        hasher.update(piece)
        yield piece
    check(hasher.hexdigest(), digest)


def _octets(size: int) -> dict[str, str]:
    return {"Content-Length": str(size), "Content-Type": OCTETS}


def _with_digest(location: str, digest: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"
