"""Stores with an image in them, and what is in a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist import MemoryRegistry
from tests.peers.images import OCI_INDEX, Image
from tests.remote.support import push_image

if TYPE_CHECKING:
    from ocidist.storage.protocols import Repository


async def contents(repository: Repository, root: str) -> dict[str, bytes]:
    """Return everything that a manifest leads to, by digest, read anew."""
    manifest = await repository.manifests.get(root)
    found = {str(manifest.digest): manifest.data}
    for part in manifest.references:
        if manifest.media_type == OCI_INDEX:
            found |= await contents(repository, part.digest)
        else:
            found[str(part.digest)] = await repository.blobs.get(part)
    return found


def expected(top: Image) -> dict[str, bytes]:
    """Return everything that an image or index is made of, by digest."""
    everything = (*top.all_blobs, *(each.manifest for each in top.walk()))
    return {content.digest: content.data for content in everything}


async def in_memory(top: Image, *tags: str, name: str = "acme/app") -> Repository:
    """Return a repository in memory that has an image."""
    repository = MemoryRegistry().repository(name)
    await push_image(repository, top, *tags)  # type: ignore[arg-type]  # another store does as well
    return repository
