"""TLS settings: the operating system's certificate authorities, and those of hosts with certificates of their own."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import anyio.to_thread

from ocidist._io.flight import SingleFlight
from ocidist.errors import TlsError
from ocidist.wire.egress import Origin

if TYPE_CHECKING:
    from ocidist.hosts.config import HostsConfig
    from ocidist.hosts.host import HostConfig

TlsContexts: TypeAlias = Callable[[str, int], Awaitable[ssl.SSLContext]]
"""Returns the TLS settings for a host and port."""

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

    Args:
        context: A context that takes its place, and is left as it is.

    Attributes:
        context: The context. Until ``load()`` it may trust nobody.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.context: ssl.SSLContext = context or _bare_context()
        self._ready = context is not None or _OWN_VERIFIER
        self._flight: SingleFlight[None] = SingleFlight()

    async def get(self, _host: str, _port: int) -> ssl.SSLContext:
        """Return the context, the same for every host, with the authorities read."""
        await self.load()
        return self.context

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
    authorities = config.ca if isinstance(config.ca, tuple) else () if config.ca is None else (config.ca,)
    # With authorities of its own a host is checked by OpenSSL, which takes both kinds together; the system's verifier
    # that truststore calls elsewhere knows only the system's.
    if not authorities:
        context = _bare_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authorities or not _OWN_VERIFIER:
        _trust_system(context)
    try:
        for authority in authorities:
            context.load_verify_locations(cafile=str(authority))
        _client_certificate(context, config)
    except (OSError, ssl.SSLError) as error:
        cert = config.client_cert
        files = [*authorities, *(cert if isinstance(cert, tuple) else [cert])]
        named = ", ".join(str(file) for file in files if file is not None)
        msg = f"a certificate file cannot be used ({named}): {error}"
        raise TlsError(msg) from error
    if not config.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _client_certificate(context: ssl.SSLContext, config: HostConfig) -> None:
    if config.client_cert is None:
        return
    certificate, key = config.client_cert if isinstance(config.client_cert, tuple) else (config.client_cert, None)
    # A password that opens nothing: without one OpenSSL would ask whoever sits at the terminal, and wait.
    context.load_cert_chain(str(certificate), None if key is None else str(key), password="")


class HostTls:
    """The TLS settings of every host, made when they are first needed.

    Args:
        hosts: The configuration of the hosts.
        default: Returns the settings of hosts without their own.
    """

    def __init__(self, hosts: HostsConfig, default: TlsContexts) -> None:
        self._hosts = hosts
        self._default = default
        self._own: dict[Origin, ssl.SSLContext] = {}
        self._flight: SingleFlight[ssl.SSLContext] = SingleFlight()

    async def get(self, host: str, port: int) -> ssl.SSLContext:
        """Return the settings for a host.

        Raises:
            TlsError: A certificate file cannot be read.
        """
        origin = Origin("https", host, port)
        found = self._own.get(origin)
        if found is not None:
            return found
        config = self._hosts.for_origin(origin)
        if not config.custom_tls:
            return await self._default(host, port)
        return await self._flight.do(origin, partial(self._make, origin, config))

    async def _make(self, origin: Origin, config: HostConfig) -> ssl.SSLContext:
        made = self._own[origin] = await anyio.to_thread.run_sync(tls_context, config)
        return made
