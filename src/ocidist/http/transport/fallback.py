"""httpx's own transports, for what ocidist's does not do: proxies and HTTP/2."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from urllib.request import getproxies

import httpx

from ocidist.wire.egress import AddressKind, Origin

if TYPE_CHECKING:
    from httpx._types import ProxyTypes

    from ocidist.hosts.config import HostsConfig
    from ocidist.http.transport.trust import HostTls

# ocidist's own limiter decides how much is under way; the pool must never be what a request waits for.
POOL = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=30.0)


class FallbackTransports:
    """The connection pools of hosts with TLS settings of their own, behind a proxy or over HTTP/2.

    Args:
        hosts: The configuration of the hosts.
        tls: The TLS settings of the hosts.
        trust_env: Whether the environment may name proxies.
        http1: Whether to speak HTTP/1.1.
        http2: Whether to speak HTTP/2.
        proxy: The proxy for every host, or None.
    """

    def __init__(
        self, hosts: HostsConfig, tls: HostTls, *, trust_env: bool, http1: bool, http2: bool, proxy: ProxyTypes | None
    ) -> None:
        self._hosts = hosts
        self._tls = tls
        self._trust_env = trust_env
        self._versions = (http1, http2)
        self._proxy = proxy
        self._pools: dict[Origin, httpx.AsyncHTTPTransport] = {}

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
        # Also where they are the usual ones: until now nobody has read the system's authorities.
        context = await self._tls.get(origin.host, origin.port)
        if not self._hosts.for_origin(origin).custom_tls:
            return None
        found = self._pools.get(origin)
        if found is None:
            http1, http2 = self._versions
            found = self._pools[origin] = httpx.AsyncHTTPTransport(
                verify=context,
                limits=POOL,
                trust_env=self._trust_env,
                http1=http1,
                http2=http2,
                proxy=self._proxy_of(origin) if proxied else None,
            )
        return found

    def proxy_of(self, url: httpx.URL) -> str:
        """Return ``host:port`` of the proxy that a URL is asked through, without its password."""
        found = self._proxy_of(Origin.of(str(url)))
        if isinstance(found, httpx.Proxy):
            return found.url.netloc.decode("ascii")
        return httpx.URL(found or "").netloc.decode("ascii") or "the proxy"

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
