"""The embedded registry as an ASGI application, without any framework."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

from ocidist.errors import OciError, ResponseError, ServerError, StorageError, UnsupportedError, UsageError
from ocidist.server import blobs, lists, manifests, uploads
from ocidist.server.exchange import ClientGoneError, Exchange
from ocidist.server.limits import Limits
from ocidist.server.refusal import JSON, RefusedError, as_refusal, body_of, said
from ocidist.server.service import Service
from ocidist.server.sessions import Sessions
from ocidist.wire import endpoints
from ocidist.wire.routing import parse

if TYPE_CHECKING:
    from ocidist.server.auth import Guard
    from ocidist.server.exchange import Headers, Receive, Scope, Send
    from ocidist.storage.protocols import Namespace
    from ocidist.wire.endpoints import Endpoint

READING: Final = ("GET", "HEAD")
WRITING: Final = ("DELETE", "PATCH", "POST", "PUT")

Handler: TypeAlias = Callable[..., Awaitable[None]]
"""Takes the exchange, the service and an endpoint of its own class, and answers."""


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

    It serves every endpoint of the distribution specification and the catalog. Bodies pass through in bounded pieces;
    upload sessions live as long as the application does. It belongs to one event loop and needs no lifespan events.

    Without *auth*, whoever can connect can do everything that *read_only* allows.

    Args:
        store: The repositories to serve.
        auth: Who is let in: a ``PasswordGuard`` or a ``TokenGuard``; None for everybody.
        read_only: Whether everything but reading is refused with 405.
        limits: How much is taken.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._auth = auth
        self._read_only = read_only
        self._limits = limits or Limits()
        self._service = Service(store, self._limits, Sessions(store, self._limits, clock))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope: ASGI's entry point.

        Raises:
            UsageError: The scope is neither ``http`` nor ``lifespan``.
        """
        match scope["type"]:
            case "http":
                await self._answer(Exchange(scope, receive, send, idle=self._limits.idle))
            case "lifespan":
                await _live(receive, send)
            case kind:
                raise UsageError(f"a registry does not serve {kind}")

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self._serve(exchange)
        except ClientGoneError:
            return
        except Exception as error:
            if exchange.started:
                # The server cuts the connection, so that nobody takes a part for the whole.
                raise
            refusal, headers = self._refusal(exchange, error)
            await exchange.respond(refusal.status, (JSON, *headers), body_of(refusal))

    async def _serve(self, exchange: Exchange) -> None:
        if self._read_only and exchange.method not in READING:
            raise said(UnsupportedError, 405, "this registry can only be read")
        endpoint = parse(exchange.method, exchange.path, exchange.query, exchange.headers)
        if self._auth is not None:
            await self._auth.admit(exchange, endpoint.scopes)
        await HANDLERS[type(endpoint)](exchange, self._service, endpoint)

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


async def _live(receive: Receive, send: Send) -> None:
    while (kind := (await receive())["type"]) != "lifespan.shutdown":
        await send({"type": f"{kind}.complete"})
    await send({"type": "lifespan.shutdown.complete"})
