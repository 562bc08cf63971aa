"""Reading what answers say about themselves, and naming what they are when they are not what was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import anyio.to_thread

from ocidist.errors import InvalidDigestError, NameUnknownError, ProtocolError, ResponseError
from ocidist.model.digest import Digest
from ocidist.model.mediatype import bare
from ocidist.wire.redact import clean_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocidist.http.sender import Reply

DIGEST_HEADER: Final = "Docker-Content-Digest"
MAX_EXCERPT: Final = 200
"""Characters of an unexpected body that an error message shows."""

OFF_LOOP: Final = 256 * 1024
"""Bytes from which on a body is read in a thread: parsing more would hold up everybody else on the loop."""

_T = TypeVar("_T")
_Error = TypeVar("_Error", bound=ResponseError)


def stated_digest(reply: Reply) -> Digest | None:
    """Return the digest an answer states; None if it states none, several, or one that cannot be verified.

    Spec: distribution-spec, "Pulling manifests".
    """
    stated = reply.header_values(DIGEST_HEADER)
    if not stated or any(value != stated[0] for value in stated):
        return None
    try:
        digest = Digest(stated[0].strip())
    except InvalidDigestError:
        return None
    return digest if digest.verifiable else None


async def off_loop(size: int, work: Callable[[], _T]) -> _T:
    """Return what *work* returns, done in a thread if it is about *size* bytes that take a while."""
    return work() if size < OFF_LOOP else await anyio.to_thread.run_sync(work)


def is_page_for_people(content_type: str | None) -> bool:
    """Return whether a content type belongs to a web page: a proxy, a login form, a captive portal."""
    return bare(content_type or "") in {"text/html", "application/xhtml+xml"}


def unexpected(what: str, content_type: str | None, data: bytes) -> ProtocolError:
    """Return the error for a body that is not *what* was asked for, with its content type and its beginning."""
    kind = clean_text(content_type or "no content type", MAX_EXCERPT)
    # One character takes up to four bytes.
    text = clean_text(data[: 4 * MAX_EXCERPT].decode("utf-8", "replace"), MAX_EXCERPT)
    return ProtocolError(f"the answer is not {what}: it came as {kind} and begins with {text!r}")


def says_name_unknown(error: ResponseError) -> bool:
    """Return whether the registry itself says that the repository does not exist; a bare 404 does not say so."""
    return any(info.code == NameUnknownError.code for info in error.errors)


def restated(kind: type[_Error], message: str, source: ResponseError) -> _Error:
    """Return *source* as an error of another class whose text begins with *message*."""
    error = kind(
        source.status,
        method=source.method,
        url=source.url,
        errors=source.errors,
        request_id=source.request_id,
        retry_after=source.retry_after,
    )
    error.message = f"{message} ({source.message})"
    error.locate(operation=source.operation, reference=source.reference, host=source.host, attempts=source.attempts)
    return error


def foreseen(kind: type[_Error], status: int, message: str) -> _Error:
    """Return the error a registry would answer with, for a request that was not sent."""
    error = kind(status, note=message)
    error.message = message
    return error
