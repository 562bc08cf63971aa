"""A registry in memory: for tests, for demonstrations, and as the store behind the embedded server.

Every operation is one step between two awaits, so tasks of one event loop never see half of it. A store belongs to one
event loop; it is not safe to use from several threads at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from ocidist.errors import UsageError
from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest
from ocidist.model.reference import RepositoryName
from ocidist.storage.answers import at_once, paginated
from ocidist.storage.memory_blobs import MemoryBlobs
from ocidist.storage.memory_manifests import MemoryManifests, MemoryTags
from ocidist.storage.memory_state import State
from ocidist.storage.registry_blobs import RegistryBlobs

if TYPE_CHECKING:
    from ocidist._io.pages import Paginator


class MemoryRepository:
    """A repository in memory. Get it from ``MemoryRegistry.repository``.

    Attributes:
        name: Its name within the registry.
        registry: What it shares its blobs with: the same for all repositories of a registry.
        blobs: Its blobs.
        manifests: Its manifests.
        tags: Its tags.
    """

    def __init__(self, state: State, name: RepositoryName) -> None:
        self._state = state
        self.registry: object = state
        self.name = name
        self.blobs: MemoryBlobs = MemoryBlobs(state, name)
        self.manifests: MemoryManifests = MemoryManifests(state, name)
        self.tags: MemoryTags = MemoryTags(state, name)

    def __repr__(self) -> str:
        return f"<MemoryRepository {self.name}>"

    def referrers(
        self, subject: Digest | Descriptor | str, *, artifact_type: str | None = None
    ) -> Paginator[Descriptor]:
        """List the manifests whose subject is *subject*, in the order of their digests.

        The subject itself need not exist. A repository that does not exist has no referrers.

        Args:
            subject: The manifest they refer to.
            artifact_type: Only those of this type.

        Raises:
            InvalidDigestError: The subject is no digest.

        Spec: distribution-spec, "Listing Referrers".
        """
        wanted = subject.digest if isinstance(subject, Descriptor) else Digest(subject)

        def take(last: str | None, limit: int) -> list[Descriptor]:
            content = self._state.find(self.name)
            found = {} if content is None else content.referrers.get(wanted, {})
            fitting = (
                digest
                for digest, each in found.items()
                if (last is None or digest > last) and artifact_type in {None, each.artifact_type}
            )
            return [found[digest] for digest in sorted(fitting)[:limit]]

        return paginated(
            at_once(take), lambda each: each.digest, after=None, page_size=None, what=f"the referrers of {wanted}"
        )


class MemoryRegistry:
    """A set of repositories in memory; blobs that several of them have are stored once.

    Args:
        max_bytes: Most bytes of blobs, manifests and unfinished uploads together; None for no limit. What would exceed
            it raises ``StorageError``.
        check_references: Whether pushing a manifest fails with ``ManifestBlobUnknownError`` while content it names is
            missing. Its subject may always be missing.

    Attributes:
        blobs: The blobs of all repositories together.

    Raises:
        UsageError: The limit is negative.
    """

    def __init__(self, *, max_bytes: int | None = None, check_references: bool = True) -> None:
        if max_bytes is not None and max_bytes < 0:
            raise UsageError("a store cannot hold fewer than no bytes")
        self._state = State(max_bytes=max_bytes, check_references=check_references)
        self.blobs: RegistryBlobs = RegistryBlobs(self._size, self._digests)

    def __repr__(self) -> str:
        return f"<MemoryRegistry, {self.used_bytes} bytes>"

    @property
    def used_bytes(self) -> int:
        """Bytes of blobs, manifests and unfinished uploads."""
        return self._state.budget.used

    def repository(self, name: RepositoryName | str) -> MemoryRepository:
        """Return the repository of this name; it begins to exist when something is stored in it.

        Raises:
            InvalidReferenceError: It is no repository name.
        """
        return MemoryRepository(self._state, RepositoryName(name))

    def repositories(self, *, after: str | None = None, page_size: int | None = None) -> Paginator[RepositoryName]:
        """List the repositories in ASCII order.

        Args:
            after: Only repositories after this text.
            page_size: Most names per page.

        Raises:
            UsageError: The page size is not positive.
        """
        return paginated(at_once(self._state.order.after), str, after=after, page_size=page_size, what="repositories")

    async def _size(self, digest: Digest) -> int | None:
        await checkpoint()
        return self._state.pool[digest].size if digest in self._state.pool else None

    async def _digests(self) -> list[Digest]:
        await checkpoint()
        return list(self._state.pool)

    async def remove(self, name: RepositoryName | str) -> None:
        """Remove a repository with everything in it, unfinished uploads included.

        Raises:
            NameUnknownError: There is no such repository.
            InvalidReferenceError: It is no repository name.
        """
        await checkpoint()
        self._state.remove(RepositoryName(name))
