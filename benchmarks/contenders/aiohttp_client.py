"""aiohttp as it comes: what somebody writes who has no registry client."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from typing import TYPE_CHECKING, NamedTuple

import aiohttp

from benchmarks.contenders.files import created, pieces
from benchmarks.contenders.on_asyncio import share
from benchmarks.job import ACCEPT, OCTETS, check

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from benchmarks.contenders.mirror import Layer
    from benchmarks.job import Job, Meter

# aiohttp hands out at most what its buffer of 128 KiB holds.
_PIECE = 256 * 1024


def _client(job: Job) -> aiohttp.ClientSession:
    context = ssl.create_default_context(cafile=job.ca) if job.ca else True
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), raise_for_status=True)


def _measure(job: Job, meter: Meter, work: Callable[[aiohttp.ClientSession, Job], Awaitable[None]]) -> None:
    async def main() -> None:
        async with _client(job) as client:
            await work(client, job.warm_up())
            with meter:
                await work(client, job)

    asyncio.run(main())


def pull(job: Job, meter: Meter) -> None:
    """Pull a blob to a file, verified."""
    _measure(job, meter, _pull)


async def _pull(client: aiohttp.ClientSession, job: Job) -> None:
    hasher = hashlib.sha256()
    with created(job.path) as file:
        async with client.get(f"{job.url}/blobs/{job.digest}") as response:
            async for piece in response.content.iter_chunked(_PIECE):
                hasher.update(piece)
                file.write(piece)
    check(hasher.hexdigest(), job.digest)


def push(job: Job, meter: Meter) -> None:
    """Push a file of which only the size is known: one PATCH while it is hashed, then PUT."""
    _measure(job, meter, _push)


async def _push(client: aiohttp.ClientSession, job: Job) -> None:
    hasher = hashlib.sha256()
    async with client.post(f"{job.url}/blobs/uploads/") as started:
        location = started.headers["Location"]
    async with client.patch(location, data=pieces(job.path, hasher), headers=_octets(job.size)) as sent:
        location = _with_digest(sent.headers["Location"], f"sha256:{hasher.hexdigest()}")
    async with client.put(location):
        pass


def push_known(job: Job, meter: Meter) -> None:
    """Push a file whose digest is known, without hashing it."""
    _measure(job, meter, _push_known)


async def _push_known(client: aiohttp.ClientSession, job: Job) -> None:
    async with client.post(f"{job.url}/blobs/uploads/") as started:
        location = _with_digest(started.headers["Location"], job.digest)
    async with client.put(location, data=pieces(job.path), headers=_octets(job.size)):
        pass


def small(job: Job, meter: Meter) -> None:
    """Read manifests, verified."""

    async def main() -> None:
        async with _client(job) as client:

            async def get(tag: str) -> None:
                async with client.get(f"{job.url}/manifests/{tag}", headers={"Accept": ACCEPT}) as response:
                    body = await response.read()
                    check(hashlib.sha256(body).hexdigest(), response.headers["Docker-Content-Digest"])

            await share(get, job.tags[: job.warm], job.concurrency)
            with meter:
                await share(get, job.tags[job.warm :], job.concurrency)

    asyncio.run(main())


def copy(job: Job, meter: Meter) -> None:
    """Copy images from one registry to another."""
    from benchmarks.contenders.mirror import mirror  # noqa: PLC0415 -- it brings anyio, which aiohttp does without

    async def main() -> None:
        async with _client(job) as client:
            copier = _Copier(client, job)
            await copier.image(job.names[0])
            with meter:
                await mirror(copier, job.names, job.concurrency)

    asyncio.run(main())


class _Image(NamedTuple):
    data: bytes
    media_type: str


class _Copier:
    def __init__(self, client: aiohttp.ClientSession, job: Job) -> None:
        self._client = client
        self._source, self._target = f"http://{job.host}/v2", f"http://{job.target}/v2"

    async def image(self, name: str) -> _Image:
        url = f"{self._source}/{name}/manifests/latest"
        async with self._client.get(url, headers={"Accept": ACCEPT}) as response:
            return _Image(await response.read(), response.headers["Content-Type"])

    def layers(self, image: _Image) -> Iterable[Layer]:
        from benchmarks.contenders.mirror import Layer  # noqa: PLC0415 -- see above

        parsed = json.loads(image.data)
        return [Layer(blob["digest"], blob["size"]) for blob in (parsed["config"], *parsed["layers"])]

    async def copy(self, name: str, layer: Layer) -> None:
        async with self._client.post(f"{self._target}/{name}/blobs/uploads/") as started:
            location = _with_digest(started.headers["Location"], layer.digest)
        async with self._client.get(f"{self._source}/{name}/blobs/{layer.digest}") as response:
            body = _verified(response.content.iter_chunked(_PIECE), layer.digest)
            async with self._client.put(location, data=body, headers=_octets(layer.size)):
                pass

    async def mount(self, name: str, layer: Layer, source: str) -> None:
        url = f"{self._target}/{name}/blobs/uploads/?mount={layer.digest}&from={source}"
        async with self._client.post(url) as mounted:
            if mounted.status != 201:
                raise ValueError(f"not mounted: {mounted.status}")

    async def finish(self, name: str, image: _Image) -> None:
        url = f"{self._target}/{name}/manifests/latest"
        async with self._client.put(url, data=image.data, headers={"Content-Type": image.media_type}):
            pass


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
