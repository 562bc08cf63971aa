"""Asking for a blob's size without reading it.

Spec: distribution-spec, "Checking if content exists in the registry".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ocidist.errors import (
    DigestMismatchError,
    ProtocolError,
    RangeInvalidError,
    ResponseError,
    UnexpectedStatusError,
)
from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest
from ocidist.model.mediatype import OCTET_STREAM
from ocidist.remote._answers import stated_digest
from ocidist.remote._encoding import content_encoding
from ocidist.wire.endpoints import GetBlob, StatBlob
from ocidist.wire.ranges import content_length, parse_content_range

if TYPE_CHECKING:
    from ocidist.http.sender import Reply
    from ocidist.remote._channel import Channel


@attrs.frozen
class StatBlobToPush(StatBlob):
    """The same question with the scope a push needs, so that asking first costs no second token."""

    actions = ("pull", "push")


async def stat(channel: Channel, digest: Digest, *, to_push: bool = False) -> Descriptor:
    """Return a blob's descriptor.

    Where HEAD is not answered, or without a size that can be true, the blob's first byte is asked for: that answer
    states the size too.

    Args:
        channel: The repository.
        digest: The blob.
        to_push: Whether it is about to be pushed if it is missing.

    Raises:
        BlobUnknownError: There is no such blob.
        DigestMismatchError: The registry answers for another blob.
        ProtocolError: No answer states a size.
        OciError: See ``Sender.exchange``.
    """
    kind = StatBlobToPush if to_push else StatBlob
    size: int | None = None
    try:
        async with channel.exchange(kind(channel.repository_name, digest), about=digest) as reply:
            _check(reply, digest)
            size = _stated_size(reply)
    except ResponseError as error:
        if not head_is_refused(error):
            raise
    if size is None or (size == 0 and not _is_empty(digest)):
        size = await _size_by_reading(channel, digest)
    return Descriptor(OCTET_STREAM, digest, size)


def head_is_refused(error: ResponseError) -> bool:
    """Return whether it is HEAD that was refused: by the registry, or by a storage that it leads to.

    A storage whose URLs are signed for GET refuses everything else with the status of a wrong signature. What the
    registry itself refuses so is a ``DeniedError``.
    """
    return error.status in {405, 501} or (isinstance(error, UnexpectedStatusError) and error.status in {401, 403})


def _is_empty(digest: Digest) -> bool:
    return digest.verifiable and digest == Digest.of(b"", digest.algorithm)


async def _size_by_reading(channel: Channel, digest: Digest) -> int:
    try:
        async with channel.exchange(GetBlob(channel.repository_name, digest, 0, 1), about=digest) as reply:
            _check(reply, digest)
            size = _stated_size(reply)
    except RangeInvalidError:
        # There is no first byte.
        size = 0 if _is_empty(digest) else None
    if size is None:
        raise ProtocolError("the registry does not say how large the blob is").locate(
            operation=StatBlob.operation, reference=channel.name_of(digest), host=channel.host, attempts=1
        )
    return size


def _stated_size(reply: Reply) -> int | None:
    if reply.status == 206:
        part = parse_content_range(reply.header("Content-Range") or "")
        return part.total if part else None
    if content_encoding(reply) is not None:
        return None
    return content_length(reply.header_values("Content-Length"))


def _check(reply: Reply, digest: Digest) -> None:
    stated = stated_digest(reply)
    if stated is not None and stated.algorithm == digest.algorithm and stated != digest:
        raise DigestMismatchError(digest, stated)
