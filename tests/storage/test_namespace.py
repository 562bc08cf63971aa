"""What every store does with its repositories, and what only local ones do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import (
    BlobUnknownError,
    BlobUploadUnknownError,
    Digest,
    InvalidDigestError,
    InvalidReferenceError,
    LayoutRegistry,
    MemoryRegistry,
    NameUnknownError,
    UsageError,
)
from tests.peers import images
from tests.storage.stores import Kind, names, push

if TYPE_CHECKING:
    from tests.storage.stores import Store


async def test_repositories_are_listed_in_order(store: Store) -> None:
    for name in ("c", "a", "b/blobs/x", "b", "b/index.json"):
        await push(store.repository(name), images.image(), "v1")
    found = [name for name in names(await store.namespace.repositories().collect()) if name.startswith(store.prefix)]
    expected = [store.name(name) for name in ("a", "b", "b/blobs/x", "b/index.json", "c")]
    assert found == expected if store.is_full else set(found) == set(expected)
    after = await store.namespace.repositories(after=store.name("b"), page_size=1).collect(limit=2)
    if store.is_full:
        assert names(after) == expected[2:4]
    with pytest.raises(UsageError):
        store.namespace.repositories(page_size=0)
    with pytest.raises(InvalidReferenceError):
        store.namespace.repository("NO NAME")


async def test_a_repository_begins_with_what_is_stored_in_it(store: Store) -> None:
    async with store.repository("begun").blobs.writer() as writer:
        await writer.write(b"x")
    assert store.name("begun") not in names(await store.namespace.repositories().collect())
    await store.repository("begun").blobs.push(b"x")
    if store.is_full:
        assert store.name("begun") in names(await store.namespace.repositories().collect())


async def test_local_stores_list_all_content(store: Store) -> None:
    if not isinstance(store.namespace, MemoryRegistry | LayoutRegistry):
        pytest.skip("registries do not tell")
    repository = store.namespace.repository("a")
    assert [digest async for digest in repository.blobs.digests()] == []
    assert [digest async for digest in repository.manifests.digests()] == []
    index = images.index()
    await push(repository, index)
    manifests = [digest async for digest in repository.manifests.digests()]
    assert manifests == sorted(Digest(each.digest) for each in index.walk())
    blobs = [digest async for digest in repository.blobs.digests()]
    also = set(manifests) if store.kind is Kind.LAYOUT else set()
    assert blobs == sorted({Digest(blob.digest) for blob in index.all_blobs} | also)


async def test_local_stores_remove_repositories(store: Store) -> None:
    if not isinstance(store.namespace, MemoryRegistry | LayoutRegistry):
        pytest.skip("no registry does that over HTTP")
    registry = store.namespace
    with pytest.raises(NameUnknownError):
        await registry.remove("a/b")
    for name in ("a", "a/b", "a/b/c"):
        await push(registry.repository(name), images.image(), "v1")
    async with registry.repository("a/b").blobs.writer() as writer:
        await writer.write(b"unfinished")
    await registry.remove("a/b")
    assert names(await registry.repositories().collect()) == ["a", "a/b/c"]
    assert not await registry.repository("a/b").manifests.exists("v1")
    with pytest.raises(BlobUploadUnknownError):
        async with registry.repository("a/b").blobs.resume(writer.state):
            pass
    with pytest.raises(NameUnknownError):
        await registry.remove("a/b")
    assert await registry.repository("a").manifests.exists("v1")
    await registry.remove("a/b/c")
    await push(registry.repository("a/b"), images.image(), "again")
    assert await registry.repository("a/b").tags.list().collect() == ["again"]


async def test_local_stores_know_the_blobs_of_all_repositories(store: Store) -> None:
    if not isinstance(store.namespace, MemoryRegistry | LayoutRegistry):
        pytest.skip("registries know blobs by repository only")
    registry = store.namespace
    assert [digest async for digest in registry.blobs.digests()] == []
    pushed = [
        await registry.repository(name).blobs.push(text) for name, text in (("a", b"1"), ("b", b"2"), ("c", b"1"))
    ]
    assert [digest async for digest in registry.blobs.digests()] == sorted({each.digest for each in pushed})
    assert await registry.blobs.stat(pushed[1].digest) == pushed[1]
    assert await registry.blobs.exists(pushed[0].digest)
    assert not await registry.blobs.exists(Digest.of(b"3"))
    with pytest.raises(BlobUnknownError):
        await registry.blobs.stat(Digest.of(b"3"))
    with pytest.raises(InvalidDigestError):
        await registry.blobs.exists("../x")
