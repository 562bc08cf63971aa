"""Layouts that somebody else made, who may mean harm, or whose disk is damaged."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import (
    Descriptor,
    Digest,
    DigestMismatchError,
    FsckProblemKind,
    Layout,
    LayoutRegistry,
    Mounted,
    SizeMismatchError,
    StorageError,
    TagUnknownError,
)
from ocidist.storage import layout_disk
from tests.peers import images
from tests.storage.stores import push

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMAGE = images.image()
BLOB = IMAGE.blobs[1]
EVIL = (
    "sha256:../../../secret",
    "sha256:" + "0" * 63 + "\n",
    "sha256:" + "A" * 64,
    "sha256:%2e%2e",
    "../../secret:0",
    "sha256:",
    "",
    7,
    None,
)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A layout with one image, made by other means."""
    images.write_layout(IMAGE, tmp_path / "layout", "v1")
    return Layout(tmp_path / "layout")


def _blob(layout: Layout, digest: str = BLOB.digest) -> Path:
    return layout.path / "blobs" / "sha256" / digest.partition(":")[2]


def _index(layout: Layout, change: Callable[[dict[str, list[dict[str, object]]]], object]) -> None:
    value = json.loads((layout.path / "index.json").read_bytes())
    change(value)
    (layout.path / "index.json").write_text(json.dumps(value))


@pytest.mark.parametrize("digest", EVIL)
async def test_t48_a_digest_in_the_index_that_is_none_is_refused(layout: Layout, digest: object) -> None:
    await anyio.to_thread.run_sync(_index, layout, lambda value: value["manifests"][0].update(digest=digest))
    for act in (layout.tags.list().collect, lambda: layout.manifests.get("v1"), lambda: layout.tags.set("v2", "v1")):
        with pytest.raises(StorageError, match="entry 0"):
            await act()
    report = await layout.fsck()
    assert [problem.kind for problem in report.problems] == [FsckProblemKind.INDEX]


def _special(kind: str, path: Path) -> None:
    target = path.with_name("aside")
    path.rename(target)
    if kind == "link":
        path.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        try:
            os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero, which never ends
        except PermissionError:
            pytest.skip("only root makes devices")


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "device"])
async def test_f188_a_blob_that_is_no_file_is_refused_without_waiting(layout: Layout, kind: str) -> None:
    await anyio.to_thread.run_sync(_special, kind, _blob(layout))
    with anyio.fail_after(5):
        for act in (layout.blobs.get, layout.blobs.stat, layout.blobs.exists):
            with pytest.raises(StorageError):
                await act(BLOB.digest)
        report = await layout.fsck()
    kinds = {problem.kind for problem in report.problems}
    assert {FsckProblemKind.KIND, FsckProblemKind.NAME} <= kinds
    # What is pushed takes its place, where that can be.
    if kind != "directory":
        with anyio.fail_after(5):
            async with layout.blobs.writer() as writer:
                await writer.write(BLOB.data)
                await writer.commit(Digest(BLOB.digest))
        assert await layout.blobs.get(BLOB.digest) == BLOB.data


async def test_f188_a_manifest_that_is_missing_is_told_and_can_be_pushed_again(layout: Layout) -> None:
    await anyio.to_thread.run_sync(_blob(layout, IMAGE.digest).unlink)
    for act in (lambda: layout.manifests.get("v1"), lambda: layout.tags.stat("v1")):
        with pytest.raises(StorageError, match="not there") as caught:
            await act()
        assert caught.value.errno == errno.ENOENT
    assert not await layout.manifests.exists("v1")
    report = await layout.fsck()
    assert [(each.kind, each.where) for each in report.problems] == [(FsckProblemKind.MISSING, IMAGE.digest)]
    await layout.manifests.push(IMAGE.manifest.data)
    assert (await layout.manifests.get("v1")).data == IMAGE.manifest.data
    assert (await layout.fsck()).clean


@pytest.mark.parametrize("where", ["blobs", "blobs/sha256", "index.json", "oci-layout", ".ocidist"])
async def test_t48_a_link_in_place_of_a_part_of_the_layout_is_refused(layout: Layout, where: str) -> None:
    if where == ".ocidist":
        await layout.tags.set("v2", "v1")
    await anyio.to_thread.run_sync(_special, "link", layout.path / where)
    other = Layout(layout.path)
    with pytest.raises(StorageError, match=f"{where.rpartition('/')[2]} is a symbolic link, and none is followed"):
        await push(other, images.image("linux/arm64"), "v3")


async def test_t48_a_repository_is_not_looked_for_behind_links(layout: Layout, tmp_path: Path) -> None:
    registry = LayoutRegistry(tmp_path / "registry")
    await push(registry.repository("a"), IMAGE, "v1")
    await anyio.to_thread.run_sync((tmp_path / "registry" / "b").symlink_to, layout.path)
    assert await registry.repositories().collect() == ["a"]
    with pytest.raises(TagUnknownError):
        await registry.repository("b").manifests.get("v1")
    with pytest.raises(StorageError):
        await registry.repository("b").blobs.push(b"x")


@pytest.mark.parametrize("name", ["oci-layout", "index.json"])
async def test_f189_files_that_are_too_large_are_not_read(layout: Layout, name: str) -> None:
    await anyio.to_thread.run_sync(os.truncate, layout.path / name, 2**30)
    with anyio.fail_after(2), pytest.raises(StorageError) as caught:
        await layout.tags.list().collect()
    assert caught.value.errno == errno.EFBIG


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("index.json", None),
        ("index.json", "{"),
        ("index.json", "[]"),
        ("index.json", '{"schemaVersion": 2, "manifests": [7]}'),
        ("index.json", '{"schemaVersion": 2, "manifests": {}}'),
        ("index.json", '{"schemaVersion": 1, "manifests": []}'),
        ("index.json", '{"schemaVersion": 2, "manifests": [], "manifests": []}'),
        ("oci-layout", "{}"),
        ("oci-layout", "no JSON"),
        ("oci-layout", '{"imageLayoutVersion": "2.0.0"}'),
    ],
)
async def test_f189_a_layout_that_is_damaged_is_refused_and_left_alone(
    layout: Layout, name: str, text: str | None
) -> None:
    path = layout.path / name
    await anyio.to_thread.run_sync(path.unlink if text is None else lambda: path.write_text(text))
    with pytest.raises(StorageError):
        await layout.tags.list().collect()
    with pytest.raises(StorageError):
        await layout.manifests.push(IMAGE.manifest.data, tags=["v2"])
    assert not (await layout.fsck()).clean
    left = await anyio.to_thread.run_sync(lambda: path.read_text() if path.exists() else None)
    assert left == text


async def test_f189_of_two_entries_with_one_name_the_first_counts_until_it_is_set(layout: Layout) -> None:
    other = images.image("linux/arm64")
    for blob in (*other.all_blobs, other.manifest):
        await layout.blobs.push(blob.data)
    twice = other.manifest.descriptor | {"annotations": {"org.opencontainers.image.ref.name": "v1", "kept": "yes"}}
    await anyio.to_thread.run_sync(_index, layout, lambda value: value["manifests"].append(twice))
    assert (await layout.tags.stat("v1")).digest == IMAGE.digest
    report = await layout.fsck()
    assert [(each.kind, each.where) for each in report.problems] == [(FsckProblemKind.AMBIGUOUS, "v1")]
    await layout.tags.set("v1", other.digest)
    assert (await layout.fsck()).clean
    assert (await layout.tags.stat("v1")).digest == other.digest
    assert await layout.manifests.exists(IMAGE.digest)


async def test_f187_a_blob_that_was_altered_on_the_disk_is_not_handed_out(layout: Layout) -> None:
    data = bytearray(BLOB.data)
    data[len(data) // 2] ^= 1
    await anyio.to_thread.run_sync(_blob(layout).write_bytes, bytes(data))
    with pytest.raises(DigestMismatchError):
        await layout.blobs.get(BLOB.digest)
    async with layout.blobs.open(BLOB.digest) as reader:
        assert await reader.read(50) == data[:50]
        with pytest.raises(DigestMismatchError):
            await anext(reader.__aiter__())
    await anyio.to_thread.run_sync(_blob(layout).write_bytes, bytes(data[:-1]))
    with pytest.raises((DigestMismatchError, SizeMismatchError)):
        await layout.blobs.get(Descriptor("application/x", Digest(BLOB.digest), len(data)))
    report = await layout.fsck()
    assert [(each.kind, each.where) for each in report.problems] == [(FsckProblemKind.CONTENT, BLOB.digest)]
    # To push it once more heals it.
    async with layout.blobs.writer() as writer:
        await writer.write(BLOB.data)
        await writer.commit()
    assert (await layout.fsck()).clean


async def test_f187_a_manifest_that_was_altered_on_the_disk_is_not_handed_out(layout: Layout) -> None:
    await anyio.to_thread.run_sync(_blob(layout, IMAGE.digest).write_bytes, IMAGE.manifest.data + b" ")
    for reference in ("v1", IMAGE.digest):
        with pytest.raises(DigestMismatchError):
            await layout.manifests.get(reference)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS])
async def test_f191_what_cannot_be_linked_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(layout_disk, "link", refused)
    registry = LayoutRegistry(tmp_path)
    await push(registry.repository("a"), IMAGE, "v1")
    other = registry.repository("b")
    assert isinstance(await other.blobs.mount(BLOB.digest, source="a"), Mounted)
    assert await other.blobs.get(BLOB.digest) == BLOB.data
    one, two = (_blob(registry.repository(name)) for name in ("a", "b"))
    assert not await anyio.to_thread.run_sync(one.samefile, two)
    # What is copied is looked at: damage does not spread.
    await anyio.to_thread.run_sync(_blob(registry.repository("a"), IMAGE.blobs[0].digest).write_bytes, b"altered")
    with pytest.raises(DigestMismatchError):
        await other.blobs.mount(IMAGE.blobs[0].digest, source="a")
    assert not await other.blobs.exists(IMAGE.blobs[0].digest)


async def test_f191_what_can_be_linked_is_one_file(tmp_path: Path) -> None:
    registry = LayoutRegistry(tmp_path)
    await push(registry.repository("a"), IMAGE, "v1")
    await registry.repository("b").blobs.mount(BLOB.digest, source=None)
    one, two = (_blob(registry.repository(name)) for name in ("a", "b"))
    assert await anyio.to_thread.run_sync(one.samefile, two)


async def test_f191_names_do_not_differ_in_case_alone(tmp_path: Path) -> None:
    registry = LayoutRegistry(tmp_path)
    layout = registry.repository("a")
    await push(layout, IMAGE, "Tag", "tag")
    await layout.tags.delete("tag")
    assert await layout.tags.list().collect() == ["Tag"]
    files = await anyio.to_thread.run_sync(lambda: [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")])
    assert len(files) > 8
    assert all(name == name.lower() for name in files)


async def test_other_tools_names_fields_and_annotations_stay(layout: Layout) -> None:
    def change(value: dict[str, list[dict[str, object]]]) -> None:
        value["org.example"] = [{"any": "thing"}]
        entry = value["manifests"][0]
        entry["platform"] = {"os": "linux", "architecture": "amd64"}
        entry["annotations"] = {"org.opencontainers.image.ref.name": "docker.io/library/app:v1", "kept": "yes"}
        entry["org.example.field"] = 1.5

    await anyio.to_thread.run_sync(_index, layout, change)
    assert await layout.tags.list().collect() == ["v1"]
    assert (await layout.resolve("docker.io/library/app:v1")).digest == IMAGE.digest
    with pytest.raises(TagUnknownError):
        await layout.resolve("v1")
    await push(layout, images.image("linux/arm64"), "v1")
    assert (await layout.tags.stat("v1")).digest != IMAGE.digest
    value = json.loads(await anyio.Path(layout.path / "index.json").read_bytes())
    assert value["org.example"] == [{"any": "thing"}]
    first = value["manifests"][0]
    assert first["annotations"] == {"org.opencontainers.image.ref.name": "docker.io/library/app:v1", "kept": "yes"}
    assert (first["org.example.field"], first["platform"]["os"]) == (1.5, "linux")
    await layout.tags.delete("v1")
    value = json.loads(await anyio.Path(layout.path / "index.json").read_bytes())
    assert [each.get("annotations") for each in value["manifests"]] == [{"kept": "yes"}, None]
