"""The stores that the conformance tests of this folder run over, each behind the same few questions."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from ocidist.model.digest import Digest
    from ocidist.model.reference import RepositoryName
    from ocidist.storage.protocols import Namespace, Repository
    from tests.peers.images import Image


class Kind(enum.StrEnum):
    """A store."""

    MEMORY = "memory"
    LAYOUT = "layout"
    SERVED_MEMORY = "served-memory"
    SERVED_LAYOUT = "served-layout"
    DOCKER = "docker-registry"


@attrs.frozen
class Store:
    """A store to be tested.

    Attributes:
        kind: Which one.
        namespace: Its repositories.
        prefix: What the names of this test's repositories begin with.
    """

    kind: Kind
    namespace: Namespace
    prefix: str

    @property
    def is_local(self) -> bool:
        """Whether it is one of this process, that does what no registry does over HTTP."""
        return self.kind in {Kind.MEMORY, Kind.LAYOUT}

    @property
    def is_full(self) -> bool:
        """Whether it does everything that distribution-spec 1.1 has."""
        return self.kind is not Kind.DOCKER

    def name(self, name: str) -> str:
        """Return the full name of a repository of this test."""
        return f"{self.prefix}{name}"

    def repository(self, name: str = "a") -> Repository:
        """Return a repository of this test."""
        return self.namespace.repository(self.name(name))


async def push(repository: Repository, image: Image, *tags: str) -> Digest:
    """Push an image with all that belongs to it."""
    for blob in image.all_blobs:
        await repository.blobs.push(blob.data)
    for each in image.walk():
        names = tags if each is image else ()
        await repository.manifests.push(each.manifest.data, tags=names, media_type=each.manifest.media_type)
    return (await repository.manifests.stat(image.digest)).digest


def names(found: list[RepositoryName]) -> list[str]:
    """Return names as plain text."""
    return [str(name) for name in found]
