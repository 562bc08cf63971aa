"""Copies whose stores fail while they are under way."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from ocidist import (
    Client,
    ContentCopied,
    Copier,
    CopyError,
    CopyOptions,
    DeniedError,
    Digest,
    DigestMismatchError,
    Layout,
    MemoryRegistry,
    NotFoundError,
    ServerError,
    Side,
    StorageError,
    TransportError,
    UnsupportedError,
    copy,
    open_place,
)
from ocidist.server import FOREVER, Fault
from ocidist.testing import serve
from ocidist.wire.endpoints import GetBlob, MountBlob, PutManifest, PutUpload
from tests.faults.copying import NAME, blob, client_for, index_of, made_of, put, sent, sessions
from tests.http.support import ONCE, QUICK
from tests.peers.images import artifact

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist import Event
    from tests.peers.peer import Peer

LAYERS = [blob(f"layer {number}") for number in range(6)]


async def in_memory(*tags: str) -> tuple[Any, Any]:
    top = made_of(*LAYERS)
    repository = MemoryRegistry().repository(NAME)
    await put(repository, top, *(tags or ("v1",)))
    return repository, top


# --- F165: the destination dies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 3, 6])
@pytest.mark.parametrize("how", [{"status": 500}, {"drop_request_after": 0}, {"status": 507}], ids=str)
async def test_f165_what_a_destination_took_before_it_failed_is_not_sent_again(at: int, how: dict[str, Any]) -> None:
    source, top = await in_memory()
    async with serve() as registry, client_for(registry, retry=ONCE) as client:
        there = f"{registry.host}/{NAME}:v1"
        registry.faults.add(Fault(on=PutUpload, skip=at, times=FOREVER, **how))
        with pytest.raises(CopyError) as caught:
            await copy((source, "v1"), there, client=client, at_once=1)
        assert caught.value.side is Side.DESTINATION
        assert caught.value.digest in {each.digest for each in top.blobs}
        assert not await client.repository(there.removesuffix(":v1")).manifests.exists("v1")
        assert sum(sent(registry).values()) == at
        registry.faults.clear()
        assert (await copy((source, "v1"), there, client=client)).blobs_copied == len(top.blobs) - at
        assert set(sent(registry)) == {each.digest for each in top.blobs}
        assert sum(sent(registry).values()) == len(top.blobs)
        assert sessions(registry) == 0


@pytest.mark.in_turn
async def test_f165_a_registry_that_is_killed_is_gone_on_with(docker_registry: Peer, fresh_name: str) -> None:
    """Every request fails from the third blob on, as if nobody were there."""
    source, top = await in_memory()
    there = f"{docker_registry.host}/{fresh_name}:v1"
    done: list[Event] = []
    with suppress(CopyError):
        async with docker_registry.client() as client:

            def stop(event: Event) -> None:
                done.append(event)
                if sum(isinstance(each, ContentCopied) for each in done) == 3:
                    scope.cancel()

            with anyio.CancelScope() as scope:
                await copy((source, "v1"), there, client=client, at_once=1, hooks=[stop])
    async with docker_registry.client() as client:
        repository = client.repository(there.removesuffix(":v1"))
        with pytest.raises(NotFoundError):
            await repository.manifests.get("v1")
        report = await copy((source, "v1"), there, client=client)
        assert report.blobs_copied == len(top.blobs) - 3
        assert (await repository.manifests.get("v1")).digest == top.digest


async def test_f165_a_tag_stays_where_it_is_until_all_that_is_new_is_there() -> None:
    source, _ = await in_memory()
    old = made_of(blob("old"))
    async with serve() as registry, client_for(registry) as client:
        repository = client.repository(f"{registry.host}/{NAME}")
        await put(repository, old, "v1")
        registry.faults.add(Fault(on=PutManifest, status=500, times=FOREVER))
        with pytest.raises(CopyError) as caught:
            await copy((source, "v1"), f"{registry.host}/{NAME}:v1", client=client)
        assert isinstance(caught.value.__cause__, ServerError)
        assert (await repository.manifests.get("v1")).digest == old.digest


async def test_f165_children_are_there_before_the_index_that_lists_them() -> None:
    children = [made_of(*LAYERS[:2]), made_of(*LAYERS[2:])]
    source = MemoryRegistry().repository(NAME)
    await put(source, index_of(*children), "v1")
    async with serve() as registry, client_for(registry, retry=ONCE) as client:
        registry.faults.add(Fault(on=PutManifest, skip=1, status=500, times=FOREVER))
        with pytest.raises(CopyError):
            await copy((source, "v1"), f"{registry.host}/{NAME}:v1", client=client)
        repository = client.repository(f"{registry.host}/{NAME}")
        assert not await repository.manifests.exists("v1")
        assert sum([await repository.manifests.exists(child.digest) for child in children]) == 1
        registry.faults.clear()
        report = await copy((source, "v1"), f"{registry.host}/{NAME}:v1", client=client)
        assert (report.manifests_copied, report.blobs_copied) == (2, 0)


async def test_f165_a_full_store_is_named_and_leaves_nothing_half() -> None:
    source, top = await in_memory()
    store = MemoryRegistry(max_bytes=10_000)
    with pytest.raises(CopyError) as caught:
        await copy((source, "v1"), (store.repository("other"), "v1"))
    assert isinstance(caught.value.__cause__, StorageError)
    assert caught.value.side is Side.DESTINATION
    assert not store._state.uploads
    async with serve(store) as registry, client_for(registry) as client:
        with pytest.raises(CopyError) as caught:
            await copy((source, "v1"), f"{registry.host}/{NAME}:v1", client=client)
        assert caught.value.side is Side.DESTINATION
        assert sessions(registry) == 0
    assert not await store.repository("other").manifests.exists(top.digest)


async def test_f165_a_destination_that_only_reads_says_so_at_the_first_blob() -> None:
    source, _ = await in_memory()
    async with serve(read_only=True) as registry, client_for(registry) as client:
        with pytest.raises(CopyError) as caught:
            await copy((source, "v1"), f"{registry.host}/{NAME}:v1", client=client)
        assert caught.value.side is Side.DESTINATION
        assert isinstance(caught.value.__cause__, DeniedError | UnsupportedError)
        changes = [each for each in registry.requests if each.method not in {"GET", "HEAD"}]
        assert len(changes) <= 8


@pytest.mark.parametrize("quirks", [None, "docker-registry-2"])
async def test_f165_a_referrer_that_was_sent_and_not_listed_is_listed_by_the_next_copy(quirks: str | None) -> None:
    source, top = await in_memory()
    notes = [artifact(top, text=b"%d" % number) for number in range(2)]
    for note in notes:
        await put(source, note)
    listed = f"sha256-{top.digest.partition(':')[2]}"
    async with serve(quirks=quirks) as registry, client_for(registry, retry=ONCE) as client:
        registry.faults.add(Fault(on=PutManifest, reference=listed, status=403, times=FOREVER))
        with suppress(CopyError):
            await copy((source, "v1"), f"{registry.host}/{NAME}:v1", client=client, referrers=True)
        registry.faults.clear()
        await copy((source, "v1"), f"{registry.host}/{NAME}:v1", client=client, referrers=True)
        found = await client.repository(f"{registry.host}/{NAME}").referrers(top.digest).collect()
        assert {each.digest for each in found} == {note.digest for note in notes}


# --- F166: the source dies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quirks", [None, "docker-registry-2"])
async def test_f166_a_source_that_breaks_off_is_taken_up_where_it_broke(quirks: str | None) -> None:
    top = made_of(blob("large", 300_000))
    async with serve() as source, serve(quirks=quirks) as registry, client_for(source, registry) as client:
        await put(client.repository(f"{source.host}/{NAME}"), top, "v1")
        source.faults.add(Fault(on=GetBlob, reference=top.blobs[1].digest, drop_answer_after=200_000, times=2))
        report = await copy(f"{source.host}/{NAME}:v1", f"{registry.host}/{NAME}:v1", client=client)
        assert report.blobs_copied == 2
        assert await client.repository(f"{registry.host}/{NAME}").blobs.get(top.blobs[1].digest) == top.blobs[1].data
        assert sessions(registry) == 0


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ({"drop_answer_after": 1000}, TransportError),
        ({"corrupt_at": 50}, DigestMismatchError),
        ({"status": 404, "body": b'{"errors": [{"code": "BLOB_UNKNOWN"}]}'}, NotFoundError),
        ({"status": 500}, ServerError),
    ],
    ids=["breaks off", "wrong bytes", "missing", "fails"],
)
async def test_f166_a_source_that_is_of_no_use_ends_the_session_at_the_destination(
    how: dict[str, Any], kind: type[Exception]
) -> None:
    top = made_of(blob("large", 300_000))
    lost = top.blobs[1].digest
    async with serve() as source, serve() as registry, client_for(source, registry) as client:
        await put(client.repository(f"{source.host}/{NAME}"), top, "v1")
        source.faults.add(Fault(on=GetBlob, reference=lost, times=FOREVER, **how))
        with pytest.raises(CopyError) as caught:
            await copy(f"{source.host}/{NAME}:v1", f"{registry.host}/{NAME}:v1", client=client)
        assert (caught.value.side, caught.value.digest) == (Side.SOURCE, lost)
        assert isinstance(caught.value.__cause__, kind)
        assert lost not in sent(registry)
        assert sessions(registry) == 0
        there = client.repository(f"{registry.host}/{NAME}")
        assert not await there.manifests.exists("v1")


@pytest.mark.in_turn
async def test_f166_docker_registry_keeps_nothing_of_a_blob_whose_source_lies(
    docker_registry: Peer, fresh_name: str
) -> None:
    top = made_of(blob("large", 300_000))
    async with serve() as source:
        hosts = docker_registry.client_kwargs()["hosts"] | source.client_options["hosts"]
        async with Client(hosts=hosts, credentials={}, retry=QUICK) as client:
            await put(client.repository(f"{source.host}/{NAME}"), top, "v1")
            source.faults.add(Fault(on=GetBlob, reference=top.blobs[1].digest, corrupt_at=299_999, times=FOREVER))
            there = f"{docker_registry.host}/{fresh_name}"
            with pytest.raises(CopyError) as caught:
                await copy(f"{source.host}/{NAME}:v1", f"{there}:v1", client=client)
            assert isinstance(caught.value.__cause__, DigestMismatchError)
            assert not await client.repository(there).blobs.exists(top.blobs[1].digest)
            source.faults.clear()
            assert (await copy(f"{source.host}/{NAME}:v1", f"{there}:v1", client=client)).digest == top.digest


async def test_f166_cancelled_copies_leave_no_session() -> None:
    top = made_of(*(blob(f"large {number}", 300_000) for number in range(4)))
    async with serve() as source, serve() as registry, client_for(source, registry) as client:
        await put(client.repository(f"{source.host}/{NAME}"), top, "v1")
        source.faults.add(Fault(on=GetBlob, pause_after=100_000, pause=30, times=FOREVER))
        with anyio.move_on_after(0.3) as scope:
            await copy(f"{source.host}/{NAME}:v1", f"{registry.host}/{NAME}:v1", client=client)
        assert scope.cancelled_caught
        assert any(each.method == "POST" for each in registry.requests)
        assert sessions(registry) == 0


# --- F167: many want the same blob -----------------------------------------------------------------------------------


async def _fifty(client: Client, source: Any, host: str, **options: Any) -> tuple[list[Exception], list[Any]]:  # noqa: ANN401 -- any store, any option
    copier = Copier(options=CopyOptions(**options))
    failures: list[Exception] = []
    reports: list[Any] = []

    async def one(number: int) -> None:
        async with (
            open_place(f"{host}/acme/copy{number}:v1", client=client) as there,
            open_place((source, f"v{number}"), client=client) as here,
        ):
            try:
                reports.append(await copier.copy(here, there))
            except CopyError as error:
                failures.append(error)

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(one, number)
    return failures, reports


async def _sharing(shared: Any) -> Any:  # noqa: ANN401 -- an image, a store
    source = MemoryRegistry().repository(NAME)
    for number in range(50):
        config = blob(f"config {number}", 100)
        await put(source, made_of(shared, config=config), f"v{number}")
    return source


@pytest.mark.in_turn
async def test_f167_a_blob_that_fifty_images_need_is_sent_once() -> None:
    shared = blob("shared", 50_000)
    source = await _sharing(shared)
    async with serve() as registry, client_for(registry) as client:
        failures, reports = await _fifty(client, source, registry.host)
        assert failures == []
        assert sent(registry)[shared.digest] == 1
        assert sum(report.blobs_mounted for report in reports) == 49
        assert sum(report.blobs_copied for report in reports) == 51


@pytest.mark.in_turn
async def test_f167_whoever_fails_first_does_not_fail_the_others() -> None:
    shared = blob("shared", 50_000)
    source = await _sharing(shared)
    async with serve() as registry, client_for(registry, retry=ONCE) as client:
        registry.faults.add(Fault(on=PutUpload, reference=shared.digest, status=403, times=2))
        failures, reports = await _fifty(client, source, registry.host)
        assert len(failures) == 2
        assert len(reports) == 48
        assert sent(registry)[shared.digest] == 1
        assert sessions(registry) == 0


@pytest.mark.in_turn
async def test_f167_whoever_is_cancelled_first_does_not_take_the_others_along() -> None:
    shared = blob("shared", 300_000)
    source = await _sharing(shared)
    async with serve() as registry, client_for(registry) as client:
        registry.faults.add(Fault(on=PutUpload, reference=shared.digest, latency=0.5, times=1))
        copier = Copier()
        scopes: list[anyio.CancelScope] = []
        done: list[int] = []

        async def one(number: int) -> None:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                async with (
                    open_place(f"{registry.host}/acme/copy{number}:v1", client=client) as there,
                    open_place((source, f"v{number}"), client=client) as here,
                ):
                    await copier.copy(here, there)
                    done.append(number)

        async with anyio.create_task_group() as group:
            group.start_soon(one, 0)
            await anyio.sleep(0.2)
            for number in range(1, 6):
                group.start_soon(one, number)
            await anyio.sleep(0.1)
            scopes[0].cancel()
        assert sorted(done) == [1, 2, 3, 4, 5]
        assert sent(registry)[shared.digest] == 1
        assert sessions(registry) == 0


@pytest.mark.in_turn
async def test_f167_where_nothing_is_mounted_every_repository_is_sent_the_blob() -> None:
    shared = blob("shared", 20_000)
    source = await _sharing(shared)
    async with serve() as registry, client_for(registry) as client:
        registry.faults.add(Fault(on=MountBlob, status=405, times=FOREVER))
        failures, _ = await _fifty(client, source, registry.host)
        assert failures == []
        assert sent(registry)[shared.digest] == 50
        assert sessions(registry) == 0


async def test_f167_a_registry_that_never_mounts_keeps_no_session_for_the_question() -> None:
    source, top = await in_memory()
    async with serve(quirks="crane") as registry, client_for(registry) as client:
        report = await copy((source, "v1"), f"{registry.host}/{NAME}:v1", client=client)
        assert report.blobs_copied == len(top.blobs)
        assert sum(each.method == "DELETE" for each in registry.requests) == 1
        assert sessions(registry) == 0


# --- Q40: mounts name repositories of the same registry --------------------------------------------------------------


async def test_q40_a_copy_mounts_only_from_repositories_of_the_destination() -> None:
    top = made_of(*LAYERS[:2])
    async with serve() as source, serve() as registry, client_for(source, registry) as client:
        for name in ("acme/one", "acme/two"):
            await put(client.repository(f"{source.host}/{name}"), top, "v1")
        copier = Copier()
        # A hint about the source's registry is none about the destination.
        copier.may_have(source.host, Digest(top.blobs[1].digest), "acme/hinted")
        for name in ("acme/one", "acme/two"):
            async with (
                open_place(f"{source.host}/{name}:v1", client=client) as here,
                open_place(f"{registry.host}/there/{name}", client=client) as there,
            ):
                await copier.copy(here, there)
        named = [each.query.partition("from=")[2] for each in registry.requests if "from=" in each.query]
        assert named
        assert all(name.replace("%2F", "/").startswith("there/acme/") for name in named)


# --- a layout that cannot be written ---------------------------------------------------------------------------------


async def test_f165_a_layout_on_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source, top = await in_memory()
    plain, written = os.pwrite, 0

    def full(file: int, data: bytes, offset: int) -> int:
        nonlocal written
        written += len(data)
        if written > 8000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return plain(file, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(CopyError, match="No space left") as caught:
            await copy((source, "v1"), f"oci:{tmp_path}:v1", at_once=1)
    assert caught.value.side is Side.DESTINATION
    assert not await Layout(tmp_path).manifests.exists("v1")
    assert 0 < (await copy((source, "v1"), f"oci:{tmp_path}:v1")).blobs_copied < len(top.blobs)
