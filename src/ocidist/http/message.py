"""Requests as they are built, and failing answers as the errors they become. Nothing is sent here."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import anyio
import httpx

from ocidist.errors import AuthError, OciError, RateLimitedError, ResponseError, UnexpectedStatusError, UsageError
from ocidist.http.lean import NO_BODY, LeanRequest
from ocidist.http.reply import RequestStream, snapshot
from ocidist.http.retry import retry_after_of, sent_at
from ocidist.http.sender import Call
from ocidist.http.transport.head import header_lines
from ocidist.wire import endpoints, routing
from ocidist.wire.egress import Origin, split_url
from ocidist.wire.errorbody import Subject, body_note, error_for, parse_errors
from ocidist.wire.ratelimit import parse_rate_limit, parse_wait

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ocidist.http.lean import Fields
    from ocidist.http.site import Site
    from ocidist.wire.endpoints import Endpoint
    from ocidist.wire.scope import ScopeSet

MAX_ERROR_BODY: Final = 64 * 1024
_REQUEST_ID: Final = ("X-Request-Id", "X-Amzn-RequestId", "X-GitHub-Request-Id", "X-Ms-Correlation-Request-Id")
# What httpx puts into every client's headers, and what endpoints and bodies decide themselves.
_NOT_FROM_CLIENT: Final = frozenset(
    name.encode()
    for name in (
        *("accept", "accept-encoding", "connection", "content-length", "content-type", "host", "range"),
        "transfer-encoding",
    )
)
_WRITES: Final = frozenset({"POST", "PUT", "PATCH"})


class ClientFields:
    """The client's own header fields, as they are sent.

    Args:
        headers: Returns the client's headers, which may change at any time.
    """

    def __init__(self, headers: Callable[[], httpx.Headers]) -> None:
        self._headers = headers
        self._raw: Fields = []
        self._agent = self._home = b""

    def get(self, *, at_home: bool) -> bytes:
        """Return what goes with a request: only the user agent where it does not go to the registry itself.

        Raises:
            httpx.LocalProtocolError: The client's headers hold what cannot be sent.
        """
        raw = self._headers().raw
        if raw != self._raw:
            agent = header_lines(field for field in raw if field[0].lower() == b"user-agent")
            self._home = header_lines(field for field in raw if field[0].lower() not in _NOT_FROM_CLIENT)
            self._agent, self._raw = agent, raw
        return self._home if at_home else self._agent


@lru_cache(maxsize=256)
def _lines(headers: tuple[tuple[str, str], ...]) -> bytes:
    fields = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]
    # Digests are of the bytes as they are stored, so no coding is wanted anywhere.
    return header_lines([*fields, (b"Accept-Encoding", b"identity")])


def build(
    site: Site, endpoint: Endpoint, call: Call, fields: ClientFields, timeout: Mapping[str, float | None]
) -> LeanRequest:
    """Return the request for an endpoint.

    Args:
        site: The registry, its base URL known.
        endpoint: What to ask.
        call: The operation; it travels with the request.
        fields: The client's own header fields. Only the user agent goes to other origins than the registry's.
        timeout: The timeouts, as httpx passes them on.

    Raises:
        UsageError: The endpoint's target is an absolute URL that cannot be used, or a header cannot be sent.
    """
    target = endpoint.target
    if target.startswith("/"):
        origin, opening, at_home = site.origin, site.opening, True
    else:
        origin, target = split_url(target)
        at_home = origin == site.origin
        opening = site.opening if at_home else b"Host: %b\r\n" % origin.netloc.encode("ascii")
    stream: httpx.AsyncByteStream = NO_BODY
    length = b""
    if call.body is not None:
        size = call.body.size
        length = b"Transfer-Encoding: chunked\r\n" if size is None else b"Content-Length: %d\r\n" % size
        stream = RequestStream(call.body)
    elif endpoint.method in _WRITES:
        length = b"Content-Length: 0\r\n"
    try:
        own = _lines(endpoint.headers)
        secrets = [(name.encode("ascii"), value.encode("ascii")) for name, value in endpoint.secrets]
        if secrets:
            own += header_lines(secrets)
        lines = b"%b%b%b%b" % (opening, fields.get(at_home=at_home), own, length)
    except httpx.LocalProtocolError as error:
        raise UsageError(str(error)) from None
    extensions = {"ocidist": call, "timeout": dict(timeout)}
    return LeanRequest(endpoint.method, site, origin, target, lines, stream=stream, extensions=extensions)


def raw_call(request: httpx.Request, *, direct: bool) -> Call:
    """Return the call behind a request that a user built: the scopes its path and method need."""
    scopes: ScopeSet | None = None
    try:
        found = routing.parse(request.method, request.url.path, request.url.query.decode("ascii", "replace"))
        scopes = found.scopes
    except OciError:
        # No endpoint of the API: the registry's own challenge says what it wants.
        pass
    return Call(scopes=scopes, direct=direct)


async def failure_of(response: httpx.Response, endpoint: Endpoint, home: Origin) -> ResponseError:
    """Close an answer whose status means failure and return the error for it.

    Args:
        response: The answer.
        endpoint: What was asked.
        home: Whom it was asked: another origin, to which a redirect led, does not speak for it.
    """
    url = str(response.request.url)
    attempts = response.extensions.get("ocidist_attempts")
    kept = await snapshot(response, MAX_ERROR_BODY)
    abroad = Origin.of(url) != home
    infos = () if abroad else parse_errors(kept.content)
    wait = retry_after_of(kept)
    made = error_for(
        kept.status_code,
        infos=infos,
        method=response.request.method,
        url=url,
        subject=_subject(endpoint),
        request_id=next((kept.headers[name] for name in _REQUEST_ID if name in kept.headers), None),
        retry_after=parse_wait(infos) if wait is None else wait,
        note=body_note(kept.content),
    )
    if abroad and isinstance(made, AuthError):
        # Another host's refusal says nothing about the registry's opinion of these credentials.
        made = UnexpectedStatusError(made.status, method=made.method, url=made.url)
    if isinstance(made, RateLimitedError):
        quota = parse_rate_limit(kept.headers.get, now=sent_at(kept))
        made.limited(quota, exhausted=kept.extensions.get("ocidist_spent", False))
    made.hint = kept.extensions.get("ocidist_hint") or made.hint
    return made.locate(attempts=attempts)


def _subject(endpoint: Endpoint) -> Subject:
    match endpoint:
        case endpoints.GetManifest() | endpoints.StatManifest() | endpoints.DeleteManifest():
            return Subject.MANIFEST if ":" in endpoint.reference else Subject.TAG
        case endpoints.GetBlob() | endpoints.StatBlob() | endpoints.DeleteBlob():
            return Subject.BLOB
        case endpoints.PatchUpload() | endpoints.PutUpload() | endpoints.UploadStatus() | endpoints.CancelUpload():
            return Subject.UPLOAD
        case _:
            return endpoint.about


def forget_frames(error: BaseException) -> None:
    """Forget the frames below of a cancellation, for the same reason as ``scrubbed``.

    What it came after stays: anyio looks there for the scope that is cancelled, and it may be the caller's.
    """
    error.__traceback__ = None
    before = error.__context__
    while isinstance(before, anyio.get_cancelled_exc_class()):
        before.__traceback__ = None
        before = before.__context__


def scrubbed(error: OciError) -> OciError:
    """Forget the frames below: their variables hold headers and URLs that no traceback may show."""
    error.__traceback__ = None
    error.__context__ = None
    if error.__cause__ is not None:
        error.__cause__.__traceback__ = None
        error.__cause__.__context__ = None
    return error
