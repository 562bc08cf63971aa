"""The manifests and tags of a repository in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from ocidist.errors import (
    ManifestUnknownRevisionError,
    NotModifiedError,
    TagUnknownError,
)
from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest
from ocidist.model.mediatype import INDEX_TYPES
from ocidist.model.reference import Tag
from ocidist.model.result import PushResult
from ocidist.storage.answers import Snapshot, at_once, paginated, refusal
from ocidist.storage.pushed import lacking, made, needed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ocidist._io.pages import Paginator
    from ocidist.model.manifest import Manifest
    from ocidist.model.reference import RepositoryName
    from ocidist.storage.memory_state import Content, State


class MemoryManifests:
    """The manifests of a repository in memory. Get it from ``MemoryRepository.manifests``."""

    def __init__(self, state: State, name: RepositoryName) -> None:
        self._state = state
        self._name = name

    def __repr__(self) -> str:
        return f"<MemoryManifests of {self._name}>"

    async def stat(self, reference: Tag | Digest | str) -> Descriptor:
        """Return a manifest's descriptor.

        Raises:
            ManifestUnknownError: There is no such manifest (``TagUnknownError`` for a tag).
            UsageError: It is neither tag nor digest.
        """
        await checkpoint()
        return find(self._state, self._name, reference).descriptor

    async def exists(self, reference: Tag | Digest | str) -> bool:
        """Return whether a manifest exists.

        Raises:
            UsageError: It is neither tag nor digest.
        """
        await checkpoint()
        try:
            find(self._state, self._name, reference)
        except (ManifestUnknownRevisionError, TagUnknownError):
            return False
        return True

    async def get(self, reference: Tag | Digest | str, *, if_none_match: Digest | None = None) -> Manifest:
        """Return a manifest, byte for byte as it was pushed.

        Raises:
            ManifestUnknownError: There is no such manifest (``TagUnknownError`` for a tag).
            NotModifiedError: It is the one of *if_none_match*.
            UsageError: It is neither tag nor digest.
        """
        await checkpoint()
        found = find(self._state, self._name, reference)
        if found.digest == if_none_match:
            raise refusal(NotModifiedError, 304, "the manifest is still the same")
        return found

    async def push(
        self, manifest: Manifest | bytes, *, tags: Sequence[Tag | str] = (), media_type: str | None = None
    ) -> PushResult:
        """Store a manifest under its digest and under each tag, all in one step.

        A manifest with a subject is listed among the subject's referrers from then on; the subject need not exist.

        Args:
            manifest: The manifest, or its bytes.
            tags: Tags to set.
            media_type: Media type of *bytes*; None to find out from them.

        Raises:
            MalformedManifestError: The bytes are not what their media type says.
            DigestMismatchError: The bytes do not have the manifest's digest.
            SchemaV1UnsupportedError: It is a schema 1 manifest.
            ManifestBlobUnknownError: Content it names is not in the repository, see ``digests``.
            StorageError: The store is full.
            UsageError: A tag is none, or a media type contradicts the manifest's.

        Spec: distribution-spec, "Pushing Manifests".
        """
        await checkpoint()
        names = tuple(dict.fromkeys(map(Tag, tags)))
        new = made(manifest, media_type)
        subject = new.subject
        if self._state.check_references:
            self._check_references(new)
        before = self._known().get(new.digest)
        if before is None:
            self._state.budget.take(new.size)
        content = self._state.open(self._name)
        if before is not None:
            refer_no_more(content, before)  # as another media type the same bytes may have no subject
        content.manifests[new.digest] = new
        if subject is not None:
            content.referrers.setdefault(subject.digest, {})[new.digest] = new.as_referrer()
        for name in names:
            point(content, name, new.digest)
        return PushResult(new.descriptor, names, subject=None if subject is None else subject.digest)

    async def delete(self, digest: Digest | str) -> None:
        """Delete a manifest by digest, with every tag that names it; its subject forgets it as a referrer.

        Raises:
            ManifestUnknownError: There is no such manifest.
            InvalidDigestError: It is no digest.
        """
        await checkpoint()
        found = find(self._state, self._name, Digest(digest))
        content = self._state.need(self._name)
        del content.manifests[found.digest]
        self._state.budget.give(found.size)
        for tag in [tag for tag, named in content.tags.items() if named == found.digest]:
            unset(content, tag)
        refer_no_more(content, found)

    def digests(self) -> AsyncIterator[Digest]:
        """Iterate over the digests of all manifests there are now, tagged or not, in their order as text."""
        return Snapshot(sorted(self._known()))

    def _known(self) -> dict[Digest, Manifest]:
        content = self._state.find(self._name)
        return {} if content is None else content.manifests

    def _check_references(self, manifest: Manifest) -> None:
        known = self._known() if manifest.media_type in INDEX_TYPES else {}
        found = [
            digest for digest in needed(manifest) if digest not in known and not self._state.has(self._name, digest)
        ]
        if found:
            raise lacking(self._name, found)


class MemoryTags:
    """The tags of a repository in memory. Get it from ``MemoryRepository.tags``."""

    def __init__(self, state: State, name: RepositoryName) -> None:
        self._state = state
        self._name = name

    def __repr__(self) -> str:
        return f"<MemoryTags of {self._name}>"

    async def stat(self, tag: Tag | str) -> Descriptor:
        """Return what a tag names.

        Raises:
            TagUnknownError: There is no such tag.
            InvalidReferenceError: It is no tag.
        """
        await checkpoint()
        return find(self._state, self._name, Tag(tag)).descriptor

    async def set(self, tag: Tag | str, target: Descriptor | Digest | str) -> Descriptor:
        """Let a tag name a manifest of this repository and return the manifest's descriptor.

        Args:
            tag: The tag.
            target: The manifest's descriptor, its digest, or another tag that names it.

        Raises:
            ManifestUnknownError: There is no such manifest.
            UsageError: The tag or the target is neither tag nor digest.
        """
        await checkpoint()
        name = Tag(tag)
        found = find(self._state, self._name, target.digest if isinstance(target, Descriptor) else target)
        point(self._state.need(self._name), name, found.digest)
        return found.descriptor

    async def delete(self, tag: Tag | str) -> None:
        """Delete a tag and nothing else.

        Raises:
            TagUnknownError: There is no such tag.
            InvalidReferenceError: It is no tag.
        """
        await checkpoint()
        name = Tag(tag)
        find(self._state, self._name, name)
        unset(self._state.need(self._name), name)

    def list(self, *, after: str | None = None, page_size: int | None = None) -> Paginator[Tag]:
        """List the tags in ASCII order.

        Args:
            after: Only tags after this text.
            page_size: Most tags per page.

        Raises:
            UsageError: The page size is not positive.
            NameUnknownError: There is no such repository; raised when the list is read.
        """
        return paginated(
            at_once(self._page),
            str,
            after=after,
            page_size=page_size,
            what=f"the tags of {self._name}",
        )

    async def lookup(self, digest: Digest | Descriptor | str) -> tuple[Tag, ...]:
        """Return the tags that name a manifest, in ASCII order.

        Raises:
            NameUnknownError: There is no such repository.
            InvalidDigestError: It is no digest.
        """
        await checkpoint()
        wanted = digest.digest if isinstance(digest, Descriptor) else Digest(digest)
        tags = self._state.need(self._name).tags
        return tuple(sorted(tag for tag, named in tags.items() if named == wanted))

    def _page(self, last: str | None, limit: int) -> Sequence[Tag]:
        return self._state.need(self._name).tag_order.after(last, limit)


def find(state: State, name: RepositoryName, reference: Tag | Digest | str) -> Manifest:
    """Return a manifest.

    Raises:
        ManifestUnknownRevisionError: There is none with this digest.
        TagUnknownError: There is no such tag.
        UsageError: It is neither tag nor digest.
    """
    content = state.find(name)
    if ":" in reference:
        digest = Digest(reference)
        found = None if content is None else content.manifests.get(digest)
        if found is None:
            message = f"there is no manifest {digest} in {name}"
            raise refusal(ManifestUnknownRevisionError, 404, message, digest)
        return found
    tag = Tag(reference)
    if content is None or tag not in content.tags:
        raise refusal(TagUnknownError, 404, f"there is no tag {tag} in {name}", tag)
    return content.manifests[content.tags[tag]]


def point(content: Content, tag: Tag, digest: Digest) -> None:
    """Let a tag name a manifest that is there."""
    if tag not in content.tags:
        content.tag_order.add(tag)
    content.tags[tag] = digest


def unset(content: Content, tag: Tag) -> None:
    """Forget a tag that is there."""
    del content.tags[tag]
    content.tag_order.discard(tag)


def refer_no_more(content: Content, manifest: Manifest) -> None:
    """Take a manifest off its subject's referrers."""
    subject = manifest.subject
    others = None if subject is None else content.referrers.get(subject.digest)
    if subject is None or others is None:
        return
    # It is not among them if its media type got a parser only after it was pushed.
    others.pop(manifest.digest, None)
    if not others:
        del content.referrers[subject.digest]
