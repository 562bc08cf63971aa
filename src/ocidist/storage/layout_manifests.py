"""The manifests and tags of a repository on disk."""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING

from ocidist.errors import (
    LimitExceededError,
    ManifestUnknownRevisionError,
    NotModifiedError,
    StorageError,
    TagUnknownError,
)
from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest
from ocidist.model.reference import Tag
from ocidist.model.result import PushResult
from ocidist.storage.answers import Loaded, paginated, refusal
from ocidist.storage.layout_disk import broken
from ocidist.storage.layout_known import MAX_MANIFEST
from ocidist.storage.pushed import lacking, made, needed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ocidist._io.pages import Paginator
    from ocidist.model.manifest import Manifest
    from ocidist.storage.contents import Changing, Holder
    from ocidist.storage.layout_index import Index


class LayoutManifests:
    """The manifests of a repository on disk. Get it from ``Layout.manifests``.

    They are those in ``index.json``, and those that image indexes in there list, if they are there.
    """

    def __init__(self, state: Holder) -> None:
        self._state = state

    def __repr__(self) -> str:
        return f"<LayoutManifests of {self._state.name}>"

    async def stat(self, reference: Tag | Digest | str) -> Descriptor:
        """Return a manifest's descriptor.

        Raises:
            ManifestUnknownError: There is no such manifest (``TagUnknownError`` for a tag).
            StorageError: It should be there and is not, or the layout cannot be read.
            UsageError: It is neither tag nor digest.
        """
        return await self._state.read(find, self._state, reference)

    async def exists(self, reference: Tag | Digest | str) -> bool:
        """Return whether a manifest exists; one that should be there and is not does not.

        Raises:
            StorageError: The layout cannot be read.
            UsageError: It is neither tag nor digest.
        """
        try:
            await self.stat(reference)
        except (ManifestUnknownRevisionError, TagUnknownError):
            return False
        except StorageError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    async def get(self, reference: Tag | Digest | str, *, if_none_match: Digest | None = None) -> Manifest:
        """Return a manifest, byte for byte as it was pushed.

        Raises:
            ManifestUnknownError: There is no such manifest (``TagUnknownError`` for a tag).
            NotModifiedError: It is the one of *if_none_match*.
            DigestMismatchError: What is on the disk has another digest.
            LimitExceededError: It has more than 4 MiB.
            MalformedManifestError: It is not what its media type says.
            StorageError: It should be there and is not, or the layout cannot be read.
            UsageError: It is neither tag nor digest.
        """
        found = await self._state.read(find, self._state, reference)
        if found.digest == if_none_match:
            raise refusal(NotModifiedError, 304, "the manifest is still the same")
        read = await self._state.read(self._state.known.get, found.digest, found.media_type)
        if read is None:
            raise _unknown(self._state, found.digest)
        return read

    async def push(
        self, manifest: Manifest | bytes, *, tags: Sequence[Tag | str] = (), media_type: str | None = None
    ) -> PushResult:
        """Store a manifest under its digest and under each tag, all in one step.

        It is on the disk when this returns. A manifest with a subject is listed among the subject's referrers from
        then on; the subject need not exist. Safe to cancel: all of it is done, or nothing.

        Args:
            manifest: The manifest, or its bytes.
            tags: Tags to set.
            media_type: Media type of *bytes*; None to find out from them.

        Raises:
            MalformedManifestError: The bytes are not what their media type says.
            DigestMismatchError: The bytes do not have the manifest's digest.
            SchemaV1UnsupportedError: It is a schema 1 manifest.
            ManifestBlobUnknownError: Content it names is not in the repository, see ``digests``.
            LimitExceededError: It has more than 4 MiB.
            StorageError: The layout cannot be written to.
            UsageError: A tag is none, or a media type contradicts the manifest's.

        Spec: distribution-spec, "Pushing Manifests".
        """
        names = tuple(dict.fromkeys(map(Tag, tags)))
        new = made(manifest, media_type)
        subject = new.subject
        if new.size > MAX_MANIFEST:
            raise LimitExceededError("manifest", MAX_MANIFEST)
        if self._state.check_references:
            # Before anything is made for it.
            await self._state.read(self._check_references, new)

        def change(this: Changing) -> None:
            if self._state.check_references:
                self._check_references(new)
            this.store(new.digest, new.data)
            this.write(this.index.set(new.descriptor, names))

        await self._state.change(change)
        return PushResult(new.descriptor, names, subject=None if subject is None else subject.digest)

    async def delete(self, digest: Digest | str) -> None:
        """Delete a manifest by digest, with every tag that names it, and its bytes.

        Raises:
            ManifestUnknownError: There is no such manifest.
            StorageError: The layout cannot be written to.
            InvalidDigestError: It is no digest.
        """
        wanted = Digest(digest)
        if await self._state.read(self._media_type, wanted) is None:
            raise _unknown(self._state, wanted)

        def change(this: Changing) -> bool:
            listed = wanted in this.index.by_digest
            nested = not listed and self._state.known.media_type(this.index, wanted) is not None
            this.write(this.index.without(wanted))
            return ((listed or nested) and this.files.remove(wanted)) or listed

        if not await self._state.change(change):
            raise _unknown(self._state, wanted)

    def digests(self) -> AsyncIterator[Digest]:
        """Iterate over the digests of all manifests, tagged or not, in their order as text."""
        return Loaded(partial(self._state.read, self._all))

    def _all(self) -> list[Digest]:
        index = self._state.files.load()
        found = () if index is None else self._state.known.all(index)
        return sorted(digest for digest in found if self._state.files.size(digest) is not None)

    def _media_type(self, digest: Digest) -> str | None:
        index = self._state.files.load()
        return None if index is None else self._state.known.media_type(index, digest)

    def _check_references(self, manifest: Manifest) -> None:
        found = [digest for digest in needed(manifest) if self._state.files.size(digest) is None]
        if found:
            raise lacking(self._state.name, found)


class LayoutTags:
    """The tags of a repository on disk. Get it from ``Layout.tags``.

    A tag is an entry of ``index.json`` with the annotation ``org.opencontainers.image.ref.name``. Of two with one name
    the first counts. An entry with a full name, ``app:v1``, is the tag ``v1`` unless another one is.
    """

    def __init__(self, state: Holder) -> None:
        self._state = state

    def __repr__(self) -> str:
        return f"<LayoutTags of {self._state.name}>"

    async def stat(self, tag: Tag | str) -> Descriptor:
        """Return what a tag names.

        Raises:
            TagUnknownError: There is no such tag.
            StorageError: What it names is not there, or the layout cannot be read.
            InvalidReferenceError: It is no tag.
        """
        return await self._state.read(find, self._state, Tag(tag))

    async def set(self, tag: Tag | str, target: Descriptor | Digest | str) -> Descriptor:
        """Let a tag name a manifest of this repository and return the manifest's descriptor.

        Args:
            tag: The tag.
            target: The manifest's descriptor, its digest, or another tag that names it.

        Raises:
            ManifestUnknownError: There is no such manifest.
            StorageError: The layout cannot be written to.
            UsageError: The tag or the target is neither tag nor digest.
        """
        name = Tag(tag)
        wanted = target.digest if isinstance(target, Descriptor) else target
        known = Digest(wanted) if ":" in wanted else Tag(wanted)
        if not await self._state.read(self._state.files.exists):
            raise _unknown(self._state, known)

        def change(this: Changing) -> Descriptor:
            found = find(self._state, known, this.index)
            this.write(this.index.set(found, [name]))
            return found

        return await self._state.change(change)

    async def delete(self, tag: Tag | str) -> None:
        """Delete a tag and nothing else.

        Raises:
            TagUnknownError: There is no such tag.
            StorageError: The layout cannot be written to.
            InvalidReferenceError: It is no tag.
        """
        name = Tag(tag)
        await self._state.read(self._need, name)

        def change(this: Changing) -> None:
            if name not in this.index.tags:
                raise _unknown(self._state, name)
            this.write(this.index.without_tag(name))

        await self._state.change(change)

    def list(self, *, after: str | None = None, page_size: int | None = None) -> Paginator[Tag]:
        """List the tags in ASCII order.

        Args:
            after: Only tags after this text.
            page_size: Most tags per page.

        Raises:
            UsageError: The page size is not positive.
            NameUnknownError: There is no such repository; raised when the list is read.
            StorageError: The layout cannot be read; likewise.
        """

        async def take(last: str | None, limit: int) -> Sequence[Tag]:
            return await self._state.read(self._page, last, limit)

        return paginated(take, str, after=after, page_size=page_size, what=f"the tags of {self._state.name}")

    async def lookup(self, digest: Digest | Descriptor | str) -> tuple[Tag, ...]:
        """Return the tags that name a manifest, in ASCII order.

        Raises:
            NameUnknownError: There is no such repository.
            StorageError: The layout cannot be read.
            InvalidDigestError: It is no digest.
        """
        wanted = digest.digest if isinstance(digest, Descriptor) else Digest(digest)
        tags = (await self._state.read(self._state.need)).tags
        return tuple(sorted(tag for tag, entry in tags.items() if entry.digest == wanted))

    def _page(self, last: str | None, limit: int) -> Sequence[Tag]:
        return self._state.need().tags_after(last, limit)

    def _need(self, tag: Tag) -> None:
        index = self._state.files.load()
        if index is None or tag not in index.tags:
            raise _unknown(self._state, tag)


def find(state: Holder, reference: Tag | Digest | str, given: Index | None = None) -> Descriptor:
    """Return a manifest's descriptor, with the size that the file has. Blocks.

    Args:
        state: The repository.
        reference: The manifest.
        given: What the index says, where that is known and nobody can change it.

    Raises:
        ManifestUnknownRevisionError: There is none with this digest.
        TagUnknownError: There is no such tag.
        StorageError: The index names it, and it is not there.
        UsageError: It is neither tag nor digest.
    """
    wanted = Digest(reference) if ":" in reference else Tag(reference)
    seen: Index | None = None
    while True:
        index = given or state.files.load()
        if index is None:
            raise _unknown(state, wanted)
        entry = index.by_digest.get(wanted) if isinstance(wanted, Digest) else index.tags.get(wanted)
        digest = wanted if entry is None else entry.digest
        if not isinstance(digest, Digest):
            raise _unknown(state, wanted)
        media_type = state.known.media_type(index, digest) if entry is None else entry.media_type
        size = None if media_type is None else state.files.size(digest)
        if media_type is not None and size is not None:
            return Descriptor(media_type, digest, size)
        if entry is None:
            raise _unknown(state, wanted)
        # Somebody may have deleted it after the index was read.
        if seen is index:
            raise broken(f"{state.files.path} is damaged: index.json names {digest}, which is not there", errno.ENOENT)
        seen = index


def resolve(state: Holder, name: str) -> Descriptor:
    """Return what a name in the index means. Blocks; raises as ``find``."""
    index = state.files.load()
    entry = None if index is None else index.by_name.get(name)
    if entry is None:
        raise refusal(TagUnknownError, 404, f"there is no {name!r} in {state.name}", name)
    return find(state, entry.digest)


def _unknown(state: Holder, wanted: Tag | Digest) -> ManifestUnknownRevisionError | TagUnknownError:
    if isinstance(wanted, Digest):
        message = f"there is no manifest {wanted} in {state.name}"
        return refusal(ManifestUnknownRevisionError, 404, message, wanted)
    return refusal(TagUnknownError, 404, f"there is no tag {wanted} in {state.name}", wanted)
