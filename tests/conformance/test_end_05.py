"""end-5: pushing chunks."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import anyio.abc
import pytest

from ocidist.storage.memory import MemoryRegistry
from tests.conformance.support import authorization, client_for, refusal, sha256, start_upload
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx
    from anyio.abc import SocketStream

    from tests.peers.peer import Peer

DATA = noise(300_000)


async def _stream(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 50_000):
        yield data[start : start + 50_000]


async def _patch(http: httpx.AsyncClient, location: str, start: int, data: bytes) -> httpx.Response:
    headers = {"Content-Range": f"{start}-{start + len(data) - 1}"}
    return await http.patch(location, content=data, headers=headers)


async def _close(http: httpx.AsyncClient, location: str, data: bytes) -> None:
    response = await http.put(location, params={"digest": sha256(data)})
    assert response.status_code == 201
    assert (await http.get(response.headers["Location"])).content == data


async def test_chunks_in_order_make_a_blob(http: httpx.AsyncClient, fresh_name: str) -> None:
    location = await start_upload(http, fresh_name)
    for start in range(0, len(DATA), 100_000):
        response = await _patch(http, location, start, DATA[start : start + 100_000])
        assert response.status_code == 202
        assert response.headers["Range"] == f"0-{start + 99_999}"
        location = response.headers["Location"]
    await _close(http, location, DATA)


async def test_a_stream_of_unknown_length_is_appended(http: httpx.AsyncClient, fresh_name: str) -> None:
    location = await start_upload(http, fresh_name)
    response = await http.patch(location, content=_stream(DATA))
    assert response.status_code == 202
    assert response.headers["Range"] == f"0-{len(DATA) - 1}"
    await http.patch(location, content=b"more")
    await _close(http, location, DATA + b"more")


async def test_a_chunk_of_unknown_length_may_have_a_range(http: httpx.AsyncClient, fresh_name: str) -> None:
    location = await start_upload(http, fresh_name)
    headers = {"Content-Range": f"0-{len(DATA) - 1}"}
    assert (await http.patch(location, content=_stream(DATA), headers=headers)).status_code == 202
    await _close(http, location, DATA)


async def test_an_empty_chunk_changes_nothing(http: httpx.AsyncClient, fresh_name: str) -> None:
    location = await start_upload(http, fresh_name)
    response = await http.patch(location)
    assert (response.status_code, response.headers["Range"]) == (202, "0-0")
    await _patch(http, location, 0, b"abc")
    assert (await http.patch(location)).headers["Range"] == "0-2"


@pytest.mark.parametrize("start", [0, 9, 11, 2**62])
async def test_a_chunk_that_does_not_follow_is_refused_and_says_where_to_go_on(
    http: httpx.AsyncClient, fresh_name: str, start: int
) -> None:
    location = await start_upload(http, fresh_name)
    await _patch(http, location, 0, b"0123456789")
    response = await _patch(http, location, start, b"abc")
    assert refusal(response) == (416, "RANGE_INVALID")
    assert response.headers["Range"] == "0-9"
    assert (await _patch(http, response.headers["Location"], 10, b"abc")).status_code == 202
    await _close(http, location, b"0123456789abc")


async def test_the_first_chunk_begins_at_zero(http: httpx.AsyncClient, fresh_name: str) -> None:
    location = await start_upload(http, fresh_name)
    assert refusal(await _patch(http, location, 1, b"abc")) == (416, "RANGE_INVALID")


@pytest.mark.parametrize("text", ["abc", "5", "9-5", "0-", "-5", "bytes */5"])
async def test_a_malformed_range_is_refused(http: httpx.AsyncClient, fresh_name: str, text: str) -> None:
    location = await start_upload(http, fresh_name)
    response = await http.patch(location, content=b"abc", headers={"Content-Range": text})
    assert refusal(response) == (400, "BLOB_UPLOAD_INVALID")
    await _patch(http, location, 0, b"abc")
    await _close(http, location, b"abc")


@pytest.mark.parametrize("text", ["0-1", "0-3"])
async def test_a_range_that_contradicts_the_length_is_refused(
    http: httpx.AsyncClient, fresh_name: str, text: str
) -> None:
    location = await start_upload(http, fresh_name)
    response = await http.patch(location, content=b"abc", headers={"Content-Range": text})
    assert refusal(response) == (400, "SIZE_INVALID")
    assert (await http.get(location)).headers["Range"] == "0-0"


@pytest.mark.parametrize("text", ["0-149999", "0-400000"])
async def test_a_stream_that_contradicts_its_range_is_refused(
    http: httpx.AsyncClient, fresh_name: str, text: str
) -> None:
    location = await start_upload(http, fresh_name)
    response = await http.patch(location, content=_stream(DATA), headers={"Content-Range": text})
    assert refusal(response) == (400, "SIZE_INVALID")
    kept = int((await http.get(location)).headers["Range"].partition("-")[2]) + 1
    assert (await http.patch(location, content=DATA[kept:])).status_code == 202
    await _close(http, location, DATA)


async def test_an_unknown_session_is_unknown(http: httpx.AsyncClient, fresh_name: str) -> None:
    location = await start_upload(http, fresh_name)
    unknown = f"/v2/{fresh_name}/blobs/uploads/00000000-0000-4000-8000-000000000000"
    elsewhere = location.replace(fresh_name, f"{fresh_name}-other")
    for target in (unknown, elsewhere):
        assert refusal(await http.patch(target, content=b"abc")) == (404, "BLOB_UPLOAD_UNKNOWN")


async def test_an_upload_that_becomes_too_large_ends(start: Callable[..., Peer]) -> None:
    store = MemoryRegistry()
    async with client_for(start(store, max_blob=10).origin) as http:
        location = await start_upload(http, "a")
        assert (await http.patch(location, content=b"0123456789")).status_code == 202
        assert (await http.patch(location, content=b"x")).status_code == 413
        location = await start_upload(http, "a")
        assert (await http.patch(location, content=_stream(DATA))).status_code == 413
        assert refusal(await http.get(location)) == (404, "BLOB_UPLOAD_UNKNOWN")


async def _begin_chunk(http: httpx.AsyncClient, location: str, sent: bytes, total: int) -> SocketStream:
    """Send the beginning of a chunk at offset 0 over a connection of its own."""
    origin = urlsplit(str(http.base_url))
    assert origin.hostname is not None
    assert origin.port is not None
    stream = await anyio.connect_tcp(origin.hostname, origin.port)
    login = await authorization(http, "PATCH", location)
    size = f"Content-Length: {total}\r\nContent-Range: 0-{total - 1}\r\n"
    await stream.send(f"PATCH {location} HTTP/1.1\r\nHost: x\r\n{login}{size}\r\n".encode() + sent)
    return stream


async def _has_arrived(http: httpx.AsyncClient, location: str, size: int) -> None:
    """Wait until the registry has some bytes of a session."""
    while (await http.get(location)).headers["Range"] != f"0-{size - 1}":  # noqa: ASYNC110 -- only the server knows
        await anyio.sleep(0.01)


async def _reset(stream: SocketStream) -> None:
    raw: socket.socket = stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610 -- this is not Django
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await anyio.aclose_forcefully(stream)


async def test_a_client_that_goes_away_leaves_what_had_arrived(http: httpx.AsyncClient, fresh_name: str) -> None:
    location = await start_upload(http, fresh_name)
    stream = await _begin_chunk(http, location, DATA[:1000], len(DATA))
    await _has_arrived(http, location, 1000)
    await _reset(stream)
    response = await _patch(http, location, 1000, DATA[1000:])
    assert response.status_code == 202
    await _close(http, location, DATA)


async def test_two_chunks_at_once_are_taken_one_after_the_other(http: httpx.AsyncClient, fresh_name: str) -> None:
    location = await start_upload(http, fresh_name)
    async with await _begin_chunk(http, location, b"01234", 10) as first:
        await _has_arrived(http, location, 5)
        async with await _begin_chunk(http, location, b"abcdefghij", 10) as second:
            await first.send(b"56789")
            assert (await first.receive()).startswith(b"HTTP/1.1 202 ")
            assert (await second.receive()).startswith(b"HTTP/1.1 416 ")
    await _close(http, location, b"0123456789")


async def test_a_client_that_falls_silent_is_not_waited_for(start: Callable[..., Peer]) -> None:
    async with client_for(start(idle=0.5).origin) as http:
        location = await start_upload(http, "a")
        async with await _begin_chunk(http, location, b"01234", 10) as stream:
            assert (await stream.receive()).startswith(b"HTTP/1.1 408 ")
        assert (await http.patch(location, content=b"56789")).status_code == 202
        await _close(http, location, b"0123456789")


@pytest.mark.parametrize("behind", ["%3Fx", "%3F", "%2F", "%00", "%20", "%23x"])
async def test_a_session_goes_by_no_name_but_its_own(http: httpx.AsyncClient, fresh_name: str, behind: str) -> None:
    location = await start_upload(http, fresh_name)
    for method in ("PATCH", "GET", "DELETE"):
        response = await http.request(method, location + behind)
        assert response.status_code == 404
    assert (await http.get(location)).headers["Range"] == "0-0"
