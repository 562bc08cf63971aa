"""ocidist in one file: push, lose the connection, go on, mount, attach, list, and pull back verified.

It starts a registry of its own on this machine, so it needs no network, no root and nothing but ``ocidist[server]``:

    python docs/examples/quickstart.py

The tutorial, docs/tutorial.md, walks through it.
"""

from __future__ import annotations

import io
import json
import socket
import tarfile
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import attrs
import uvicorn

from ocidist import (
    Client,
    Descriptor,
    Digest,
    ImageIndex,
    Manifest,
    MemoryRegistry,
    Mounted,
    Platform,
    Repository,
    UploadState,
    build_image,
    build_index,
)
from ocidist.model.mediatype import OCI_CONFIG, OCI_LAYER
from ocidist.server import RegistryApp

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1024 * 1024
APP, TOOL = "demo/app", "demo/tool"
PLATFORMS = ("linux/amd64", "linux/arm64/v8")
SBOM = "application/spdx+json"


async def main(host: str, folder: Path) -> None:
    """Take the tour, on the registry at *host*."""
    base = folder / "base.tar"
    await anyio.Path(base).write_bytes(layer({"usr/share/numbers": bytes(range(256)) * 24 * 1024}))
    saved = folder / "upload.json"

    await push_until_the_power_fails(host, base, saved)
    async with Client() as client:
        registry = client.registry(host)
        repository = registry.repository(APP)
        shared = await resume(repository, base, saved)
        image = await push_image(repository, shared)
        await mount(registry.repository(TOOL), shared)
        await attach(repository, image)

        say("Repositories here", [name async for name in registry.repositories()])
        say(f"Tags of {APP}", [tag async for tag in repository.tags.list()])
        found = repository.referrers(image.digest)
        say("What refers to the image", [f"{each.artifact_type}, {described(each)}" async for each in found])

        await pull(repository, "1.0", folder)


# --- pushing ---------------------------------------------------------------------------------------------------------


async def push_until_the_power_fails(host: str, path: Path, saved: Path) -> None:
    """Send the first half of a layer, note down how far the registry got, and lose everything else."""
    data = await anyio.Path(path).read_bytes()
    half = len(data) // 2
    say(f"Sending a layer of {size(len(data))} in chunks of {size(MIB)}")
    with anyio.CancelScope() as power:
        async with Client() as client:
            blobs = client.repository(f"{host}/{APP}").blobs
            async with blobs.writer(chunk_size=MIB) as writer:
                await writer.write(data[:half])
                await anyio.Path(saved).write_text(writer.state.to_json())
                power.cancel()
                await writer.write(data[half:])
    say(f"Interrupted half-way: the client is gone, the upload's state is in {saved.name}")


async def resume(repository: Repository, path: Path, saved: Path) -> Descriptor:
    """Finish the upload that another client began."""
    state = UploadState.from_json(await anyio.Path(saved).read_text())
    digest = Digest.of(await anyio.Path(path).read_bytes())
    async with repository.blobs.resume(state, source=path) as writer:
        kept = writer.state.offset
        blob = await writer.commit(digest)
    say(f"A new client goes on at {size(kept)} and sends the other {size(blob.size - kept)}: {described(blob)}")
    return attrs.evolve(blob, media_type=OCI_LAYER)


async def push_image(repository: Repository, base: Descriptor) -> Manifest:
    """Push an image for each platform on top of the shared layer, and an index that names them all."""
    entries = []
    for platform in map(Platform.parse, PLATFORMS):
        top = layer({"etc/motd": f"Hello from {platform}!\n".encode()})
        upper = await repository.blobs.push(top, Descriptor.of(top, OCI_LAYER))
        settings = configuration(platform, [base.digest, upper.digest])
        config = await repository.blobs.push(settings, Descriptor.of(settings, OCI_CONFIG))
        image = build_image(config, [base, upper])
        await repository.manifests.push(image)
        say(f"Pushed the image for {platform}: {described(image.descriptor)}")
        entries.append(attrs.evolve(image.descriptor, platform=platform))
    index = build_index(entries)
    pushed = await repository.manifests.push(index, tags=["1.0", "latest"])
    say(f"Pushed the index over both as {' and '.join(pushed.tags)}: {described(index.descriptor)}")
    return index


async def mount(repository: Repository, blob: Descriptor) -> None:
    """Let a second repository have a blob of the first, without sending it again."""
    answer = await repository.blobs.mount(blob.digest, source=APP)
    if not isinstance(answer, Mounted):
        raise SystemExit(f"the registry did not mount the layer: {answer}")
    empty = await repository.blobs.push(b"{}", Descriptor.of(b"{}", OCI_CONFIG))
    await repository.manifests.push(build_image(empty, [blob]), tags=["1.0"])
    say(f"Mounted the layer into {TOOL}: {size(blob.size)} that were not sent again")


async def attach(repository: Repository, image: Manifest) -> None:
    """Attach a bill of materials to the image."""
    bill = json.dumps({"spdxVersion": "SPDX-2.3", "name": "demo"}).encode()
    referrer = await repository.attach(image, artifact_type=SBOM, layers=[bill])
    say(f"Attached a bill of materials to the image: {described(referrer.descriptor)}")


# --- pulling ---------------------------------------------------------------------------------------------------------


async def pull(repository: Repository, tag: str, folder: Path) -> None:
    """Pull an image for all its platforms. Whatever is altered on the way raises an error."""
    index = await repository.manifests.get(tag)
    view = index.parse()
    if not isinstance(view, ImageIndex):
        raise SystemExit(f"{tag} is no index")
    say(f"Pulled {tag}, verified: {described(index.descriptor)}, {len(view.manifests)} platforms")
    for entry in view.manifests:
        manifest = await repository.manifests.get(entry.digest)
        for blob in manifest.references:
            await repository.blobs.download(blob, folder / blob.digest.encoded)
        total = sum(blob.size for blob in manifest.references)
        say(f"Pulled {entry.platform}, verified: {len(manifest.references)} blobs, {size(total)}")


# --- an image made of nothing ----------------------------------------------------------------------------------------


def layer(files: dict[str, bytes]) -> bytes:
    """Return a layer: a tar archive, the same for the same files every time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def configuration(platform: Platform, layers: list[Digest]) -> bytes:
    """Return an image's configuration. Layers that are not compressed are their own ``diff_ids``."""
    found = {"os": platform.os, "architecture": platform.architecture, "variant": platform.variant}
    rootfs = {"type": "layers", "diff_ids": layers}
    return json.dumps({key: value for key, value in found.items() if value} | {"rootfs": rootfs}).encode()


# --- telling about it ------------------------------------------------------------------------------------------------


def say(text: str, entries: list[str] | None = None) -> None:
    """Print one line, with the entries of a list behind it."""
    print(f"* {text}" if entries is None else f"* {text}: {'; '.join(entries) or 'none'}", flush=True)


def size(count: int) -> str:
    """Return a number of bytes as a person would say it."""
    return f"{count / MIB:.1f} MiB" if count >= MIB / 10 else f"{count} bytes"


def described(content: Descriptor) -> str:
    """Return a digest, shortened, and a size."""
    return f"{content.digest.algorithm}:{content.digest.encoded[:12]} ({size(content.size)})"


# --- the registry ----------------------------------------------------------------------------------------------------


@contextmanager
def embedded_registry() -> Iterator[str]:
    """Serve an empty registry from memory until the block ends, and yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(RegistryApp(MemoryRegistry()), log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            host, port = listener.getsockname()
            yield f"http://{host}:{port}"
        finally:
            server.should_exit = True
            thread.join()


if __name__ == "__main__":
    begun = time.monotonic()
    with embedded_registry() as address, tempfile.TemporaryDirectory() as directory:
        say(f"A registry runs at {address}: in memory, inside this program")
        anyio.run(main, address, Path(directory))
    say(f"Done in {time.monotonic() - begun:.1f} s. Nothing is left behind")
