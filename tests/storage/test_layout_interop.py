"""Layouts and archives of other tools are read, and theirs read ours: every digest stays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import Archive, ArchiveMode, Digest, Layout, LayoutRegistry
from tests.peers import images
from tests.peers.clients import run
from tests.peers.tools import program
from tests.storage.stores import Kind, push

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ocidist.storage.protocols import Repository
    from tests.peers.peer import Peer

# skopeo 1.9 reads OCI media types only from a layout, whoever wrote it.
INDEX, OTHER, NOTE = images.index(), images.image("linux/s390x"), images.artifact(images.index())


async def _copy(source: str, target: str, *options: str) -> None:
    command = [program("skopeo"), "--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests", *options]
    await anyio.to_thread.run_sync(lambda: run(*command, source, target))


async def _same(repository: Repository, reference: str, image: images.Image) -> None:
    assert (await repository.manifests.get(reference)).data == image.manifest.data
    for each in image.walk():
        assert (await repository.manifests.get(each.digest)).data == each.manifest.data
    for blob in image.all_blobs:
        assert await repository.blobs.get(blob.digest) == blob.data


@pytest.mark.in_turn
async def test_skopeo_reads_our_layouts_and_archives(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    async with Archive(tmp_path / "archive.tar", ArchiveMode.WRITE) as archive:
        for repository in (layout, archive):
            await push(repository, NOTE)
            await push(repository, OTHER, "other")
            await push(repository, INDEX, "v1")
    for source in (f"oci:{layout.path}", f"oci-archive:{tmp_path / 'archive.tar'}"):
        for tag, image in (("v1", INDEX), ("other", OTHER)):
            target = tmp_path / f"{tag}-{source.partition(':')[0]}"
            await _copy(f"{source}:{tag}", f"dir:{target}")
            assert await anyio.Path(target / "manifest.json").read_bytes() == image.manifest.data
    assert (await layout.fsck()).clean


@pytest.mark.in_turn
async def test_we_read_layouts_and_archives_of_skopeo(tmp_path: Path) -> None:
    ours = Layout(tmp_path / "ours")
    await push(ours, INDEX, "v1")
    await _copy(f"oci:{ours.path}:v1", f"oci:{tmp_path / 'theirs'}:v1")
    # It writes what it was told, a full name too.
    await _copy(f"oci:{ours.path}:v1", f"oci:{tmp_path / 'theirs'}:example.org/app:v2")
    await _copy(f"oci:{ours.path}:v1", f"oci-archive:{tmp_path / 'theirs.tar'}:v1")
    theirs = Layout(tmp_path / "theirs")
    assert await theirs.tags.list().collect() == ["v1", "v2"]
    await _same(theirs, "v1", INDEX)
    await _same(theirs, "v2", INDEX)
    report = await theirs.fsck()
    assert (report.problems, report.manifests) == ((), 3)
    async with Archive(tmp_path / "theirs.tar") as archive:
        await _same(archive, "v1", INDEX)
    # And it goes on with what we wrote into its own.
    await push(theirs, OTHER, "other")
    await _copy(f"oci:{theirs.path}:other", f"oci:{theirs.path}:again")
    assert await theirs.tags.list().collect() == ["again", "other", "v1", "v2"]
    await _same(theirs, "again", OTHER)
    await theirs.gc(grace=0)
    assert (await theirs.fsck()).clean
    await _same(theirs, "v2", INDEX)


async def test_we_read_layouts_of_umoci_and_it_goes_on_with_ours(real_layout: Path, tmp_path: Path) -> None:
    umoci, layout = Layout(real_layout), Layout(tmp_path / "layout")
    image = images.read_layout(real_layout, "v1")
    await _same(umoci, "v1", image)
    assert (await umoci.fsck()).clean
    await push(layout, image, "v1")
    found = await anyio.to_thread.run_sync(run, program("umoci"), "ls", "--layout", str(layout.path))
    assert found.split() == [b"v1"]
    told = await anyio.to_thread.run_sync(run, program("umoci"), "stat", "--image", f"{layout.path}:v1", "--json")
    assert json.loads(told)["history"]
    await anyio.to_thread.run_sync(run, program("umoci"), "tag", "--image", f"{layout.path}:v1", "theirs")
    assert await layout.tags.list().collect() == ["theirs", "v1"]
    # It removes what nothing leads to, and knows nothing of our working directory.
    await layout.blobs.push(b"garbage")
    await anyio.to_thread.run_sync(run, program("umoci"), "gc", "--layout", str(layout.path))
    assert not await layout.blobs.exists(Digest.of(b"garbage"))
    await _same(layout, "theirs", image)


@pytest.mark.in_turn
async def test_a_round_trip_through_registries_keeps_every_digest(
    tmp_path: Path, served: Callable[[Kind], Peer], docker_registry: Peer, fresh_name: str
) -> None:
    layout, embedded = Layout(tmp_path / "layout"), served(Kind.SERVED_LAYOUT)
    await push(layout, INDEX, "v1")
    first = f"docker://{docker_registry.host}/{fresh_name}:v1"
    second = f"docker://{embedded.host}/{fresh_name}:v1"
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
    await _copy(f"oci:{layout.path}:v1", first, "--dest-tls-verify=false")
    await _copy(first, second, *plain)
    await _copy(second, f"oci:{tmp_path / 'back'}:v1", "--src-tls-verify=false")
    await _same(Layout(tmp_path / "back"), "v1", INDEX)


async def test_a_directory_that_is_a_layout_itself_is_served_with_others_below(real_layout: Path) -> None:
    registry = LayoutRegistry(real_layout)
    assert await registry.repositories().collect() == ["layout"]
    assert await registry.repository("layout").tags.list().collect() == ["v1"]
    other = LayoutRegistry(real_layout, root_name="acme/app")
    assert await other.repositories().collect() == ["acme/app"]
    assert await other.repository("acme/app").tags.list().collect() == ["v1"]


async def test_layouts_as_oras_and_containerd_write_them_are_read(tmp_path: Path) -> None:
    """Both list everything in the index, and annotate it in their own way."""
    layout = Layout(tmp_path)
    await anyio.to_thread.run_sync(images.write_layout, INDEX, tmp_path, "v1")
    value = json.loads(await anyio.Path(tmp_path / "index.json").read_bytes())
    value["manifests"][0]["annotations"] |= {"io.containerd.image.name": "docker.io/library/app:v1"}
    value["manifests"] += [
        each.manifest.descriptor | {"artifactType": "application/x", "annotations": None} for each in INDEX.children
    ]
    del value["schemaVersion"]
    await anyio.Path(tmp_path / "index.json").write_text(json.dumps(value | {"schemaVersion": 2}))
    await anyio.Path(tmp_path / "ingest").mkdir()
    await anyio.Path(tmp_path / "manifest.json").write_text("[]")
    await _same(layout, "v1", INDEX)
    await layout.tags.set("v2", "v1")
    await layout.tags.delete("v1")
    assert (await layout.fsck()).clean
    assert await layout.tags.list().collect() == ["v2"]
