"""end-4a, end-4b, end-4c: opening upload sessions, and blobs in one request."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from ocidist.storage.memory import MemoryRegistry
from tests.conformance.support import client_for, refusal, sha256, sha512, start_upload
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx

    from tests.peers.peer import Peer

DATA = noise(100_000)


async def test_a_session_has_a_relative_location_with_a_uuid(http: httpx.AsyncClient, fresh_name: str) -> None:
    response = await http.post(f"/v2/{fresh_name}/blobs/uploads/")
    assert response.status_code == 202
    prefix, _, name = response.headers["Location"].rpartition("/")
    assert prefix == f"/v2/{fresh_name}/blobs/uploads"
    assert str(uuid.UUID(name)) == name
    assert response.headers["Docker-Upload-UUID"] == name
    assert response.headers["Range"] == "0-0"
    assert "OCI-Chunk-Min-Length" not in response.headers


async def test_the_slash_at_the_end_may_be_left_out(http: httpx.AsyncClient, fresh_name: str) -> None:
    assert (await http.post(f"/v2/{fresh_name}/blobs/uploads")).status_code == 202


async def test_a_minimum_chunk_is_announced(start: Callable[..., Peer]) -> None:
    async with client_for(start(min_chunk=1024).origin) as http:
        response = await http.post("/v2/a/blobs/uploads/")
        assert response.headers["OCI-Chunk-Min-Length"] == "1024"


@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=["0", "1", "100000"])
@pytest.mark.parametrize("digest_of", [sha256, sha512])
async def test_a_blob_can_be_pushed_in_one_request(
    http: httpx.AsyncClient, fresh_name: str, data: bytes, digest_of: Callable[[bytes], str]
) -> None:
    digest = digest_of(data)
    response = await http.post(f"/v2/{fresh_name}/blobs/uploads/", params={"digest": digest}, content=data)
    assert response.status_code == 201
    assert response.headers["Location"] == f"/v2/{fresh_name}/blobs/{digest}"
    assert response.headers["Docker-Content-Digest"] == digest
    assert (await http.get(response.headers["Location"])).content == data


@pytest.mark.parametrize("digest", [sha256(b"other"), sha512(b"other"), "sha256:abc", "md5:" + "0" * 32, ""])
async def test_a_blob_with_a_wrong_digest_is_refused_and_not_stored(
    http: httpx.AsyncClient, fresh_name: str, digest: str
) -> None:
    response = await http.post(f"/v2/{fresh_name}/blobs/uploads/", params={"digest": digest}, content=DATA)
    assert refusal(response) == (400, "DIGEST_INVALID")
    assert (await http.head(f"/v2/{fresh_name}/blobs/{sha256(DATA)}")).status_code == 404


async def test_nothing_is_left_of_a_blob_that_was_refused(start: Callable[..., Peer]) -> None:
    store = MemoryRegistry()
    async with client_for(start(store).origin) as http:
        response = await http.post("/v2/a/blobs/uploads/", params={"digest": sha256(b"other")}, content=DATA)
        assert response.status_code == 400
        assert store.used_bytes == 0


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_the_algorithm_can_be_announced(http: httpx.AsyncClient, fresh_name: str, algorithm: str) -> None:
    digest = {"sha256": sha256, "sha512": sha512}[algorithm](DATA)
    response = await http.post(f"/v2/{fresh_name}/blobs/uploads/", params={"digest-algorithm": algorithm})
    assert response.status_code == 202
    closed = await http.put(response.headers["Location"], params={"digest": digest}, content=DATA)
    assert closed.status_code == 201
    assert closed.headers["Docker-Content-Digest"] == digest


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "SHA256", "x" * 1000])
async def test_an_algorithm_that_cannot_be_verified_is_refused(
    http: httpx.AsyncClient, fresh_name: str, algorithm: str
) -> None:
    response = await http.post(f"/v2/{fresh_name}/blobs/uploads/", params={"digest-algorithm": algorithm})
    assert refusal(response) == (400, "DIGEST_INVALID")


async def test_a_malformed_name_is_refused(http: httpx.AsyncClient) -> None:
    assert refusal(await http.post("/v2/Upper/blobs/uploads/")) == (400, "NAME_INVALID")


async def test_too_many_open_sessions_are_refused_until_one_ends(start: Callable[..., Peer]) -> None:
    async with client_for(start(max_uploads=2).origin) as http:
        first = await start_upload(http, "a")
        await start_upload(http, "b")
        for query in ("", f"?digest={sha256(b'')}", f"?mount={sha256(b'')}&from=b"):
            response = await http.post(f"/v2/a/blobs/uploads/{query}")
            assert refusal(response) == (429, "TOOMANYREQUESTS")
            assert int(response.headers["Retry-After"]) > 0
        assert (await http.delete(first)).status_code == 204
        await start_upload(http, "a")


@pytest.mark.parametrize(("size", "status"), [(9, 201), (10, 201), (11, 413)])
@pytest.mark.parametrize("announced", [True, False])
async def test_a_blob_may_have_so_many_bytes_and_no_more(
    start: Callable[..., Peer],
    size: int,
    status: int,
    announced: bool,
) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for _ in range(size):
            yield b"x"

    data = b"x" * size
    store = MemoryRegistry()
    async with client_for(start(store, max_blob=10).origin) as http:
        response = await http.post(
            "/v2/a/blobs/uploads/", params={"digest": sha256(data)}, content=data if announced else stream()
        )
        assert response.status_code == status
        assert store.used_bytes == (size if status == 201 else 0)


async def test_a_store_that_is_full_says_so(start: Callable[..., Peer]) -> None:
    async with client_for(start(MemoryRegistry(max_bytes=10)).origin) as http:
        response = await http.post("/v2/a/blobs/uploads/", params={"digest": sha256(DATA)}, content=DATA)
        assert response.status_code == 507
        assert (await http.post("/v2/a/blobs/uploads/", params={"digest": sha256(b"")})).status_code == 201
