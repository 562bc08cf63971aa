"""What every store does with manifests, tags and referrers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ocidist import (
    Digest,
    DigestInvalidError,
    DigestMismatchError,
    InvalidDigestError,
    InvalidReferenceError,
    MalformedManifestError,
    Manifest,
    ManifestBlobUnknownError,
    ManifestUnknownError,
    NameUnknownError,
    NotModifiedError,
    OciError,
    TagUnknownError,
    UsageError,
)
from tests.peers import images
from tests.storage.stores import Kind, push

if TYPE_CHECKING:
    from tests.storage.stores import Store


@pytest.mark.parametrize(
    "image", [images.image(), images.image(docker=True), images.index(), images.index(docker=True)], ids=range(4)
)
async def test_a_manifest_comes_back_byte_for_byte_with_its_type(store: Store, image: images.Image) -> None:
    repository = store.repository()
    digest = await push(repository, image, "v1")
    for reference in ("v1", digest, str(digest)):
        found = await repository.manifests.get(reference)
        assert (found.data, found.media_type) == (image.manifest.data, image.manifest.media_type)
        assert await repository.manifests.stat(reference) == found.descriptor
        assert await repository.manifests.exists(reference)
    for child in image.children:
        assert (await repository.manifests.get(child.digest)).data == child.manifest.data


async def test_a_push_says_what_it_did(store: Store) -> None:
    repository = store.repository()
    image = images.image()
    await push(repository, image)
    result = await repository.manifests.push(Manifest.of(image.manifest.data), tags=["b", "a", "b"])
    assert result.descriptor.digest == image.digest
    assert result.tags == ("b", "a")
    assert not result.failed
    assert sorted(await repository.tags.list().collect()) == ["a", "b"]


async def test_what_is_not_there_is_unknown(store: Store) -> None:
    repository = store.repository()
    missing = Digest.of(b"missing")
    for _ in range(2):
        with pytest.raises(ManifestUnknownError) as by_tag:
            await repository.manifests.get("v1")
        with pytest.raises(ManifestUnknownError) as by_digest:
            await repository.manifests.get(missing)
        assert (by_tag.value.status, by_digest.value.status) == (404, 404)
        assert not await repository.manifests.exists("v1")
        assert not await repository.manifests.exists(missing)
        with pytest.raises(ManifestUnknownError):
            await repository.manifests.delete(missing)
        with pytest.raises(ManifestUnknownError):
            await repository.tags.set("v1", missing)
        if store.is_full:
            with pytest.raises(TagUnknownError):
                await repository.tags.delete("v1")
        await push(repository, images.image())


@pytest.mark.parametrize("reference", ["", "-v1", "sha256:abc", "a/b", "x" * 129])
async def test_what_is_neither_tag_nor_digest_is_refused(store: Store, reference: str) -> None:
    repository = store.repository()
    for act in (repository.manifests.get, repository.manifests.stat, repository.manifests.exists):
        with pytest.raises((InvalidReferenceError, InvalidDigestError)):
            await act(reference)


async def test_a_manifest_is_not_sent_to_who_has_it(store: Store) -> None:
    repository = store.repository()
    digest = await push(repository, images.image(), "v1")
    with pytest.raises(NotModifiedError):
        await repository.manifests.get("v1", if_none_match=digest)
    assert (await repository.manifests.get("v1", if_none_match=Digest.of(b"other"))).digest == digest


async def test_missing_content_is_named_and_nothing_is_stored(store: Store) -> None:
    repository = store.repository()
    image = images.image()
    await repository.blobs.push(image.blobs[0].data)
    with pytest.raises(ManifestBlobUnknownError) as caught:
        await repository.manifests.push(image.manifest.data, tags=["v1"])
    assert set(caught.value.digests) >= {blob.digest for blob in image.blobs[1:]}
    assert not await repository.manifests.exists(image.digest)
    index = images.index()
    with pytest.raises(OciError):
        await repository.manifests.push(index.manifest.data)
    assert not await repository.manifests.exists(index.digest)


async def test_wrong_manifests_are_refused(store: Store) -> None:
    repository = store.repository()
    image = images.image()
    await push(repository, image)
    manifest = Manifest.of(image.manifest.data)
    with pytest.raises(MalformedManifestError):
        await repository.manifests.push(b"{}")
    with pytest.raises(OciError):
        await repository.manifests.push(b"no JSON at all", media_type=images.OCI_MANIFEST)
    with pytest.raises((UsageError, MalformedManifestError)):
        await repository.manifests.push(manifest, media_type=images.OCI_INDEX)
    wrong = Manifest(manifest.data, manifest.media_type, Digest.of(b"other"))
    with pytest.raises((DigestMismatchError, DigestInvalidError)):
        await repository.manifests.push(wrong)
    with pytest.raises(InvalidReferenceError):
        await repository.manifests.push(manifest, tags=["no tag"])


async def test_a_sha512_manifest_is_found_under_its_own_digest(store: Store) -> None:
    if store.kind is Kind.DOCKER:
        pytest.skip("docker-registry 2.8.2 stores manifests under sha256 only")
    repository = store.repository()
    image = images.image()
    digest = Digest.of(image.manifest.data, "sha512")
    for blob in image.all_blobs:
        await repository.blobs.push(blob.data)
    await repository.manifests.push(Manifest.of(image.manifest.data, expected=digest))
    assert (await repository.manifests.get(digest)).data == image.manifest.data
    assert not await repository.manifests.exists(image.digest)


async def test_tags_are_set_moved_listed_and_looked_up(store: Store) -> None:
    repository = store.repository()
    one, two = images.image("linux/amd64"), images.image("linux/arm64")
    first, second = await push(repository, one, "v1"), await push(repository, two)
    assert (await repository.tags.set("v2", first)).digest == first
    assert (await repository.tags.set("v3", await repository.manifests.stat(second))).digest == second
    assert (await repository.tags.set("copy", "v3")).digest == second
    assert sorted(await repository.tags.list().collect()) == ["copy", "v1", "v2", "v3"]
    if store.is_full:
        assert await repository.tags.list(after="copy", page_size=2).collect(limit=2) == ["v1", "v2"]
        assert [page.items async for page in repository.tags.list(page_size=3).pages()] == [
            ("copy", "v1", "v2"),
            ("v3",),
        ]
    assert sorted(await repository.tags.lookup(first)) == ["v1", "v2"]
    assert (await repository.tags.stat("v2")).digest == first
    await repository.tags.set("v2", second)
    assert sorted(await repository.tags.lookup(second)) == ["copy", "v2", "v3"]
    for act in (repository.tags.stat, repository.tags.delete):
        with pytest.raises(InvalidReferenceError):
            await act("no tag")
    with pytest.raises(UsageError):
        repository.tags.list(page_size=0)


async def test_a_tag_is_deleted_and_nothing_else(store: Store) -> None:
    if not store.is_full:
        pytest.skip("docker-registry 2.8.2 deletes no tags")
    repository = store.repository()
    digest = await push(repository, images.image(), "v1", "v2")
    await repository.tags.delete("v1")
    with pytest.raises(TagUnknownError):
        await repository.tags.stat("v1")
    assert (await repository.tags.stat("v2")).digest == digest
    await repository.tags.delete("v2")
    assert await repository.tags.list().collect() == []
    assert await repository.manifests.exists(digest)


async def test_a_manifest_is_deleted_with_its_tags(store: Store) -> None:
    repository = store.repository()
    index = images.index()
    digest = await push(repository, index, "v1", "v2")
    child = Digest(index.children[0].digest)
    await repository.tags.set("child", child)
    await repository.manifests.delete(digest)
    assert not await repository.manifests.exists(digest)
    assert not await repository.manifests.exists("v1")
    assert await repository.manifests.exists("child")
    await repository.manifests.delete(child)
    assert not await repository.manifests.exists(child)
    with pytest.raises(ManifestUnknownError):
        await repository.manifests.delete(child)
    # And it comes back when it is pushed once more.
    await push(repository, index, "v1")
    assert (await repository.manifests.get("v1")).digest == digest


async def test_a_child_of_an_index_that_is_there_can_be_deleted(store: Store) -> None:
    repository = store.repository()
    index = images.index()
    await push(repository, index, "v1")
    child = index.children[0].digest
    await repository.manifests.delete(child)
    assert not await repository.manifests.exists(child)
    assert await repository.manifests.exists("v1")


async def test_lists_of_a_repository_that_does_not_exist_are_refused(store: Store) -> None:
    with pytest.raises(NameUnknownError):
        await store.repository("nobody").tags.list().collect()
    if store.is_full:
        assert await store.repository("nobody").referrers(Digest.of(b"x")).collect() == []


async def test_referrers_are_listed_with_their_type_and_annotations(store: Store) -> None:
    repository = store.repository()
    image = images.image()
    notes = [
        images.artifact(image, "application/a", b"one"),
        images.artifact(image, "application/b", b"two"),
    ]
    marked = images.image("linux/arm64", fields={"subject": image.manifest.descriptor, "annotations": {"key": "value"}})
    # The subject need not be there.
    for note in (*notes, marked):
        await push(repository, note)
    found = {each.digest: each for each in await repository.referrers(image.digest).collect()}
    assert found.keys() == {each.digest for each in (*notes, marked)}
    assert found[Digest(notes[0].digest)].artifact_type == "application/a"
    assert found[Digest(marked.digest)].artifact_type == images.OCI_CONFIG
    assert found[Digest(marked.digest)].annotations == {"key": "value"}
    assert found[Digest(marked.digest)].size == len(marked.manifest.data)
    only = await repository.referrers(image.digest, artifact_type="application/b").collect()
    assert [each.digest for each in only] == [notes[1].digest]
    if store.is_full:
        await repository.manifests.delete(notes[0].digest)
        assert len(await repository.referrers(image.digest).collect()) == 2
    assert await repository.referrers(Digest.of(b"other")).collect() == []


async def test_a_push_with_a_subject_says_so(store: Store) -> None:
    repository = store.repository()
    image = images.image()
    note = images.artifact(image)
    for blob in note.all_blobs:
        await repository.blobs.push(blob.data)
    result = await repository.manifests.push(note.manifest.data)
    assert result.subject == (image.digest if store.is_full else None)


async def test_a_manifest_may_be_tagged_with_unknown_fields_kept(store: Store) -> None:
    repository = store.repository()
    image = images.image(fields={"org.example.unknown": {"deep": [1, 2.5, None]}})
    await push(repository, image, "v1")
    assert json.loads((await repository.manifests.get("v1")).data)["org.example.unknown"] == {"deep": [1, 2.5, None]}
