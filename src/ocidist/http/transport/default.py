"""The transports a client makes for itself: httpx's own, with the operating system's certificate authorities."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING

import httpx

from ocidist.errors import TlsError

if TYPE_CHECKING:
    from ocidist.hosts.config import HostConfig

# ocidist's own limiter decides how much is under way; the pool must never be what a request waits for.
POOL = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=30.0)


def tls_context(config: HostConfig) -> ssl.SSLContext:
    """Return the TLS settings of a host: the system's authorities, the host's own on top of them.

    Raises:
        TlsError: A certificate file cannot be read.
    """
    import truststore  # noqa: PLC0415 -- only clients that open connections pay for it

    # With its own authorities a host is checked by OpenSSL, which takes both kinds together; the system's verifier
    # that truststore calls elsewhere knows only the system's.
    own = config.ca is not None
    context = ssl.create_default_context() if own else truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if config.ca is not None:
            context.load_verify_locations(cafile=str(config.ca))
        _client_certificate(context, config)
    except (OSError, ssl.SSLError) as error:
        msg = f"a certificate file cannot be used: {error}"
        raise TlsError(msg) from error
    if not config.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _client_certificate(context: ssl.SSLContext, config: HostConfig) -> None:
    match config.client_cert:
        case None:
            return
        case (certificate, key):
            context.load_cert_chain(str(certificate), str(key))
        case certificate:
            context.load_cert_chain(str(certificate))


def make_transport(config: HostConfig, *, trust_env: bool, http2: bool) -> httpx.AsyncHTTPTransport:
    """Return a connection pool for hosts with this configuration."""
    return httpx.AsyncHTTPTransport(verify=tls_context(config), limits=POOL, trust_env=trust_env, http2=http2)


class _Quiet(logging.Filter):
    """Drops what httpcore would log of headers: Location and Set-Cookie hold secrets."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "headers" not in record.getMessage().partition(" ")[0]


_QUIET = _Quiet()


def silence_headers() -> None:
    """Keep header fields out of httpcore's debug log, where they would be written in full."""
    for name in ("httpcore.http11", "httpcore.http2", "httpcore.proxy", "httpcore.connection"):
        logger = logging.getLogger(name)
        if _QUIET not in logger.filters:
            logger.addFilter(_QUIET)
