"""L04, L05 and L06: long lists."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING

import anyio

from benchmarks.loads.findings import Finding, Growth, control, resident
from benchmarks.loads.source import NAME, tags_page
from ocidist import Client, HostConfig, build_image
from ocidist.wire.paging import Pager, parse_page

if TYPE_CHECKING:
    from benchmarks.loads.findings import Task
    from ocidist import Repository

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_WANTED = "application/vnd.example.wanted"
_REFERRERS = 5000
_ON_A_PAGE = 100
_SUBJECT = f"sha256:{'5' * 64}"


def _client(host: str) -> Client:
    return Client(hosts={host: HostConfig(scheme="http")}, credentials={})


async def l05(task: Task) -> list[Finding]:
    """List repositories and stop after ten."""
    await control(task.source, "set", names=100_000)
    await control(task.source, "forget")
    names = []
    async with _client(task.source) as client:
        async for name in client.registry(task.source).repositories():
            names.append(name)
            if len(names) == 10:
                break
    requests = (await control(task.source, "state"))["requests"]
    right = names == [f"r{number:06}" for number in range(10)]
    return [Finding("requests", requests, 2), Finding("the first ten names are right", right, 1, at_least=True)]


async def l04(task: Task) -> list[Finding]:
    """List millions of tags, and very many pages."""
    pages, tiny = (5, 300) if task.quick else (2000, 100_000)
    async with _client(task.source) as client:
        repository = client.repository(f"{task.source}/{NAME}")
        large = await _listed(task, repository, pages=pages, count=10_000)
        paged = await _paged(task, repository, pages=pages, count=10_000)
        small = await _listed(task, repository, pages=tiny, count=1)
    # What it costs to understand the same bytes and do nothing else.
    body = tags_page(7, 10_000)
    rounds = 20 if task.quick else 200
    started = time.process_time()
    for _ in range(rounds):
        json.loads(body)
    bare = (time.process_time() - started) / rounds
    return [
        Finding("tags missing, of all", large[0] + small[0] + paged[0], 0),
        Finding("RSS growth, large pages", large[1], 24, "MiB"),
        Finding("RSS growth, small pages", small[1], 24, "MiB"),
        Finding("RSS slope, small pages", small[2], None if task.quick else 1, "KiB/page"),
        Finding("CPU time of json.loads alone / of the list", bare * pages / large[3], 0.6, at_least=True, timed=True),
        Finding("the same, page by page", bare * pages / paged[1], timed=True),
        Finding("noticing loops and repeated tags, of the list", 100 * _guard() * pages / large[3], 5, "%", timed=True),
        Finding("tags per second of CPU time", pages * 10_000 / large[3], unit="/s", timed=True),
        Finding("tags per second of CPU time, page by page", pages * 10_000 / paged[1], unit="/s", timed=True),
        Finding("small pages per second of CPU time", tiny / small[3], unit="/s", timed=True),
    ]


async def _listed(task: Task, repository: Repository, *, pages: int, count: int) -> tuple[int, float, float, float]:
    """Return how many tags were missing, how much memory grew in MiB, in KiB for each page, and the CPU time."""
    await control(task.source, "set", pages=pages, names=count)
    seen, warm = 0, 0.0
    with Growth() as growth:
        started = time.process_time()
        async for _ in repository.tags.list():
            seen += 1
            if seen == count * (pages // 10):
                warm = resident()
        cpu = time.process_time() - started
        slope = max(0.0, resident() - warm) * 1024 / (pages * 0.9)
    return pages * count - seen, growth.mib, slope, cpu


async def _paged(task: Task, repository: Repository, *, pages: int, count: int) -> tuple[int, float]:
    """Return how many tags were missing, and the CPU time, of a list that is taken page by page."""
    await control(task.source, "set", pages=pages, names=count)
    seen, started = 0, time.process_time()
    async for page in repository.tags.list().pages():
        seen += len(page.items)
    return pages * count - seen, time.process_time() - started


def _guard() -> float:
    """Return the CPU time that it takes to see that a page of 10,000 tags is a new one."""
    url, pages = (
        f"http://127.0.0.1/v2/{NAME}/tags/list",
        [parse_page(tags_page(at, 10_000), "tags") for at in range(50)],
    )
    pager, started = Pager(), time.process_time()
    for number, page in enumerate(pages):
        pager.feed(page, links=[f'<{url}?page={number + 1}>; rel="next"'], url=f"{url}?page={number}")
    return (time.process_time() - started) / len(pages)


async def l06(task: Task) -> list[Finding]:
    """List the referrers of one image; attach many at once where there is no API for that."""
    count = 500 if task.quick else _REFERRERS
    entries = [_entry(number) for number in range(count)]
    findings = []
    for kind in ("in one answer", "on pages"):
        step = count if kind == "in one answer" else _ON_A_PAGE
        for first in range(0, count, step):
            await _serve(task, first, entries, step)
        async with _client(task.source) as client:
            repository = client.repository(f"{task.source}/{NAME}")
            for artifact_type in (None, _WANTED):
                with Growth() as growth:
                    started = time.perf_counter()
                    found = await repository.referrers(_SUBJECT, artifact_type=artifact_type).collect()
                    seconds = time.perf_counter() - started
                wanted = count if artifact_type is None else count // 2
                what = f"{kind}, {'filtered' if artifact_type else 'all'}"
                findings += [
                    Finding(f"{what}: missing", wanted - len(found), 0),
                    Finding(f"{what}: RSS growth", growth.mib, 32, "MiB"),
                    Finding(f"{what}: time", seconds, 2, "s", timed=True),
                ]
    if task.registry:
        findings.append(Finding("attached at once without an API, and lost", await _attached(task), 0))
    return findings


def _entry(number: int) -> dict[str, object]:
    return {
        "mediaType": _MANIFEST,
        "digest": f"sha256:{number:064x}",
        "size": 1000 + number,
        "artifactType": _WANTED if number % 2 else "application/vnd.example.other",
        "annotations": {"org.opencontainers.image.title": f"referrer {number}", "note": "x" * 100},
    }


async def _serve(task: Task, first: int, entries: list[dict[str, object]], step: int) -> None:
    """Put one page in its place, with a link to the next one."""
    path, page = f"/v2/{NAME}/referrers/{_SUBJECT}", first // step
    more = f"{path}?page={page + 1}" if first + step < len(entries) else ""
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries[first : first + step]}
    await control(task.source, "list", json.dumps(index).encode(), path=path, page=page, type=_INDEX, more=more)


async def _attached(task: Task) -> int:
    """Return how many referrers are lost of those attached at once to an image of a registry without the API."""
    count = 10 if task.quick else 50
    async with _client(task.registry) as client:
        repository = client.repository(f"{task.registry}/load/attached")
        config = await repository.blobs.push(b"{}")
        image = await repository.manifests.push(build_image(config, []), tags=["v1"])
        subject = await repository.manifests.stat("v1")
        async with anyio.create_task_group() as group:
            for number in range(count):
                attach = partial(repository.attach, subject, artifact_type=_WANTED, annotations={"n": f"{number}"})
                group.start_soon(attach)
        found = await repository.referrers(image.descriptor.digest).collect()
    return count - len(found)
