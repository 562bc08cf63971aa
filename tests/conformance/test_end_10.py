"""end-10: deleting blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.support import push_blob, refusal, sha256

if TYPE_CHECKING:
    import httpx


async def test_a_deleted_blob_is_gone_from_its_repository_only(http: httpx.AsyncClient, fresh_name: str) -> None:
    for name in (fresh_name, f"{fresh_name}-other"):
        digest = await push_blob(http, name, b"abc")
    assert (await http.delete(f"/v2/{fresh_name}/blobs/{digest}")).status_code == 202
    assert (await http.head(f"/v2/{fresh_name}/blobs/{digest}")).status_code == 404
    assert (await http.get(f"/v2/{fresh_name}-other/blobs/{digest}")).content == b"abc"
    assert refusal(await http.delete(f"/v2/{fresh_name}/blobs/{digest}")) == (404, "BLOB_UNKNOWN")


async def test_what_is_not_there_cannot_be_deleted(http: httpx.AsyncClient, fresh_name: str) -> None:
    response = await http.delete(f"/v2/{fresh_name}/blobs/{sha256(b'missing')}")
    assert refusal(response) == (404, "BLOB_UNKNOWN")


async def test_a_malformed_digest_is_refused(http: httpx.AsyncClient, fresh_name: str) -> None:
    assert refusal(await http.delete(f"/v2/{fresh_name}/blobs/sha256:abc")) == (400, "DIGEST_INVALID")
