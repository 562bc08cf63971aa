"""The root of the exceptions, and the failures that come before any registry has answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Sequence


class OciError(Exception):
    """The root of the hierarchy.

    Attributes:
        operation: What was attempted (``"pull manifest"``), or None while unknown.
        reference: What it was attempted on (``"host/repository:tag"``), or None.
        host: The registry host, or None.
        attempts: How many requests were made before giving up, or None.
        hint: What the reader can do about it, or None.
        mirrors: One line for each mirror that was asked before the registry, or passed over, and what came of it.
    """

    hint: str | None = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.operation: str | None = None
        self.reference: str | None = None
        self.host: str | None = None
        self.attempts: int | None = None
        self.mirrors: tuple[str, ...] = ()

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
        if self.mirrors:
            text = f"{text} (mirrors: {'; '.join(self.mirrors)})"
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

    hint: str | None = "Only sha256 and sha512 content can be verified"

    def __init__(self, algorithm: str) -> None:
        super().__init__(f"cannot verify content with the digest algorithm {algorithm!r}")
        self.algorithm = algorithm


class BodyNotReplayableError(UsageError):
    """Raised when a body must be sent again but its source can be read only once."""

    hint: str | None = "Pass bytes, a path or a callable that opens the source afresh"


class ClientClosedError(UsageError):
    """Raised when a client is used after it was closed."""


class HostsFileError(UsageError):
    """Raised when a file that configures registries cannot be read, or holds what cannot be used.

    Attributes:
        path: The file.
        key: The key within it (``host.https://mirror.lan.ca``), or None if it is about the file as a whole.
        reason: What is wrong with it, without its value.
    """

    def __init__(self, path: object, reason: str, *, key: str | None = None) -> None:
        super().__init__(f"{path}: {reason}" if key is None else f"{path}: {key}: {reason}")
        self.path: str = str(path)
        self.key: str | None = key
        self.reason: str = reason


class RegistryBlockedError(UsageError):
    """Raised when the configuration forbids a registry, or part of it; no request was sent."""

    hint: str | None = "The hosts= of the client, or a registries.conf it was made of, has it as blocked"


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
        self.causes: tuple[str, ...] = tuple(causes)


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

    purpose: ClassVar[str] = "a redirect target"


class LocationRefusedError(EgressError):
    """Raised when an upload Location is refused."""

    purpose: ClassVar[str] = "an upload location"


class LinkRefusedError(EgressError):
    """Raised when a pagination link is refused."""

    purpose: ClassVar[str] = "the next page"


class EndpointRefusedError(EgressError):
    """Raised when an index of Registry v1 sends the client to a registry that it must not go to."""

    purpose: ClassVar[str] = "a registry"


# --- credentials and tokens ------------------------------------------------------------------------------------------


class AuthError(OciError):
    """Raised when a request cannot be authenticated."""


class ChallengeError(AuthError):
    """Raised when a WWW-Authenticate header is missing, malformed or offers nothing ocidist can do."""


class AuthRealmRefusedError(AuthError, EgressError):
    """Raised when a challenge sends credentials to a token server that is not trusted with them."""

    purpose: ClassVar[str] = "a token realm"
    hint: str | None = "If this token server is the right one, add its origin to EgressPolicy(trusted_realms=...)"


class TokenRedirectRefusedError(AuthError, RedirectRefusedError):
    """Raised when a token server redirects: it is asked where it is, and nowhere else."""


class TokenError(AuthError):
    """Raised when the token server's answer holds no usable token."""


class CredentialsRejectedError(AuthError):
    """Raised when the registry or its token server refuses the credentials."""

    hint: str | None = "Check the user name and password, or log in again"


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


class TokenInvalidError(AuthError):
    """Raised when an access token that somebody brought does not prove what it says; a server answers it with 401.

    Attributes:
        reason: What is wrong with it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the token is refused: {reason}")
        self.reason = reason
