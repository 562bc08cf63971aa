"""Mirrors that must not lose anything, nor say that something is there that is not."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ocidist import (
    Client,
    Digest,
    HostConfig,
    Layout,
    MemoryRegistry,
    MirrorConfig,
    MirrorPlan,
    MirrorRule,
    RetryPolicy,
    Shard,
    TagFilter,
    UsageError,
    build_artifact,
    copy,
    make_plan,
    mirror,
    run_plan,
)
from ocidist.model.builder import EMPTY_BLOB
from ocidist.server import Fault, RegistryApp
from ocidist.testing import serve
from ocidist.transfer.checkpoint import Checkpoint
from ocidist.wire.endpoints import GetManifest, ListRepositories, ListTags, StatManifest
from tests.transfer.mirrors import client_of, config, contents, fill, images, tags

if TYPE_CHECKING:
    from pathlib import Path

    from tests.transfer.conftest import Pair

DELETE = '[[mirror]]\nsource = "SRC/acme/app0"\ndestination = "DST/acme/app0"\ndelete = true\n'


# --- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["tag", "digest"])
async def test_what_is_no_longer_there_is_copied_again_whatever_the_checkpoint_says(
    registries: Pair, client: Client, tmp_path: Path, by: str
) -> None:
    source, destination = registries
    fill(source, 1)
    rules = ""
    if by == "digest":
        digest = tags(source, "acme/app0")["v1"]
        rules = f'[[mirror]]\nsource = "SRC/acme/app0@{digest}"\ndestination = "DST/acme/app0"\n'
    plan = await make_plan(config(*registries, rules), client=client)
    file = tmp_path / "checkpoint"
    async with Checkpoint(file, plan.config) as noted:
        for task in plan.tasks:
            await noted.add(task.key)
    report = await run_plan(plan, client=client, checkpoint=file)
    assert (report.copied, report.present) == (len(plan.tasks), 0)
    repository = destination.store.repository("acme/app0")
    for task in plan.tasks:
        assert destination.call(repository.manifests.exists, task.digest)


async def test_what_an_old_plan_says_is_there_is_looked_at(registries: Pair, client: Client) -> None:
    source, destination = registries
    fill(source, 2)
    await mirror(config(*registries), client=client)
    plan = await make_plan(config(*registries), client=client)
    assert all(task.present for task in plan.tasks)
    old = MirrorPlan.from_json(plan.to_json())
    for registry in registries:
        registry.requests.clear()
    # Whoever has just looked need not look again.
    assert (await run_plan(plan, client=client)).present == 4
    assert not [*source.requests, *destination.requests]
    assert (await run_plan(old, client=client)).present == 4
    assert [each.method for each in destination.requests] == ["HEAD"] * 4
    destination.call(destination.store.repository("acme/app1").tags.delete, "v2")
    for again in (plan, old):
        report = await run_plan(again, client=client)
        assert (report.copied, report.present) == ((1, 3) if again is plan else (0, 4))
    assert contents(destination) == contents(source)


async def test_a_checkpoint_that_cannot_be_written_costs_no_image_and_no_report(
    registries: Pair, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, destination = registries
    fill(source, 4)
    written: list[bytes] = []

    def full(self: Checkpoint, data: bytes) -> None:
        written.append(data)
        if len(written) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Checkpoint, "_append", full)
    report = await mirror(config(*registries), client=client, checkpoint=tmp_path / "done")
    assert (report.copied, report.failures) == (8, ())
    assert any("No space left on device" in warning for warning in report.warnings)
    assert contents(destination) == contents(source)


# --- shards ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", ["a repository", "the catalog"])
async def test_what_one_shard_alone_could_not_plan_is_in_its_report(registries: Pair, failing: str) -> None:
    source, _ = registries
    fill(source, 8, ["v1"])
    reports = []
    for index in range(4):
        fault = Fault(on=ListTags if failing == "a repository" else ListRepositories, status=500, times=99)
        async with client_of(*registries, retry=RetryPolicy(attempts=1)) as client:
            source.faults.clear()
            source.faults.add(fault)
            plan = await make_plan(config(*registries), client=client)
            source.faults.clear()
            reports.append(await run_plan(plan, client=client, shard=Shard(index, 4), patience=0))
    if failing == "a repository":
        # Each has those that it would have copied.
        found = [failure.destination for report in reports for failure in report.failures]
        assert len(found) == len(set(found)) == 8
        for index, report in enumerate(reports):
            assert all(Shard(index, 4).owns(failure.destination) for failure in report.failures)
    else:
        assert [len(report.failures) for report in reports] == [1, 1, 1, 1]


async def test_an_image_that_one_shard_could_not_plan_is_in_its_report(registries: Pair) -> None:
    source, _ = registries
    fill(source, 8, ["v1"])
    async with client_of(*registries, retry=RetryPolicy(attempts=1)) as client:
        source.faults.add(Fault(on=(GetManifest, StatManifest), reference="v1", status=403, times=99))
        plan = MirrorPlan.from_json((await make_plan(config(*registries), client=client)).to_json())
        assert len(plan.failures) == 8
        reports = [await run_plan(plan, client=client, shard=Shard(index, 3)) for index in range(3)]
    for index, report in enumerate(reports):
        assert all(Shard(index, 3).owns(failure.repository) for failure in report.failures)
    assert sum(len(report.failures) for report in reports) == 8


async def test_a_shard_reads_only_what_it_copies_or_may_share(registries: Pair, client: Client, tmp_path: Path) -> None:
    source, destination = registries
    fill(source, 6, ["v1"])
    for into, mine in ((f"oci:{tmp_path}/all", True), ("DST", False)):
        rules = f'[[mirror]]\nsource = "SRC/acme/*"\ndestination = "{into}"\n'
        left = set(contents(source))
        for index in range(3):
            shard = Shard(index, 3)
            source.requests.clear()
            plan = await make_plan(config(*registries, rules), client=client, shard=shard)
            read = {
                each.path.split("/manifests/")[0][len("/v2/") :]
                for each in source.requests
                if "/manifests/" in each.path
            }
            owned = {task.repository.partition("/")[2] for task in plan.part_of(shard).tasks}
            # Layouts share nothing; what goes to one registry may be shared with anything else that goes there.
            assert read == (owned if mine or not owned else set(contents(source)))
            left -= owned
            assert (await run_plan(plan, client=client, shard=shard, patience=0)).failures == ()
        assert left == set()
    assert contents(destination) == contents(source)


# --- deleting --------------------------------------------------------------------------------------------------------


async def test_where_tags_cannot_be_deleted_they_are_without_the_others_of_their_image(registries: Pair) -> None:
    source, _ = registries
    fill(source, 1, ["v1"])
    async with serve(quirks="docker-registry-2") as destination, client_of(source, destination) as client:
        destination.add("acme/app0", images("x", ["v0"]))
        image = tags(destination, "acme/app0")["v0"]
        for tag in ("kept", "v9"):
            destination.call(destination.store.repository("acme/app0").tags.set, tag, image)
        rules = DELETE + 'tags = { deny = ["kept"] }\n'
        report = await mirror(config(source, destination, rules), client=client)
        assert sorted(report.deleted) == [f"{destination.host}/acme/app0:{tag}" for tag in ("v0", "v9")]
        assert set(tags(destination, "acme/app0")) == {"v1", "kept"}
        assert tags(destination, "acme/app0")["kept"] == image
        assert (await mirror(config(source, destination, rules), client=client)).deleted == ()


async def test_a_tag_that_is_gone_already_is_no_failure(registries: Pair, client: Client) -> None:
    source, destination = registries
    fill(source, 1, ["v1"])
    destination.add("acme/app0", images("x", ["v0"]))
    plan = await make_plan(config(*registries, DELETE), client=client)
    for _ in range(2):
        assert (await run_plan(plan, client=client)).failures == ()
    assert set(tags(destination, "acme/app0")) == {"v1"}


async def test_a_tag_that_names_something_else_since_the_plan_was_made_stays(registries: Pair, client: Client) -> None:
    source, destination = registries
    fill(source, 1, ["v1"])
    destination.add("acme/app0", images("x", ["v0", "v2"]))
    plan = await make_plan(config(*registries, DELETE), client=client)
    # Somebody pushes it meanwhile.
    destination.add("acme/app0", images("y", ["v0"]))
    report = await run_plan(MirrorPlan.from_json(plan.to_json()), client=client)
    assert report.deleted == (f"{destination.host}/acme/app0:v2",)
    assert any("v0: it names something else" in warning for warning in report.warnings)
    assert set(tags(destination, "acme/app0")) == {"v0", "v1"}


async def test_nothing_is_deleted_where_no_tag_of_the_source_is_accepted(registries: Pair, client: Client) -> None:
    source, destination = registries
    fill(source, 1, ["1.0", "2.0"])
    destination.add("acme/app0", images("x", ["v1.0", "v2.0"]))
    report = await mirror(config(*registries, f'{DELETE}tags = {{ allow = ["v*"] }}'), client=client)
    assert report.deleted == ()
    assert any("nothing is deleted" in warning for warning in report.warnings)
    assert set(tags(destination, "acme/app0")) == {"v1.0", "v2.0"}


async def test_one_layout_by_two_names_is_one_destination(registries: Pair, client: Client, tmp_path: Path) -> None:
    source, _ = registries
    fill(source, 2, ["v1"])
    source.add("acme/app1", images("acme/app1", ["v7"]))
    (tmp_path / "all").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "all")
    rules = [
        MirrorRule(source=f"{source.host}/acme/app0", destination=f"oci:{tmp_path}/all", delete=True),
        MirrorRule(source=f"{source.host}/acme/app1:v7", destination=f"oci:{tmp_path}/./all/"),
        MirrorRule(source=f"{source.host}/acme/app1:v7", destination=f"oci:{tmp_path}/link:other"),
    ]
    for _ in range(2):
        report = await mirror(MirrorConfig(rules=rules), client=client)
        assert report.deleted == ()
        assert [str(tag) async for tag in Layout(tmp_path / "all").tags.list()] == ["other", "v1", "v7"]


# --- what callers may get wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"delete": "false"},
        {"delete": 1},
        {"tags": ["v*"]},
        {"tags": None},
        {"options": {"referrers": True}},
        {"source": None},
        {"destination": 5},
    ],
)
def test_a_rule_of_other_types_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        MirrorRule(**{"source": "a.io/b", "destination": "c.io/d", **wrong})


async def test_what_is_not_what_it_should_be_is_refused_before_anything_is_done(client: Client) -> None:
    rule = MirrorRule(source="a.io/b", destination="c.io/d")
    plan = MirrorPlan(config=Digest.of(b"x"), images_at_once=1, blobs_at_once=1)
    given: Any = "mirror.toml"
    with pytest.raises(UsageError, match="from_file"):
        await mirror(given, client=client)
    with pytest.raises(UsageError, match="from_file"):
        await make_plan(given, client=client)
    with pytest.raises(UsageError, match="make_plan"):
        await run_plan(given, client=client)
    given = "0/4"
    with pytest.raises(UsageError, match="parse"):
        await run_plan(plan, client=client, shard=given)
    with pytest.raises(UsageError, match="patience"):
        await run_plan(plan, client=client, patience=float("nan"))
    given = rule
    with pytest.raises(UsageError, match="list"):
        MirrorConfig(rules=given)
    given = 5
    with pytest.raises(UsageError, match="list"):
        TagFilter(allow=given)


# --- what a report says ----------------------------------------------------------------------------------------------


async def test_the_time_of_a_mirror_is_the_time_of_its_plan_too(registries: Pair, client: Client) -> None:
    source, _ = registries
    fill(source, 1, ["v1"])
    source.faults.add(Fault(on=ListRepositories, latency=0.3))
    plan = await make_plan(config(*registries), client=client)
    report = await run_plan(plan, client=client)
    assert report.seconds >= 0.3
    # It was made once.
    began = time.monotonic()
    report = await run_plan(plan, client=client)
    assert report.seconds <= time.monotonic() - began


# --- one registry of several names -----------------------------------------------------------------------------------


def _within(*rules: tuple[str, str, bool]) -> MirrorConfig:
    return MirrorConfig(rules=[MirrorRule(source=one, destination=other, delete=flag) for one, other, flag in rules])


@pytest.mark.parametrize("swapped", [False, True])
async def test_a_destination_with_the_port_of_https_is_the_one_without(*, swapped: bool) -> None:
    app = RegistryApp(MemoryRegistry())
    async with Client(transport=httpx.ASGITransport(app), credentials={}) as client:
        for name in ("one", "two"):
            repository = client.repository(f"registry.example/{name}")
            await repository.blobs.push(EMPTY_BLOB)
            await repository.manifests.push(build_artifact(f"application/{name}"), tags=[name])
        first, second = ("registry.example:443", "registry.example")[:: -1 if swapped else 1]
        rules = _within(
            ("registry.example/one", f"{first}/mirror", False), ("registry.example:443/two", f"{second}/mirror", True)
        )
        for _ in range(2):
            report = await mirror(rules, client=client)
            assert not report.deleted
        mirrored = client.repository("registry.example/mirror")
        assert sorted(await mirrored.tags.list().collect()) == ["one", "two"]
        # Whoever comes by another name finds the same plan, so that shards agree.
        plan = await make_plan(rules, client=client)
    assert {task.destination_repository for task in plan.tasks} == {f"{first}/mirror"}
    assert {task.registry for task in plan.tasks} == {"registry.example"}


async def test_what_is_in_the_same_registry_by_another_name_is_mounted() -> None:
    async with Client(transport=httpx.ASGITransport(RegistryApp(MemoryRegistry())), credentials={}) as client:
        repository = client.repository("registry.example/one")
        layer = await repository.blobs.push(b"a layer")
        await repository.blobs.push(EMPTY_BLOB)
        await repository.manifests.push(build_artifact("application/one", [layer]), tags=["v1"])
        report = await copy("registry.example/one:v1", "registry.example:443/two:v1", client=client)
    assert (report.blobs_copied, report.blobs_mounted) == (0, 2)


async def test_another_port_may_be_another_registry_where_http_is_meant() -> None:
    hosts = {"registry.example": HostConfig(scheme="http")}
    rules = _within(
        ("registry.example/a", "registry.example/b", False), ("registry.example/a", "registry.example:443/b", False)
    )
    async with Client(
        transport=httpx.ASGITransport(RegistryApp(MemoryRegistry())), credentials={}, hosts=hosts
    ) as client:
        repository = client.repository("registry.example/a")
        await repository.blobs.push(EMPTY_BLOB)
        await repository.manifests.push(build_artifact("application/a"), tags=["v1"])
        plan = await make_plan(rules, client=client)
    assert len(plan.tasks) == 2


@pytest.mark.parametrize("name", ["registry.example:443/app", "registry.example/app"])
def test_a_rule_that_copies_onto_itself_by_another_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="the same"):
        MirrorRule(source=name, destination="registry.example:443/app")
