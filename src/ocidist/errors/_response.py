"""What a registry says when it says no: one class for each code and status."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

from ocidist.errors._base import CredentialsRejectedError, OciError, ScopeDeniedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocidist.model.ratelimit import RateLimit


class ErrorInfo(NamedTuple):
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
        if retry_after is not None:
            text = f"{text} and asks to wait {retry_after:g} seconds"
        super().__init__(f"{text}: {said}" if said else text)
        self.status = status
        self.method = method
        self.url = url
        self.errors: tuple[ErrorInfo, ...] = tuple(errors)
        self.request_id = request_id
        self.retry_after = retry_after


class UnexpectedStatusError(ResponseError):
    """Raised when a status is none that the endpoint may answer with."""


class NotFoundError(ResponseError):
    """Raised when something does not exist, or these credentials may not see it."""


class NameUnknownError(NotFoundError):
    """Raised when the registry does not know the repository."""

    code: ClassVar[str | None] = "NAME_UNKNOWN"


class ManifestUnknownError(NotFoundError):
    """Raised when the repository has no such manifest."""

    code: ClassVar[str | None] = "MANIFEST_UNKNOWN"


class TagUnknownError(ManifestUnknownError):
    """Raised when the repository has no such tag."""


class ManifestUnknownRevisionError(ManifestUnknownError):
    """Raised when the repository has no manifest with this digest."""


class BlobUnknownError(NotFoundError):
    """Raised when the repository has no such blob."""

    code: ClassVar[str | None] = "BLOB_UNKNOWN"


class BlobUploadUnknownError(NotFoundError):
    """Raised when the registry does not know the upload session."""

    code: ClassVar[str | None] = "BLOB_UPLOAD_UNKNOWN"


class UnauthorizedError(ResponseError, CredentialsRejectedError):
    """Raised when the registry keeps answering 401 although a fresh token or password was sent."""

    code: ClassVar[str | None] = "UNAUTHORIZED"


class DeniedError(ResponseError, ScopeDeniedError):
    """Raised when the registry knows who is asking and refuses."""

    code: ClassVar[str | None] = "DENIED"


class UnsupportedError(ResponseError):
    """Raised when the registry does not offer this operation."""

    code: ClassVar[str | None] = "UNSUPPORTED"


class SchemaV1UnsupportedError(UnsupportedError):
    """Raised when a schema 1 manifest would have to be pushed."""


class NameInvalidError(ResponseError):
    """Raised when the registry refuses the repository name."""

    code: ClassVar[str | None] = "NAME_INVALID"


class TagInvalidError(ResponseError):
    """Raised when the registry refuses the tag."""

    code: ClassVar[str | None] = "TAG_INVALID"


class ManifestInvalidError(ResponseError):
    """Raised when the registry refuses the manifest."""

    code: ClassVar[str | None] = "MANIFEST_INVALID"


class ManifestUnverifiedError(ManifestInvalidError):
    """Raised when the registry cannot verify the manifest's signature."""

    code: ClassVar[str | None] = "MANIFEST_UNVERIFIED"


class ManifestBlobUnknownError(ManifestInvalidError):
    """Raised when a manifest names content the repository does not have.

    Attributes:
        digests: The missing digests, as far as the registry names them.
    """

    code: ClassVar[str | None] = "MANIFEST_BLOB_UNKNOWN"
    digests: tuple[str, ...] = ()


class ManifestVerificationError(ManifestInvalidError):
    """Raised when the registry lists several reasons why a manifest does not verify (see ``errors``)."""


class DigestInvalidError(ResponseError):
    """Raised when the registry computed another digest, or refuses the digest's form."""

    code: ClassVar[str | None] = "DIGEST_INVALID"


class SizeInvalidError(ResponseError):
    """Raised when the registry received another number of bytes than was announced."""

    code: ClassVar[str | None] = "SIZE_INVALID"


class RangeInvalidError(ResponseError):
    """Raised when a chunk or a read starts where the registry cannot go on."""

    code: ClassVar[str | None] = "RANGE_INVALID"


class BlobUploadInvalidError(ResponseError):
    """Raised when the registry refuses to go on with an upload session."""

    code: ClassVar[str | None] = "BLOB_UPLOAD_INVALID"


class BlobExistsError(ResponseError):
    """Raised when a store refuses to create a blob that it already has."""


class PaginationInvalidError(ResponseError):
    """Raised when the registry refuses the page size."""

    code: ClassVar[str | None] = "PAGINATION_NUMBER_INVALID"


class PayloadTooLargeError(ResponseError):
    """Raised when the registry, or a proxy before it, refuses the size of a body (413)."""


class PreconditionFailedError(ResponseError):
    """Raised when a conditional request found something else (412)."""


class NotModifiedError(ResponseError):
    """Raised when a conditional read finds what the caller already has (304)."""


class RateLimitedError(ResponseError):
    """Raised when the registry asks to slow down (429) and waiting would take longer than the policy allows.

    Attributes:
        quota: What the registry said of its rate limit, or None.
        exhausted: Whether an allowance for hours or days is used up: the request was not sent again for that.
    """

    code: ClassVar[str | None] = "TOOMANYREQUESTS"
    quota: RateLimit | None = None
    exhausted: bool = False

    def limited(self, quota: RateLimit | None, *, exhausted: bool) -> Self:
        """Add what is known of the rate limit."""
        self.quota, self.exhausted = quota, exhausted
        if quota is not None:
            vars(self)["message"] = f"{self.message} (rate limit: {quota})"
        if exhausted:
            vars(self)["hint"] = (
                "The allowance is used up: wait until there is more, or pull with an account that has a larger one"
            )
        return self


class ServerError(ResponseError):
    """Raised when the registry fails (5xx)."""

    code: ClassVar[str | None] = "UNAVAILABLE"
