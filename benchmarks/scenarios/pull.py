"""One large blob to a file, from nginx over http and TLS, and from docker-registry."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.content import Tree, Uploader, make_blob, make_config, make_image
from benchmarks.job import Job, check
from benchmarks.plan import RAW, Contender, Scenario, on_all_loops
from benchmarks.servers import docker_registry, nginx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from benchmarks.plan import Bench

_NAME = "bench/blob"


@contextmanager
def scenarios(bench: Bench) -> Iterator[list[Scenario]]:
    """Start the servers and return the scenarios."""
    home = bench.folder("pull")
    image = make_image(make_config(home / "config"), make_blob(home / "blob", bench.options.size))
    small, blob = image.blobs

    def job(host: str, ca: str = "") -> Callable[[], AbstractContextManager[Job]]:
        @contextmanager
        def fresh() -> Iterator[Job]:
            out = bench.folder("pulled")
            yield Job(
                host,
                _NAME,
                digest=blob.digest,
                size=blob.size,
                path=str(out / "blob"),
                small=small.digest,
                small_size=small.size,
                small_path=str(out / "small"),
                ca=ca,
            )
            _check(out, blob.digest, blob.size)

        return fresh

    def scenario(key: str, where: str, fresh: Callable[[], AbstractContextManager[Job]]) -> Scenario:
        rounds = bench.rounds(narrow=key == "pull-nginx")
        title = f"Pull {bench.options.size >> 20} MiB to a file, from {where}"
        return Scenario(
            key=key,
            title=title,
            kind="transfer",
            contenders=_contenders(bench),
            fresh=fresh,
            rounds=rounds,
            scratch=blob.size,
        )

    with ExitStack() as stack:
        made = []
        with bench.optional():
            tree = Tree(home / "tree")
            tree.add(_NAME, "latest", image)
            served = stack.enter_context(nginx(home / "nginx", tree.root, tree.digests))
            made.append(scenario("pull-nginx", "nginx", job(served.host)))
            made.append(scenario("pull-tls", "nginx over TLS 1.3", job(served.tls_host, str(served.ca))))
        with bench.optional():
            host = stack.enter_context(docker_registry(home / "registry"))
            Uploader(host).add(_NAME, "latest", image)
            made.append(scenario("pull-registry", "docker-registry", job(host)))
        yield made


def _contenders(bench: Bench) -> tuple[Contender, ...]:
    return (
        Contender(name=RAW, entry="raw:pull"),
        Contender(name="httpx", entry="httpx_client:pull"),
        Contender(name="aiohttp", entry="aiohttp_client:pull"),
        *on_all_loops("pull"),
        *bench.with_skopeo(_skopeo),
        Contender(name="oras-py", entry="oras_client:pull", note="sha256 is not checked"),
        Contender(name="python-dxf", entry="dxf_client:pull"),
        Contender(name="docker-registry-client-async", entry="drca_client:pull"),
    )


def _skopeo(path: str, job: Job) -> list[list[str]]:
    trust = f"--src-cert-dir={Path(job.ca).parent}" if job.ca else "--src-tls-verify=false"
    target = Path(job.path).with_name("image")
    return [[path, "copy", "--insecure-policy", trust, f"docker://{job.host}/{job.name}:latest", f"dir:{target}"]]


def _check(out: Path, digest: str, size: int) -> None:
    (found,) = (path for path in out.rglob("*") if path.is_file() and path.stat().st_size == size)
    with found.open("rb") as file:
        check(hashlib.file_digest(file, "sha256").hexdigest(), digest)
