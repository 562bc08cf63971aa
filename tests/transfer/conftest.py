"""Two registries, and a client for both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist.testing import serve
from tests.transfer.mirrors import client_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ocidist import Client
    from ocidist.testing import LoopbackRegistry

    Pair = tuple[LoopbackRegistry, LoopbackRegistry]


@pytest.fixture
async def registries() -> AsyncIterator[Pair]:
    async with serve() as source, serve() as destination:
        yield source, destination


@pytest.fixture
async def client(registries: Pair) -> AsyncIterator[Client]:
    async with client_of(*registries) as made:
        yield made
