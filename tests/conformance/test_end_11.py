"""end-11: mounting blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.support import push_blob, refusal, sha256

if TYPE_CHECKING:
    import httpx

    from tests.peers.peer import Peer


@pytest.mark.parametrize("named", [True, False])
async def test_a_blob_can_be_mounted(http: httpx.AsyncClient, registry: Peer, fresh_name: str, named: bool) -> None:
    digest = await push_blob(http, f"{fresh_name}-source", fresh_name.encode() + bytes([named]))
    query = {"mount": digest, **({"from": f"{fresh_name}-source"} if named else {})}
    response = await http.post(f"/v2/{fresh_name}/blobs/uploads/", params=query)
    if not named and registry.token_server is not None:
        # The token says nothing about other repositories, so there is nowhere to look.
        assert response.status_code == 202
        return
    assert response.status_code == 201
    assert response.headers["Location"] == f"/v2/{fresh_name}/blobs/{digest}"
    assert response.headers["Docker-Content-Digest"] == digest
    assert (await http.get(response.headers["Location"])).content == fresh_name.encode() + bytes([named])


@pytest.mark.parametrize("source", ["-source", "-unknown", None])
async def test_a_mount_that_finds_nothing_opens_a_session(
    http: httpx.AsyncClient, fresh_name: str, source: str | None
) -> None:
    await push_blob(http, f"{fresh_name}-source", b"another blob")
    data = f"never stored before {fresh_name}".encode()
    query = {"mount": sha256(data), **({} if source is None else {"from": fresh_name + source})}
    response = await http.post(f"/v2/{fresh_name}/blobs/uploads/", params=query)
    assert response.status_code == 202
    assert response.headers["Range"] == "0-0"
    closed = await http.put(response.headers["Location"], params={"digest": sha256(data)}, content=data)
    assert closed.status_code == 201


async def test_a_blob_is_not_mounted_from_where_it_is_not(http: httpx.AsyncClient, fresh_name: str) -> None:
    digest = await push_blob(http, f"{fresh_name}-source", b"abc")
    query = {"mount": digest, "from": f"{fresh_name}-elsewhere"}
    assert (await http.post(f"/v2/{fresh_name}/blobs/uploads/", params=query)).status_code == 202
    assert (await http.head(f"/v2/{fresh_name}/blobs/{digest}")).status_code == 404


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"mount": "sha256:abc", "from": "a"}, "DIGEST_INVALID"),
        ({"mount": "", "from": "a"}, "DIGEST_INVALID"),
        ({"mount": "md5:" + "0" * 32, "from": "a"}, "DIGEST_INVALID"),
        ({"mount": sha256(b""), "from": "Upper"}, "NAME_INVALID"),
    ],
)
async def test_a_malformed_mount_is_refused(
    http: httpx.AsyncClient, fresh_name: str, query: dict[str, str], code: str
) -> None:
    response = await http.post(f"/v2/{fresh_name}/blobs/uploads/", params=query)
    assert refusal(response) == (400, code)
