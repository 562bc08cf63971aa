"""The embedded registry as an ASGI application, without any framework."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio

from ocidist.errors import (
    OciError,
    RateLimitedError,
    ResponseError,
    ServerError,
    StorageError,
    UnsupportedError,
    UsageError,
)
from ocidist.server import access, blobs, lists, manifests, uploads
from ocidist.server.actions import needed
from ocidist.server.deviations import Deviations
from ocidist.server.exchange import ClientGoneError, Exchange
from ocidist.server.faults import happen
from ocidist.server.lifespan import live
from ocidist.server.limits import Limits
from ocidist.server.pullthrough import PullThrough
from ocidist.server.rate import Caller
from ocidist.server.refusal import JSON, RefusedError, as_refusal, body_of, said
from ocidist.server.service import Service
from ocidist.server.sessions import Sessions
from ocidist.wire import endpoints
from ocidist.wire.routing import parse

if TYPE_CHECKING:
    from ocidist.server.auth import Guard
    from ocidist.server.exchange import Headers, Receive, Scope, Send
    from ocidist.server.faults import Faults
    from ocidist.server.quirks import Quirks
    from ocidist.server.rate import RateLimit
    from ocidist.storage.protocols import Namespace
    from ocidist.wire.endpoints import Endpoint

READING: Final = ("GET", "HEAD")
WRITING: Final = ("DELETE", "PATCH", "POST", "PUT")
HEALTH: Final = "/healthz"

Handler: TypeAlias = Callable[..., Awaitable[None]]
"""Takes the exchange, the service and an endpoint of its own class, and answers."""


async def health(exchange: Exchange, service: Service) -> None:
    """Say whether the store can be read: 200, or 503. Nobody is asked who they are."""
    if exchange.method not in READING:
        raise said(UnsupportedError, 405, "use GET or HEAD")
    store = service.store.store if isinstance(service.store, PullThrough) else service.store
    try:
        # What costs little in every store, and asks nothing of upstream.
        await store.repository("healthz").manifests.exists("latest")
    except OciError as error:
        _logger.warning("not healthy: %s", error)
        await exchange.respond(503, (JSON,), b'{"status":"failed"}')
        return
    await exchange.respond(200, (JSON,), b'{"status":"ok"}')


async def ping(exchange: Exchange, _service: Service, _endpoint: endpoints.Ping) -> None:
    """Say that this is a registry (end-1)."""
    await exchange.respond(200, (JSON,), b"{}")


HANDLERS: Final[Mapping[type[Endpoint], Handler]] = MappingProxyType(
    {
        endpoints.Ping: ping,
        endpoints.ListRepositories: lists.repositories,
        endpoints.ListTags: lists.tags,
        endpoints.ListReferrers: lists.referrers,
        endpoints.GetBlob: blobs.get,
        endpoints.StatBlob: blobs.stat,
        endpoints.DeleteBlob: blobs.delete,
        endpoints.GetManifest: manifests.get,
        endpoints.StatManifest: manifests.stat,
        endpoints.PutManifest: manifests.put,
        endpoints.DeleteManifest: manifests.delete,
        endpoints.StartUpload: uploads.start,
        endpoints.PostBlob: uploads.post,
        endpoints.MountBlob: uploads.mount,
        endpoints.PatchUpload: uploads.patch,
        endpoints.PutUpload: uploads.put,
        endpoints.UploadStatus: uploads.status,
        endpoints.CancelUpload: uploads.cancel,
    }
)
"""What ``parse()`` can return, and who answers it."""

_logger = logging.getLogger("ocidist.server")


class RegistryApp:
    """A registry over any store: an ASGI application.

    It serves every endpoint of the distribution specification, the catalog, and ``/healthz``. Bodies pass through in
    bounded pieces; upload sessions live as long as the application does. It belongs to one event loop and needs no
    lifespan events, unless the store does (``PullThrough``).

    Without *auth*, whoever can connect can do everything that *read_only* allows. Each request is logged to
    ``ocidist.server.access`` at level INFO, with what it was in the record's ``oci_request``.

    Args:
        store: The repositories to serve.
        auth: Who is let in: a ``PasswordGuard`` or a ``TokenGuard``; None for everybody.
        read_only: Whether everything but reading is refused with 405.
        limits: How much is taken.
        rate_limit: How often somebody may ask; ``FailedLogins`` for example.
        quirks: What it does as other registries do; for tests.
        faults: What goes wrong; for tests.
        clock: Seconds from any moment on, for the age of upload sessions.

    Spec: distribution-spec, "API".
    """

    def __init__(
        self,
        store: Namespace,
        *,
        auth: Guard | None = None,
        read_only: bool = False,
        limits: Limits | None = None,
        rate_limit: RateLimit | None = None,
        quirks: Quirks | None = None,
        faults: Faults | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._auth = auth
        self._read_only = read_only or isinstance(store, PullThrough)
        self._limits = limits or Limits()
        self._rate_limit = rate_limit
        self._faults = faults
        self._deviations = None if quirks is None else Deviations(quirks)
        open_to_all = auth is None or getattr(auth, "unrestricted", False)
        sessions = Sessions(store, self._limits, clock)
        self._service = Service(store, self._limits, sessions, anonymous_mounts=open_to_all)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope: ASGI's entry point.

        Raises:
            UsageError: The scope is neither ``http`` nor ``lifespan``.
        """
        match scope["type"]:
            case "http":
                await self._answer(Exchange(scope, receive, send, idle=self._limits.idle))
            case "lifespan":
                await live(self._service.store, receive, send)
            case kind:
                raise UsageError(f"a registry does not serve {kind}")

    async def _answer(self, exchange: Exchange) -> None:
        begun = time.monotonic()
        try:
            await self._serve(exchange)
        except ClientGoneError:
            return
        except Exception as error:
            if exchange.started:
                # The server cuts the connection, so that nobody takes a part for the whole.
                raise
            refusal, headers = self._refusal(exchange, error)
            with suppress(ClientGoneError):
                await exchange.respond(refusal.status, (JSON, *headers), body_of(refusal))
        finally:
            access.log(exchange, time.monotonic() - begun)

    async def _serve(self, exchange: Exchange) -> None:
        if self._deviations is not None:
            self._deviations.begin(exchange, self._service, None)
        self._check_head(exchange)
        if self._rate_limit is None:
            await self._route(exchange)
        else:
            await self._limited(exchange, self._rate_limit)

    async def _limited(self, exchange: Exchange, limit: RateLimit) -> None:
        caller = Caller(exchange.client, exchange.method, exchange.path, "authorization" in exchange.headers)
        wait = await limit.wait(caller)
        if wait is not None:
            raise RateLimitedError(429, retry_after=wait)
        try:
            await self._route(exchange)
        except RefusedError as error:
            limit.answered(caller, error.error.status)
            raise
        except ResponseError as error:
            limit.answered(caller, error.status)
            raise
        limit.answered(caller, exchange.status)

    async def _route(self, exchange: Exchange) -> None:
        if exchange.path == HEALTH:
            await health(exchange, self._service)
            return
        if self._read_only and exchange.method not in READING:
            raise said(UnsupportedError, 405, "this registry can only be read")
        endpoint = parse(exchange.method, exchange.path, exchange.query, exchange.headers)
        if self._deviations is not None:
            self._deviations.begin(exchange, self._service, endpoint)
        if self._auth is not None:
            exchange.account = await self._auth.admit(exchange, needed(endpoint))
        if self._faults is not None and await self._is_over(exchange, endpoint, self._faults):
            return
        if self._deviations is not None:
            left = await self._deviations.prepare(exchange, self._service, endpoint)
            if left is None:
                return
            endpoint = left
        await HANDLERS[type(endpoint)](exchange, self._service, endpoint)

    async def _is_over(self, exchange: Exchange, endpoint: Endpoint, faults: Faults) -> bool:
        fault = faults.meet(endpoint)
        if fault is None:
            return False
        await anyio.sleep(fault.latency)
        happen(fault, exchange)
        if fault.status is None:
            return False
        if fault.body is None:
            refusal = said(ServerError, fault.status, "this fault was asked for")
            await exchange.respond(fault.status, (JSON, *fault.headers), body_of(refusal))
        else:
            await exchange.respond(fault.status, fault.headers, fault.body)
        return True

    def _check_head(self, exchange: Exchange) -> None:
        if len(exchange.path) + len(exchange.query) > self._limits.max_target:
            raise said(UnsupportedError, 414, f"path and query have at most {self._limits.max_target} characters")
        if sum(len(name) + len(value) for name, value in exchange.headers.items()) > self._limits.max_head:
            raise said(UnsupportedError, 431, f"header fields have at most {self._limits.max_head} bytes")

    def _refusal(self, exchange: Exchange, error: Exception) -> tuple[ResponseError, Headers]:
        headers: Headers = ()
        match error:
            case RefusedError():
                refusal, headers = error.error, error.headers
            case OciError():
                refusal = as_refusal(error)
            case _:
                refusal = said(ServerError, 500, "the registry failed")
        if refusal.status == 405:
            headers = (("Allow", ", ".join(self._allowed(exchange.path))),)
        if refusal.retry_after is not None:
            headers = (*headers, ("Retry-After", str(math.ceil(refusal.retry_after))))
        if isinstance(error, StorageError):
            _logger.warning("%s %s refused: %s", exchange.method, exchange.path, error)
        elif refusal.status >= 500:
            _logger.error("%s %s failed", exchange.method, exchange.path, exc_info=error)
        return refusal, headers

    def _allowed(self, path: str) -> list[str]:
        methods = READING if self._read_only else sorted((*READING, *WRITING))
        return [method for method in methods if _is_offered(method, path)]


def _is_offered(method: str, path: str) -> bool:
    try:
        parse(method, path)
    except ResponseError as error:
        return error.status != 405
    return True
