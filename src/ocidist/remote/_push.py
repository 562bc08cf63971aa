"""Writing manifests: a push counts only once the registry is known to have these very bytes.

Spec: distribution-spec, "Pushing Manifests" and "Deleting Manifests".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio
import attrs

from ocidist._io.body import BytesBody
from ocidist.errors import (
    ConnectError,
    DigestMismatchError,
    InvalidDigestError,
    NotFoundError,
    OciError,
    ProtocolError,
    SchemeDetectionError,
    TlsError,
    TransportError,
)
from ocidist.model.digest import Digest
from ocidist.remote._answers import says_name_unknown, stated_digest
from ocidist.remote._pull import describe, fetch
from ocidist.wire.endpoints import DeleteManifest, PutManifest

if TYPE_CHECKING:
    from ocidist.http.sender import Reply
    from ocidist.model.manifest import Manifest
    from ocidist.model.reference import Tag
    from ocidist.remote._channel import Channel

SUBJECT_HEADER: Final = "OCI-Subject"
TAG_HEADER: Final = "OCI-Tag"
LAG_WAITS: Final = (0.2, 0.8)
"""Seconds to wait, one after the other, for a registry whose replicas do not yet show what was just pushed."""


@attrs.frozen
class Stored:
    """What a registry says it did with a manifest.

    Attributes:
        subject: The subject it has processed, or None.
        tags: The tags it has set beside.
        heard: Whether it said so itself; otherwise its answer was lost, and the manifest found to be there.
    """

    subject: Digest | None = None
    tags: tuple[Tag, ...] = ()
    heard: bool = True


async def put(
    channel: Channel,
    reference: Tag | Digest,
    manifest: Manifest,
    *,
    if_match: str | None = None,
    tags: tuple[Tag, ...] = (),
) -> Stored:
    """Store a manifest under a tag or its digest.

    Args:
        channel: The repository.
        reference: What to store it under.
        manifest: The manifest.
        if_match: Entity tag that must still be current, or None.
        tags: Tags to be set by the same request, where the registry does that; only for a reference by digest.

    Raises:
        DigestMismatchError: The registry stored other bytes.
        PreconditionFailedError: The entity tag *if_match* is no longer current.
        ProtocolError: The registry claims success but does not have the manifest.
        OciError: See ``Sender.exchange``.
    """
    endpoint = PutManifest(channel.repository_name, reference, manifest.media_type, tags=tags, if_match=if_match)
    for wait in (*LAG_WAITS, None):
        try:
            return await _put_once(channel, endpoint, manifest)
        except NotFoundError as error:
            # What the manifest names was pushed a moment ago; the replica that answered may not have it yet.
            if wait is None or says_name_unknown(error):
                raise
            await anyio.sleep(wait)
    raise AssertionError


async def _put_once(channel: Channel, endpoint: PutManifest, manifest: Manifest) -> Stored:
    try:
        async with channel.exchange(endpoint, body=BytesBody(manifest.data), about=endpoint.reference) as reply:
            proven = _is_stored(reply, manifest)
            stored = Stored(_subject(reply), _tags(reply, endpoint.tags))
    except TransportError as error:
        lost = not isinstance(error, ConnectError | TlsError | SchemeDetectionError)
        if lost and await _arrived(channel, endpoint.reference, manifest):
            return Stored(heard=False)
        raise
    if proven or await _arrived(channel, endpoint.reference, manifest):
        return stored
    raise ProtocolError("the registry reported success but does not have the manifest").locate(
        operation=endpoint.operation, reference=channel.name_of(endpoint.reference), host=channel.host, attempts=1
    )


def _is_stored(reply: Reply, manifest: Manifest) -> bool:
    """Return whether the answer itself shows that these bytes were stored.

    Raises:
        DigestMismatchError: It shows that other bytes were.
    """
    stated = stated_digest(reply)
    if stated is not None:
        actual = manifest.digest
        if stated.algorithm != actual.algorithm:
            actual = Digest.of(manifest.data, stated.algorithm)
        if stated != actual:
            raise DigestMismatchError(actual, stated)
        return True
    # 200, 202 and 204 are answers of real registries, but also of proxies that never passed the request on.
    return reply.status == 201 and not reply.early


def _subject(reply: Reply) -> Digest | None:
    try:
        return Digest((reply.header(SUBJECT_HEADER) or "").strip())
    except InvalidDigestError:
        return None


def _tags(reply: Reply, asked: tuple[Tag, ...]) -> tuple[Tag, ...]:
    """Return the tags that the registry has set, of those it was asked to."""
    said = {name.strip() for value in reply.header_values(TAG_HEADER) for name in value.split(",")}
    return tuple(tag for tag in asked if tag in said)


async def _arrived(channel: Channel, reference: Tag | Digest, manifest: Manifest) -> bool:
    """Return whether the registry has the manifest under this name; False also if it cannot be asked."""
    try:
        found = await describe(channel, reference)
        if isinstance(found, str):
            found = (await fetch(channel, reference)).manifest.descriptor
    except OciError:
        return False
    return found.digest in {manifest.digest, Digest.of(manifest.data, found.digest.algorithm)}


async def remove(channel: Channel, reference: Tag | Digest) -> None:
    """Delete a manifest by digest, or a tag.

    Raises:
        NotFoundError: There is none.
        OciError: See ``Sender.exchange``.
    """
    endpoint = DeleteManifest(channel.repository_name, reference)
    try:
        async with channel.exchange(endpoint, about=reference):
            return
    except NotFoundError as error:
        # An earlier attempt whose answer was lost has done it.
        if (error.attempts or 1) == 1:
            raise
