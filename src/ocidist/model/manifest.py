"""Manifests: bytes with a media type and a digest, and views of what the bytes say.

The bytes are the truth. They are kept as they came, pushed as they came, and never written anew from a view.

Spec: image-spec, "Image Manifest" and "Image Index"; Docker, "Image Manifest Version 2, Schema 2".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final, Self, TypeAlias, TypeVar

import attrs

from ocidist.errors import MalformedManifestError, UsageError
from ocidist.model.descriptor import Descriptor, check_media_type
from ocidist.model.digest import Digest
from ocidist.model.mediatype import IMAGE_TYPES, INDEX_TYPES, OCI_ARTIFACT, SCHEMA1_TYPES
from ocidist.model.schema1 import Schema1View
from ocidist.model.sniff import read_object, sniff
from ocidist.model.views import ArtifactManifest, ImageIndex, ImageManifest

if TYPE_CHECKING:
    from ocidist.model.digest import Buffer

__all__ = [
    "ArtifactManifest",
    "ImageIndex",
    "ImageManifest",
    "Manifest",
    "Parser",
    "Schema1View",
    "View",
    "media_types",
    "register",
    "sniff",
]

View: TypeAlias = ImageManifest | ImageIndex | ArtifactManifest | Schema1View
Parser: TypeAlias = Callable[[bytes], View]

_V = TypeVar("_V", ImageManifest, ImageIndex, ArtifactManifest, Schema1View)


def _read_view(cls: type[_V], data: bytes) -> _V:
    from ocidist.model import converter  # noqa: PLC0415 -- loads cattrs, which a pull by bytes does not need

    try:
        return converter.structure(read_object(data), cls)
    except converter.MalformedValueError as error:
        msg = f"the manifest is malformed: {error}"
        raise MalformedManifestError(msg) from None


_parsers: Final[dict[str, Parser]] = {
    **dict.fromkeys(IMAGE_TYPES, partial(_read_view, ImageManifest)),
    **dict.fromkeys(INDEX_TYPES, partial(_read_view, ImageIndex)),
    OCI_ARTIFACT: partial(_read_view, ArtifactManifest),
    **dict.fromkeys(SCHEMA1_TYPES, partial(_read_view, Schema1View)),
}


def register(media_type: str, parser: Parser) -> None:
    """Teach ``Manifest.parse`` another media type, for the whole process.

    Args:
        media_type: The media type.
        parser: Makes a view of the bytes; raises ``MalformedManifestError`` if it cannot.

    Raises:
        UsageError: The media type is invalid, or has a parser already.
    """
    check_media_type(media_type)
    if media_type in _parsers:
        msg = f"{media_type} has a parser already"
        raise UsageError(msg)
    _parsers[media_type] = parser


def media_types() -> tuple[str, ...]:
    """Return the media types that ``Manifest.parse`` can read."""
    return tuple(_parsers)


@attrs.frozen
class Manifest:
    """A manifest as it is stored: make one with ``Manifest.of``, which computes the digest.

    Attributes:
        data: The bytes.
        media_type: Their media type.
        digest: Their digest; the plain constructor trusts its caller with it.
    """

    data: bytes = attrs.field(repr=lambda data: f"<{len(data)} bytes>")
    media_type: str = attrs.field(converter=check_media_type)
    digest: Digest = attrs.field(converter=Digest)

    @classmethod
    def of(cls, data: Buffer, media_type: str | None = None, *, expected: str | None = None) -> Self:
        """Make a manifest of bytes.

        Args:
            data: The manifest as it came, or as it shall be pushed.
            media_type: A ``Content-Type``, parameters allowed; None to find out from the body.
            expected: The digest that was asked for. The bytes are checked against it before anything else, with its
                own algorithm; without it, the digest is their sha256.

        Raises:
            DigestMismatchError: The bytes do not have the expected digest.
            DigestUnsupportedError: The expected digest cannot be verified.
            InvalidDigestError: The expected digest is not one.
            MalformedManifestError: See ``sniff``.
        """
        digest = Digest.of(data) if expected is None else Digest(expected)
        if expected is not None:
            digest.verify(data)
        kept = bytes(data)
        return cls(kept, sniff(kept, media_type), digest)

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self.data)

    @property
    def descriptor(self) -> Descriptor:
        """Media type, digest and size."""
        return Descriptor(self.media_type, self.digest, self.size)

    def as_referrer(self) -> Descriptor:
        """Return the descriptor that lists this manifest among its subject's referrers.

        It carries the artifact type, or the config's media type in its place, and all annotations.

        Raises:
            MalformedManifestError: See ``parse``.

        Spec: distribution-spec, "Listing Referrers".
        """
        return attrs.evolve(self.descriptor, artifact_type=self.artifact_type, annotations=self.annotations)

    def parse(self) -> View:
        """Return what the manifest says; computed once.

        Raises:
            MalformedManifestError: The bytes are not what the media type says.
            UsageError: Nobody registered a parser for the media type.
        """
        return self._view

    @property
    def subject(self) -> Descriptor | None:
        """Descriptor of the manifest this one refers to; None also for media types without a parser.

        Raises:
            MalformedManifestError: See ``parse``.
        """
        view = self._known_view()
        return None if view is None else view.subject

    @property
    def artifact_type(self) -> str | None:
        """Type of the artifact, for an image the config's media type if it has none; None if there is neither.

        Raises:
            MalformedManifestError: See ``parse``.
        """
        view = self._known_view()
        return None if view is None else view.effective_artifact_type

    @property
    def annotations(self) -> Mapping[str, str]:
        """Arbitrary metadata; empty also for media types without a parser.

        Raises:
            MalformedManifestError: See ``parse``.
        """
        view = self._known_view()
        return {} if view is None else view.annotations

    @property
    def references(self) -> tuple[Descriptor, ...]:
        """What the manifest is made of: config and layers, or manifests; the subject is not part of it.

        Empty also for schema 1, which does not state sizes, and for media types without a parser.

        Raises:
            MalformedManifestError: See ``parse``.
        """
        view = self._known_view()
        return () if view is None else view.references

    @cached_property
    def _view(self) -> View:
        parser = _parsers.get(self.media_type)
        if parser is None:
            msg = f"no parser is registered for {self.media_type}"
            raise UsageError(msg)
        return parser(self.data)

    def _known_view(self) -> ImageManifest | ImageIndex | ArtifactManifest | None:
        view = self._view if self.media_type in _parsers else None
        return None if isinstance(view, Schema1View) else view
