"""The transports a client makes for itself: httpx's own, with the operating system's certificate authorities."""

from __future__ import annotations

import logging
import ssl
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING
from urllib.request import getproxies

import anyio.to_thread
import httpx

from ocidist._io.flight import SingleFlight
from ocidist.errors import TlsError
from ocidist.wire.egress import AddressKind, Origin

if TYPE_CHECKING:
    from httpx._types import ProxyTypes

    from ocidist.hosts.config import HostConfig, HostsConfig

# ocidist's own limiter decides how much is under way; the pool must never be what a request waits for.
POOL = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=30.0)

# These have verifiers of their own, which truststore calls. Elsewhere OpenSSL verifies, and truststore would read the
# file with the authorities again for each connection: 30 ms, on the event loop.
_OWN_VERIFIER = sys.platform in {"darwin", "win32"}

# Where distributions keep the authorities: Debian and Alpine, Fedora and RHEL old and new, SUSE, BSD.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


class SystemTrust:
    """A TLS context that trusts the operating system's authorities, which are read before its first connection.

    Attributes:
        context: The context. Until ``load()`` it may trust nobody.
    """

    def __init__(self) -> None:
        self.context: ssl.SSLContext = _bare_context()
        self._ready = _OWN_VERIFIER
        self._flight: SingleFlight[None] = SingleFlight()

    async def load(self) -> None:
        """Read the authorities in a worker thread, once."""
        if not self._ready:
            await self._flight.do("", self._load)

    async def _load(self) -> None:
        await anyio.to_thread.run_sync(_trust_system, self.context)
        self._ready = True


def _bare_context() -> ssl.SSLContext:
    # Not ssl.create_default_context(): that one writes session keys to a file if the environment says so.
    if _OWN_VERIFIER:
        import truststore  # noqa: PLC0415 -- only where it is used

        context: ssl.SSLContext = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _trust_system(context: ssl.SSLContext) -> None:
    context.load_default_certs()
    if _OWN_VERIFIER or context.cert_store_stats()["x509_ca"]:
        return
    # OpenSSL looked in the wrong place, as it does in portable builds of Python.
    for bundle in _BUNDLES:
        try:
            context.load_verify_locations(cafile=bundle)
        except OSError:
            continue
        return


def tls_context(config: HostConfig) -> ssl.SSLContext:
    """Return the TLS settings of a host: the system's authorities, the host's own on top of them. Reads files.

    Raises:
        TlsError: A certificate file cannot be read.
    """
    # With authorities of its own a host is checked by OpenSSL, which takes both kinds together; the system's verifier
    # that truststore calls elsewhere knows only the system's.
    if config.ca is None:
        context = _bare_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    if config.ca is not None or not _OWN_VERIFIER:
        _trust_system(context)
    try:
        if config.ca is not None:
            context.load_verify_locations(cafile=str(config.ca))
        _client_certificate(context, config)
    except (OSError, ssl.SSLError) as error:
        cert = config.client_cert
        files = [config.ca, *(cert if isinstance(cert, tuple) else [cert])]
        named = ", ".join(str(file) for file in files if file is not None)
        msg = f"a certificate file cannot be used ({named}): {error}"
        raise TlsError(msg) from error
    if not config.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _client_certificate(context: ssl.SSLContext, config: HostConfig) -> None:
    match config.client_cert:
        case None:
            return
        case (certificate, key):
            context.load_cert_chain(str(certificate), str(key))
        case certificate:
            context.load_cert_chain(str(certificate))


class HostTransports:
    """The connection pools of hosts with TLS settings of their own, made when first needed.

    Args:
        hosts: The configuration of the hosts.
        trust_env: Whether the environment may name proxies.
        http1: Whether to speak HTTP/1.1.
        http2: Whether to speak HTTP/2.
        proxy: The proxy for every host, or None.
    """

    def __init__(
        self, hosts: HostsConfig, *, trust_env: bool, http1: bool, http2: bool, proxy: ProxyTypes | None
    ) -> None:
        self._hosts = hosts
        self._trust_env = trust_env
        self._versions = (http1, http2)
        self._proxy = proxy
        self._pools: dict[Origin, httpx.AsyncHTTPTransport] = {}
        self._flight: SingleFlight[httpx.AsyncHTTPTransport] = SingleFlight()

    def stays_here(self, url: httpx.URL) -> bool:
        """Return whether a URL is for this machine, where no proxy of the environment has any business."""
        return self._proxy is None and Origin.of(str(url)).kind is AddressKind.LOOPBACK

    async def get(self, url: httpx.URL, *, proxied: bool) -> httpx.AsyncHTTPTransport | None:
        """Return the pool of a URL's host, or None if it has no TLS settings of its own.

        Args:
            url: An https URL.
            proxied: Whether a proxy is to be used.

        Raises:
            TlsError: A certificate file cannot be read.
        """
        origin = Origin.of(str(url))
        config = self._hosts.for_origin(origin)
        if not config.custom_tls:
            return None
        found = self._pools.get(origin)
        return found or await self._flight.do(origin, partial(self._make, origin, config, proxied=proxied))

    async def _make(self, origin: Origin, config: HostConfig, *, proxied: bool) -> httpx.AsyncHTTPTransport:
        context = await anyio.to_thread.run_sync(tls_context, config)
        http1, http2 = self._versions
        pool = self._pools[origin] = httpx.AsyncHTTPTransport(
            verify=context,
            limits=POOL,
            trust_env=self._trust_env,
            http1=http1,
            http2=http2,
            proxy=self._proxy_of(origin) if proxied else None,
        )
        return pool

    def _proxy_of(self, origin: Origin) -> ProxyTypes | None:
        # httpx decided that there is one; it does not say which.
        named = getproxies()
        return self._proxy or named.get(origin.scheme) or named.get("all")

    async def aclose(self) -> None:
        """Close every connection."""
        pools, self._pools = list(self._pools.values()), {}
        async with AsyncExitStack() as stack:
            for pool in pools:
                stack.push_async_callback(pool.aclose)


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
