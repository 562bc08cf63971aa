"""What other processes do to a layout in the tests: it is run, and killed, by them. Not a test itself."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from ocidist import Client, Descriptor, Digest, HostConfig, Layout, LayoutRegistry, StorageError
from ocidist.storage import layout_disk
from tests.peers import images
from tests.storage.stores import push

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def tag(path: str, name: str, count: str) -> None:
    """Set many tags."""
    layout = Layout(path)
    for number in range(int(count)):
        await layout.tags.set(f"{name}-{number}", "v0")


async def fill(path: str, name: str, count: str) -> None:
    """Push many images, each with a tag."""
    layout = Layout(path)
    for number in range(int(count)):
        text = f"{name} {number}".encode()
        await push(layout, images.image(layers=[images.layer({"file": text})]), f"{name}-{number}")


async def pull(path: str, host: str, name: str, digest: str, size: str) -> None:
    """Pull a blob, and go on where another process was."""
    wanted = Descriptor("application/octet-stream", Digest(digest), int(size))
    blobs = LayoutRegistry(Path(path)).repository("a").blobs
    async with (
        Client(hosts={host: HostConfig(scheme="http")}, credentials={}) as client,
        blobs.writer_for(wanted) as writer,
    ):
        _say({"there": writer.size})
        async with client.repository(f"{host}/{name}").blobs.open(wanted, offset=writer.size) as reader:
            async for piece in reader:
                await writer.write(piece)
        await writer.commit(wanted)


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


async def grow(path: str, limit: str) -> None:
    """Push what a file may hold, and what it may not."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    blobs = Layout(path).blobs
    await blobs.push(b"x" * (int(limit) - 1))
    try:
        await blobs.push(b"x" * (int(limit) + 1))
    except StorageError as error:
        sys.exit(error.errno)


def several(count: str, work: Callable[..., Awaitable[None]], path: str, *arguments: str) -> None:
    """Do the same in several processes, each under a name of its own."""
    children = []
    for number in range(int(count)):
        child = os.fork()
        if not child:
            anyio.run(work, path, f"p{number}", *arguments)
            os._exit(0)
        children.append(child)
    sys.exit(any(os.waitpid(child, 0)[1] for child in children))


WORK: dict[str, Callable[..., Awaitable[None]]] = {"tag": tag, "fill": fill, "pull": pull, "grow": grow}

if __name__ == "__main__":
    # To be killed loses nothing that was written; to wait for the disk takes most of the time.
    layout_disk.sync = lambda file: None  # noqa: ARG005 -- as the real one has it
    if sys.argv[1] == "several":
        several(sys.argv[2], WORK[sys.argv[3]], *sys.argv[4:])
    else:
        anyio.run(WORK[sys.argv[1]], *sys.argv[2:])
