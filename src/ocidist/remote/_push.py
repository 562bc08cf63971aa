"""Writing manifests: a push counts only once the registry is known to have these very bytes.

Spec: distribution-spec, "Pushing Manifests" and "Deleting Manifests".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

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
LAG_WAITS: Final = (0.2, 0.8)
"""Seconds to wait, one after the other, for a registry whose replicas do not yet show what was just pushed."""


async def put(
    channel: Channel, reference: Tag | Digest, manifest: Manifest, *, if_match: str | None = None
) -> Digest | None:
    """Store a manifest under a tag or its digest.

    Returns:
        The subject the registry says it has processed, or None.

    Raises:
        DigestMismatchError: The registry stored other bytes.
        PreconditionFailedError: The entity tag *if_match* is no longer current.
        ProtocolError: The registry claims success but does not have the manifest.
        OciError: See ``Sender.exchange``.
    """
    endpoint = PutManifest(channel.repository_name, reference, manifest.media_type, if_match=if_match)
    for wait in (*LAG_WAITS, None):
        try:
            return await _put_once(channel, endpoint, manifest)
        except NotFoundError as error:
            # What the manifest names was pushed a moment ago; the replica that answered may not have it yet.
            if wait is None or says_name_unknown(error):
                raise
            await anyio.sleep(wait)
    raise AssertionError


async def _put_once(channel: Channel, endpoint: PutManifest, manifest: Manifest) -> Digest | None:
    try:
        async with channel.exchange(endpoint, body=BytesBody(manifest.data), about=endpoint.reference) as reply:
            proven = _is_stored(reply, manifest)
            subject = _subject(reply)
    except TransportError as error:
        lost = not isinstance(error, ConnectError | TlsError | SchemeDetectionError)
        if lost and await _arrived(channel, endpoint.reference, manifest):
            return None
        raise
    if proven or await _arrived(channel, endpoint.reference, manifest):
        return subject
    raise ProtocolError("the registry reported success but does not have the manifest").locate(
        operation=endpoint.operation, reference=channel.name_of(endpoint.reference), host=channel.host
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
    # 200 and 202 are answers of real registries, but also of proxies that never passed the request on.
    return reply.status == 201 and not reply.early


def _subject(reply: Reply) -> Digest | None:
    try:
        return Digest((reply.header(SUBJECT_HEADER) or "").strip())
    except InvalidDigestError:
        return None


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
