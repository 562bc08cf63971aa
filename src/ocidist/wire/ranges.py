"""Numbers in headers: lengths, content ranges and what a registry reports about an upload.

Inside ocidist an offset range is half-open, ``[start, stop)``; the inclusive form of HTTP exists only in the header
text that is read and written here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ocidist.errors import ProtocolError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_DIGITS: Final = 19
"""Enough for 2**63 - 1, the largest size a descriptor may have."""


def parse_int(text: str) -> int | None:
    """Read a decimal number of at most 19 ASCII digits; anything else is None.

    Unlike ``int()`` it takes no sign, blank, underscore or digit of another script.
    """
    if 0 < len(text) <= MAX_DIGITS and text.isascii() and text.isdigit():
        return int(text)
    return None


def content_length(values: Sequence[str]) -> int | None:
    """Read Content-Length from all its lines, in bytes; None if there are none.

    The same number several times is one number.

    Raises:
        ProtocolError: A value is no number, or two differ.

    Spec: RFC 9110, section 8.6.
    """
    found: set[int] = set()
    for part in (part for value in values for part in value.split(",")):
        number = parse_int(part.strip(" \t"))
        if number is None:
            msg = "Content-Length is not a number"
            raise ProtocolError(msg)
        found.add(number)
    if len(found) > 1:
        msg = "Content-Length is given twice, with different values"
        raise ProtocolError(msg)
    return found.pop() if found else None


@attrs.frozen
class ContentRange:
    """What part of a body an answer holds.

    Attributes:
        first: Offset of the first byte.
        last: Offset of the last byte, inclusive as in the header.
        total: Bytes in the whole body, or None if the server does not know.
    """

    first: int
    last: int
    total: int | None

    @property
    def start(self) -> int:
        """Offset of the first byte."""
        return self.first

    @property
    def stop(self) -> int:
        """Offset after the last byte."""
        return self.last + 1


def _byte_range(text: str) -> tuple[str, str] | None:
    unit, blank, rest = text.strip(" \t").partition(" ")
    if not blank:
        unit, rest = "bytes", unit
    span, slash, total = rest.strip(" \t").partition("/")
    return (span, total if slash else "*") if unit.lower() == "bytes" else None


def parse_content_range(text: str) -> ContentRange | None:
    """Read a Content-Range: ``bytes 0-99/1234`` of a 206 answer, or ``0-99`` of an upload chunk.

    None if it is not one of bytes or contradicts itself.

    Spec: RFC 9110, section 14.4; distribution-spec, "Pushing a blob in chunks".
    """
    if (parts := _byte_range(text)) is None:
        return None
    span, total_text = parts
    first_text, dash, last_text = span.partition("-")
    first, last = parse_int(first_text), parse_int(last_text)
    total = parse_int(total_text)
    if not dash or first is None or last is None or (total is None and total_text != "*"):
        return None
    if last < first or (total is not None and last >= total):
        return None
    return ContentRange(first, last, total)


def format_content_range(start: int, stop: int) -> str:
    """Write the Content-Range of an upload chunk, ``[start, stop)`` in bytes, as ``<first>-<last>``.

    Raises:
        UsageError: The range is empty or negative; the header cannot say so.

    Spec: distribution-spec, "Pushing a blob in chunks".
    """
    if not 0 <= start < stop:
        msg = f"a chunk cannot reach from {start} to {stop}"
        raise UsageError(msg)
    return f"{start}-{stop - 1}"


def parse_upload_range(text: str) -> int | None:
    """Read how many bytes of an upload a registry reports to have; None if it does not say.

    ``0-0`` is None: registries send it both for nothing and for a single byte. ``0--1`` is none. A unit in front
    (``bytes=0-99``) and a total behind are tolerated. The number is a claim: it may be stale, off by one or
    relative to the last chunk.

    Spec: distribution-spec, "Pushing a blob in chunks".
    """
    span = text.strip(" \t").lower().removeprefix("bytes").lstrip("= \t").partition("/")[0]
    first_text, dash, last_text = span.partition("-")
    first = parse_int(first_text.strip(" \t"))
    if not dash or first is None:
        return None
    if last_text == "-1":
        return first
    last = parse_int(last_text.strip(" \t"))
    if last is None or last < first or last == 0:
        return None
    return last + 1


def range_header(offset: int, length: int | None = None) -> str:
    """Write the Range of a read that starts at *offset* and ends after *length* bytes, or at the end.

    Raises:
        UsageError: The offset is negative or the length is not positive.

    Spec: RFC 9110, section 14.2.
    """
    if offset < 0 or (length is not None and length <= 0):
        msg = f"cannot ask for {length} bytes from offset {offset}"
        raise UsageError(msg)
    return f"bytes={offset}-" if length is None else f"bytes={offset}-{offset + length - 1}"
