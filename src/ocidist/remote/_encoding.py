"""Answers that were compressed although ``identity`` was asked for.

Spec: RFC 9110, section 8.4.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from ocidist.errors import LimitExceededError, ProtocolError
from ocidist.wire.redact import clean_text

if TYPE_CHECKING:
    from ocidist.http.sender import Reply

_SHOWN = 60
# Window bits as zlib has them: with a gzip header, and with a zlib header.
_WINDOWS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def content_encoding(reply: Reply) -> str | None:
    """Return how an answer's body is encoded, in lower case; None if it is not."""
    values = reply.header_values("Content-Encoding")
    if not values:
        return None
    coded = [value for value in (value.strip().lower() for value in values) if value not in {"", "identity"}]
    return ", ".join(coded) or None


def decode(data: bytes, encoding: str, *, limit: int, what: str) -> bytes:
    """Undo one layer of gzip or deflate.

    At most *limit* bytes are produced, however small the input: a compression bomb costs no more than an honest answer.

    Raises:
        LimitExceededError: The content is longer than *limit* bytes; *what* is its name in the message.
        ProtocolError: The encoding is another one, or the data is malformed or incomplete.
    """
    window = _WINDOWS.get(encoding)
    if window is None:
        raise ProtocolError(f"the {what} came with the content encoding {clean_text(encoding, _SHOWN)!r}, unasked")
    decoder = zlib.decompressobj(window)
    try:
        plain = decoder.decompress(data, limit + 1)
    except zlib.error as error:
        raise ProtocolError(f"the {what} is not valid {encoding}: {error}") from None
    if len(plain) > limit:
        raise LimitExceededError(what, limit)
    if not decoder.eof or decoder.unused_data:
        raise ProtocolError(f"the {what} is not one complete {encoding} stream")
    return plain


async def read_plain(reply: Reply, limit: int, what: str) -> bytes:
    """Return an answer's body as it is without gzip or deflate, *limit* bytes of it at most.

    Raises:
        LimitExceededError: It is longer; *what* is its name in the message.
        ProtocolError: The data is malformed or incomplete.
        OciError: See ``Reply.read``.
    """
    data = await reply.read(limit, what)
    encoding = content_encoding(reply)
    return decode(data, encoding, limit=limit, what=what) if encoding in _WINDOWS else data
