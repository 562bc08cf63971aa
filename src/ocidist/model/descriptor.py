"""Descriptors: media type, digest and size of one piece of content.

Spec: image-spec, "Descriptor".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self

import attrs

from ocidist.errors import SizeMismatchError, UsageError
from ocidist.model.digest import Digest
from ocidist.model.fields import string_map, strings, unknown_fields
from ocidist.model.mediatype import OCTET_STREAM
from ocidist.model.platform import Platform

if TYPE_CHECKING:
    from ocidist.model.digest import Buffer

MAX_SIZE: Final = 2**63 - 1
"""Largest size a descriptor can state, in bytes."""

MAX_MEDIA_TYPE_LENGTH: Final = 255
"""Longest media type, in characters: 127 on either side of the slash (RFC 6838, section 4.2)."""

# RFC 6838 allows fewer characters, but clients must not fail on media types they do not know; what matters here is that
# a media type can stand in a header. Parameters are tolerated.
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_MEDIA_TYPE = re.compile(rf"{_NAME}/{_NAME}(?: ?;[ -~]*)?", re.ASCII)


# There are few of them, and every manifest and descriptor has one.
@lru_cache(maxsize=256)
def _is_media_type(value: str) -> bool:
    return len(value) <= MAX_MEDIA_TYPE_LENGTH and _MEDIA_TYPE.fullmatch(value) is not None


def check_media_type(value: str) -> str:
    """Return a media type that can be sent in a header.

    Raises:
        UsageError: It is empty, too long, has no slash, or holds control characters or anything beyond ASCII.
    """
    if not isinstance(value, str):
        msg = f"a media type is a string, not {type(value).__name__}"
        raise UsageError(msg)
    if _is_media_type(value):
        return value
    msg = f"{value[:MAX_MEDIA_TYPE_LENGTH]!r} is not a media type (expected type/subtype)"
    raise UsageError(msg)


def check_size(value: int) -> int:
    """Return a size in bytes that a descriptor can state.

    Raises:
        UsageError: It is not an integer from 0 to ``MAX_SIZE``.
    """
    if type(value) is int and 0 <= value <= MAX_SIZE:
        return value
    # An integer of any length must not be printed: Python refuses to, and it would take quadratic time.
    shown = "out of range" if type(value) is int else f"not an integer: {type(value).__name__}"
    msg = f"a size is an integer from 0 to 2**63-1, this one is {shown}"
    raise UsageError(msg)


@attrs.frozen
class Descriptor:
    """Describes content: what it is, its digest, its size, and what else its author says about it.

    Attributes:
        media_type: Media type of the content.
        digest: Digest of the content.
        size: Size of the content in bytes.
        urls: Other places it may be downloaded from.
        annotations: Arbitrary metadata.
        data: The content itself, if it is embedded; unverified, see ``embedded``.
        platform: What the image it names runs on, or None.
        artifact_type: Type of the artifact it names, or None.
        extra: Fields this version does not know, as they were read.

    Raises:
        UsageError: The media type or the size is invalid.
        InvalidDigestError: The digest is invalid.
    """

    media_type: str = attrs.field(converter=check_media_type)
    digest: Digest = attrs.field(converter=Digest)
    size: int = attrs.field(converter=check_size)
    urls: tuple[str, ...] = attrs.field(default=(), converter=strings, kw_only=True)
    annotations: Mapping[str, str] = attrs.field(factory=dict, converter=string_map, hash=False, kw_only=True)
    data: bytes | None = attrs.field(
        default=None, kw_only=True, repr=lambda data: "None" if data is None else f"<{len(data)} bytes>"
    )
    platform: Platform | None = attrs.field(default=None, kw_only=True)
    artifact_type: str | None = attrs.field(default=None, kw_only=True)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=unknown_fields, hash=False, kw_only=True)

    @classmethod
    def of(cls, data: Buffer, media_type: str = OCTET_STREAM, *, algorithm: str = "sha256") -> Self:
        """Describe bytes.

        Args:
            data: The whole content.
            media_type: Its media type.
            algorithm: Digest algorithm, ``sha256`` or ``sha512``.

        Raises:
            UsageError: The media type is invalid.
            DigestUnsupportedError: The algorithm is neither.
        """
        return cls(media_type, Digest.of(data, algorithm), memoryview(data).nbytes)

    def verify(self, data: Buffer) -> None:
        """Check that bytes are the content described: the size first, then the digest.

        Raises:
            SizeMismatchError: They are more or fewer.
            DigestMismatchError: They have another digest.
            DigestUnsupportedError: The digest cannot be verified.
        """
        size = memoryview(data).nbytes
        if size != self.size:
            raise SizeMismatchError(self.size, size)
        self.digest.verify(data)

    def embedded(self) -> bytes | None:
        """Return the embedded content, verified, or None if there is none.

        Raises:
            SizeMismatchError: See ``verify``.
            DigestMismatchError: See ``verify``.
            DigestUnsupportedError: See ``verify``.

        Spec: image-spec, "Descriptor", section "Embedded Content".
        """
        if self.data is not None:
            self.verify(self.data)
        return self.data
