from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
import pytest

from ocidist.errors import (
    DigestMismatchError,
    InvalidDigestError,
    InvalidReferenceError,
    MalformedManifestError,
    ManifestBlobUnknownError,
    ManifestUnknownError,
    ManifestUnknownRevisionError,
    NotModifiedError,
    SchemaV1UnsupportedError,
    StorageError,
    TagUnknownError,
    UsageError,
)
from ocidist.model import manifest
from ocidist.model.builder import EMPTY_BLOB, EMPTY_DESCRIPTOR, build_artifact, build_image, build_index
from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest
from ocidist.model.manifest import ImageIndex, Manifest
from ocidist.model.mediatype import DOCKER_FOREIGN_LAYER_GZIP, OCI_MANIFEST
from ocidist.storage.memory import MemoryRegistry, MemoryRepository
from tests.peers import images

if TYPE_CHECKING:
    from tests.peers.images import Image


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


@pytest.fixture
def repository(registry: MemoryRegistry) -> MemoryRepository:
    return registry.repository("acme/app")


async def _push(repository: MemoryRepository, image: Image, *tags: str) -> Manifest:
    for blob in image.all_blobs:
        await repository.blobs.push(blob.data)
    for each in image.walk():
        await repository.manifests.push(each.manifest.data, media_type=each.manifest.media_type)
    await repository.manifests.push(image.manifest.data, media_type=image.manifest.media_type, tags=tags)
    return Manifest.of(image.manifest.data, image.manifest.media_type)


@pytest.mark.parametrize(
    "image",
    [images.image(), images.image(docker=True), images.image(fields={"mediaType": None}), images.index()],
    ids=["oci", "docker", "no-mediatype", "index"],
)
async def test_a_manifest_comes_back_byte_for_byte_with_its_type(repository: MemoryRepository, image: Image) -> None:
    pushed = await _push(repository, image, "v1")
    for reference in ("v1", pushed.digest, str(pushed.digest)):
        found = await repository.manifests.get(reference)
        assert (found.data, found.media_type) == (image.manifest.data, image.manifest.media_type)
        assert await repository.manifests.stat(reference) == pushed.descriptor
        assert await repository.manifests.exists(reference)


async def test_a_push_reports_what_it_did(repository: MemoryRepository) -> None:
    pushed = await _push(repository, images.image())
    result = await repository.manifests.push(pushed, tags=["b", "a", "b"])
    assert result.descriptor == pushed.descriptor
    assert result.tags == ("b", "a")
    assert not result.failed
    assert result.subject is None


async def test_a_sha512_manifest_is_found_under_its_own_digest_only(repository: MemoryRepository) -> None:
    image = images.image()
    digest = Digest.of(image.manifest.data, "sha512")
    for blob in image.all_blobs:
        await repository.blobs.push(blob.data)
    await repository.manifests.push(Manifest.of(image.manifest.data, expected=digest), tags=["v1"])
    assert (await repository.tags.stat("v1")).digest == digest
    assert not await repository.manifests.exists(image.digest)


async def test_what_is_not_there_is_unknown(repository: MemoryRepository) -> None:
    missing = Digest.of(b"missing")
    for _ in range(2):
        with pytest.raises(TagUnknownError) as by_tag:
            await repository.manifests.get("v1")
        with pytest.raises(ManifestUnknownRevisionError) as by_digest:
            await repository.manifests.stat(missing)
        for caught in (by_tag.value, by_digest.value):
            assert (caught.status, caught.errors[0].code) == (404, "MANIFEST_UNKNOWN")
        assert not await repository.manifests.exists("v1")
        assert not await repository.manifests.exists(missing)
        with pytest.raises(ManifestUnknownError):
            await repository.manifests.delete(missing)
        await _push(repository, images.image())  # and once more in a repository that exists


@pytest.mark.parametrize("reference", ["", "-v1", "sha256:abc", "a/b", "x" * 129])
async def test_what_is_neither_tag_nor_digest_is_refused(repository: MemoryRepository, reference: str) -> None:
    with pytest.raises((InvalidReferenceError, InvalidDigestError)):
        await repository.manifests.get(reference)


async def test_a_manifest_is_not_sent_to_who_has_it(repository: MemoryRepository) -> None:
    pushed = await _push(repository, images.image(), "v1")
    with pytest.raises(NotModifiedError) as caught:
        await repository.manifests.get("v1", if_none_match=pushed.digest)
    assert caught.value.status == 304
    assert (await repository.manifests.get("v1", if_none_match=Digest.of(b"other"))).digest == pushed.digest


async def test_missing_content_is_named_and_nothing_is_stored(repository: MemoryRepository) -> None:
    image = images.image()
    await repository.blobs.push(image.blobs[0].data)
    with pytest.raises(ManifestBlobUnknownError) as caught:
        await repository.manifests.push(image.manifest.data, tags=["v1"])
    missing = tuple(blob.digest for blob in image.blobs[1:])
    assert caught.value.status == 400
    assert caught.value.digests == missing
    assert [info.code for info in caught.value.errors] == ["MANIFEST_BLOB_UNKNOWN"] * len(missing)
    assert not await repository.manifests.exists(image.digest)
    assert await repository.tags.list().collect() == []


async def test_an_index_needs_its_manifests_in_the_same_repository(registry: MemoryRegistry) -> None:
    index = images.index()
    await _push(registry.repository("elsewhere"), index)
    with pytest.raises(ManifestBlobUnknownError) as caught:
        await registry.repository("here").manifests.push(index.manifest.data)
    assert caught.value.digests == tuple(child.digest for child in index.children)


async def test_a_store_may_be_told_not_to_check() -> None:
    repository = MemoryRegistry(check_references=False).repository("a")
    index = images.index()
    await repository.manifests.push(index.manifest.data, tags=["v1"])
    assert (await repository.manifests.get("v1")).data == index.manifest.data


async def test_layers_that_live_elsewhere_need_not_be_here(repository: MemoryRepository) -> None:
    await repository.blobs.push(EMPTY_BLOB)
    foreign = Descriptor(DOCKER_FOREIGN_LAYER_GZIP, Digest.of(b"windows"), 7, urls=("https://example.com/base",))
    taken = build_image(EMPTY_DESCRIPTOR, [foreign], artifact_type="application/x")
    await repository.manifests.push(taken)
    with pytest.raises(ManifestBlobUnknownError):
        await repository.manifests.push(
            build_image(EMPTY_DESCRIPTOR, [attrs.evolve(foreign, urls=())], artifact_type="application/x")
        )


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"", None),
        (b"{}", None),
        (b"[]", None),
        (b"<html>", "text/html"),
        (b'{"schemaVersion":2,"manifests":[],"layers":[]}', None),
        (b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}', OCI_MANIFEST),
        (b'{"schemaVersion":2,"config":{},"layers":[]}', OCI_MANIFEST),
    ],
)
async def test_a_malformed_manifest_is_refused(
    repository: MemoryRepository, data: bytes, media_type: str | None
) -> None:
    with pytest.raises(MalformedManifestError):
        await repository.manifests.push(data, media_type=media_type)
    assert [digest async for digest in repository.manifests.digests()] == []


async def test_schema_1_is_refused(repository: MemoryRepository) -> None:
    data = json.dumps({"schemaVersion": 1, "name": "a", "tag": "b", "fsLayers": [], "history": []}).encode()
    with pytest.raises(SchemaV1UnsupportedError):
        await repository.manifests.push(data)


async def test_a_manifest_with_a_wrong_digest_is_refused(repository: MemoryRepository) -> None:
    image = images.image()
    wrong = Manifest(image.manifest.data, image.manifest.media_type, Digest.of(b"other"))
    with pytest.raises(DigestMismatchError):
        await repository.manifests.push(wrong)


async def test_arguments_that_contradict_each_other_are_refused(repository: MemoryRepository) -> None:
    pushed = await _push(repository, images.image())
    with pytest.raises(UsageError):
        await repository.manifests.push(pushed, media_type="application/x")
    with pytest.raises(InvalidReferenceError):
        await repository.manifests.push(pushed, tags=["good", "-bad"])
    assert await repository.tags.list().collect() == []


async def test_deleting_a_manifest_takes_its_tags_along_and_no_others(repository: MemoryRepository) -> None:
    first = await _push(repository, images.image("linux/amd64"), "a", "b")
    second = await _push(repository, images.image("linux/arm64"), "c")
    await repository.manifests.delete(first.digest)
    assert await repository.tags.list().collect() == ["c"]
    assert [digest async for digest in repository.manifests.digests()] == [second.digest]
    with pytest.raises(TagUnknownError):
        await repository.manifests.get("a")


async def test_a_manifest_is_deleted_by_digest_only(repository: MemoryRepository) -> None:
    await _push(repository, images.image(), "v1")
    with pytest.raises(InvalidDigestError):
        await repository.manifests.delete("v1")


async def test_referrers_are_known_before_and_after_their_subject(repository: MemoryRepository) -> None:
    image = images.image()
    note = images.artifact(image)
    pushed = await _push(repository, note)
    expected = [attrs.evolve(pushed.descriptor, artifact_type="application/vnd.example.note")]
    assert await repository.referrers(image.digest).collect() == expected
    subject = await _push(repository, image)
    assert await repository.referrers(subject.descriptor).collect() == expected
    await repository.manifests.delete(subject.digest)
    assert await repository.referrers(image.digest).collect() == expected
    await repository.manifests.delete(pushed.digest)
    assert await repository.referrers(image.digest).collect() == []


async def test_a_push_with_a_subject_names_it(repository: MemoryRepository) -> None:
    note = images.artifact(images.image())
    for blob in note.all_blobs:
        await repository.blobs.push(blob.data)
    result = await repository.manifests.push(note.manifest.data)
    assert result.subject == images.image().digest


async def test_referrers_carry_type_and_annotations_and_can_be_filtered(repository: MemoryRepository) -> None:
    await repository.blobs.push(EMPTY_BLOB)
    config = await repository.blobs.push(b"config")
    subject = Descriptor.of(b"subject", OCI_MANIFEST)
    artifact = build_artifact("application/x.sbom", subject=subject, annotations={"k": "v"})
    index = build_index([], subject=subject)
    image = build_image(attrs.evolve(config, media_type="application/x.config"), [], subject=subject)
    for each in (artifact, index, image):
        await repository.manifests.push(each)
    found = {each.digest: each for each in await repository.referrers(subject).collect()}
    assert list(found) == sorted(found)
    assert found[artifact.digest].annotations == {"k": "v"}
    assert {found[each.digest].artifact_type for each in (artifact, index, image)} == {
        "application/x.sbom",
        None,
        "application/x.config",
    }
    filtered = await repository.referrers(subject, artifact_type="application/x.sbom").collect()
    assert [each.digest for each in filtered] == [artifact.digest]
    assert await repository.referrers(subject, artifact_type="application/none").collect() == []


async def test_more_referrers_than_a_page_come_in_pages(repository: MemoryRepository) -> None:
    await repository.blobs.push(EMPTY_BLOB)
    subject = Descriptor.of(b"subject", OCI_MANIFEST)
    digests = set()
    for number in range(1001):
        made = build_artifact("application/x", subject=subject, annotations={"n": str(number)})
        digests.add((await repository.manifests.push(made)).descriptor.digest)
    pages = [page async for page in repository.referrers(subject).pages()]
    assert [(len(page.items), page.more) for page in pages] == [(1000, True), (1, False)]
    assert {each.digest for page in pages for each in page.items} == digests


async def test_the_same_bytes_under_another_type_stop_being_a_referrer(repository: MemoryRepository) -> None:
    repository = MemoryRegistry(check_references=False).repository("a")
    subject = images.image()
    data = images.artifact(subject).manifest.data.replace(b'"mediaType":"%b",' % OCI_MANIFEST.encode(), b"", 1)
    digest = (await repository.manifests.push(data)).descriptor.digest
    assert len(await repository.referrers(subject.digest).collect()) == 1
    await repository.manifests.push(data, media_type="application/vnd.example.unknown+json")
    assert await repository.referrers(subject.digest).collect() == []
    await repository.manifests.delete(digest)


async def test_a_manifest_whose_type_is_taught_later_can_still_be_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "_parsers", dict(manifest._parsers))
    repository = MemoryRegistry(check_references=False).repository("a")
    subject = Descriptor.of(b"subject", OCI_MANIFEST)
    media_type = "application/vnd.example.later+json"
    digest = (await repository.manifests.push(b'{"entries":[]}', media_type=media_type)).descriptor.digest
    manifest.register(media_type, lambda _: ImageIndex(manifests=[], subject=subject))
    await repository.manifests.delete(digest)
    assert not await repository.manifests.exists(digest)


async def test_manifests_count_towards_the_limit() -> None:
    image = images.image()
    registry = MemoryRegistry(max_bytes=len(image.manifest.data), check_references=False)
    repository = registry.repository("a")
    for _ in range(2):
        await repository.manifests.push(image.manifest.data, tags=["v1"])
    assert registry.used_bytes == len(image.manifest.data)
    with pytest.raises(StorageError):
        await repository.manifests.push(images.image("linux/arm64").manifest.data)
    await repository.manifests.delete(image.digest)
    assert registry.used_bytes == 0
