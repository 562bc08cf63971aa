"""The manifests of a remote repository."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import attrs

from ocidist.errors import (
    IntegrityError,
    ManifestUnknownError,
    NotFoundError,
    NotModifiedError,
    OciError,
    ProtocolError,
    ResponseError,
    SchemaV1UnsupportedError,
    SizeMismatchError,
    UnsupportedError,
    UsageError,
)
from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest
from ocidist.model.manifest import Manifest
from ocidist.model.mediatype import SCHEMA1_TYPES
from ocidist.model.reference import Tag
from ocidist.model.result import PushResult
from ocidist.remote._answers import foreseen
from ocidist.remote._memory import (
    ReferrersApi,
    learn_profile,
    learn_referrers_api,
    profile_of,
    referrers_api,
)
from ocidist.remote._pull import MAX_MANIFEST, describe, fetch
from ocidist.remote._push import Stored, put, remove
from ocidist.remote._targets import several_tags, tag_or_digest
from ocidist.remote.referrers import forget, record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocidist.remote._channel import Channel


TAGS_AT_ONCE: Final = 10
"""Tags that are set by one request: what every registry takes that sets several."""
_NO_QUERY: Final = frozenset({400, 405, 414, 431, 501})


class Manifests:
    """The manifests of a repository on a registry. Get it from ``Repository.manifests``."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def __repr__(self) -> str:
        return f"<Manifests of {self._channel.name_of()}>"

    async def get(
        self,
        reference: Tag | Digest | Descriptor | str,
        *,
        accept: str | None = None,
        if_none_match: Digest | str | None = None,
        max_size: int = MAX_MANIFEST,
    ) -> Manifest:
        """Return a manifest.

        Asked for by digest, its bytes have been hashed with that digest's algorithm before you see them. Asked for by
        tag, they have been compared with the digest the registry states, if it states one.

        Args:
            reference: Tag, digest, or a descriptor; the size a descriptor states is checked too.
            accept: Value of the Accept header, see ``mediatype.manifest_accept``; by default OCI and Docker manifests,
                indexes and lists.
            if_none_match: Digest of what the caller already has.
            max_size: Most bytes to read.

        Raises:
            ManifestUnknownError: There is no such manifest (``TagUnknownError`` for a tag).
            NameUnknownError: There is no such repository.
            NotModifiedError: The manifest is the one of *if_none_match*.
            DigestMismatchError: The bytes are not the ones asked for, twice in a row.
            SizeMismatchError: They are, but the descriptor states another size.
            DigestUnsupportedError: The digest's algorithm cannot be verified.
            LimitExceededError: The manifest is larger than *max_size*.
            MalformedManifestError: The bytes are not what their media type says.
            ProtocolError: The answer is not a manifest at all.
            OciError: Another failure, see the error's class.

        Spec: distribution-spec, "Pulling manifests".
        """
        wanted = tag_or_digest(reference)
        known = None if if_none_match is None else Digest(if_none_match)
        found = await fetch(self._channel, wanted, accept=accept, if_none_match=known, max_size=max_size)
        if isinstance(reference, Descriptor) and reference.size != found.manifest.size:
            raise SizeMismatchError(reference.size, found.manifest.size).locate(
                operation="pull manifest", reference=self._channel.name_of(wanted), host=self._channel.host
            )
        if found.manifest.digest == known:
            # Not every registry compares; the caller need not care.
            error = foreseen(NotModifiedError, 304, "the registry still has the same manifest")
            raise error.locate(
                operation="pull manifest", reference=self._channel.name_of(wanted), host=self._channel.host
            )
        return found.manifest

    async def stat(
        self,
        reference: Tag | Digest | Descriptor | str,
        *,
        accept: str | None = None,
        fallback_get: bool = True,
        to_push: bool = False,
    ) -> Descriptor:
        """Return a manifest's descriptor.

        One HEAD request, and nothing is verified. The digest of a reference by digest is that digest.

        Args:
            reference: Tag, digest, or a descriptor; the size a descriptor states is checked too.
            accept: Value of the Accept header, see ``get``.
            fallback_get: Whether to read the whole manifest where HEAD is not offered or tells too little. Some
                registries count that as a pull.
            to_push: Whether it is about to be pushed if it is missing: then no mirror is asked, and the rights that a
                push needs are asked for at once.

        Raises:
            ManifestUnknownError: There is no such manifest (``TagUnknownError`` for a tag).
            NameUnknownError: There is no such repository.
            ProtocolError: HEAD tells too little, and *fallback_get* is off.
            UnsupportedError: HEAD is not offered, and *fallback_get* is off.
            OciError: Another failure, see the error's class.

        Spec: distribution-spec, "Checking if content exists in the registry".
        """
        wanted = tag_or_digest(reference)
        try:
            found = await describe(self._channel, wanted, accept=accept, to_push=to_push)
        except UnsupportedError:
            if not fallback_get:
                raise
            found = ""
        if not isinstance(found, str):
            return found
        if fallback_get:
            return (await fetch(self._channel, wanted, accept=accept)).manifest.descriptor
        raise ProtocolError(f"the answer to HEAD cannot be used: {found}").locate(
            operation="stat manifest", reference=self._channel.name_of(wanted), host=self._channel.host, attempts=1
        )

    async def exists(self, reference: Tag | Digest | Descriptor | str, *, to_push: bool = False) -> bool:
        """Return whether a manifest exists.

        Args:
            reference: Tag, digest, or a descriptor.
            to_push: Whether it is about to be pushed if it is missing: then no mirror is asked, and the rights that a
                push needs are asked for at once.

        Raises:
            OciError: Any failure other than "not found", see the error's class.

        Spec: distribution-spec, "Checking if content exists in the registry".
        """
        wanted = tag_or_digest(reference)
        try:
            await describe(self._channel, wanted, to_push=to_push)
        except NotFoundError:
            return False
        except UnsupportedError:
            try:
                await fetch(self._channel, wanted)
            except NotFoundError:
                return False
        return True

    async def push(
        self,
        manifest: Manifest | bytes,
        *,
        tags: Sequence[Tag | str] = (),
        media_type: str | None = None,
        by_digest: bool = True,
    ) -> PushResult:
        """Store a manifest, byte for byte, under its digest and then under each tag.

        A manifest with a subject is also listed among the subject's referrers, by the registry or, where it does not do
        so itself, in the index that clients maintain. Tags come last: where one is set, everything else is done.
        Several tags are set with the manifest itself by registries that know how, and one by one elsewhere.

        Args:
            manifest: The manifest, or its bytes.
            tags: Tags to set. One that cannot be set does not keep others from being set; see ``PushResult.failed``.
            media_type: Media type of *bytes*; None to find out from them.
            by_digest: Whether to store it under its digest first. Without, the first tag is what stores it.

        Raises:
            UsageError: There is nothing to store it under, or a media type contradicts the manifest's.
            MalformedManifestError: The bytes are not what their media type says; nothing was sent.
            SchemaV1UnsupportedError: It is a schema 1 manifest; nothing was sent.
            ManifestBlobUnknownError: Content it names is missing, see ``digests``.
            ManifestInvalidError: The registry refuses it.
            PayloadTooLargeError: The registry refuses its size.
            DigestMismatchError: The registry stored something else.
            ProtocolError: The registry lied about storing it, or the index of referrers is unusable.
            OciError: Another failure, see the error's class.

        Spec: distribution-spec, "Pushing Manifests".
        """
        made = _made(manifest, media_type)
        names: list[Tag | Digest] = [*([made.digest] if by_digest else []), *several_tags(tags)]
        if not names:
            raise UsageError("without a tag, a manifest can only be pushed by digest")
        first, *others = names
        stored = await self._store(first, made, self._beside(made, first, others))
        done, failed = [first] if isinstance(first, Tag) else [], {}
        set_already = {*stored.tags, *await self._more(first, made, others, stored)}
        for name in others:
            assert isinstance(name, Tag)  # noqa: S101 -- only the first may be a digest
            try:
                if name not in set_already:
                    await put(self._channel, name, made)
                done.append(name)
            except OciError as error:
                failed[name] = error
        return PushResult(made.descriptor, tuple(done), failed, stored.subject)

    def _beside(self, manifest: Manifest, first: Tag | Digest, others: Sequence[Tag | Digest]) -> tuple[Tag, ...]:
        """Return the tags that the request for the digest may set as well."""
        known = profile_of(self._channel).tags_by_query
        # Finding out has a price where the registry does not know how: another header, or the same request again.
        if not isinstance(first, Digest) or len(others) < (1 if known else 2) or known is False:
            return ()
        # Tags come last, and the index of referrers may have to come before them.
        if manifest.subject is not None and referrers_api(self._channel) is not ReferrersApi.PRESENT:
            return ()
        return tuple(name for name in others if isinstance(name, Tag))[:TAGS_AT_ONCE]

    async def _more(
        self, first: Tag | Digest, manifest: Manifest, others: Sequence[Tag | Digest], stored: Stored
    ) -> tuple[Tag, ...]:
        """Set the tags that did not fit into the first request, if the registry sets several at once."""
        done: list[Tag] = []
        rest = [name for name in others if isinstance(name, Tag)][TAGS_AT_ONCE:]
        if stored.tags and isinstance(first, Digest):
            for start in range(0, len(rest), TAGS_AT_ONCE):
                tags = tuple(rest[start : start + TAGS_AT_ONCE])
                with suppress(OciError):
                    # What fails is tried tag by tag, and fails by name.
                    done += (await put(self._channel, first, manifest, tags=tags)).tags
        return tuple(done)

    async def _store(self, name: Tag | Digest, manifest: Manifest, tags: tuple[Tag, ...]) -> Stored:
        # Read before anything is sent: a manifest that cannot be read cannot be listed as a referrer either.
        subject = manifest.subject
        stored = await self._put(name, manifest, tags)
        if subject is None:
            return attrs.evolve(stored, subject=None)
        if stored.subject == subject.digest:
            learn_referrers_api(self._channel, ReferrersApi.PRESENT)
            return stored
        await record(self._channel, manifest, subject.digest)
        return attrs.evolve(stored, subject=None)

    async def _put(self, name: Tag | Digest, manifest: Manifest, tags: tuple[Tag, ...]) -> Stored:
        if not tags:
            return await put(self._channel, name, manifest)
        try:
            stored = await put(self._channel, name, manifest, tags=tags)
        except ResponseError as error:
            if error.status not in _NO_QUERY:
                raise
            stored = attrs.evolve(await put(self._channel, name, manifest), tags=())
        if stored.heard:
            learn_profile(self._channel, tags_by_query=bool(stored.tags))
        return stored

    async def delete(self, digest: Digest | Descriptor | str, *, update_referrers: bool = True) -> None:
        """Delete a manifest, and with it every tag that names it.

        Args:
            digest: Digest of the manifest.
            update_referrers: Whether to look for a subject first, and take the manifest off the subject's referrers
                where the registry leaves that to its clients. It takes one request more on registries that are not
                known to serve the referrers API.

        Raises:
            UsageError: It is a tag; see ``Tags.delete``.
            ManifestUnknownError: There is no such manifest.
            UnsupportedError: The registry does not delete manifests.
            ProtocolError: It is deleted; but the index of referrers is unusable, see the error's notes.
            OciError: Another failure, see the error's class; its notes say if the manifest is deleted nevertheless.

        Spec: distribution-spec, "Deleting Manifests".
        """
        target = tag_or_digest(digest)
        if isinstance(target, Tag):
            raise UsageError(
                f"a manifest is deleted by digest, with all its tags: {target!r} is a tag, see tags.delete()"
            )
        subject = await self._subject_of(target) if update_referrers else None
        await remove(self._channel, target)
        if subject is not None:
            try:
                await forget(self._channel, target, subject)
            except OciError as error:
                error.add_note(f"{target} is deleted; the index of referrers of {subject} may still list it")
                raise

    async def _subject_of(self, digest: Digest) -> Digest | None:
        if referrers_api(self._channel) is ReferrersApi.PRESENT:
            return None
        try:
            subject = (await fetch(self._channel, digest)).manifest.subject
        except ManifestUnknownError:
            raise
        except (ProtocolError, ResponseError, UsageError, IntegrityError):
            # What cannot be read can still be deleted.
            return None
        return None if subject is None else subject.digest


def _made(manifest: Manifest | bytes, media_type: str | None) -> Manifest:
    if isinstance(manifest, Manifest):
        if media_type is not None and media_type != manifest.media_type:
            raise UsageError(f"the manifest is {manifest.media_type}, it cannot be pushed as {media_type}")
        made = manifest
    elif isinstance(manifest, bytes | bytearray | memoryview):
        made = Manifest.of(manifest, media_type)
    else:
        raise UsageError(f"a manifest is pushed as Manifest or as bytes, not as {type(manifest).__name__}")
    if made.media_type in SCHEMA1_TYPES:
        raise foreseen(SchemaV1UnsupportedError, 400, "schema 1 manifests are read, never pushed")
    return made
