"""Layers that a registry does not have: read from the ``urls`` of their descriptors, where the user asks for that.

Nothing in ocidist follows such URLs by itself. Whoever wrote the manifest chose them, so they are asked over
connections of their own, by requests that are the same for everybody: no credentials, no cookies, no proxy, none of a
client's headers. A challenge is a refusal. What arrives is handed out only as far as size and digest allow.

Spec: image-spec, "OCI Content Descriptors" (``urls``).
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Self

import httpx

from ocidist._io.verify import update
from ocidist._version import version
from ocidist.errors import (
    DigestMismatchError,
    EgressError,
    LimitExceededError,
    OciError,
    RedirectRefusedError,
    SizeMismatchError,
    UnexpectedStatusError,
    UsageError,
)
from ocidist.http.failure import translate
from ocidist.http.guard import CHECK, AddressGuard
from ocidist.http.redirect import FOLLOWED
from ocidist.http.reply import HttpReply
from ocidist.http.timeouts import Timeouts
from ocidist.http.transport.direct import DirectTransport
from ocidist.wire.egress import DEFAULT_POLICY, Origin, check_foreign, check_redirect
from ocidist.wire.redact import redact_url

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from types import TracebackType

    from ocidist.model.descriptor import Descriptor
    from ocidist.wire.egress import EgressPolicy

MAX_URLS: Final = 8
"""URLs of one descriptor that are tried."""
MAX_GET: Final = 4 * 1024 * 1024
_HEADERS: Final = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": f"ocidist/{version()}"}


class ForeignLayers:
    """Reads content from the ``urls`` of descriptors; a context manager.

    Args:
        registry: Origin of the registry that the manifest came from (``https://host[:port]``). It decides what the
            URLs may lead to: never from https to http, and to private addresses only where it is named by one itself
            (where a name leads is not looked up; see ``EgressPolicy.allow_private``).
        policy: What is allowed beyond, or below, that.
        timeouts: Idle timeouts of each phase.
        transport: What sends the requests instead of connections of their own; for tests and proxies. Addresses are
            then judged by the URLs alone.

    Raises:
        UsageError: *registry* is no origin.
    """

    def __init__(
        self,
        registry: str,
        *,
        policy: EgressPolicy = DEFAULT_POLICY,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 -- a frozen value
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._registry = Origin.of(registry)
        self._policy = policy
        self._timeout = timeouts.extension()
        self._transport = DirectTransport() if transport is None else transport

    async def __aenter__(self) -> Self:
        """Return the reader itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def get(self, descriptor: Descriptor) -> bytes:
        """Return small content, whole and verified.

        Raises:
            LimitExceededError: It is larger than 4 MiB.
            OciError: As ``open`` and its stream do.
        """
        if descriptor.size > MAX_GET:
            what = "foreign layer"
            raise LimitExceededError(what, MAX_GET)
        async with self.open(descriptor) as pieces:
            return b"".join([piece async for piece in pieces])

    @asynccontextmanager
    async def open(self, descriptor: Descriptor) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """Yield the content as it arrives; leaving the block closes the connection.

        The URLs are tried in order until one answers. The last piece is handed out only once size and digest are right.

        Args:
            descriptor: What to read: its ``urls``, size and digest.

        Raises:
            EgressError: No URL may be asked, and the last one was refused for this reason; or the address it leads to.
            UsageError: The descriptor names no URL.
            UnexpectedStatusError: The last one was refused by whoever answers there, for example by a challenge.
            TransportError: Nobody answered there.
            DigestMismatchError: From the stream: the bytes are others.
            SizeMismatchError: From the stream: they are more or fewer.
            DigestUnsupportedError: The digest cannot be verified.
        """
        descriptor.digest.hasher()
        failure: OciError = UsageError("the descriptor names no URL")
        for url in descriptor.urls[:MAX_URLS]:
            try:
                response = await self._ask(url)
            except OciError as error:
                failure = error
                continue
            reply = HttpReply(response)
            try:
                yield _proven(reply, descriptor)
            finally:
                await reply.aclose()
            return
        raise failure.locate(operation="read foreign layer", reference=str(descriptor.digest))

    async def _ask(self, url: str) -> httpx.Response:
        here = check_foreign(self._registry, url, self._policy)
        seen: list[str] = []
        while here not in seen and len(seen) <= self._policy.max_redirects:
            seen.append(here)
            response = await self._send(here)
            if response.status_code == httpx.codes.OK:
                return response
            status, location = response.status_code, response.headers.get("Location")
            await HttpReply(response).aclose()
            if status not in FOLLOWED or not location:
                raise UnexpectedStatusError(status, method="GET", url=redact_url(here))
            here = check_redirect(here, location, self._policy, registry=self._registry).url
        where = str(Origin.of(here))
        raise RedirectRefusedError(str(self._registry), where, f"it goes on for more than {len(seen) - 1} steps")

    async def _send(self, url: str) -> httpx.Response:
        request = httpx.Request("GET", url, headers=_HEADERS, extensions={"timeout": self._timeout})
        target = Origin.of(url)
        if target != self._registry:
            request.extensions[CHECK] = AddressGuard(self._registry, target, self._policy, EgressError)
        failure: OciError
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.RequestError as error:
            failure = translate(error)
        else:
            response.request = request
            return response
        raise failure


async def _proven(reply: HttpReply, descriptor: Descriptor) -> AsyncGenerator[bytes, None]:
    proof = descriptor.digest.hasher()
    held = b""
    async for piece in reply.chunks():
        await update(proof, piece)
        if proof.size > descriptor.size:
            raise SizeMismatchError(descriptor.size, proof.size)
        if held:
            yield held
        held = piece
    if proof.size != descriptor.size:
        raise SizeMismatchError(descriptor.size, proof.size)
    actual = proof.digest()
    if actual != descriptor.digest:
        raise DigestMismatchError(descriptor.digest, actual, size=proof.size)
    if held:
        yield held
