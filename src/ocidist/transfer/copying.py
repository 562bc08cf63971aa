"""Copying a manifest with everything it leads to from one store into another.

Blobs go first, then manifests, those that others are made of before these, and tags last: whatever interrupts a copy,
no tag names something that is not complete. Nothing is kept on the disk in between: what is read is sent on.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from ocidist._io.fanout import each
from ocidist.client import Client
from ocidist.errors import CopyError, ManifestBlobUnknownError, NotFoundError
from ocidist.errors._transfer import Side
from ocidist.model.digest import Digest
from ocidist.model.reference import Tag
from ocidist.observe.events import ContentCopied, ContentSkipped, CopyFinished, CopyStarted
from ocidist.observe.hooks import checked, emit
from ocidist.remote.repository import Repository
from ocidist.transfer.blame import blaming
from ocidist.transfer.graph import Survey, Walk
from ocidist.transfer.moving import Mover, Outcome
from ocidist.transfer.options import AT_ONCE, CopyOptions, Referrers
from ocidist.transfer.places import open_place
from ocidist.transfer.report import CopyReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocidist.model.descriptor import Descriptor
    from ocidist.model.manifest import Manifest
    from ocidist.model.platform import Platform
    from ocidist.observe.hooks import Hook
    from ocidist.transfer.places import Place, Where

MAX_KEPT: Final = 4 * 1024 * 1024
"""Bytes of manifests that a job keeps after it read them, so that planning and copying read each once."""
_MISSES: Final = 2
"""Manifests that may be missing before the rest is taken to be missing, too."""


async def copy(
    source: Where,
    destination: Where,
    *,
    client: Client | None = None,
    platforms: Iterable[Platform | str] = (),
    referrers: Referrers | bool | None = None,
    digest_tags: bool = False,
    foreign_layers: bool = False,
    force: bool = False,
    at_once: int = AT_ONCE,
    hooks: Iterable[Hook] = (),
) -> CopyReport:
    """Copy a manifest, and everything it leads to, from one store into another.

    What the destination has is not sent; what another of its repositories has is mounted, where that is known. The
    source's tag is resolved once: if it moves meanwhile, what it named at first is copied. Without a tag or digest of
    its own the destination gets the source's tag, or none if the source was named by digest.

    A copy that is cancelled or fails leaves what was copied so far, and no open upload. The next one goes on there.

    Args:
        source: What to copy: ``host/repository:tag``, ``host/repository@sha256:...``, ``oci:DIR:name``,
            ``oci-archive:FILE:name``, a ``Reference``, a store, or a pair of a store and a tag or digest.
        destination: Where to: the same forms. A directory is made where there is none, an archive always.
        client: Who asks registries; it is not closed. None makes one for this copy.
        platforms: See ``CopyOptions``, as for all others up to *at_once*.
        referrers: See there.
        digest_tags: See there.
        foreign_layers: See there.
        force: See there.
        at_once: See there.
        hooks: Callables that are given an event for each blob and manifest, and for the copy itself.

    Raises:
        CopyError: One of the stores failed; its cause says how, and it names the store and what was being copied.
        InvalidReferenceError: A text does not follow the grammar.
        UsageError: A place cannot be used; or it is not clear which of several things in a local store is meant.
        StorageError: An archive cannot be opened or made.

    Spec: distribution-spec, "Pulling manifests", "Mounting a blob from another repository", "Pushing Manifests".
    """
    options = CopyOptions(
        platforms=platforms,
        referrers=referrers,
        digest_tags=digest_tags,
        foreign_layers=foreign_layers,
        force=force,
        at_once=at_once,
    )
    copier = Copier(options=options, hooks=hooks)
    async with AsyncExitStack() as stack:
        if client is None:
            client = await stack.enter_async_context(Client(hooks=hooks))
        read = await stack.enter_async_context(open_place(source, client=client))
        write = await stack.enter_async_context(open_place(destination, client=client, write=True))
        return await copier.copy(read, write)


class Copier:
    """Copies any number of things, and sends each blob once: what one repository of a registry has, others mount.

    It belongs to one event loop; any number of its copies may be under way at once.

    Args:
        options: What is copied, unless a copy has options of its own. ``at_once`` is for all copies together.
        hooks: Callables that are given events.

    Raises:
        UsageError: A hook cannot be called.
    """

    def __init__(self, *, options: CopyOptions = CopyOptions(), hooks: Iterable[Hook] = ()) -> None:  # noqa: B008 -- a frozen value
        self._options = options
        self._mover = Mover(at_once=options.at_once, hooks=checked(hooks))
        self._kept: OrderedDict[tuple[str, str, Digest], Manifest] = OrderedDict()
        self._kept_bytes = 0
        self._digest_tags: dict[tuple[str, str], tuple[Tag, ...]] = {}

    def may_have(self, registry: str, digest: Digest, repository: str) -> None:
        """Take note that a repository of a registry may have a blob: a mount from there is tried before it is sent."""
        self._mover.known.hint(registry, digest, repository)

    async def survey(self, source: Place, options: CopyOptions | None = None) -> Survey:
        """Find out what a copy would be made of. Only the source is asked; the tag is resolved for good.

        Raises:
            CopyError: See ``Walk.run``.
        """
        walk = Walk(
            source,
            options or self._options,
            read=lambda name: self._read(source, name),
            digest_tags=lambda: self._tags_like_digests(source),
        )
        return await walk.run()

    async def move(
        self, blob: Descriptor, source: Place, destination: Place, options: CopyOptions | None = None
    ) -> Outcome:
        """Let the destination have a blob, and return how it got it. See ``Mover.move``.

        Raises:
            CopyError: One of the stores failed.
        """
        return await self._mover.move(blob, source, destination, force=(options or self._options).force)

    async def copy(
        self,
        source: Place,
        destination: Place,
        options: CopyOptions | None = None,
        *,
        survey: Survey | None = None,
    ) -> CopyReport:
        """Copy what a place names, with everything it leads to. See the function ``copy``.

        Args:
            source: What to copy.
            destination: Where to.
            options: What is copied; None for the copier's own.
            survey: What ``survey()`` found, if it was called before.

        Raises:
            CopyError: One of the stores failed.
        """
        began = time.monotonic()
        try:
            found = survey or await self.survey(source, options)
            one = _Copy(self._mover, source, destination, survey=found, options=options or self._options)
            return await one.run(began)
        except CopyError as error:
            error.reference = f"{source.text} -> {destination.text}"
            raise

    async def _read(self, source: Place, name: Tag | Digest) -> Manifest:
        base = (source.registry, str(source.repository.name))
        if isinstance(name, Digest) and (kept := self._kept.get((*base, name))) is not None:
            return kept
        found = await source.repository.manifests.get(name)
        key = (*base, found.digest)
        if key not in self._kept:
            self._kept[key] = found
            self._kept_bytes += found.size
        while self._kept_bytes > MAX_KEPT:
            self._kept_bytes -= self._kept.popitem(last=False)[1].size
        return found

    async def _tags_like_digests(self, source: Place) -> tuple[Tag, ...]:
        key = (source.registry, str(source.repository.name))
        if key not in self._digest_tags:
            self._digest_tags[key] = tuple(
                [
                    tag
                    async for tag in source.repository.tags.list()
                    if tag.startswith(("sha256-", "sha512-")) and "." in tag
                ]
            )
        return self._digest_tags[key]


class _Copy:
    """One copy."""

    def __init__(
        self,
        mover: Mover,
        source: Place,
        destination: Place,
        *,
        survey: Survey,
        options: CopyOptions,
    ) -> None:
        self._mover = mover
        self._source = source
        self._destination = destination
        self._survey = survey
        self._options = options
        self._counts: Counter[str] = Counter()
        self._misses = 0

    async def run(self, began: float) -> CopyReport:
        survey, name = self._survey, self._destination.name_of(None)
        about = (self._destination.registry, self._source.name_of(survey.source_digest), name, survey.size)
        emit(self._mover.hooks, CopyStarted(*about, len(survey.blobs), len(survey.manifests)))
        tag = self._tag()
        named = tag is not None and await self._names(tag)
        roots = [survey.root.digest, *survey.referrers, *(digest for _, digest in survey.tagged)]
        needed = await self._needed(roots, there={survey.root.digest} if named else set())
        await self._blobs(needed)
        for level in self._levels(needed):
            await each(level, self._push, at_once=self._options.at_once)
        for other, digest in survey.tagged:
            await self._set(other, digest)
        if tag is not None and not named:
            await self._set(tag, survey.root.digest)
        seconds = time.monotonic() - began
        emit(self._mover.hooks, CopyFinished(*about, seconds))
        return CopyReport(
            source=self._source.name_of(survey.source_digest),
            destination=self._destination.name_of(tag if tag is not None else survey.root.digest),
            digest=survey.root.digest,
            source_digest=survey.source_digest,
            tags=((tag,) if tag is not None else ()) + tuple(other for other, _ in survey.tagged),
            foreign_skipped=len(survey.foreign),
            seconds=seconds,
            **self._counts,
        )

    def _tag(self) -> Tag | None:
        """Return the tag that the destination gets."""
        wanted = self._destination.locator
        if isinstance(wanted, Digest):
            with blaming(Side.DESTINATION, wanted):
                # What is asked for is what is copied, or nothing is.
                wanted.verify(self._survey.root.data)
            return None
        if wanted is not None:
            return wanted
        return self._source.locator if isinstance(self._source.locator, Tag) else None

    async def _names(self, tag: Tag) -> bool:
        """Return whether the tag names the manifest already, so that all it leads to is there."""
        if self._options.force:
            return False
        with blaming(Side.DESTINATION, self._survey.root.digest):
            try:
                found = await self._destination.repository.manifests.stat(tag)
            except NotFoundError:
                return False
        if found.digest != self._survey.root.digest:
            return False
        self._mover.known.add(self._destination, found.digest)
        return True

    # --- manifests ---------------------------------------------------------------------------------------------------

    async def _needed(self, roots: Iterable[Digest], there: set[Digest]) -> dict[Digest, Manifest]:
        """Return the manifests that have to be sent; what those lead to that are there is taken to be there, too."""
        needed: dict[Digest, Manifest] = {}
        seen: set[Digest] = set()
        level = list(roots)
        while level:
            fresh = list(dict.fromkeys(digest for digest in level if digest not in seen))
            seen.update(fresh)
            present = await each(fresh, lambda digest: self._is_there(digest, there), at_once=self._options.at_once)
            missing = [digest for digest, found in zip(fresh, present, strict=True) if not found]
            needed |= {digest: self._survey.manifests[digest] for digest in missing}
            self._counts["manifests_skipped"] += len(fresh) - len(missing)
            level = [
                part.digest
                for digest in missing
                for part in self._survey.parts(digest)
                if part.digest in self._survey.manifests
            ]
        return needed

    async def _is_there(self, digest: Digest, there: set[Digest]) -> bool:
        manifest = self._survey.manifests[digest]
        found = digest in there or (
            not self._options.force
            and (self._mover.known.has(self._destination, digest) or await self._answers(digest))
        )
        if found:
            name = self._destination.name_of(None)
            at = (self._destination.registry, self._source.name_of(digest), name)
            emit(self._mover.hooks, ContentSkipped(*at, manifest.size))
        return found

    async def _answers(self, digest: Digest) -> bool:
        # The root was asked for by its tag; and where some are missing the others are, too, for all that it matters:
        # blobs are looked for one by one.
        by_tag = digest == self._survey.root.digest and self._tag() is not None
        if by_tag or self._misses >= _MISSES:
            return False
        with blaming(Side.DESTINATION, digest):
            found = await self._destination.repository.manifests.exists(digest)
        if found:
            self._mover.known.add(self._destination, digest)
        else:
            self._misses += 1
        return found

    def _levels(self, needed: dict[Digest, Manifest]) -> list[list[Digest]]:
        """Return the manifests in the order in which they are pushed: what they are made of, or refer to, first."""
        heights: dict[Digest, int] = {}
        for start in needed:
            stack = [start]
            while stack:
                digest = stack[-1]
                if digest in heights:
                    stack.pop()
                    continue
                before = self._before(digest, needed)
                waiting = [other for other in before if other not in heights]
                if waiting:
                    stack += waiting
                    continue
                heights[digest] = 1 + max((heights[other] for other in before), default=-1)
                stack.pop()
        levels: list[list[Digest]] = [[] for _ in range(1 + max(heights.values(), default=-1))]
        for digest, height in heights.items():
            levels[height].append(digest)
        root = self._survey.root.digest
        # What is tagged is pushed with its tag, if nothing has to come in between.
        if self._tag() is not None and levels and root in levels[-1] and not self._is_referred_to():
            levels[-1].remove(root)
        return levels

    def _before(self, digest: Digest, needed: dict[Digest, Manifest]) -> list[Digest]:
        parts = [part.digest for part in self._survey.parts(digest) if part.digest in needed]
        subject = self._survey.manifests[digest].subject
        if subject is not None and subject.digest in needed and digest in self._survey.referrers:
            parts.append(subject.digest)
        return parts

    def _is_referred_to(self) -> bool:
        return bool(self._survey.referrers or self._survey.tagged)

    async def _push(self, digest: Digest, tags: Sequence[Tag] = ()) -> None:
        manifest = self._survey.manifests[digest]
        with blaming(Side.DESTINATION, digest):
            try:
                await self._push_once(manifest, tags)
            except ManifestBlobUnknownError:
                # It said that it has them: deleted meanwhile, or it says so to everybody.
                blobs = [part for part in manifest.references if part.digest not in self._survey.manifests]
                await each(blobs, self._send_again, at_once=self._options.at_once)
                await self._push_once(manifest, tags)
        self._mover.known.add(self._destination, digest)
        self._counts["manifests_copied"] += 1
        self._counts["referrers_copied"] += digest in self._survey.referrers
        at = (self._destination.registry, self._source.name_of(digest), self._destination.name_of(None))
        emit(self._mover.hooks, ContentCopied(*at, manifest.size))

    async def _push_once(self, manifest: Manifest, tags: Sequence[Tag]) -> None:
        repository = self._destination.repository
        if isinstance(repository, Repository):
            found = await repository.manifests.push(manifest, tags=tags, by_digest=not tags)
        else:
            found = await repository.manifests.push(manifest, tags=tags)
        for error in found.failed.values():
            raise error

    async def _set(self, tag: Tag, digest: Digest) -> None:
        self._counts["tags_set"] += 1
        if self._mover.known.has(self._destination, digest):
            with blaming(Side.DESTINATION, digest):
                await self._push_once(self._survey.manifests[digest], [tag])
        else:
            await self._push(digest, [tag])

    # --- blobs -------------------------------------------------------------------------------------------------------

    async def _blobs(self, needed: dict[Digest, Manifest]) -> None:
        wanted = {part.digest for manifest in needed.values() for part in manifest.references}
        blobs = [blob for blob in self._survey.blobs if blob.digest in wanted]
        await each(blobs, self._move, at_once=self._options.at_once)

    async def _move(self, blob: Descriptor) -> None:
        outcome = await self._mover.move(blob, self._source, self._destination, force=self._options.force)
        self._counts[f"blobs_{outcome.value}"] += 1
        if outcome is Outcome.COPIED:
            self._counts["bytes_copied"] += blob.size

    async def _send_again(self, blob: Descriptor) -> None:
        if any(blob.digest == left.digest for left in self._survey.foreign):
            return
        await self._mover.send_again(blob, self._source, self._destination)
        self._counts["blobs_copied"] += 1
        self._counts["bytes_copied"] += blob.size
