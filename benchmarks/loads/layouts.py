"""L16: a layout with a hundred thousand blobs and ten thousand tags."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import anyio

from benchmarks.loads.findings import Finding, Growth, resident
from ocidist import Layout

if TYPE_CHECKING:
    from benchmarks.loads.findings import Task

_LAYERS = 4
_OLD_S = 3 * 24 * 3600
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = "application/vnd.oci.image.config.v1+json"


def _make(path: Path, blobs: int, tags: int) -> None:
    """Make a layout: images with a tag each, and as much again that nothing leads to."""
    folder = path / "blobs" / "sha256"
    folder.mkdir(parents=True)
    old = time.time() - _OLD_S

    def add(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (folder / digest).write_bytes(data)
        os.utime(folder / digest, (old, old))
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    config, entries, count = add(b"{}", _CONFIG), [], 1
    for number in range(tags):
        layers = [add(f"layer {number} {layer}".encode(), _LAYER) for layer in range(_LAYERS)]
        value = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": layers}
        entry = add(json.dumps(value).encode(), _MANIFEST)
        entries.append({**entry, "annotations": {"org.opencontainers.image.ref.name": f"v{number}"}})
        count += _LAYERS + 1
    for number in range(count, blobs):
        add(f"garbage {number}".encode(), _LAYER)
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))


async def l16(task: Task) -> list[Finding]:
    """Open a layout, set tags in it, collect its garbage and look it over."""
    blobs, tags, times = (2000, 200, 10) if task.quick else (100_000, 10_000, 100)
    path = Path(task.folder, "layout")
    await anyio.to_thread.run_sync(_make, path, blobs, tags)
    layout = Layout(path)
    started = time.perf_counter()
    await layout.tags.list().collect(limit=10)
    opened = time.perf_counter() - started
    digest = (await layout.tags.stat("v5")).digest
    took = []
    for number in range(times):
        started = time.perf_counter()
        await layout.tags.set(f"new-{number}", digest)
        took.append(1000 * (time.perf_counter() - started))
    started = time.perf_counter()
    await layout.referrers(digest).collect()
    listed = time.perf_counter() - started
    started = time.perf_counter()
    with Growth() as growth:
        collected = await layout.gc()
    seconds = time.perf_counter() - started
    peak = resident()
    with Growth() as looking:
        report = await layout.fsck()
    missing = blobs - (1 + (_LAYERS + 1) * tags) - collected.removed
    return [
        Finding("blobs of garbage that are left, problems that fsck tells", missing + len(report.problems), 0),
        Finding("open, and list the first tags", opened, 1, "s", timed=True),
        Finding("set a tag, flushed to the disk", median(took), 50, "ms", timed=True),
        Finding("set a tag, the slowest", max(took), unit="ms", timed=True),
        Finding("first list of referrers: each manifest is read", listed, unit="s", timed=True),
        Finding("RSS of the process after gc", peak, 64, "MiB"),
        Finding("RSS growth during gc", growth.mib, 64, "MiB"),
        Finding("gc", seconds, unit="s", timed=True),
        Finding("RSS growth during fsck", looking.mib, 16, "MiB"),
    ]
