"""end-8a, end-8b: listing tags."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.support import client_for, next_page, pages, push_blob, push_image, put_manifest, refusal
from tests.peers import images

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.peers.peer import Peer

TAGS = ["1.0", "A", "_", "a", "b", "latest", "v1", "v10", "v2"]


async def _tagged(http: httpx.AsyncClient, name: str) -> str:
    await push_image(http, name, images.image(), *reversed(TAGS))
    return f"/v2/{name}/tags/list"


async def test_all_tags_are_listed_in_order(http: httpx.AsyncClient, fresh_name: str) -> None:
    response = await http.get(await _tagged(http, fresh_name))
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.json() == {"name": fresh_name, "tags": TAGS}
    assert next_page(response) is None


async def test_a_repository_without_tags_has_an_empty_list(http: httpx.AsyncClient, fresh_name: str) -> None:
    await push_blob(http, fresh_name, b"abc")
    assert (await http.get(f"/v2/{fresh_name}/tags/list")).json() == {"name": fresh_name, "tags": []}


@pytest.mark.parametrize("query", ["", "?n=0", "?n=5"])
async def test_a_repository_that_does_not_exist_is_unknown(
    http: httpx.AsyncClient, fresh_name: str, query: str
) -> None:
    assert refusal(await http.get(f"/v2/{fresh_name}/tags/list{query}")) == (404, "NAME_UNKNOWN")


@pytest.mark.parametrize("n", [1, 2, 8, 9, 10])
async def test_links_lead_through_all_pages(http: httpx.AsyncClient, fresh_name: str, n: int) -> None:
    target = await _tagged(http, fresh_name)
    found = await pages(http, f"{target}?n={n}", "tags")
    assert [tag for page in found for tag in page] == TAGS
    assert all(len(page) == n for page in found[:-1])
    assert found[-1]


async def test_no_tags_asked_for_means_none_and_no_link(http: httpx.AsyncClient, fresh_name: str) -> None:
    response = await http.get(f"{await _tagged(http, fresh_name)}?n=0")
    assert response.json()["tags"] == []
    assert next_page(response) is None


@pytest.mark.parametrize(("last", "first"), [("", 0), ("a", 4), ("aa", 4), ("v1", 7), ("v2", 9), ("zzz", 9)])
async def test_a_list_can_begin_after_any_text(http: httpx.AsyncClient, fresh_name: str, last: str, first: int) -> None:
    target = await _tagged(http, fresh_name)
    assert (await http.get(target, params={"last": last})).json()["tags"] == TAGS[first:]
    limited = await http.get(target, params={"last": last, "n": "2"})
    assert limited.json()["tags"] == TAGS[first : first + 2]


@pytest.mark.parametrize("n", ["-1", "abc", "", "1.5", "9" * 20])
async def test_a_page_size_that_is_no_number_is_refused(http: httpx.AsyncClient, fresh_name: str, n: str) -> None:
    target = await _tagged(http, fresh_name)
    assert refusal(await http.get(target, params={"n": n})) == (400, "PAGINATION_NUMBER_INVALID")


@pytest.mark.parametrize("query", ["", "?n=1000000000000", "?n=3"])
async def test_a_page_has_no_more_tags_than_the_limit(start: Callable[..., Peer], query: str) -> None:
    async with client_for(start(page=3).origin) as http:
        found = await pages(http, (await _tagged(http, "a")) + query, "tags")
    assert [len(page) for page in found] == [3, 3, 3]
    assert [tag for page in found for tag in page] == TAGS


async def test_many_tags_are_listed(http: httpx.AsyncClient, fresh_name: str) -> None:
    image = images.image()
    await push_image(http, fresh_name, image)
    for first in range(0, 1050, 50):
        tags = "&".join(f"tag=t{number:04}" for number in range(first, first + 50))
        assert (await put_manifest(http, fresh_name, f"{image.digest}?{tags}", image)).status_code == 201
    found = await pages(http, f"/v2/{fresh_name}/tags/list", "tags")
    assert [len(page) for page in found] == [1000, 50]
