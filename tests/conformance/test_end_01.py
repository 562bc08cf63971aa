"""end-1: determining support."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.support import client_for, push_image, refusal, sha256
from tests.peers import images

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
        ("POST", "/v2/_catalog", "GET, HEAD"),
        ("PUT", "/v2/a/tags/list", "GET, HEAD"),
        ("OPTIONS", f"/v2/a/referrers/{sha256(b'')}", "GET, HEAD"),
        ("TRACE", f"/v2/a/blobs/{sha256(b'')}", "DELETE, GET, HEAD"),
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
    assert response.json()["errors"][0]["message"] == f"use {allowed.replace(', ', ' or ')}"


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


async def test_what_can_be_got_can_be_asked_for_without_its_body(http: httpx.AsyncClient, fresh_name: str) -> None:
    image = images.image()
    await push_image(http, fresh_name, image, "v1", "v2")
    for path in ("_catalog?n=1", f"{fresh_name}/tags/list?n=1", f"{fresh_name}/referrers/{image.digest}"):
        got, asked = await http.get(f"/v2/{path}"), await http.head(f"/v2/{path}")
        assert asked.status_code == got.status_code == 200
        assert asked.content == b""
        for name in ("Content-Length", "Content-Type", "Link"):
            assert asked.headers.get(name) == got.headers.get(name)
