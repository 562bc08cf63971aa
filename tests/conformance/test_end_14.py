"""end-14: cancelling upload sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist.storage.memory import MemoryRegistry
from tests.conformance.support import client_for, refusal, sha256, start_upload

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.peers.peer import Peer


async def test_a_cancelled_session_is_gone_with_its_bytes(start: Callable[..., Peer]) -> None:
    store = MemoryRegistry()
    async with client_for(start(store).origin) as http:
        location = await start_upload(http, "a")
        await http.patch(location, content=b"abc")
        assert store.used_bytes == 3
        assert (await http.delete(location)).status_code == 204
        assert store.used_bytes == 0
        for response in (
            await http.get(location),
            await http.patch(location, content=b"abc"),
            await http.put(location, params={"digest": sha256(b"abc")}),
            await http.delete(location),
        ):
            assert refusal(response) == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("what", ["unknown", "elsewhere"])
async def test_a_session_that_is_not_there_is_unknown(http: httpx.AsyncClient, fresh_name: str, what: str) -> None:
    location = await start_upload(http, fresh_name)
    target = f"{location}0" if what == "unknown" else location.replace(fresh_name, f"{fresh_name}-other")
    assert refusal(await http.delete(target)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert (await http.get(location)).status_code == 204
