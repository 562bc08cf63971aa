"""Small images made in memory: plain bytes and dictionaries, so that they owe nothing to the code under test."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def sha256(data: bytes) -> str:
    """Return the digest of some bytes, ``sha256:<hex>``."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def noise(size: int, seed: str = "noise") -> bytes:
    """Return *size* bytes that do not compress, the same ones each time."""
    return hashlib.shake_256(seed.encode()).digest(size)


@attrs.frozen
class Content:
    """Bytes with their media type.

    Attributes:
        data: The bytes.
        media_type: What they are.
    """

    data: bytes = attrs.field(repr=lambda data: f"<{len(data)} bytes>")
    media_type: str

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the bytes."""
        return sha256(self.data)

    @property
    def descriptor(self) -> dict[str, object]:
        """The JSON object that points here."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}


@attrs.frozen
class Image:
    """An image, or an index of images.

    Attributes:
        manifest: Its manifest.
        blobs: Its config and layers; none in an index.
        children: The images of an index.
    """

    manifest: Content
    blobs: tuple[Content, ...] = ()
    children: tuple[Image, ...] = ()

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return self.manifest.digest

    @property
    def all_blobs(self) -> tuple[Content, ...]:
        """The blobs of this image and its children, each once."""
        found = {blob.digest: blob for image in self.walk() for blob in image.blobs}
        return tuple(found.values())

    def walk(self) -> Iterator[Image]:
        """Children before parents: the order in which a registry takes them."""
        for child in self.children:
            yield from child.walk()
        yield self


def layer(files: dict[str, bytes], media_type: str = OCI_LAYER) -> Content:
    """Make a layer: a compressed archive, byte for byte the same each time."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return Content(gzip.compress(archive.getvalue(), mtime=0), media_type)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def image(
    platform: str = "linux/amd64",
    *,
    layers: Sequence[Content] | None = None,
    docker: bool = False,
    fields: dict[str, object] | None = None,
) -> Image:
    """Make an image manifest with its config and layers.

    Args:
        platform: ``os/architecture``.
        layers: Its layers; None makes a shared one and one of its own.
        docker: Docker's media types instead of OCI's.
        fields: More fields for the manifest (``subject``, ``annotations``); a value of None removes one.
    """
    kind = DOCKER_LAYER if docker else OCI_LAYER
    if layers is None:
        layers = (layer({"base": b"shared by all"}, kind), layer({"app": platform.encode()}, kind))
    system, architecture = platform.split("/", 1)
    config_value = {
        "os": system,
        "architecture": architecture,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [sha256(gzip.decompress(each.data)) for each in layers]},
    }
    config = Content(_json(config_value), DOCKER_CONFIG if docker else OCI_CONFIG)
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    manifest: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config.descriptor,
        "layers": [each.descriptor for each in layers],
        **(fields or {}),
    }
    present = {name: value for name, value in manifest.items() if value is not None}
    return Image(Content(_json(present), media_type), (config, *layers))


def index(
    platforms: Sequence[str] = ("linux/amd64", "linux/arm64"),
    *,
    docker: bool = False,
    fields: dict[str, object] | None = None,
) -> Image:
    """Make an index of images, one for each platform.

    Args:
        platforms: ``os/architecture`` of each.
        docker: Docker's media types instead of OCI's.
        fields: More fields for the index; a value of None removes one.
    """
    children = tuple(image(platform, docker=docker) for platform in platforms)
    entries = []
    for platform, child in zip(platforms, children, strict=True):
        system, architecture = platform.split("/", 1)
        entries.append(child.manifest.descriptor | {"platform": {"os": system, "architecture": architecture}})
    media_type = DOCKER_LIST if docker else OCI_INDEX
    value: dict[str, object] = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries, **(fields or {})}
    present = {name: field for name, field in value.items() if field is not None}
    return Image(Content(_json(present), media_type), children=children)


def artifact(subject: Image, artifact_type: str = "application/vnd.example.note", text: bytes = b"a note") -> Image:
    """Make an artifact that refers to an image."""
    empty = Content(b"{}", "application/vnd.oci.empty.v1+json")
    note = Content(text, "text/plain")
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": empty.descriptor,
        "layers": [note.descriptor],
        "subject": subject.manifest.descriptor,
    }
    return Image(Content(_json(manifest), OCI_MANIFEST), (empty, note))


def write_layout(top: Image, directory: Path, tag: str) -> None:
    """Write an image as a new OCI image layout, for tools that read one."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for each in (*top.all_blobs, *(found.manifest for found in top.walk())):
        (blobs / each.digest.partition(":")[2]).write_bytes(each.data)
    entry = top.manifest.descriptor | {"annotations": {"org.opencontainers.image.ref.name": tag}}
    (directory / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    (directory / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": [entry]}))


def read_layout(directory: Path, tag: str) -> Image:
    """Read an image or index out of an OCI image layout."""
    entries = json.loads((directory / "index.json").read_bytes())["manifests"]
    names = {entry.get("annotations", {}).get("org.opencontainers.image.ref.name"): entry for entry in entries}
    return _read(directory / "blobs" / "sha256", names[tag])


def _read(blobs: Path, descriptor: dict[str, str]) -> Image:
    def content(found: dict[str, str]) -> Content:
        return Content((blobs / found["digest"].partition(":")[2]).read_bytes(), found["mediaType"])

    manifest = content(descriptor)
    value = json.loads(manifest.data)
    if "manifests" in value:
        return Image(manifest, children=tuple(_read(blobs, entry) for entry in value["manifests"]))
    return Image(manifest, tuple(content(entry) for entry in (value["config"], *value["layers"])))
