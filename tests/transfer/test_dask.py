"""A mirror done by a Dask cluster: two worker processes, real sockets."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from distributed import Client as Cluster
from distributed import LocalCluster
from distributed.comm import tcp

from ocidist import HostConfig, MirrorPlan, OciError, UsageError, make_plan
from ocidist.testing import serve
from ocidist.transfer.dask import run_plan_on_dask, sent_hosts
from tests.transfer.mirrors import client_of, config, contents, fill, tags, traffic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ocidist.testing import LoopbackRegistry

USER, SECRET = "mirror", "open-sesame-to-the-workers"
RULES = """
[[mirror]]
source = "SRC/acme/*"
destination = "DST"
[[mirror]]
source = "SRC/acme/app0"
destination = "DST/kept"
delete = true
"""


@pytest.fixture
def registries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LoopbackRegistry, LoopbackRegistry]]:
    with serve(auth=(USER, SECRET)) as source, serve(auth=(USER, SECRET)) as destination:
        fill(source, 5)
        login = {"auth": base64.b64encode(f"{USER}:{SECRET}".encode()).decode()}
        (tmp_path / "config.json").write_text(json.dumps({"auths": {source.host: login, destination.host: login}}))
        # What the workers inherit: each looks there by itself.
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        yield source, destination


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Everything that this process, where client and scheduler are, sends to workers."""
    found: list[bytes] = []
    real = tcp.to_frames

    async def to_frames(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- as Dask calls it
        frames = await real(*args, **kwargs)
        found.extend(bytes(frame) for frame in frames)
        return frames

    monkeypatch.setattr(tcp, "to_frames", to_frames)
    return found


@pytest.mark.timeout(180)
def test_two_dask_workers_make_the_same_mirror_send_shared_layers_once_and_are_sent_no_secret(
    registries: tuple[LoopbackRegistry, LoopbackRegistry], sent: list[bytes]
) -> None:
    source, destination = registries
    hosts = {each.host: HostConfig(scheme="http") for each in registries}
    rules = RULES.replace("SRC", source.host).replace("DST", destination.host)
    destination.add("kept", {"images": {"old": {"tags": ["v0"]}}})

    async def run() -> None:
        async with client_of(source, destination) as client:
            plan = await make_plan(config(source, destination, rules), client=client)
        traffic(destination)
        async with (
            LocalCluster(
                n_workers=2, threads_per_worker=4, processes=True, asynchronous=True, dashboard_address=None
            ) as workers,
            Cluster(workers, asynchronous=True) as cluster,
        ):
            report = await run_plan_on_dask(plan, cluster, hosts=hosts, limits={destination.host: 6})
            again = await run_plan_on_dask(plan, cluster, hosts=hosts)
            destination.call(destination.store.repository("kept").tags.delete, "v1")
            later = await run_plan_on_dask(_present(plan), cluster, hosts=hosts)
            # With other limits than the first time.
            gone = await run_plan_on_dask(_spoiled(plan), cluster, hosts=hosts, limits={destination.host: 3})
            with pytest.raises(OciError, match="the workers cannot make their clients: ModuleNotFoundError"):
                await run_plan_on_dask(plan, cluster, factory="no_such_module:make_client")
            plugins = await cluster.run(lambda dask_worker: list(dask_worker.plugins))
        assert not [name for names in plugins.values() for name in names if "ocidist" in name]
        assert (report.copied, report.failures) == (12, ())
        assert report.deleted == (f"{destination.host}/kept:v0",)
        assert (again.copied, again.present, again.blobs_copied) == (0, 12, 0)
        assert again.failures == ()
        # What an old plan calls present is looked at.
        assert (later.copied, later.present, later.failures) == (1, 11, ())
        assert len(gone.failures) == 1
        assert report.blobs_copied == len(traffic(destination).sent) == 2 + 10 * 2

    asyncio.run(run())
    expected = contents(source)
    assert contents(destination) == expected | {"kept": expected["acme/app0"]}
    assert set(tags(destination, "kept")) == {"v1", "v2"}
    wire = b"".join(sent)
    assert b"acme/app4" in wire
    assert b"sha256:" in wire
    for secret in (SECRET.encode(), base64.b64encode(f"{USER}:{SECRET}".encode())):
        assert secret not in wire


def _present(plan: MirrorPlan) -> MirrorPlan:
    """Return a plan that was made, and done, when everything was there."""
    return attrs.evolve(plan, tasks=tuple(attrs.evolve(each, present=True) for each in plan.tasks))


def _spoiled(plan: MirrorPlan) -> MirrorPlan:
    """Return a plan one image of which vanished."""
    text = plan.to_json()
    digest = next(task.source_digest for task in plan.tasks if task.repository.endswith("app4"))
    return MirrorPlan.from_json(text.replace(digest, f"sha256:{'0' * 64}"))


def test_what_may_be_secret_or_is_no_plain_value_is_not_sent() -> None:
    assert sent_hosts({"a.io": HostConfig(scheme="http", rate=5)}) == {"a.io": {"scheme": "http", "rate": 5}}
    with pytest.raises(UsageError, match="headers"):
        sent_hosts({"a.io": HostConfig(headers=(("x-key", SECRET),))})
    with pytest.raises(UsageError, match="mirrors"):
        sent_hosts({"a.io": HostConfig(mirrors=("https://b.io",))})


async def test_a_cluster_that_would_block_is_refused() -> None:
    plan = MirrorPlan.from_json(PLAN)
    with pytest.raises(UsageError, match="asynchronous=True"):
        await run_plan_on_dask(plan, object())


class _Asynchronous:
    asynchronous = True


@pytest.mark.parametrize(
    "wrong",
    [
        {"factory": "nonsense"},
        {"factory": ":f"},
        {"factory": "m:"},
        {"limits": {"a.io": 0}},
        {"limits": {"a.io": True}},
    ],
)
async def test_what_workers_could_not_use_is_refused_before_they_are_asked(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        await run_plan_on_dask(MirrorPlan.from_json(PLAN), _Asynchronous(), **wrong)


PLAN = MirrorPlan(config=f"sha256:{'0' * 64}", images_at_once=1, blobs_at_once=1).to_json()  # type: ignore[arg-type]  # only to be refused
