"""Looking at a destination before something is sent there.

A registry is asked itself, and none of its mirrors, with the rights that sending needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist.remote.repository import Repository

if TYPE_CHECKING:
    from ocidist.model.descriptor import Descriptor
    from ocidist.model.digest import Digest
    from ocidist.model.reference import Tag
    from ocidist.transfer.places import Place


async def has_blob(place: Place, digest: Digest) -> bool:
    """Return whether a blob is there."""
    if isinstance(place.repository, Repository):
        return await place.repository.blobs.exists(digest, to_push=True)
    return await place.repository.blobs.exists(digest)


async def has_manifest(place: Place, digest: Digest) -> bool:
    """Return whether a manifest is there."""
    if isinstance(place.repository, Repository):
        return await place.repository.manifests.exists(digest, to_push=True)
    return await place.repository.manifests.exists(digest)


async def named_by(place: Place, tag: Tag) -> Descriptor:
    """Return what a tag names there. Raises NotFoundError."""
    if isinstance(place.repository, Repository):
        return await place.repository.manifests.stat(tag, to_push=True)
    return await place.repository.manifests.stat(tag)
