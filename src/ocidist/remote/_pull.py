"""Reading manifests: what is handed on was proven first.

Spec: distribution-spec, "Pulling manifests" and "Checking if content exists in the registry".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ocidist.errors import (
    DigestMismatchError,
    DigestUnsupportedError,
    IntegrityError,
    MalformedManifestError,
    NotModifiedError,
    OciError,
    ProtocolError,
    TransportError,
    UnexpectedStatusError,
    UsageError,
)
from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest
from ocidist.model.manifest import Manifest, sniff
from ocidist.model.mediatype import DEFAULT_ACCEPT, DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED, OCTET_STREAM, bare
from ocidist.model.schema1 import signed_payload
from ocidist.remote._answers import is_page_for_people, restated, stated_digest, unexpected
from ocidist.remote._channel import Breaks
from ocidist.remote._encoding import content_encoding, decode
from ocidist.wire.endpoints import GetManifest, StatManifest
from ocidist.wire.ranges import content_length

if TYPE_CHECKING:
    from ocidist.http.sender import Reply
    from ocidist.model.reference import Tag
    from ocidist.remote._channel import Channel

MAX_MANIFEST: Final = 4 * 1024 * 1024
"""Bytes of a manifest or index that are read unless the caller allows more."""

_UNASKED: Final = "the question was not conditional"
# Content types that say nothing about which kind of manifest it is.
_VAGUE: Final = frozenset({"", "application/json", "text/json", "text/plain", OCTET_STREAM})


@attrs.define
class Fetched:
    """A manifest with what belongs to this answer only.

    Attributes:
        manifest: The manifest, proven.
        etag: The entity tag to compare with on a conditional push, or None.
    """

    manifest: Manifest
    etag: str | None


async def fetch(
    channel: Channel,
    reference: Tag | Digest,
    *,
    accept: str | None = None,
    if_none_match: Digest | None = None,
    max_size: int = MAX_MANIFEST,
) -> Fetched:
    """Read a manifest.

    A body that was altered is asked for once more before the failure is reported, one that broke off a few times.

    Raises:
        DigestUnsupportedError: The digest cannot be verified; nothing was sent.
        DigestMismatchError: The bytes are not those of the digest that was asked for, or that the answer states.
        LimitExceededError: The manifest is larger than *max_size* bytes.
        MalformedManifestError: The bytes are not what their media type says.
        NotModifiedError: The registry still has *if_none_match* there.
        ProtocolError: The answer is no manifest at all.
        OciError: See ``Sender.exchange``.
    """
    accepted = _checked(accept)
    if isinstance(reference, Digest) and not reference.verifiable:
        raise DigestUnsupportedError(reference.algorithm)
    endpoint = GetManifest(channel.repository_name, reference, accept=accepted, if_none_match=if_none_match)
    tries = _Tries()
    cut: set[str] = set()
    while True:
        reply: Reply | None = None
        try:
            async with channel.exchange(endpoint, about=reference) as reply:
                return await _proven(reply, reference, max_size)
        except NotModifiedError as error:
            if if_none_match is None:
                raise restated(UnexpectedStatusError, _UNASKED, error) from None
            raise
        except OciError as error:
            if reply is not None and reply.mirror is not None:
                # Once or twice for each mirror: after them it is the registry that answers.
                if not isinstance(error, TransportError) or reply.mirror in cut:
                    reply.disproved(error)
                cut.add(reply.mirror)
                continue
            # What failed before an answer was there has been tried again already.
            if reply is None or not await tries.again(error):
                raise


class _Tries:
    """Counts how often a manifest did not come as it should."""

    def __init__(self) -> None:
        self._breaks = Breaks()
        self._altered = False

    async def again(self, error: OciError) -> bool:
        """Return whether to ask for it again, after a moment."""
        if isinstance(error, TransportError):
            return await self._breaks.another(error)
        if self._altered or not isinstance(error, IntegrityError):
            return False
        self._altered = True
        return True


def _checked(accept: str | None) -> str:
    if accept is None:
        return DEFAULT_ACCEPT
    if not (isinstance(accept, str) and accept.isascii() and accept.isprintable()):
        raise UsageError("accept cannot be sent in a header")
    return accept


async def _proven(reply: Reply, reference: Tag | Digest, max_size: int) -> Fetched:
    data = await reply.read(max_size, "manifest")
    kind = reply.header("Content-Type")
    expected = reference if isinstance(reference, Digest) else stated_digest(reply)
    encoding = content_encoding(reply)
    try:
        if encoding is None and _is_signed(data, bare(kind or "")):
            return Fetched(_signed(data, expected), _etag(reply))
        data = _verified(data, expected, encoding, max_size)
        media_type = sniff(data, kind)
    except (DigestMismatchError, MalformedManifestError) as error:
        # An altered manifest stays a mismatch, whatever it looks like now; only a web page is no manifest at all.
        scrap = isinstance(error, MalformedManifestError) and not data.lstrip().startswith(b"{")
        if scrap or is_page_for_people(kind):
            raise unexpected("a manifest", kind, data) from None
        raise
    digest = expected or Digest.of(data)
    return Fetched(Manifest(data, media_type, digest), None if encoding else _etag(reply))


def _is_signed(data: bytes, named: str) -> bool:
    """Return whether a manifest is a signed one of schema 1; registries of that time called it JSON."""
    if named == DOCKER_SCHEMA1_SIGNED:
        return True
    if b'"signatures"' not in data or named not in _VAGUE | {DOCKER_SCHEMA1}:
        return False
    try:
        return sniff(data, None) == DOCKER_SCHEMA1_SIGNED
    except MalformedManifestError:
        return False


def _signed(data: bytes, expected: Digest | None) -> Manifest:
    """Return a signed schema 1 manifest, whose digest is that of its payload and not of the bytes."""
    payload = signed_payload(data)
    if expected is not None:
        expected.verify(payload)
    return Manifest(data, sniff(data, DOCKER_SCHEMA1_SIGNED), expected or Digest.of(payload))


def _etag(reply: Reply) -> str | None:
    etag = reply.header("ETag")
    return etag if etag is not None and etag.isascii() and etag.isprintable() else None


def _verified(data: bytes, expected: Digest | None, encoding: str | None, max_size: int) -> bytes:
    if encoding is None:
        if expected is not None:
            expected.verify(data)
        return data
    if expected is None:
        raise ProtocolError(f"the manifest came with the content encoding {encoding!r} and nothing to verify it with")
    if Digest.of(data, expected.algorithm) == expected:
        return data
    plain = decode(data, encoding, limit=max_size, what="manifest")
    expected.verify(plain)
    return plain


@attrs.frozen
class StatManifestToPush(StatManifest):
    """The same question with the rights that a push needs, so that asking first costs no second token.

    It is not for mirrors: what they have need not be where the push goes.
    """

    actions = ("pull", "push")


async def describe(
    channel: Channel, reference: Tag | Digest, *, accept: str | None = None, to_push: bool = False
) -> Descriptor | str:
    """Ask for a manifest's descriptor without reading it.

    Args:
        channel: The repository.
        reference: The manifest.
        accept: Value of the Accept header.
        to_push: Whether it is about to be pushed if it is missing.

    Returns:
        The descriptor, or why the answer does not hold a believable one; the manifest itself then has to be read.

    Raises:
        OciError: See ``Sender.exchange``.
    """
    kind = StatManifestToPush if to_push else StatManifest
    endpoint = kind(channel.repository_name, reference, accept=_checked(accept))
    try:
        async with channel.exchange(endpoint, about=reference) as reply:
            return _described(reply, reference)
    except NotModifiedError as error:
        raise restated(UnexpectedStatusError, _UNASKED, error) from None


def _described(reply: Reply, reference: Tag | Digest) -> Descriptor | str:
    kind = bare(reply.header("Content-Type") or "")
    if kind in _VAGUE or is_page_for_people(kind):
        return f"its content type is {kind or 'missing'}"
    size = None if content_encoding(reply) else content_length(reply.header_values("Content-Length"))
    if not size:
        return "it states no size"
    stated = stated_digest(reply)
    if isinstance(reference, Digest):
        if stated is not None and stated.algorithm == reference.algorithm and stated != reference:
            return f"it is about {stated}"
        stated = reference
    if stated is None:
        return "it states no digest"
    try:
        return Descriptor(kind, stated, size)
    except UsageError as error:
        return error.message
