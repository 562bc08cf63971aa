"""Many images that share layers, from one docker-registry to another that is empty."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.content import Uploader, head, make_blob, make_config, make_image
from benchmarks.job import Job
from benchmarks.plan import Contender, Scenario, on_all_loops
from benchmarks.servers import docker_registry, program, requests_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.content import Blob, Image
    from benchmarks.plan import Bench

_LAYERS = 3
"""Layers that all images have, and as many that each has for itself."""
_CONCURRENCY = 8
SYNC = "skopeo sync"


@contextmanager
def scenarios(bench: Bench) -> Iterator[list[Scenario]]:
    """Start and fill the registry, and return the scenario."""
    with bench.optional():
        program("docker-registry", "docker-registry")
        source = bench.folder("mirror") / "source"
        with docker_registry(source, counted=True) as host:
            yield [_scenario(bench, host, source)]
        return
    yield []


def _scenario(bench: Bench, host: str, source: Path) -> Scenario:
    images = _images(bench)
    uploader = Uploader(host)
    for name, image in images.items():
        uploader.add(name, "latest", image)
    names = tuple(images)
    # The registry has its own copies.
    bench.folder("images")
    home = bench.folder("copied")
    lists = home / "images.yml"

    @contextmanager
    def fresh() -> Iterator[Job]:
        with docker_registry(home / "registry", counted=True) as target:
            wanted: dict[str, list[str]] = {name: ["latest"] for name in names}
            listed = {host: {"images": wanted, "tls-verify": False}}
            lists.write_text(json.dumps(listed), encoding="ascii")  # JSON is YAML
            yield Job(host, names[0], target=target, names=names, concurrency=_CONCURRENCY)
            # The registry refuses manifests whose blobs it does not have.
            missing = [name for name in names if head(target, f"/v2/{name}/manifests/latest") < 0]
            if missing:
                raise RuntimeError(f"not copied: {missing}")

    def sync(path: str, job: Job) -> list[list[str]]:
        options = ["--insecure-policy", "--src", "yaml", "--dest", "docker", "--dest-tls-verify=false"]
        return [[path, "sync", *options, str(lists), f"{job.target}/{job.names[0].partition('/')[0]}"]]

    blobs = {blob.digest: blob.size for image in images.values() for blob in image.blobs}
    all_layers = sum(len(image.blobs) for image in images.values())
    title = (
        f"Copy {len(names)} images between docker-registries: {len(blobs)} blobs of {sum(blobs.values()) >> 20} MiB,"
        f" and {all_layers - len(blobs)} more that are the same"
    )
    contenders = (
        Contender(name="httpx", entry="httpx_client:copy"),
        Contender(name="aiohttp", entry="aiohttp_client:copy"),
        *on_all_loops("copy"),
        *bench.with_skopeo(sync, SYNC),
        *bench.with_skopeo(_copy, "skopeo copy"),
    )
    return Scenario(
        key="mirror",
        title=title,
        kind="transfer",
        contenders=contenders,
        fresh=fresh,
        rounds=bench.rounds(),
        scratch=sum(blobs.values()),
        requests=lambda: requests_at(source) + requests_at(home / "registry"),
        # To read and to write a manifest; to read a blob, to begin and to end sending it; to mount another.
        least=2 * len(names) + 3 * len(blobs) + all_layers - len(blobs),
    )


def _images(bench: Bench) -> dict[str, Image]:
    folder = bench.folder("images")
    size = bench.options.layer
    shared = [make_blob(folder / f"shared-{number}", size) for number in range(_LAYERS)]
    return {name: _image(folder, name, shared, size) for name in (f"mir/i{n:02}" for n in range(bench.options.images))}


def _image(folder: Path, name: str, shared: list[Blob], size: int) -> Image:
    prefix = name.replace("/", "-")
    own = [make_blob(folder / f"{prefix}-{number}", size) for number in range(_LAYERS)]
    return make_image(make_config(folder / f"{prefix}-config"), *shared, *own)


def _copy(path: str, job: Job) -> list[list[str]]:
    options = ["--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"]
    return [
        [path, "copy", *options, f"docker://{job.host}/{name}:latest", f"docker://{job.target}/{name}:latest"]
        for name in job.names
    ]
