"""What ocidist pushes another client pulls, what another client pushes ocidist pulls, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from anyio import to_thread

from ocidist import Manifest
from tests.peers import images
from tests.remote.support import push_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ocidist import Repository
    from tests.peers.clients import Skopeo
    from tests.peers.images import Image
    from tests.peers.peer import Peer

    UseSkopeo = Callable[[Peer], Skopeo]


async def pulled(repository: Repository, name: str) -> dict[str, bytes]:
    """Pull an image with everything in it; its contents by digest."""
    manifest = await repository.manifests.get(name)
    found = {str(manifest.digest): manifest.data}
    for child in manifest.references:
        if "manifest" in child.media_type or "index" in child.media_type:
            found |= await pulled(repository, child.digest)
        else:
            found[str(child.digest)] = await repository.blobs.get(child)
    return found


def contents(image: Image) -> dict[str, bytes]:
    """Return everything of an image by digest."""
    manifests = {each.manifest.digest: each.manifest.data for each in image.walk()}
    return manifests | {blob.digest: blob.data for blob in image.all_blobs}


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
async def test_skopeo_pulls_what_ocidist_pushed(
    any_registry: Peer, skopeo: UseSkopeo, fresh_name: str, tmp_path: Path, *, docker: bool
) -> None:
    image = images.image("linux/amd64", docker=True) if docker else images.index()
    async with any_registry.client() as client:
        await push_image(client.repository(f"{any_registry.host}/{fresh_name}"), image, "v1")
    found = await skopeo(any_registry).pull(f"{fresh_name}:v1", tmp_path / "out")
    assert found.digest == image.digest
    assert contents(found) == contents(image)


async def test_ocidist_pulls_what_skopeo_pushed(
    any_registry: Peer, skopeo: UseSkopeo, fresh_name: str, tmp_path: Path
) -> None:
    image = images.index()
    await to_thread.run_sync(images.write_layout, image, tmp_path / "layout", "v1")
    await skopeo(any_registry).push(tmp_path / "layout", "v1", f"{fresh_name}:v1")
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        assert (await repository.manifests.stat("v1")).digest == image.digest
        assert await pulled(repository, "v1") == contents(image)


async def test_a_layout_made_by_umoci_goes_through_unchanged(
    any_registry: Peer, skopeo: UseSkopeo, fresh_name: str, real_layout: Path, tmp_path: Path
) -> None:
    image = await to_thread.run_sync(images.read_layout, real_layout, "v1")
    assert b"mediaType" not in image.manifest.data.partition(b'"config"')[0]
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        pushed = await push_image(repository, image, "v1")
        assert pushed == Manifest.of(image.manifest.data, image.manifest.media_type)
        assert await pulled(repository, "v1") == contents(image)
    found = await skopeo(any_registry).pull(f"{fresh_name}:v1", tmp_path / "out")
    assert contents(found) == contents(image)
