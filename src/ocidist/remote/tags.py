"""The tags of a remote repository."""

from __future__ import annotations

import enum
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio

from ocidist._io.fanout import each
from ocidist.errors import NotFoundError, OciError, ResponseError, UnsupportedError, UsageError
from ocidist.model.builder import EMPTY_BLOB, build_artifact
from ocidist.model.digest import Digest
from ocidist.model.manifest import Manifest
from ocidist.model.reference import Tag, known_tag
from ocidist.remote._answers import restated
from ocidist.remote._lists import ListOf, names
from ocidist.remote._pull import fetch
from ocidist.remote._push import put, remove
from ocidist.remote._targets import digest_of, tag_or_digest
from ocidist.remote._untag import delete_tag

if TYPE_CHECKING:
    from ocidist._io.pages import Paginator
    from ocidist.model.descriptor import Descriptor
    from ocidist.remote._channel import Channel
    from ocidist.remote.manifests import Manifests
    from ocidist.storage.protocols import BlobIngester

LOOKUPS_AT_ONCE: Final = 8
"""Requests that ``Tags.lookup`` has under way at any moment."""

RESTORE_SECONDS: Final = 5.0
"""How long a tag that could not be deleted may take to be put back."""

DUMMY_TYPE: Final = "application/vnd.ocidist.deleted-tag.v1"
"""Artifact type of the manifest that ``TagDelete.DUMMY`` pushes and deletes again."""


class TagDelete(enum.Enum):
    """How ``Tags.delete`` deletes a tag."""

    TAG_ONLY = "tag-only"
    """Ask the registry to delete the tag; if it does not offer that, fail."""
    DUMMY = "dummy"
    """Where the registry does not offer that, move the tag to a manifest made for it, and delete this one."""


class Tags:
    """The tags of a repository on a registry. Get it from ``Repository.tags``."""

    def __init__(self, channel: Channel, manifests: Manifests, blobs: BlobIngester) -> None:
        self._channel = channel
        self._manifests = manifests
        self._blobs = blobs

    def __repr__(self) -> str:
        return f"<Tags of {self._channel.name_of()}>"

    async def stat(self, tag: Tag | str) -> Descriptor:
        """Return what a tag names.

        Raises:
            TagUnknownError: There is no such tag.
            NameUnknownError: There is no such repository.
            OciError: Another failure, see the error's class.
        """
        return await self._manifests.stat(Tag(tag))

    async def set(self, tag: Tag | str, target: Manifest | Descriptor | Digest | str) -> Descriptor:
        """Let a tag name a manifest of this repository.

        The manifest's own bytes are read and pushed again under the tag; blobs are not touched.

        Args:
            tag: The tag.
            target: The manifest, its descriptor, its digest, or another tag that names it.

        Returns:
            The manifest's descriptor.

        Raises:
            ManifestUnknownError: There is no such manifest.
            DigestMismatchError: The registry holds or stored other bytes.
            OciError: Another failure, see the error's class.
        """
        name = Tag(tag)
        if isinstance(target, Manifest):
            manifest = target
        else:
            manifest = (await fetch(self._channel, tag_or_digest(target))).manifest
        await put(self._channel, name, manifest)
        return manifest.descriptor

    async def delete(self, tag: Tag | str, *, strategy: TagDelete = TagDelete.TAG_ONLY) -> None:
        """Delete a tag and nothing else: neither the manifest nor its other tags.

        Some registries cannot, among them docker-registry before 3.0. Deleting the manifest would take its other tags
        along, so that is never done in place of it.

        Args:
            tag: The tag.
            strategy: What to do where the registry does not delete single tags.

        Raises:
            TagUnknownError: There is no such tag.
            UsageError: The strategy is not one.
            UnsupportedError: The registry cannot delete the tag in the way *strategy* allows; the tag is as it was.
            OciError: Another failure, see the error's class.

        Spec: distribution-spec, "Deleting tags".
        """
        name = Tag(tag)
        # Before anything is sent: what is not understood must not end in the way that changes more.
        if not isinstance(strategy, TagDelete):
            raise UsageError(f"a strategy is one of TagDelete, not {strategy!r}")
        try:
            await delete_tag(self._channel, name)
        except UnsupportedError:
            if strategy is TagDelete.TAG_ONLY:
                raise
            await self._delete_by_dummy(name)

    async def _delete_by_dummy(self, tag: Tag) -> None:
        before = (await fetch(self._channel, tag)).manifest
        # Nothing else can have this digest, so nothing else is deleted with it.
        dummy = build_artifact(DUMMY_TYPE, annotations={"org.ocidist.unique": uuid.uuid4().hex})
        await self._check_deletes(dummy.digest)
        await self._blobs.push(EMPTY_BLOB)
        try:
            await put(self._channel, tag, dummy)
            await remove(self._channel, dummy.digest)
        except BaseException as failure:
            # Nobody asked for a tag that names the dummy: neither failing nor being cancelled may leave it there.
            if not await self._restored(tag, before):
                failure.add_note(f"the tag {tag} may name {dummy.digest} now; it named {before.digest}")
            raise

    async def _restored(self, tag: Tag, manifest: Manifest) -> bool:
        with anyio.move_on_after(RESTORE_SECONDS, shield=True), suppress(OciError):
            await put(self._channel, tag, manifest)
            return True
        return False

    async def _check_deletes(self, missing: Digest) -> None:
        """Find out whether manifests can be deleted, before anything is changed."""
        try:
            await remove(self._channel, missing)
        except NotFoundError:
            return
        except ResponseError as error:
            if error.status in {400, 405, 501}:
                raise restated(UnsupportedError, "this registry deletes neither tags nor manifests", error) from None
            raise

    def list(self, *, after: str | None = None, page_size: int | None = None) -> Paginator[Tag]:
        """List the tags.

        Pages are fetched as they are needed. Their order is the registry's; names that are no tags are skipped and
        reported as an event.

        Args:
            after: Only tags after this one.
            page_size: Most tags per request; None for 1000, which most registries accept.

        Raises:
            UsageError: The page size is not positive.
            NameUnknownError: There is no such repository.
            LimitExceededError: A page is larger than 8 MiB, or there are too many.
            LinkRefusedError: The registry sends the client elsewhere for the next page.
            PaginationLoopError: The pages do not end.
            ProtocolError: A page is not a list of tags.
            OciError: Another failure, see the error's class.

        Spec: distribution-spec, "Listing Tags".
        """
        return names(ListOf[Tag](self._channel, "tags", known_tag), after=after, page_size=page_size)

    async def lookup(self, digest: Digest | Descriptor | Manifest | str) -> tuple[Tag, ...]:
        """Return the tags that name a manifest, in the registry's order.

        Registries cannot be asked this, so every tag is looked at: one request each, eight at a time.

        Raises:
            NameUnknownError: There is no such repository.
            OciError: Another failure, see the error's class.
        """
        wanted = digest_of(digest)
        found: list[Tag] = []
        async for page in self.list().pages():
            hits = await each(page.items, lambda tag: self._names(tag, wanted), at_once=LOOKUPS_AT_ONCE)
            found += [tag for tag, hit in zip(page.items, hits, strict=True) if hit]
        return tuple(found)

    async def _names(self, tag: Tag, wanted: Digest) -> bool:
        try:
            found = (await self._manifests.stat(tag)).digest
            if found.algorithm == wanted.algorithm or not wanted.verifiable:
                return found == wanted
            manifest = (await fetch(self._channel, tag)).manifest
        except NotFoundError:
            return False  # deleted since it was listed
        return Digest.of(manifest.data, wanted.algorithm) == wanted
