"""The stores: in this process, behind the embedded server, and docker-registry 2.8.2."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from ocidist import LayoutRegistry, MemoryRegistry
from ocidist.server import RegistryApp
from ocidist.storage import layout_disk
from tests.peers.embedded import serve
from tests.peers.peer import Mode
from tests.storage.stores import Kind, Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.conftest import StartRegistry
    from tests.peers.peer import Peer

_NUMBERS = itertools.count()
# The unit tests of the memory store run on all loops; what is behind a server does not care.
_KINDS = tuple(pytest.param(kind, marks=() if kind is Kind.LAYOUT else pytest.mark.in_turn) for kind in Kind)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the flushing: what it is for is tested with a disk that is made up, and it takes most of the time."""
    monkeypatch.setattr(layout_disk, "sync", lambda _: None)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Kind], Peer]]:
    """Return the embedded server over a store, started on first use and shared by all."""
    peers: dict[Kind, Peer] = {}
    with ExitStack() as stack:

        def start(kind: Kind) -> Peer:
            if kind not in peers:
                memory = kind is Kind.SERVED_MEMORY
                store = MemoryRegistry() if memory else LayoutRegistry(tmp_path_factory.mktemp("served"))
                peers[kind] = stack.enter_context(serve(RegistryApp(store)))
            return peers[kind]

        yield start


@pytest.fixture(params=_KINDS, ids=str)
async def store(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    served: Callable[[Kind], Peer],
    shared_registry: StartRegistry,
) -> AsyncIterator[Store]:
    """Each store in turn; the repositories of a test are its own."""
    kind: Kind = request.param
    if kind is Kind.MEMORY:
        yield Store(kind, MemoryRegistry(), "")
    elif kind is Kind.LAYOUT:
        yield Store(kind, LayoutRegistry(tmp_path / "registry"), "")
    else:
        peer = shared_registry(Mode.PLAIN) if kind is Kind.DOCKER else served(kind)
        async with peer.client() as client:
            yield Store(kind, client.registry(peer.host), f"store-{next(_NUMBERS)}-{id(request):x}/")
