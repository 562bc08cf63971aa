"""One line to a server of version 1: endpoints with absolute URLs, sent through a client and all that guards it.

What a client's own authentication would do is not wanted here: version 1 sends a password, or a token of its own form,
with the first request. So every request says itself who asks, or that nobody does.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, ClassVar, Final

import attrs

from ocidist.credentials.store import Anonymous, Basic
from ocidist.errors import EgressError, EndpointRefusedError, ProtocolError, UsageError
from ocidist.model import strictjson
from ocidist.model.reference import DOCKER_HUB, HUB_INDEX, RegistryName, without_api
from ocidist.wire.endpoints import Endpoint
from ocidist.wire.errorbody import Subject
from ocidist.wire.redact import clean_text, redact_url

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from ocidist._io.body import Body
    from ocidist.client import Client
    from ocidist.credentials.store import Credential
    from ocidist.http.sender import Reply, Sender

Fields = tuple[tuple[str, str], ...]
JSON: Final[Fields] = (("Accept", "application/json"),)
JSON_BODY: Final[Fields] = (*JSON, ("Content-Type", "application/json"))
MAX_SHOWN: Final = 200


@attrs.frozen
class Identity:
    """Who asks, as header fields that no ``repr`` shows.

    Attributes:
        fields: The fields; none for nobody.
    """

    fields: Fields = attrs.field(default=(), repr=False)


NOBODY: Final = Identity()


@attrs.frozen
class V1Endpoint(Endpoint):
    """An endpoint of version 1.

    Attributes:
        root: What its path is added to: ``https://host/v1/``.
        identity: Who asks.
    """

    id = "v1"
    about = Subject.OTHER
    refused: ClassVar[type[EgressError]] = EndpointRefusedError
    roams = True
    stays_home = True
    direct = True
    fields: ClassVar[Fields] = JSON
    root: str
    identity: Identity = attrs.field(default=NOBODY, kw_only=True)

    @property
    def path(self) -> str:
        """Path and query below the root."""
        return ""

    @property
    def target(self) -> str:
        """Absolute URL."""
        return self.root + self.path

    @property
    def headers(self) -> Fields:
        """Header fields of the request."""
        return self.fields

    @property
    def secrets(self) -> Fields:
        """Header fields that say who asks."""
        return self.identity.fields


@attrs.frozen
class Line:
    """Sends endpoints of version 1 on behalf of one index.

    Attributes:
        sender: The client.
        registry: The index.
        root: Its root, ``https://host/v1/``.
    """

    sender: Sender
    registry: RegistryName
    root: str = attrs.field(repr=redact_url)

    @classmethod
    async def open(cls, client: Client, name: str | RegistryName) -> Line:
        """Find out where a server is; Docker Hub by any of its names, and any server by the address of its API.

        Raises:
            InvalidReferenceError: The name does not follow the grammar.
            OciError: Its scheme is not configured, and nobody answers who could tell it.
        """
        registry = name if isinstance(name, RegistryName) else RegistryName.parse(without_api(name))
        if registry.is_docker_hub:
            # Its scheme is no question, and what answers at its registry no answer.
            return cls(client.sender, RegistryName(DOCKER_HUB, registry.port, registry.scheme or "https"), HUB_INDEX)
        return cls(client.sender, registry, f"{await client.sender.base_of(registry)}/v1/")

    def exchange(
        self, endpoint: V1Endpoint, *, body: Body | None = None, about: str | None = None
    ) -> AbstractAsyncContextManager[Reply]:
        """Send an endpoint and yield its answer; see ``Sender.exchange``.

        Args:
            endpoint: What to ask.
            body: Request body.
            about: What the operation is on, for error messages.

        Raises:
            OciError: One of its subclasses.
        """
        where = str(self.registry) if about is None else f"{self.registry}/{about}"
        return self.sender.exchange(self.registry, endpoint, body=body, reference=lambda: where)

    async def identify(self, credential: Credential | None) -> Identity:
        """Return what says who asks.

        Args:
            credential: Identity to use instead of the client's own for this index.

        Raises:
            UsageError: The credential is a token: version 1 knows user names and passwords.
            OciError: See ``Sender.identify``.
        """
        found = await self.sender.identify(self.registry, credential)
        match found:
            case Anonymous():
                return NOBODY
            case Basic():
                pair = base64.b64encode(f"{found.username}:{found.password}".encode()).decode("ascii")
                return Identity((("Authorization", f"Basic {pair}"),))
            case _:
                raise UsageError(f"version 1 takes a user name and a password, not an {type(found).__name__}")


async def read_json(reply: Reply, limit: int, what: str) -> object:
    """Return the JSON in an answer.

    Raises:
        LimitExceededError: It is longer than *limit* bytes.
        ProtocolError: It is not JSON: a web page, for example.
    """
    data = await reply.read(limit, what)
    try:
        return strictjson.loads(data, what=what)
    except ProtocolError as error:
        kind = clean_text(reply.header("Content-Type") or "no content type", MAX_SHOWN)
        raise ProtocolError(f"{error.message}; it came as {kind}") from None
