"""Looking at a destination before something is sent there.

A registry is asked itself, and none of its mirrors, with the rights that sending needs. Who may write and not read does
not learn what is there: then everything is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist.errors import DeniedError, NotFoundError
from ocidist.remote.repository import Repository

if TYPE_CHECKING:
    from ocidist.model.digest import Digest
    from ocidist.model.reference import Tag
    from ocidist.transfer.places import Place


async def has_blob(place: Place, digest: Digest) -> bool:
    """Return whether a blob is known to be there."""
    try:
        if isinstance(place.repository, Repository):
            return await place.repository.blobs.exists(digest, to_push=True)
        return await place.repository.blobs.exists(digest)
    except DeniedError:
        return False


async def has_manifest(place: Place, digest: Digest) -> bool:
    """Return whether a manifest is known to be there."""
    try:
        if isinstance(place.repository, Repository):
            return await place.repository.manifests.exists(digest, to_push=True)
        return await place.repository.manifests.exists(digest)
    except DeniedError:
        return False


async def named_by(place: Place, tag: Tag) -> Digest | None:
    """Return what a tag is known to name there."""
    try:
        if isinstance(place.repository, Repository):
            return (await place.repository.manifests.stat(tag, to_push=True)).digest
        return (await place.repository.manifests.stat(tag)).digest
    except (DeniedError, NotFoundError):
        return None
