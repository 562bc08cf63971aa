"""The catalog: listing repositories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.support import client_for, next_page, pages, push_blob, refusal, start_upload

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.peers.peer import Peer

NAMES = ["a", "a-b", "a/b", "a/b/c", "b", "c0"]


async def _fill(http: httpx.AsyncClient) -> None:
    for name in reversed(NAMES):
        await push_blob(http, name, b"abc")


async def test_all_repositories_are_listed_in_order(start: Callable[..., Peer]) -> None:
    async with client_for(start().origin) as http:
        assert (await http.get("/v2/_catalog")).json() == {"repositories": []}
        await _fill(http)
        await start_upload(http, "nothing-yet")
        response = await http.get("/v2/_catalog")
        assert response.json() == {"repositories": NAMES}
        assert next_page(response) is None


@pytest.mark.parametrize("n", [1, 2, 5, 6, 7])
async def test_links_lead_through_all_pages(start: Callable[..., Peer], n: int) -> None:
    async with client_for(start().origin) as http:
        await _fill(http)
        found = await pages(http, f"/v2/_catalog?n={n}", "repositories")
    assert [name for page in found for name in page] == NAMES
    assert all(len(page) == n for page in found[:-1])


async def test_sizes_and_beginnings(start: Callable[..., Peer]) -> None:
    async with client_for(start(page=4).origin) as http:
        await _fill(http)
        none = await http.get("/v2/_catalog?n=0")
        assert (none.json(), next_page(none)) == ({"repositories": []}, None)
        after = await http.get("/v2/_catalog", params={"last": "a/b"})
        assert after.json()["repositories"] == ["a/b/c", "b", "c0"]
        for query in ("", "?n=1000000000000"):
            assert [len(page) for page in await pages(http, f"/v2/_catalog{query}", "repositories")] == [4, 2]
        for n in ("-1", "abc", ""):
            response = await http.get("/v2/_catalog", params={"n": n})
            assert refusal(response) == (400, "PAGINATION_NUMBER_INVALID")
