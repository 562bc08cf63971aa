"""Many manifests, each asked for once, from nginx and from docker-registry."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING

from benchmarks.content import Tree, Uploader, make_blob, make_config, make_image
from benchmarks.job import Job
from benchmarks.plan import RAW, STREAMS, Contender, Scenario, on_all_loops
from benchmarks.servers import docker_registry, nginx

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.plan import Bench

CONCURRENCIES = (1, 64)
_NAME = "bench/small"
_WARM = 2
"""Requests of each task before the clock starts."""
# docker-registry is what limits everybody, so fewer requests tell as much.
_REGISTRY_REQUESTS = 500
_SKOPEO_RUNS = 20


@contextmanager
def scenarios(bench: Bench) -> Iterator[list[Scenario]]:
    """Start the servers and return the scenarios."""
    home = bench.folder("small")
    config, layer = make_config(home / "config"), make_blob(home / "layer", 1024)
    # Nobody asks for the same one twice: what remembers URLs must not win by that.
    tags = [f"t{number:05}" for number in range(_WARM * max(CONCURRENCIES) + bench.options.requests)]
    images = {tag: make_image(config, layer, title=tag) for tag in tags}

    def scenario(key: str, where: str, host: str, concurrency: int, count: int) -> Scenario:
        warm = _WARM * concurrency
        job = Job(host, _NAME, tags=tuple(tags[: warm + count]), warm=warm, concurrency=concurrency)
        together = f"{concurrency} at a time" if concurrency > 1 else "one after the other"
        return Scenario(
            key=f"{key}-{concurrency}",
            title=f"GET {count} manifests of {len(images[tags[0]].data)} bytes from {where}, {together}",
            kind="requests",
            contenders=_contenders(bench, concurrency),
            fresh=lambda: nullcontext(job),
            rounds=bench.rounds(narrow=key == "small-nginx"),
        )

    with ExitStack() as stack:
        made = []
        with bench.optional():
            tree = Tree(home / "tree")
            for tag, image in images.items():
                tree.add(_NAME, tag, image)
            host = stack.enter_context(nginx(home / "nginx", tree.root, tree.digests)).host
            made += [scenario("small-nginx", "nginx", host, n, bench.options.requests) for n in CONCURRENCIES]
        with bench.optional():
            host = stack.enter_context(docker_registry(home / "registry"))
            count = min(_REGISTRY_REQUESTS, bench.options.requests)
            uploader = Uploader(host)
            for tag in tags[: _WARM * max(CONCURRENCIES) + count]:
                uploader.add(_NAME, tag, images[tag])
            made += [scenario("small-registry", "docker-registry", host, n, count) for n in CONCURRENCIES]
        yield made


def _contenders(bench: Bench, concurrency: int) -> tuple[Contender, ...]:
    alone = concurrency == 1
    threads = "" if alone else f"; {concurrency} threads, each with a client"
    return (
        *([Contender(name=RAW, entry="raw:small")] if alone else []),
        Contender(name=STREAMS["asyncio"], entry="raw_streams:small"),
        Contender(name=STREAMS["trio"], entry="raw_streams:small", loop="trio"),
        Contender(name="aiohttp", entry="aiohttp_client:small"),
        Contender(name="httpx", entry="httpx_client:small"),
        Contender(name="httpx (trio)", entry="httpx_client:small", loop="trio"),
        *on_all_loops("small"),
        *(bench.with_skopeo(_skopeo) if alone else []),
        Contender(name="oras-py", entry="oras_client:small", note=f"sha256 is not checked{threads}"),
        Contender(name="python-dxf", entry="dxf_client:small", note=threads.removeprefix("; ")),
        Contender(name="docker-registry-client-async", entry="drca_client:small"),
    )


def _skopeo(path: str, job: Job) -> list[list[str]]:
    tags = job.tags[job.warm :][:_SKOPEO_RUNS]
    return [[path, "inspect", "--raw", "--tls-verify=false", f"docker://{job.host}/{job.name}:{tag}"] for tag in tags]
