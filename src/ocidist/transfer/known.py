"""What a job has learned of its destinations: which repositories have which content, and how they take mounts."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ocidist.model.digest import Digest
    from ocidist.transfer.places import Place

MAX_KNOWN: Final = 200_000
"""Blobs and manifests that a job remembers where they are; those that were used least recently are asked for again."""
_MOST_HOMES: Final = 1000


class Known:
    """Remembers which repositories of which registries have which content."""

    def __init__(self) -> None:
        self._homes: OrderedDict[tuple[str, Digest], dict[str, None]] = OrderedDict()
        self._hints: dict[tuple[str, Digest], tuple[str, ...]] = {}

    def has(self, place: Place, digest: Digest) -> bool:
        """Return whether a repository is known to have something."""
        return place.repository.name in self._homes.get((place.registry, digest), ())

    def add(self, place: Place, digest: Digest) -> None:
        """Take note that a repository has something."""
        key = (place.registry, digest)
        homes = self._homes.setdefault(key, {})
        if len(homes) < _MOST_HOMES:
            homes[str(place.repository.name)] = None
        self._homes.move_to_end(key)
        if len(self._homes) > MAX_KNOWN:
            self._homes.popitem(last=False)

    def forget(self, place: Place, digest: Digest) -> None:
        """Forget that a repository has something; others may still have it."""
        self._homes.get((place.registry, digest), {}).pop(place.repository.name, None)

    def home(self, registry: str, digest: Digest) -> str | None:
        """Return a repository of a registry that is known to have a blob, or None."""
        return next(iter(self._homes.get((registry, digest), ())), None)

    def hint(self, registry: str, digest: Digest, repository: str) -> None:
        """Take note that a repository may have a blob."""
        key = (registry, digest)
        before = self._hints.get(key, ())
        if repository not in before:
            self._hints[key] = (*before, repository)

    def hints(self, registry: str, digest: Digest) -> tuple[str, ...]:
        """Return the repositories of a registry that may have a blob."""
        return self._hints.get((registry, digest), ())
