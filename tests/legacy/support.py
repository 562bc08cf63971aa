"""What the tests of version 1 share: a server, and a session with it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ocidist import Basic
from ocidist.legacy.v1 import Session
from tests.legacy.v1_server import V1Server
from tests.remote.support import client_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.peers.wire_server import WireServer

NAME = "acme/app"
ALICE = Basic("alice", "s3cret")
USERS = {"alice": "s3cret"}


def filled(*layers: bytes, **options: Any) -> V1Server:  # noqa: ANN401 -- the server's own options
    """Return a server with an image of these layers, the base first, under the tag ``v1``."""
    server = V1Server(**options)
    parent: str | None = None
    for number, layer in enumerate(layers):
        parent = server.add(number, parent, layer)
    server.listed[NAME] = [{"id": image} for image in server.images]
    server.tags[NAME] = {"v1": parent or ""}
    return server


@asynccontextmanager
async def session_with(server: WireServer, **options: Any) -> AsyncIterator[Session]:  # noqa: ANN401 -- see above
    """Open a session with a server, as alice, that does not wait long."""
    given = {"credential": ALICE} | options
    hooks = given.pop("hooks", ())
    async with client_for(server, hooks=hooks) as client:
        yield await Session.open(client, server.host, pause=0.01, **given)
