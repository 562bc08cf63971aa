"""Requests that are built in a few microseconds.

``httpx.Request`` parses its URL and normalises every header field, which takes longer than sending it. What ocidist
asks of a registry is known in all its parts, so ``LeanRequest`` keeps those and becomes httpx's objects only where
somebody looks: an event hook, or another transport than ocidist's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from ocidist.wire.egress import Origin
from ocidist.wire.redact import redact_url

if TYPE_CHECKING:
    from ocidist.http.transport.idle import Key

    Fields = list[tuple[bytes, bytes]]

NO_BODY = httpx.ByteStream(b"")


class Request(httpx.Request):
    """A request whose ``repr`` does not show what its URL may hold."""

    def __repr__(self) -> str:
        return f"<Request {self.method} {redact_url(str(self.url))}>"


class LeanRequest(Request):
    """A request to a known origin.

    Args:
        method: HTTP method.
        origin: Where it goes.
        target: Path and query, as they are sent.
        fields: The header fields, as they are sent.
        stream: The body.
        extensions: httpx's extensions.
    """

    def __init__(
        self,
        method: str,
        origin: Origin,
        target: str,
        fields: Fields,
        stream: Any,
        extensions: dict[str, Any],  # noqa: ANN401 -- as httpx types it
    ) -> None:
        # Not httpx's own constructor, which does what is put off here.
        self.method = method
        self.stream = stream
        self.extensions = extensions
        self._origin = origin
        self._target = target
        self._fields = fields
        self._url: httpx.URL | None = None
        self._headers: httpx.Headers | None = None

    @property
    def origin(self) -> Origin:
        """Where it goes."""
        return self._origin

    @property
    def key(self) -> Key:
        """The origin as connections are found by it."""
        return self._origin.scheme, self._origin.host, self._origin.port

    @property
    def target(self) -> bytes:
        """Path and query, as they are sent."""
        return self._target.encode("ascii")

    @property
    def fields(self) -> Fields:
        """The header fields, as they are sent."""
        return self._fields if self._headers is None else self._headers.raw

    @property
    def url(self) -> httpx.URL:
        """The URL, parsed when somebody asks for it."""
        if self._url is None:
            self._url = httpx.URL(f"{self._origin}{self._target}")
        return self._url

    @url.setter
    def url(self, url: httpx.URL) -> None:
        self._url = url
        self._origin = Origin.of(str(url))
        self._target = url.raw_path.decode("ascii")

    @property
    def headers(self) -> httpx.Headers:
        """The header fields as httpx has them; what is changed in there is sent."""
        if self._headers is None:
            self._headers = httpx.Headers(self._fields)
        return self._headers

    @headers.setter
    def headers(self, headers: httpx.Headers) -> None:
        self._headers = headers

    def again(self, authorization: str | None) -> LeanRequest:
        """Return the request as it is sent once, with an Authorization field if one is given."""
        fields = list(self.fields)
        if authorization is not None:
            fields.append((b"Authorization", authorization.encode("ascii")))
        sent = LeanRequest(self.method, self._origin, self._target, fields, self.stream, self.extensions)
        sent._url = self._url
        return sent


def origin_of(request: httpx.Request) -> Origin:
    """Return where a request goes.

    Raises:
        UsageError: Its URL is none that ocidist can use.
    """
    return request.origin if isinstance(request, LeanRequest) else Origin.of(str(request.url))


def is_authorized(request: httpx.Request) -> bool:
    """Return whether a request has an Authorization field already."""
    if isinstance(request, LeanRequest):
        return any(name.lower() == b"authorization" for name, _ in request.fields)
    return "Authorization" in request.headers
