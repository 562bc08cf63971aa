"""Saying no: which status and which error body an exception becomes.

Spec: distribution-spec, "Error Codes".
"""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Final, TypeVar

from ocidist.errors import (
    DigestInvalidError,
    DigestMismatchError,
    DigestUnsupportedError,
    ErrorInfo,
    MalformedManifestError,
    ManifestInvalidError,
    OciError,
    ResponseError,
    ServerError,
    SizeInvalidError,
    SizeMismatchError,
    StorageError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

JSON: Final = ("Content-Type", "application/json")
UNKNOWN: Final = "UNKNOWN"
"""The code where the specification has none for a status, as docker-registry does it."""

NO_ROOM: Final = frozenset({None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Numbers of the operating system's errors that say so; a store in memory has none to say it with."""

_Error = TypeVar("_Error", bound=ResponseError)


class RefusedError(Exception):
    """Raised to refuse with header fields of its own.

    Args:
        error: The refusal.
        headers: The header fields.
    """

    def __init__(self, error: ResponseError, headers: Sequence[tuple[str, str]]) -> None:
        super().__init__(str(error))
        self.error = error
        self.headers: tuple[tuple[str, str], ...] = tuple(headers)


def said(kind: type[_Error], status: int, message: str, detail: str = "") -> _Error:
    """Return an error whose message the client will read."""
    return kind(status, errors=[ErrorInfo(kind.code or UNKNOWN, message, detail)])


def as_refusal(error: OciError) -> ResponseError:
    """Return what a client is told about a failure; what only the operator should know is left out."""
    match error:
        case ResponseError():
            return error
        case DigestUnsupportedError():
            return said(DigestInvalidError, 400, error.message)
        case StorageError(errno=number) if number in NO_ROOM:
            return said(ServerError, 507, "the registry has no room left")
        case StorageError():
            return said(ServerError, 500, "the registry cannot use its store")
        case _:
            return said(ServerError, 500, "the registry failed")


def of_pushed_content(error: OciError) -> ResponseError:
    """Return what a client is told whose content is not what it says; other failures as ``as_refusal`` has them."""
    match error:
        case DigestMismatchError():
            return said(DigestInvalidError, 400, f"the content has the digest {error.actual}", error.expected)
        case SizeMismatchError():
            return said(SizeInvalidError, 400, error.message)
        case MalformedManifestError():
            return said(ManifestInvalidError, 400, error.message)
        case _:
            return as_refusal(error)


def body_of(error: ResponseError) -> bytes:
    """Return the JSON body for a refusal."""
    infos = error.errors or (ErrorInfo(error.code or UNKNOWN, error.message),)
    entries = [
        {"code": info.code, "message": info.message, **({"detail": info.detail} if info.detail else {})}
        for info in infos
    ]
    return json.dumps({"errors": entries}, separators=(",", ":")).encode()
