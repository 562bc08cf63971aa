"""end-9: deleting manifests and tags."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.support import push_image, refusal, sha256
from tests.peers import images

if TYPE_CHECKING:
    import httpx

IMAGE = images.image()


async def test_deleting_a_tag_leaves_the_manifest_and_its_other_tags(http: httpx.AsyncClient, fresh_name: str) -> None:
    await push_image(http, fresh_name, IMAGE, "v1", "v2")
    assert (await http.delete(f"/v2/{fresh_name}/manifests/v1")).status_code == 202
    assert (await http.get(f"/v2/{fresh_name}/manifests/v1")).status_code == 404
    for reference in ("v2", IMAGE.digest):
        assert (await http.get(f"/v2/{fresh_name}/manifests/{reference}")).status_code == 200


async def test_deleting_a_manifest_takes_its_tags_along(http: httpx.AsyncClient, fresh_name: str) -> None:
    await push_image(http, fresh_name, IMAGE, "v1", "v2")
    assert (await http.delete(f"/v2/{fresh_name}/manifests/{IMAGE.digest}")).status_code == 202
    for reference in ("v1", "v2", IMAGE.digest):
        assert (await http.get(f"/v2/{fresh_name}/manifests/{reference}")).status_code == 404
    assert (await http.get(f"/v2/{fresh_name}/tags/list")).json()["tags"] == []


@pytest.mark.parametrize("reference", ["v2", sha256(b"missing")])
async def test_what_is_not_there_cannot_be_deleted(http: httpx.AsyncClient, fresh_name: str, reference: str) -> None:
    for _ in range(2):
        response = await http.delete(f"/v2/{fresh_name}/manifests/{reference}")
        assert refusal(response) == (404, "MANIFEST_UNKNOWN")
        await push_image(http, fresh_name, IMAGE, "v1")


@pytest.mark.parametrize(
    ("reference", "expected"), [("sha256:abc", (400, "DIGEST_INVALID")), ("-v1", (404, "MANIFEST_UNKNOWN"))]
)
async def test_a_malformed_reference_is_refused(
    http: httpx.AsyncClient, fresh_name: str, reference: str, expected: tuple[int, str]
) -> None:
    assert refusal(await http.delete(f"/v2/{fresh_name}/manifests/{reference}")) == expected


async def test_a_deletion_may_depend_on_what_the_tag_names(http: httpx.AsyncClient, fresh_name: str) -> None:
    await push_image(http, fresh_name, IMAGE, "v1")
    target = f"/v2/{fresh_name}/manifests/v1"
    assert (await http.delete(target, headers={"If-Match": f'"{sha256(b"other")}"'})).status_code == 412
    assert (await http.delete(target, headers={"If-Match": f'"{IMAGE.digest}"'})).status_code == 202
