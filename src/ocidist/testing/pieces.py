"""Blobs and manifests of declared content, and what makes them.

Equal arguments give equal bytes: nothing here asks for the time, a random number or the machine.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from ocidist.errors import UsageError
from ocidist.model.descriptor import Descriptor
from ocidist.model.mediatype import OCTET_STREAM

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocidist.model.digest import Digest
    from ocidist.model.manifest import Manifest
    from ocidist.model.platform import Platform


@attrs.frozen
class Piece:
    """A blob or a manifest of built content.

    Attributes:
        data: The bytes.
        descriptor: Their descriptor; in an index it has a platform besides.
        tags: The tags of a manifest.
        manifest: The manifest, or None for a blob.
    """

    data: bytes = attrs.field(repr=False)
    descriptor: Descriptor
    tags: tuple[str, ...] = ()
    manifest: Manifest | None = attrs.field(default=None, repr=False)

    @property
    def digest(self) -> Digest:
        """Digest of the bytes."""
        return self.descriptor.digest

    @property
    def media_type(self) -> str:
        """Media type of the bytes."""
        return self.descriptor.media_type

    @property
    def size(self) -> int:
        """Number of the bytes."""
        return self.descriptor.size


class Built(Mapping[str, Piece]):
    """Built content: its pieces by their ids.

    Blobs that nobody declared, such as the configuration of an image, have ids that begin with a dot.
    """

    def __init__(self, pieces: Mapping[str, Piece]) -> None:
        self._pieces = dict(pieces)

    def __getitem__(self, key: str) -> Piece:
        return self._pieces[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)

    def __repr__(self) -> str:
        return f"<Built {', '.join(self)}>"


Make: TypeAlias = "Callable[[Building, str], Piece]"
"""Makes a piece for the content that is being built, and the piece's own id."""


class Building:
    """Builds what was declared, each piece once and after what it refers to.

    Args:
        makers: What was declared, by id.

    Attributes:
        done: What is built.
    """

    def __init__(self, makers: Mapping[str, Make]) -> None:
        self._makers = makers
        self._open: list[str] = []
        self.done: dict[str, Piece] = {}

    def piece(self, name: str) -> Piece:
        """Return a piece that was declared.

        Raises:
            UsageError: It refers to itself in the end.
        """
        if name in self.done:
            return self.done[name]
        if name in self._open:
            circle = [*self._open[self._open.index(name) :], name]
            raise UsageError(f"content refers to itself: {' -> '.join(circle)}")
        self._open.append(name)
        self.done[name] = piece = self._makers[name](self, name)
        self._open.pop()
        return piece

    def blob(self, user: str, name: str) -> Piece:
        """Return a blob that *user* refers to.

        Raises:
            UsageError: It is not declared, or is no blob.
        """
        return self._used(user, name, "blob")

    def manifest(self, user: str, name: str) -> Piece:
        """Return a manifest that *user* refers to.

        Raises:
            UsageError: It is not declared, or is no manifest.
        """
        return self._used(user, name, "manifest")

    def subject(self, user: str, subject: str | Descriptor | None) -> Descriptor | None:
        """Return the descriptor of the manifest that *user* is about."""
        if not isinstance(subject, str):
            return subject
        found = self.manifest(user, subject).descriptor
        return Descriptor(found.media_type, found.digest, found.size)

    def add(self, name: str, piece: Piece) -> Piece:
        """Take a piece that nobody declared, once."""
        return self.done.setdefault(name, piece)

    def _used(self, user: str, name: str, kind: str) -> Piece:
        if name not in self._makers:
            raise UsageError(f"{user!r} refers to {name!r}, which is not declared")
        piece = self.piece(name)
        if (piece.manifest is None) != (kind == "blob"):
            raise UsageError(f"{user!r} refers to {name!r} as a {kind}, which it is not")
        return piece


def blob_of(data: bytes, media_type: str) -> Piece:
    """Return a blob."""
    return Piece(data, Descriptor.of(data, media_type))


def labelled(descriptor: Descriptor, media_type: str) -> Descriptor:
    """Return what a blob is, where its declaration does not say."""
    return attrs.evolve(descriptor, media_type=media_type) if descriptor.media_type == OCTET_STREAM else descriptor


def manifest_of(manifest: Manifest, tags: tuple[str, ...], platform: Platform | None = None) -> Piece:
    """Return a manifest; an index says its platform."""
    descriptor = manifest.descriptor if platform is None else attrs.evolve(manifest.descriptor, platform=platform)
    return Piece(manifest.data, descriptor, tags, manifest)


def noise(name: str, size: int) -> bytes:
    """Return bytes that look random and depend on nothing but a name."""
    return hashlib.shake_256(name.encode()).digest(size)


def config_of(platform: Platform, layers: Iterable[Piece], fields: Mapping[str, Any]) -> bytes:
    """Return the configuration of an image."""
    whole = {
        "architecture": platform.architecture,
        "os": platform.os,
        **({"variant": platform.variant} if platform.variant else {}),
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        **fields,
    }
    return json.dumps(whole, separators=(",", ":"), sort_keys=True).encode()


def tar_of(files: Mapping[str, bytes | str]) -> bytes:
    """Return an archive of files."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in sorted(files.items()):
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(path)
            member.size = len(data)
            member.mode = 0o644
            archive.addfile(member, io.BytesIO(data))
    return written.getvalue()
