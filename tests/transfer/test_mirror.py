"""Mirrors from registry to registry."""

from __future__ import annotations

import json
import pickle
import socket
from typing import TYPE_CHECKING

import pytest

from ocidist import (
    CopyStarted,
    Layout,
    ManifestUnknownError,
    MirrorConfig,
    MirrorError,
    MirrorPlan,
    MirrorRule,
    NameUnknownError,
    RetryPolicy,
    UnsupportedError,
    UsageError,
    make_plan,
    mirror,
    run_plan,
)
from ocidist.server import Fault
from ocidist.testing import Content, serve
from ocidist.wire.endpoints import DeleteManifest, GetManifest, ListRepositories, ListTags, PutManifest, StatManifest
from tests.transfer.mirrors import BASES, client_of, config, contents, fill, images, tags, traffic

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist import Client, Event
    from ocidist.testing import LoopbackRegistry
    from ocidist.wire.endpoints import Endpoint
    from tests.transfer.conftest import Pair


# --- the whole ------------------------------------------------------------------------------------------------------


async def test_a_mirror_has_everything_and_sends_each_blob_once(registries: Pair, client: Client) -> None:
    source, destination = registries
    fill(source, 5)
    source.requests.clear()
    seen: list[Event] = []
    report = await mirror(config(*registries), client=client, hooks=[seen.append])
    assert contents(destination) == contents(source)
    assert (report.copied, report.present, report.failures) == (10, 0, ())
    asked = traffic(destination)
    assert set(asked.sent.values()) == {1}
    assert len(asked.sent) == report.blobs_copied == 2 + 10 * 2
    assert asked.mounted == report.blobs_mounted == 4 * len(BASES)
    everything = {digest: size for image in every_image(source) for digest, size in image.items()}
    assert report.bytes_copied == sum(size for digest, size in everything.items() if digest in asked.sent)
    # The least that it takes: catalog, tags, manifests, blobs; each blob opened and sent, or mounted; manifests again.
    least = 1 + 5 + 10 + 22 + 2 * 22 + 8 + 10
    assert len(source.requests) + asked.requests <= 1.15 * least
    # Planning and copying together read each manifest once.
    assert sum("/manifests/" in each.path for each in source.requests) == 10
    assert sum(isinstance(event, CopyStarted) for event in seen) == 10


def every_image(registry: LoopbackRegistry) -> list[dict[str, int]]:
    return [image for repository in contents(registry).values() for image in repository.values()]


async def test_doing_it_again_moves_nothing_and_reads_no_manifest(registries: Pair, client: Client) -> None:
    source, destination = registries
    fill(source, 3)
    await mirror(config(*registries), client=client)
    for registry in registries:
        registry.requests.clear()
    report = await mirror(config(*registries), client=client)
    assert (report.copied, report.present, report.blobs_copied) == (0, 6, 0)
    assert not [each for each in source.requests if each.method == "GET" and "/manifests/" in each.path]
    # A list of tags for each repository, and a look at each tag.
    assert len(source.requests) == 1 + 3 + 6
    asked = traffic(destination)
    assert (asked.requests, asked.changes) == (3 + 6, 0)


async def test_what_is_new_is_mounted_from_what_was_there(registries: Pair, client: Client) -> None:
    source, destination = registries
    fill(source, 2)
    await mirror(config(*registries), client=client)
    fill(source, 3)
    traffic(destination)
    report = await mirror(config(*registries), client=client)
    assert contents(destination) == contents(source)
    assert (report.copied, report.present) == (2, 4)
    asked = traffic(destination)
    # The new images' own layers and configurations; their bases are in the repositories that were there.
    assert (asked.sent.total(), asked.mounted) == (4, 2)


async def test_a_plan_that_was_written_down_is_done_by_another_process(registries: Pair, client: Client) -> None:
    source, destination = registries
    fill(source, 2)
    plan = await make_plan(config(*registries), client=client)
    assert traffic(destination).changes == 0
    assert len(plan.tasks) == 4
    assert [task.size for task in plan.tasks] == sorted((task.size for task in plan.tasks), reverse=True)
    text = plan.to_json()
    assert MirrorPlan.from_json(text) == plan
    source.requests.clear()
    for copied in (4, 0):
        async with client_of(*registries) as other:
            report = await run_plan(MirrorPlan.from_json(text), client=other)
        assert (report.copied, report.present, report.failures) == (copied, 4 - copied, ())
    assert contents(destination) == contents(source)


async def test_a_plan_that_is_done_by_who_made_it_reads_no_manifest_again(registries: Pair, client: Client) -> None:
    source, destination = registries
    fill(source, 2)
    plan = await make_plan(config(*registries), client=client)
    source.requests.clear()
    traffic(destination)
    report = await run_plan(plan, client=client)
    assert not [each for each in source.requests if "/manifests/" in each.path]
    # And nobody is asked for tags that were not there a moment ago.
    assert not [each for each in destination.requests if each.method == "HEAD" and "/manifests/" in each.path]
    assert report.copied == 4
    # Later they may be there.
    again = await run_plan(plan, client=client)
    assert (again.copied, again.present) == (0, 4)
    assert pickle.loads(pickle.dumps(plan)) == plan  # noqa: S301 -- its own
    assert contents(destination) == contents(source)


async def test_the_client_is_made_from_the_configuration_if_there_is_none(registries: Pair) -> None:
    source, destination = registries
    fill(source, 1)
    hosts = "".join(f'[hosts."{each.host}"]\nscheme = "http"\n' for each in registries)
    await mirror(config(*registries, f'{hosts}[[mirror]]\nsource = "SRC"\ndestination = "DST"'))
    assert contents(destination) == contents(source)


# --- what goes wrong ------------------------------------------------------------------------------------------------


def gone(repository: str, tag: str) -> Fault:
    return missing((GetManifest, StatManifest), "MANIFEST_UNKNOWN", repository=repository, reference=tag)


def missing(on: type[Endpoint] | tuple[type[Endpoint], ...], code: str, **where: str) -> Fault:
    body = json.dumps({"errors": [{"code": code, "message": "it is gone"}]}).encode()
    return Fault(on=on, status=404, body=body, times=99, **where)  # type: ignore[arg-type]  # names of Fault's own


async def test_f168_a_tag_that_vanishes_is_reported_and_the_others_are_done(registries: Pair, client: Client) -> None:
    source, destination = registries
    fill(source, 2, ["v1", "v2", "v3"])
    # It is listed, and is not there any more when it is looked at.
    source.faults.add(gone("acme/app1", "v2"))
    with pytest.raises(MirrorError) as caught:
        await mirror(config(*registries), client=client)
    report = caught.value.report
    (failure,) = report.failures
    assert failure.source == f"{source.host}/acme/app1:v2"
    assert failure.destination == f"{destination.host}/acme/app1:v2"
    assert isinstance(failure.error.__cause__, ManifestUnknownError)
    assert report.copied == 5
    expected = contents(source)
    del expected["acme/app1"]["v2"]
    assert contents(destination) == expected


async def test_f168_a_tag_that_vanishes_between_planning_and_copying_is_copied_as_it_was(
    registries: Pair, client: Client
) -> None:
    source, destination = registries
    fill(source, 1, ["v1", "v2"])
    expected = contents(source)
    plan = await make_plan(config(*registries), client=client)
    source.call(source.store.repository("acme/app0").tags.delete, "v1")
    report = await run_plan(plan, client=client)
    assert report.failures == ()
    assert contents(destination) == expected
    # Its manifest vanishes, too: now there is nothing to be copied.
    source.call(source.store.repository("acme/app0").manifests.delete, plan.tasks[0].source_digest)
    async with serve() as third, client_of(source, third) as other:
        again = await run_plan(MirrorPlan.from_json(plan.to_json().replace(destination.host, third.host)), client=other)
    assert [failure.source for failure in again.failures] == [plan.tasks[0].source]
    assert again.copied == 1


async def test_t20_a_tag_that_moves_meanwhile_is_copied_as_it_was_planned(registries: Pair, client: Client) -> None:
    source, destination = registries
    fill(source, 1, ["v1"])
    before = tags(source, "acme/app0")
    plan = await make_plan(config(*registries), client=client)
    source.add("acme/app0", images("moved", ["v1"]))
    assert tags(source, "acme/app0") != before
    report = await run_plan(plan, client=client)
    assert tags(destination, "acme/app0") == before
    assert report.images[0].digest == before["v1"]
    await mirror(config(*registries), client=client)
    assert contents(destination) == contents(source)


async def test_a_repository_that_vanishes_is_reported(registries: Pair, client: Client) -> None:
    source, destination = registries
    fill(source, 2, ["v1"])
    source.faults.add(missing(ListTags, "NAME_UNKNOWN", repository="acme/app0"))
    with pytest.raises(MirrorError) as caught:
        await mirror(config(*registries), client=client)
    (failure,) = caught.value.report.failures
    assert failure.source == f"{source.host}/acme/app0"
    assert isinstance(failure.error, NameUnknownError)
    assert list(contents(destination)) == ["acme/app1"]


async def test_a_registry_without_a_catalog_is_told_what_to_do(registries: Pair, client: Client) -> None:
    source, destination = registries
    fill(source, 1)
    source.faults.add(missing(ListRepositories, "UNSUPPORTED"))
    rules = '[[mirror]]\nsource = "SRC/acme/*"\ndestination = "DST"\n'
    rules += '[[mirror]]\nsource = "SRC/acme/app0"\ndestination = "DST/named"'
    with pytest.raises(MirrorError) as caught:
        await mirror(config(*registries, rules), client=client)
    (failure,) = caught.value.report.failures
    assert failure.source == f"{source.host}/acme/*"
    assert isinstance(failure.error, UnsupportedError)
    assert "name the repositories" in str(failure.error)
    assert set(contents(destination)) == {"named"}


async def test_failures_that_pass_are_tried_again(registries: Pair, client: Client) -> None:
    source, destination = registries
    fill(source, 2, ["v1"])
    source.faults.add(Fault(on=GetManifest, corrupt_at=10, times=2))
    destination.faults.add(Fault(on=PutManifest, status=500, times=2, skip=1))
    report = await mirror(config(*registries), client=client)
    assert report.copied == 2
    assert contents(destination) == contents(source)


async def test_a_destination_that_takes_nothing_is_not_asked_for_ever(registries: Pair, client: Client) -> None:
    source, _ = registries
    fill(source, 12, ["v1"])
    async with serve(read_only=True) as destination, client_of(source, destination) as other:
        with pytest.raises(MirrorError) as caught:
            await mirror(config(source, destination), client=other)
        assert len(caught.value.report.failures) == 12
        assert len(destination.requests) < 12 * 12


async def test_nobody_at_the_destination_is_reported_for_each_image(registries: Pair) -> None:
    source, _ = registries
    fill(source, 2, ["v1"])
    rules = f'[[mirror]]\nsource = "SRC"\ndestination = "127.0.0.1:{free_port()}"'
    async with client_of(*registries, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(MirrorError) as caught:
            await mirror(config(*registries, rules), client=client)
    assert len(caught.value.report.failures) == 2


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


# --- rules -----------------------------------------------------------------------------------------------------------


async def test_filters_choose_tags_and_digest_tags_stay(registries: Pair, client: Client) -> None:
    source, destination = registries
    source.add("acme/app", images("app", ["v1.0.0", "v1.2.0", "v2.0.0-rc1", "latest", f"sha256-{'0' * 64}.sig"]))
    rules = (
        '[[mirror]]\nsource = "SRC/acme/app"\ndestination = "DST/a"\n[mirror.tags]\nsemver = ">=1.1"\nallow = ["l*"]'
    )
    await mirror(config(*registries, rules), client=client)
    assert set(tags(destination, "a")) == {"v1.2.0", "latest"}
    await mirror(config(*registries, '[[mirror]]\nsource = "SRC/acme/app"\ndestination = "DST/b"'), client=client)
    assert set(tags(destination, "b")) == {"v1.0.0", "v1.2.0", "v2.0.0-rc1", "latest"}


async def test_single_images_by_tag_and_digest(registries: Pair, client: Client) -> None:
    source, destination = registries
    fill(source, 1)
    digest = tags(source, "acme/app0")["v2"]
    rules = f"""
[[mirror]]
source = "SRC/acme/app0:v1"
destination = "DST/a:stable"
[[mirror]]
source = "SRC/acme/app0:v1"
destination = "DST/b"
[[mirror]]
source = "SRC/acme/app0@{digest}"
destination = "DST/c"
[[mirror]]
source = "SRC/acme/app0:v9@{digest}"
destination = "DST/d"
"""
    for copied in (4, 0):
        report = await mirror(config(*registries, rules), client=client)
        assert (report.copied, report.present) == (copied, 4 - copied)
    assert set(tags(destination, "a")) == {"stable"}
    assert set(tags(destination, "b")) == {"v1"}
    assert tags(destination, "c") == {}
    assert destination.call(destination.store.repository("c").manifests.exists, digest)
    assert tags(destination, "d") == {"v9": digest}


async def test_an_image_with_many_tags_is_sent_once(registries: Pair, client: Client) -> None:
    source, destination = registries
    content = Content().image("app", tags=[f"v{number}" for number in range(12)])
    content.artifact("bill", "application/spdx+json", subject="app")
    source.add("acme/app", content)
    source.requests.clear()
    rules = '[[mirror]]\nsource = "SRC/acme/app"\ndestination = "DST/app"\nreferrers = true'
    report = await mirror(config(*registries, rules), client=client)
    assert report.copied == 12
    # Whatever the number of tags, each manifest is read once, asked for its referrers once, and sent once.
    assert sum(each.method == "GET" and "/manifests/" in each.path for each in source.requests) == 2
    assert sum("/referrers/" in each.path for each in source.requests) == 2
    pushes = [each for each in destination.requests if each.method == "PUT" and "/manifests/sha256:" in each.path]
    assert len(pushes) == 2


async def test_layouts_on_disk_at_either_end(registries: Pair, client: Client, tmp_path: Path) -> None:
    source, destination = registries
    fill(source, 2)
    there = f'[[mirror]]\nsource = "SRC/acme/*"\ndestination = "oci:{tmp_path}/all"'
    report = await mirror(config(*registries, there), client=client)
    assert report.copied == 4
    layout = Layout(tmp_path / "all" / "acme" / "app1")
    assert [str(tag) async for tag in layout.tags.list()] == ["v1", "v2"]
    back = f'[[mirror]]\nsource = "oci:{tmp_path}/all/acme/app1"\ndestination = "DST/acme/app1"'
    for copied in (2, 0):
        report = await mirror(config(*registries, back), client=client)
        assert report.copied == copied
    assert contents(destination) == {"acme/app1": contents(source)["acme/app1"]}
    # Without a registry in it no client is needed.
    rules = [MirrorRule(source=f"oci:{tmp_path}/all/acme/app1", destination=f"oci:{tmp_path}/copy")]
    plan = await make_plan(MirrorConfig(rules=rules), client=None)
    assert (await run_plan(plan, client=None)).copied == 2
    with pytest.raises(UsageError, match="a client is needed"):
        await make_plan(config(*registries), client=None)


async def test_platforms_and_referrers_are_copied_as_asked(registries: Pair, client: Client) -> None:
    source, destination = registries
    content = Content()
    for platform in ("linux/amd64", "linux/arm64", "linux/s390x"):
        content.image(platform, platform=platform)
    content.index("index", ["linux/amd64", "linux/arm64", "linux/s390x"], tags=["v1"])
    content.artifact("bill", "application/spdx+json", subject="linux/arm64")
    built = source.add("acme/app", content)
    rules = """
[[mirror]]
source = "SRC/acme/app"
destination = "DST/one"
platforms = ["linux/arm64"]
referrers = true
[[mirror]]
source = "SRC/acme/app"
destination = "DST/two"
platforms = ["linux/arm64", "linux/amd64"]
"""
    for copied in (2, 0):
        report = await mirror(config(*registries, rules), client=client)
        assert (report.copied, report.present) == (copied, 2 - copied)
    assert tags(destination, "one")["v1"] == built["linux/arm64"].digest
    assert len(contents(destination)["two"]["v1"]) == 1 + 2 * 3
    referrers = client.repository(f"{destination.host}/one").referrers(built["linux/arm64"].digest)
    assert [each.digest for each in await referrers.collect()] == [built["bill"].digest]


async def test_rules_that_mean_the_same_place_must_mean_the_same_image(registries: Pair, client: Client) -> None:
    source, destination = registries
    fill(source, 3, ["v1", "v2"])
    source.add("acme/app2", images("acme/app0", ["v1"]))
    rules = "".join(f'[[mirror]]\nsource = "SRC/acme/app{n}"\ndestination = "DST/all"\n' for n in (0, 2))
    with pytest.raises(MirrorError) as caught:
        await mirror(config(*registries, rules), client=client)
    report = caught.value.report
    # v1 is the same in both; of v2 neither is copied.
    assert set(tags(destination, "all")) == {"v1"}
    (failure,) = report.failures
    assert failure.destination == f"{destination.host}/all:v2"
    assert "app0:v2" in failure.source
    assert "app2:v2" in failure.source
    assert isinstance(failure.error, UsageError)


async def test_a_registry_is_mirrored_into_itself_without_end_only_once(registries: Pair, client: Client) -> None:
    source, _ = registries
    fill(source, 2, ["v1"])
    rules = '[[mirror]]\nsource = "SRC"\ndestination = "SRC/copy"'
    for copied in (2, 0, 0):
        report = await mirror(config(*registries, rules), client=client)
        assert (report.copied, report.blobs_copied) == (copied, 0)
    assert set(contents(source)) == {"acme/app0", "acme/app1", "copy/acme/app0", "copy/acme/app1"}
    # A neighbour whose name only begins alike is no part of it.
    source.add("copying/app", images("x", ["v1"]))
    assert (await mirror(config(*registries, rules), client=client)).copied == 1


async def test_names_that_become_too_long_are_reported(registries: Pair, client: Client) -> None:
    source, destination = registries
    fill(source, 1, ["v1"])
    source.add("acme/" + "x" * 200, images("x", ["v1"]))
    rules = f'[[mirror]]\nsource = "SRC"\ndestination = "DST/{"y" * 100}"'
    with pytest.raises(MirrorError) as caught:
        await mirror(config(*registries, rules), client=client)
    assert len(caught.value.report.failures) == 1
    assert len(contents(destination)) == 1


async def test_what_nobody_expects_is_a_warning(registries: Pair, client: Client) -> None:
    source, _ = registries
    fill(source, 1)
    source.add("acme/empty", Content().blob("x", "x"))
    rules = """
[[mirror]]
source = "SRC/acme/app0"
destination = "DST/a"
tags = { allow = ["w*"] }
[[mirror]]
source = "SRC/other/*"
destination = "DST/b"
"""
    report = await mirror(config(*registries, rules), client=client)
    assert report.warnings == (
        f"{source.host}/acme/app0: none of its 2 tags is accepted",
        f"{source.host}/other/*: no repository has such a name",
    )


# --- deleting --------------------------------------------------------------------------------------------------------

DELETE = '[[mirror]]\nsource = "SRC/acme/app0"\ndestination = "DST/acme/app0"\ndelete = true\n'


async def test_tags_that_vanished_are_deleted_on_request(registries: Pair, client: Client) -> None:
    source, destination = registries
    fill(source, 1, ["v1", "v2"])
    signature = f"sha256-{'0' * 64}.sig"
    destination.add("acme/app0", images("x", ["v0", "other", signature]))
    kept = DELETE.replace("delete = true\n", "")
    await mirror(config(*registries, kept), client=client)
    assert set(tags(destination, "acme/app0")) == {"v0", "v1", "v2", "other", signature}
    report = await mirror(config(*registries, f'{DELETE}tags = {{ allow = ["v*"] }}'), client=client)
    assert report.deleted == (f"{destination.host}/acme/app0:v0",)
    assert set(tags(destination, "acme/app0")) == {"v1", "v2", "other", signature}


async def test_nothing_is_deleted_where_the_source_is_empty(registries: Pair, client: Client) -> None:
    source, destination = registries
    source.add("acme/app0", Content().blob("x", "x"))
    destination.add("acme/app0", images("x", ["v0"]))
    report = await mirror(config(*registries, DELETE), client=client)
    assert report.deleted == ()
    assert any("nothing is deleted" in warning for warning in report.warnings)
    assert set(tags(destination, "acme/app0")) == {"v0"}


@pytest.mark.parametrize("failing", ["the list", "another rule", "a catalog"])
async def test_nothing_is_deleted_where_not_everything_is_known(registries: Pair, failing: str) -> None:
    source, destination = registries
    fill(source, 2, ["v1"])
    destination.add("acme/app0", images("x", ["v0"]))
    rules = DELETE
    if failing == "the list":
        source.faults.add(Fault(on=ListTags, repository="acme/app0", status=403, times=99))
    elif failing == "another rule":
        rules += '[[mirror]]\nsource = "SRC/acme/app9"\ndestination = "DST/acme/app0"\n'
    else:
        rules += f'[[mirror]]\nsource = "127.0.0.1:{free_port()}/*"\ndestination = "DST"\n'
    async with client_of(*registries, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(MirrorError) as caught:
            await mirror(config(*registries, rules), client=client)
    assert caught.value.report.deleted == ()
    assert "v0" in tags(destination, "acme/app0")


@pytest.mark.parametrize("source", ["SRC/acme/tool", "SRC/acme/t*"])
async def test_a_tag_that_another_rule_wants_is_not_deleted(registries: Pair, client: Client, source: str) -> None:
    origin, destination = registries
    fill(origin, 1, ["v1"])
    origin.add("acme/tool", images("tool", ["v7", "v8"]))
    # It cannot be resolved this time, and is there from the last one.
    origin.faults.add(gone("acme/tool", "v8"))
    destination.add("acme/tool", images("x", ["v0", "v8"]))
    into = "DST" if "*" in source else "DST/acme/tool"
    rules = DELETE.replace("DST/acme/app0", "DST/acme/tool")
    rules += f'[[mirror]]\nsource = "{source}"\ndestination = "{into}"\n'
    with pytest.raises(MirrorError) as caught:
        await mirror(config(*registries, rules), client=client)
    assert caught.value.report.deleted == (f"{destination.host}/acme/tool:v0",)
    assert set(tags(destination, "acme/tool")) == {"v1", "v7", "v8"}


async def test_a_registry_that_deletes_nothing_is_reported(registries: Pair, client: Client) -> None:
    source, destination = registries
    fill(source, 1, ["v1"])
    destination.add("acme/app0", images("x", ["v0"]))
    destination.faults.add(Fault(on=DeleteManifest, status=405, times=99))
    with pytest.raises(MirrorError) as caught:
        await mirror(config(*registries, DELETE), client=client)
    (failure,) = caught.value.report.failures
    assert failure.destination == f"{destination.host}/acme/app0:v0"
    assert isinstance(failure.error, UnsupportedError)
    assert str(failure).startswith(f"{failure.destination}: ")
    assert caught.value.report.copied == 1
    assert set(tags(destination, "acme/app0")) == {"v0", "v1"}
