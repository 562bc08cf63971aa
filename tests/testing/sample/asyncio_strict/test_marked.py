"""A suite for pytest-asyncio as it is by itself: what is asynchronous says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ocidist.testing import BoundContent, LoopbackRegistry


@pytest.mark.asyncio
async def test_a_client_pulls(oci_registry: LoopbackRegistry, oci_content: BoundContent) -> None:
    app = oci_content.image("app", tags=["v1"]).push("demo/app")["app"]
    async with oci_registry.client() as client:
        manifest = await client.repository(f"{oci_registry.host}/demo/app").manifests.get("v1")
        assert manifest.digest == app.digest
