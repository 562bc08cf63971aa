"""What is killed by the tests of kills: a process that downloads one blob. Not a test itself."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from ocidist import Client, HostConfig


async def download(host: str, name: str, digest: str, path: str) -> None:
    """Tell that the work begins, and do it."""
    async with Client(hosts={host: HostConfig(scheme="http")}, credentials={}) as client:
        sys.stdout.write("begin\n")
        sys.stdout.flush()
        await client.repository(f"{host}/{name}").blobs.download(digest, Path(path))


def main(loop: str, host: str, name: str, digest: str, path: str) -> None:
    """Run on an event loop: asyncio, uvloop or trio."""
    options = {"use_uvloop": True} if loop == "uvloop" else {}
    backend = "trio" if loop == "trio" else "asyncio"
    anyio.run(download, host, name, digest, path, backend=backend, backend_options=options)


if __name__ == "__main__":
    main(*sys.argv[1:])
