"""A registry that keeps what it was asked for."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from ocidist._io.pages import Paginator
from ocidist.errors import ConnectError, UnauthorizedError, UsageError
from ocidist.model.digest import Digest
from ocidist.server import PullThrough, RegistryApp, fetching
from ocidist.storage.memory import MemoryRegistry
from tests.peers import images
from tests.unit.server.support import call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ocidist.errors import OciError
    from ocidist.model.reference import RepositoryName
    from ocidist.storage.memory import MemoryRepository

DATA = images.noise(1_000_000)
DIGEST = Digest.of(DATA)
BLOB = f"/v2/a/blobs/{DIGEST}"
TAG = "/v2/a/manifests/v1"


class Upstream(MemoryRegistry):
    """Another registry, that counts what it is asked and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__(check_references=False)
        self.asked: list[str] = []
        self.error: OciError | None = None
        self.gate: anyio.Event | None = None
        self.altered = False

    def repository(self, name: RepositoryName | str) -> MemoryRepository:
        """Return a repository whose methods are watched."""
        found = super().repository(name)
        opening = found.blobs.open

        def watched(what: str, method: Callable[..., Any]) -> Any:  # noqa: ANN401 -- any method
            async def asked(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 -- of any method
                self.asked.append(what)
                if self.error is not None:
                    raise self.error
                return await method(*arguments, **options)

            return asked

        @asynccontextmanager
        async def opened(*arguments: Any, **options: Any) -> AsyncIterator[Any]:  # noqa: ANN401 -- of any method
            self.asked.append("open")
            if self.error is not None:
                raise self.error
            async with opening(*arguments, **options) as reader:
                yield self._slowly(reader)

        methods: dict[str, Any] = vars(found.blobs)
        methods["open"] = opened
        methods["stat"] = watched("blob", found.blobs.stat)
        vars(found.manifests)["get"] = watched("get", found.manifests.get)
        vars(found.manifests)["stat"] = watched("stat", found.manifests.stat)
        return found

    async def _slowly(self, reader: Any) -> AsyncIterator[bytes]:  # noqa: ANN401 -- a reader
        # A reader without reader's other methods is enough for what is tested here.
        first = True
        async for piece in reader:
            yield bytes(len(piece)) if self.altered else piece
            if first and self.gate is not None:
                await self.gate.wait()
            first = False
            if self.error is not None:
                raise self.error


@asynccontextmanager
async def caching(**options: Any) -> AsyncIterator[tuple[Upstream, MemoryRegistry, RegistryApp]]:  # noqa: ANN401 -- of PullThrough
    """Run a cache in front of a registry with one image and one blob."""
    upstream = Upstream()
    await upstream.repository("a").blobs.push(DATA)
    await upstream.repository("a").manifests.push(images.image().manifest.data, tags=["v1"])
    upstream.asked.clear()
    store = options.pop("store", None) or MemoryRegistry(check_references=False)
    async with PullThrough(store, upstream, **options) as cache:
        yield upstream, store, RegistryApp(cache)


async def test_what_was_asked_for_is_kept() -> None:
    async with caching() as (upstream, store, app):
        for _ in range(3):
            for target in (TAG, f"/v2/a/manifests/{images.image().digest}", BLOB):
                assert (await call(app, "GET", target)).status == 200
                assert (await call(app, "HEAD", target)).status == 200
        assert upstream.asked == ["stat", "get", "blob", "open"]
        assert (await call(app, "GET", BLOB)).body == DATA
        assert await store.repository("a").blobs.get(DIGEST) == DATA
        assert (await store.repository("a").manifests.get("v1")).data == images.image().manifest.data
        assert (await call(app, "GET", "/v2/a/tags/list")).body == b'{"name":"a","tags":["v1"]}'
        assert (await call(app, "GET", "/v2/_catalog")).body == b'{"repositories":["a"]}'
        assert (await call(app, "GET", "/healthz")).status == 200


async def test_many_who_want_the_same_share_one_transfer() -> None:
    async with caching() as (upstream, _, app):
        bodies = []

        async def get() -> None:
            bodies.append((await call(app, "GET", BLOB)).body == DATA)
            assert (await call(app, "GET", TAG)).status == 200

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(get)
        assert bodies == [True] * 20
        assert upstream.asked.count("open") == upstream.asked.count("get") == upstream.asked.count("stat") == 1


async def test_clients_are_served_while_the_blob_comes_and_get_its_end_once_it_is_proven() -> None:
    async with caching() as (upstream, store, app), anyio.create_task_group() as tasks:
        upstream.gate = anyio.Event()
        started = anyio.Event()
        received: list[bytes] = []

        async def send(message: Any) -> None:  # noqa: ANN401 -- as ASGI has it
            received.append(message.get("body", b""))
            if received[-1]:
                started.set()
            await anyio.lowlevel.checkpoint()

        async def receive() -> dict[str, Any]:
            await anyio.sleep_forever()
            return {}

        scope = {
            "type": "http",
            "method": "GET",
            "path": BLOB,
            "query_string": b"",
            "headers": [],
        }
        tasks.start_soon(app, scope, receive, send)
        with anyio.fail_after(5):
            await started.wait()
        assert 0 < len(b"".join(received)) < len(DATA)
        assert not await store.repository("a").blobs.exists(DIGEST)
        upstream.gate.set()
        while b"".join(received) != DATA:  # noqa: ASYNC110 -- a list tells nobody that it grew
            await anyio.sleep(0.001)
        assert await store.repository("a").blobs.exists(DIGEST)
        tasks.cancel_scope.cancel()


async def test_altered_content_is_neither_kept_nor_completed() -> None:
    async with caching() as (upstream, store, app):
        upstream.altered = True
        received: list[dict[str, Any]] = []

        async def send(message: Any) -> None:  # noqa: ANN401 -- as ASGI has it
            received.append(message)
            await anyio.lowlevel.checkpoint()

        async def receive() -> dict[str, Any]:
            await anyio.sleep_forever()
            return {}

        scope = {"type": "http", "method": "GET", "path": BLOB, "query_string": b"", "headers": []}
        with pytest.raises(BaseExceptionGroup):
            await app(scope, receive, send)
        assert all(each["more_body"] for each in received[1:])
        assert sum(len(each["body"]) for each in received[1:]) < len(DATA)
        assert not await store.repository("a").blobs.exists(DIGEST)
        assert store.used_bytes == 0
        upstream.altered = False
        assert (await call(app, "GET", BLOB)).body == DATA


async def test_a_client_that_leaves_does_not_end_the_transfer() -> None:
    async with caching() as (upstream, store, app):
        upstream.gate = anyio.Event()
        left = await call(app, "GET", BLOB, leave_early=True)
        assert not left.complete
        upstream.gate.set()
        with anyio.fail_after(5):
            while not await store.repository("a").blobs.exists(DIGEST):  # noqa: ASYNC110 -- nobody tells
                await anyio.sleep(0.001)
        assert upstream.asked.count("open") == 1


async def test_who_falls_behind_goes_on_from_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "WINDOW", 100_000)
    async with caching() as (upstream, _, app):
        first = anyio.Event()
        received: list[bytes] = []

        async def send(message: Any) -> None:  # noqa: ANN401 -- as ASGI has it
            received.append(message.get("body", b""))
            if len(received) == 2:
                await first.wait()
            await anyio.lowlevel.checkpoint()

        async def receive() -> dict[str, Any]:
            await anyio.sleep_forever()
            return {}

        scope = {"type": "http", "method": "GET", "path": BLOB, "query_string": b"", "headers": []}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(app, scope, receive, send)
            assert (await call(app, "GET", BLOB)).body == DATA
            first.set()
        assert b"".join(received) == DATA
        assert upstream.asked.count("open") == 1


async def test_a_part_is_passed_on_and_not_kept() -> None:
    async with caching() as (_, store, app):
        answer = await call(app, "GET", BLOB, headers=[("Range", "bytes=500000-")])
        assert (answer.status, answer.body) == (206, DATA[500_000:])
        assert not await store.repository("a").blobs.exists(DIGEST)


async def test_a_store_that_is_full_is_done_without(caplog: pytest.LogCaptureFixture) -> None:
    async with caching(store=MemoryRegistry(max_bytes=1000, check_references=False)) as (_, store, app):
        with caplog.at_level(logging.WARNING, "ocidist.server"):
            assert (await call(app, "GET", TAG)).status == 200
            assert (await call(app, "GET", BLOB)).body == DATA
        assert "was not kept" in caplog.text
        assert not await store.repository("a").blobs.exists(DIGEST)


async def test_what_a_tag_names_is_asked_again_after_a_while() -> None:
    now = [0.0]
    async with caching(ttl=10, clock=lambda: now[0]) as (upstream, store, app):
        first = await call(app, "GET", TAG)
        moved = images.image(fields={"annotations": {"n": "2"}})
        await upstream.repository("a").manifests.push(moved.manifest.data, tags=["v1"])
        now[0] = 9
        assert (await call(app, "GET", TAG)).body == first.body
        now[0] = 11
        assert (await call(app, "GET", TAG)).body == moved.manifest.data
        assert (await store.repository("a").tags.stat("v1")).digest == moved.digest
        await upstream.repository("a").tags.delete("v1")
        now[0] = 22
        assert (await call(app, "GET", TAG)).status == 404
        assert not await store.repository("a").manifests.exists("v1")
        assert (await call(app, "GET", f"/v2/a/manifests/{moved.digest}")).status == 200


async def test_without_upstream_what_is_there_is_served() -> None:
    now = [0.0]
    async with caching(ttl=1, clock=lambda: now[0]) as (upstream, store, app):
        for target in (TAG, BLOB):
            await call(app, "GET", target)
        upstream.error = UnauthorizedError(401, note="the secret of upstream.test")
        now[0] = 2
        assert (await call(app, "GET", TAG)).status == (await call(app, "GET", BLOB)).status == 200
        asked = len(upstream.asked)
        assert (await call(app, "HEAD", TAG)).status == 200
        assert len(upstream.asked) == asked
        for target in ("/v2/a/manifests/v2", f"/v2/a/manifests/{Digest.of(b'x')}", f"/v2/a/blobs/{Digest.of(b'x')}"):
            answer = await call(app, "GET", target)
            assert (answer.status, answer.code) == (502, "UNAVAILABLE")
            assert b"upstream.test" not in answer.body
            assert "www-authenticate" not in answer.headers
        upstream.error = None
        now[0] = 8
        assert (await call(app, "GET", TAG)).status == 200
        assert len(upstream.asked) > asked
        assert await store.repository("a").manifests.exists("v1")


async def test_a_repository_that_upstream_cannot_be_asked_about_is_not_said_to_be_unknown() -> None:
    async with caching() as (upstream, _, app):
        await call(app, "GET", TAG)
        opened = upstream.repository

        def failing(name: RepositoryName | str) -> MemoryRepository:
            found = opened(name)
            vars(found.tags)["list"] = _lists_nothing
            return found

        vars(upstream)["repository"] = failing
        assert (await call(app, "GET", "/v2/a/tags/list")).body == b'{"name":"a","tags":["v1"]}'
        answer = await call(app, "GET", "/v2/b/tags/list")
        assert (answer.status, answer.code) == (502, "UNAVAILABLE")


def _lists_nothing(*_: object, **__: object) -> Paginator[Any]:
    async def fetch() -> None:
        raise ConnectError("upstream.test refused the connection")

    return Paginator(lambda: fetch, what="a list")


async def test_what_upstream_does_not_have_is_asked_for_each_time() -> None:
    async with caching() as (upstream, _, app):
        late = b"pushed later"
        targets = ["/v2/b/manifests/v1", f"/v2/b/blobs/{Digest.of(late)}"]
        for target in targets:
            assert (await call(app, "GET", target)).status == 404
        await upstream.repository("b").manifests.push(images.image().manifest.data, tags=["v1"])
        await upstream.repository("b").blobs.push(late)
        for target in targets:
            assert (await call(app, "GET", target)).status == 200


async def test_a_transfer_that_fails_before_its_first_byte_is_an_answer() -> None:
    async with caching() as (upstream, _, app):
        small = b"small"
        await upstream.repository("a").blobs.push(small)
        opened = upstream.repository

        def failing(name: RepositoryName | str) -> MemoryRepository:
            found = opened(name)
            vars(found.blobs)["open"] = _refuses
            return found

        vars(upstream)["repository"] = failing
        assert (await call(app, "GET", f"/v2/a/blobs/{Digest.of(small)}")).status == 502


@asynccontextmanager
async def _refuses(*_: object, **__: object) -> AsyncIterator[None]:
    raise ConnectError("upstream.test refused the connection")
    yield


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("PUT", TAG),
        ("DELETE", TAG),
        ("DELETE", BLOB),
        ("POST", "/v2/a/blobs/uploads/"),
        ("POST", f"/v2/a/blobs/uploads/?mount={DIGEST}&from=b"),
    ],
)
async def test_nothing_is_written_through_a_cache(method: str, target: str) -> None:
    async with caching() as (upstream, _, app):
        refused = await call(app, method, target)
        assert (refused.status, refused.code) == (405, "UNSUPPORTED")
        assert upstream.asked == []


async def test_a_cache_has_to_be_entered_once() -> None:
    with pytest.raises(UsageError):
        PullThrough(MemoryRegistry(), MemoryRegistry(), ttl=-1)
    async with caching() as (upstream, store, _):
        outside = RegistryApp(PullThrough(store, upstream))
        assert (await call(outside, "GET", BLOB)).status == 500
        cache = PullThrough(store, upstream)
        async with cache:
            with pytest.raises(UsageError):
                await cache.__aenter__()


async def test_lifespan_events_enter_a_cache() -> None:
    upstream = Upstream()
    await upstream.repository("a").blobs.push(DATA)
    app = RegistryApp(PullThrough(MemoryRegistry(), upstream))
    to_app, from_test = anyio.create_memory_object_stream[dict[str, Any]](4), anyio.Event()
    sent: list[str] = []

    async def send(message: Any) -> None:  # noqa: ANN401 -- as ASGI has it
        sent.append(message["type"])
        from_test.set()
        await anyio.lowlevel.checkpoint()

    async with to_app[0], to_app[1], anyio.create_task_group() as tasks:
        tasks.start_soon(app, {"type": "lifespan"}, to_app[1].receive, send)
        await to_app[0].send({"type": "lifespan.startup"})
        await from_test.wait()
        assert (await call(app, "GET", BLOB)).body == DATA
        await to_app[0].send({"type": "lifespan.shutdown"})
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
