from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import (
    Basic,
    CredentialsRejectedError,
    Digest,
    DigestMismatchError,
    ImageManifest,
    InvalidCredentialError,
    MemoryRegistry,
    RetryPolicy,
    TlsError,
    UnsupportedError,
    UsageError,
)
from ocidist.server import Fault, Limits, Quirks
from ocidist.testing import Content, SeenRequest, Serving, serve
from ocidist.wire import endpoints
from tests.peers.tools import program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOGIN = ("ci", "s3cret-of-the-test")


async def test_n12_a_registry_runs_while_its_block_does() -> None:
    async with serve() as registry:
        built = registry.add("demo/app", Content().image("app", tags=["v1"]).artifact("sbom", subject="app"))
        async with registry.client() as client:
            repository = client.repository(f"{registry.host}/demo/app")
            manifest = await repository.manifests.get("v1")
            assert manifest.digest == built["app"].digest
            view = manifest.parse()
            assert isinstance(view, ImageManifest)
            assert await repository.blobs.get(view.layers[0]) == built[".app.layer"].data
            assert [each.digest for each in await repository.referrers(manifest).collect()] == [built["sbom"].digest]
            await repository.blobs.push(b"pushed")
            assert registry.connections >= 1
        found = registry.store.repository("demo/app").blobs
        assert registry.call(found.get, Digest.of(b"pushed")) == b"pushed"
    with pytest.raises(RuntimeError):
        registry.add("demo/app", Content())


async def test_what_it_was_asked_is_noted() -> None:
    async with serve(auth=LOGIN) as registry, registry.client() as client:
        repository = client.repository(f"{registry.host}/demo/app")
        await repository.blobs.push(b"x" * 1000)
        await repository.blobs.exists(f"sha256:{'0' * 64}")
        last = registry.requests[-1]
        assert (last.method, last.path, last.status) == ("HEAD", f"/v2/demo/app/blobs/sha256:{'0' * 64}", 404)
        assert isinstance(last.endpoint, endpoints.StatBlob)
        assert str(last) == f"HEAD {last.path} -> 404"
        put = next(each for each in registry.requests if each.method == "PUT")
        assert (put.received, put.status) == (1000, 201)
        assert str(put) == f"PUT {put.path}?{put.query} -> 201"
        assert put.headers["authorization"] == "Basic"
        assert not any(LOGIN[1] in repr(each) + repr(dict(each.headers)) for each in registry.requests)
        registry.requests.clear()
        await client.get(f"{registry.url}/nothing")
        assert [(each.status, each.endpoint) for each in registry.requests] == [(404, None)]
        assert registry.requests[0] == SeenRequest("GET", "/nothing", "", registry.requests[0].headers, 0, 404)


@pytest.mark.parametrize(("tokens", "tls"), [(False, False), (True, True)], ids=["passwords", "tokens-over-tls"])
async def test_n12_it_asks_who_somebody_is(tokens: bool, tls: bool) -> None:
    async with serve(auth={LOGIN[0]: LOGIN[1], "other": "0ther"}, tokens=tokens, tls=tls) as registry:
        assert (registry.username, registry.password) == LOGIN
        assert registry.url.startswith("https://" if tls else "http://")
        async with registry.client() as client:
            blob = await client.repository(f"{registry.host}/demo/app").blobs.push(b"x")
        async with registry.client(credentials={registry.host: Basic("other", "0ther")}) as client:
            assert await client.repository(f"{registry.host}/demo/app").blobs.get(blob) == b"x"
        async with registry.client(credentials={}) as client:
            with pytest.raises(CredentialsRejectedError):
                await client.repository(f"{registry.host}/demo/app").blobs.push(b"x")
        async with registry.client(credentials={registry.host: Basic(LOGIN[0], "wrong")}) as client:
            with pytest.raises(CredentialsRejectedError):
                await client.repository(f"{registry.host}/demo/app").blobs.push(b"x")
        assert any(each.path == "/token" for each in registry.requests) == tokens
        assert LOGIN[1] not in repr(registry)


async def test_its_certificate_is_trusted_by_nobody_else() -> None:
    async with serve(tls=True) as registry:
        assert registry.ca is not None
        async with registry.client() as client:
            await client.registry(registry.host).ping()
        async with registry.client(hosts={}) as client:
            with pytest.raises(TlsError):
                await client.registry(registry.host).ping()
        assert [path.name for path in registry.ca.parent.iterdir()] == ["ca.pem"]
    assert not registry.ca.exists()


def test_other_clients_like_its_certificate_and_passwords(tmp_path: Path) -> None:
    import subprocess

    with serve(auth=LOGIN, tls=True) as registry:
        registry.add("demo/app", Content().layer("root", {"etc/motd": "x"}).image("app", ["root"], tags=["v1"]))
        assert registry.ca is not None
        (tmp_path / "ca.crt").write_bytes(registry.ca.read_bytes())
        copied = subprocess.run(
            [
                *(program("skopeo"), "--insecure-policy", "copy", f"--src-cert-dir={tmp_path}", "--src-creds"),
                *(":".join(LOGIN), f"docker://{registry.host}/demo/app:v1", f"dir:{tmp_path / 'out'}"),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
        assert copied.returncode == 0, copied.stderr


async def test_it_can_be_read_only_and_take_less_and_serve_a_store_of_ones_own() -> None:
    store = MemoryRegistry(check_references=False)
    async with serve(store, read_only=True) as registry:
        assert registry.store is store
        built = registry.add("demo/app", Content().image("app", tags=["v1"]))
        async with registry.client() as client:
            repository = client.repository(f"{registry.host}/demo/app")
            assert (await repository.manifests.get("v1")).digest == built["app"].digest
            with pytest.raises(UnsupportedError):
                await repository.blobs.push(b"x")
    async with serve(limits=Limits(max_blob=10)) as registry, registry.client() as client:
        with pytest.raises(UsageError):
            registry.add("no/such", {"images": {"a": ["gone"]}})
        assert (await client.get(f"{registry.url}/v2/")).status_code == 200


async def test_n12_it_does_as_other_registries_do() -> None:
    async with serve(quirks="docker-registry-2", faults=[Fault(on=endpoints.Ping, status=503)]) as registry:
        built = registry.add("demo/app", Content().image("app", tags=["v1"]).artifact("sbom", subject="app"))
        async with registry.client(retry=RetryPolicy(attempts=1)) as client:
            assert (await client.get(f"{registry.url}/v2/")).status_code == 503
            missing = await client.get(f"{registry.url}/v2/demo/app/referrers/{built['app'].digest}")
            assert missing.status_code == 404
    async with serve(quirks=Quirks(catalog=False)) as registry, registry.client() as client:
        assert (await client.get(f"{registry.url}/v2/_catalog")).status_code == 404


async def test_n12_it_fails_the_way_a_test_wants_it_to() -> None:
    async with serve() as registry:
        data = b"x" * 300_000
        built = registry.add("demo/app", Content().blob("data", data))
        async with registry.client(retry=RetryPolicy(wait_initial=0.01)) as client:
            blobs = client.repository(f"{registry.host}/demo/app").blobs
            registry.faults.add(Fault(on=endpoints.GetBlob, drop_answer_after=100_000))
            assert await blobs.get(built["data"].digest) == data
            assert [each.status for each in registry.requests if each.method == "GET"] == [200, 206]
            registry.faults.add(Fault(on=endpoints.GetBlob, corrupt_at=5))
            with pytest.raises(DigestMismatchError):
                await blobs.get(built["data"].digest)
            registry.requests.clear()
            registry.faults.add(Fault(on=endpoints.GetBlob, drop_answer_after=0))
            assert await blobs.get(built["data"].digest) == data
            assert [each.status for each in registry.requests if each.method == "GET"] == [0, 200]
        assert len(registry.faults.met) == 3


def test_arguments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="no registry 'docker' is known, only docker-registry-2, "):
        serve(quirks="docker")
    with pytest.raises(UsageError, match="auth says who they are"):
        serve(tokens=True)
    with pytest.raises(UsageError, match="needs a user"):
        serve(auth={})
    with pytest.raises(InvalidCredentialError), serve(auth=("ci", "")):
        pytest.fail("it runs")


class Slow:
    """A registry that takes its time to start.

    Args:
        when_started: Called from its thread when it has.
    """

    def __init__(self, when_started: Callable[[], object] = lambda: None) -> None:
        self.when_started = when_started
        self.entered = threading.Event()
        self.may_start = threading.Event()
        self.ended = threading.Event()

    @contextmanager
    def __call__(self) -> Iterator[str]:
        """Wait, and run."""
        self.entered.set()
        assert self.may_start.wait(5)
        self.when_started()
        try:
            yield "running"
        finally:
            self.ended.set()


async def test_a_registry_that_is_cancelled_while_it_starts_is_stopped() -> None:
    with anyio.CancelScope() as scope:
        slow = Slow(lambda: anyio.from_thread.run_sync(scope.cancel))
        slow.may_start.set()
        serving = Serving(slow)
        async with serving:
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert await anyio.to_thread.run_sync(slow.ended.wait, 5)


@pytest.mark.parametrize("already", [False, True], ids=["still-starting", "just-started"])
async def test_a_native_cancellation_while_it_starts_leaves_no_registry(anyio_backend_name: str, already: bool) -> None:
    if anyio_backend_name != "asyncio":
        return
    loop = asyncio.get_running_loop()

    def cancel_late() -> None:
        time.sleep(0.05)  # the thread is done by then, and the task does not know it yet
        task.cancel()

    slow = Slow((lambda: loop.call_soon_threadsafe(cancel_late)) if already else lambda: None)
    serving = Serving(slow)

    async def use() -> None:
        async with serving:
            await asyncio.sleep(60)

    task = asyncio.ensure_future(use())
    assert await anyio.to_thread.run_sync(slow.entered.wait, 5)
    if already:
        slow.may_start.set()
    else:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    slow.may_start.set()
    assert await anyio.to_thread.run_sync(slow.ended.wait, 5)
