from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocidist.errors import (
    BlobUploadUnknownError,
    InvalidReferenceError,
    ManifestUnknownError,
    NameUnknownError,
    TagUnknownError,
    UsageError,
)
from ocidist.model.digest import Digest
from ocidist.storage.memory import MemoryRegistry, MemoryRepository
from ocidist.storage.memory_state import Names
from tests.peers import images

if TYPE_CHECKING:
    from ocidist.storage.protocols import (
        BlobEnumerator,
        ManifestEnumerator,
        Namespace,
        Repository,
        RepositoryRemover,
    )


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry(check_references=False)


async def _tagged(registry: MemoryRegistry, name: str, *tags: str) -> MemoryRepository:
    repository = registry.repository(name)
    await repository.manifests.push(images.image().manifest.data, tags=tags)
    return repository


def test_it_plays_the_roles_of_a_store(registry: MemoryRegistry) -> None:
    # The type checker is what proves it.
    namespace: Namespace = registry
    remover: RepositoryRemover = registry
    repository: Repository = registry.repository("a")
    blobs: BlobEnumerator = registry.repository("a").blobs
    manifests: ManifestEnumerator = registry.repository("a").manifests
    assert all((namespace, remover, repository, blobs, manifests))


@pytest.mark.parametrize("name", ["", "A", "a//b", "/a", "a/", "a b", "x" * 256])
def test_names_are_checked(registry: MemoryRegistry, name: str) -> None:
    with pytest.raises(InvalidReferenceError):
        registry.repository(name)


async def test_a_repository_exists_once_something_is_in_it(registry: MemoryRegistry) -> None:
    repository = registry.repository("a/b")
    assert repository.name == "a/b"
    async with repository.blobs.writer() as writer:
        await writer.write(b"abc")
    assert await registry.repositories().collect() == []
    with pytest.raises(NameUnknownError):
        await repository.tags.list().collect()
    assert await repository.referrers(Digest.of(b"x")).collect() == []
    await repository.blobs.push(b"abc")
    assert await registry.repositories().collect() == ["a/b"]
    assert await repository.tags.list().collect() == []


async def test_repositories_are_listed_in_order_and_in_pages(registry: MemoryRegistry) -> None:
    names = ["b", "a/c", "a", "a-b", "c0", "a/b/c"]
    for name in names:
        await registry.repository(name).blobs.push(b"abc")
    assert await registry.repositories().collect() == sorted(names)
    assert await registry.repositories(after="a/b").collect() == ["a/b/c", "a/c", "b", "c0"]
    pages = [page async for page in registry.repositories(page_size=4).pages()]
    assert [(list(page.items), page.more) for page in pages] == [
        (sorted(names)[:4], True),
        (sorted(names)[4:], False),
    ]


async def test_a_page_that_is_just_full_is_the_last(registry: MemoryRegistry) -> None:
    for name in ("a", "b"):
        await registry.repository(name).blobs.push(b"abc")
    pages = [page async for page in registry.repositories(page_size=2).pages()]
    assert [(list(page.items), page.more) for page in pages] == [(["a", "b"], False)]


@pytest.mark.parametrize("size", [0, -1])
async def test_a_page_has_at_least_one_entry(registry: MemoryRegistry, size: int) -> None:
    with pytest.raises(UsageError):
        registry.repositories(page_size=size)
    with pytest.raises(UsageError):
        registry.repository("a").tags.list(page_size=size)


async def test_removing_a_repository_removes_everything_in_it_and_nothing_else(registry: MemoryRegistry) -> None:
    doomed = await _tagged(registry, "a", "v1")
    kept = await _tagged(registry, "b", "v1")
    await doomed.blobs.push(b"shared")
    await kept.blobs.push(b"shared")
    before = registry.used_bytes
    await doomed.blobs.push(b"only here")
    async with doomed.blobs.writer() as writer:
        await writer.write(b"unfinished")
        state = writer.state
    await registry.remove("a")
    assert registry.used_bytes == before - len(images.image().manifest.data)
    assert await registry.repositories().collect() == ["b"]
    assert await kept.blobs.get(Digest.of(b"shared")) == b"shared"
    assert not await doomed.manifests.exists("v1")
    with pytest.raises(BlobUploadUnknownError):
        async with doomed.blobs.resume(state):
            pass
    with pytest.raises(NameUnknownError) as caught:
        await registry.remove("a")
    assert caught.value.status == 404


async def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(UsageError):
        MemoryRegistry(max_bytes=-1)


async def test_tags_are_listed_in_ascii_order(registry: MemoryRegistry) -> None:
    tags = ["v10", "v2", "V1", "latest", "_x", "1.0"]
    repository = await _tagged(registry, "a", *tags)
    assert await repository.tags.list().collect() == sorted(tags)
    assert await repository.tags.list(after="latest").collect() == ["v10", "v2"]
    assert await repository.tags.list(after="m", page_size=1).collect(limit=1) == ["v10"]


async def test_a_list_that_changes_between_pages_skips_nothing(registry: MemoryRegistry) -> None:
    repository = await _tagged(registry, "a", "a", "c", "e")
    pages = repository.tags.list(page_size=2).pages()
    assert (await anext(pages)).items == ("a", "c")
    await repository.tags.delete("a")
    await repository.tags.set("d", "e")
    assert (await anext(pages)).items == ("d", "e")


async def test_a_tag_moves_and_keeps_its_place(registry: MemoryRegistry) -> None:
    repository = await _tagged(registry, "a", "a", "b")
    other = await repository.manifests.push(images.image("linux/arm64").manifest.data)
    for target in (other.descriptor, other.descriptor.digest, str(other.descriptor.digest)):
        assert await repository.tags.set("a", target) == other.descriptor
    assert await repository.tags.stat("a") == other.descriptor
    assert await repository.tags.list().collect() == ["a", "b"]
    assert await repository.tags.lookup(other.descriptor) == ("a",)
    assert await repository.tags.lookup(images.image().digest) == ("b",)
    assert await repository.tags.lookup(Digest.of(b"none")) == ()


async def test_deleting_a_tag_leaves_the_manifest_and_its_other_tags(registry: MemoryRegistry) -> None:
    repository = await _tagged(registry, "a", "a", "b")
    await repository.tags.delete("a")
    assert await repository.tags.list().collect() == ["b"]
    assert await repository.manifests.exists(images.image().digest)
    with pytest.raises(TagUnknownError):
        await repository.tags.delete("a")


async def test_tags_of_nothing_are_unknown(registry: MemoryRegistry) -> None:
    tags = registry.repository("a").tags
    with pytest.raises(TagUnknownError):
        await tags.stat("v1")
    with pytest.raises(TagUnknownError):
        await tags.delete("v1")
    with pytest.raises(ManifestUnknownError):
        await tags.set("v1", Digest.of(b"none"))
    with pytest.raises(NameUnknownError):
        await tags.lookup(Digest.of(b"none"))
    for call in (tags.stat, tags.delete):
        with pytest.raises(InvalidReferenceError):
            await call("-x")


@given(st.lists(st.tuples(st.booleans(), st.text("abAB01._-", min_size=1, max_size=3))), st.text(max_size=3))
def test_names_stay_in_order_whatever_happens_to_them(changes: list[tuple[bool, str]], last: str) -> None:
    names: Names[str] = Names()
    model: set[str] = set()
    for adds, name in changes:
        if adds and name not in model:
            names.add(name)
            model.add(name)
        elif not adds and name in model:
            names.discard(name)
            model.discard(name)
    assert names.after(None, 1000) == sorted(model)
    assert names.after(last, 2) == sorted(name for name in model if name > last)[:2]
