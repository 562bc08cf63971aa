"""end-3: pulling manifests."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.conformance.support import push_image, refusal, sha256
from tests.peers import images

if TYPE_CHECKING:
    import httpx

    from tests.peers.images import Image

IMAGE = images.image()


@pytest.mark.parametrize(
    "image",
    [
        IMAGE,
        images.image(docker=True),
        images.image(fields={"mediaType": None}),
        images.index(),
        images.index(docker=True),
    ],
    ids=["oci", "docker", "no-mediatype", "index", "list"],
)
async def test_a_manifest_is_sent_byte_for_byte(http: httpx.AsyncClient, fresh_name: str, image: Image) -> None:
    await push_image(http, fresh_name, image, "v1")
    for reference in ("v1", image.digest):
        response = await http.get(f"/v2/{fresh_name}/manifests/{reference}")
        assert response.status_code == 200
        assert response.content == image.manifest.data
        assert response.headers["Content-Type"] == image.manifest.media_type
        assert response.headers["Docker-Content-Digest"] == image.digest
        assert response.headers["ETag"] == f'"{image.digest}"'


async def test_head_tells_type_digest_and_size(http: httpx.AsyncClient, fresh_name: str) -> None:
    await push_image(http, fresh_name, IMAGE, "v1")
    for reference in ("v1", IMAGE.digest):
        response = await http.head(f"/v2/{fresh_name}/manifests/{reference}")
        assert response.status_code == 200
        assert response.headers["Content-Type"] == IMAGE.manifest.media_type
        assert response.headers["Docker-Content-Digest"] == IMAGE.digest
        assert response.headers["Content-Length"] == str(len(IMAGE.manifest.data))


@pytest.mark.parametrize("accept", [None, "*/*", "application/vnd.oci.image.index.v1+json", "nonsense"])
async def test_a_manifest_is_never_converted(http: httpx.AsyncClient, fresh_name: str, accept: str | None) -> None:
    await push_image(http, fresh_name, IMAGE, "v1")
    headers = {} if accept is None else {"Accept": accept}
    response = await http.get(f"/v2/{fresh_name}/manifests/v1", headers=headers)
    assert response.content == IMAGE.manifest.data


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("reference", ["v2", sha256(b"missing")])
async def test_a_manifest_that_is_not_there_is_unknown(
    http: httpx.AsyncClient, fresh_name: str, method: str, reference: str
) -> None:
    for _ in range(2):
        response = await http.request(method, f"/v2/{fresh_name}/manifests/{reference}")
        assert response.status_code == 404
        assert method == "HEAD" or refusal(response) == (404, "MANIFEST_UNKNOWN")
        await push_image(http, fresh_name, IMAGE, "v1")


@pytest.mark.parametrize("digest", ["sha256:abc", "v1:", "x\r\nX-Injected:1"])
async def test_a_malformed_digest_is_refused(http: httpx.AsyncClient, fresh_name: str, digest: str) -> None:
    assert refusal(await http.get(f"/v2/{fresh_name}/manifests/{quote(digest)}")) == (400, "DIGEST_INVALID")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("tag", [".invalid", "-v1", "x" * 129, "v 1", "v1\n", "v\x001"])
async def test_there_is_no_manifest_behind_what_can_be_no_tag(
    http: httpx.AsyncClient, fresh_name: str, method: str, tag: str
) -> None:
    await push_image(http, fresh_name, IMAGE, "v1")
    response = await http.request(method, f"/v2/{fresh_name}/manifests/{quote(tag)}")
    assert response.status_code == 404
    assert method == "HEAD" or refusal(response) == (404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("shape", ['"{}"', 'W/"{}"', '"other", "{}"', "*"])
async def test_a_manifest_is_not_sent_to_who_has_it(
    http: httpx.AsyncClient, fresh_name: str, method: str, shape: str
) -> None:
    await push_image(http, fresh_name, IMAGE, "v1")
    headers = {"If-None-Match": shape.format(IMAGE.digest)}
    response = await http.request(method, f"/v2/{fresh_name}/manifests/v1", headers=headers)
    assert response.status_code == 304
    assert response.content == b""
    assert response.headers["ETag"] == f'"{IMAGE.digest}"'


async def test_a_manifest_is_sent_to_who_has_another(http: httpx.AsyncClient, fresh_name: str) -> None:
    await push_image(http, fresh_name, IMAGE, "v1")
    headers = {"If-None-Match": f'"{sha256(b"other")}"'}
    response = await http.get(f"/v2/{fresh_name}/manifests/v1", headers=headers)
    assert response.status_code == 200
