"""Clients of other makers at work on the embedded registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.peers import images

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.peers.clients import Skopeo
    from tests.peers.peer import Peer


@pytest.mark.parametrize("image", [images.image(), images.index()], ids=["oci", "index"])
async def test_skopeo_pulls_what_it_pushed(
    embedded_registry: Peer,
    skopeo: Callable[[Peer], Skopeo],
    fresh_name: str,
    tmp_path: Path,
    image: images.Image,
) -> None:
    images.write_layout(image, tmp_path / "in", "v1")
    client = skopeo(embedded_registry)
    await client.push(tmp_path / "in", "v1", f"{fresh_name}:v1")
    pulled = await client.pull(f"{fresh_name}:v1", tmp_path / "out")
    assert pulled.digest == image.digest
    assert {blob.digest for blob in pulled.all_blobs} == {blob.digest for blob in image.all_blobs}


async def test_skopeo_pushes_an_image_that_umoci_made(
    embedded_registry: Peer, skopeo: Callable[[Peer], Skopeo], fresh_name: str, tmp_path: Path, real_layout: Path
) -> None:
    client = skopeo(embedded_registry)
    await client.push(real_layout, "v1", f"{fresh_name}:v1")
    pulled = await client.pull(f"{fresh_name}:v1", tmp_path / "out")
    assert pulled.digest == images.read_layout(real_layout, "v1").digest
