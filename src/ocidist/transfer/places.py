"""Where things are copied from and to: a repository of any kind, and what is meant in it."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias
from weakref import ref

import attrs

from ocidist.errors import InvalidReferenceError, UsageError
from ocidist.model.digest import Digest
from ocidist.model.places import ARCHIVE, LAYOUT, on_registry
from ocidist.model.reference import Reference, Tag, located
from ocidist.remote.repository import Repository
from ocidist.storage.archive import Archive, ArchiveMode
from ocidist.storage.layout import Layout
from ocidist.storage.memory import MemoryRepository
from ocidist.transfer.local import need_layout, read_local

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ocidist.client import Client
    from ocidist.storage import protocols

_LOCAL_LIMIT: Final = 1000
"""Manifests of a local store that are looked at to find the one that is meant."""
_numbers = count(1)
_known: dict[int, tuple[ref[object], int]] = {}


@attrs.frozen
class Place:
    """Something in a store: make one with ``open_place()``.

    Attributes:
        repository: The store.
        locator: What is meant in it. None in a source means the only thing there is, or ``latest`` on a registry; in a
            destination, the source's tag.
        registry: Tells registries apart: blobs may be mounted between repositories of the same one.
        text: The place for people to read.
    """

    repository: protocols.Repository = attrs.field(repr=False)
    locator: Tag | Digest | None
    registry: str
    text: str

    @property
    def is_remote(self) -> bool:
        """Whether it is on a registry that is asked over the network."""
        return isinstance(self.repository, Repository)

    def is_same_repository(self, other: Place) -> bool:
        """Return whether another place is in the same repository."""
        return (self.registry, self.repository.name) == (other.registry, other.repository.name)

    def name_of(self, item: Tag | Digest | None) -> str:
        """Return the name of something in the same repository, for people to read."""
        base = self.text
        if self.locator is not None:
            base = base.removesuffix(str(self.locator)).removesuffix("@").removesuffix(":")
        if item is None:
            return base
        return f"{base}@{item}" if isinstance(item, Digest) else f"{base}:{item}"


Where: TypeAlias = "str | Reference | protocols.Repository | tuple[protocols.Repository, str] | Place"
"""What callers name a place by: a text, a reference, a store, or a store with a tag or digest."""


@asynccontextmanager
async def open_place(where: Where, *, client: Client | None, write: bool = False) -> AsyncIterator[Place]:
    """Yield the place that a caller means; an archive is open within the block, and made when it is left.

    Args:
        where: ``host/repository:tag``, ``host/repository@sha256:...``, ``oci:DIR:name``, ``oci-archive:FILE:name``, a
            ``Reference``, a store, or a pair of a store and a tag or digest.
        client: Who asks registries; None where none is named.
        write: Whether it is a destination. An archive is then made anew.

    Raises:
        InvalidReferenceError: The text does not follow the grammar.
        UsageError: It is nothing that can be copied; or a local store holds several things and none is named.
        StorageError: An archive cannot be opened.
    """
    if isinstance(where, str) and where.startswith(ARCHIVE):
        path, locator, name = _split(where, ARCHIVE, write=write)
        async with Archive(path, ArchiveMode.WRITE if write else ArchiveMode.READ) as archive:
            # What is written takes the place of an archive of that name, and has nothing of it.
            registry = f"{ARCHIVE}{path.absolute()}{' (new)' if write else ''}"
            place = Place(archive, locator, registry, where)
            yield place if write else await _found(place, archive, name)
    elif isinstance(where, str) and where.startswith(LAYOUT):
        path, locator, name = _split(where, LAYOUT, write=write)
        layout = Layout(path)
        if not write and locator is None:
            await need_layout(path)
        place = Place(layout, locator, f"{LAYOUT}{path.absolute()}", where)
        yield place if write else await _found(place, layout, name)
    else:
        place = _place(where, client, write=write)
        if write or place.locator is not None:
            yield place
        elif place.is_remote:
            yield attrs.evolve(place, locator=Tag("latest"), text=f"{place.text}:latest")
        else:
            yield await _only(place)


def _split(where: str, prefix: str, *, write: bool) -> tuple[Path, Tag | Digest | None, str | None]:
    """Return path, locator and name of a local store; a name in a source need not be a tag, and then has no locator."""
    found = read_local(where, prefix)
    if found.digest is not None:
        return Path(found.path), found.digest, None
    try:
        return Path(found.path), found.tag, found.name
    except InvalidReferenceError:
        if write:
            raise
        return Path(found.path), None, found.name


async def _found(place: Place, store: Layout | Archive, name: str | None) -> Place:
    if place.locator is not None:
        return place
    if name is not None:
        return attrs.evolve(place, locator=(await store.resolve(name)).digest)
    return await _only(place)


def _place(where: Where, client: Client | None, *, write: bool) -> Place:
    match where:
        case Place():
            return where
        case str() | Reference():
            return _remote(where, client, write=write)
        case (repository, str(locator)):
            return _in_store(repository, Digest(locator) if ":" in locator else Tag(locator))
        case tuple():
            raise UsageError("a place in a store is a pair: the store, and a tag or digest")
        case _:
            return _in_store(where, None)


def _remote(where: str | Reference, client: Client | None, *, write: bool) -> Place:
    reference = located(on_registry(where)) if isinstance(where, str) else where
    if client is None:
        raise UsageError(f"a client is needed to ask for {reference}")
    if write and reference.tag is not None and reference.digest is not None:
        raise UsageError(f"a destination has a tag or a digest, not both: {reference}")
    repository = client.repository(reference)
    return Place(repository, reference.digest or reference.tag, reference.registry.identity, str(reference))


def _in_store(repository: protocols.Repository, locator: Tag | Digest | None) -> Place:
    if isinstance(repository, str | bytes | Path) or not all(
        hasattr(repository, name) for name in ("blobs", "manifests", "tags", "name")
    ):
        kind = type(repository).__name__
        instead = ""
        if isinstance(repository, Path):
            instead = f"; a layout in a directory is Layout(path) or '{LAYOUT}DIR'"
        elif hasattr(repository, "repository"):
            instead = "; a repository of it is what its repository(name) returns"
        raise UsageError(f"something is copied from or to a text, a reference or a repository, not {kind}{instead}")
    if isinstance(repository, Repository):
        reference = repository.reference
        if isinstance(locator, Digest):
            reference = reference.with_digest(locator)
        elif locator is not None:
            reference = reference.with_tag(locator)
        return Place(repository, locator, reference.registry.identity, str(reference))
    shared = repository.registry if isinstance(repository, MemoryRepository | Layout) else None
    path = getattr(repository, "path", None)
    suffix = "" if locator is None else f"@{locator}" if isinstance(locator, Digest) else f":{locator}"
    if isinstance(path, Path):
        prefix = ARCHIVE if isinstance(repository, Archive) else LAYOUT
        registry = f"{prefix}{path.absolute()}" if shared is None else f"layouts {_number(shared)}"
        return Place(repository, locator, registry, f"{prefix}{path}{suffix}")
    # A store that is not known to share blobs with another one is a registry of its own.
    registry = f"{type(repository).__name__} {_number(repository if shared is None else shared)}"
    return Place(repository, locator, registry, f"{repository.name}{suffix}")


def _number(store: object) -> int:
    """Return the number of a store: the same for the same object. What it takes for its equals says nothing."""
    found = _known.get(id(store))
    if found is not None and found[0]() is store:
        return found[1]
    number, key = next(_numbers), id(store)
    # Where there are no weak references to it, each place of it counts as one of its own.
    with suppress(TypeError):
        _known[key] = ref(store, lambda _: _known.pop(key, None)), number
    return number


async def _only(place: Place) -> Place:
    """Return the place of the only thing in a local store."""
    repository = place.repository
    tags = [tag async for tag in repository.tags.list()]
    named = {(await repository.manifests.stat(tag)).digest for tag in tags[:_LOCAL_LIMIT]}
    if len(tags) == 1:
        return attrs.evolve(place, locator=tags[0], text=f"{place.text}:{tags[0]}")
    if not tags:
        named = await _roots(repository)
    if len(named) == 1:
        (digest,) = named
        return attrs.evolve(place, locator=digest, text=f"{place.text}@{digest}")
    listed: list[str] = [*tags] or [f"@{digest}" for digest in sorted(named)]
    there = f"{', '.join(listed[:10])}{'...' if len(listed) > 10 else ''}" if listed else "nothing"
    raise UsageError(f"say what is meant in {place.text}: it has {there if tags else f'no tag, but {there}'}")


async def _roots(repository: protocols.Repository) -> set[Digest]:
    """Return the manifests that no other manifest is made of."""
    digests = getattr(repository.manifests, "digests", None)
    if digests is None:
        return set()
    found: set[Digest] = set()
    parts: set[Digest] = set()
    async for digest in digests():
        found.add(digest)
        parts |= {each.digest for each in (await repository.manifests.get(digest)).references}
        if len(found) > _LOCAL_LIMIT:
            return set()
    return found - parts
