"""end-13: the status of an upload session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.support import refusal, start_upload

if TYPE_CHECKING:
    import httpx


@pytest.mark.parametrize(("size", "expected"), [(0, "0-0"), (1, "0-0"), (2, "0-1"), (100_000, "0-99999")])
async def test_a_session_says_how_much_it_has(
    http: httpx.AsyncClient, fresh_name: str, size: int, expected: str
) -> None:
    location = await start_upload(http, fresh_name)
    await http.patch(location, content=bytes(size))
    for _ in range(2):
        response = await http.get(location)
        assert response.status_code == 204
        assert response.headers["Range"] == expected
        assert response.headers["Location"] == location
        assert response.headers["Docker-Upload-UUID"] == location.rpartition("/")[2]


async def test_head_works_too(http: httpx.AsyncClient, fresh_name: str) -> None:
    assert (await http.head(await start_upload(http, fresh_name))).status_code == 204


async def test_a_session_that_is_not_there_is_unknown(http: httpx.AsyncClient, fresh_name: str) -> None:
    location = await start_upload(http, fresh_name)
    for target in (f"/v2/{fresh_name}/blobs/uploads/other", location.replace(fresh_name, f"{fresh_name}-other")):
        assert refusal(await http.get(target)) == (404, "BLOB_UPLOAD_UNKNOWN")
