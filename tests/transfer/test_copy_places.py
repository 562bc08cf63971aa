"""Places that callers name: texts of all kinds, archives that are there already, stores that others wrote."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from ocidist import (
    Archive,
    Client,
    Copier,
    CopyError,
    InvalidReferenceError,
    Layout,
    LayoutRegistry,
    MemoryRegistry,
    Reference,
    Side,
    TagUnknownError,
    UsageError,
    copy,
    open_place,
)
from ocidist.transfer.options import CopyOptions
from tests.peers.images import image, index
from tests.transfer.stores import contents, expected, in_memory

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist.storage.protocols import Repository

pytestmark = pytest.mark.anyio
DIGEST = "sha256:" + "0" * 64


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


# --- texts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("docker.io/library/alpine:3", "docker.io/library/alpine:3"),
        ("docker://alpine", "docker.io/library/alpine:latest"),
        ("http://[::1]:5000/a/b:c", "[::1]:5000/a/b:c"),
        ("http://registry/a/b:c", "REGISTRY/a/b:c"),
        (f"docker://h.io/a@{DIGEST}", f"h.io/a@{DIGEST}"),
        ("oci:/tmp/a b:v1", "oci:/tmp/a b:v1"),
        ("oci:/tmp/ü:v1", "oci:/tmp/ü:v1"),
    ],
)
async def test_texts_that_people_use_name_a_place(text: str, found: str) -> None:
    async with Client(trust_env=False) as client, open_place(text, client=client) as place:
        assert place.text == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/srv/app", "oci:/srv/app"),
        ("./app", r"oci:\./app"),
        ("docker-archive:app.tar", "oci-archive:FILE"),
        ("containers-storage:app", "HOST/REPOSITORY"),
        ("dir:/srv/app", "oci:DIR"),
    ],
)
async def test_paths_and_other_tools_places_are_not_taken_for_repositories(text: str, told: str) -> None:
    async with Client(trust_env=False) as client:
        with pytest.raises(InvalidReferenceError, match=told):
            await copy(text, "oci:x", client=client)


async def test_a_password_in_a_place_is_not_shown() -> None:
    with pytest.raises(UsageError) as caught:
        async with open_place("http://alice:hunter2@127.0.0.1:1/x", client=None):
            pass
    assert "hunter2" not in str(caught.value)


async def test_a_destination_with_tag_and_digest_is_refused(tmp_path: Path) -> None:
    """It would have got no tag, and nobody would have said so."""
    top = image()
    async with Client(trust_env=False) as client:
        for where in (f"127.0.0.1:1/x:v1@{top.digest}", Reference.parse(f"127.0.0.1:1/x:v1@{top.digest}")):
            with pytest.raises(UsageError, match="not both"):
                await copy((await in_memory(top, "v1"), "v1"), where, client=client)


# --- archives --------------------------------------------------------------------------------------------------------


async def test_an_archive_that_is_there_survives_a_copy_that_fails(tmp_path: Path) -> None:
    top = image()
    memory = await in_memory(top, "v1")
    await copy((memory, "v1"), f"oci-archive:{tmp_path / 'a.tar'}")
    before = (tmp_path / "a.tar").read_bytes()
    await memory.blobs.delete(top.blobs[1].digest)
    with pytest.raises(CopyError):
        await copy((memory, "v1"), f"oci-archive:{tmp_path / 'a.tar'}")
    assert (tmp_path / "a.tar").read_bytes() == before
    assert names_in(tmp_path) == ["a.tar"]


async def test_an_archive_is_source_and_destination(tmp_path: Path) -> None:
    top = index(docker=False)
    where = f"oci-archive:{tmp_path / 'a.tar'}"
    await copy((await in_memory(top, "v1"), "v1"), where)
    report = await copy(where, f"{where}:v2")
    assert (report.blobs_copied, report.blobs_skipped) == (len(top.all_blobs), 0)
    async with Archive(tmp_path / "a.tar") as archive:
        assert [tag async for tag in archive.tags.list()] == ["v2"]


async def test_a_name_that_is_no_tag_is_not_written_to_an_archive(tmp_path: Path) -> None:
    memory = await in_memory(image(), "v1")
    with pytest.raises(InvalidReferenceError, match="not a tag"):
        await copy((memory, "v1"), f"oci-archive:{tmp_path / 'a.tar'}:not/a/tag")
    assert names_in(tmp_path) == []


# --- stores that others wrote ----------------------------------------------------------------------------------------


class Plain:
    """A store that does what the protocols ask for, and nothing else; there are no weak references to it."""

    __slots__ = ("_store", "blobs", "manifests", "tags")

    def __init__(self, store: Repository) -> None:
        self._store = store
        self.blobs, self.manifests, self.tags = store.blobs, store.manifests, store.tags

    @property
    def name(self) -> Any:  # noqa: ANN401 -- as the store has it
        """As the store has it."""
        return self._store.name

    def referrers(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 -- as the store has it
        """As the store has them."""
        return self._store.referrers(*args, **options)


class Equal(Plain):
    """A store that takes all of one name for the same; it cannot be hashed."""

    __slots__ = ("__weakref__",)

    __hash__ = None  # type: ignore[assignment]  # as classes have it that define equality

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal) and self.name == other.name


@pytest.mark.parametrize("kind", [Plain, Equal])
async def test_a_users_own_store_is_source_and_destination(kind: type[Plain]) -> None:
    top = index()
    there = MemoryRegistry(check_references=False).repository("acme/app")
    report = await copy((kind(await in_memory(top, "v1")), "v1"), kind(there), referrers=True, digest_tags=True)
    assert report.blobs_copied == len(top.all_blobs)
    assert [await there.blobs.exists(blob.digest) for blob in top.all_blobs] == [True] * len(top.all_blobs)


@pytest.mark.parametrize("wrong", ["path", "registry"])
async def test_what_is_no_repository_is_told_what_would_be(wrong: str, tmp_path: Path) -> None:
    where: Any = tmp_path if wrong == "path" else LayoutRegistry(tmp_path)
    with pytest.raises(UsageError, match=r"Layout\(path\)" if wrong == "path" else r"repository\(name\)"):
        await copy(where, f"oci:{tmp_path}")


async def test_repositories_of_one_local_registry_mount_from_each_other(tmp_path: Path) -> None:
    top = index()
    for registry in (MemoryRegistry(), LayoutRegistry(tmp_path)):
        await copy((await in_memory(top, "v1"), "v1"), registry.repository("a/b"))
        report = await copy((registry.repository("a/b"), "v1"), registry.repository("c/d"))
        assert (report.blobs_copied, report.blobs_mounted) == (0, len(top.all_blobs))
        assert await contents(registry.repository("c/d"), "v1") == expected(top)
        again = await copy((registry.repository("a/b"), "v1"), (registry.repository("a/b"), "v2"))
        assert (again.manifests_copied, again.tags_set) == (0, 1)
    other = MemoryRegistry().repository("a/b")
    assert (await copy((registry.repository("a/b"), "v1"), other)).blobs_copied == len(top.all_blobs)


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"at_once": "8"},
        {"at_once": True},
        {"at_once": 2.5},
        {"platforms": [3]},
        {"platforms": 3},
        {"referrers": "yes"},
        {"digest_tags": "no"},
        {"hooks": print},
        {"hooks": None},
    ],
)
async def test_options_of_another_type_are_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        await copy((await in_memory(image(), "v1"), "v1"), f"oci:{tmp_path / 'x'}", **wrong)
    assert not (tmp_path / "x").exists()


async def test_no_platforms_are_all() -> None:
    assert CopyOptions(platforms=None) == CopyOptions()


async def test_errors_and_reports_can_be_pickled(tmp_path: Path) -> None:
    memory = await in_memory(image(), "v1")
    with pytest.raises(CopyError) as caught:
        await copy((memory, "nope"), f"oci:{tmp_path}")
    found = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 -- our own
    assert (found.side, str(found)) == (Side.SOURCE, str(caught.value))
    assert isinstance(caught.value.__cause__, TagUnknownError)
    report = await copy((memory, "v1"), f"oci:{tmp_path}")
    assert pickle.loads(pickle.dumps(report)) == report  # noqa: S301 -- our own


async def test_a_retag_in_one_repository_asks_for_nothing_twice(tmp_path: Path) -> None:
    top = index()
    layout = Layout(tmp_path)
    await copy((await in_memory(top, "v1"), "v1"), layout)
    report = await copy((layout, "v1"), (layout, "v2"))
    assert (report.manifests_copied, report.manifests_skipped, report.tags_set) == (0, 1, 1)
    some = await copy((layout, "v1"), (layout, "v3"), platforms=["linux/amd64"])
    assert (some.manifests_copied, some.digest) == (0, top.children[0].digest)
    wide = index(("linux/amd64", "linux/arm64", "linux/arm"))
    await copy((await in_memory(wide, "v4"), "v4"), layout)
    some = await copy((layout, "v4"), (layout, "v5"), platforms=["linux/amd64", "linux/arm"])
    assert (some.manifests_copied, some.manifests_skipped) == (1, 2)
    assert (await layout.manifests.get("v5")).digest == some.digest != wide.digest


async def test_a_manifest_as_a_layer_is_not_taken_for_the_manifest(tmp_path: Path) -> None:
    """What is there as a blob does not have what it leads to there."""
    top = image()
    source = await in_memory(top, "v1")
    await source.blobs.push(top.manifest.data)
    layer = top.manifest.descriptor | {"mediaType": "a/b"}
    artifact = {"schemaVersion": 2, "artifactType": "a/b", "config": top.blobs[0].descriptor, "layers": [layer]}
    data = json.dumps(artifact).encode()
    await source.manifests.push(data, tags=["artifact"], media_type="application/vnd.oci.image.manifest.v1+json")
    there = MemoryRegistry(check_references=False).repository("b")
    copier = Copier()
    for tag in ("artifact", "v1"):
        async with (
            open_place((source, tag), client=None) as here,
            open_place((there, tag), client=None, write=True) as to,
        ):
            await copier.copy(here, to)
    assert [await there.blobs.exists(blob.digest) for blob in top.all_blobs] == [True] * 3
