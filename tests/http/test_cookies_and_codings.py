"""Cookies never come back, and content is asked for as it is stored."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from ocidist import DigestMismatchError, Manifest, OciError
from tests.http.support import NAME, client_for, list_tags
from tests.peers import images
from tests.peers.answers import respond, respond_json

if TYPE_CHECKING:
    from tests.peers.wire_server import WireServer

CSRF = [
    ("Set-Cookie", "_gorilla_csrf=1; Path=/"),
    ("Set-Cookie", "sid=2; Domain=127.0.0.1; Max-Age=9999"),
    ("Set-Cookie", "wide=3; Domain=.0.0.1"),
    *(("Set-Cookie", f"c{number}=x") for number in range(50)),
]


async def test_a11_cookies_are_never_sent_back(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v2/", respond(200, CSRF, b"{}"))
    wire_server.on("GET", f"/v2/{NAME}/tags/list*", respond(200, CSRF, b'{"name":"acme/app","tags":["v1"]}'))
    async with client_for(wire_server) as client:
        for _ in range(2):
            await client.registry(wire_server.host).ping()
            assert await list_tags(client, wire_server) == ["v1"]
            await client.get(f"{wire_server.origin}/v2/")
        assert list(client.cookies.jar) == []
    assert {request.header("Cookie") for request in wire_server.requests} == {None}


async def test_q70_the_cookie_jar_of_httpx_stays_empty_also_where_httpx_itself_sends(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v2/", respond(200, CSRF, b"{}"))
    async with client_for(wire_server) as client:
        # With an identity of the caller's own, the request goes through httpx's own flow.
        for _ in range(2):
            await client.get(f"{wire_server.origin}/v2/", auth=("bob", "b0b"))
        assert list(client.cookies.jar) == []
    assert {request.header("Cookie") for request in wire_server.requests} == {None}


async def test_a11_everything_is_asked_for_without_a_coding(wire_server: WireServer) -> None:
    image = images.image("linux/amd64")
    blob = image.all_blobs[0]
    kind = {"Content-Type": image.manifest.media_type}
    wire_server.on("GET", "/v2/", respond(200, (), b"{}"))
    wire_server.on("GET", f"/v2/{NAME}/manifests/v1", respond(200, kind, image.manifest.data))
    wire_server.on("GET", f"/v2/{NAME}/blobs/*", respond(200, (), blob.data))
    wire_server.on("GET", f"/v2/{NAME}/tags/list*", respond_json(200, {"name": NAME, "tags": []}))
    async with client_for(wire_server) as client:
        repository = client.repository(f"{wire_server.host}/{NAME}")
        await client.registry(wire_server.host).ping()
        await repository.manifests.get("v1")
        await repository.blobs.get(blob.digest)
        await repository.tags.list().collect()
        await client.get(f"{wire_server.origin}/v2/")
    assert len(wire_server.requests) == 5
    assert {request.header("Accept-Encoding") for request in wire_server.requests} == {"identity"}


@pytest.mark.parametrize("what", ["manifest", "blob"])
async def test_a11_content_that_is_compressed_anyway_is_verified_or_refused(wire_server: WireServer, what: str) -> None:
    image = images.image("linux/amd64")
    blob = image.all_blobs[0]
    coded = {"Content-Encoding": "gzip"}
    kind = {"Content-Type": image.manifest.media_type, "Docker-Content-Digest": image.digest, **coded}
    wire_server.on("GET", f"/v2/{NAME}/manifests/*", respond(200, kind, gzip.compress(image.manifest.data)))
    wire_server.on("GET", f"/v2/{NAME}/blobs/*", respond(200, coded, gzip.compress(blob.data)))
    async with client_for(wire_server) as client:
        repository = client.repository(f"{wire_server.host}/{NAME}")
        if what == "manifest":
            assert await repository.manifests.get(image.digest) == Manifest.of(image.manifest.data)
        else:
            with pytest.raises(OciError):
                await repository.blobs.get(blob.digest)


async def test_a11_compressed_content_of_another_digest_is_refused(wire_server: WireServer) -> None:
    image, other = images.image("linux/amd64"), images.image("linux/arm64")
    headers = {"Content-Type": image.manifest.media_type, "Content-Encoding": "gzip"}
    wire_server.on("GET", f"/v2/{NAME}/manifests/*", respond(200, headers, gzip.compress(other.manifest.data)))
    async with client_for(wire_server) as client:
        with pytest.raises(DigestMismatchError):
            await client.repository(f"{wire_server.host}/{NAME}").manifests.get(image.digest)
