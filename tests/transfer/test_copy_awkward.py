"""Destinations that lie, forget, or do not want to say; and sources that want to be expensive."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest

from ocidist import (
    ContentSkipped,
    Copier,
    CopyError,
    Digest,
    ImageIndex,
    LimitExceededError,
    Manifest,
    MemoryRegistry,
    Place,
    Platform,
    copy,
    open_place,
)
from ocidist.server.faults import FOREVER, Fault
from ocidist.testing import serve
from ocidist.transfer.options import CopyOptions, Referrers
from ocidist.transfer.platforms import entries_for, reduced
from ocidist.wire.endpoints import MountBlob, PutManifest, StatBlob, StatManifest
from tests.peers.images import OCI_INDEX, artifact, image, index, layer, noise
from tests.remote.support import push_image
from tests.transfer.stores import contents, expected, in_memory

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist import Client, CopyReport, Event
    from ocidist.testing import LoopbackRegistry
    from tests.peers.images import Image
    from tests.peers.peer import Peer

pytestmark = pytest.mark.anyio

LIE = Fault(on=MountBlob, times=FOREVER, status=201, headers=(("Location", "/v2/x/blobs/y"),))


def blobs_of(report: CopyReport) -> int:
    return report.blobs_copied + report.blobs_mounted + report.blobs_skipped


def family(number: int) -> list[Image]:
    """Return images that share two layers, and have one of their own each."""
    shared = [layer({"shared": noise(500, str(at))}) for at in range(2)]
    return [image(f"linux/a{at}", layers=[*shared, layer({"own": str(at).encode()})]) for at in range(number)]


async def copied(copier: Copier, top: Image, registry: LoopbackRegistry, client: Client, name: str) -> CopyReport:
    async with (
        open_place((await in_memory(top, "v1"), "v1"), client=None) as source,
        open_place(f"{registry.host}/{name}", client=client, write=True) as destination,
    ):
        return await copier.copy(source, destination)


# --- registries that lie ---------------------------------------------------------------------------------------------


async def test_of_several_tags_of_one_image_the_first_copies_it() -> None:
    """Also where nobody planned it: the others find it there, and only set their tag."""
    tags = ("v1", "v2", "v3", "latest")
    memory = await in_memory(image(), *tags)
    copier = Copier()
    reports: list[CopyReport] = []
    async with serve() as registry, registry.client() as client:

        async def one(tag: str) -> None:
            async with (
                open_place((memory, tag), client=None) as source,
                open_place(f"{registry.host}/x:{tag}", client=client, write=True) as destination,
            ):
                reports.append(await copier.copy(source, destination))

        async with anyio.create_task_group() as group:
            for tag in tags:
                group.start_soon(one, tag)
        assert sorted(tag for report in reports for tag in report.tags) == sorted(tags)
        assert sum(report.manifests_copied for report in reports) == 1


@pytest.mark.in_turn
@pytest.mark.parametrize("check", [True, False])
async def test_a_registry_that_says_it_mounts_everything_gets_everything(check: bool) -> None:
    """Whether or not it looks at what a manifest names: nobody would ever notice there what is missing."""
    async with serve(MemoryRegistry(check_references=check), faults=[LIE]) as registry, registry.client() as client:
        copier = Copier()
        for at, top in enumerate(family(3)):
            report = await copied(copier, top, registry, client, f"x/{at}")
            assert (report.blobs_copied, blobs_of(report)) == (4, 4)
            assert await contents(client.repository(f"{registry.host}/x/{at}"), "v1") == expected(top)


@pytest.mark.in_turn
async def test_a_copy_within_a_registry_that_lies_about_mounts_is_complete() -> None:
    async with serve(MemoryRegistry(check_references=False), faults=[LIE]) as registry, registry.client() as client:
        top = index()
        here, there = (client.repository(f"{registry.host}/x/{name}") for name in "ab")
        await push_image(here, top, "v1")
        report = await copy((here, "v1"), there)
        assert (report.blobs_copied, report.blobs_mounted) == (len(top.all_blobs), 0)
        assert await contents(there, "v1") == expected(top)


async def test_a_registry_that_says_it_has_everything_is_sent_each_blob_once() -> None:
    there_already = Fault(on=StatBlob, times=FOREVER, status=200, body=b"")
    async with serve(faults=[there_already, LIE]) as registry, registry.client() as client:
        # Two images that share a layer are refused at the same time.
        top = index()
        report = await copied(Copier(), top, registry, client, "x")
        assert (report.blobs_copied, blobs_of(report)) == (len(top.all_blobs), len(top.all_blobs))
        assert report.bytes_copied == sum(len(blob.data) for blob in top.all_blobs)
        assert await contents(client.repository(f"{registry.host}/x"), "v1") == expected(top)
        puts = [each for each in registry.requests if each.method == "PUT" and "/blobs/" in each.path]
        assert len(puts) == len(top.all_blobs)


async def test_mounts_of_an_honest_registry_cost_one_question_in_all() -> None:
    async with serve() as registry, registry.client() as client:
        top = index()
        here = client.repository(f"{registry.host}/x/a")
        await push_image(here, top, "v1")
        registry.requests.clear()
        report = await copy((here, "v1"), f"{registry.host}/x/b", client=client)
        assert report.blobs_mounted == len(top.all_blobs)
        heads = [each for each in registry.requests if each.method == "HEAD" and "/blobs/" in each.path]
        assert len(heads) == len(top.all_blobs) + 1


async def test_a_second_repository_of_the_same_images_costs_one_question_in_all() -> None:
    async with serve() as registry, registry.client() as client:
        top, copier = index(), Copier()
        await copied(copier, top, registry, client, "a")
        registry.requests.clear()
        assert (await copied(copier, top, registry, client, "b")).blobs_mounted == len(top.all_blobs)
        # Each blob, three manifests, the tag and two children that are looked for; and one blob that was mounted.
        assert len(registry.requests) <= len(top.all_blobs) + 3 + 3 + 1


# --- registries that do not want to say ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [405, 403, 501])
async def test_a_destination_where_nothing_can_be_asked_is_sent_everything(status: int) -> None:
    refused = Fault(on=(StatBlob, StatManifest), times=FOREVER, status=status)
    async with serve(faults=[refused]) as registry, registry.client() as client:
        top = index()
        report = await copied(Copier(), top, registry, client, "x")
        assert report.blobs_copied == len(top.all_blobs)
        assert await contents(client.repository(f"{registry.host}/x"), "v1") == expected(top)


async def test_tags_that_are_right_are_not_set_again() -> None:
    """Registries with immutable tags refuse that."""
    top = image()
    signature = image("linux/s390x")
    memory = await in_memory(top, "v1")
    await push_image(memory, signature, f"{top.digest.replace(':', '-')}.sig")  # type: ignore[arg-type]  # a store too
    async with serve() as registry, registry.client() as client:
        where = f"{registry.host}/x"
        assert (await copy((memory, "v1"), where, client=client, digest_tags=True)).tags_set == 2
        registry.faults.add(Fault(on=PutManifest, times=FOREVER, status=409))
        for copier in (Copier(), Copier()):
            async with (
                open_place((memory, "v1"), client=None) as source,
                open_place(where, client=client, write=True) as destination,
            ):
                for _ in range(2):
                    report = await copier.copy(source, destination, CopyOptions(digest_tags=True))
                    assert (report.tags_set, len(report.tags)) == (0, 2)


async def test_a_manifest_with_a_sha512_digest_keeps_it_and_is_not_copied_twice(
    docker_registry: Peer, embedded_registry: Peer, fresh_name: str
) -> None:
    """A registry that is given it for a tag computes the sha256 digest, and knows it by no other; some never do."""
    top = image()
    memory = await in_memory(top)
    digest = Digest.of(top.manifest.data, "sha512")
    await memory.manifests.push(Manifest.of(top.manifest.data, expected=digest))
    for registry in (docker_registry, embedded_registry):
        async with registry.client() as client:
            there = client.repository(f"{registry.host}/{fresh_name}")
            assert (await copy((memory, digest), (there, "v1"))).digest == digest
            assert (await there.manifests.get("v1")).data == top.manifest.data
            assert await there.manifests.exists(digest) is not registry.is_distribution
            again = await copy((memory, digest), (there, "v1"))
            assert (again.manifests_copied, again.tags_set, again.manifests_skipped) == (0, 0, 1)


async def test_a_destination_with_another_digest_says_so() -> None:
    there = MemoryRegistry().repository("b")
    with pytest.raises(CopyError, match="names another digest than the source has") as caught:
        await copy((await in_memory(image(), "v1"), "v1"), (there, image("linux/arm").digest))
    assert "altered" not in str(caught.value)


# --- registries that forget ------------------------------------------------------------------------------------------


async def test_one_copier_goes_on_after_the_destination_lost_everything() -> None:
    top = index()
    async with serve() as registry, registry.client() as client:
        copier = Copier()
        there = client.repository(f"{registry.host}/x")
        for _ in range(2):
            report = await copied(copier, top, registry, client, "x")
            assert await contents(there, "v1") == expected(top)
            for each in top.walk():
                await there.manifests.delete(each.digest)
            for blob in top.all_blobs:
                await there.blobs.delete(blob.digest)
    assert report.manifests_copied == 2  # the index is sent for its tag alone
    assert report.blobs_copied == len(top.all_blobs)


async def test_force_looks_at_what_the_copier_sent_itself(tmp_path: Path) -> None:
    top = image()
    async with (
        open_place((await in_memory(top, "v1"), "v1"), client=None) as source,
        open_place(f"oci:{tmp_path}", client=None, write=True) as destination,
    ):
        copier = Copier(options=CopyOptions(force=True))
        await copier.copy(source, destination)
        (tmp_path / "blobs" / "sha256" / top.blobs[1].digest.partition(":")[2]).unlink()
        report = await copier.copy(source, destination)
        assert (report.blobs_copied, report.blobs_skipped) == (1, 2)


async def test_each_blob_has_an_event_and_a_count_whatever_is_known(tmp_path: Path) -> None:
    events: list[Event] = []
    copier = Copier(hooks=[events.append])
    for top in family(2):
        async with (
            open_place((await in_memory(top, "v1"), "v1"), client=None) as source,
            open_place(f"oci:{tmp_path}", client=None, write=True) as destination,
        ):
            assert blobs_of(await copier.copy(source, destination)) == 4
    skipped = [event for event in events if isinstance(event, ContentSkipped)]
    assert len(skipped) == 2


# --- sources that want to be expensive -------------------------------------------------------------------------------


@attrs.frozen
class _Counted:
    """A store that counts what is read from it."""

    inner: Any
    reads: list[str]

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- as the store has it
        return getattr(self.inner, name)

    @property
    def manifests(self) -> Any:  # noqa: ANN401 -- it plays both parts
        """Itself."""
        return self

    async def get(self, reference: str, **options: Any) -> Any:  # noqa: ANN401 -- as the store has it
        """Read a manifest, and count it."""
        self.reads.append(reference)
        return await self.inner.manifests.get(reference, **options)


@pytest.mark.parametrize("how", ["parts", "referrers"])
@pytest.mark.parametrize("limit", [{"max_manifests": 8}, {"max_manifest_bytes": 4000}])
async def test_t33_limits_are_kept_while_a_level_is_read(how: str, limit: dict[str, Any], tmp_path: Path) -> None:
    """Not after all of it is in memory."""
    top = index([f"linux/a{at}" for at in range(40)]) if how == "parts" else image()
    memory = await in_memory(top, "v1")
    for at in range(40 if how == "referrers" else 0):
        await push_image(memory, artifact(top, text=str(at).encode()))  # type: ignore[arg-type]  # a store too
    counted = _Counted(memory, [])
    async with open_place(f"oci:{tmp_path}", client=None, write=True) as there:
        place: Any = Place(counted, "v1", "memory", "memory")  # type: ignore[arg-type]  # a store, and a tag
        with pytest.raises(CopyError) as caught:
            await Copier().copy(place, there, CopyOptions(referrers=Referrers(), **limit))
    assert isinstance(caught.value.__cause__, LimitExceededError)
    assert len(counted.reads) < 25


async def test_many_copies_of_one_repository_list_its_tags_once() -> None:
    async with serve() as registry, registry.client() as client:
        here = client.repository(f"{registry.host}/x")
        for at, top in enumerate(family(4)):
            await push_image(here, top, f"v{at}")
        registry.requests.clear()
        copier = Copier(options=CopyOptions(digest_tags=True))

        async def one(at: int) -> None:
            async with open_place((here, f"v{at}"), client=None) as source:
                await copier.survey(source)

        async with anyio.create_task_group() as group:
            for at in range(4):
                group.start_soon(one, at)
        assert sum("/tags/list" in each.path for each in registry.requests) == 1


def test_an_index_of_thousands_for_one_platform_is_reduced_at_once() -> None:
    one, system = image().manifest.descriptor, {"os": "linux", "architecture": "amd64"}
    entries = [one | {"platform": system, "annotations": {"at": str(at)}} for at in range(4000)]
    # What has the digest of an image that is wanted is still for another platform.
    entries.append(one | {"platform": system | {"architecture": "s390x"}})
    data = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    manifest = Manifest.of(data)
    view = manifest.parse()
    assert isinstance(view, ImageIndex)
    began = time.process_time()
    found = reduced(manifest, entries_for(view, [Platform.parse(name) for name in ("linux/amd64", "linux/amd64/v2")]))
    assert time.process_time() - began < 2
    assert len(found.references) == 4000


# --- what errors say -------------------------------------------------------------------------------------------------


async def test_a_refusal_for_want_of_foreign_layers_says_what_to_do() -> None:
    kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    foreign = attrs.evolve(layer({"foreign": b"y"}), media_type=kind)
    urls = {"urls": ["https://files.example/y"]}
    top = image(fields={"layers": [foreign.descriptor | urls]})
    memory = await in_memory(attrs.evolve(top, blobs=(top.blobs[0], foreign)), "v1")
    refused = Fault(on=PutManifest, times=FOREVER, status=400)
    async with serve(faults=[refused]) as registry, registry.client() as client:
        with pytest.raises(CopyError, match="foreign_layers=True"):
            await copy((memory, "v1"), f"{registry.host}/x", client=client)
        with pytest.raises(CopyError) as caught:
            await copy((memory, "v1"), f"{registry.host}/x", client=client, foreign_layers=True)
        assert "foreign_layers" not in str(caught.value)


async def test_a_failing_source_is_not_told_as_what_the_destination_did() -> None:
    top = image()
    memory = await in_memory(top, "v1")
    await memory.blobs.delete(top.blobs[1].digest)
    async with serve() as registry, registry.client() as client:
        with pytest.raises(CopyError) as caught:
            await copy((memory, "v1"), f"{registry.host}/x", client=client)
    assert f"at the source {top.blobs[1].digest}: read blob acme/app@" in str(caught.value)
    assert "upload" not in str(caught.value)
