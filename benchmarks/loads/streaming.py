"""L02 and L14: one large blob from registry to registry, over breaking connections, and while others want the loop."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import bcrypt
import httpx

from benchmarks.job import OCTETS, check
from benchmarks.loads.findings import Finding, Growth, Lag, control, within_ms
from benchmarks.loads.source import MIB, NAME, digest_of
from ocidist import Client, CredentialHelper, Descriptor, Event, HostConfig, TransferResumed
from ocidist.issuer import Htpasswd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.loads.findings import Task

_CUTS = 100
# What is lost of a chunk is sent again: small ones make that little.
_CHUNK = 4 * MIB
_HELPER = """#!/bin/sh
read server
echo '{"Username": "somebody", "Secret": "for benchmarks"}'
"""


async def _known(task: Task, size: int) -> Descriptor:
    digest = await anyio.to_thread.run_sync(digest_of, size)
    for host in (task.source, task.target):
        await control(host, "blob", digest=digest, size=size, stored=host == task.source)
    return Descriptor(OCTETS, digest, size)


def _client(task: Task, **options: Any) -> Client:  # noqa: ANN401 -- the client's own
    hosts = {host: HostConfig(scheme="http") for host in (task.source, task.target)}
    return Client(hosts=hosts, credentials={}, **options)


async def _copy(client: Client, task: Task, blob: Descriptor, chunk_size: int | None = None) -> float:
    source, target = (client.repository(f"{host}/{NAME}").blobs for host in (task.source, task.target))
    started = time.perf_counter()
    async with source.open(blob) as reader:
        await target.push(reader, blob, check_exists=False, chunk_size=chunk_size)
    return time.perf_counter() - started


async def _bare(task: Task, blob: Descriptor) -> float:
    """Do the same with httpx as it comes."""
    hasher = hashlib.sha256()

    async def hashed(answer: httpx.Response) -> AsyncIterator[bytes]:
        async for piece in answer.aiter_raw():
            hasher.update(piece)
            yield piece

    started = time.perf_counter()
    async with httpx.AsyncClient(timeout=60) as client:
        opened = await client.post(f"http://{task.target}/v2/{NAME}/blobs/uploads/")
        place = f"http://{task.target}{opened.headers['Location']}?digest={blob.digest}"
        async with client.stream("GET", f"http://{task.source}/v2/{NAME}/blobs/{blob.digest}") as answer:
            headers = {"Content-Length": str(blob.size)}
            (await client.put(place, content=hashed(answer), headers=headers)).raise_for_status()
    check(hasher.hexdigest(), str(blob.digest))
    return time.perf_counter() - started


async def _counts(task: Task) -> tuple[dict[str, Any], dict[str, Any]]:
    return await control(task.source, "state"), await control(task.target, "state")


async def _forget(task: Task, **knobs: object) -> None:
    for host in (task.source, task.target):
        await control(host, "forget")
        await control(host, "set", b"", **({"cut_down": 0, "cut_up": 0, "how": "fin"} | knobs))


async def l02(task: Task) -> list[Finding]:
    """Copy a blob of 10 GiB; then again, while one connection after the other breaks."""
    size = (48 if task.quick else 10 * 1024) * MIB
    blob, small = await _known(task, size), await _known(task, 32 * MIB)
    await _forget(task)
    resumed: list[Event] = []
    async with _client(task, hooks=[resumed.append]) as client:
        await _copy(client, task, small)
        await _forget(task)
        with Growth() as growth:
            took = await _copy(client, task, blob)
        down, up = await _counts(task)
        wrong = up["wrong"] + up["open"] + (up["finished"] != 1) + (down["sent"] != size) + (up["received"] != size)
        cuts = {how: await _with_cuts(client, task, blob, how) for how in ("fin", "rst")}
    await _forget(task)
    bare = await _bare(task, blob)
    told = sum(isinstance(event, TransferResumed) for event in resumed)
    return [
        Finding("bytes that went wrong, sessions left", wrong, 0),
        Finding("RSS growth", growth.mib, 16, "MiB"),
        Finding("throughput / httpx + sha256", bare / took, 0.7, at_least=True, timed=True),
        Finding("throughput", size / MIB / took, unit="MiB/s", timed=True),
        *(finding for found in cuts.values() for finding in found),
        Finding("resumptions that hooks were told of, in both", told, 2, at_least=True),
    ]


async def _with_cuts(client: Client, task: Task, blob: Descriptor, how: str) -> list[Finding]:
    cuts = 8 if task.quick else _CUTS
    every = blob.size * 2 // cuts
    await _forget(task, cut_down=every, cut_up=every, how=how)
    with Growth() as growth:
        await _copy(client, task, blob, _CHUNK)
    down, up = await _counts(task)
    again = down["sent"] + up["received"] - 2 * blob.size
    # A part of the blob is sent or it is not: a small one is too small to say what of a large one is sent twice.
    share = 100 * again / (2 * blob.size)
    ends = "FIN" if how == "fin" else "RST, what is under way is lost"
    return [
        Finding(f"cuts survived ({ends})", down["cuts"] + up["cuts"], cuts - 2, at_least=True),
        Finding(f"wrong or left ({ends})", up["wrong"] + up["open"] + (up["finished"] != 1), 0),
        Finding(f"sent again ({ends})", share, None if task.quick else 1, "%", timed=True),
        Finding(f"RSS growth ({ends}; one chunk of 4 MiB)", growth.mib, 16, "MiB"),
    ]


async def l14(task: Task) -> list[Finding]:
    """Copy a blob while helpers are run and passwords are checked, and see how late a task wakes."""
    size = (64 if task.quick else 10 * 1024) * MIB
    blob = await _known(task, size)
    await _forget(task)
    folder = Path(task.folder)
    helper = folder / "docker-credential-load"
    helper.write_text(_HELPER, encoding="ascii")
    helper.chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    hashed = bcrypt.hashpw(b"for benchmarks", bcrypt.gensalt(10)).decode()
    (folder / "htpasswd").write_text(f"somebody:{hashed}\n", encoding="ascii")
    users = Htpasswd(folder / "htpasswd")
    asked = checked = 0

    async def ask() -> None:
        nonlocal asked
        while True:
            found = await CredentialHelper("load").get("registry.example")
            asked += found is not None
            await anyio.sleep(0.1)

    async def hash_passwords() -> None:
        nonlocal checked
        while True:
            # A wrong one each time, or it would be remembered.
            checked += not await users.check("somebody", f"wrong {checked}")
            await anyio.sleep(0.1)

    idle, busy = Lag(), Lag()
    with anyio.move_on_after(0.3 if task.quick else 10):
        await idle.watch()
    async with _client(task) as client, anyio.create_task_group() as group:
        for work in (busy.watch, ask, hash_passwords):
            group.start_soon(work)
        await _copy(client, task, blob)
        await anyio.sleep(0.3)
        group.cancel_scope.cancel()
    return [
        Finding("helpers that answered, passwords hashed", min(asked, checked), 1, at_least=True),
        Finding("computed by the loop's thread from tick to tick, 99.9 %", within_ms(busy.computed, 0.999), 50, "ms"),
        Finding("the most that was computed from tick to tick", within_ms(busy.computed, 1), 200, "ms"),
        Finding("lag, 99.9 % of the ticks", within_ms(busy.seconds, 0.999), 50, "ms", timed=True),
        Finding("longest lag", within_ms(busy.seconds, 1), 200, "ms", timed=True),
        Finding("lag while nothing is done, 99.9 %", within_ms(idle.seconds, 0.999), unit="ms", timed=True),
        Finding("longest lag while nothing is done", within_ms(idle.seconds, 1), unit="ms", timed=True),
    ]
