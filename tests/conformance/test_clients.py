"""Clients of other makers at work on the embedded registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from anyio import to_thread

from tests.conformance.support import client_for
from tests.peers import images
from tests.peers.clients import run
from tests.peers.tools import program

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


async def _skopeo(*arguments: str) -> bytes:
    return await to_thread.run_sync(run, program("skopeo"), "--insecure-policy", *arguments)


@pytest.mark.parametrize("form", ["v2s2", "oci"])
@pytest.mark.parametrize("several", [True, False])
async def test_skopeo_converts_on_the_way_in_and_out(
    embedded_registry: Peer, fresh_name: str, tmp_path: Path, form: str, several: bool
) -> None:
    docker = form == "v2s2"
    manifest = images.DOCKER_MANIFEST if docker else images.OCI_MANIFEST
    index = images.DOCKER_LIST if docker else images.OCI_INDEX
    made = images.index() if several else images.image()
    images.write_layout(made, tmp_path / "in", "v1")
    name = f"docker://{embedded_registry.host}/{fresh_name}"
    plain = ["--dest-tls-verify=false", "--all", "--quiet"]
    await _skopeo("copy", *plain, "--format", form, f"oci:{tmp_path / 'in'}:v1", f"{name}:converted")
    await _skopeo("copy", *plain, "--src-tls-verify=false", f"{name}:converted", f"{name}-copy:v1")
    await _skopeo("copy", *plain, "--src-tls-verify=false", "--format", "oci", f"{name}:converted", f"{name}:back")
    async with client_for(embedded_registry.origin) as http:
        for path in (f"{fresh_name}/manifests/converted", f"{fresh_name}-copy/manifests/v1"):
            found = await http.get(f"/v2/{path}")
            assert found.headers["Content-Type"] == (index if several else manifest)
            for entry in found.json().get("manifests", ()):
                child = await http.get(f"/v2/{path.rpartition('/')[0]}/{entry['digest']}")
                assert child.headers["Content-Type"] == manifest
        back = await http.get(f"/v2/{fresh_name}/manifests/back")
        assert back.headers["Content-Type"] == (images.OCI_INDEX if several else images.OCI_MANIFEST)


async def test_skopeo_synchronises_and_deletes(embedded_registry: Peer, fresh_name: str, tmp_path: Path) -> None:
    image = images.image()
    images.write_layout(image, tmp_path / "in", "v1")
    host, directory = embedded_registry.host, tmp_path / "sync"
    name = f"docker://{host}/{fresh_name}"
    for tag in ("v1", "v2"):
        await _skopeo("copy", "--dest-tls-verify=false", f"oci:{tmp_path / 'in'}:v1", f"{name}:{tag}")
    options = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    await _skopeo("sync", *options, "--src", "docker", "--dest", "dir", f"{host}/{fresh_name}", str(directory))
    await _skopeo("sync", *options, "--src", "dir", "--dest", "docker", str(directory), f"{host}/{fresh_name}/copy")
    copy = f"{fresh_name}/copy/{fresh_name.rpartition('/')[2]}"
    async with client_for(embedded_registry.origin) as http:
        for repository in (fresh_name, copy):
            assert (await http.get(f"/v2/{repository}/tags/list")).json()["tags"] == ["v1", "v2"]
            assert (await http.get(f"/v2/{repository}/manifests/v2")).content == image.manifest.data
        await _skopeo("delete", "--tls-verify=false", f"docker://{host}/{copy}:v1")
        assert (await http.get(f"/v2/{copy}/tags/list")).json()["tags"] == []
        assert (await http.head(f"/v2/{fresh_name}/manifests/v1")).status_code == 200
