"""L17: many clients push at once to the embedded registry over a directory. It runs on asyncio, as uvicorn does."""

from __future__ import annotations

import hashlib
import http.client
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from benchmarks.loads.findings import Finding
from benchmarks.loads.source import BLOCK, MIB
from ocidist.storage.layout import LayoutRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.loads.findings import Task

_PUSHERS = 64
_TIMEOUT_S = 600


def l17(task: Task) -> list[Finding]:
    """Push a blob of its own with each of 64 clients, all at once, and read all of them again."""
    size = (2 if task.quick else 100) * MIB
    digests = [_digest(number, size) for number in range(_PUSHERS)]
    folder = Path(task.folder) / "registry"
    with _registry(folder) as (server, address), ThreadPoolExecutor(_PUSHERS) as threads:
        before = _memory(server.pid, "VmRSS")
        started = time.perf_counter()
        pushed = list(threads.map(lambda number: _push(address, number, digests[number], size), range(_PUSHERS)))
        took = time.perf_counter() - started
        peak = _memory(server.pid, "VmHWM")
        served = list(threads.map(lambda number: _pull(address, number, digests[number]), range(_PUSHERS)))
        both = _memory(server.pid, "VmHWM")
    found = anyio.run(LayoutRegistry(folder).fsck)
    clean = sum(report.clean for report in found.values())
    return [
        Finding("pushes that failed", _PUSHERS - sum(pushed), 0),
        Finding("repositories that are not clean afterwards", _PUSHERS - clean, 0),
        Finding("blobs that were served wrong", _PUSHERS - sum(served), 0),
        Finding("RSS of the registry while it takes them", peak, 128, "MiB"),
        Finding("RSS of the registry, with 64 who pull at once", both, 128, "MiB"),
        Finding("RSS of the registry before", before, unit="MiB"),
        Finding("rate of all pushes together", _PUSHERS * size / MIB / took, unit="MiB/s"),
    ]


@contextmanager
def _registry(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "ocidist.server", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        # This process is on one core; the server has the others.
        if (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(process.pid, set(range(1, os.cpu_count() or 1)))
        try:
            line = next(iter(process.stdout or ()))
            yield process, line.split()[-1].rpartition("/")[2]
        finally:
            process.terminate()


def _memory(process: int, what: str) -> float:
    """Return a figure of a process's memory in MiB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition(f"{what}:")[2].split()[0]) / 1024


def _pieces(number: int, size: int) -> Iterator[bytes]:
    """Yield a blob that only this pusher has."""
    yield number.to_bytes(MIB, "big")
    for _ in range(size // MIB - 1):
        yield BLOCK


def _digest(number: int, size: int) -> str:
    hasher = hashlib.sha256()
    for piece in _pieces(number, size):
        hasher.update(piece)
    return f"sha256:{hasher.hexdigest()}"


def _push(address: str, number: int, digest: str, size: int) -> bool:
    connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_S)
    connection.request("POST", f"/v2/load/app{number}/blobs/uploads/", headers={"Content-Length": "0"})
    opened = connection.getresponse()
    opened.read()
    target = f"{opened.headers['Location']}?digest={digest}"
    connection.request("PUT", target, _pieces(number, size), {"Content-Length": str(size)})
    closed = connection.getresponse()
    closed.read()
    connection.close()
    return closed.status == http.client.CREATED


def _pull(address: str, number: int, digest: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_S)
    connection.request("GET", f"/v2/load/app{number}/blobs/{digest}")
    answer = connection.getresponse()
    hasher = hashlib.sha256()
    while piece := answer.read(MIB):
        hasher.update(piece)
    connection.close()
    return f"sha256:{hasher.hexdigest()}" == digest
