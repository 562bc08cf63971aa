"""The embedded registry over a real socket, and a plain HTTP client for it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from ocidist.server import Limits, RegistryApp
from ocidist.storage.memory import MemoryRegistry
from tests.conformance.support import client_for
from tests.peers.embedded import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import httpx

    from tests.peers.peer import Peer


@pytest.fixture
async def http(embedded_registry: Peer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the shared registry: use ``fresh_name``."""
    async with client_for(embedded_registry.origin) as client:
        yield client


@pytest.fixture
def start() -> Iterator[Callable[..., Peer]]:
    """Start an empty registry of this test alone; takes a store, ``read_only`` and the fields of ``Limits``."""
    with ExitStack() as stack:

        def begin(store: MemoryRegistry | None = None, *, read_only: bool = False, **limits: Any) -> Peer:  # noqa: ANN401 -- as Limits has them
            app = RegistryApp(store or MemoryRegistry(), read_only=read_only, limits=Limits(**limits))
            return stack.enter_context(serve(app))

        yield begin
