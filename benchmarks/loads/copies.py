"""L01 and L15: very many repositories are copied; and everything goes on for a long time."""

from __future__ import annotations

import os
import time
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from benchmarks.contenders.on_anyio import share
from benchmarks.loads.findings import Finding, Growth, control, resident
from benchmarks.loads.images import TAGS, Images, name_of
from benchmarks.servers import requests_at
from ocidist import Client, Copier, CopyOptions, HostConfig, HostLimits, RetryPolicy, open_place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.loads.findings import Task

_AT_ONCE = 64
_RATE = 200
_SOAK_S = 600.0
_SOAKED_IMAGES = 20


def _client(*hosts: str) -> Client:
    return Client(
        hosts={host: HostConfig(scheme="http") for host in hosts},
        credentials={},
        limits=HostLimits(concurrency=_AT_ONCE),
    )


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- as cheap as it can be: it is asked all the time


class _Most:
    """How many files are open at the most."""

    def __init__(self) -> None:
        self.files = 0

    async def watch(self) -> None:
        while True:
            self.files = max(self.files, _open_files())
            await anyio.sleep(0.05)


async def _copied(client: Client, copier: Copier, task: Task, image: tuple[int, str]) -> None:
    name, tag = name_of(image[0]), image[1]
    async with (
        open_place(f"{task.source}/{name}:{tag}", client=client) as source,
        open_place(f"{task.registry}/{name}:{tag}", client=client) as destination,
    ):
        await copier.copy(source, destination)


async def l01(task: Task) -> list[Finding]:
    """Copy three images of each of a thousand repositories, 64 at a time."""
    count, at_once = (6, 8) if task.quick else (1000, _AT_ONCE)
    made = Images(count)
    await control(task.source, "set", repositories=count)
    log = Path(task.folder).parent / "registry"
    before = (await control(task.source, "state"))["requests"] + requests_at(log)
    wanted = [(number, tag) for number in range(count) for tag in TAGS]
    most = _Most()
    async with _client(task.source, task.registry) as client, anyio.create_task_group() as group:
        # What is imported late is no growth.
        await _copied(client, Copier(), task, wanted[0])
        warm = (await control(task.source, "state"))["requests"] + requests_at(log) - before
        group.start_soon(most.watch)
        copier = Copier(options=CopyOptions(at_once=at_once))
        with Growth() as growth:
            started = time.perf_counter()
            await share(partial(_copied, client, copier, task), wanted[1:], at_once)
            seconds = time.perf_counter() - started
        after = (await control(task.source, "state"))["requests"] + requests_at(log)
        group.cancel_scope.cancel()
    different: list[tuple[int, str]] = []

    async def compare(image: tuple[int, str]) -> None:
        manifest = made.manifest(name_of(image[0]), image[1])
        found = await client.repository(f"{task.registry}/{name_of(image[0])}").manifests.get(image[1])
        if manifest is None or found.data != manifest[1]:
            different.append(image)

    async with _client(task.registry) as client:
        await share(compare, wanted, 16)
    return [
        Finding("images that are not the same", len(different), 0),
        Finding("RSS growth", growth.mib, 64, "MiB"),
        Finding("open files, at the most", most.files, 2 * _AT_ONCE + 20),
        Finding(
            "requests / as few as possible",
            (after - before - warm) / (made.least() - _FIRST),
            1.3 if task.quick else 1.15,
        ),
        Finding("time", seconds, 120, "s", timed=True),
        Finding("images per second", len(wanted) / seconds, unit="/s", timed=True),
    ]


_FIRST = 2 + 3 * 4
"""Requests for the image that is copied before the clock starts."""


async def l15(task: Task) -> list[Finding]:
    """Read, list, write and copy, 200 times a second, for ten minutes."""
    seconds = 1.5 if task.quick else _SOAK_S
    await control(task.source, "set", repositories=_SOAKED_IMAGES, pages=3, names=100)
    samples: list[tuple[float, float, int]] = []
    begun, done, failed = 0, 0, 0
    limiter = anyio.CapacityLimiter(_AT_ONCE)
    retry = RetryPolicy(attempts=3)
    hosts = {host: HostConfig(scheme="http") for host in (task.source, task.registry)}
    async with Client(hosts=hosts, credentials={}, retry=retry) as client:
        kinds = cycle(_kinds(client, task))

        async def one(work: Callable[[], Awaitable[object]]) -> None:
            nonlocal done, failed
            async with limiter:
                try:
                    await work()
                except Exception:  # noqa: BLE001 -- counted, and the rest goes on
                    failed += 1
            done += 1

        started = time.perf_counter()
        async with anyio.create_task_group() as group:
            due = 0
            while (now := time.perf_counter() - started) < seconds:
                while due < now * _RATE:
                    due += 1
                    # A machine that is too busy leaves some out: a queue would be memory of its own.
                    if begun - done < 2 * _AT_ONCE:
                        group.start_soon(one, next(kinds))
                        begun += 1
                if not samples or now - samples[-1][0] > seconds / 300:
                    samples.append((now, resident(), _open_files()))
                await anyio.sleep(0.02)
    late = [sample for sample in samples if sample[0] > seconds / 3]
    files = [sample[2] for sample in late]
    return [
        Finding("operations that failed", failed, 0),
        Finding("RSS slope after a third of the time", _slope(late), None if task.quick else 2, "MiB/h"),
        Finding("RSS growth in that time", late[-1][1] - late[0][1], None if task.quick else 1, "MiB"),
        Finding("open files, most over least", max(files) - min(files), 2 * _AT_ONCE),
        Finding("operations per second", done / seconds, unit="/s", timed=True),
    ]


def _kinds(client: Client, task: Task) -> list[Callable[[], Awaitable[object]]]:
    numbers, turns = cycle(range(_SOAKED_IMAGES)), cycle(range(1_000_000_000))
    here = [client.repository(f"{task.source}/{name_of(number)}") for number in range(_SOAKED_IMAGES)]
    listed = client.repository(f"{task.source}/load/app")

    async def get() -> None:
        await here[next(numbers)].manifests.get("v1")

    async def pull() -> None:
        repository = here[next(numbers)]
        image = await repository.manifests.get("v2")
        await repository.blobs.get(image.references[-1])

    async def tags() -> None:
        await listed.tags.list().collect()

    async def push() -> None:
        await client.repository(f"{task.registry}/soak/pushed").blobs.push(b"%d" % (next(turns) % 1000) * 1000)

    async def copied() -> None:
        # A job of its own, as from the command line.
        await _copied(client, Copier(), task, (next(numbers), TAGS[next(turns) % len(TAGS)]))

    async def missing() -> None:
        await here[next(numbers)].manifests.exists("nothing")

    return [get, pull, tags, push, get, copied, missing, get]


def _slope(samples: list[tuple[float, float, int]]) -> float:
    """Return by how many MiB an hour memory grew: the slope of the straight line through the samples."""
    count = len(samples)
    mean_time, mean_size = (sum(one[which] for one in samples) / count for which in (0, 1))
    over = sum((at - mean_time) * (size - mean_size) for at, size, _ in samples)
    under = sum((at - mean_time) ** 2 for at, _, _ in samples)
    return 3600 * over / under if under else 0.0
