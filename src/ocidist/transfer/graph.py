"""What a manifest leads to: a walk over everything that has to be copied with it.

Manifests are read level by level, each once, whatever the number of ways that lead to it. A tag is resolved once; all
the rest is read by digest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ocidist._io.fanout import each
from ocidist.errors import (
    LimitExceededError,
    NotFoundError,
    ProtocolError,
    SchemaV1UnsupportedError,
    SizeMismatchError,
    UnsupportedError,
)
from ocidist.errors._transfer import Side
from ocidist.model.digest import Digest
from ocidist.model.manifest import ImageIndex, Manifest, media_types
from ocidist.model.mediatype import FOREIGN_LAYER_TYPES, IMAGE_TYPES, INDEX_TYPES, OCI_ARTIFACT, SCHEMA1_TYPES
from ocidist.model.reference import Tag
from ocidist.remote._answers import foreseen
from ocidist.transfer.blame import blaming
from ocidist.transfer.platforms import (
    CONFIG_TYPES,
    check_suits,
    entries_for,
    expanded,
    indexes_in,
    platform_of,
    reduced,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from ocidist.model.descriptor import Descriptor
    from ocidist.transfer.options import CopyOptions, Referrers
    from ocidist.transfer.places import Place

READS_AT_ONCE: Final = 8
"""Manifests that are read at any moment."""
_MANIFEST_TYPES: Final = frozenset({*IMAGE_TYPES, *INDEX_TYPES, *SCHEMA1_TYPES, OCI_ARTIFACT})


@attrs.frozen
class Survey:
    """What has to be copied for one manifest: itself, and everything it leads to.

    Attributes:
        root: The manifest, as the destination gets it.
        source_digest: Digest of what the source named; another one where only some platforms are wanted.
        manifests: All manifests by digest, the root among them.
        referrers: Those that refer to another one and came along for that.
        tagged: Further tags to be set, and what each names.
        blobs: All blobs, each once.
        foreign: Layers that are left out because of their licence.
    """

    root: Manifest
    source_digest: Digest
    manifests: Mapping[Digest, Manifest]
    referrers: tuple[Digest, ...]
    tagged: tuple[tuple[Tag, Digest], ...]
    blobs: tuple[Descriptor, ...]
    foreign: tuple[Descriptor, ...]

    @property
    def size(self) -> int:
        """Bytes of all blobs."""
        return sum(blob.size for blob in self.blobs)

    def parts(self, digest: Digest) -> tuple[Descriptor, ...]:
        """Return what a manifest is made of."""
        return self.manifests[digest].references


class Walk:
    """Finds out what a manifest leads to.

    Args:
        source: Where it is.
        options: What is wanted of it.
        read: Returns a manifest of the source by tag or digest.
        digest_tags: Returns the tags of the source that begin like a digest.
    """

    def __init__(
        self,
        source: Place,
        options: CopyOptions,
        *,
        read: Callable[[Tag | Digest], Awaitable[Manifest]],
        digest_tags: Callable[[], Awaitable[Sequence[Tag]]],
    ) -> None:
        self._source = source
        self._options = options
        self._read = read
        self._digest_tags = digest_tags
        self._manifests: dict[Digest, Manifest] = {}
        self._sizes: dict[Digest, int] = {}
        self._blobs: dict[Digest, Descriptor] = {}
        self._foreign: dict[Digest, Descriptor] = {}
        self._count = 0
        self._bytes = 0
        self._listed = 0

    async def run(self) -> Survey:
        """Walk, and return what was found.

        Raises:
            CopyError: The source cannot be read, or is not what it says; it has no image for a platform that is wanted;
                it leads to more than the options allow, or to schema 1 manifests.
        """
        locator = self._source.locator or Tag("latest")
        with blaming(Side.SOURCE, locator if isinstance(locator, Digest) else None):
            first = await self._read(locator)
        with blaming(Side.SOURCE, first.digest):
            root = await self._for_platforms(first)
            self._spend(root.size)
            self._add(root)
        await self._follow([root])
        referrers: list[Digest] = []
        tagged: list[tuple[Tag, Digest]] = []
        if self._options.referrers is not None:
            referrers += await self._refer(self._options.referrers, list(self._manifests))
        if self._options.digest_tags:
            tagged += await self._tagged()
        return Survey(
            root,
            first.digest,
            self._manifests,
            tuple(referrers),
            tuple(tagged),
            tuple(self._blobs.values()),
            tuple(self._foreign.values()),
        )

    async def _for_platforms(self, first: Manifest) -> Manifest:
        wanted = self._options.platforms
        if not wanted:
            return first
        if isinstance(first.parse(), ImageIndex):
            whole = await self._expanded(first)
            view = whole.parse()
            assert isinstance(view, ImageIndex)  # noqa: S101 -- it is made of one
            part, chosen = view.select(wanted[0]), entries_for(view, wanted)
            if part is None or len(wanted) > 1:
                found = reduced(whole, chosen)
                return first if found is whole else found
            found = await self._read(part.digest)
            if found.size != part.size:
                raise SizeMismatchError(part.size, found.size)
            return found
        for part in first.references:
            # Artifacts are for all platforms.
            if part.media_type in CONFIG_TYPES:
                check_suits(platform_of(await self._source.repository.blobs.get(part)), wanted)
        return first

    async def _expanded(self, index: Manifest) -> Manifest:
        """Return an index with the entries of the indexes in it, and so on: those may be the ones that are wanted."""
        seen = {index.digest}
        for _ in range(self._options.max_depth):
            view = index.parse()
            parts = indexes_in(view) if isinstance(view, ImageIndex) else []
            if not parts:
                return index
            fresh = [part for part in parts if part.digest not in seen]
            seen.update(part.digest for part in fresh)
            read = await each(fresh, self._read_part, at_once=READS_AT_ONCE)
            found = dict(zip((part.digest for part in fresh), read, strict=True))
            index = expanded(index, {part.digest: found.get(part.digest) for part in parts})
        raise LimitExceededError("the nesting of manifests", self._options.max_depth)

    def _add(self, manifest: Manifest) -> None:
        if manifest.media_type in SCHEMA1_TYPES:
            raise foreseen(SchemaV1UnsupportedError, 400, "schema 1 manifests are read, never pushed")
        if manifest.media_type not in media_types():
            # Without what it leads to, it would only seem to be copied.
            what = f"what a manifest of type {manifest.media_type} is made of is not known"
            raise foreseen(UnsupportedError, 400, what)
        self._manifests[manifest.digest] = manifest

    def _spend(self, size: int) -> None:
        """Take note of a manifest as it is read: those of a level are in memory before the next step looks at them."""
        self._count += 1
        self._bytes += size
        if self._count > self._options.max_manifests:
            raise LimitExceededError("the number of manifests", self._options.max_manifests)
        if self._bytes > self._options.max_manifest_bytes:
            raise LimitExceededError("what the manifests take", self._options.max_manifest_bytes)

    async def _follow(self, level: Sequence[Manifest]) -> None:
        """Read what manifests are made of, level by level."""
        for _ in range(self._options.max_depth):
            parts = self._sort(level)
            if not parts:
                return
            read = await each(parts, self._read_part, at_once=READS_AT_ONCE)
            level = [manifest for manifest in read if manifest is not None]
            for manifest in level:
                with blaming(Side.SOURCE, manifest.digest):
                    self._add(manifest)
        for part in self._sort(level)[:1]:
            with blaming(Side.SOURCE, part.digest):
                raise LimitExceededError("the nesting of manifests", self._options.max_depth)

    def _sort(self, level: Iterable[Manifest]) -> list[Descriptor]:
        """Return the manifests among the parts that were not seen yet; take note of the blobs."""
        fresh: dict[Digest, Descriptor] = {}
        for manifest in level:
            with blaming(Side.SOURCE, manifest.digest):
                parts = manifest.references
            for part in parts:
                if self._sizes.setdefault(part.digest, part.size) != part.size:
                    with blaming(Side.SOURCE, part.digest):
                        raise SizeMismatchError(self._sizes[part.digest], part.size)
                if manifest.media_type in INDEX_TYPES:
                    if part.digest not in self._manifests:
                        fresh[part.digest] = part
                elif part.media_type in FOREIGN_LAYER_TYPES and part.urls and not self._options.foreign_layers:
                    # Without a URL nobody could ever get it but from where the image is.
                    if part.digest not in self._blobs:
                        self._foreign[part.digest] = part
                else:
                    self._blobs.setdefault(part.digest, part)
                    self._foreign.pop(part.digest, None)
        return list(fresh.values())

    async def _read_part(self, part: Descriptor) -> Manifest | None:
        """Return a manifest that an index lists; None if it is a blob."""
        with blaming(Side.SOURCE, part.digest):
            try:
                found = await self._read(part.digest)
            except (NotFoundError, ProtocolError, UnsupportedError):
                if part.media_type in _MANIFEST_TYPES or not await self._source.repository.blobs.exists(part.digest):
                    raise
                self._blobs.setdefault(part.digest, part)
                return None
            if found.size != part.size:
                raise SizeMismatchError(part.size, found.size)
            self._spend(found.size)
        return found

    # --- what refers to them -----------------------------------------------------------------------------------------

    async def _refer(self, wanted: Referrers, subjects: list[Digest]) -> list[Digest]:
        found: list[Digest] = []
        for _ in range(wanted.depth):
            several = await each(subjects, self._referrers_of, at_once=READS_AT_ONCE)
            fresh = dict.fromkeys(
                part.digest
                for parts in several
                for part in parts
                if part.digest not in self._manifests
                and (not wanted.artifact_types or part.artifact_type in wanted.artifact_types)
            )
            read = await each(list(fresh), self._read_if_there, at_once=READS_AT_ONCE)
            # A registry, or whoever wrote the index that stands in for it, may list what refers to something else.
            meant = frozenset(subjects)
            level = [manifest for manifest in read if manifest is not None and self._refers(manifest, meant)]
            for manifest in level:
                with blaming(Side.SOURCE, manifest.digest):
                    self._add(manifest)
            await self._follow(level)
            subjects = [manifest.digest for manifest in level]
            found += subjects
            if not subjects:
                break
        return found

    @staticmethod
    def _refers(manifest: Manifest, subjects: frozenset[Digest]) -> bool:
        with blaming(Side.SOURCE, manifest.digest):
            return manifest.subject is not None and manifest.subject.digest in subjects

    async def _referrers_of(self, subject: Digest) -> list[Descriptor]:
        found: list[Descriptor] = []
        with blaming(Side.SOURCE, subject):
            async for part in self._source.repository.referrers(subject):
                found.append(part)
                self._listed += 1
                if self._listed > self._options.max_manifests:
                    raise LimitExceededError("the number of referrers", self._options.max_manifests)
        return found

    async def _read_if_there(self, name: Digest | Tag) -> Manifest | None:
        with blaming(Side.SOURCE, name if isinstance(name, Digest) else None):
            try:
                found = await self._read(name)
            except NotFoundError:
                return None  # deleted since it was listed, or in spite of it
            self._spend(found.size)
        return found

    async def _tagged(self) -> list[tuple[Tag, Digest]]:
        known = {f"{digest.algorithm}-{digest.encoded}" for digest in self._manifests}
        with blaming(Side.SOURCE):
            tags = await self._digest_tags()
        # Without a suffix it is the index of referrers, which the destination has, or makes, itself.
        wanted = [tag for tag in tags if "." in tag and tag.partition(".")[0] in known]
        read = await each(wanted, self._read_if_there, at_once=READS_AT_ONCE)
        found: list[tuple[Tag, Digest]] = []
        level: list[Manifest] = []
        for tag, manifest in zip(wanted, read, strict=True):
            if manifest is None:
                continue
            found.append((tag, manifest.digest))
            if manifest.digest not in self._manifests:
                with blaming(Side.SOURCE, manifest.digest):
                    self._add(manifest)
                level.append(manifest)
        await self._follow(level)
        return found
