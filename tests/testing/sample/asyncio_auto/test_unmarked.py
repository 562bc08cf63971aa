"""A suite for pytest-asyncio in its mode ``auto``: nothing says that it is asynchronous."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist.testing import Content

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ocidist import Client
    from ocidist.testing import LoopbackRegistry


@pytest.fixture
async def client(oci_registry: LoopbackRegistry) -> AsyncIterator[Client]:
    async with oci_registry.client() as client:
        yield client


async def test_a_client_pulls(oci_registry: LoopbackRegistry, client: Client) -> None:
    repository = client.repository(f"{oci_registry.host}/demo/app")
    built = await Content().image("app", tags=["v1"]).push_to(repository)
    assert (await repository.manifests.get("v1")).digest == built["app"].digest
