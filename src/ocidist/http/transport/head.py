"""The heads of requests and responses as bytes, and how the body after a head is delimited. No I/O happens here.

httptools (llhttp) reads the heads. What it lets pass although two readers could understand it in two ways is refused
here: a client that guesses where a body ends hands one answer's bytes to the next request.

Spec: RFC 9112, sections 2 to 7.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import httptools
import httpx

if TYPE_CHECKING:
    from collections.abc import Iterable

    Fields = list[tuple[bytes, bytes]]

MAX_HEAD: Final = 64 * 1024
"""Most bytes of a response head, and of the trailers after a chunked body."""

MAX_INTERIM: Final = 2048
"""Most 1xx answers before the final one."""

MAX_DIGITS: Final = 19
"""Digits of the longest Content-Length: those of the largest 64-bit number with a sign."""

_START: Final = b"HTTP/1."
_END: Final = b"\r\n\r\n"
_VERSIONS: Final = {"1.1": b"HTTP/1.1", "1.0": b"HTTP/1.0"}
_NO_BODY: Final = frozenset({204, 304})
_TOKEN: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_SWITCHING: Final = 101
_CONTROLS: Final = bytes({*range(1, 32), 127} - set(b"\t\n\v\f\r"))
_FORBIDDEN: Final = frozenset({*range(32), 127} - {9})
_MASKS: Final = bytes(128 + number % 95 for number in _CONTROLS)
_DISGUISE: Final = bytes.maketrans(_CONTROLS, _MASKS)
_REVEAL: Final = bytes.maketrans(_MASKS, _CONTROLS)
_DISGUISED: Final = frozenset(_MASKS)


def malformed(what: str) -> httpx.RemoteProtocolError:
    """Return the error for an answer that is not HTTP/1.1, or not unambiguously so."""
    return httpx.RemoteProtocolError(f"malformed HTTP response: {what}")


class Head:
    """The head of a final response.

    Attributes:
        status: Status code.
        reason: Reason phrase.
        version: ``b"HTTP/1.1"`` or ``b"HTTP/1.0"``.
        fields: Names and values as they came, in order.
        by_name: The values by name in lower case.
        length: Bytes of the body; None where its end is told by chunks, or by the end of the connection.
        chunked: Whether the body comes in chunks.
        keep_alive: Whether the connection can be used again once the body was read.
    """

    __slots__ = ("by_name", "chunked", "fields", "keep_alive", "length", "reason", "status", "version")

    def __init__(self) -> None:
        self.status: int = 0
        self.reason: bytes = b""
        self.version: bytes = b""
        self.fields: Fields = []
        self.by_name: dict[bytes, list[bytes]] = {}
        self.length: int | None = None
        self.chunked: bool = False
        self.keep_alive: bool = False

    # What httptools calls:

    def on_status(self, reason: bytes) -> None:
        """Take a part of the reason phrase."""
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field."""
        # It cuts the blanks before a value, and leaves those behind it.
        self.fields.append((name, value.rstrip(b" \t")))


def parse_head(data: bytes, method: str) -> Head:
    """Read one head, from its status line to the empty line.

    Args:
        data: The head.
        method: Method of the request it answers: what follows a HEAD has no body.

    Raises:
        httpx.RemoteProtocolError: It is malformed, or leaves open where its body ends.
    """
    if not data.startswith(_START):
        raise malformed("no HTTP/1 status line")
    try:
        head = _parse(data)
    except httptools.HttpParserError as error:
        head = _parse_odd(data, error)
    if head.reason != b"OK" and not _FORBIDDEN.isdisjoint(head.reason):
        raise malformed("control characters in the reason phrase")
    _delimit(head)
    if method == "HEAD" or head.status in _NO_BODY:
        head.length, head.chunked = 0, False
    elif head.length is None and not head.chunked:
        head.keep_alive = False
    return head


def _parse(data: bytes) -> Head:
    head = Head()
    parser = httptools.HttpResponseParser(head)
    with suppress(httptools.HttpParserUpgrade):
        # Whether that is good is decided by the status.
        parser.feed_data(data)
    version = _VERSIONS.get(parser.get_http_version())
    head.status = parser.get_status_code()
    if version is None or head.status < 100:
        raise malformed("no HTTP/1 status line")
    head.version = version
    head.by_name = _by_name(head.fields)
    return head


def _by_name(fields: Fields) -> dict[bytes, list[bytes]]:
    found = {name.lower(): [value] for name, value in fields}
    if len(found) != len(fields):
        found = {}
        for name, value in fields:
            found.setdefault(name.lower(), []).append(value)
    return found


def _parse_odd(data: bytes, error: httptools.HttpParserError) -> Head:
    """Read a head with control characters in its values, which harm nobody as long as they are no line ends.

    They go through the parser in disguise; in a name they are refused in either form.
    """
    disguised = data.translate(_DISGUISE)
    if disguised != data and not _DISGUISED.intersection(data):
        with suppress(httptools.HttpParserError):
            head = _parse(disguised)
            head.fields = [(name, value.translate(_REVEAL)) for name, value in head.fields]
            head.by_name = _by_name(head.fields)
            return head
    raise malformed(str(error) or type(error).__name__) from None


def _delimit(head: Head) -> None:
    by_name = head.by_name
    options = by_name.get(b"connection")
    if options is None:
        head.keep_alive = head.version == b"HTTP/1.1"
    elif options == [b"keep-alive"]:
        head.keep_alive = True
    else:
        tokens = {token.strip() for value in options for token in value.lower().split(b",")}
        head.keep_alive = b"close" not in tokens and (head.version == b"HTTP/1.1" or b"keep-alive" in tokens)
    lengths = by_name.get(b"content-length")
    if b"transfer-encoding" in by_name:
        # Whoever reads it in another way ends the message elsewhere.
        coding = [value.strip().lower() for value in by_name[b"transfer-encoding"]]
        if lengths is not None or coding != [b"chunked"] or head.version != b"HTTP/1.1":
            raise malformed("the end of its body cannot be told")
        head.chunked = True
    elif lengths is not None:
        length = lengths[0].strip()
        if len(lengths) > 1 or not length.isdigit() or len(length) > MAX_DIGITS:
            raise malformed("Content-Length is not one number")
        head.length = int(length)


class HeadReader:
    """Collects what a connection sends until a final head is complete.

    Args:
        method: Method of the request that is being answered.

    Attributes:
        rest: What came after the head: the beginning of the body.
        started: Whether anything came at all.
    """

    __slots__ = ("_data", "_interim", "_method", "rest", "started")

    def __init__(self, method: str) -> None:
        self._method = method
        self._data = b""
        self._interim = 0
        self.rest: bytes = b""
        self.started: bool = False

    def feed(self, data: bytes) -> Head | None:
        """Take what was received and return the final head, or None while it is not complete.

        Raises:
            httpx.RemoteProtocolError: A head is malformed or too large, there are too many interim ones, or the
                protocol is switched although nobody asked.
        """
        self.started = True
        # The end may be split between two pieces.
        at = max(0, len(self._data) - len(_END) + 1)
        data = self._data + data if self._data else data
        while (end := data.find(_END, at)) >= 0:
            end += len(_END)
            if end > MAX_HEAD:
                break
            head = parse_head(data[:end], self._method)
            data, at = data[end:], 0
            if head.status >= 200:
                self.rest = data
                return head
            self._interim += 1
            if head.status == _SWITCHING:
                raise malformed("it switches to a protocol nobody asked for")
            if self._interim > MAX_INTERIM:
                raise malformed(f"more than {MAX_INTERIM} interim answers")
        if len(data) > MAX_HEAD or end >= 0:
            raise malformed(f"its head is longer than {MAX_HEAD} bytes")
        self._data = data
        return None


class ChunkReader:
    """Takes a chunked body apart.

    Attributes:
        done: Whether the last chunk and the trailers are there.
        clean: Whether nothing followed them.
    """

    __slots__ = ("_overhead", "_parser", "_pieces", "clean", "done")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._overhead = 0
        self.done: bool = False
        self.clean: bool = True
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was received and return the pieces of the body in it.

        Raises:
            httpx.RemoteProtocolError: The chunks are malformed, or come with too much beside the body.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if not self.done:
                raise malformed(str(error) or type(error).__name__) from None
            self.clean = False
        pieces, self._pieces = self._pieces, []
        # Extensions and trailers are read over, but not without end.
        self._overhead = 0 if pieces else self._overhead + len(data)
        if self._overhead > MAX_HEAD:
            raise malformed(f"more than {MAX_HEAD} bytes between two pieces of its body")
        return pieces

    def on_message_begin(self) -> None:
        """Take note of another message behind this one."""
        self.clean = not self.done

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body; what another message brings belongs to nobody."""
        if not self.done:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """Take note of the end."""
        self.done = True


# --- requests --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _is_token(name: bytes) -> bool:
    return bool(name) and _TOKEN.issuperset(name)


def header_lines(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return header fields as lines, each with its end.

    Raises:
        httpx.LocalProtocolError: One of them would be read as another line, or its name is no token.
    """
    text = b""
    for name, value in fields:
        if not _is_token(name) or b"\r" in value or b"\n" in value or b"\0" in value:
            raise httpx.LocalProtocolError(f"a header field cannot be sent: {name[:40]!r}")
        text += b"%b: %b\r\n" % (name, value)
    return text


def request_head(method: bytes, target: bytes, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the head of a request.

    Raises:
        httpx.LocalProtocolError: A part of it cannot be sent.
    """
    if not _is_token(method) or not target or any(byte <= 32 or byte == 127 for byte in target):
        raise httpx.LocalProtocolError("the request line holds what cannot be sent")
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, header_lines(fields))
