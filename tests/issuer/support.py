"""ocidist's token server behind a real socket, in the place of the one that other tests use."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import anyio
import attrs

from ocidist.issuer import Htpasswd, MemoryRefreshTokens, TokenApp, TokenIssuer, TokenLimits
from ocidist.wire.scope import Scope, ScopeSet
from tests.peers.embedded import serve
from tests.peers.token_server import ISSUER, SERVICE, USERS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ocidist.issuer import KeyMaterial
    from tests.peers.peer import Peer

ACTIONS = frozenset({"pull", "push", "delete", "*"})
ALICE = USERS["alice"].password


async def authorize(account: str, requested: ScopeSet) -> ScopeSet:
    """Let alice do everything, and everybody read what is public."""
    await anyio.lowlevel.checkpoint()
    if account == "alice":
        return ScopeSet(tuple(Scope(each.type, each.name, ACTIONS) for each in requested))
    readable = (each for each in requested if each.type == "repository" and each.name.startswith("public/"))
    return ScopeSet(tuple(Scope(each.type, each.name, frozenset({"pull"})) for each in readable))


@attrs.frozen
class Signer:
    """What docker-registry's fixture asks of a token server's key."""

    pem: bytes


@attrs.frozen
class Issuing:
    """A running token server, as far as ``DockerRegistries`` and ``Peer`` know one.

    Attributes:
        issuer: What signs.
        origin: Where it listens.
        seen: The method and the grant type of every request.
    """

    issuer: TokenIssuer
    origin: str
    seen: list[tuple[str, str]]

    @property
    def realm(self) -> str:
        """The URL that challenges name."""
        return f"{self.origin}/token"

    @property
    def key(self) -> Signer:
        """The certificate."""
        return Signer(self.issuer.key.certificate_pem)


@attrs.frozen
class Started:
    """A token server and the registry that trusts it."""

    token_server: Issuing
    registry: Peer


class Watched:
    """An application that says what it was asked."""

    def __init__(self, app: TokenApp) -> None:
        self.app = app
        self.seen: list[tuple[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 -- as ASGI has it
        """Note the request and pass it on."""
        body = b""

        async def noted() -> Any:  # noqa: ANN401 -- as ASGI has it
            nonlocal body
            message = await receive()
            body += message.get("body", b"")
            return message

        await self.app(scope, noted, send)
        self.seen.append((scope["method"], parse_qs(body.decode()).get("grant_type", [""])[0]))


def user_file(path: Path, users: dict[str, str]) -> Htpasswd:
    """Write a user file, from a thread: fixtures run inside an event loop."""
    found = Htpasswd(path, rounds=4)
    thread = threading.Thread(target=anyio.run, args=(found.replace, users))
    thread.start()
    thread.join()
    return found


@contextmanager
def issuing(key: KeyMaterial, users: Path, **options: Any) -> Iterator[Issuing]:  # noqa: ANN401 -- of TokenIssuer
    """Serve a token server until the block ends."""
    file = user_file(users, {name: user.password for name, user in USERS.items()})
    issuer = TokenIssuer(key, **{"issuer": ISSUER, "service": SERVICE, "ttl": 300, **options})
    app = Watched(TokenApp(issuer, file, authorize, refresh=MemoryRefreshTokens(), limits=TokenLimits()))
    with serve(app) as peer:
        yield Issuing(issuer, peer.origin, app.seen)


def until(seen: list[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """Wait until so many requests were noted: that happens right after their answers."""
    deadline = time.monotonic() + 5
    while len(seen) < count and time.monotonic() < deadline:
        time.sleep(0.005)
    return list(seen)
