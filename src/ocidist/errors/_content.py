"""Failures of content: bytes that are not what was asked for, uploads that cannot go on, storage that refuses."""

from __future__ import annotations

from ocidist.errors._base import OciError, TransportError

# --- the bytes -------------------------------------------------------------------------------------------------------


class IntegrityError(OciError):
    """Raised when bytes are not the bytes that were asked for; none of them was delivered as verified."""

    hint: str | None = "The registry or a proxy altered it: try again, then compare with another mirror"


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

    hint: str | None = "The connection was cut: try again"


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


class ArchiveError(StorageError):
    """Raised when a tar archive is no image layout, is compressed, or holds what it has no reason to hold."""
