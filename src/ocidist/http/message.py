"""Requests as they are built, and failing answers as the errors they become. Nothing is sent here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx

from ocidist.errors import AuthError, OciError, ResponseError, UnexpectedStatusError
from ocidist.http.reply import RequestStream, snapshot
from ocidist.http.retry import retry_after_of
from ocidist.http.sender import Call
from ocidist.wire import endpoints, routing
from ocidist.wire.egress import Origin
from ocidist.wire.errorbody import Subject, body_note, error_for, parse_errors
from ocidist.wire.redact import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocidist.http.timeouts import Timeouts
    from ocidist.wire.endpoints import Endpoint
    from ocidist.wire.scope import ScopeSet

MAX_ERROR_BODY: Final = 64 * 1024
_REQUEST_ID: Final = ("X-Request-Id", "X-Amzn-RequestId", "X-GitHub-Request-Id", "X-Ms-Correlation-Request-Id")
# What httpx puts into every client's headers, and what endpoints and bodies decide themselves.
_NOT_FROM_CLIENT: Final = frozenset(
    {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "range", "transfer-encoding"}
)


class Request(httpx.Request):
    """A request whose ``repr`` does not show what its URL may hold."""

    def __repr__(self) -> str:
        return f"<Request {self.method} {redact_url(str(self.url))}>"


def build(
    base: str, endpoint: Endpoint, call: Call, *, client_headers: Iterable[tuple[str, str]], timeouts: Timeouts
) -> Request:
    """Return the request for an endpoint.

    Args:
        base: The registry's base URL.
        endpoint: What to ask.
        call: The operation; it travels with the request.
        client_headers: The client's own header fields, names in lower case. Only the user agent goes to other origins
            than the registry's.
        timeouts: The client's timeouts.
    """
    target = endpoint.target
    absolute = target.startswith(("http://", "https://"))
    at_home = not absolute or Origin.of(target) == Origin.of(base)
    headers = [
        (name, value)
        for name, value in client_headers
        if name == "user-agent" or (at_home and name not in _NOT_FROM_CLIENT)
    ]
    # Digests are of the bytes as they are stored, so no coding is wanted anywhere.
    headers += [*endpoint.headers, ("Accept-Encoding", "identity")]
    extensions = {"ocidist": call, "timeout": timeouts.extension(final=call.final)}
    url = target if absolute else base + target
    if call.body is None:
        if endpoint.method in {"POST", "PUT", "PATCH"}:
            headers.append(("Content-Length", "0"))
        return Request(endpoint.method, url, headers=headers, extensions=extensions)
    if call.body.size is not None:
        headers.append(("Content-Length", str(call.body.size)))
    stream = RequestStream(call.body)
    request = Request(endpoint.method, url, headers=headers, content=stream, extensions=extensions)
    # httpx wraps what it is given in a stream that cannot be closed.
    request.stream = stream
    return request


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


async def failure_of(response: httpx.Response, endpoint: Endpoint, base: str) -> ResponseError:
    """Close an answer whose status means failure and return the error for it."""
    url = str(response.request.url)
    attempts = response.extensions.get("ocidist_attempts")
    kept = await snapshot(response, MAX_ERROR_BODY)
    abroad = Origin.of(url) != Origin.of(base)
    infos = () if abroad else parse_errors(kept.content)
    made = error_for(
        kept.status_code,
        infos=infos,
        method=response.request.method,
        url=url,
        subject=_subject(endpoint),
        request_id=next((kept.headers[name] for name in _REQUEST_ID if name in kept.headers), None),
        retry_after=retry_after_of(kept),
        note=body_note(kept.content),
    )
    if abroad and isinstance(made, AuthError):
        # Another host's refusal says nothing about the registry's opinion of these credentials.
        made = UnexpectedStatusError(made.status, method=made.method, url=made.url)
    return made.locate(attempts=attempts)


def _subject(endpoint: Endpoint) -> Subject:
    match endpoint:
        case endpoints.GetManifest() | endpoints.StatManifest() | endpoints.DeleteManifest():
            return Subject.MANIFEST if ":" in endpoint.reference else Subject.TAG
        case endpoints.GetBlob() | endpoints.StatBlob() | endpoints.DeleteBlob():
            return Subject.BLOB
        case endpoints.PatchUpload() | endpoints.PutUpload() | endpoints.UploadStatus() | endpoints.CancelUpload():
            return Subject.UPLOAD
        case endpoints.Ping() | endpoints.ListRepositories():
            return Subject.OTHER
        case _:
            return Subject.REPOSITORY


def scrubbed(error: OciError) -> OciError:
    """Forget the frames below: their variables hold headers and URLs that no traceback may show."""
    error.__traceback__ = None
    error.__context__ = None
    if error.__cause__ is not None:
        error.__cause__.__traceback__ = None
        error.__cause__.__context__ = None
    return error
