"""What the tests of the HTTP layer share: registries made of a few routes, and clients that do not wait long."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio

from ocidist import Basic, Client, EgressPolicy, HostConfig, RetryPolicy
from tests.canary import ALICE_PASSWORD, USER
from tests.peers.answers import error, respond, respond_json
from tests.peers.token_server import SERVICE, claims

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.peers.answers import Handler
    from tests.peers.token_server import TokenServer
    from tests.peers.wire_server import Connection, Request, WireServer

QUICK = RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02, jitter=0.0)
ONCE = RetryPolicy(attempts=1)
NAME = "acme/app"
TAGS = f"/v2/{NAME}/tags/list"
PULL = f"repository:{NAME}:pull"
PUSH = f"repository:{NAME}:pull,push"
ALICE = Basic(USER, ALICE_PASSWORD)
SOME_TAGS = respond_json(200, {"name": NAME, "tags": ["v1"]})


def client_for(*servers: WireServer, **options: Any) -> Client:  # noqa: ANN401 -- the client's own options
    """Return a client for scripted servers whose scheme is known."""
    usual: dict[str, Any] = {"hosts": {server.host: HostConfig(scheme="http") for server in servers}, "retry": QUICK}
    return Client(**(usual | options))


def alice_at(server: WireServer, tokens: TokenServer | None = None, **options: Any) -> Client:  # noqa: ANN401 -- see above
    """Return a client with a password for a server, which may also be shown to a token server."""
    usual: dict[str, Any] = {"credentials": {server.host: ALICE}}
    if tokens is not None:
        usual["egress"] = EgressPolicy(trusted_realms=(tokens.origin,))
    return client_for(server, **(usual | options))


async def list_tags(client: Client, server: WireServer, name: str = NAME) -> list[str]:
    """Make the one request that listing a repository's few tags takes."""
    return list(await client.repository(f"{server.host}/{name}").tags.list().collect())


def challenge(realm: str, scope: str | None = None, **params: str) -> dict[str, str]:
    """Return the header of a bearer challenge."""
    pairs = {"realm": realm, "service": SERVICE, "scope": scope} | params
    text = ",".join(f'{name}="{value}"' for name, value in pairs.items() if value is not None)
    return {"WWW-Authenticate": f"Bearer {text}"}


def unauthorized(headers: dict[str, str]) -> Handler:
    """Answer 401 as a registry does."""
    return error(401, "UNAUTHORIZED", "authentication required", headers)


def guarded(realm: str, then: Handler, *, scope: str | None = None, root: bool = False) -> Handler:
    """Answer as *then* does whoever brings a token that grants the repository asked for; challenge everybody else.

    Args:
        realm: The token server.
        then: The answer to those who are let in.
        scope: What the challenge says; by default what a registry says of the repository in the path.
        root: Whether the route is ``/v2/``, where any token will do.
    """

    def answer(request: Request, connection: Connection) -> None:
        name = request.path.removeprefix("/v2/").rpartition("/tags/")[0]
        kind, _, token = (request.header("Authorization") or "").partition(" ")
        granted = [] if kind != "Bearer" else claims(token)["access"]
        if kind == "Bearer" and (root or name in {entry["name"] for entry in granted}):
            then(request, connection)
        else:
            asked = scope or (None if root else f"repository:{name}:pull")
            unauthorized(challenge(realm, asked))(request, connection)

    return answer


def wants(header: str, then: Handler, otherwise: Handler) -> Handler:
    """Answer by whether the Authorization header is this one."""

    def answer(request: Request, connection: Connection) -> None:
        (then if request.header("Authorization") == header else otherwise)(request, connection)

    return answer


def token_answer(**fields: object) -> Handler:
    """Answer as a token server, with a token unless the fields say otherwise."""
    return respond(200, {"Content-Type": "application/json"}, json.dumps({"token": "t0ken"} | fields).encode())


def authorizations(server: WireServer) -> list[str | None]:
    """Return the Authorization header of every request a server got."""
    return [request.header("Authorization") for request in server.requests]


async def in_parallel(count: int, work: Callable[[], Awaitable[object]]) -> None:
    """Run the same thing many times at once."""
    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(_run, work)


async def outcomes(count: int, work: Callable[[], Awaitable[object]]) -> list[object]:
    """Run the same thing many times at once and return what came of each: a result or an exception."""
    found: list[object] = []

    async def one() -> None:
        try:
            found.append(await work())
        except Exception as failure:  # noqa: BLE001 -- failing is one of the outcomes
            found.append(failure)

    await in_parallel(count, one)
    return found


async def _run(work: Callable[[], Awaitable[object]]) -> None:
    await work()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread or task brings about; the test's timeout is the limit."""
    while not condition():  # noqa: ASYNC110 -- other threads set no anyio event
        await anyio.sleep(0.005)


@contextmanager
def gate(then: Handler) -> Iterator[tuple[Handler, threading.Event]]:
    """Yield an answer that waits, and the event it waits for; the event is set at the end in any case."""
    event = threading.Event()

    def answer(request: Request, connection: Connection) -> None:
        event.wait(30)
        then(request, connection)

    try:
        yield answer, event
    finally:
        event.set()
