"""Failures of a connection, told in ocidist's own errors.

An httpx exception holds the request with its Authorization header and its full URL. So the errors made here are raised
outside of any ``except`` block, and carry at most the operating system's own error as their cause.
"""

from __future__ import annotations

import errno
import socket
import ssl
from typing import TYPE_CHECKING, TypeVar

import httpx

from ocidist.errors import (
    ConnectError,
    EgressError,
    OciError,
    ProtocolError,
    TlsError,
    TransportError,
    TransportTimeoutError,
    UsageError,
)
from ocidist.wire.redact import clean_text

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_CHAIN = 10
_E = TypeVar("_E", bound=BaseException)
_SHOWN = 300
_PHASES = {
    httpx.ConnectTimeout: "opening the connection",
    httpx.ReadTimeout: "waiting for the server's bytes",
    httpx.WriteTimeout: "sending",
    httpx.PoolTimeout: "waiting for a free connection",
}
_KINDS: dict[type[Exception], tuple[type[OciError], str]] = {
    httpx.ProxyError: (ConnectError, "the proxy failed: "),
    httpx.ConnectError: (ConnectError, "no connection: "),
    httpx.RemoteProtocolError: (ProtocolError, "the answer is malformed: "),
    httpx.InvalidURL: (UsageError, ""),
    httpx.UnsupportedProtocol: (UsageError, ""),
    httpx.LocalProtocolError: (UsageError, ""),
}
# What raw requests raise instead; the first that fits.
_RAW_KINDS: tuple[tuple[type[OciError], type[httpx.RequestError]], ...] = (
    (TransportTimeoutError, httpx.ReadTimeout),
    (TlsError, httpx.ConnectError),
    (ConnectError, httpx.ConnectError),
    (TransportError, httpx.ReadError),
    (EgressError, httpx.TooManyRedirects),
    (OciError, httpx.RemoteProtocolError),
)
# In the chain of a handshake that timed out, was reset or was cut off.
_NO_TLS_FAILURE = (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
# What servers say that want a client certificate and got none, or another one than they trust.
_WANTS_CERTIFICATE = (
    "ALERT_CERTIFICATE_REQUIRED",
    "ALERT_HANDSHAKE_FAILURE",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_UNKNOWN_CA",
)
_CERTIFICATE_HINT = "; if the server wants a client certificate, give one with HostConfig(client_cert=...)"
# h11's words for a connection that ended early; everything else it reports is a malformed answer.
_CUT = ("Server disconnected", "peer closed connection")


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(MAX_CHAIN):
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__


def bare(error: _E) -> _E:
    """Forget the frames behind an error and behind all that led to it: their variables hold what was sent."""
    for link in _chain(error):
        link.__traceback__ = None
    return error


def tls_failure(error: BaseException) -> ssl.SSLError | None:
    """Return the TLS error behind a failure, if there is one: not what a silent or vanished peer leaves behind."""
    found = (link for link in _chain(error) if isinstance(link, ssl.SSLError))
    return next((link for link in found if not isinstance(link, _NO_TLS_FAILURE)), None)


def speaks_tls(error: BaseException) -> bool:
    """Return whether the server itself ended the handshake, or what came right after it, with an alert."""
    found = tls_failure(error)
    return found is not None and "ALERT" in str(found)


def untrusted(error: BaseException) -> bool:
    """Return whether the server's certificate was refused: the one failure that must never lead to plain http."""
    return any(isinstance(link, ssl.SSLCertVerificationError) for link in _chain(error))


def translate(error: Exception) -> OciError:
    """Return the ocidist error for what a transport raised, with the operating system's error as its cause."""
    made = _made(error)
    made.__cause__ = next((link for link in _chain(error) if isinstance(link, OSError)), None)
    return made


def _made(error: Exception) -> OciError:
    if isinstance(error, OciError):
        return error
    tls = tls_failure(error)
    if tls is not None:
        said = clean_text(str(tls), _SHOWN)
        wanted = any(alert in said for alert in _WANTS_CERTIFICATE)
        return TlsError(f"TLS failed: {said}{_CERTIFICATE_HINT if wanted else ''}")
    if isinstance(error, httpx.TimeoutException):
        phase = next((words for kind, words in _PHASES.items() if isinstance(error, kind)), "waiting")
        return TransportTimeoutError(f"timed out while {phase}")
    text = clean_text(str(error), _SHOWN) or type(error).__name__
    kind, words = next((made for made in _KINDS.items() if isinstance(error, made[0])), (None, None))
    if kind is None or words is None:
        return TransportError(f"the connection failed: {text}")
    if kind is httpx.RemoteProtocolError and text.startswith(_CUT):
        return TransportError(f"the connection ended early: {text}")
    return words[0](f"{words[1]}{text}")


def as_httpx(error: OciError, request: httpx.Request) -> httpx.HTTPError:
    """Return the httpx error for a failure of ocidist's own, for callers who made a raw request."""
    kind = next(kind for ours, kind in _RAW_KINDS if isinstance(error, ours))
    return kind(str(error), request=request)


def names_nothing(error: BaseException) -> bool:
    """Return whether name resolution said that the host does not exist, which trying again will not change."""
    missing = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
    return any(isinstance(link, socket.gaierror) and link.errno in missing for link in _chain(error))


def refuses(error: BaseException) -> bool:
    """Return whether a host is there, and nobody listens at its port."""
    return any(isinstance(link, OSError) and link.errno == errno.ECONNREFUSED for link in _chain(error))
