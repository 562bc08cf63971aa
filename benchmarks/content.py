"""What is moved: blobs and images of incompressible bytes, the same in every run."""

from __future__ import annotations

import hashlib
import json
from http.client import HTTPConnection
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from benchmarks.job import ACCEPT, OCTETS

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1024 * 1024
# skopeo compresses on the way to a registry what does not look compressed.
_GZIP = b"\x1f\x8b\x08\x00"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_CONFIG = "application/vnd.oci.image.config.v1+json"


class Blob(NamedTuple):
    """A blob in a file.

    Attributes:
        path: The file.
        digest: Its digest.
        size: Its size in bytes.
        media_type: What manifests say it is.
    """

    path: Path
    digest: str
    size: int
    media_type: str = _LAYER

    @property
    def descriptor(self) -> dict[str, object]:
        """The blob as a manifest names it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


class Image(NamedTuple):
    """An image.

    Attributes:
        data: Its manifest.
        blobs: Its configuration and layers.
    """

    data: bytes
    blobs: tuple[Blob, ...]

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"


def make_blob(path: Path, size: int) -> Blob:
    """Write a blob of which no two with another file name are the same."""
    block = hashlib.shake_256(path.name.encode()).digest(min(MIB, max(size, 1)))
    hasher = hashlib.sha256()
    left = size
    with path.open("wb") as file:
        piece = (_GZIP + block[len(_GZIP) :])[:left]
        while left:
            hasher.update(piece)
            file.write(piece)
            left -= len(piece)
            piece = block[:left]
    return Blob(path, f"sha256:{hasher.hexdigest()}", size)


def make_config(path: Path) -> Blob:
    """Write an image configuration; its text is different for every path."""
    rootfs = {"type": "layers", "diff_ids": []}
    text = {"architecture": "amd64", "os": "linux", "author": path.name, "rootfs": rootfs}
    path.write_text(json.dumps(text), encoding="ascii")
    data = path.read_bytes()
    return Blob(path, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data), _CONFIG)


def make_image(config: Blob, *layers: Blob, title: str = "") -> Image:
    """Return an image; a title makes it different from others of the same blobs."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": ACCEPT,
        "config": config.descriptor,
        "layers": [layer.descriptor for layer in layers],
        **({"annotations": {"org.opencontainers.image.title": title}} if title else {}),
    }
    return Image(json.dumps(manifest).encode(), (config, *layers))


class Tree:
    """A folder that a web server can serve as if it were a registry.

    Args:
        root: The folder.

    Attributes:
        root: The folder.
        digests: The digest of each manifest, by its path in the URL.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.digests: dict[str, str] = {}

    def add(self, name: str, tag: str, image: Image) -> None:
        """Put an image into the tree."""
        blobs, manifests = self.root / "v2" / name / "blobs", self.root / "v2" / name / "manifests"
        blobs.mkdir(parents=True, exist_ok=True)
        manifests.mkdir(parents=True, exist_ok=True)
        for blob in image.blobs:
            if not (blobs / blob.digest).exists():
                (blobs / blob.digest).hardlink_to(blob.path)
        (manifests / tag).write_bytes(image.data)
        self.digests[f"/v2/{name}/manifests/{tag}"] = image.digest


class Uploader:
    """Fills a registry before the clock starts.

    Args:
        host: Its ``host:port``.
    """

    def __init__(self, host: str) -> None:
        self._connection = HTTPConnection(host, blocksize=MIB)
        self._there: set[tuple[str, str]] = set()

    def add(self, name: str, tag: str, image: Image) -> None:
        """Push an image, with its blobs where they are not there yet."""
        for blob in image.blobs:
            if (name, blob.digest) not in self._there:
                self._push(name, blob)
                self._there.add((name, blob.digest))
        self._ask("PUT", f"/v2/{name}/manifests/{tag}", image.data, ACCEPT)

    def _push(self, name: str, blob: Blob) -> None:
        parts = urlsplit(self._ask("POST", f"/v2/{name}/blobs/uploads/"))
        target = f"{parts.path}?{parts.query}&digest={blob.digest}"
        with blob.path.open("rb") as file:
            self._connection.request("PUT", target, file, {"Content-Type": OCTETS, "Content-Length": str(blob.size)})
        self._answer(target)

    def _ask(self, method: str, target: str, body: bytes | None = None, media_type: str = OCTETS) -> str:
        self._connection.request(method, target, body, {"Content-Type": media_type})
        return self._answer(target)

    def _answer(self, target: str) -> str:
        response = self._connection.getresponse()
        text = response.read()
        if response.status not in {201, 202}:
            raise RuntimeError(f"{target}: {response.status} {text[:200]!r}")
        return response.headers.get("Location", "")


def head(host: str, path: str) -> int:
    """Return the Content-Length the server states for a path, or -1 where it has nothing there."""
    connection = HTTPConnection(host, blocksize=MIB)
    try:
        connection.request("HEAD", path, headers={"Accept": ACCEPT})
        response = connection.getresponse()
        return int(response.headers.get("Content-Length", -1)) if response.status == 200 else -1
    finally:
        connection.close()
