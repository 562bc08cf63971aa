"""Every way to push a blob, with each algorithm, and what happens when many do so at once."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import anyio
import pytest

from tests.conformance.support import push_blob, push_image, refusal, sha256, start_upload
from tests.peers import images
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import httpx

    from tests.peers.peer import Peer

DATA = noise(3000)
SIZE = 1100


def _digest(algorithm: str, data: bytes) -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


async def _post(http: httpx.AsyncClient, name: str, data: bytes, digest: str) -> httpx.Response:
    return await http.post(f"/v2/{name}/blobs/uploads/", params={"digest": digest}, content=data)


async def _post_then_put(http: httpx.AsyncClient, name: str, data: bytes, digest: str) -> httpx.Response:
    return await http.put(await start_upload(http, name), params={"digest": digest}, content=data)


async def _stream(http: httpx.AsyncClient, name: str, data: bytes, digest: str) -> httpx.Response:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), SIZE):
            yield data[start : start + SIZE]

    sent = await http.patch(await start_upload(http, name), content=pieces())
    assert sent.status_code == 202
    return await http.put(sent.headers["Location"], params={"digest": digest})


async def _chunks(http: httpx.AsyncClient, name: str, data: bytes, digest: str) -> httpx.Response:
    return await _chunked(http, name, data, digest, last="PATCH", astray=False)


async def _chunks_and_put(http: httpx.AsyncClient, name: str, data: bytes, digest: str) -> httpx.Response:
    return await _chunked(http, name, data, digest, last="PUT", astray=False)


async def _astray(http: httpx.AsyncClient, name: str, data: bytes, digest: str) -> httpx.Response:
    return await _chunked(http, name, data, digest, last="PATCH", astray=True)


async def _astray_and_put(http: httpx.AsyncClient, name: str, data: bytes, digest: str) -> httpx.Response:
    return await _chunked(http, name, data, digest, last="PUT", astray=True)


async def _chunked(
    http: httpx.AsyncClient, name: str, data: bytes, digest: str, *, last: str, astray: bool
) -> httpx.Response:
    """Push in chunks; if *astray*, each only after one that does not follow, and where the status says."""
    location = await start_upload(http, name)
    for start in range(0, len(data), SIZE):
        final = start + SIZE >= len(data)
        if astray:
            wrong = 0 if final else start + SIZE
            refused = await _send(http, last if final else "PATCH", _at(location, digest), data, wrong)
            assert refusal(refused) == (416, "RANGE_INVALID")
            status = await http.get(location)
            assert status.status_code == 204
            assert status.headers["Range"] == f"0-{max(start - 1, 0)}"
            location = status.headers["Location"]
        sent = await _send(http, last if final else "PATCH", _at(location, digest), data, start)
        if final and last == "PUT":
            return sent
        assert sent.status_code == 202
        assert sent.headers["Range"] == f"0-{min(start + SIZE, len(data)) - 1}"
        location = sent.headers["Location"]
    return await http.put(location, params={"digest": digest})


def _at(location: str, digest: str) -> str:
    # A chunk has no use for the digest, and is not disturbed by it either.
    return f"{location}?digest={digest}"


async def _send(http: httpx.AsyncClient, method: str, location: str, data: bytes, start: int) -> httpx.Response:
    part = data[start : start + SIZE]
    headers = {"Content-Range": f"{start}-{start + len(part) - 1}", "Content-Type": "application/octet-stream"}
    return await http.request(method, location, content=part, headers=headers)


WAYS: dict[str, Callable[[httpx.AsyncClient, str, bytes, str], Awaitable[httpx.Response]]] = {
    "post": _post,
    "post-put": _post_then_put,
    "stream": _stream,
    "chunks": _chunks,
    "chunks-put": _chunks_and_put,
    "out-of-order": _astray,
    "out-of-order-put": _astray_and_put,
}


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_blob_can_be_pushed(http: httpx.AsyncClient, fresh_name: str, way: str, algorithm: str) -> None:
    data = DATA + fresh_name.encode()
    digest = _digest(algorithm, data)
    assert (await http.get(f"/v2/{fresh_name}/blobs/{digest}")).status_code == 404
    pushed = await WAYS[way](http, fresh_name, data, digest)
    assert pushed.status_code == 201
    assert pushed.headers["Docker-Content-Digest"] == digest
    assert (await http.get(pushed.headers["Location"])).content == data


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_blob_that_is_another_is_refused(
    http: httpx.AsyncClient, fresh_name: str, way: str, algorithm: str
) -> None:
    digest = _digest(algorithm, b"another blob")
    assert refusal(await WAYS[way](http, fresh_name, DATA, digest)) == (400, "DIGEST_INVALID")
    for each in (digest, _digest(algorithm, DATA)):
        assert (await http.head(f"/v2/{fresh_name}/blobs/{each}")).status_code == 404


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("named", [True, False])
async def test_a_blob_of_either_algorithm_can_be_mounted(
    http: httpx.AsyncClient, registry: Peer, fresh_name: str, algorithm: str, named: bool
) -> None:
    if not named and registry.token_server is not None:
        pytest.skip("a token for one repository does not let anybody look into others")
    digest = _digest(algorithm, fresh_name.encode())
    query = {"mount": digest, **({"from": fresh_name} if named else {})}
    missing = await http.post(f"/v2/{fresh_name}-to/blobs/uploads/", params=query)
    assert missing.status_code == 202
    assert (await http.delete(missing.headers["Location"])).status_code == 204
    assert (await _post(http, fresh_name, fresh_name.encode(), digest)).status_code == 201
    mounted = await http.post(f"/v2/{fresh_name}-to/blobs/uploads/", params=query)
    assert mounted.status_code == 201
    assert mounted.headers["Location"] == f"/v2/{fresh_name}-to/blobs/{digest}"
    assert (await http.get(mounted.headers["Location"])).content == fresh_name.encode()


async def test_of_many_chunks_for_the_same_place_one_is_taken(http: httpx.AsyncClient, fresh_name: str) -> None:
    location = await start_upload(http, fresh_name)
    statuses = []

    async def send(number: int) -> None:
        headers = {"Content-Range": f"0-{len(DATA) - 1}"}
        data = bytes([number]) * len(DATA)
        statuses.append((await http.patch(location, content=data, headers=headers)).status_code)

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(send, number)
    assert sorted(statuses) == [202] + [416] * 7
    assert (await http.get(location)).headers["Range"] == f"0-{len(DATA) - 1}"


async def test_a_session_that_is_cancelled_during_a_chunk_is_gone(http: httpx.AsyncClient, fresh_name: str) -> None:
    location = await start_upload(http, fresh_name)
    begun, go_on = anyio.Event(), anyio.Event()
    statuses: dict[str, int] = {}

    async def pieces() -> AsyncIterator[bytes]:
        yield DATA
        begun.set()
        await go_on.wait()
        yield DATA

    async def ask(method: str, content: AsyncIterator[bytes] | None = None) -> None:
        statuses[method] = (await http.request(method, location, content=content)).status_code

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, "PATCH", pieces())
        await begun.wait()
        while (await http.get(location)).headers["Range"] == "0-0":
            await anyio.lowlevel.checkpoint()
        tasks.start_soon(ask, "DELETE")
        go_on.set()
    assert statuses == {"PATCH": 202, "DELETE": 204}
    assert refusal(await http.get(location)) == (404, "BLOB_UPLOAD_UNKNOWN")


async def test_a_tag_that_many_move_always_names_a_whole_manifest(http: httpx.AsyncClient, fresh_name: str) -> None:
    made = [images.image(fields={"annotations": {"n": str(number)}}) for number in range(5)]
    await push_image(http, fresh_name, made[0])
    target = f"/v2/{fresh_name}/manifests/latest"
    seen: set[int] = set()

    async def move(image: images.Image) -> None:
        headers = {"Content-Type": image.manifest.media_type}
        for _ in range(5):
            seen.add((await http.put(target, content=image.manifest.data, headers=headers)).status_code)

    async def look() -> None:
        for _ in range(15):
            found = await http.get(target)
            assert found.status_code == 404 or sha256(found.content) == found.headers["Docker-Content-Digest"]

    async def remove() -> None:
        for image in made:
            for reference in ("latest", image.digest):
                assert (await http.delete(f"/v2/{fresh_name}/manifests/{reference}")).status_code in {202, 404}

    async with anyio.create_task_group() as tasks:
        for image in made:
            tasks.start_soon(move, image)
        tasks.start_soon(look)
        tasks.start_soon(remove)
    assert seen == {201}
    listed = (await http.get(f"/v2/{fresh_name}/tags/list")).json()["tags"]
    assert ((await http.head(target)).status_code == 200) == (listed == ["latest"])


async def test_a_blob_that_is_deleted_while_it_is_read_is_read_to_its_end(
    http: httpx.AsyncClient, fresh_name: str
) -> None:
    data = noise(4 * 1024 * 1024)
    digest = await push_blob(http, fresh_name, data)
    async with http.stream("GET", f"/v2/{fresh_name}/blobs/{digest}") as response:
        assert (await http.delete(f"/v2/{fresh_name}/blobs/{digest}")).status_code == 202
        assert await response.aread() == data
    assert (await http.head(f"/v2/{fresh_name}/blobs/{digest}")).status_code == 404
