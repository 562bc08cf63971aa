"""Looking at a destination before something is sent there.

A registry is asked itself, and none of its mirrors, with the rights that sending needs. Where it does not say what is
there, to those who may write and not read for example, everything is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ocidist.errors import NotFoundError, ResponseError
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
    except ResponseError as error:
        return _nothing(error)


async def has_manifest(place: Place, digest: Digest) -> bool:
    """Return whether a manifest is known to be there."""
    try:
        if isinstance(place.repository, Repository):
            return await place.repository.manifests.exists(digest, to_push=True)
        return await place.repository.manifests.exists(digest)
    except ResponseError as error:
        return _nothing(error)


async def named_by(place: Place, tag: Tag) -> Digest | None:
    """Return what a tag is known to name there."""
    try:
        if isinstance(place.repository, Repository):
            return (await place.repository.manifests.stat(tag, to_push=True)).digest
        return (await place.repository.manifests.stat(tag)).digest
    except NotFoundError:
        return None
    except ResponseError as error:
        _nothing(error)
        return None


def _nothing(error: ResponseError) -> Literal[False]:
    """Return that nothing is known; raise what says that the registry is overloaded or fails, as sending would."""
    if error.status in {408, 429} or error.status >= 500:
        raise error
    return False
