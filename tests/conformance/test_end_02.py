"""end-2: pulling blobs."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import pytest

from tests.conformance.support import client_for, push_blob, refusal, sha256, sha512
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.peers.peer import Peer

DATA = noise(1000)
LARGE = noise(3 * 1024 * 1024 + 11)


@pytest.mark.parametrize("data", [b"", b"x", DATA, LARGE], ids=["0", "1", "1000", "3M"])
async def test_a_blob_is_sent_whole(http: httpx.AsyncClient, fresh_name: str, data: bytes) -> None:
    digest = await push_blob(http, fresh_name, data)
    response = await http.get(f"/v2/{fresh_name}/blobs/{digest}")
    assert response.status_code == 200
    assert response.content == data
    assert response.headers["Docker-Content-Digest"] == digest
    assert response.headers["Content-Length"] == str(len(data))
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Accept-Ranges"] == "bytes"


async def test_head_tells_the_size(http: httpx.AsyncClient, fresh_name: str) -> None:
    digest = await push_blob(http, fresh_name, LARGE)
    response = await http.head(f"/v2/{fresh_name}/blobs/{digest}")
    assert response.status_code == 200
    assert response.headers["Content-Length"] == str(len(LARGE))
    assert response.headers["Docker-Content-Digest"] == digest


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_blob_that_is_not_there_is_unknown(http: httpx.AsyncClient, fresh_name: str, method: str) -> None:
    for name in (fresh_name, f"{fresh_name}-other"):
        response = await http.request(method, f"/v2/{name}/blobs/{sha256(b'missing')}")
        assert response.status_code == 404
        assert method == "HEAD" or refusal(response) == (404, "BLOB_UNKNOWN")
        await push_blob(http, fresh_name, DATA)


async def test_a_blob_of_another_repository_is_unknown(http: httpx.AsyncClient, fresh_name: str) -> None:
    digest = await push_blob(http, fresh_name, DATA)
    response = await http.get(f"/v2/{fresh_name}-other/blobs/{digest}")
    assert refusal(response) == (404, "BLOB_UNKNOWN")


@pytest.mark.parametrize("digest", ["sha256:abc", "latest", "sha256:" + "A" * 64, ":", "a" * 64])
async def test_a_malformed_digest_is_refused(http: httpx.AsyncClient, fresh_name: str, digest: str) -> None:
    response = await http.get(f"/v2/{fresh_name}/blobs/{digest}")
    assert refusal(response) == (400, "DIGEST_INVALID")


async def test_a_malformed_name_is_refused(http: httpx.AsyncClient) -> None:
    response = await http.get(f"/v2/Upper/Case/blobs/{sha256(b'')}")
    assert refusal(response) == (400, "NAME_INVALID")


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-99", 0, 99),
        ("bytes=0-0", 0, 0),
        ("bytes=900-", 900, 999),
        ("bytes=900-5000", 900, 999),
        ("bytes=999-999", 999, 999),
        ("bytes=-100", 900, 999),
        ("bytes=-5000", 0, 999),
    ],
)
async def test_a_range_is_sent(http: httpx.AsyncClient, fresh_name: str, wanted: str, first: int, last: int) -> None:
    digest = await push_blob(http, fresh_name, DATA)
    response = await http.get(f"/v2/{fresh_name}/blobs/{digest}", headers={"Range": wanted})
    assert response.status_code == 206
    assert response.content == DATA[first : last + 1]
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/1000"
    assert response.headers["Content-Length"] == str(last + 1 - first)
    assert response.headers["Docker-Content-Digest"] == digest


async def test_a_large_range_is_sent(http: httpx.AsyncClient, fresh_name: str) -> None:
    digest = await push_blob(http, fresh_name, LARGE)
    response = await http.get(f"/v2/{fresh_name}/blobs/{digest}", headers={"Range": "bytes=11-"})
    assert response.status_code == 206
    assert response.content == LARGE[11:]


@pytest.mark.parametrize("wanted", ["bytes=1000-", "bytes=5000-6000", "bytes=-0", "bytes=500-0"])
async def test_a_range_without_bytes_is_refused_with_the_size(
    http: httpx.AsyncClient, fresh_name: str, wanted: str
) -> None:
    digest = await push_blob(http, fresh_name, DATA)
    response = await http.get(f"/v2/{fresh_name}/blobs/{digest}", headers={"Range": wanted})
    assert refusal(response) == (416, "RANGE_INVALID")
    assert response.headers["Content-Range"] == "bytes */1000"


@pytest.mark.parametrize("wanted", ["bytes=0-0,5-9", "items=0-5", "bytes", "bytes=x-y"])
async def test_what_is_not_one_range_of_bytes_is_ignored(http: httpx.AsyncClient, fresh_name: str, wanted: str) -> None:
    digest = await push_blob(http, fresh_name, DATA)
    response = await http.get(f"/v2/{fresh_name}/blobs/{digest}", headers={"Range": wanted})
    assert response.status_code == 200
    assert response.content == DATA


@pytest.mark.parametrize(("tag", "status"), [("the right one", 206), ('"other"', 200), ("W/the right one", 200)])
async def test_a_range_may_depend_on_the_entity_tag(
    http: httpx.AsyncClient, fresh_name: str, tag: str, status: int
) -> None:
    digest = await push_blob(http, fresh_name, DATA)
    condition = tag.replace("the right one", f'"{digest}"')
    headers = {"Range": "bytes=0-9", "If-Range": condition}
    response = await http.get(f"/v2/{fresh_name}/blobs/{digest}", headers=headers)
    assert response.status_code == status


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_blob_is_not_sent_to_who_has_it(http: httpx.AsyncClient, fresh_name: str, method: str) -> None:
    digest = await push_blob(http, fresh_name, DATA)
    tag = (await http.head(f"/v2/{fresh_name}/blobs/{digest}")).headers["ETag"]
    response = await http.request(method, f"/v2/{fresh_name}/blobs/{digest}", headers={"If-None-Match": tag})
    assert response.status_code == 304
    assert response.content == b""


async def test_a_sha512_blob_is_served_as_such(http: httpx.AsyncClient, fresh_name: str) -> None:
    digest = sha512(DATA)
    pushed = await http.post(f"/v2/{fresh_name}/blobs/uploads/", params={"digest": digest}, content=DATA)
    assert pushed.status_code == 201
    response = await http.get(f"/v2/{fresh_name}/blobs/{digest}")
    assert response.content == DATA
    assert response.headers["Docker-Content-Digest"] == digest
    assert (await http.head(f"/v2/{fresh_name}/blobs/{sha256(DATA)}")).status_code == 404


async def test_t61_a_client_that_does_not_read_is_not_waited_for(start: Callable[..., Peer]) -> None:
    async with client_for(start(idle=0.3).origin) as http:
        data = noise(32 * 1024 * 1024)
        digest = await push_blob(http, "a", data)
        async with await anyio.connect_tcp("127.0.0.1", http.base_url.port or 0) as slow:
            await slow.send(f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            await anyio.sleep(0.8)
            received = 0
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    received += len(await slow.receive(1024 * 1024))
        assert received < len(data)
        assert (await http.get(f"/v2/a/blobs/{digest}")).content == data
