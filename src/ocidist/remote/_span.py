"""What part of a blob an answer holds.

Spec: RFC 9110, sections 14.4 and 15.3.7.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs

from ocidist.model.mediatype import bare
from ocidist.wire.endpoints import GetBlob
from ocidist.wire.ranges import content_length, parse_content_range

if TYPE_CHECKING:
    from ocidist.http.sender import Reply

_MAX_TAG: Final = 1024
# Without W/ in front: a weak one does not promise equal bytes.
_STRONG: Final = re.compile(r'"[!#-~]*"', re.ASCII)


@attrs.frozen
class GetBlobFrom(GetBlob):
    """Read part of a blob, or all of it should it have another entity tag by now.

    Attributes:
        if_range: The strong entity tag of the answer that the part continues, or None.

    Spec: RFC 9110, section 13.1.5.
    """

    if_range: str | None = None

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        headers = super().headers
        return (*headers, ("If-Range", self.if_range)) if headers and self.if_range is not None else headers


def strong_tag(reply: Reply) -> str | None:
    """Return the entity tag of an answer if it promises equal bytes, None if there is none that does."""
    values = reply.header_values("ETag")
    tag = values[0] if len(values) == 1 else ""
    return tag if len(tag) <= _MAX_TAG and _STRONG.fullmatch(tag) else None


@attrs.frozen
class Span:
    """The part of a blob an answer holds, as its head says.

    Attributes:
        start: Offset of its first byte.
        stop: Offset after its last byte, or None if it does not say.
        total: Bytes in the whole blob, or None if it does not say.
        whole: Whether the answer ends where the blob ends.
    """

    start: int
    stop: int | None
    total: int | None
    whole: bool = True


def span_of(reply: Reply, asked: GetBlob, *, size: int | None, tag: str | None = None) -> Span | None:
    """Return what part of a blob an answer holds; None if it is a part of no use.

    Args:
        reply: The answer.
        asked: What was asked for.
        size: The blob's size as far as it is known; a 206 that contradicts it is of another object.
        tag: The strong entity tag of what came before, if any; a 206 with another one is of another object.

    Raises:
        ProtocolError: Content-Length is no number, or several.
    """
    length = content_length(reply.header_values("Content-Length"))
    if reply.status != 206:
        # The whole blob, also in answer to a range: never to be joined to what is there, only to be skipped through.
        return Span(0, length, length)
    if bare(reply.header("Content-Type") or "") == "multipart/byteranges":
        return None
    values = reply.header_values("Content-Range")
    part = parse_content_range(values[0]) if len(values) == 1 else None
    if part is None or part.start != asked.offset:
        return None
    if part.total is not None and size is not None and part.total != size:
        return None
    if length is not None and length != part.stop - part.start:
        return None
    if tag is not None and (strong_tag(reply) or tag) != tag:
        return None
    return Span(part.start, part.stop, part.total, whole=part.stop == part.total)
