"""A program that asks a registry of compression bombs for everything, and prints what came of it and how large it grew.

``python -m tests.http.bombed BACKEND HOST NAME...``: each name is a repository; one line of JSON for each request.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from ocidist import Basic, Client, Descriptor, Digest, HostConfig, OciError, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ocidist import Repository

SMALL = Descriptor.of(b"what the blob really is")


async def download(repository: Repository) -> None:
    """Write the blob to a file, which must not appear."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "blob"
        try:
            await repository.blobs.download(SMALL.digest, path)
        finally:
            if list(Path(directory).iterdir()):  # noqa: ASYNC240 -- a look at an empty directory
                print("the file is there")  # noqa: T201 -- spoils the output on purpose


async def read(repository: Repository) -> None:
    """Read the blob to its end."""
    async with repository.blobs.open(SMALL.digest) as reader:
        async for _ in reader:
            pass


OPERATIONS: dict[str, Callable[[Repository], Awaitable[object]]] = {
    "manifest": lambda repository: repository.manifests.get("v1"),
    "pinned": lambda repository: repository.manifests.get(Digest.of(b"{}")),
    "stat": lambda repository: repository.manifests.stat("v1"),
    "tags": lambda repository: repository.tags.list().collect(),
    "referrers": lambda repository: repository.referrers(Digest.of(b"{}")).collect(),
    "blob": lambda repository: repository.blobs.get(SMALL.digest),
    "known blob": lambda repository: repository.blobs.get(SMALL),
    "stream": read,
    "download": download,
    "error": lambda repository: repository.manifests.get("error"),
    "token": lambda repository: repository.manifests.get("token"),
}


def peak(*, afresh: bool = False) -> int:
    """Return the most memory this process had, in KiB: ever, or since it was last asked for afresh."""
    if afresh:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


async def main(host: str, names: list[str]) -> None:
    """Ask for everything."""
    options = {host: HostConfig(scheme="http")}
    credentials = {host: Basic("alice", "s3cret")}
    for name in ["plain", *names]:
        for operation, run in OPERATIONS.items():
            outcome = "success"
            before = peak(afresh=True)
            async with Client(hosts=options, retry=RetryPolicy(attempts=1), credentials=credentials) as client:
                try:
                    await run(client.repository(f"{host}/{name}/app"))
                except OciError as error:
                    outcome = type(error).__name__
            grown = peak() - before
            print(json.dumps({"name": name, "operation": operation, "outcome": outcome, "grown": grown}))  # noqa: T201 -- see above


if __name__ == "__main__":
    loop, *rest = sys.argv[1:]
    backend_options = {"use_uvloop": True} if loop == "uvloop" else {}
    backend = "trio" if loop == "trio" else "asyncio"
    anyio.run(main, rest[0], rest[1:], backend=backend, backend_options=backend_options)
