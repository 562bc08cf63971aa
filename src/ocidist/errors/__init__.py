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
     ├ UploadError                an upload session cannot go on
     ├ CopyError                  one of two stores failed; __cause__ says how
     └ PlatformUnknownError       an image is not there for the platform that is wanted

Exceptions hold plain values only (strings, numbers, tuples): they can be pickled, logged and kept. Cancellation is
never one of them: it stays the native exception of the event loop.
"""

from __future__ import annotations

from ocidist.errors._base import (
    AuthError,
    AuthRealmRefusedError,
    BodyNotReplayableError,
    ChallengeError,
    ClientClosedError,
    ConnectError,
    CredentialsRejectedError,
    CredentialStoreError,
    DigestUnsupportedError,
    EgressError,
    EndpointRefusedError,
    HostsFileError,
    InvalidCredentialError,
    InvalidDigestError,
    InvalidReferenceError,
    LimitExceededError,
    LinkRefusedError,
    LocationRefusedError,
    MalformedManifestError,
    OciError,
    PaginationLoopError,
    ProtocolError,
    RedirectRefusedError,
    RegistryBlockedError,
    SchemeDetectionError,
    ScopeDeniedError,
    TlsError,
    TokenError,
    TokenInvalidError,
    TokenRedirectRefusedError,
    TransportError,
    TransportTimeoutError,
    UsageError,
)
from ocidist.errors._content import (
    ArchiveError,
    DigestMismatchError,
    IntegrityError,
    SizeMismatchError,
    StorageError,
    TruncatedBodyError,
    UploadConflictError,
    UploadError,
    UploadExpiredError,
    UploadInterruptedError,
)
from ocidist.errors._mirror import MirrorError, MirrorFileError
from ocidist.errors._response import (
    BlobExistsError,
    BlobUnknownError,
    BlobUploadInvalidError,
    BlobUploadUnknownError,
    DeniedError,
    DigestInvalidError,
    ErrorInfo,
    ManifestBlobUnknownError,
    ManifestInvalidError,
    ManifestUnknownError,
    ManifestUnknownRevisionError,
    ManifestUnverifiedError,
    ManifestVerificationError,
    NameInvalidError,
    NameUnknownError,
    NotFoundError,
    NotModifiedError,
    PaginationInvalidError,
    PayloadTooLargeError,
    PreconditionFailedError,
    RangeInvalidError,
    RateLimitedError,
    ResponseError,
    SchemaV1UnsupportedError,
    ServerError,
    SizeInvalidError,
    TagInvalidError,
    TagUnknownError,
    UnauthorizedError,
    UnexpectedStatusError,
    UnsupportedError,
)
from ocidist.errors._transfer import CopyError, PlatformUnknownError

__all__ = [
    "ArchiveError",
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
    "CopyError",
    "CredentialStoreError",
    "CredentialsRejectedError",
    "DeniedError",
    "DigestInvalidError",
    "DigestMismatchError",
    "DigestUnsupportedError",
    "EgressError",
    "EndpointRefusedError",
    "ErrorInfo",
    "HostsFileError",
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
    "MirrorError",
    "MirrorFileError",
    "NameInvalidError",
    "NameUnknownError",
    "NotFoundError",
    "NotModifiedError",
    "OciError",
    "PaginationInvalidError",
    "PaginationLoopError",
    "PayloadTooLargeError",
    "PlatformUnknownError",
    "PreconditionFailedError",
    "ProtocolError",
    "RangeInvalidError",
    "RateLimitedError",
    "RedirectRefusedError",
    "RegistryBlockedError",
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
    "TokenInvalidError",
    "TokenRedirectRefusedError",
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

for _name in __all__:
    # Reprs, pickles and documentation say where a name is imported from, not where it is written.
    globals()[_name].__module__ = __name__
