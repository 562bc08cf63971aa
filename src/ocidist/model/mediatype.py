"""Media type names, and the ``Accept`` header made of them.

Spec: image-spec, "Media Types"; Docker, "Image Manifest Version 2, Schema 2", "Media Types".
"""

from __future__ import annotations

from typing import Final

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
OCI_ARTIFACT: Final = "application/vnd.oci.artifact.manifest.v1+json"
"""The artifact manifest that was withdrawn before image-spec 1.1; some registries still hold a few."""

OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_FOREIGN_LAYER: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar"
OCI_FOREIGN_LAYER_GZIP: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
OCI_FOREIGN_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"

DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
DOCKER_SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"

OCTET_STREAM: Final = "application/octet-stream"

IMAGE_TYPES: Final = (OCI_MANIFEST, DOCKER_MANIFEST)
"""Manifests with a config and layers."""

INDEX_TYPES: Final = (OCI_INDEX, DOCKER_LIST)
"""Manifests that list manifests."""

SCHEMA1_TYPES: Final = (DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED)
"""The format before content addressing: recognised, never asked for."""

FOREIGN_LAYER_TYPES: Final = frozenset(
    {OCI_FOREIGN_LAYER, OCI_FOREIGN_LAYER_GZIP, OCI_FOREIGN_LAYER_ZSTD, DOCKER_FOREIGN_LAYER_GZIP}
)
"""Layers that their licence keeps off most registries."""

MANIFEST_TYPES: Final = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST)
"""What a client asks for unless told otherwise."""


def manifest_accept(*types: str) -> str:
    """Return the ``Accept`` value for a manifest request, as one header.

    Some registries read only the first of several headers, and convert to schema 1 what was not named.

    Args:
        types: Media types in order of preference; none means ``MANIFEST_TYPES``.
    """
    return ", ".join(types or MANIFEST_TYPES)


DEFAULT_ACCEPT: Final = manifest_accept()
"""``Accept`` of a manifest request that names no types of its own."""


def bare(content_type: str) -> str:
    """Return a ``Content-Type`` value in lower case without its parameters."""
    return content_type.partition(";")[0].strip(" \t").lower()
