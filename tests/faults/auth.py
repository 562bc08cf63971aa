"""What the fault tests of challenges and tokens share: registries that let some in, and what must hold afterwards."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from tests.http.support import ALICE, alice_at, challenge, unauthorized
from tests.peers.answers import respond_json
from tests.remote.support import NAME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ocidist import Client, OciError
    from tests.peers.answers import Handler
    from tests.peers.token_server import TokenServer
    from tests.peers.wire_server import Connection, Request, WireServer

PATIENCE_S = 5.0
BASIC_VALUE = base64.b64encode(f"{ALICE.username}:{ALICE.password}".encode())
SECRETS = (ALICE.password.encode(), BASIC_VALUE, BASIC_VALUE.rstrip(b"="), b"refresh_token", b"Basic ")
SOME_TAGS = respond_json(200, {"name": NAME, "tags": ["v1"]})


@asynccontextmanager
async def alice_with(
    *servers: WireServer,
    tokens: TokenServer | None = None,
    foreign: tuple[WireServer, ...] = (),
    **options: Any,  # noqa: ANN401 -- the client's own options
) -> AsyncIterator[Client]:
    """Open a client that knows alice's password for the first server, and check what it leaves behind.

    Args:
        servers: The registry, and others that may be told secrets.
        tokens: A token server that is trusted with the password.
        foreign: Servers that must see no secret.
        options: The client's own.
    """
    async with alice_at(servers[0], tokens, **options) as client:
        yield client
    every = (*servers, *foreign, *((tokens.wire,) if tokens is not None else ()))
    await all_closed(*every)
    for server in foreign:
        assert_no_secrets(server)


async def all_closed(*servers: WireServer) -> None:
    """Wait until every connection was closed by the client: nothing is left."""
    with anyio.fail_after(PATIENCE_S):
        while any(connection._sock.fileno() >= 0 for server in servers for connection in server.connections):  # noqa: ASYNC110 -- threads set no anyio event
            await anyio.sleep(0.005)


def assert_no_secrets(server: WireServer) -> None:
    """Look for alice's secrets in every byte a server got."""
    for secret in SECRETS:
        assert secret not in server.received


def located(error: OciError, server: WireServer, operation: str = "list tags", attempts: int | None = 1) -> bool:
    """Return whether an error says where it happened."""
    found = (error.host, error.operation, error.attempts)
    assert found == (server.host, operation, attempts)
    return server.host in str(error) or NAME in str(error)


def bearer(request: Request) -> str | None:
    """Return the token that came with a request."""
    kind, _, token = (request.header("Authorization") or "").partition(" ")
    return token if kind == "Bearer" else None


def anything(_token: str) -> bool:
    """Take every token."""
    return True


def taking(tokens: Callable[[str], bool], headers: dict[str, str], then: Handler) -> Handler:
    """Answer as *then* does to tokens that are taken, and with 401 and these headers to everything else."""

    def answer(request: Request, connection: Connection) -> None:
        token = bearer(request)
        known = token is not None and tokens(token)
        (then if known else unauthorized(headers))(request, connection)

    return answer


class Issuer:
    """A token endpoint at ``/token`` of a server: each token is another one.

    Attributes:
        issued: The tokens so far.
        requests: The requests for them.
    """

    def __init__(self, server: WireServer, path: str = "/token", **fields: object) -> None:
        self.issued: list[str] = []
        self._fields = fields
        self._realm = f"{server.origin}{path}"
        route = server.on("*", f"{path}*", self._answer)
        self.requests = route.requests

    def challenge(self, scope: str | None = f"repository:{NAME}:pull", **params: str) -> dict[str, str]:
        """Return the header that leads here."""
        return challenge(self._realm, scope, **params)

    def scopes(self) -> list[list[str]]:
        """Return the scopes of each request for a token, in the order asked for."""
        return [[value for name, value in request.query if name == "scope"] for request in self.requests]

    def _answer(self, request: Request, connection: Connection) -> None:
        self.issued.append(f"t{len(self.issued) + 1}")
        respond_json(200, {"token": self.issued[-1], "expires_in": 3600} | self._fields)(request, connection)
