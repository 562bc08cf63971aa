"""Operations that are cancelled, wherever they can be: they leave nothing behind, and disturb nobody."""

from __future__ import annotations

import gc
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from ocidist import Client, Descriptor, EgressPolicy, HostConfig, HostLimits, OnExit, Repository
from tests.faults.cancelling import (
    BLOB,
    DIGEST,
    KNOWN,
    MANIFEST,
    PULLED,
    PULLED_DIGEST,
    WAYS,
    Whole,
    count_connections,
    names_in,
    open_client,
    quiet,
)
from tests.faults.dialling import left_open, open_files
from tests.http.support import ALICE, NAME, ONCE, guarded
from tests.peers.answers import respond

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from tests.conftest import StartWireServer
    from tests.faults.uploads import UploadRegistry
    from tests.peers.tls import Authority
    from tests.peers.token_server import TokenServer
    from tests.peers.wire_server import Connection, Request, WireServer

MOST = 300


async def pieces() -> AsyncIterator[bytes]:
    """Yield the blob piece by piece."""
    for start in range(0, len(BLOB), 100_000):
        yield BLOB[start : start + 100_000]


async def download(repository: Repository, directory: Path) -> None:
    """Write a blob to a file."""
    await repository.blobs.download(PULLED_DIGEST, directory / "pulled")


async def read(repository: Repository, _directory: Path) -> None:
    """Read a blob as a stream."""
    async with repository.blobs.open(PULLED_DIGEST) as reader:
        async for _ in reader:
            pass


async def pull(repository: Repository, _directory: Path) -> None:
    """Get a manifest."""
    await repository.manifests.get("v1")


async def push_file(repository: Repository, directory: Path) -> None:
    """Push a file of which everything is known."""
    await repository.blobs.push(directory / "source", KNOWN)


async def push_unknown_file(repository: Repository, directory: Path) -> None:
    """Push a file that has to be hashed first."""
    await repository.blobs.push(directory / "source")


async def push_stream(repository: Repository, _directory: Path) -> None:
    """Push a stream in chunks."""
    await repository.blobs.push(pieces, chunk_size=300_000)


async def push_bytes(repository: Repository, _directory: Path) -> None:
    """Push bytes."""
    await repository.blobs.push(BLOB)


async def push_manifest(repository: Repository, _directory: Path) -> None:
    """Push a manifest."""
    await repository.manifests.push(MANIFEST.data, media_type=MANIFEST.media_type, tags=["v1"])


async def write(repository: Repository, _directory: Path) -> None:
    """Write a blob in chunks."""
    async with repository.blobs.writer(chunk_size=300_000, on_exit=OnExit.CANCEL) as writer:
        await writer.write(BLOB)
        await writer.commit(DIGEST)


async def copy(repository: Repository, _directory: Path) -> None:
    """Push what is being pulled."""
    async with repository.blobs.open(PULLED_DIGEST) as reader:
        await repository.blobs.push(reader, Descriptor.of(PULLED), check_exists=False)


async def list_tags(repository: Repository, _directory: Path) -> None:
    """List tags, page after page."""
    assert await repository.tags.list().collect() == ["v1", "v2", "v3"]


Operation = "Callable[[Repository, Path], Coroutine[Any, Any, None]]"
OPERATIONS: dict[str, Callable[[Repository, Path], Coroutine[Any, Any, None]]] = {
    function.__name__: function
    for function in (
        download,
        read,
        pull,
        push_file,
        push_unknown_file,
        push_stream,
        push_bytes,
        push_manifest,
        write,
        copy,
        list_tags,
    )
}


@pytest.fixture(params=["http", "https"])
def server(
    request: pytest.FixtureRequest, start_wire_server: StartWireServer, authority: Authority, registry: UploadRegistry
) -> WireServer:
    """The registry, with and without TLS."""
    return start_wire_server(Whole(registry), tls=authority if request.param == "https" else None)


@pytest.fixture(params=WAYS)
def cancelled(request: pytest.FixtureRequest, anyio_backend_name: str) -> Any:  # noqa: ANN401 -- one of the ways
    """Each way of cancelling that the event loop knows."""
    if request.param == "by asyncio" and anyio_backend_name != "asyncio":
        pytest.skip("trio has scopes only")
    return WAYS[request.param]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with the file to push."""
    (tmp_path / "source").write_bytes(BLOB)
    return tmp_path


@pytest.fixture(autouse=True)
def _count_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    count_connections(monkeypatch)


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_f195_an_operation_may_be_cancelled_anywhere(
    server: WireServer,
    registry: UploadRegistry,
    authority: Authority,
    cancelled: Any,  # noqa: ANN401 -- one of the ways
    directory: Path,
    *,
    operation: str,
) -> None:
    # A registry whose sessions can be cancelled although the answer to the last chunk was lost.
    registry.moves = False
    work = OPERATIONS[operation]
    before = open_files()
    orphans, nth = 0, 0
    async with open_client(server, authority) as client:
        repository = client.repository(f"{server.host}/{NAME}")
        while True:
            nth += 1
            assert nth < MOST
            first = len(server.requests)
            with anyio.fail_after(30):
                outcome = await cancelled(partial(work, repository, directory), nth)
            if not outcome.reached:
                break
            await quiet(server, client)
            # A session whose answer never arrived is one that nobody can know of. Every other one was ended.
            asked = [request.method for request in server.requests[first:]]
            if registry.open:
                assert asked[-1] == "POST", (nth, asked)
                orphans += len(registry.open)
                registry.open.clear()
            # Nothing that is half done shows: neither here nor there.
            left = set(names_in(directory)) - {"source"}
            assert left <= ({"pulled"} if outcome.finished else set()), nth
            assert set(registry.blobs) <= {DIGEST, PULLED_DIGEST}
            registry.blobs.clear()
            (directory / "pulled").unlink(missing_ok=True)
        assert outcome.finished
        # Once before the first answer at the very least.
        assert nth > 1
        with anyio.fail_after(30):
            await work(repository, directory)
    assert orphans <= 3
    gc.collect()
    assert await left_open(before) == []


@pytest.mark.parametrize("operation", ["pull", "push_bytes", "list_tags"])
async def test_f195_a_refresh_may_be_cancelled_anywhere(
    wire_server: WireServer,
    token_server: TokenServer,
    cancelled: Any,  # noqa: ANN401 -- one of the ways
    registry: UploadRegistry,
    directory: Path,
    *,
    operation: str,
) -> None:
    whole = Whole(registry)

    def guarded_by_tokens(request: Request, connection: Connection) -> None:
        scope = f"repository:{NAME}:pull,push"
        known = request.header("Authorization") is not None
        answer = whole if known else guarded(token_server.realm, respond(200), scope=scope)
        answer(request, connection)

    wire_server._handler = guarded_by_tokens
    work = OPERATIONS[operation]
    before = open_files()
    nth = 0
    options: dict[str, Any] = {
        "hosts": {wire_server.host: HostConfig()},
        "credentials": {wire_server.host: ALICE},
        "egress": EgressPolicy(trusted_realms=(token_server.origin,)),
        "limits": HostLimits(concurrency=1),
        "retry": ONCE,
    }
    reached = True
    while reached:
        nth += 1
        assert nth < MOST
        # A cold client each time: the scheme, the challenge and the token have to be found out.
        async with Client(**options) as client:
            repository = client.repository(f"{wire_server.host}/{NAME}")
            with anyio.fail_after(30):
                reached = (await cancelled(partial(work, repository, directory), nth)).reached
                # Whoever comes next is not kept waiting by what was left half done.
                await work(repository, directory)
        registry.open.clear()
        registry.blobs.clear()
    assert nth > 5
    gc.collect()
    assert await left_open(before) == []
