"""Copies of what is within something of an unusual kind: indexes within indexes, and artifacts of the old kind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ocidist import CopyError, Layout, LimitExceededError, MemoryRegistry, PlatformUnknownError, Referrers, copy
from ocidist.server import Fault
from ocidist.testing import serve
from ocidist.wire.endpoints import PutManifest
from tests.faults.copying import blob, client_for, index_of, listing, put
from tests.peers.images import Content, Image, image, index
from tests.transfer.stores import contents, expected, in_memory

if TYPE_CHECKING:
    from pathlib import Path

OLD = "application/vnd.oci.artifact.manifest.v1+json"

# --- platforms in indexes within indexes -----------------------------------------------------------------------------


def nested() -> tuple[Image, dict[str, Image]]:
    """Return an index with an image and two indexes, one of them in the other, and its images by platform."""
    platforms = ("linux/amd64", "linux/arm64", "linux/s390x", "windows/amd64")
    inner, middle, windows = index(platforms[2:3]), index(platforms[1:2]), index(platforms[3:])
    outer = listing(
        *json.loads(middle.manifest.data)["manifests"],
        inner.manifest.descriptor,
        # Twice is as good as once.
        inner.manifest.descriptor,
        children=(*middle.children, inner),
    )
    amd64 = index(platforms[:1])
    top = listing(
        *json.loads(amd64.manifest.data)["manifests"],
        outer.manifest.descriptor,
        windows.manifest.descriptor,
        children=(*amd64.children, outer, windows),
    )
    children = [each.children[0] for each in (amd64, middle, inner, windows)]
    return top, dict(zip(platforms, children, strict=True))


@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64", "linux/s390x", "windows/amd64"])
async def test_a_platform_is_found_in_an_index_within_an_index(tmp_path: Path, platform: str) -> None:
    top, by_platform = nested()
    report = await copy((await in_memory(top, "v1"), "v1"), f"oci:{tmp_path}", platforms=[platform])
    assert report.digest == by_platform[platform].digest
    assert await contents(Layout(tmp_path), "v1") == expected(by_platform[platform])


async def test_several_platforms_of_indexes_within_indexes_are_one_index(tmp_path: Path) -> None:
    top, by_platform = nested()
    memory = await in_memory(top, "v1")
    await copy((memory, "v1"), f"oci:{tmp_path}", platforms=["linux/s390x", "windows/amd64"])
    found = json.loads((await Layout(tmp_path).manifests.get("v1")).data)["manifests"]
    assert [each["digest"] for each in found] == [by_platform[name].digest for name in ("linux/s390x", "windows/amd64")]
    assert [each["platform"]["os"] for each in found] == ["linux", "windows"]
    # All of them is what is there.
    assert (await copy((memory, "v1"), f"oci:{tmp_path}", platforms=list(by_platform))).digest == top.digest


async def test_indexes_within_indexes_do_not_grow_without_end(tmp_path: Path) -> None:
    top = index()
    for _ in range(24):
        # Each lists the one before it many times: as many ways as two to the power of 96 lead to the images.
        top = listing(*[top.manifest.descriptor] * 16, children=(top,))
    memory = await in_memory(top, "v1")
    report = await copy((memory, "v1"), f"oci:{tmp_path}", platforms=["linux/arm64"])
    assert (report.manifests_copied, report.blobs_copied) == (1, 3)
    with pytest.raises(CopyError) as caught:
        await copy((memory, "v1"), f"oci:{tmp_path}", platforms=["linux/riscv64"])
    assert isinstance(caught.value.__cause__, PlatformUnknownError)
    for _ in range(12):
        top = index_of(top)
    with pytest.raises(CopyError) as caught:
        await copy((await in_memory(top, "v1"), "v1"), f"oci:{tmp_path}", platforms=["linux/arm64"])
    assert isinstance(caught.value.__cause__, LimitExceededError)


# --- artifact manifests that were withdrawn --------------------------------------------------------------------------


def old_artifact(subject: Image, *blobs: Content) -> Image:
    """Return an artifact of the old kind that refers to an image."""
    value: dict[str, object] = {"mediaType": OLD, "artifactType": "a/b", "subject": subject.manifest.descriptor}
    if blobs:
        value["blobs"] = [each.descriptor for each in blobs]
    return Image(Content(json.dumps(value).encode(), OLD), blobs)


@pytest.mark.parametrize("parts", [0, 2])
async def test_a_referrer_of_the_withdrawn_kind_is_copied_with_its_blobs(parts: int) -> None:
    app = image()
    old = old_artifact(app, *(blob(f"part {number}") for number in range(parts)))
    async with serve(MemoryRegistry()) as source, serve(MemoryRegistry()) as destination:
        source.call(put, source.store.repository("acme/app"), app, "v1")
        source.call(put, source.store.repository("acme/app"), old)
        async with client_for(source, destination) as client:
            name = f"{destination.host}/acme/app"
            report = await copy(f"{source.host}/acme/app:v1", name, client=client, referrers=True)
            there = client.repository(name)
            assert (report.referrers_copied, report.blobs_copied) == (1, len(app.blobs) + parts)
            assert [each.digest async for each in there.referrers(app.digest)] == [old.digest]
            assert await contents(there, old.digest) == expected(old)


async def test_where_a_withdrawn_kind_is_refused_it_is_said_how_to_leave_it_out() -> None:
    app = image()
    old = old_artifact(app, blob("part"))
    memory = await in_memory(app, "v1")
    await put(memory, old)
    async with serve() as destination, client_for(destination) as client:
        name = f"{destination.host}/acme/app"
        destination.faults.add(Fault(on=PutManifest, reference=old.digest, status=400))
        with pytest.raises(CopyError, match="artifact_types"):
            await copy((memory, "v1"), name, client=client, referrers=True)
        await copy((memory, "v1"), name, client=client, referrers=Referrers(artifact_types=["a/c"]))
        assert await contents(client.repository(name), "v1") == expected(app)
