"""Whether a host speaks https or http, found out once.

https is tried first. Plain http is tried only for loopback hosts and hosts marked insecure, a moment later so that a
hanging https port does not cost a timeout, and never once a certificate was refused. Nothing secret is sent meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio
import httpx

from ocidist._io.flight import SingleFlight
from ocidist.errors import SchemeDetectionError, TlsError
from ocidist.http.failure import speaks_tls, translate, untrusted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ocidist.hosts.host import HostConfig, Scheme
    from ocidist.model.reference import RegistryName

MAX_HOSTS: Final = 4096

STAGGER: Final = 0.3
"""Seconds between the https attempt and the http one."""

TLS_PORT_ANSWER: Final = 400
"""What servers say when plain http arrives at their TLS port."""


class SchemeDetector:
    """Finds out and remembers the scheme of every host.

    Args:
        probe: Sends a request without authentication and returns its answer, closed.
        learn: Told the base URL and the answer of a host that was found.
    """

    def __init__(
        self,
        probe: Callable[[httpx.Request], Awaitable[httpx.Response]],
        learn: Callable[[str, httpx.Response], None],
    ) -> None:
        self._probe = probe
        self._learn = learn
        self._known: dict[str, str] = {}
        self._flights: SingleFlight[str] = SingleFlight()

    async def base(self, registry: RegistryName, config: HostConfig) -> str:
        """Return the registry's base URL, ``scheme://host[:port]``.

        Raises:
            TlsError: The certificate is not trusted.
            SchemeDetectionError: Nothing answers.
        """
        host = registry.api_host
        if config.scheme is not None:
            return f"{config.scheme}://{host}"
        known = self._known.get(host)
        return known or await self._flights.do(host, lambda: self._detect(host, registry, config))

    def forget(self, registry: RegistryName) -> None:
        """Find out anew the next time."""
        self._known.pop(registry.api_host, None)

    async def _detect(self, host: str, registry: RegistryName, config: HostConfig) -> str:
        race = _Race(self._probe, host, plaintext=registry.is_loopback or config.insecure)
        base, response = await race.run()
        self._learn(base, response)
        self._known[host] = base
        if len(self._known) > MAX_HOSTS:
            del self._known[next(iter(self._known))]
        return base


class _Race:
    def __init__(
        self, probe: Callable[[httpx.Request], Awaitable[httpx.Response]], host: str, *, plaintext: bool
    ) -> None:
        self._probe = probe
        self._host = host
        self._plaintext = plaintext
        self._https_failed = anyio.Event()
        self._failures: dict[Scheme, Exception] = {}
        self._fatal: Exception | None = None
        self._won: tuple[str, httpx.Response] | None = None

    async def run(self) -> tuple[str, httpx.Response]:
        async with anyio.create_task_group() as group:
            group.start_soon(self._https, group.cancel_scope)
            if self._plaintext:
                group.start_soon(self._http, group.cancel_scope)
        if self._won is not None:
            return self._won
        raise self._fatal or self._failure()

    async def _https(self, scope: anyio.CancelScope) -> None:
        await self._try("https", scope)
        error = self._failures.get("https")
        if error is not None and untrusted(error):
            scope.cancel()
        self._https_failed.set()

    async def _http(self, scope: anyio.CancelScope) -> None:
        with anyio.move_on_after(STAGGER):
            await self._https_failed.wait()
        await self._try("http", scope)

    async def _try(self, scheme: Scheme, scope: anyio.CancelScope) -> None:
        base = f"{scheme}://{self._host}"
        headers = {"Accept-Encoding": "identity", "Accept": "application/json"}
        try:
            response = await self._probe(httpx.Request("GET", f"{base}/v2/", headers=headers))
        except httpx.RequestError as error:
            self._failures[scheme] = error
            return
        except Exception as error:  # noqa: BLE001 -- raised by run(), outside of the task group that would wrap it
            # Not the host's doing (the client is closed, a certificate file is missing): the other scheme is no answer.
            self._fatal = error
            scope.cancel()
            return
        if scheme == "http" and response.status_code == TLS_PORT_ANSWER:
            self._failures[scheme] = httpx.RemoteProtocolError("the port wants TLS")
            return
        if self._won is None and not self._refused():
            self._won = (base, response)
            scope.cancel()

    def _refused(self) -> bool:
        error = self._failures.get("https")
        return error is not None and untrusted(error)

    def _failure(self) -> Exception:
        failures = {scheme: translate(error) for scheme, error in sorted(self._failures.items(), reverse=True)}
        https = failures.get("https")
        told = self._failures.get("https")
        if isinstance(https, TlsError) and (self._refused() or (told is not None and speaks_tls(told))):
            return https
        if len(failures) == 1 and https is not None:
            return https
        made = SchemeDetectionError(self._host, [f"{scheme}: {error.message}" for scheme, error in failures.items()])
        made.__cause__ = next((error.__cause__ for error in failures.values() if error.__cause__), None)
        return made
