"""end-1: determining support."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.support import client_for, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.peers.peer import Peer


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_registry_says_that_it_is_one(http: httpx.AsyncClient, method: str, path: str) -> None:
    response = await http.request(method, path)
    assert response.status_code == 200
    assert response.headers["Content-Length"] == "2"
    assert response.content == (b"{}" if method == "GET" else b"")


@pytest.mark.parametrize("path", ["/", "/v1/", "/v2/a", "/v2//tags/list", "/favicon.ico"])
async def test_other_paths_are_not_found(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code in {400, 404}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v2/", "GET, HEAD"),
        ("POST", "/v2/_catalog", "GET"),
        ("PUT", "/v2/a/tags/list", "GET"),
        ("PATCH", "/v2/a/manifests/v1", "DELETE, GET, HEAD, PUT"),
        ("GET", "/v2/a/blobs/uploads/", "POST"),
        ("POST", "/v2/a/blobs/uploads/0", "DELETE, GET, HEAD, PATCH, PUT"),
    ],
)
async def test_a_method_that_is_not_offered_gets_the_ones_that_are(
    http: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    response = await http.request(method, path)
    assert refusal(response) == (405, "UNSUPPORTED")
    assert response.headers["Allow"] == allowed


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/a/blobs/uploads/"),
        ("PUT", "/v2/a/manifests/v1"),
        ("DELETE", "/v2/a/manifests/v1"),
        ("PATCH", "/v2/a/blobs/uploads/0"),
    ],
)
async def test_a_registry_that_is_only_read_refuses_the_rest(
    start: Callable[..., Peer], method: str, path: str
) -> None:
    async with client_for(start(read_only=True).origin) as http:
        assert (await http.get("/v2/")).status_code == 200
        response = await http.request(method, path)
    assert refusal(response) == (405, "UNSUPPORTED")
    assert set(response.headers["Allow"].split(", ")) <= {"GET", "HEAD", ""}
