"""One large file to a server that throws everything away, and to docker-registry."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING

from benchmarks.content import head, make_blob, make_config, make_image
from benchmarks.job import Job
from benchmarks.plan import RAW, Contender, Scenario, on_all_loops
from benchmarks.servers import docker_registry, program, sink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from benchmarks.content import Image
    from benchmarks.plan import Bench

KNOWN = ", digest known"
_NAME = "bench/blob"


@contextmanager
def scenarios(bench: Bench) -> Iterator[list[Scenario]]:
    """Start the servers and return the scenarios."""
    home = bench.folder("push")
    image = make_image(make_config(home / "config"), make_blob(home / "blob", bench.options.size))
    small, blob = image.blobs
    layout = _layout(home / "layout", image)

    def job(host: str) -> Job:
        return Job(
            host,
            _NAME,
            digest=blob.digest,
            size=blob.size,
            path=str(blob.path),
            small=small.digest,
            small_size=small.size,
            small_path=str(small.path),
        )

    @contextmanager
    def to_registry() -> Iterator[Job]:
        with docker_registry(home / "registry") as host:
            yield job(host)
            if head(host, f"/v2/{_NAME}/blobs/{blob.digest}") != blob.size:
                raise RuntimeError("the registry does not have the blob")

    def scenario(key: str, where: str, fresh: Callable[[], AbstractContextManager[Job]]) -> Scenario:
        kept = key == "push-registry"
        return Scenario(
            key=key,
            title=f"Push a file of {bench.options.size >> 20} MiB to {where}",
            kind="transfer",
            contenders=_contenders(bench, layout, every=not kept),
            fresh=fresh,
            rounds=bench.rounds(narrow=not kept),
            scratch=blob.size if kept else 0,
        )

    with ExitStack() as stack:
        host = stack.enter_context(sink(home / "sink"))

        @contextmanager
        def to_sink() -> Iterator[Job]:
            before = _received(host)
            yield job(host)
            if _received(host) - before < blob.size:
                raise RuntimeError("the server did not receive the blob")

        made = [scenario("push-sink", "a raw sink", to_sink)]
        with bench.optional():
            program("docker-registry", "docker-registry")
            made.append(scenario("push-registry", "an empty docker-registry", to_registry))
        yield made


def _contenders(bench: Bench, layout: Path, *, every: bool) -> tuple[Contender, ...]:
    def skopeo(path: str, job: Job) -> list[list[str]]:
        target = f"docker://{job.host}/{job.name}:latest"
        return [[path, "copy", "--insecure-policy", "--dest-tls-verify=false", f"dir:{layout}", target]]

    return (
        Contender(name=RAW, entry="raw:push"),
        Contender(name="httpx", entry="httpx_client:push"),
        Contender(name="aiohttp", entry="aiohttp_client:push"),
        *on_all_loops("push"),
        Contender(name="oras-py", entry="oras_client:push"),
        Contender(name="python-dxf", entry="dxf_client:push"),
        Contender(name="docker-registry-client-async", entry="drca_client:push"),
        # A registry hashes what it gets, and is what everybody waits for: there, these would all say the same.
        *(_known() if every else []),
        *bench.with_skopeo(skopeo, f"skopeo{KNOWN}"),
    )


def _known() -> list[Contender]:
    return [
        Contender(name=f"raw sendfile{KNOWN}", entry="raw:push_known", note="hashes nothing"),
        Contender(name=f"httpx{KNOWN}", entry="httpx_client:push_known", note="hashes nothing"),
        Contender(name=f"aiohttp{KNOWN}", entry="aiohttp_client:push_known", note="hashes nothing"),
        *on_all_loops("push_known", KNOWN),
    ]


def _layout(folder: Path, image: Image) -> Path:
    """Lay an image out the way skopeo reads it from a folder."""
    folder.mkdir()
    (folder / "version").write_text("Directory Transport Version: 1.1\n", encoding="ascii")
    (folder / "manifest.json").write_bytes(image.data)
    for blob in image.blobs:
        (folder / blob.digest.removeprefix("sha256:")).hardlink_to(blob.path)
    return folder


def _received(host: str) -> int:
    connection = HTTPConnection(host)
    try:
        connection.request("GET", "/received")
        return int(connection.getresponse().read())
    finally:
        connection.close()
