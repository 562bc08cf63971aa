"""Requests and responses that cost a few microseconds.

httpx parses the URL of a request and normalises every header field, which takes longer than sending it. What ocidist
asks of a registry is known in all its parts, so these keep the parts, and make httpx's objects of them only where
somebody looks: an event hook, or another transport than ocidist's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx

from ocidist.wire.egress import Origin
from ocidist.wire.redact import redact_url

if TYPE_CHECKING:
    from ocidist.http.site import Site
    from ocidist.http.transport.idle import Key

    Fields = list[tuple[bytes, bytes]]

EARLY: Final = "ocidist_early"
"""Name of the response extension that says that the answer was there before the whole request was sent."""

NO_BODY = httpx.ByteStream(b"")

# What any response has before its first use; its headers are set by a property, and so not among it.
_BLANK: Final = {
    name: value
    for name, value in vars(httpx.Response(200, stream=NO_BODY)).items()
    if name not in {"headers", "stream", "extensions", "history"}
}


class Request(httpx.Request):
    """A request whose ``repr`` does not show what its URL may hold."""

    def __repr__(self) -> str:
        return f"<Request {self.method} {redact_url(str(self.url))}>"


class LeanRequest(Request):
    """A request to a known origin.

    Args:
        method: HTTP method.
        site: The registry on whose behalf it is sent.
        origin: Where it goes.
        target: Path and query, as they are sent.
        lines: The header fields, as they are sent: ``Name: value`` lines, each with its CRLF.
        stream: The body.
        extensions: httpx's extensions.

    Attributes:
        site: See above.
        origin: Where it goes.
    """

    def __init__(
        self,
        method: str,
        site: Site,
        origin: Origin,
        target: str,
        lines: bytes,
        *,
        stream: Any,  # noqa: ANN401 -- as httpx types it
        extensions: dict[str, Any],
    ) -> None:
        # Not httpx's own constructor, which does what is put off here.
        self.method = method
        self.stream = stream
        self.extensions = extensions
        self.site: Site = site
        self.origin: Origin = origin
        self._target = target
        self._lines = lines
        self._url: httpx.URL | None = None
        self._headers: httpx.Headers | None = None

    @property
    def key(self) -> Key:
        """The origin as connections are found by it."""
        origin = self.origin
        return origin.scheme, origin.host, origin.port

    @property
    def url(self) -> httpx.URL:
        """The URL, parsed when somebody asks for it."""
        if self._url is None:
            self._url = httpx.URL(f"{self.origin}{self._target}")
        return self._url

    @url.setter
    def url(self, url: httpx.URL) -> None:
        self._url = url
        self.origin = Origin.of(str(url))
        self._target = url.raw_path.decode("ascii")

    @property
    def address(self) -> str:
        """The URL as text: nobody has to parse it for that."""
        return f"{self.origin}{self._target}" if self._url is None else str(self._url)

    @property
    def headers(self) -> httpx.Headers:
        """The header fields as httpx has them; what is changed in there is sent."""
        if self._headers is None:
            self._headers = httpx.Headers([_field(line) for line in self._lines.split(b"\r\n") if line])
        return self._headers

    @headers.setter
    def headers(self, headers: httpx.Headers) -> None:
        self._headers = headers

    @property
    def authorized(self) -> bool:
        """Whether it has an Authorization field already."""
        return self.field("Authorization") is not None

    def field(self, name: str) -> str | None:
        """Return the value of a header field that is there once at the most; None if it is not.

        httpx's headers are not made for that.
        """
        if self._headers is not None:
            found: str | None = self._headers.get(name)
            return found
        # The first of the lines is Host.
        wanted = b"\r\n%b:" % name.lower().encode("ascii")
        before, name_there, _ = self._lines.lower().partition(wanted)
        if not name_there:
            return None
        value, _, _ = self._lines[len(before) + len(wanted) :].partition(b"\r\n")
        return value.strip().decode("latin-1")

    def head(self) -> bytes | None:
        """Return the head as it is sent; None where somebody may have changed the fields."""
        if self._headers is not None:
            return None
        return b"%b %b HTTP/1.1\r\n%b\r\n" % (self.method.encode("ascii"), self._target.encode("ascii"), self._lines)

    def again(self, authorization: str | None) -> LeanRequest:
        """Return the request as it is sent once, with an Authorization field if one is given."""
        lines = self._lines
        if self._headers is not None:
            lines = b"".join(b"%b: %b\r\n" % field for field in self._headers.raw)
        if authorization is not None:
            lines = b"%bAuthorization: %b\r\n" % (lines, authorization.encode("ascii"))
        twin = LeanRequest.__new__(LeanRequest)
        twin.__dict__.update(self.__dict__, _headers=None, _lines=lines)
        return twin


class LeanResponse(httpx.Response):
    """A response whose headers become httpx's when somebody asks for them.

    Args:
        status: Status code.
        fields: The header fields, as they came.
        by_name: Their values by name in lower case.
        stream: The body.
        extensions: httpx's extensions.
    """

    def __init__(
        self,
        status: int,
        fields: Fields,
        by_name: dict[bytes, list[bytes]],
        *,
        stream: httpx.AsyncByteStream,
        extensions: dict[str, Any],
    ) -> None:
        # Not httpx's own constructor, which would make its headers at once.
        self.__dict__.update(_BLANK)
        self.status_code = status
        self.stream = stream
        self.extensions = extensions
        self.history: list[httpx.Response] = []
        self._headers: httpx.Headers | None = None
        self._fields = fields
        self._by_name = by_name

    @property
    def headers(self) -> httpx.Headers:
        """The header fields as httpx has them."""
        if self._headers is None:
            self._headers = httpx.Headers(self._fields)
        return self._headers

    @headers.setter
    def headers(self, headers: httpx.Headers) -> None:
        self._headers = headers

    @property
    def by_name(self) -> dict[bytes, list[bytes]] | None:
        """The values by name in lower case; None where somebody may have changed them."""
        return self._by_name if self._headers is None else None


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b": ")
    return name, value


def origin_of(request: httpx.Request) -> Origin:
    """Return where a request goes.

    Raises:
        UsageError: Its URL is none that ocidist can use.
    """
    return request.origin if isinstance(request, LeanRequest) else Origin.of(str(request.url))


def is_authorized(request: httpx.Request) -> bool:
    """Return whether a request has an Authorization field already."""
    return request.authorized if isinstance(request, LeanRequest) else "Authorization" in request.headers
