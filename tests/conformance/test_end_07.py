"""end-7a, end-7b: pushing manifests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ocidist.storage.memory import MemoryRegistry
from tests.conformance.support import client_for, codes, push_blob, push_image, put_manifest, refusal, sha256, sha512
from tests.peers import images

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx

    from tests.peers.peer import Peer

IMAGE = images.image()
OTHER = images.image("linux/arm64")
MIB = 1024 * 1024


async def _push_blobs(http: httpx.AsyncClient, name: str, *pushed: images.Image) -> None:
    for image in pushed:
        for blob in image.all_blobs:
            await push_blob(http, name, blob.data)


@pytest.mark.parametrize("by", ["tag", "digest"])
async def test_a_manifest_is_taken_as_it_is(http: httpx.AsyncClient, fresh_name: str, by: str) -> None:
    await _push_blobs(http, fresh_name, IMAGE)
    response = await put_manifest(http, fresh_name, "v1" if by == "tag" else IMAGE.digest, IMAGE)
    assert response.status_code == 201
    assert response.headers["Location"] == f"/v2/{fresh_name}/manifests/{IMAGE.digest}"
    assert response.headers["Docker-Content-Digest"] == IMAGE.digest
    assert "OCI-Subject" not in response.headers
    assert "OCI-Tag" not in response.headers
    assert (await http.get(response.headers["Location"])).content == IMAGE.manifest.data
    tagged = await http.head(f"/v2/{fresh_name}/manifests/v1")
    assert tagged.status_code == (200 if by == "tag" else 404)


async def test_a_manifest_can_be_pushed_by_its_sha512_digest(http: httpx.AsyncClient, fresh_name: str) -> None:
    await _push_blobs(http, fresh_name, IMAGE)
    digest = sha512(IMAGE.manifest.data)
    response = await put_manifest(http, fresh_name, digest, IMAGE)
    assert response.status_code == 201
    assert response.headers["Docker-Content-Digest"] == digest
    found = await http.get(f"/v2/{fresh_name}/manifests/{digest}")
    assert found.content == IMAGE.manifest.data
    assert found.headers["Docker-Content-Digest"] == digest


async def test_tags_can_be_set_in_the_same_request(http: httpx.AsyncClient, fresh_name: str) -> None:
    await _push_blobs(http, fresh_name, IMAGE)
    tags = [f"v{number}" for number in range(10)]
    response = await http.put(
        f"/v2/{fresh_name}/manifests/{IMAGE.digest}",
        params={"tag": tags},
        content=IMAGE.manifest.data,
        headers={"Content-Type": IMAGE.manifest.media_type},
    )
    assert response.status_code == 201
    assert response.headers.get_list("OCI-Tag") == tags
    assert (await http.get(f"/v2/{fresh_name}/tags/list")).json()["tags"] == sorted(tags)


async def test_too_many_tags_in_one_request_are_refused(http: httpx.AsyncClient, fresh_name: str) -> None:
    query = "&".join(f"tag=v{number}" for number in range(65))
    response = await http.put(f"/v2/{fresh_name}/manifests/{IMAGE.digest}?{query}", content=IMAGE.manifest.data)
    assert response.status_code == 414


async def test_a_malformed_tag_sets_none(http: httpx.AsyncClient, fresh_name: str) -> None:
    await _push_blobs(http, fresh_name, IMAGE)
    response = await http.put(
        f"/v2/{fresh_name}/manifests/{IMAGE.digest}?tag=good&tag=-bad", content=IMAGE.manifest.data
    )
    assert refusal(response) == (400, "TAG_INVALID")
    assert (await http.get(f"/v2/{fresh_name}/tags/list")).json()["tags"] == []


async def test_a_tag_moves(http: httpx.AsyncClient, fresh_name: str) -> None:
    await push_image(http, fresh_name, IMAGE, "v1")
    await push_image(http, fresh_name, OTHER, "v1")
    assert (await http.get(f"/v2/{fresh_name}/manifests/v1")).content == OTHER.manifest.data
    assert (await http.get(f"/v2/{fresh_name}/manifests/{IMAGE.digest}")).content == IMAGE.manifest.data


@pytest.mark.parametrize("content_type", [None, "application/octet-stream", "application/json; charset=utf-8"])
async def test_a_vague_type_is_found_out(http: httpx.AsyncClient, fresh_name: str, content_type: str | None) -> None:
    await _push_blobs(http, fresh_name, IMAGE)
    headers = {} if content_type is None else {"Content-Type": content_type}
    pushed = await http.put(f"/v2/{fresh_name}/manifests/v1", content=IMAGE.manifest.data, headers=headers)
    assert pushed.status_code == 201
    found = await http.get(f"/v2/{fresh_name}/manifests/v1")
    assert found.headers["Content-Type"] == IMAGE.manifest.media_type


async def test_parameters_of_the_type_are_ignored(http: httpx.AsyncClient, fresh_name: str) -> None:
    await _push_blobs(http, fresh_name, IMAGE)
    headers = {"Content-Type": f"{IMAGE.manifest.media_type}; charset=utf-8"}
    await http.put(f"/v2/{fresh_name}/manifests/v1", content=IMAGE.manifest.data, headers=headers)
    found = await http.get(f"/v2/{fresh_name}/manifests/v1")
    assert found.headers["Content-Type"] == IMAGE.manifest.media_type


@pytest.mark.parametrize("digest", [sha256(b"other"), sha512(b"other"), "md5:" + "0" * 32])
async def test_a_wrong_digest_is_refused(http: httpx.AsyncClient, fresh_name: str, digest: str) -> None:
    await _push_blobs(http, fresh_name, IMAGE)
    assert refusal(await put_manifest(http, fresh_name, digest, IMAGE)) == (400, "DIGEST_INVALID")
    for reference in (digest, IMAGE.digest):
        assert (await http.head(f"/v2/{fresh_name}/manifests/{reference}")).status_code == 404


async def test_every_blob_that_is_missing_is_named(http: httpx.AsyncClient, fresh_name: str) -> None:
    response = await put_manifest(http, fresh_name, "v1", IMAGE)
    assert response.status_code == 400
    assert codes(response) == ["MANIFEST_BLOB_UNKNOWN"] * len(IMAGE.blobs)
    assert [error["detail"] for error in response.json()["errors"]] == [blob.digest for blob in IMAGE.blobs]
    assert (await http.head(f"/v2/{fresh_name}/manifests/v1")).status_code == 404


async def test_a_missing_manifest_of_an_index_is_named(http: httpx.AsyncClient, fresh_name: str) -> None:
    index = images.index()
    await push_image(http, fresh_name, index.children[0])
    response = await put_manifest(http, fresh_name, "v1", index)
    assert (response.status_code, codes(response)) == (400, ["MANIFEST_BLOB_UNKNOWN"])
    assert response.json()["errors"][0]["detail"] == index.children[1].digest


async def test_a_store_that_does_not_check_takes_manifests_first(start: Callable[..., Peer]) -> None:
    async with client_for(start(MemoryRegistry(check_references=False)).origin) as http:
        assert (await put_manifest(http, "a", "v1", images.index())).status_code == 201


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe",
        b'{"schemaVersion":2}',
        b'{"schemaVersion":2,"manifests":[],"config":{}}',
        b'{"schemaVersion":2,"manifests":[{}]}',
        b'{"schemaVersion":1,"manifests":[]}',
        b"[" * 100_000,
        b'{"schemaVersion":2,"manifests":[],"subject":{"digest":"sha256:0"}}',
    ],
)
async def test_a_malformed_manifest_is_refused(http: httpx.AsyncClient, fresh_name: str, data: bytes) -> None:
    response = await http.put(f"/v2/{fresh_name}/manifests/v1", content=data)
    assert refusal(response) == (400, "MANIFEST_INVALID")


async def test_a_type_that_contradicts_the_manifest_is_refused(http: httpx.AsyncClient, fresh_name: str) -> None:
    await _push_blobs(http, fresh_name, IMAGE)
    for media_type in (images.OCI_INDEX, images.DOCKER_MANIFEST, "text/html"):
        response = await http.put(
            f"/v2/{fresh_name}/manifests/v1", content=IMAGE.manifest.data, headers={"Content-Type": media_type}
        )
        assert refusal(response) == (400, "MANIFEST_INVALID")


async def test_schema_1_is_not_supported(http: httpx.AsyncClient, fresh_name: str) -> None:
    data = json.dumps({"schemaVersion": 1, "name": "a", "tag": "b", "fsLayers": [], "history": []}).encode()
    assert refusal(await http.put(f"/v2/{fresh_name}/manifests/v1", content=data)) == (400, "UNSUPPORTED")


def _padded(size: int) -> bytes:
    manifest = images.index(()).manifest.data
    return manifest[:-1] + b" " * (size - len(manifest)) + b"}"


@pytest.mark.parametrize(("size", "status"), [(4 * MIB - 1, 201), (4 * MIB, 201), (4 * MIB + 1, 413)])
@pytest.mark.parametrize("announced", ["announced", "streamed"])
async def test_a_manifest_has_at_most_4_mib(
    http: httpx.AsyncClient, fresh_name: str, size: int, status: int, announced: str
) -> None:
    data = _padded(size)
    assert len(data) == size
    content = data if announced == "announced" else _stream(data)
    response = await http.put(
        f"/v2/{fresh_name}/manifests/v1", content=content, headers={"Content-Type": images.OCI_INDEX}
    )
    assert response.status_code == status


async def _stream(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), MIB):
        yield data[start : start + MIB]


async def test_a_subject_is_acknowledged_although_it_is_missing(http: httpx.AsyncClient, fresh_name: str) -> None:
    note = images.artifact(IMAGE)
    await _push_blobs(http, fresh_name, note)
    response = await put_manifest(http, fresh_name, note.digest, note)
    assert response.status_code == 201
    assert response.headers["OCI-Subject"] == IMAGE.digest


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({"If-Match": f'"{IMAGE.digest}"'}, 201),
        ({"If-Match": f'"x", "{IMAGE.digest}"'}, 201),
        ({"If-Match": "*"}, 201),
        ({"If-Match": f'"{OTHER.digest}"'}, 412),
        ({"If-Match": f'W/"{IMAGE.digest}"'}, 412),
        ({"If-None-Match": "*"}, 412),
        ({"If-None-Match": f'"{IMAGE.digest}"'}, 412),
        ({"If-None-Match": f'"{OTHER.digest}"'}, 201),
    ],
)
async def test_a_push_may_depend_on_what_the_tag_names_now(
    http: httpx.AsyncClient, fresh_name: str, condition: dict[str, str], status: int
) -> None:
    await push_image(http, fresh_name, IMAGE, "v1")
    await push_image(http, fresh_name, OTHER)
    headers = {"Content-Type": OTHER.manifest.media_type, **condition}
    response = await http.put(f"/v2/{fresh_name}/manifests/v1", content=OTHER.manifest.data, headers=headers)
    assert response.status_code == status
    found = await http.get(f"/v2/{fresh_name}/manifests/v1")
    assert found.content == (OTHER if status == 201 else IMAGE).manifest.data


@pytest.mark.parametrize(("condition", "status"), [({"If-Match": "*"}, 412), ({"If-None-Match": "*"}, 201)])
async def test_a_push_may_depend_on_whether_there_is_a_tag(
    http: httpx.AsyncClient, fresh_name: str, condition: dict[str, str], status: int
) -> None:
    await push_image(http, fresh_name, IMAGE)
    headers = {"Content-Type": IMAGE.manifest.media_type, **condition}
    response = await http.put(f"/v2/{fresh_name}/manifests/v1", content=IMAGE.manifest.data, headers=headers)
    assert response.status_code == status


async def test_a_manifest_needs_a_good_name(http: httpx.AsyncClient, fresh_name: str) -> None:
    assert refusal(await put_manifest(http, "Upper", "v1", IMAGE)) == (400, "NAME_INVALID")
    assert refusal(await put_manifest(http, fresh_name, "x" * 129, IMAGE)) == (400, "TAG_INVALID")
