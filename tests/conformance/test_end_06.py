"""end-6: closing upload sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist.storage.memory import MemoryRegistry
from tests.conformance.support import client_for, refusal, sha256, sha512, start_upload
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.peers.peer import Peer

DATA = noise(200_000)


@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=["0", "1", "200000"])
@pytest.mark.parametrize("digest_of", [sha256, sha512])
async def test_a_session_can_be_closed_with_the_whole_blob(
    http: httpx.AsyncClient, fresh_name: str, data: bytes, digest_of: Callable[[bytes], str]
) -> None:
    location = await start_upload(http, fresh_name)
    digest = digest_of(data)
    response = await http.put(location, params={"digest": digest}, content=data)
    assert response.status_code == 201
    assert response.headers["Location"] == f"/v2/{fresh_name}/blobs/{digest}"
    assert response.headers["Docker-Content-Digest"] == digest
    assert (await http.get(response.headers["Location"])).content == data
    assert (await http.get(location)).status_code == 404


@pytest.mark.parametrize("headers", [{}, {"Content-Range": f"100000-{len(DATA) - 1}"}])
async def test_a_session_can_be_closed_with_the_last_chunk(
    http: httpx.AsyncClient, fresh_name: str, headers: dict[str, str]
) -> None:
    location = await start_upload(http, fresh_name)
    await http.patch(location, content=DATA[:100_000])
    closed = await http.put(location, params={"digest": sha256(DATA)}, content=DATA[100_000:], headers=headers)
    assert closed.status_code == 201
    assert (await http.get(closed.headers["Location"])).content == DATA


@pytest.mark.parametrize("start", [0, 9, 11])
async def test_a_last_chunk_that_does_not_follow_is_refused(
    http: httpx.AsyncClient, fresh_name: str, start: int
) -> None:
    location = await start_upload(http, fresh_name)
    await http.patch(location, content=b"0123456789")
    headers = {"Content-Range": f"{start}-{start + 2}"}
    response = await http.put(location, params={"digest": sha256(DATA)}, content=b"abc", headers=headers)
    assert refusal(response) == (416, "RANGE_INVALID")
    assert response.headers["Range"] == "0-9"
    closed = await http.put(response.headers["Location"], params={"digest": sha256(b"0123456789")})
    assert closed.status_code == 201


@pytest.mark.parametrize("digest", [sha256(b"other"), sha512(b"other")])
async def test_a_wrong_digest_ends_the_session_and_stores_nothing(start: Callable[..., Peer], digest: str) -> None:
    store = MemoryRegistry()
    async with client_for(start(store).origin) as http:
        location = await start_upload(http, "a")
        await http.patch(location, content=DATA)
        assert refusal(await http.put(location, params={"digest": digest})) == (400, "DIGEST_INVALID")
        for target in (digest, sha256(DATA)):
            assert (await http.head(f"/v2/a/blobs/{target}")).status_code == 404
        assert store.used_bytes == 0
        assert refusal(await http.delete(location)) == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("query", ["", "?digest=", "?digest=sha256:abc", "?digest=md5:" + "0" * 32, "?digest=latest"])
async def test_a_digest_that_is_none_leaves_the_session_open(
    http: httpx.AsyncClient, fresh_name: str, query: str
) -> None:
    location = await start_upload(http, fresh_name)
    await http.patch(location, content=b"abc")
    assert refusal(await http.put(f"{location}{query}", content=b"def")) == (400, "DIGEST_INVALID")
    assert (await http.put(location, params={"digest": sha256(b"abc")})).status_code == 201


async def test_a_session_is_closed_once(http: httpx.AsyncClient, fresh_name: str) -> None:
    location = await start_upload(http, fresh_name)
    digest = sha256(b"")
    assert (await http.put(location, params={"digest": digest})).status_code == 201
    assert refusal(await http.put(location, params={"digest": digest})) == (404, "BLOB_UPLOAD_UNKNOWN")


async def test_a_session_of_another_repository_is_unknown(http: httpx.AsyncClient, fresh_name: str) -> None:
    location = (await start_upload(http, fresh_name)).replace(fresh_name, f"{fresh_name}-other")
    response = await http.put(location, params={"digest": sha256(DATA)}, content=DATA)
    assert refusal(response) == (404, "BLOB_UPLOAD_UNKNOWN")


async def test_the_same_blob_can_be_pushed_twice(http: httpx.AsyncClient, fresh_name: str) -> None:
    for _ in range(2):
        location = await start_upload(http, fresh_name)
        closed = await http.put(location, params={"digest": sha256(DATA)}, content=DATA)
        assert closed.status_code == 201


async def test_a_store_that_is_full_keeps_the_session(start: Callable[..., Peer]) -> None:
    async with client_for(start(MemoryRegistry(max_bytes=10)).origin) as http:
        location = await start_upload(http, "a")
        await http.patch(location, content=b"0123456789")
        response = await http.put(location, params={"digest": sha256(DATA)}, content=b"x")
        assert response.status_code == 507
        assert (await http.put(location, params={"digest": sha256(b"0123456789")})).status_code == 201
