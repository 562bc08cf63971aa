"""The registries that an index names: which of them is asked, and who asks there.

Spec: Docker, "Registry & Index Spec".
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from ocidist._io.body import BytesBody
from ocidist.credentials.store import Basic
from ocidist.errors import (
    BlobExistsError,
    InvalidReferenceError,
    LimitExceededError,
    NotFoundError,
    ProtocolError,
    ResponseError,
    ServerError,
    TransportError,
    UsageError,
)
from ocidist.legacy._line import NOBODY, Identity
from ocidist.legacy.v1.models import MAX_ENDPOINTS, ImageData, RepositoryData, cookies_of, tokens_of
from ocidist.model.reference import RegistryName
from ocidist.wire.egress import Origin, check_endpoint
from ocidist.wire.redact import clean_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ocidist.credentials.store import Credential
    from ocidist.http.sender import Reply
    from ocidist.legacy._line import V1Endpoint
    from ocidist.legacy.v1.endpoint import Endpoint

_TO_ANOTHER: Final = (TransportError, ServerError, NotFoundError)

_T = TypeVar("_T")


@asynccontextmanager
async def already() -> AsyncIterator[None]:
    """Say of a registry that has an image already that it has; those of old do so with a sentence."""
    try:
        yield
    except ResponseError as error:
        if error.status != 409 and "already exists" not in str(error).lower():
            raise
        made = BlobExistsError(error.status, method=error.method, url=error.url, errors=error.errors)
        raise made.locate(
            operation=error.operation, reference=error.reference, host=error.host, attempts=error.attempts
        ) from None


class Registries:
    """Sends to the registries that an index names.

    Args:
        endpoint: The index, or the registry that stands alone.
        credential: Identity to use instead of the client's own for it.
    """

    def __init__(self, endpoint: Endpoint, credential: Credential | None) -> None:
        self._endpoint = endpoint
        self._line = endpoint.line
        self._credential = credential
        self._cookies: dict[tuple[str, str], str] = {}

    def told(self, name: str, images: tuple[ImageData, ...], reply: Reply) -> RepositoryData:
        """Return what the index said about a repository.

        Raises:
            EndpointRefusedError: It names a registry that this client must not go to.
            LimitExceededError: It names too many, or a token is too long.
            ProtocolError: It names what is no registry, or a token cannot be sent.
        """
        hosts = [host.strip() for value in reply.header_values("X-Docker-Endpoints") for host in value.split(",")]
        named = tuple(dict.fromkeys(self._root_of(host) for host in hosts if host))
        if len(named) > MAX_ENDPOINTS:
            what = "list of registries"
            raise LimitExceededError(what, MAX_ENDPOINTS)
        tokens = tokens_of(reply.header_values("X-Docker-Token"))
        return RepositoryData(
            repository=name,
            index=self._line.root,
            images=images,
            # An index that names none is the registry itself.
            endpoints=named or (self._line.root,),
            tokens=tokens,
        )

    def _root_of(self, host: str) -> str:
        try:
            RegistryName.parse(host)
        except InvalidReferenceError:
            raise ProtocolError(f"the index names {clean_text(host, 80)!r}, which is no registry") from None
        scheme = self._line.root.partition("://")[0]
        return check_endpoint(self._line.root, f"{scheme}://{host.lower()}/v1/", self._line.sender.egress)

    async def put(self, data: RepositoryData, make: Callable[..., V1Endpoint], about: str, text: bytes = b"") -> None:
        """Send something to the registry that is written to."""
        root, identity = await self.written(data)
        endpoint = make(root, identity=self._with_cookies(identity, root, about))
        async with already(), self._line.exchange(endpoint, body=BytesBody(text), about=about):
            self._cookies.pop((root, about), None)

    def _with_cookies(self, identity: Identity, root: str, about: str) -> Identity:
        cookies = self._cookies.get((root, about))
        return identity if cookies is None else Identity((*identity.fields, ("Cookie", cookies)))

    def keep_cookies(self, root: str, about: str, reply: Reply) -> None:
        """Keep what a registry wants to be shown with the next request about the same thing.

        docker-registry before 0.7 had the checksum of a layer there.
        """
        cookies = cookies_of(reply.header_values("Set-Cookie"))
        if cookies:
            self._cookies[root, about] = cookies

    async def written(self, data: RepositoryData) -> tuple[str, Identity]:
        """Return where a repository is written, the first of its registries, and who does it."""
        self.check(data)
        root = data.endpoints[0]
        return root, await self.shown_to(root, data)

    async def each(
        self,
        data: RepositoryData,
        make: Callable[..., V1Endpoint],
        take: Callable[[Reply], Awaitable[_T]],
        about: str,
    ) -> _T:
        """Ask the registries in turn until one answers."""
        self.check(data)
        *others, last = data.endpoints
        for root in others:
            try:
                return await self._ask(root, data, make, take, about)
            except _TO_ANOTHER:
                continue
        return await self._ask(last, data, make, take, about)

    async def _ask(
        self,
        root: str,
        data: RepositoryData,
        make: Callable[..., V1Endpoint],
        take: Callable[[Reply], Awaitable[_T]],
        about: str,
    ) -> _T:
        endpoint = make(root, identity=await self.shown_to(root, data))
        async with self._line.exchange(endpoint, about=about) as reply:
            return await take(reply)

    def check(self, data: RepositoryData) -> None:
        """Refuse what another index said.

        Raises:
            UsageError: It did, or there is no registry.
        """
        if data.index != self._line.root:
            raise UsageError(f"what another index said about {data.repository} holds no good here")
        if not data.endpoints:
            raise UsageError("the index names no registry")

    async def shown_to(self, root: str, data: RepositoryData) -> Identity:
        """Return who asks at a registry: the index's token says it, and a password only at home."""
        check_endpoint(self._line.root, root, self._line.sender.egress)
        at_home = Origin.of(root) == Origin.of(self._line.root)
        if data.tokens and not (at_home and self._endpoint.info.standalone and await self._has_password()):
            return Identity((("Authorization", "Token " + ",".join(data.tokens)),))
        return await self._line.identify(self._credential) if at_home else NOBODY

    async def _has_password(self) -> bool:
        found = await self._line.sender.identify(self._line.registry, self._credential)
        return isinstance(found, Basic)
