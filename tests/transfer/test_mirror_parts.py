"""Mirrors that are interrupted, and mirrors that several processes share."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import Shard, UsageError, make_plan, mirror, run_plan
from ocidist.server import Fault
from ocidist.wire.endpoints import PutManifest
from tests.transfer.mirrors import client_of, config, contents, fill, images, traffic

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist import Client
    from tests.transfer.conftest import Pair

# --- checkpoints -----------------------------------------------------------------------------------------------------


async def test_what_a_checkpoint_says_is_done_is_only_looked_at(
    registries: Pair, client: Client, tmp_path: Path
) -> None:
    source, destination = registries
    fill(source, 2)
    plan = await make_plan(config(*registries), client=client)
    file = tmp_path / "checkpoint"
    destination.faults.add(Fault(on=PutManifest, latency=30, skip=2, times=99))
    with anyio.move_on_after(20) as scope:
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                while not file.exists() or len(file.read_text().splitlines()) < 3:  # noqa: ASYNC110 -- another's file
                    await anyio.sleep(0.01)
                group.cancel_scope.cancel()

            group.start_soon(watch)
            await run_plan(plan, client=client, checkpoint=file)
    assert not scope.cancelled_caught
    done = file.read_text().splitlines()[1:]
    assert len(done) == 2
    left = [task for task in plan.tasks if task.key not in done]
    assert len(left) == 2
    destination.faults.clear()
    traffic(destination)
    source.requests.clear()
    report = await run_plan(plan, client=client, checkpoint=file)
    # What was on its way when nobody waited for it any more may have arrived.
    assert report.copied <= 2
    assert report.copied + report.present == 4
    assert contents(destination) == contents(source)
    for task in plan.tasks:
        if task.key in done:
            path = f"/v2/{task.destination_repository.partition('/')[2]}/manifests/{task.tag}"
            assert [each.method for each in destination.requests if each.path == path] == ["HEAD"]
            assert not [each for each in source.requests if task.source_digest in each.path]
    assert not file.exists()
    file.write_text('{"kind": "ocidist mirror checkpoint", "version": 1, "config": "x"}\n')
    with pytest.raises(UsageError, match="another mirror"):
        await run_plan(plan, client=client, checkpoint=file)


async def test_a_native_cancellation_leaves_a_usable_checkpoint(
    registries: Pair, client: Client, tmp_path: Path, anyio_backend_name: str
) -> None:
    if anyio_backend_name == "trio":
        pytest.skip("asyncio's own cancellation")
    source, destination = registries
    fill(source, 3)
    plan = await make_plan(config(*registries), client=client)
    file = tmp_path / "checkpoint"
    for _ in range(6):
        destination.faults.clear()
        destination.faults.add(Fault(on=PutManifest, latency=30, skip=1, times=99))
        task = asyncio.ensure_future(run_plan(plan, client=client, checkpoint=file))
        destination.requests.clear()
        while not task.done() and len(destination.requests) < 10:  # noqa: ASYNC110 -- another's requests
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    destination.faults.clear()
    report = await run_plan(plan, client=client, checkpoint=file)
    assert report.failures == ()
    assert contents(destination) == contents(source)
    assert not file.exists()


# --- shards ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        "at the same time",
        "one after the other",
        "one after the other, with one plan",
        # Which of them owns the home of a layer, the addresses of the registries decide.
        "the other after the one, with one plan",
    ],
)
async def test_shards_make_the_same_mirror_and_send_shared_layers_once(registries: Pair, how: str) -> None:
    source, destination = registries
    fill(source, 6)
    plan = None
    if "one plan" in how:
        async with client_of(*registries) as client:
            plan = await make_plan(config(*registries), client=client)
    reports = []

    async def one(index: int, patience: float) -> None:
        async with client_of(*registries) as client:
            made = plan or await make_plan(config(*registries), client=client)
            reports.append(await run_plan(made, client=client, shard=Shard(index, 2), patience=patience))

    if how == "at the same time":
        async with anyio.create_task_group() as group:
            group.start_soon(one, 0, 20)
            group.start_soon(one, 1, 20)
    else:
        for index in (1, 0) if how.startswith("the other") else (0, 1):
            await one(index, 0)
    assert contents(destination) == contents(source)
    assert sum(report.copied for report in reports) == 12
    asked = traffic(destination)
    assert set(asked.sent.values()) == {1}
    assert len(asked.sent) == 2 + 12 * 2


async def test_a_shard_that_never_comes_is_waited_for_once(registries: Pair, client: Client) -> None:
    source, destination = registries
    # Who owns what depends on the registry's port; both own something.
    names = [f"{destination.host}/acme/app{number}" for number in range(40)]
    number = 1 + max(min(at for at, name in enumerate(names) if Shard(index, 2).owns(name)) for index in range(2))
    fill(source, number)
    plan = await make_plan(config(*registries), client=client)
    began = anyio.current_time()
    report = await run_plan(plan, client=client, shard=Shard(0, 2), patience=0.3)
    assert report.failures == ()
    assert 0 < report.copied < 2 * number
    # Each of the layers that are shared would take the whole of it.
    assert anyio.current_time() - began < 30
    assert max(traffic(destination).sent.values()) == 1


# --- size ------------------------------------------------------------------------------------------------------------


@pytest.mark.in_turn
async def test_of_many_tags_only_those_that_are_accepted_are_looked_at(registries: Pair, client: Client) -> None:
    source, destination = registries
    number = 100_000 if os.environ.get("NIGHTLY") else 5000
    built = source.add("acme/wide", images("wide", ["v0"]))

    async def many() -> None:
        found = source.store.repository("acme/wide")
        for each in range(1, number):
            await found.tags.set(f"v{each}", built["v0"].digest)

    source.call(many)
    source.requests.clear()
    rules = f'[[mirror]]\nsource = "SRC/acme/wide"\ndestination = "DST/wide"\ntags = {{ allow = ["v{number - 1}"] }}'
    report = await mirror(config(*registries, rules), client=client)
    assert report.copied == 1
    # Pages of a thousand, and one image: its manifest, its configuration, and three layers.
    assert len(source.requests) <= number // 1000 + 1 + 5
    assert list(contents(destination)) == ["wide"]
