"""Copying between stores of all kinds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from ocidist import (
    Archive,
    Client,
    ContentCopied,
    ContentMounted,
    ContentSkipped,
    Copier,
    CopyError,
    CopyFinished,
    CopyStarted,
    Descriptor,
    Digest,
    DigestMismatchError,
    InvalidReferenceError,
    Layout,
    LimitExceededError,
    ManifestUnknownError,
    MemoryRegistry,
    NotFoundError,
    PlatformUnknownError,
    Side,
    TagUnknownError,
    UsageError,
    copy,
    open_place,
)
from ocidist.transfer.options import CopyOptions, Referrers
from tests.peers.images import OCI_INDEX, Content, Image, artifact, image, index, layer, noise, sha256
from tests.remote.support import push_image
from tests.transfer.stores import contents, expected, in_memory

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist import Event
    from tests.peers.peer import Peer

pytestmark = pytest.mark.anyio


# --- all kinds of stores ---------------------------------------------------------------------------------------------


async def test_an_index_goes_from_registry_to_registry(
    docker_registry: Peer, embedded_registry: Peer, fresh_name: str
) -> None:
    top = index()
    hosts = docker_registry.client_kwargs()["hosts"] | embedded_registry.client_kwargs()["hosts"]
    async with Client(hosts=hosts, trust_env=False) as client:
        await push_image(client.repository(f"{docker_registry.host}/{fresh_name}"), top, "v1")
        for source, destination in ((docker_registry, embedded_registry), (embedded_registry, docker_registry)):
            there = f"{destination.host}/{fresh_name}/copy"
            report = await copy(f"{source.host}/{fresh_name}:v1", f"{there}:v2", client=client)
            assert report.digest == top.digest
            assert report.tags == ("v2",)
            assert (report.manifests_copied, report.blobs_copied) == (3, len(top.all_blobs))
            assert report.bytes_copied == sum(len(blob.data) for blob in top.all_blobs)
            assert await contents(client.repository(there), "v2") == expected(top)
            again = await copy(f"{source.host}/{fresh_name}:v1", f"{there}:v2", client=client)
            assert (again.manifests_copied, again.blobs_copied, again.bytes_copied) == (0, 0, 0)
            assert again.manifests_skipped == 1
            await push_image(client.repository(f"{destination.host}/{fresh_name}"), top, "v1")


async def test_an_image_goes_through_layout_and_archive(
    embedded_registry: Peer, fresh_name: str, tmp_path: Path
) -> None:
    top = index(docker=False)
    here = f"{embedded_registry.host}/{fresh_name}"
    layout, archive = f"oci:{tmp_path / 'layout'}", f"oci-archive:{tmp_path / 'app.tar'}"
    async with embedded_registry.client() as client:
        await push_image(client.repository(here), top, "v1")
        assert (await copy(f"{here}:v1", f"{layout}:v1", client=client)).blobs_copied == len(top.all_blobs)
        assert (await copy(layout, archive)).tags == ("v1",)
        report = await copy(f"{archive}:v1", f"{here}/back:v3", client=client)
        assert report.digest == top.digest
        assert await contents(client.repository(f"{here}/back"), "v3") == expected(top)
    assert await contents(Layout(tmp_path / "layout"), "v1") == expected(top)
    async with Archive(tmp_path / "app.tar") as opened:
        assert await contents(opened, "v1") == expected(top)


async def test_stores_are_given_as_they_are(tmp_path: Path) -> None:
    top = image()
    memory = await in_memory(top, "v1")
    layout = Layout(tmp_path / "layout")
    assert (await copy((memory, "v1"), layout)).tags == ("v1",)
    assert (await copy(layout, (MemoryRegistry().repository("b"), "v2"))).tags == ("v2",)
    report = await copy((layout, top.digest), tmp := MemoryRegistry().repository("c"))
    assert report.tags == ()
    assert await contents(tmp, top.digest) == expected(top)


async def test_what_is_meant_in_a_local_store_has_to_be_clear(tmp_path: Path) -> None:
    memory = await in_memory(image(), "v1")
    await push_image(memory, image("linux/arm64"), "v2")  # type: ignore[arg-type]  # see above
    with pytest.raises(UsageError, match="v1, v2"):
        await copy(memory, Layout(tmp_path))
    await memory.tags.delete("v1")
    assert (await copy(memory, Layout(tmp_path))).tags == ("v2",)


async def test_a_layout_without_a_tag_has_one_root(tmp_path: Path) -> None:
    top = index()
    memory = await in_memory(top)
    await copy((memory, top.digest), f"oci:{tmp_path}")
    report = await copy(f"oci:{tmp_path}", f"oci:{tmp_path}-2:v1")
    assert (report.digest, report.tags) == (top.digest, ("v1",))


@pytest.mark.parametrize(
    "where", ["oci:", "oci-archive:", "oci:@sha256:" + "0" * 64, "", "a.io/UPPER/case:x", "host.io/a:b:c"]
)
async def test_texts_that_name_no_place_are_refused(where: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidReferenceError):
        await copy(where, f"oci:{tmp_path}")


@pytest.mark.parametrize("where", [7, b"oci:x", ("a", "b"), ()])
async def test_what_is_no_place_is_refused(where: Any, tmp_path: Path) -> None:  # noqa: ANN401 -- anything
    with pytest.raises(UsageError):
        await copy(where, f"oci:{tmp_path}")


async def test_a_name_that_is_no_tag_is_read_and_not_written(tmp_path: Path) -> None:
    top = image()
    await copy((await in_memory(top, "v1"), "v1"), f"oci:{tmp_path / 'a'}:v1")
    listing = tmp_path / "a" / "index.json"
    listing.write_text(listing.read_text().replace('"v1"', '"docker.io/acme/app:v1"'))
    with pytest.raises(InvalidReferenceError):
        await copy(f"oci:{tmp_path / 'a'}", f"oci:{tmp_path / 'b'}:not/a/tag")
    report = await copy(f"oci:{tmp_path / 'a'}:docker.io/acme/app:v1", f"oci:{tmp_path / 'b'}:v2")
    assert report.digest == top.digest


# --- what is sent, and what is not -----------------------------------------------------------------------------------


async def test_blobs_that_another_repository_has_are_mounted(docker_registry: Peer, fresh_name: str) -> None:
    """N9: each blob goes over the network once."""
    shared = layer({"base": noise(5000)})
    source = MemoryRegistry()
    tops = [
        image(f"linux/{name}", layers=[shared, layer({"own": name.encode()})]) for name in ("amd64", "arm64", "arm")
    ]
    events: list[Event] = []
    async with docker_registry.client() as client:
        copier = Copier(hooks=[events.append])
        for at, top in enumerate(tops):
            await push_image(source.repository(f"s/{at}"), top, "v1")  # type: ignore[arg-type]  # see above
            async with (
                open_place((source.repository(f"s/{at}"), "v1"), client=None) as here,
                open_place(f"{docker_registry.host}/{fresh_name}/{at}", client=client, write=True) as there,
            ):
                report = await copier.copy(here, there)
                assert report.blobs_mounted == min(at, 1)
                assert report.blobs_copied == 3 - min(at, 1)
            assert await contents(client.repository(f"{docker_registry.host}/{fresh_name}/{at}"), "v1") == expected(top)
    mounted = [event for event in events if isinstance(event, ContentMounted)]
    assert [event.mounted_from for event in mounted] == [f"{fresh_name}/0"] * 2


async def test_a_copy_within_a_registry_mounts_everything(any_registry: Peer, fresh_name: str) -> None:
    top = index()
    async with any_registry.client() as client:
        here = client.repository(f"{any_registry.host}/{fresh_name}")
        await push_image(here, top, "v1")
        report = await copy((here, "v1"), f"{any_registry.host}/{fresh_name}/other:v2", client=client)
        assert (report.blobs_copied, report.blobs_mounted) == (0, len(top.all_blobs))
        assert await contents(client.repository(f"{any_registry.host}/{fresh_name}/other"), "v2") == expected(top)
        again = await copy((here, "v1"), (here, "v3"), client=client)
        assert (again.blobs_copied, again.blobs_mounted) == (0, 0)
        assert (await here.tags.stat("v3")).digest == top.digest


async def test_what_was_interrupted_is_gone_on_with(docker_registry: Peer, fresh_name: str) -> None:
    top = index()
    memory = await in_memory(top, "v1")
    async with docker_registry.client() as client:
        there = client.repository(f"{docker_registry.host}/{fresh_name}")
        for blob in top.all_blobs[:-1]:
            await there.blobs.push(blob.data)
        report = await copy((memory, "v1"), there)
        assert (report.blobs_copied, report.blobs_skipped) == (1, len(top.all_blobs) - 1)


async def test_a_destination_that_lost_a_blob_is_given_it_with_force(tmp_path: Path) -> None:
    top = image()
    memory = await in_memory(top, "v1")
    await copy((memory, "v1"), f"oci:{tmp_path}")
    lost = tmp_path / "blobs" / "sha256" / top.blobs[1].digest.partition(":")[2]
    lost.unlink()
    assert (await copy((memory, "v1"), f"oci:{tmp_path}")).blobs_copied == 0
    assert (await copy((memory, "v1"), f"oci:{tmp_path}", force=True)).blobs_copied == 1
    assert lost.read_bytes() == top.blobs[1].data


async def test_a_destination_named_by_digest_takes_only_that(tmp_path: Path) -> None:
    memory = await in_memory(top := image(), "v1")
    other = image("linux/arm64")
    with pytest.raises(CopyError) as caught:
        await copy((memory, "v1"), f"oci:{tmp_path}@{other.digest}")
    assert isinstance(caught.value.__cause__, DigestMismatchError)
    assert (await copy((memory, "v1"), f"oci:{tmp_path}@{top.digest}")).tags == ()


async def test_hooks_are_told_of_everything() -> None:
    events: list[Event] = []
    top = index()
    memory = await in_memory(top, "v1")
    there = MemoryRegistry().repository("there")
    await copy((memory, "v1"), there, hooks=[events.append])
    first, *between, last = events
    assert isinstance(first, CopyStarted)
    assert (first.blobs, first.manifests) == (len(top.all_blobs), 3)
    assert isinstance(last, CopyFinished)
    assert last.size == first.size == sum(len(blob.data) for blob in top.all_blobs)
    copied = [event for event in between if isinstance(event, ContentCopied)]
    assert {event.source.partition("@")[2] for event in copied} == set(expected(top))
    events.clear()
    await copy((memory, "v1"), there, hooks=[events.append])
    assert [type(event) for event in events] == [CopyStarted, ContentSkipped, CopyFinished]


# --- platforms -------------------------------------------------------------------------------------------------------


async def test_one_platform_is_the_image_itself(tmp_path: Path) -> None:
    top = index()
    memory = await in_memory(top, "v1")
    report = await copy((memory, "v1"), f"oci:{tmp_path}", platforms=["linux/arm64"])
    assert (report.digest, report.source_digest) == (top.children[1].digest, top.digest)
    assert await contents(Layout(tmp_path), "v1") == expected(top.children[1])


async def test_several_platforms_are_a_smaller_index(tmp_path: Path) -> None:
    top = index(("linux/amd64", "linux/arm64", "linux/s390x"), fields={"annotations": {"a": "ä"}, "org.example": 1})
    memory = await in_memory(top, "v1")
    report = await copy((memory, "v1"), f"oci:{tmp_path}", platforms=["linux/s390x", "linux/amd64"])
    got = json.loads((await Layout(tmp_path).manifests.get("v1")).data)
    whole = json.loads(top.manifest.data)
    assert got == whole | {"manifests": [whole["manifests"][0], whole["manifests"][2]]}
    assert report.digest != report.source_digest == top.digest
    same = await copy((memory, "v1"), f"oci:{tmp_path}", platforms=["linux/s390x", "linux/amd64", "linux/arm64"])
    assert same.digest == top.digest


async def test_a_platform_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    memory = await in_memory(index(), "v1")
    with pytest.raises(CopyError) as caught:
        await copy((memory, "v1"), f"oci:{tmp_path}", platforms=["linux/riscv64"])
    cause = caught.value.__cause__
    assert isinstance(cause, PlatformUnknownError)
    assert cause.available == ("linux/amd64", "linux/arm64")
    single = await in_memory(image("linux/arm64"), "v1")
    with pytest.raises(CopyError, match="linux/arm64"):
        await copy((single, "v1"), f"oci:{tmp_path}", platforms=["linux/amd64"])
    assert (await copy((single, "v1"), f"oci:{tmp_path}", platforms="linux/arm64/v8")).manifests_copied == 1


# --- referrers and digest tags ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2])
async def test_referrers_come_along(
    docker_registry: Peer, embedded_registry: Peer, fresh_name: str, depth: int
) -> None:
    top = index()
    note = artifact(top)
    about_child = artifact(top.children[0], text=b"another")
    about_note = artifact(note, "application/vnd.example.signature")
    hosts = docker_registry.client_kwargs()["hosts"] | embedded_registry.client_kwargs()["hosts"]
    for source, destination in ((docker_registry, embedded_registry), (embedded_registry, docker_registry)):
        async with Client(hosts=hosts, trust_env=False) as client:
            here = client.repository(f"{source.host}/{fresh_name}")
            there = client.repository(f"{destination.host}/{fresh_name}/there")
            for each, tags in ((top, ["v1"]), (note, []), (about_child, []), (about_note, [])):
                await push_image(here, each, *tags)
            report = await copy((here, "v1"), there, referrers=Referrers(depth))
            assert report.referrers_copied == 1 + depth
            assert [found.digest async for found in there.referrers(top.digest)] == [note.digest]
            assert [found.digest async for found in there.referrers(top.children[0].digest)] == [about_child.digest]
            found = [found.digest async for found in there.referrers(note.digest)]
            assert found == ([about_note.digest] if depth == 2 else [])
            again = await copy((here, "v1"), there, referrers=True)
            assert again.referrers_copied == 2 - depth


async def test_only_referrers_of_some_types_come_along(tmp_path: Path) -> None:
    top = image()
    memory = await in_memory(top, "v1")
    for kind in ("application/a", "application/b"):
        await push_image(memory, artifact(top, kind))  # type: ignore[arg-type]  # see above
    report = await copy((memory, "v1"), f"oci:{tmp_path}", referrers=Referrers(artifact_types=("application/b",)))
    assert report.referrers_copied == 1
    found = [found.artifact_type async for found in Layout(tmp_path).referrers(top.digest)]
    assert found == ["application/b"]


async def test_digest_tags_come_along(tmp_path: Path) -> None:
    top = image()
    memory = await in_memory(top, "v1")
    name = top.digest.replace(":", "-")
    signature = image("linux/s390x")
    await push_image(memory, signature, f"{name}.sig", f"{name.replace(name[-4:], 'ffff')}.sig")  # type: ignore[arg-type]  # see above
    report = await copy((memory, "v1"), f"oci:{tmp_path}", digest_tags=True)
    assert report.tags == ("v1", f"{name}.sig")
    assert await contents(Layout(tmp_path), f"{name}.sig") == expected(signature)
    assert sorted([tag async for tag in Layout(tmp_path).tags.list()]) == sorted(["v1", f"{name}.sig"])


# --- layers that are left out ----------------------------------------------------------------------------------------


async def test_foreign_layers_are_left_out_unless_they_are_asked_for(tmp_path: Path) -> None:
    kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    own, foreign = layer({"own": b"x"}), attrs.evolve(layer({"foreign": b"y"}), media_type=kind)
    top = image(fields={"layers": [own.descriptor, foreign.descriptor | {"urls": ["https://files.example/y"]}]})
    top = Image(top.manifest, (top.blobs[0], own, foreign))
    memory = await in_memory(top, "v1")
    events: list[Event] = []
    there = MemoryRegistry().repository("a")
    report = await copy((memory, "v1"), there, hooks=[events.append])
    assert [event.source.partition("@")[2] for event in events if isinstance(event, ContentSkipped)] == [foreign.digest]
    assert (report.foreign_skipped, report.blobs_copied) == (1, 2)
    assert not await there.blobs.exists(foreign.digest)
    assert (await there.manifests.get("v1")).data == top.manifest.data
    assert (await copy((memory, "v1"), f"oci:{tmp_path}", foreign_layers=True)).blobs_copied == 3


async def test_foreign_layers_that_nobody_else_has_are_copied(tmp_path: Path) -> None:
    """Without a URL they are nowhere but at the source, and no registry takes a manifest that names them."""
    kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    top = image(layers=[attrs.evolve(layer({"foreign": b"y"}), media_type=kind)])
    report = await copy((await in_memory(top, "v1"), "v1"), f"oci:{tmp_path}")
    assert (report.foreign_skipped, report.blobs_copied) == (0, 2)
    assert await contents(Layout(tmp_path), "v1") == expected(top)


# --- failures --------------------------------------------------------------------------------------------------------


async def test_errors_name_the_side_and_the_digest(tmp_path: Path) -> None:
    top = image()
    memory = await in_memory(top, "v1")
    with pytest.raises(CopyError) as caught:
        await copy((memory, "v2"), f"oci:{tmp_path}")
    assert (caught.value.side, caught.value.digest) == (Side.SOURCE, None)
    assert isinstance(caught.value.__cause__, TagUnknownError)
    await memory.blobs.delete(top.blobs[1].digest)
    with pytest.raises(CopyError) as caught:
        await copy((memory, "v1"), f"oci:{tmp_path}")
    assert (caught.value.side, caught.value.digest) == (Side.SOURCE, top.blobs[1].digest)
    assert isinstance(caught.value.__cause__, NotFoundError)
    assert "acme/app:v1 -> oci:" in str(caught.value)
    assert not await Layout(tmp_path).manifests.exists("v1")
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(CopyError) as caught:
        await copy((await in_memory(top, "v1"), "v1"), f"oci:{tmp_path / 'file'}")
    assert caught.value.side is Side.DESTINATION


async def test_a_child_that_is_missing_is_an_error_of_the_source(tmp_path: Path) -> None:
    top = index()
    source = MemoryRegistry(check_references=False).repository("a")
    await push_image(source, Image(top.manifest), "v1")  # type: ignore[arg-type]  # see above
    with pytest.raises(CopyError) as caught:
        await copy((source, "v1"), f"oci:{tmp_path}")
    assert isinstance(caught.value.__cause__, ManifestUnknownError)
    assert caught.value.digest in {child.digest for child in top.children}


async def test_limits_are_kept(tmp_path: Path) -> None:
    top = image()
    source = MemoryRegistry().repository("a")
    await push_image(source, top)  # type: ignore[arg-type]  # see above
    for _ in range(40):
        value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [top.manifest.descriptor]}
        top = Image(Content(json.dumps(value).encode(), OCI_INDEX), children=(top,))
        await source.manifests.push(top.manifest.data, media_type=OCI_INDEX)
    await source.tags.set("v1", top.digest)
    with pytest.raises(CopyError) as caught:
        await copy((source, "v1"), f"oci:{tmp_path}")
    assert isinstance(caught.value.__cause__, LimitExceededError)
    assert "32" in str(caught.value)


@pytest.mark.parametrize("wrong", [{"at_once": 0}, {"max_depth": 0}, {"platforms": ["x"]}])
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        CopyOptions(**wrong)
    with pytest.raises(UsageError):
        Referrers(0)
    with pytest.raises(UsageError):
        Referrers(artifact_types="application/x")


async def test_odd_manifests_are_copied_byte_for_byte(tmp_path: Path) -> None:
    """T19: neither blanks nor the order of keys change on the way."""
    top = image()
    data = b"\r\n" + json.dumps(json.loads(top.manifest.data), indent=3, sort_keys=True).encode() + b"\n"
    source = MemoryRegistry().repository("a")
    await push_image(source, top)  # type: ignore[arg-type]  # see above
    await source.manifests.push(data, tags=["v1"])
    report = await copy((source, "v1"), f"oci:{tmp_path}")
    assert report.digest == sha256(data)
    assert (await Layout(tmp_path).manifests.get("v1")).data == data


async def test_sha512_and_empty_and_repeated_blobs_are_copied(
    embedded_registry: Peer, fresh_name: str, tmp_path: Path
) -> None:
    empty, once = b"", b"twice in the manifest"
    wide = Digest.of(b"wide", "sha512")
    source = MemoryRegistry().repository("a")
    for data in (empty, once):
        await source.blobs.push(data)
    await source.blobs.push(b"wide", Descriptor("a/b", wide, 4))
    kind = "application/x"
    parts = [{"mediaType": kind, "digest": sha256(data), "size": len(data)} for data in (once, empty, once)]
    parts.append({"mediaType": kind, "digest": str(wide), "size": 4})
    data = json.dumps({"schemaVersion": 2, "config": parts[0], "layers": parts}).encode()
    await source.manifests.push(data, tags=["v1"], media_type="application/vnd.oci.image.manifest.v1+json")
    async with embedded_registry.client() as client:
        there = client.repository(f"{embedded_registry.host}/{fresh_name}")
        assert (await copy((source, "v1"), there)).blobs_copied == 3
        assert (await copy((there, "v1"), f"oci:{tmp_path}")).blobs_copied == 3
    assert await Layout(tmp_path).blobs.get(wide) == b"wide"
