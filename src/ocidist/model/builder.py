"""Build manifests: image, index, artifact.

The JSON is compact and in a fixed order, so equal arguments give equal bytes and so the same digest. ``mediaType`` is
always written: some registries refuse manifests without it.

Spec: image-spec, "Image Manifest", sections "Guidance for an Empty Descriptor" and "Guidelines for Artifact Usage".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocidist.errors import UsageError
from ocidist.model.descriptor import Descriptor, check_media_type
from ocidist.model.manifest import Manifest
from ocidist.model.mediatype import DOCKER_LIST, DOCKER_MANIFEST, OCI_EMPTY, OCI_INDEX, OCI_MANIFEST
from ocidist.model.views import ImageIndex, ImageManifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EMPTY_BLOB: Final = b"{}"
"""Content that stands for none; push it wherever ``EMPTY_DESCRIPTOR`` is used."""

EMPTY_DESCRIPTOR: Final = Descriptor.of(EMPTY_BLOB, OCI_EMPTY)
"""Descriptor of ``EMPTY_BLOB``."""


def build_image(
    config: Descriptor,
    layers: Iterable[Descriptor],
    *,
    annotations: Mapping[str, str] | None = None,
    subject: Descriptor | None = None,
    artifact_type: str | None = None,
    media_type: str = OCI_MANIFEST,
) -> Manifest:
    """Build an image manifest.

    Args:
        config: Descriptor of the configuration.
        layers: Descriptors of the layers, the base first.
        annotations: Arbitrary metadata.
        subject: Descriptor of the manifest that this one refers to.
        artifact_type: Type of the artifact, if this is one; needed if the config is empty.
        media_type: OCI's image manifest, or Docker's schema 2, which has none of the three fields above.

    Raises:
        UsageError: The arguments do not fit together.

    Spec: image-spec, "Image Manifest".
    """
    if config.media_type == OCI_EMPTY and not artifact_type:
        msg = "a manifest with an empty config needs an artifact_type"
        raise UsageError(msg)
    view = ImageManifest(
        media_type=media_type,
        artifact_type=artifact_type,
        config=config,
        layers=layers,
        subject=subject,
        annotations=annotations or {},
    )
    return _build(view, media_type, oci=OCI_MANIFEST, docker=DOCKER_MANIFEST)


def build_index(
    manifests: Iterable[Descriptor],
    *,
    annotations: Mapping[str, str] | None = None,
    subject: Descriptor | None = None,
    artifact_type: str | None = None,
    media_type: str = OCI_INDEX,
) -> Manifest:
    """Build an index.

    Args:
        manifests: Descriptors of the manifests, in order of preference; there may be none.
        annotations: Arbitrary metadata.
        subject: Descriptor of the manifest that this one refers to.
        artifact_type: Type of the artifact, if this is one.
        media_type: OCI's index, or Docker's manifest list, which has none of the three fields above.

    Raises:
        UsageError: The arguments do not fit together.

    Spec: image-spec, "Image Index".
    """
    view = ImageIndex(
        media_type=media_type,
        artifact_type=artifact_type,
        manifests=manifests,
        subject=subject,
        annotations=annotations or {},
    )
    return _build(view, media_type, oci=OCI_INDEX, docker=DOCKER_LIST)


def build_artifact(
    artifact_type: str,
    layers: Iterable[Descriptor] = (),
    *,
    subject: Descriptor | None = None,
    annotations: Mapping[str, str] | None = None,
    config: Descriptor | None = None,
) -> Manifest:
    """Build an artifact manifest: an image manifest that holds something else.

    Args:
        artifact_type: Media type that says what the artifact is.
        layers: Descriptors of its content; ``EMPTY_DESCRIPTOR`` takes the place of none.
        subject: Descriptor of the manifest that the artifact refers to.
        annotations: Arbitrary metadata.
        config: Descriptor of its configuration; ``EMPTY_DESCRIPTOR`` takes the place of none.

    Raises:
        UsageError: The artifact type is not a media type.

    Spec: image-spec, "Image Manifest", section "Guidelines for Artifact Usage".
    """
    return build_image(
        config or EMPTY_DESCRIPTOR,
        tuple(layers) or (EMPTY_DESCRIPTOR,),
        annotations=annotations,
        subject=subject,
        artifact_type=check_media_type(artifact_type),
    )


def _build(view: ImageManifest | ImageIndex, media_type: str, *, oci: str, docker: str) -> Manifest:
    from ocidist.model import converter  # noqa: PLC0415 -- loads cattrs

    if media_type not in {oci, docker}:
        msg = f"cannot build {media_type}: expected {oci} or {docker}"
        raise UsageError(msg)
    if media_type == docker and (view.subject or view.annotations or view.artifact_type):
        msg = f"{docker} has no subject, annotations or artifact_type: use {oci}"
        raise UsageError(msg)
    if view.artifact_type is not None:
        check_media_type(view.artifact_type)
    return Manifest.of(converter.dump(view), media_type)
