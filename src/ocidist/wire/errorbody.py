"""Error answers: what registries say, and which exception it becomes.

Spec: distribution-spec, "Error Codes".
"""

from __future__ import annotations

import enum
import json
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from ocidist import errors
from ocidist.errors import ErrorInfo, ProtocolError, ResponseError
from ocidist.model import strictjson
from ocidist.wire.redact import clean_text, redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MAX_ERROR_BYTES: Final = 64 * 1024
"""The largest error body that is read."""

MAX_SHOWN_CHARS: Final = 4096
"""All messages of one body together."""

MAX_ERRORS: Final = 128
"""More entries than an image has layers say nothing new."""

MAX_DETAIL_CHARS: Final = 1024
MAX_CODE_CHARS: Final = 64
UNKNOWN: Final = "UNKNOWN"
"""The code of an entry that has none."""

_CODE_CHARS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", re.ASCII)


class Subject(enum.Enum):
    """What a request was about; it decides what a 404 without a code means."""

    TAG = "tag"
    MANIFEST = "manifest"
    BLOB = "blob"
    UPLOAD = "upload"
    REPOSITORY = "repository"
    OTHER = "other"


CODES: Final[Mapping[str, type[ResponseError]]] = MappingProxyType(
    {
        "BLOB_UNKNOWN": errors.BlobUnknownError,
        "BLOB_UPLOAD_INVALID": errors.BlobUploadInvalidError,
        "BLOB_UPLOAD_UNKNOWN": errors.BlobUploadUnknownError,
        "DENIED": errors.DeniedError,
        "DIGEST_INVALID": errors.DigestInvalidError,
        "MANIFEST_BLOB_UNKNOWN": errors.ManifestBlobUnknownError,
        "MANIFEST_INVALID": errors.ManifestInvalidError,
        "MANIFEST_UNKNOWN": errors.ManifestUnknownError,
        "MANIFEST_UNVERIFIED": errors.ManifestUnverifiedError,
        "NAME_INVALID": errors.NameInvalidError,
        "NAME_UNKNOWN": errors.NameUnknownError,
        "PAGINATION_NUMBER_INVALID": errors.PaginationInvalidError,
        "RANGE_INVALID": errors.RangeInvalidError,
        "SIZE_INVALID": errors.SizeInvalidError,
        "TAG_INVALID": errors.TagInvalidError,
        "TOOMANYREQUESTS": errors.RateLimitedError,
        "UNAUTHORIZED": errors.UnauthorizedError,
        "UNAVAILABLE": errors.ServerError,
        "UNSUPPORTED": errors.UnsupportedError,
        # Not in any specification; sent by registries in use.
        "FORBIDDEN": errors.DeniedError,
        "TAG_UNKNOWN": errors.TagUnknownError,
        "TOO_MANY_REQUESTS": errors.RateLimitedError,
    }
)
"""Registry codes and the exception of each; a code that is not here leaves the decision to the status."""

_STATUSES: Final[Mapping[int, type[ResponseError]]] = MappingProxyType(
    {
        304: errors.NotModifiedError,
        401: errors.UnauthorizedError,
        403: errors.DeniedError,
        405: errors.UnsupportedError,
        412: errors.PreconditionFailedError,
        413: errors.PayloadTooLargeError,
        416: errors.RangeInvalidError,
        429: errors.RateLimitedError,
        501: errors.UnsupportedError,
    }
)

# Statuses that mean one thing only, whatever code comes with them.
_DECIDED: Final = frozenset({412, 416, 429})

_MISSING: Final[Mapping[Subject, type[ResponseError]]] = MappingProxyType(
    {
        Subject.TAG: errors.TagUnknownError,
        Subject.MANIFEST: errors.ManifestUnknownRevisionError,
        Subject.BLOB: errors.BlobUnknownError,
        Subject.UPLOAD: errors.BlobUploadUnknownError,
        Subject.REPOSITORY: errors.NameUnknownError,
        Subject.OTHER: errors.NotFoundError,
    }
)

# A failing server may say anything: of its codes only these are believed.
_CODES_OF_5XX: Final = frozenset({"TOOMANYREQUESTS", "TOO_MANY_REQUESTS", "UNAVAILABLE", "UNSUPPORTED"})


def parse_errors(data: bytes) -> tuple[ErrorInfo, ...]:
    """Read the entries of an error body; empty if there are none, whatever the body is.

    Understood are the specified form, ``{"errors": null}``, one object or plain strings instead of a list, a bare
    list or entry, ``{"error": ...}``, ``{"message": ...}`` and OAuth's ``error_description``. Codes are put in upper
    case. Control characters are removed, messages shortened to 4 KiB in all. Never raises.

    Spec: distribution-spec, "Error Codes".
    """
    if not data or len(data) > MAX_ERROR_BYTES:
        return ()
    try:
        body = strictjson.loads(data, what="error body")
    except ProtocolError:
        return ()
    found: list[ErrorInfo] = []
    room = MAX_SHOWN_CHARS
    for entry in _entries(body):
        info = _info(entry, room)
        if info is not None:
            found.append(info)
            room -= len(info.message)
        if len(found) == MAX_ERRORS:
            break
    return tuple(found)


def body_note(data: bytes, limit: int = 200) -> str:
    """Describe a body that is no error body: its beginning, without control characters."""
    return clean_text(data[: limit * 4].decode("utf-8", "replace"), limit)


def words_of(data: bytes) -> str:
    """Return what a body says to people: the messages of an error body, or else its beginning."""
    return "; ".join(info.message for info in parse_errors(data) if info.message) or body_note(data)


def error_for(
    status: int,
    *,
    infos: Sequence[ErrorInfo] = (),
    method: str = "",
    url: str = "",
    subject: Subject = Subject.OTHER,
    request_id: str | None = None,
    retry_after: float | None = None,
    note: str = "",
) -> ResponseError:
    """Choose the exception for an answer: by the first code that is known, else by the status.

    Some statuses outrank the code: 412 is always a failed condition, 416 a range and 429 a rate limit, and a 5xx is a
    failing server whatever it says, unless it says that it limits or does not offer something. Several reasons against
    one manifest become one ``ManifestVerificationError``, unless all are missing blobs.

    Args:
        status: HTTP status.
        infos: Entries of the body; none after HEAD.
        method: Request method.
        url: Request URL; redacted here.
        subject: What the request was about.
        request_id: The registry's identifier of the request.
        retry_after: Seconds the registry asks to wait.
        note: What to show if there are no entries.

    Spec: distribution-spec, "Error Codes".
    """
    error = _choose(status, infos, subject)(
        status,
        method=method,
        url=redact_url(url),
        errors=infos,
        request_id=None if request_id is None else clean_text(request_id, 128),
        retry_after=retry_after,
        note=clean_text(note),
    )
    if isinstance(error, errors.ManifestBlobUnknownError):
        error.digests = tuple(dict.fromkeys(_digests(infos)))
    return error


def _choose(status: int, infos: Sequence[ErrorInfo], subject: Subject) -> type[ResponseError]:
    if status in _DECIDED:
        return _STATUSES[status]
    codes = [info.code for info in infos if info.code in CODES]
    if status >= 500:
        codes = [code for code in codes if code in _CODES_OF_5XX]
    if not codes:
        return _by_status(status, subject)
    chosen = CODES[codes[0]]
    if issubclass(chosen, errors.ManifestInvalidError) and len(codes) > 1:
        blobs = all(CODES[code] is errors.ManifestBlobUnknownError for code in codes)
        return chosen if blobs else errors.ManifestVerificationError
    if chosen is errors.ManifestUnknownError and subject in {Subject.TAG, Subject.MANIFEST}:
        return _MISSING[subject]
    return chosen


def _by_status(status: int, subject: Subject) -> type[ResponseError]:
    if status in {404, 410}:
        return _MISSING[subject]
    if status in _STATUSES:
        return _STATUSES[status]
    return errors.ServerError if 500 <= status < 600 else errors.UnexpectedStatusError


def _digests(infos: Sequence[ErrorInfo]) -> Iterator[str]:
    for info in infos:
        if info.code == "MANIFEST_BLOB_UNKNOWN":
            yield from _DIGEST.findall(info.detail) or _DIGEST.findall(info.message)


def _entries(body: object) -> Iterator[object]:
    if isinstance(body, list):
        yield from body
    elif isinstance(body, dict):
        inner = body.get("errors") or body.get("error")
        if isinstance(inner, list):
            yield from inner
        elif isinstance(inner, dict):
            yield inner
        elif isinstance(inner, str) and "error_description" not in body:
            yield {"message": inner, **body}
        else:
            yield body


def _info(entry: object, room: int) -> ErrorInfo | None:
    if isinstance(entry, str):
        return ErrorInfo(UNKNOWN, clean_text(entry, room)) if entry else None
    if not isinstance(entry, dict):
        return None
    code = _code(entry.get("code")) or (_code(entry.get("error")) if "error_description" in entry else "")
    message = next(
        (
            value
            for key in ("message", "error_description", "msg", "description", "title")
            if isinstance(value := entry.get(key), str) and value
        ),
        "",
    )
    detail = entry.get("detail", entry.get("details"))
    if not message and isinstance(detail, str) and not code:
        message, detail = detail, None
    if not code and not message:
        return None
    return ErrorInfo(code or UNKNOWN, clean_text(message, max(room, 0)), _detail(detail))


def _code(value: object) -> str:
    if not isinstance(value, str):
        return ""
    code = value.strip()[:MAX_CODE_CHARS].upper().replace(" ", "_").replace("-", "_")
    return code if code and _CODE_CHARS.issuperset(code) else ""


def _detail(value: object) -> str:
    if value is None or value in ("", {}, []):
        return ""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return clean_text(text, MAX_DETAIL_CHARS)
