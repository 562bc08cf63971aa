"""The embedded registry over a real socket, and a plain HTTP client for it.

The registry runs on asyncio in a thread of its own, whatever the client runs on, so these tests take one event loop and
spend their time on stores and on ways of authentication instead. On other loops, ``tests/unit/server`` calls it.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from ocidist.issuer import KeyKind, KeyMaterial, StaticUsers, TokenVerifier, TrustedKeys
from ocidist.server import Limits, PasswordGuard, RegistryApp, TokenGuard
from ocidist.storage.layout import LayoutRegistry
from ocidist.storage.memory import MemoryRegistry
from tests.conformance.support import client_for, login_for
from tests.issuer.support import ALICE, issuing
from tests.peers.embedded import serve
from tests.peers.token_server import ISSUER, SERVICE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    import httpx

    from ocidist.server.auth import Guard
    from ocidist.storage.protocols import Namespace
    from tests.issuer.support import Issuing
    from tests.peers.peer import Peer

WAYS = ("memory", "memory-token", "layout-basic")
STORES = ("memory", "layout")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Run on one event loop: see above."""
    return "asyncio"


def store_of(kind: str, directory: Path) -> Namespace:
    """Return an empty store."""
    return MemoryRegistry() if kind == "memory" else LayoutRegistry(directory)


@pytest.fixture(scope="session")
def in_ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Peer]]:
    """Return the registry over a store behind a way of authentication, started on first use: use ``fresh_name``."""
    peers: dict[str, Peer] = {}
    with ExitStack() as stack:

        def get(way: str) -> Peer:
            if way not in peers:
                kind, _, auth = way.partition("-")
                directory = tmp_path_factory.mktemp(way)
                changes: dict[str, Any] = {}
                guard: Guard | None = None
                if auth:
                    changes = {"username": "alice", "password": ALICE}
                if auth == "basic":
                    guard = PasswordGuard(StaticUsers({"alice": ALICE}))
                if auth == "token":
                    key = KeyMaterial.generate(kind=KeyKind.EC)
                    server: Issuing = stack.enter_context(issuing(key, directory / "htpasswd"))
                    trusted = TrustedKeys.from_certificates(server.key.pem)
                    verifier = TokenVerifier(trusted, issuer=ISSUER, service=SERVICE)
                    guard = TokenGuard(verifier, realm=server.realm)
                    changes["token_server"] = server
                app = RegistryApp(store_of(kind, directory / "store"), auth=guard)
                peers[way] = attrs.evolve(stack.enter_context(serve(app)), **changes)
            return peers[way]

        yield get


@pytest.fixture(params=WAYS)
def registry(request: pytest.FixtureRequest, in_ways: Callable[[str], Peer]) -> Peer:
    """The shared registry in each of the ways."""
    return in_ways(request.param)


@pytest.fixture
async def http(registry: Peer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the shared registry who may do everything: use ``fresh_name``."""
    async with client_for(registry.origin, login_for(registry)) as client:
        yield client


@pytest.fixture(params=STORES)
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Peer]]:
    """Start an empty registry of this test alone; takes a store, ``read_only`` and the fields of ``Limits``."""
    with ExitStack() as stack:

        def begin(store: Namespace | None = None, *, read_only: bool = False, **limits: Any) -> Peer:  # noqa: ANN401 -- as Limits has them
            chosen = store or store_of(request.param, tmp_path / f"store-{len(list(tmp_path.iterdir()))}")
            return stack.enter_context(serve(RegistryApp(chosen, read_only=read_only, limits=Limits(**limits))))

        yield begin
