"""What is killed by the tests of kills: a process that downloads one blob. Not a test itself."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from ocidist import Client, HostConfig
from ocidist.remote import _parts

PART = 1024 * 1024


async def download(host: str, name: str, digest: str, path: str, connections: str) -> None:
    """Tell that the work begins, and do it."""
    # So that a blob of a few seconds has many.
    _parts.MIN_PART = PART  # type: ignore[misc]  # final for all but this process
    async with Client(hosts={host: HostConfig(scheme="http")}, credentials={}) as client:
        sys.stdout.write("begin\n")
        sys.stdout.flush()
        await client.repository(f"{host}/{name}").blobs.download(digest, Path(path), connections=int(connections))


def main(loop: str, *arguments: str) -> None:
    """Run on an event loop: asyncio, uvloop or trio."""
    options = {"use_uvloop": True} if loop == "uvloop" else {}
    backend = "trio" if loop == "trio" else "asyncio"
    host, name, digest, path, connections = arguments
    anyio.run(download, host, name, digest, path, connections, backend=backend, backend_options=options)


if __name__ == "__main__":
    main(*sys.argv[1:])
