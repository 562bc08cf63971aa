from __future__ import annotations

import json
import logging
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from ocidist._io.body import PIECE
from ocidist.errors import DigestMismatchError, UsageError
from ocidist.model import strictjson
from ocidist.model.digest import Digest
from ocidist.server import Limits, RegistryApp
from ocidist.server.app import HANDLERS
from ocidist.storage.memory import MemoryRegistry, MemoryRepository
from ocidist.wire import endpoints
from ocidist.wire.endpoints import Endpoint
from tests.peers import images
from tests.unit.server.support import call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ocidist.model.reference import RepositoryName
    from ocidist.storage.memory_writer import MemoryBlobReader

LARGE = images.noise(20 * PIECE)


def test_every_endpoint_has_a_handler() -> None:
    public = {
        each
        for each in vars(endpoints).values()
        if isinstance(each, type) and issubclass(each, Endpoint) and each.id and not each.__name__.startswith("_")
    }
    assert set(HANDLERS) == public


async def test_it_needs_no_lifespan_but_answers_it() -> None:
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def receive() -> dict[str, Any]:
        return incoming.pop(0)

    async def send(message: Any) -> None:  # noqa: ANN401 -- as ASGI has it
        sent.append(message["type"])

    await RegistryApp(MemoryRegistry())({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_it_serves_nothing_but_http() -> None:
    async def never(*_: object) -> Any:  # noqa: ANN401 -- as ASGI has it
        pytest.fail("nothing is received or sent")

    with pytest.raises(UsageError, match="websocket"):
        await RegistryApp(MemoryRegistry())({"type": "websocket"}, never, never)


async def test_it_can_be_mounted_below_a_path() -> None:
    app = RegistryApp(MemoryRegistry(check_references=False))
    started = await call(app, "POST", "/v2/a/blobs/uploads/", root="/registry")
    assert started.headers["location"].startswith("/registry/v2/a/blobs/uploads/")
    location = started.headers["location"].removeprefix("/registry")
    digest = Digest.of(b"abc")
    closed = await call(app, "PUT", f"{location}?digest={digest}", body=[b"abc"], root="/registry")
    assert closed.headers["location"] == f"/registry/v2/a/blobs/{digest}"
    for tag in ("v1", "v2"):
        pushed = await call(app, "PUT", f"/v2/a/manifests/{tag}", body=[images.image().manifest.data], root="/registry")
        assert pushed.headers["location"].startswith("/registry/v2/a/manifests/sha256:")
    listed = await call(app, "GET", "/v2/a/tags/list?n=1", root="/registry")
    assert listed.headers["link"] == '</registry/v2/a/tags/list?last=v1&n=1>; rel="next"'


async def test_repeated_headers_count_as_one_list() -> None:
    store = MemoryRegistry(check_references=False)
    pushed = await store.repository("a").manifests.push(images.image().manifest.data, tags=["v1"])
    headers = [("If-None-Match", '"other"'), ("If-None-Match", f'"{pushed.descriptor.digest}"')]
    answer = await call(RegistryApp(store), "GET", "/v2/a/manifests/v1", headers=headers)
    assert answer.status == 304


class _Failing(MemoryRegistry):
    """A store with a defect that shows up as any exception."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def repository(self, name: RepositoryName | str) -> MemoryRepository:  # noqa: ARG002 -- part of the protocol
        raise self._error


@pytest.mark.parametrize(
    "error", [RuntimeError("secret path /srv/x"), DigestMismatchError(Digest.of(b"a"), Digest.of(b"b"))]
)
async def test_a_failing_store_is_not_explained_to_clients(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    app = RegistryApp(_Failing(error))
    with caplog.at_level(logging.ERROR, "ocidist.server"):
        answer = await call(app, "GET", "/v2/a/tags/list")
    assert (answer.status, answer.code) == (500, "UNAVAILABLE")
    assert str(error) not in answer.body.decode()
    assert "srv" not in answer.body.decode()
    assert str(error) in caplog.text


async def test_a_store_that_is_full_is_reported_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    app = RegistryApp(MemoryRegistry(max_bytes=1))
    with caplog.at_level(logging.WARNING, "ocidist.server"):
        answer = await call(app, "POST", f"/v2/a/blobs/uploads/?digest={Digest.of(b'ab')}", body=[b"ab"])
    assert answer.status == 507
    [record] = caplog.records
    assert record.exc_info is None
    assert "it may hold 1 bytes" in record.getMessage()


class _Torn(MemoryRegistry):
    """A store whose blobs end in an error instead of their last byte."""

    def repository(self, name: RepositoryName | str) -> MemoryRepository:
        found = super().repository(name)
        whole = found.blobs.open

        @asynccontextmanager
        async def torn(digest: Digest, *, offset: int = 0, length: int | None = None) -> AsyncIterator[Any]:
            async with whole(digest, offset=offset, length=length) as reader:
                yield _half(reader)

        found.blobs.open = torn  # type: ignore[method-assign, assignment]  # the defect
        return found


async def _half(reader: MemoryBlobReader) -> AsyncIterator[bytes]:
    for _ in range(2):
        yield await anext(reader)
    raise DigestMismatchError(Digest.of(b"a"), Digest.of(b"b"))


async def test_a_blob_that_turns_out_altered_is_cut_and_not_completed() -> None:
    store = _Torn()
    pushed = await store.repository("a").blobs.push(LARGE)
    answers = []

    async def send(message: Any) -> None:  # noqa: ANN401 -- as ASGI has it
        answers.append(message)

    async def receive() -> dict[str, Any]:
        await anyio.sleep_forever()
        raise AssertionError

    path = f"/v2/a/blobs/{pushed.digest}"
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    with pytest.raises(ExceptionGroup) as caught:
        await RegistryApp(store)(scope, receive, send)
    assert caught.group_contains(DigestMismatchError)
    assert answers[0]["status"] == 200
    assert all(message["more_body"] for message in answers[1:])


async def test_a_client_that_leaves_is_sent_no_more() -> None:
    store = MemoryRegistry()
    pushed = await store.repository("a").blobs.push(LARGE)
    answer = await call(RegistryApp(store), "GET", f"/v2/a/blobs/{pushed.digest}", leave_early=True)
    assert answer.status == 200
    assert not answer.complete
    assert len(answer.body) < len(LARGE)


@pytest.mark.parametrize(
    ("method", "target"),
    [("PUT", "/v2/a/manifests/v1"), ("POST", f"/v2/a/blobs/uploads/?digest={Digest.of(b'abcdef')}")],
)
async def test_a_client_that_leaves_before_its_body_is_complete_stores_nothing(method: str, target: str) -> None:
    store = MemoryRegistry()
    answer = await call(RegistryApp(store), method, target, body=[b"abc", b"def"], gone_after=1)
    assert answer.status == 0
    assert store.used_bytes == 0
    assert await store.repositories().collect() == []


async def test_a_closing_request_that_breaks_off_leaves_the_session() -> None:
    store = MemoryRegistry()
    app = RegistryApp(store)
    location = (await call(app, "POST", "/v2/a/blobs/uploads/")).headers["location"]
    closing = f"{location}?digest={Digest.of(b'abcdef')}"
    assert (await call(app, "PUT", closing, body=[b"abc", b"def"], gone_after=1)).status == 0
    status = await call(app, "GET", location)
    assert (status.status, status.headers["range"]) == (204, "0-2")
    assert (await call(app, "PUT", closing, body=[b"def"])).status == 201


async def test_a_body_may_come_in_any_pieces() -> None:
    store = MemoryRegistry()
    target = f"/v2/a/blobs/uploads/?digest={Digest.of(LARGE)}"
    answer = await call(RegistryApp(store), "POST", target, body=[b"", LARGE[:1], b"", LARGE[1:], b""])
    assert answer.status == 201
    assert await store.repository("a").blobs.get(Digest.of(LARGE), max_size=len(LARGE)) == LARGE


async def test_a_length_that_is_none_is_refused() -> None:
    app = RegistryApp(MemoryRegistry())
    answer = await call(app, "PUT", "/v2/a/manifests/v1", headers=[("Content-Length", "1, 2")])
    assert answer.status == 400


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_sessions_that_nobody_uses_end_after_a_while() -> None:
    store, clock = MemoryRegistry(), _Clock()
    app = RegistryApp(store, limits=Limits(upload_ttl=100, max_uploads=2), clock=clock)
    old = (await call(app, "POST", "/v2/a/blobs/uploads/")).headers["location"]
    await call(app, "PATCH", old, body=[b"old bytes"])
    clock.now += 60
    used = (await call(app, "POST", "/v2/a/blobs/uploads/")).headers["location"]
    assert (await call(app, "POST", "/v2/a/blobs/uploads/")).status == 429
    clock.now += 60
    assert (await call(app, "PATCH", used, body=[b"abc"])).status == 202
    clock.now += 60
    assert (await call(app, "POST", "/v2/a/blobs/uploads/")).status == 202
    assert (await call(app, "GET", old)).status == 404
    assert (await call(app, "GET", used)).status == 204
    assert store.used_bytes == len(b"abc")


async def test_uploads_that_begin_at_once_are_counted_too() -> None:
    app = RegistryApp(MemoryRegistry(), limits=Limits(max_uploads=5))
    statuses = []

    async def begin() -> None:
        statuses.append((await call(app, "POST", "/v2/a/blobs/uploads/")).status)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(begin)
    assert sorted(statuses) == [202] * 5 + [429] * 15


async def test_a_session_that_is_being_used_does_not_end() -> None:
    clock = _Clock()
    app = RegistryApp(MemoryRegistry(), limits=Limits(upload_ttl=1), clock=clock)
    location = (await call(app, "POST", "/v2/a/blobs/uploads/")).headers["location"]
    reading, go_on = anyio.Event(), anyio.Event()

    async def receive() -> dict[str, Any]:
        if reading.is_set():
            await go_on.wait()
            return {"type": "http.request", "body": b"def", "more_body": False}
        reading.set()
        return {"type": "http.request", "body": b"abc", "more_body": True}

    async def send(message: Any) -> None:  # noqa: ANN401 -- as ASGI has it
        assert message["type"] != "http.response.start" or message["status"] == 202

    scope = {"type": "http", "method": "PATCH", "path": location, "query_string": b"", "headers": []}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(app, scope, receive, send)
        await reading.wait()
        clock.now += 100
        assert (await call(app, "POST", "/v2/a/blobs/uploads/")).status == 202
        go_on.set()
    assert (await call(app, "GET", location)).headers["range"] == "0-5"


async def test_who_waited_for_a_session_that_ended_is_told_so() -> None:
    app = RegistryApp(MemoryRegistry())
    location = (await call(app, "POST", "/v2/a/blobs/uploads/")).headers["location"]
    reading, go_on = anyio.Event(), anyio.Event()
    statuses = []

    async def receive() -> dict[str, Any]:
        reading.set()
        await go_on.wait()
        return {"type": "http.request", "body": b"abc", "more_body": False}

    async def send(_: object) -> None:
        return

    async def late() -> None:
        statuses.append((await call(app, "PATCH", location, body=[b"abc"])).status)

    scope = {
        "type": "http",
        "method": "PUT",
        "path": location,
        "query_string": f"digest={Digest.of(b'abc')}".encode(),
        "headers": [],
    }
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(app, scope, receive, send)
        await reading.wait()
        tasks.start_soon(late)
        await anyio.wait_all_tasks_blocked()
        assert statuses == []
        go_on.set()
    assert statuses == [404]


@pytest.mark.parametrize(("entries", "aside"), [(1, False), (20_000, True)])
async def test_a_large_manifest_is_read_without_holding_up_others(
    monkeypatch: pytest.MonkeyPatch, entries: int, aside: bool
) -> None:
    threads = []
    read = strictjson.loads

    def watched(data: bytes | str, *, what: str, unique_keys: bool = False) -> object:
        threads.append(threading.current_thread() is threading.main_thread())
        return read(data, what=what, unique_keys=unique_keys)

    monkeypatch.setattr(strictjson, "loads", watched)
    document = {"schemaVersion": 2, "manifests": [], "annotations": {f"n{number}": "v" for number in range(entries)}}
    app = RegistryApp(MemoryRegistry())
    answer = await call(app, "PUT", "/v2/a/manifests/v1", body=[json.dumps(document).encode()])
    assert answer.status == 201
    assert threads
    assert set(threads) == {not aside}
