from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import Basic, DeniedError
from tests.peers import images
from tests.peers.peer import CATALOG_PAGE, Mode
from tests.remote.support import push_image

if TYPE_CHECKING:
    from ocidist import Client
    from tests.conftest import StartRegistry
    from tests.peers.peer import Peer

NAMES = ["a/one", "b", "c/d/e", "f-1", "g.h", "i__j", "k", "l"]


async def fill(client: Client, peer: Peer) -> None:
    image = images.image(layers=[])
    for name in NAMES:
        await push_image(client.repository(f"{peer.host}/{name}"), image, "v1")


@pytest.mark.parametrize("mode", list(Mode), ids=str)
async def test_repositories_are_listed_completely_whatever_the_page_size(
    empty_registry: StartRegistry, mode: Mode
) -> None:
    peer = empty_registry(mode)
    async with peer.client() as client:
        await fill(client, peer)
        registry = client.registry(peer.host)
        for page_size in (None, 1, 3, len(NAMES), 1000):
            assert await registry.repositories(page_size=page_size).collect() == NAMES
        assert await registry.repositories(after="c/d/e", page_size=2).collect() == NAMES[3:]
        assert await registry.repositories().collect(limit=2) == NAMES[:2]


async def test_q54_a_registry_with_small_pages_is_asked_for_smaller_ones(empty_registry: StartRegistry) -> None:
    peer = empty_registry(Mode.CATALOG)
    async with peer.client() as client:
        await fill(client, peer)
        pages = [page async for page in client.registry(peer.host).repositories().pages()]
    assert [len(page.items) for page in pages] == [CATALOG_PAGE, CATALOG_PAGE, 2]
    assert [page.more for page in pages] == [True, True, False]


async def test_an_empty_registry_has_no_repositories(empty_registry: StartRegistry) -> None:
    peer = empty_registry(Mode.PLAIN)
    async with peer.client() as client:
        assert await client.registry(peer.host).repositories().collect() == []


async def test_f098_a_catalog_that_is_for_others_is_denied(token_registry: Peer) -> None:
    async with token_registry.client(credentials={token_registry.host: Basic("bob", "b0b")}) as client:
        with pytest.raises(DeniedError, match="or not to these credentials"):
            await client.registry(token_registry.host).repositories().collect()


async def test_a_wrong_password_is_still_found_in_what_the_catalog_says(shared_registry: StartRegistry) -> None:
    peer = shared_registry(Mode.HTPASSWD)
    async with peer.client(credentials={peer.host: Basic("alice", "wr0ng")}) as client:
        with pytest.raises(DeniedError, match="credentials") as caught:
            await client.registry(peer.host).repositories().collect()
    assert "wr0ng" not in str(caught.value)


async def test_a_list_explains_itself_when_it_is_used_like_a_plain_one(docker_registry: Peer) -> None:
    async with docker_registry.client() as client:
        repositories = client.registry(docker_registry.host).repositories()
        with pytest.raises(TypeError, match="async for"):
            list(repositories)
        with pytest.raises(TypeError, match="collect"):
            await repositories
    assert repr(repositories) == "<Paginator of repositories>"
