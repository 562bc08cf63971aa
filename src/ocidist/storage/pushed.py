"""What local stores make sure of before they take a manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist.errors import ErrorInfo, ManifestBlobUnknownError, SchemaV1UnsupportedError, UsageError
from ocidist.model.manifest import Manifest
from ocidist.model.mediatype import FOREIGN_LAYER_TYPES, SCHEMA1_TYPES
from ocidist.storage.answers import refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocidist.model.digest import Digest
    from ocidist.model.reference import RepositoryName


def made(manifest: Manifest | bytes, media_type: str | None) -> Manifest:
    """Return the manifest for what a caller gave.

    Raises:
        MalformedManifestError: The bytes are not what their media type says.
        DigestMismatchError: The bytes do not have the manifest's digest.
        SchemaV1UnsupportedError: It is a schema 1 manifest.
        UsageError: The media type contradicts the manifest's.
    """
    if isinstance(manifest, Manifest):
        if media_type is not None and media_type != manifest.media_type:
            raise UsageError(f"the manifest is {manifest.media_type}, it cannot be stored as {media_type}")
        manifest.digest.verify(manifest.data)
        found = manifest
    else:
        found = Manifest.of(manifest, media_type)
    if found.media_type in SCHEMA1_TYPES:
        raise refusal(SchemaV1UnsupportedError, 400, "schema 1 manifests are not taken")
    return found


def needed(manifest: Manifest) -> Iterable[Digest]:
    """Return the content that has to be there before a manifest."""
    # Their licence keeps some layers off registries; they are read from their own URLs.
    return dict.fromkeys(
        each.digest for each in manifest.references if not (each.media_type in FOREIGN_LAYER_TYPES and each.urls)
    )


def lacking(name: RepositoryName, digests: Iterable[Digest]) -> ManifestBlobUnknownError:
    """Return the error for a manifest that names content that is not there."""
    error = refusal(ManifestBlobUnknownError, 400, f"the manifest names content that is not in {name}")
    error.digests = tuple(digests)
    error.errors = tuple(
        ErrorInfo("MANIFEST_BLOB_UNKNOWN", "the manifest names content that is not there", digest)
        for digest in error.digests
    )
    return error
