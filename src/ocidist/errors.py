"""Every exception ocidist raises.

The tree (two questions decide the branch: whose fault, and is it worth trying again)::

    OciError
     ├ UsageError (ValueError)    the caller's argument is wrong; nothing was sent
     ├ TransportError             no complete answer arrived
     ├ ProtocolError              an answer arrived that no registry should give
     ├ EgressError                the server named a place this client must not go
     ├ AuthError                  no usable credentials or token
     ├ ResponseError              the registry said no, with a status and maybe codes
     ├ IntegrityError             the bytes are not the bytes that were asked for
     └ UploadError                an upload session cannot go on

Exceptions hold plain values only (strings, numbers, tuples): they can be pickled, logged and kept. Cancellation is
never one of them: it stays the native exception of the event loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = [
    "AuthError",
    "AuthRealmRefusedError",
    "BlobExistsError",
    "BlobUnknownError",
    "BlobUploadInvalidError",
    "BlobUploadUnknownError",
    "BodyNotReplayableError",
    "ChallengeError",
    "ClientClosedError",
    "ConnectError",
    "CredentialStoreError",
    "CredentialsRejectedError",
    "DeniedError",
    "DigestInvalidError",
    "DigestMismatchError",
    "DigestUnsupportedError",
    "EgressError",
    "ErrorInfo",
    "IntegrityError",
    "InvalidCredentialError",
    "InvalidDigestError",
    "InvalidReferenceError",
    "LimitExceededError",
    "LinkRefusedError",
    "LocationRefusedError",
    "MalformedManifestError",
    "ManifestBlobUnknownError",
    "ManifestInvalidError",
    "ManifestUnknownError",
    "ManifestUnknownRevisionError",
    "ManifestUnverifiedError",
    "ManifestVerificationError",
    "NameInvalidError",
    "NameUnknownError",
    "NotFoundError",
    "NotModifiedError",
    "OciError",
    "PaginationInvalidError",
    "PaginationLoopError",
    "PayloadTooLargeError",
    "PreconditionFailedError",
    "ProtocolError",
    "RangeInvalidError",
    "RateLimitedError",
    "RedirectRefusedError",
    "ResponseError",
    "SchemaV1UnsupportedError",
    "SchemeDetectionError",
    "ScopeDeniedError",
    "ServerError",
    "SizeInvalidError",
    "SizeMismatchError",
    "StorageError",
    "TagInvalidError",
    "TagUnknownError",
    "TlsError",
    "TokenError",
    "TransportError",
    "TransportTimeoutError",
    "TruncatedBodyError",
    "UnauthorizedError",
    "UnexpectedStatusError",
    "UnsupportedError",
    "UploadConflictError",
    "UploadError",
    "UploadExpiredError",
    "UploadInterruptedError",
    "UsageError",
]


class OciError(Exception):
    """The root of the hierarchy.

    Attributes:
        operation: What was attempted (``"pull manifest"``), or None while unknown.
        reference: What it was attempted on (``"host/repository:tag"``), or None.
        host: The registry host, or None.
        attempts: How many requests were made before giving up, or None.
        hint: What the reader can do about it, or None.
    """

    hint: ClassVar[str | None] = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.operation: str | None = None
        self.reference: str | None = None
        self.host: str | None = None
        self.attempts: int | None = None

    def locate(
        self,
        *,
        operation: str | None = None,
        reference: str | None = None,
        host: str | None = None,
        attempts: int | None = None,
    ) -> Self:
        """Add where it happened; the innermost layer that knew a fact keeps it."""
        self.operation = self.operation or operation
        self.reference = self.reference or reference
        self.host = self.host or host
        self.attempts = self.attempts or attempts
        return self

    def __str__(self) -> str:
        where = " ".join(part for part in (self.operation, self.reference or self.host) if part)
        text = f"{where}: {self.message}" if where else self.message
        if self.attempts is not None and self.attempts > 1:
            text = f"{text} (after {self.attempts} attempts)"
        return f"{text}. {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses have their own constructor arguments; rebuild from the state instead of calling them again.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[OciError], args: tuple[Any, ...], state: dict[str, Any]) -> OciError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


# --- the caller's argument -------------------------------------------------------------------------------------------


class UsageError(OciError, ValueError):
    """Raised when an argument cannot be used; no request was sent."""


class InvalidReferenceError(UsageError):
    """Raised when a registry, repository, tag or reference does not follow the grammar."""


class InvalidDigestError(UsageError):
    """Raised when a digest string does not follow the grammar or has the wrong length for its algorithm."""


class InvalidCredentialError(UsageError):
    """Raised when a user name or secret cannot be sent (``:`` in the user name, control characters)."""


class DigestUnsupportedError(UsageError):
    """Raised when content must be verified with an algorithm that ocidist does not trust.

    Only sha256 and sha512 verify; other algorithms can be parsed and carried, never checked.
    """

    hint = "Only sha256 and sha512 content can be verified"

    def __init__(self, algorithm: str) -> None:
        super().__init__(f"cannot verify content with the digest algorithm {algorithm!r}")
        self.algorithm = algorithm


class BodyNotReplayableError(UsageError):
    """Raised when a body must be sent again but its source can be read only once."""

    hint = "Pass bytes, a path or a callable that opens the source afresh"


class ClientClosedError(UsageError):
    """Raised when a client is used after it was closed."""


# --- no complete answer ----------------------------------------------------------------------------------------------


class TransportError(OciError):
    """Raised when no complete answer arrived; trying again may help."""


class ConnectError(TransportError):
    """Raised when no connection could be opened (name resolution, refused, unreachable)."""


class TlsError(TransportError):
    """Raised when the TLS handshake failed; plain http is never tried instead."""


class TransportTimeoutError(TransportError, TimeoutError):
    """Raised when the peer was silent for longer than the phase's timeout."""


class SchemeDetectionError(ConnectError):
    """Raised when a host answers neither https nor, where it was allowed, http.

    Attributes:
        causes: One line for each scheme that was tried.
    """

    def __init__(self, host: str, causes: Sequence[str]) -> None:
        super().__init__(f"no registry answered at {host}: {'; '.join(causes)}")
        self.causes = tuple(causes)


# --- an answer that no registry should give --------------------------------------------------------------------------


class ProtocolError(OciError):
    """Raised when an answer breaks HTTP or the distribution specification."""


class LimitExceededError(ProtocolError):
    """Raised when the server sends more than a cap allows.

    Attributes:
        what: What was too large ("manifest", "token", "list page", ...).
        limit: The cap, in bytes or items.
    """

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"{what} is larger than the limit of {limit}")
        self.what = what
        self.limit = limit


class PaginationLoopError(ProtocolError):
    """Raised when following a list's links makes no progress."""


class MalformedManifestError(ProtocolError):
    """Raised when manifest bytes are not what their media type says."""


# --- places this client must not go ----------------------------------------------------------------------------------


class EgressError(OciError):
    """Raised when a server-supplied URL points where this client must not go; nothing was sent there.

    Attributes:
        source: Origin of the server that named the URL (``https://host:port``).
        target: Origin it named, without user information, path or query.
        reason: Why it is refused.
    """

    purpose: ClassVar[str] = "a URL"

    def __init__(self, source: str, target: str, reason: str) -> None:
        super().__init__(f"{source} named {self.purpose} at {target}, which is refused: {reason}")
        self.source = source
        self.target = target
        self.reason = reason


class RedirectRefusedError(EgressError):
    """Raised when a redirect is refused."""

    purpose = "a redirect target"


class LocationRefusedError(EgressError):
    """Raised when an upload Location is refused."""

    purpose = "an upload location"


class LinkRefusedError(EgressError):
    """Raised when a pagination link is refused."""

    purpose = "the next page"


# --- credentials and tokens ------------------------------------------------------------------------------------------


class AuthError(OciError):
    """Raised when a request cannot be authenticated."""


class ChallengeError(AuthError):
    """Raised when a WWW-Authenticate header is missing, malformed or offers nothing ocidist can do."""


class AuthRealmRefusedError(AuthError, EgressError):
    """Raised when a challenge sends credentials to a token server that is not trusted with them."""

    purpose = "a token realm"
    hint = "If this token server is the right one, add its origin to EgressPolicy(trusted_realms=...)"


class TokenError(AuthError):
    """Raised when the token server's answer holds no usable token."""


class CredentialsRejectedError(AuthError):
    """Raised when the registry or its token server refuses the credentials."""

    hint = "Check the user name and password, or log in again"


class ScopeDeniedError(AuthError):
    """Raised when the credentials are good but do not grant what the operation needs.

    Attributes:
        scope: The scope that was asked for.
    """

    def __init__(self, message: str, *, scope: str = "") -> None:
        super().__init__(message)
        self.scope = scope


class CredentialStoreError(AuthError):
    """Raised when a credential file or helper cannot be read or written."""


# --- the registry said no --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """One entry of a registry's error body.

    Spec: distribution-spec, "Error Codes".

    Attributes:
        code: The upper-case identifier, known or not.
        message: The registry's text, control characters removed.
        detail: The registry's detail as compact JSON text, shortened; empty if absent.
    """

    code: str
    message: str = ""
    detail: str = ""


class ResponseError(OciError):
    """Raised when the registry answers with a status that means failure.

    Attributes:
        status: HTTP status code.
        method: Request method.
        url: Request URL without user information and without the values of unknown query parameters.
        errors: The entries of the error body, possibly none.
        request_id: The registry's own identifier of the request, if it sent one.
        retry_after: Seconds the registry asks to wait, or None.
    """

    code: ClassVar[str | None] = None

    def __init__(
        self,
        status: int,
        *,
        method: str = "",
        url: str = "",
        errors: Sequence[ErrorInfo] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
        note: str = "",
    ) -> None:
        said = "; ".join(f"{e.code} {e.message}".strip() for e in errors) or note
        text = f"{method} {url} answered {status}".strip()
        super().__init__(f"{text}: {said}" if said else text)
        self.status = status
        self.method = method
        self.url = url
        self.errors = tuple(errors)
        self.request_id = request_id
        self.retry_after = retry_after


class UnexpectedStatusError(ResponseError):
    """Raised when a status is none that the endpoint may answer with."""


class NotFoundError(ResponseError):
    """Raised when something does not exist, or these credentials may not see it."""


class NameUnknownError(NotFoundError):
    """Raised when the registry does not know the repository."""

    code = "NAME_UNKNOWN"


class ManifestUnknownError(NotFoundError):
    """Raised when the repository has no such manifest."""

    code = "MANIFEST_UNKNOWN"


class TagUnknownError(ManifestUnknownError):
    """Raised when the repository has no such tag."""


class ManifestUnknownRevisionError(ManifestUnknownError):
    """Raised when the repository has no manifest with this digest."""


class BlobUnknownError(NotFoundError):
    """Raised when the repository has no such blob."""

    code = "BLOB_UNKNOWN"


class BlobUploadUnknownError(NotFoundError):
    """Raised when the registry does not know the upload session."""

    code = "BLOB_UPLOAD_UNKNOWN"


class UnauthorizedError(ResponseError, CredentialsRejectedError):
    """Raised when the registry keeps answering 401 although a fresh token or password was sent."""

    code = "UNAUTHORIZED"


class DeniedError(ResponseError, ScopeDeniedError):
    """Raised when the registry knows who is asking and refuses."""

    code = "DENIED"


class UnsupportedError(ResponseError):
    """Raised when the registry does not offer this operation."""

    code = "UNSUPPORTED"


class SchemaV1UnsupportedError(UnsupportedError):
    """Raised when a schema 1 manifest would have to be pushed."""


class NameInvalidError(ResponseError):
    """Raised when the registry refuses the repository name."""

    code = "NAME_INVALID"


class TagInvalidError(ResponseError):
    """Raised when the registry refuses the tag."""

    code = "TAG_INVALID"


class ManifestInvalidError(ResponseError):
    """Raised when the registry refuses the manifest."""

    code = "MANIFEST_INVALID"


class ManifestUnverifiedError(ManifestInvalidError):
    """Raised when the registry cannot verify the manifest's signature."""

    code = "MANIFEST_UNVERIFIED"


class ManifestBlobUnknownError(ManifestInvalidError):
    """Raised when a manifest names content the repository does not have.

    Attributes:
        digests: The missing digests, as far as the registry names them.
    """

    code = "MANIFEST_BLOB_UNKNOWN"
    digests: tuple[str, ...] = ()


class ManifestVerificationError(ManifestInvalidError):
    """Raised when the registry lists several reasons why a manifest does not verify (see ``errors``)."""


class DigestInvalidError(ResponseError):
    """Raised when the registry computed another digest, or refuses the digest's form."""

    code = "DIGEST_INVALID"


class SizeInvalidError(ResponseError):
    """Raised when the registry received another number of bytes than was announced."""

    code = "SIZE_INVALID"


class RangeInvalidError(ResponseError):
    """Raised when a chunk or a read starts where the registry cannot go on."""

    code = "RANGE_INVALID"


class BlobUploadInvalidError(ResponseError):
    """Raised when the registry refuses to go on with an upload session."""

    code = "BLOB_UPLOAD_INVALID"


class BlobExistsError(ResponseError):
    """Raised when a store refuses to create a blob that it already has."""


class PaginationInvalidError(ResponseError):
    """Raised when the registry refuses the page size."""

    code = "PAGINATION_NUMBER_INVALID"


class PayloadTooLargeError(ResponseError):
    """Raised when the registry, or a proxy before it, refuses the size of a body (413)."""


class PreconditionFailedError(ResponseError):
    """Raised when a conditional request found something else (412)."""


class NotModifiedError(ResponseError):
    """Raised when a conditional read finds what the caller already has (304)."""


class RateLimitedError(ResponseError):
    """Raised when the registry asks to slow down (429) and waiting would take longer than the policy allows."""

    code = "TOOMANYREQUESTS"


class ServerError(ResponseError):
    """Raised when the registry fails (5xx)."""

    code = "UNAVAILABLE"


# --- the bytes -------------------------------------------------------------------------------------------------------


class IntegrityError(OciError):
    """Raised when bytes are not the bytes that were asked for; none of them was delivered as verified."""

    hint = "The registry or a proxy altered it: try again, then compare with another mirror"


class DigestMismatchError(IntegrityError):
    """Raised when content does not have the digest that was asked for.

    Attributes:
        expected: The digest that was asked for.
        actual: The digest of the bytes that came.
        size: How many bytes came.
    """

    def __init__(self, expected: str, actual: str, *, size: int | None = None) -> None:
        count = "content" if size is None else f"{size} bytes"
        super().__init__(f"{count} hashed to {actual}, expected {expected}")
        self.expected = expected
        self.actual = actual
        self.size = size


class SizeMismatchError(IntegrityError):
    """Raised when content is longer or shorter than its descriptor says.

    Attributes:
        expected: Bytes expected.
        actual: Bytes seen before giving up.
    """

    def __init__(self, expected: int, actual: int) -> None:
        super().__init__(f"expected {expected} bytes, got {actual}")
        self.expected = expected
        self.actual = actual


class TruncatedBodyError(SizeMismatchError, TransportError):
    """Raised when a body ended early."""

    hint = "The connection was cut: try again"


# --- uploads ---------------------------------------------------------------------------------------------------------


class UploadError(OciError):
    """Raised when an upload session cannot go on."""


class UploadExpiredError(UploadError):
    """Raised when the registry forgot the session and the source cannot be sent again."""


class UploadConflictError(UploadError):
    """Raised when the registry reports more bytes than were sent, or goes backwards."""


class UploadInterruptedError(UploadError):
    """Raised when an upload stopped half-way and its session was kept.

    Attributes:
        state: The ``UploadState`` as JSON text; give it to ``blobs.resume``.
    """

    def __init__(self, message: str, *, state: str) -> None:
        super().__init__(message)
        self.state = state


# --- local storage ---------------------------------------------------------------------------------------------------


class StorageError(OciError, OSError):
    """Raised when local storage refuses an operation; what was there before is untouched."""
