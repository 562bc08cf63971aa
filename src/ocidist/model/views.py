"""What manifests say: read-only views of their JSON.

A view is never written back in place of the bytes it was read from. Docker's schema 2 and manifest list have the same
shape as OCI's image manifest and index, and share their views.

Spec: image-spec, "Image Manifest" and "Image Index"; Docker, "Image Manifest Version 2, Schema 2".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from ocidist.errors import UsageError
from ocidist.model.descriptor import Descriptor
from ocidist.model.fields import string_map, unknown_fields
from ocidist.model.platform import Platform

SCHEMA_VERSION: Final = 2


def _schema_version(value: int) -> int:
    if type(value) is int and value == SCHEMA_VERSION:
        return value
    msg = "schemaVersion is not 2"
    raise UsageError(msg)


def _descriptors(values: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
    found = tuple(values)
    if all(isinstance(value, Descriptor) for value in found):
        return found
    msg = "expected descriptors"
    raise UsageError(msg)


@attrs.frozen(kw_only=True)
class ImageManifest:
    """An image, or an artifact packaged like one.

    Attributes:
        schema_version: Always 2.
        media_type: The body's own ``mediaType``, or None: old OCI manifests have none.
        artifact_type: Type of the artifact, or None; see ``effective_artifact_type``.
        config: Descriptor of the configuration.
        layers: Descriptors of the layers, the base first.
        subject: Descriptor of the manifest this one refers to, or None.
        annotations: Arbitrary metadata.
        extra: Fields this version does not know, as they were read.
    """

    schema_version: int = attrs.field(default=SCHEMA_VERSION, converter=_schema_version)
    media_type: str | None = None
    artifact_type: str | None = None
    config: Descriptor
    layers: tuple[Descriptor, ...] = attrs.field(converter=_descriptors)
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = attrs.field(factory=dict, converter=string_map, hash=False)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=unknown_fields, hash=False)

    @property
    def references(self) -> tuple[Descriptor, ...]:
        """Everything the manifest is made of: the config, then the layers."""
        return (self.config, *self.layers)

    @property
    def total_size(self) -> int:
        """Sum of the layers' sizes in bytes, as they are stored; a layer listed twice counts twice."""
        return sum(layer.size for layer in self.layers)

    @property
    def effective_artifact_type(self) -> str:
        """``artifact_type``, or the media type of the config where there is none.

        Spec: distribution-spec, "Pushing Manifests with Subject".
        """
        return self.artifact_type or self.config.media_type


@attrs.frozen(kw_only=True)
class ArtifactManifest:
    """An artifact of the kind that was withdrawn before image-spec 1.1, to be read where there still is one.

    Attributes:
        media_type: The body's own ``mediaType``, or None.
        artifact_type: Type of the artifact, or None.
        blobs: Descriptors of what it is made of.
        subject: Descriptor of the manifest this one refers to, or None.
        annotations: Arbitrary metadata.
        extra: Fields this version does not know, as they were read.
    """

    media_type: str | None = None
    artifact_type: str | None = None
    blobs: tuple[Descriptor, ...] = attrs.field(default=(), converter=_descriptors)
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = attrs.field(factory=dict, converter=string_map, hash=False)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=unknown_fields, hash=False)

    @property
    def references(self) -> tuple[Descriptor, ...]:
        """Everything the artifact is made of: its blobs."""
        return self.blobs

    @property
    def effective_artifact_type(self) -> str | None:
        """``artifact_type``; there is no config to fall back on."""
        return self.artifact_type or None


@attrs.frozen(kw_only=True)
class ImageIndex:
    """A list of manifests: one image for several platforms, or the referrers of a manifest.

    Attributes:
        schema_version: Always 2.
        media_type: The body's own ``mediaType``, or None.
        artifact_type: Type of the artifact, or None.
        manifests: Descriptors of the manifests, in the author's order of preference.
        subject: Descriptor of the manifest this one refers to, or None.
        annotations: Arbitrary metadata.
        extra: Fields this version does not know, as they were read.
    """

    schema_version: int = attrs.field(default=SCHEMA_VERSION, converter=_schema_version)
    media_type: str | None = None
    artifact_type: str | None = None
    manifests: tuple[Descriptor, ...] = attrs.field(converter=_descriptors)
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = attrs.field(factory=dict, converter=string_map, hash=False)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=unknown_fields, hash=False)

    @property
    def references(self) -> tuple[Descriptor, ...]:
        """Everything the index is made of: its manifests."""
        return self.manifests

    @property
    def effective_artifact_type(self) -> str | None:
        """``artifact_type``; an index has no config to fall back on."""
        return self.artifact_type or None

    def select(self, platform: Platform | str) -> Descriptor | None:
        """Return the entry that suits a platform best, or None.

        The first exact match wins, else the nearest lower variant of the same processor (``arm/v6`` where ``arm/v7``
        is wanted). Entries without a platform never match.

        Raises:
            UsageError: The platform text cannot be read.

        Spec: image-spec, "Image Index", section "Image Index Property Descriptions".
        """
        wanted = Platform.parse(platform) if isinstance(platform, str) else platform
        for candidate in wanted.acceptable():
            for entry in self.manifests:
                if entry.platform is not None and entry.platform.matches(candidate):
                    return entry
        return None
