"""One copy: what is missing at the destination, in the order in which it has to come.

Blobs go first, then manifests, those that others are made of before these, and tags last: whatever interrupts a copy,
no tag names something that is not complete. A referrer that the destination refuses for good is no part of the image:
it is told once all the rest is there.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from ocidist._io.fanout import each
from ocidist._io.locks import Locks
from ocidist.errors import (
    AuthError,
    CopyError,
    DigestInvalidError,
    DigestMismatchError,
    ManifestBlobUnknownError,
    ManifestInvalidError,
    ResponseError,
)
from ocidist.errors._transfer import Side
from ocidist.model.digest import Digest
from ocidist.model.mediatype import INDEX_TYPES, OCI_ARTIFACT
from ocidist.model.reference import Tag
from ocidist.observe.events import ContentCopied, ContentSkipped, CopyFinished, CopyStarted
from ocidist.observe.hooks import emit
from ocidist.remote.repository import Repository
from ocidist.transfer.blame import blaming
from ocidist.transfer.looking import has_manifest, named_by
from ocidist.transfer.moving import Mover, Outcome
from ocidist.transfer.report import CopyReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ocidist.model.descriptor import Descriptor
    from ocidist.model.manifest import Manifest
    from ocidist.transfer.graph import Survey
    from ocidist.transfer.options import CopyOptions
    from ocidist.transfer.places import Place

_MISSES: Final = 2
"""Manifests that may be missing before the rest is taken to be missing, too."""
_WITHDRAWN: Final = "Not every registry takes manifests of this kind; Referrers(artifact_types=...) says which to copy"
_REFUSED: Final = (
    "All the rest was copied, and the tag is set, but the destination does not take {}; Referrers(artifact_types=...) "
    "says which to copy"
)
_LEFT_OUT: Final = "Layers that it names were left out because of their licence; foreign_layers=True copies them"


class OneCopy:
    """One copy.

    Args:
        mover: Gets blobs to the destination.
        source: Where it is read from.
        destination: Where it goes.
        survey: What it is made of.
        options: What is wanted of it.
    """

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
        self._locks = Locks()
        self._source = source
        self._destination = destination
        self._survey = survey
        self._options = options
        self._foreign = frozenset(blob.digest for blob in survey.foreign)
        self._referrers = frozenset(survey.referrers)
        self._outcomes: dict[Digest, Outcome] = {}
        self._again: set[Digest] = set()
        self._sent: set[Digest] = set()
        self._skipped: set[Digest] = set()
        self._tags_set = 0
        self._misses = 0
        self._listed: dict[Digest, set[Digest]] = {}
        self._image = frozenset(self._made_of(survey.root.digest))
        self._refused: dict[Digest, CopyError] = {}

    async def run(self, began: float, *, absent: bool = False) -> CopyReport:
        """Copy, and return what was done.

        Args:
            began: When it began, as ``time.monotonic()`` has it.
            absent: Whether the destination is known not to have the tag.

        Raises:
            CopyError: One of the stores failed; or the destination refused a referrer, and has all the rest.
        """
        survey, name = self._survey, self._destination.name_of(None)
        about = (self._destination.registry, self._source.name_of(survey.source_digest), name, survey.size)
        emit(self._mover.hooks, CopyStarted(*about, len(survey.blobs), len(survey.manifests)))
        for blob in survey.foreign:
            self._tell(ContentSkipped, blob.digest, blob.size)
        tag = self._tag()
        named = tag is not None and not absent and await self._names(tag, survey.root.digest)
        roots = [survey.root.digest, *survey.referrers, *(digest for _, digest in survey.tagged)]
        needed = await self._needed(roots, there={survey.root.digest} if named else set())
        await self._blobs(needed)
        for level in self._levels(needed):
            await each(level, lambda digest: self._push_or_note(digest, needed), at_once=self._options.at_once)
        for other, digest in survey.tagged:
            if digest not in self._refused and (digest in self._sent or not await self._names(other, digest)):
                with self._noting(digest):
                    await self._set(other, digest)
        if tag is not None and not named:
            await self._set(tag, survey.root.digest)
        for error in self._refused.values():
            error.hint = _REFUSED.format(f"{len(self._refused)} of its referrers")
            raise error
        seconds = time.monotonic() - began
        emit(self._mover.hooks, CopyFinished(*about, seconds))
        return CopyReport(
            source=self._source.name_of(survey.source_digest),
            destination=self._destination.name_of(tag if tag is not None else survey.root.digest),
            digest=survey.root.digest,
            source_digest=survey.source_digest,
            tags=((tag,) if tag is not None else ()) + tuple(other for other, _ in survey.tagged),
            tags_set=self._tags_set,
            manifests_copied=len(self._sent),
            manifests_skipped=len(self._skipped - self._sent),
            blobs_copied=self._count(Outcome.COPIED),
            blobs_mounted=self._count(Outcome.MOUNTED),
            blobs_skipped=self._count(Outcome.SKIPPED),
            foreign_skipped=len(survey.foreign),
            referrers_copied=len(self._sent & self._referrers),
            bytes_copied=sum(blob.size for blob in survey.blobs if self._outcomes.get(blob.digest) is Outcome.COPIED),
            seconds=seconds,
        )

    def _count(self, wanted: Outcome) -> int:
        return sum(outcome is wanted for outcome in self._outcomes.values())

    def _tell(self, kind: type[ContentCopied | ContentSkipped], digest: Digest, size: int) -> None:
        self._mover.tell(kind, digest, size, self._source, self._destination)

    def _tag(self) -> Tag | None:
        """Return the tag that the destination gets."""
        wanted = self._destination.locator
        if isinstance(wanted, Digest):
            with blaming(Side.DESTINATION, wanted):
                # What is asked for is what is copied, or nothing is.
                try:
                    wanted.verify(self._survey.root.data)
                except DigestMismatchError as error:
                    error.hint = "The destination names another digest than the source has"
                    raise
            return None
        if wanted is not None:
            return wanted
        return self._source.locator if isinstance(self._source.locator, Tag) else None

    async def _names(self, tag: Tag, digest: Digest) -> bool:
        """Return whether a tag names a manifest already, so that all it leads to is there."""
        if self._options.force:
            return False
        with blaming(Side.DESTINATION, digest):
            found = await named_by(self._destination, tag)
        # A registry may tell the sha256 digest of what has another one.
        if found is None or (found != digest and not self._is(digest, found)):
            return False
        self._mover.manifests.add(self._destination, digest)
        return True

    def _is(self, digest: Digest, other: Digest) -> bool:
        """Return whether another digest is one of the same manifest."""
        if other.algorithm == digest.algorithm or not other.verifiable:
            return False
        return Digest.of(self._survey.manifests[digest].data, other.algorithm) == other

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
            self._skipped.update(digest for digest, found in zip(fresh, present, strict=True) if found)
            level = [
                part.digest
                for digest in missing
                for part in self._survey.parts(digest)
                if part.digest in self._survey.manifests
            ]
        return needed

    async def _is_there(self, digest: Digest, there: set[Digest]) -> bool:
        manifest = self._survey.manifests[digest]
        found = digest in there or self._is_read_from_there(digest)
        if not found and not self._options.force:
            found = self._mover.manifests.has(self._destination, digest) or await self._answers(digest)
        if found:
            self._tell(ContentSkipped, digest, manifest.size)
        return found

    def _is_read_from_there(self, digest: Digest) -> bool:
        """Return whether the source is the destination; but an index that was made for some platforms is not there."""
        root = self._survey.root
        made = root.digest != self._survey.source_digest and root.media_type in INDEX_TYPES
        return self._source.is_same_repository(self._destination) and not (made and digest == root.digest)

    async def _answers(self, digest: Digest) -> bool:
        # The root was asked for by its tag; and where some are missing the others are, too, for all that it matters:
        # blobs are looked for one by one.
        by_tag = digest == self._survey.root.digest and self._tag() is not None
        if by_tag or self._misses >= _MISSES:
            return False
        with blaming(Side.DESTINATION, digest):
            found = await has_manifest(self._destination, digest) and await self._is_listed(digest)
        if found:
            self._mover.manifests.add(self._destination, digest)
        else:
            self._misses += 1
        return found

    async def _is_listed(self, digest: Digest) -> bool:
        """Return whether a referrer that is there is listed as one, too: where clients do that, one may have failed."""
        subject = self._survey.manifests[digest].subject
        if subject is None or digest not in self._survey.referrers:
            return True
        if subject.digest not in self._listed:
            found = {part.digest async for part in self._destination.repository.referrers(subject.digest)}
            self._listed[subject.digest] = found
        return digest in self._listed[subject.digest]

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

    async def _push_or_note(self, digest: Digest, needed: dict[Digest, Manifest]) -> None:
        before = next((self._refused[other] for other in self._before(digest, needed) if other in self._refused), None)
        with self._noting(digest):
            if before is not None:
                raise before
            await self._push(digest)

    @contextmanager
    def _noting(self, digest: Digest) -> Iterator[None]:
        """Take note of a refusal of what is no part of the image, instead of failing at once."""
        try:
            yield
        except CopyError as error:
            if digest in self._image or not _is_final(error):
                raise
            self._refused[digest] = error

    def _made_of(self, digest: Digest) -> set[Digest]:
        """Return a manifest and those that it is made of."""
        found, level = {digest}, [digest]
        while level:
            parts = {part.digest for one in level for part in self._survey.parts(one)}
            level = [part for part in parts if part in self._survey.manifests and part not in found]
            found.update(level)
        return found

    def _before(self, digest: Digest, needed: dict[Digest, Manifest]) -> list[Digest]:
        parts = [part.digest for part in self._survey.parts(digest) if part.digest in needed]
        subject = self._survey.manifests[digest].subject
        if subject is not None and subject.digest in needed and digest in self._referrers:
            parts.append(subject.digest)
        return parts

    def _is_referred_to(self) -> bool:
        return bool(self._survey.referrers or self._survey.tagged)

    async def _push(self, digest: Digest, tags: Sequence[Tag] = ()) -> None:
        manifest = self._survey.manifests[digest]
        hint = _WITHDRAWN if manifest.media_type == OCI_ARTIFACT else None
        if any(part.digest in self._foreign for part in manifest.references):
            hint = _LEFT_OUT
        with blaming(Side.DESTINATION, digest, hint=hint):
            try:
                await self._push_once(manifest, tags)
            except ManifestBlobUnknownError:
                # It said that it has them: deleted meanwhile, or it says so to everybody.
                parts = {part.digest: part for part in manifest.references if part.digest not in self._foreign}
                children = [part for part in parts if part in self._survey.manifests]
                await each(children, self._push, at_once=self._options.at_once)
                blobs = [part for part in parts.values() if part.digest not in self._survey.manifests]
                await each(blobs, self._send_again, at_once=self._options.at_once)
                await self._push_once(manifest, tags)
        self._mover.manifests.add(self._destination, digest)
        # One that is there, and is sent for its tag, is not copied.
        if digest not in self._sent and (digest not in self._skipped or not tags):
            self._sent.add(digest)
            self._tell(ContentCopied, digest, manifest.size)

    async def _push_once(self, manifest: Manifest, tags: Sequence[Tag]) -> None:
        repository = self._destination.repository
        if isinstance(repository, Repository):
            if tags and manifest.digest.algorithm != "sha256":
                # Stored for a tag alone, it would have the registry's usual digest. Not every registry has others.
                with suppress(DigestInvalidError, ManifestInvalidError):
                    await repository.manifests.push(manifest)
            found = await repository.manifests.push(manifest, tags=tags, by_digest=not tags)
        else:
            found = await repository.manifests.push(manifest, tags=tags)
        for error in found.failed.values():
            raise error

    async def _set(self, tag: Tag, digest: Digest) -> None:
        await self._push(digest, [tag])
        self._tags_set += 1

    # --- blobs -------------------------------------------------------------------------------------------------------

    async def _blobs(self, needed: dict[Digest, Manifest]) -> None:
        wanted = {part.digest for manifest in needed.values() for part in manifest.references}
        blobs = [blob for blob in self._survey.blobs if blob.digest in wanted]
        await each(blobs, self._move, at_once=self._options.at_once)

    async def _move(self, blob: Descriptor) -> None:
        self._outcomes[blob.digest] = await self._mover.move(
            blob, self._source, self._destination, force=self._options.force
        )

    async def _send_again(self, blob: Descriptor) -> None:
        async with self._locks.hold(blob.digest):
            if blob.digest not in self._again:
                await self._mover.send_again(blob, self._source, self._destination)
                self._again.add(blob.digest)
                self._outcomes[blob.digest] = Outcome.COPIED


def _is_final(error: CopyError) -> bool:
    """Return whether the destination refuses a thing as such: not for now, and not from these credentials."""
    cause = error.__cause__
    if error.side is not Side.DESTINATION or not isinstance(cause, ResponseError) or isinstance(cause, AuthError):
        return False
    return 400 <= cause.status < 500 and cause.status not in {408, 429}
