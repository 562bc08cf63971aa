"""Independent tools: skopeo moves images in and out of registries, umoci makes layouts.

Each call runs the program in a worker thread, so that tests on any event loop can await it.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import attrs
from anyio import to_thread

from tests.peers.images import Content, Image
from tests.peers.tools import program

if TYPE_CHECKING:
    from tests.peers.peer import Peer

_TIMEOUT_S = 45


def run(*command: str) -> bytes:
    """Run a program to its end and return what it printed.

    Raises:
        RuntimeError: It failed; the message has what it said.
    """
    done = subprocess.run(command, capture_output=True, check=False, timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL)
    if done.returncode:
        message = f"{' '.join(command)}: exit status {done.returncode}: {done.stderr.decode(errors='replace').strip()}"
        raise RuntimeError(message)
    return done.stdout


@attrs.frozen
class Skopeo:
    """skopeo as somebody who may do everything on one registry.

    Attributes:
        peer: The registry.
        binary: The program.
    """

    peer: Peer
    binary: str = attrs.field(factory=lambda: program("skopeo"))

    async def push(self, layout: Path, tag: str, name: str) -> None:
        """Push an image of an OCI layout, with all its platforms, to ``repository:tag`` or ``repository@digest``."""
        await to_thread.run_sync(self._copy, f"oci:{layout}:{tag}", self._reference(name), "dest")

    async def pull(self, name: str, directory: Path) -> Image:
        """Pull ``repository:tag`` or ``repository@digest`` with all its platforms into a new directory and read it."""
        await to_thread.run_sync(self._copy, self._reference(name), f"dir:{directory}", "src")
        return await to_thread.run_sync(_read_directory, directory)

    async def manifest(self, name: str) -> bytes:
        """Return the raw manifest."""
        return await to_thread.run_sync(self._inspect, name)

    def _reference(self, name: str) -> str:
        return f"docker://{self.peer.host}/{name}"

    def _copy(self, source: str, target: str, side: str) -> None:
        with TemporaryDirectory() as work:
            access = self._access(work, f"{side}-")
            run(
                self.binary,
                "--insecure-policy",
                "copy",
                "--quiet",
                "--all",
                "--preserve-digests",
                *access,
                source,
                target,
            )

    def _inspect(self, name: str) -> bytes:
        with TemporaryDirectory() as work:
            return run(self.binary, "inspect", "--raw", *self._access(work, ""), self._reference(name))

    def _access(self, work: str, side: str) -> list[str]:
        options = [f"--{side}no-creds"]
        if self.peer.username is not None:
            options = [f"--{side}creds={self.peer.username}:{self.peer.password}"]
        if self.peer.ca_path is None:
            return [*options, f"--{side}tls-verify=false"]
        certificates = Path(work) / "certificates"
        certificates.mkdir()
        (certificates / "ca.crt").write_bytes(self.peer.ca_path.read_bytes())
        return [*options, f"--{side}cert-dir={certificates}"]


def _read_directory(directory: Path) -> Image:
    """Read skopeo's ``dir:`` format: ``manifest.json``, ``<hex>.manifest.json`` for children, blobs by hex digest."""

    def read(path: Path) -> Image:
        data = path.read_bytes()
        value = json.loads(data)
        manifest = Content(data, value.get("mediaType", ""))
        if "manifests" in value:
            files = (f"{entry['digest'].partition(':')[2]}.manifest.json" for entry in value["manifests"])
            return Image(manifest, children=tuple(read(directory / file) for file in files))
        entries = (value["config"], *value["layers"])
        blobs = ((directory / entry["digest"].partition(":")[2], entry["mediaType"]) for entry in entries)
        return Image(manifest, tuple(Content(blob.read_bytes(), kind) for blob, kind in blobs))

    return read(directory / "manifest.json")


def umoci_layout(directory: Path, tag: str = "v1") -> Path:
    """Make an OCI layout with umoci 0.4.7, whose manifests have no ``mediaType``; return its path."""
    umoci = program("umoci")
    layout = directory / "layout"
    run(umoci, "init", "--layout", str(layout))
    run(umoci, "new", "--image", f"{layout}:{tag}")
    for number in range(2):
        archive = directory / f"layer-{number}.tar"
        with tarfile.open(archive, "w") as tar:
            entry = tarfile.TarInfo(f"file-{number}")
            data = f"layer {number}".encode()
            entry.size = len(data)
            tar.addfile(entry, BytesIO(data))
        run(umoci, "raw", "add-layer", "--image", f"{layout}:{tag}", str(archive))
    run(umoci, "config", "--image", f"{layout}:{tag}", "--os=linux", "--architecture=arm64", "--author=the tests")
    return layout
