"""What becomes of an error: an exit status, and one message that says what can be done."""

from __future__ import annotations

from typing import Final, TypeVar

from ocidist.errors import (
    AuthError,
    AuthRealmRefusedError,
    BlobUnknownError,
    BodyNotReplayableError,
    ChallengeError,
    ClientClosedError,
    CopyError,
    CredentialsRejectedError,
    DigestInvalidError,
    IntegrityError,
    ManifestUnknownError,
    NameUnknownError,
    NotFoundError,
    OciError,
    PlatformUnknownError,
    RegistryBlockedError,
    ResponseError,
    SchemeDetectionError,
    ScopeDeniedError,
    TagUnknownError,
    TlsError,
    TransportError,
    UsageError,
)
from ocidist.wire.redact import clean_text

E = TypeVar("E", bound=OciError)

FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
AUTH: Final = 4
INTEGRITY: Final = 5
PARTIAL: Final = 6
SIGNAL: Final = 128
"""What is added to the number of a signal that ended the command."""

BROKEN_PIPE: Final = SIGNAL + 13

# What the library advises names its own arguments; here they are options.
_HINTS: Final[tuple[tuple[type[OciError], str], ...]] = (
    (AuthRealmRefusedError, "If this token server is the right one: --trust-realm {target}"),
    (RegistryBlockedError, "The file given with --config has it as blocked"),
    (TlsError, "--ca-file FILE trusts a private authority; --insecure verifies nothing"),
    (BodyNotReplayableError, "Name a file in place of standard input: it can be sent again"),
    (ChallengeError, ""),
    (ScopeDeniedError, "ocidist login {host} tells who you are, if you may do this"),
    (CredentialsRejectedError, "Check the user name and password: ocidist login {host}"),
)


_MISSING: Final[tuple[tuple[type[NotFoundError], str], ...]] = (
    (TagUnknownError, "there is no such tag"),
    (ManifestUnknownError, "there is no such manifest"),
    (BlobUnknownError, "there is no such blob"),
    (NameUnknownError, "there is no such repository"),
)


class ReaderGoneError(Exception):
    """Raised when nobody reads standard output any more."""


class CommandError(Exception):
    """Raised when a command cannot do what it was asked to, for a reason that is the command line's own."""


class PartialFailureError(CommandError):
    """Raised when some of what was to be done is done, and the rest is not."""


class OutputError(CommandError):
    """Raised when standard output cannot be written to."""


# The same, where it is in the midst of a message or of a hint.
_WORDS: Final = (
    (
        '. Say so with HostConfig(scheme="http"), or allow it with EgressPolicy(allow_plaintext_credentials=True)',
        ": write http:// before its name if they may be sent",
    ),
    (
        "; delete the manifest with every tag it has (manifests.delete)",
        ": ocidist manifest delete deletes all its tags",
    ),
    (", or use tags.delete(..., strategy=TagDelete.DUMMY)", ", with the manifest"),
    ("give them to the client, as credentials", "ocidist login keeps them"),
    ("foreign_layers=True copies them", "--foreign-layers copies them"),
    ("Referrers(artifact_types=...) says which to copy", "without --referrers they are left out"),
    ("give one with HostConfig(client_cert=...)", "a hosts.toml or certs.d given with --config can name one"),
)

# What a server says that does not speak TLS.
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "record layer failure", "HTTP_REQUEST")

# The first that fits counts. A body that was cut is the network's doing, although it has the wrong size.
_STATUSES: Final[tuple[tuple[tuple[type[BaseException], ...], int], ...]] = (
    ((ReaderGoneError,), BROKEN_PIPE),
    ((PartialFailureError,), PARTIAL),
    ((AuthError,), AUTH),
    ((NotFoundError, PlatformUnknownError), NOT_FOUND),
    ((TransportError,), FAILED),
    ((IntegrityError, DigestInvalidError), INTEGRITY),
    ((RegistryBlockedError, BodyNotReplayableError, ClientClosedError), FAILED),
    ((UsageError,), USAGE),
)


def hinted(error: E, hint: str) -> E:
    """Return an error with what can be done about it."""
    error.hint = hint
    return error


def status_of(error: BaseException) -> int:
    """Return the exit status that stands for an error."""
    if isinstance(error, CopyError) and error.__cause__ is not None:
        return status_of(error.__cause__)
    return next((status for kinds, status in _STATUSES if isinstance(error, kinds)), FAILED)


def message_of(error: BaseException) -> str:
    """Return what happened, without what can be done about it."""
    if isinstance(error, OSError) and not isinstance(error, OciError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, OciError):
        text = str(error)
        # What led to it is a part of its text, with a hint of its own.
        for link in (error, error.__cause__):
            if isinstance(link, OciError) and link.hint:
                text = text.replace(f". {link.hint}", "")
    else:
        text = str(error) or type(error).__name__
    text = _in_our_words(text)
    if isinstance(error, NotFoundError) and not error.errors:
        # An answer to HEAD has no words of its own.
        text = f"{text}: {next((said for kind, said in _MISSING if isinstance(error, kind)), 'there is none')}"
    return clean_text(text)


def _in_our_words(text: str) -> str:
    for words, ours in _WORDS:
        text = text.replace(words, ours)
    return text


def hint_of(error: BaseException) -> str | None:
    """Return what can be done about it, in the words of the command line; None if nobody knows."""
    if not isinstance(error, OciError):
        return None
    if isinstance(error, CopyError) and error.hint is None and error.__cause__ is not None:
        return hint_of(error.__cause__)
    if "hint" in vars(error):
        return _own_hint(error)
    if isinstance(error, SchemeDetectionError):
        tried = any(cause.startswith("http:") for cause in error.causes)
        return None if tried else "If it speaks plain http only: --insecure"
    if any(words in error.message for words, _ in _WORDS):
        return None
    if isinstance(error, TlsError) and any(words in error.message for words in _NO_TLS):
        return "If it speaks plain http: --insecure, or http:// before its name"
    for kind, hint in _HINTS:
        if isinstance(error, kind):
            target = getattr(error, "target", "")
            return hint.format(target=target, host=error.host or "REGISTRY") or None
    return error.hint


def _own_hint(error: OciError) -> str | None:
    if isinstance(error, CredentialsRejectedError):
        return f"Log in: ocidist login {error.host}; its --show-sources shows where credentials are looked for"
    return None if error.hint is None else _in_our_words(error.hint)


def described(error: BaseException, *, status: int) -> dict[str, object]:
    """Return an error as plain data, see "Errors" in ``docs/reference/cli.md``."""
    found: dict[str, object] = {
        "type": type(error).__name__,
        "message": message_of(error),
        "hint": hint_of(error),
        "exit_code": status,
    }
    if isinstance(error, OciError):
        found |= {"operation": error.operation, "reference": error.reference, "host": error.host}
    if isinstance(error, CopyError):
        found |= {"side": error.side.value, "digest": error.digest}
        if error.__cause__ is not None:
            found["cause"] = described(error.__cause__, status=status)
    if isinstance(error, ResponseError):
        found |= {
            "status": error.status,
            "codes": [entry.code for entry in error.errors],
            "request_id": error.request_id,
        }
    return {key: value for key, value in found.items() if value is not None}


def is_expected(error: BaseException) -> bool:
    """Return whether an error tells its reader enough, so that a traceback would only frighten them."""
    return isinstance(error, OciError | OSError | CommandError | ReaderGoneError)
