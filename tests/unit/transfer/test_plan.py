from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from ocidist import (
    CopyError,
    Digest,
    DigestUnsupportedError,
    LimitExceededError,
    ManifestUnknownError,
    OciError,
    Side,
    Tag,
    UsageError,
)
from ocidist.transfer.options import CopyOptions, Referrers
from ocidist.transfer.plan import (
    CopyTask,
    DeleteTask,
    MirrorFailure,
    MirrorPlan,
    PlannedBlob,
    shared_blobs,
    task_from_json,
    task_to_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable

BASE, OWN = PlannedBlob(Digest.of(b"base"), 4), PlannedBlob(Digest.of(b"own"), 3)


def task(name: str = "app", *blobs: PlannedBlob, **changes: Any) -> CopyTask:  # noqa: ANN401 -- as the class takes them
    made = CopyTask(
        repository=f"ghcr.io/acme/{name}",
        source_digest=Digest.of(name.encode()),
        source_tag=Tag("v1"),
        destination_repository=f"localhost:5000/{name}",
        tag=Tag("v1"),
        digest=Digest.of(name.encode()),
        blobs=blobs,
    )
    return attrs.evolve(made, **changes)


OPTIONS = CopyOptions(
    platforms=["linux/amd64", "windows(10.0.20348)/amd64"],
    referrers=Referrers(2, artifact_types=["a/b"]),
    digest_tags=True,
    foreign_layers=True,
    force=True,
)
PLAN = MirrorPlan(
    config=Digest.of(b"rules"),
    images_at_once=8,
    blobs_at_once=16,
    tasks=(
        task("app", BASE, OWN, options=OPTIONS),
        task("tool", BASE, present=True),
        task("pinned", source_tag=None, tag=None),
        task("local", repository="oci:/srv/in", destination_repository="oci:/srv/out"),
    ),
    deletions=(
        DeleteTask("localhost:5000/app", Tag("v0"), Digest.of(b"v0")),
        DeleteTask("localhost:5000/app", Tag("v00")),
    ),
    failures=(
        MirrorFailure("ghcr.io/acme/gone:v1", "localhost:5000/gone:v1", OciError("it vanished"), "localhost:5000/gone"),
        MirrorFailure("ghcr.io", "localhost:5000", CopyError("at the source: no", Side.SOURCE)),
    ),
    warnings=("ghcr.io/acme/empty: it has no tags",),
    shared={"localhost:5000": {BASE.digest: "localhost:5000/app"}},
)


def test_tasks_say_what_they_are() -> None:
    first, _, pinned, local = PLAN.tasks
    digest = Digest.of(b"app")
    assert first.key == f"{digest}@localhost:5000/app:v1"
    assert first.source == f"ghcr.io/acme/app:v1@{digest}"
    assert (first.destination, first.registry, first.size) == ("localhost:5000/app:v1", "localhost:5000", 7)
    assert pinned.destination == f"localhost:5000/pinned@{pinned.digest}"
    assert pinned.source == f"ghcr.io/acme/pinned@{pinned.digest}"
    assert (local.destination, local.registry) == ("oci:/srv/out:v1", "oci:/srv/out")
    assert PLAN.deletions[0].key == "delete@localhost:5000/app:v0"
    # The base is needed twice, but by one registry.
    assert PLAN.size == 7


def test_a_plan_survives_being_written_and_read() -> None:
    text = PLAN.to_json()
    again = MirrorPlan.from_json(text)
    assert again == PLAN
    assert again.to_json() == text
    assert MirrorPlan.from_json(text.encode()) == PLAN
    assert pickle.loads(pickle.dumps(PLAN)) == PLAN  # noqa: S301 -- its own
    assert [task_from_json(json.loads(json.dumps(task_to_json(each)))) for each in PLAN.tasks] == list(PLAN.tasks)


def test_failures_keep_their_class_and_side() -> None:
    first, second = MirrorPlan.from_json(PLAN.to_json()).failures
    assert (type(first.error), first.error.message) == (OciError, "it vanished")
    assert isinstance(second.error, CopyError)
    assert second.error.side is Side.SOURCE
    for error in (LimitExceededError("manifest", 4), ManifestUnknownError(404)):
        written = MirrorFailure("a", "b", error).to_json()
        read = MirrorFailure.from_json(json.loads(json.dumps(written))).error
        assert (type(read), str(read)) == (type(error), str(error))
    missing = MirrorFailure.from_json({"error": "ManifestUnknownError", "message": "it is gone"}).error
    assert isinstance(missing, ManifestUnknownError)
    assert (missing.errors, missing.request_id, missing.retry_after, str(missing)) == ((), None, None, "it is gone")
    # What its class advises is in the text.
    advised = DigestUnsupportedError("md5")
    assert str(MirrorFailure.from_json(MirrorFailure("a", "b", advised).to_json()).error) == str(advised)
    assert type(MirrorFailure.from_json({"error": "CopyError", "message": "no side"}).error) is OciError
    # Only errors of this package are made, whatever a file says.
    for name in ("SystemExit", "MirrorError", "Side", "__name__", ""):
        assert type(MirrorFailure.from_json({"error": name, "message": "x"}).error) is OciError


def _without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda plan: plan.pop(name)


@pytest.mark.parametrize(
    "spoil",
    [
        *map(_without, ("version", "config", "tasks", "blobs", "shared", "images_at_once", "failures")),
        lambda plan: plan.update(version=2),
        lambda plan: plan.update(surprise=1),
        lambda plan: plan.update(config="x"),
        lambda plan: plan.update(images_at_once="8"),
        lambda plan: plan.update(images_at_once=0),
        lambda plan: plan.update(images_at_once=10**9),
        lambda plan: plan.update(blobs_at_once=-1),
        lambda plan: plan.update(shared=[]),
        lambda plan: plan.update(shared={"a.io": {"x": "a.io/b"}}),
        lambda plan: plan.update(deletions=[["a.io/b"]]),
        lambda plan: plan.update(deletions=[["a.io/b", "", None]]),
        lambda plan: plan.update(deletions=[["a.io/b:v1", "v2", None]]),
        lambda plan: plan.update(deletions=[["../../etc", "v2", None]]),
        lambda plan: plan.update(deletions=[["a.io/b", "v2", "sha256:0"]]),
        lambda plan: plan.update(warnings=[1]),
        lambda plan: plan["blobs"].append([1]),
        lambda plan: plan["blobs"].append(["sha256:0", 1]),
        lambda plan: plan["tasks"][0].update(blobs=[99]),
        lambda plan: plan["tasks"][0].update(blobs=[-1]),
        lambda plan: plan["tasks"][0].update(blobs=[True]),
        lambda plan: plan["tasks"][0].update(present=1),
        lambda plan: plan["tasks"][0].update(to=["a.io/b"]),
        lambda plan: plan["tasks"][0].update({"from": [1, 2, 3]}),
        lambda plan: plan["tasks"][0]["from"].__setitem__(0, "a.io/UPPER"),
        lambda plan: plan["tasks"][0]["to"].__setitem__(0, "a.io/b:v1"),
        lambda plan: plan["tasks"][0]["to"].__setitem__(0, f"a.io/b@{BASE.digest}"),
        lambda plan: plan["tasks"][0].update(options={"force": "yes"}),
        lambda plan: plan["tasks"][0].update(options={"referrers": {"depth": 0}}),
        lambda plan: plan["tasks"][0].update(options={"platforms": ["linux"]}),
        lambda plan: plan["failures"].append({"source": 1}),
    ],
)
def test_what_is_no_plan_is_refused(spoil: Callable[[dict[str, Any]], object]) -> None:
    plan = json.loads(PLAN.to_json())
    spoil(plan)
    with pytest.raises(UsageError):
        MirrorPlan.from_json(json.dumps(plan))


def test_a_plan_of_another_version_is_told_from_what_is_wrong_with_it() -> None:
    plan = json.loads(PLAN.to_json()) | {"version": 2, "surprise": 1}
    with pytest.raises(UsageError, match="another version"):
        MirrorPlan.from_json(json.dumps(plan))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"version": 1, "version": 1}', "[" * 100_000])
def test_what_is_not_even_json_of_the_kind_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        MirrorPlan.from_json(text)


def test_shared_blobs_have_one_home_each_that_does_not_depend_on_order() -> None:
    tasks = [task(f"app{number}", BASE, PlannedBlob(Digest.of(b"%d" % number), 1)) for number in range(20)]
    found = shared_blobs(tasks)
    assert found == shared_blobs(reversed(tasks))
    (home,) = found["localhost:5000"].values()
    assert home in {each.destination_repository for each in tasks}
    # One that has it already is best.
    there = [attrs.evolve(each, present=each is tasks[7]) for each in tasks]
    there[7] = attrs.evolve(tasks[7], present=True)
    assert shared_blobs(there) == {"localhost:5000": {BASE.digest: "localhost:5000/app7"}}


def test_only_what_repositories_of_one_registry_share_is_shared() -> None:
    assert shared_blobs([task("app", BASE), task("app", BASE, tag=Tag("v2"))]) == {}
    assert shared_blobs([task("app", BASE), task("app", BASE, destination_repository="b.io/app")]) == {}
    layouts = [task("app", BASE, destination_repository=f"oci:/srv/{name}") for name in "ab"]
    assert shared_blobs(layouts) == {}


def test_homes_are_spread_over_the_repositories() -> None:
    blobs = [PlannedBlob(Digest.of(b"%d" % number), 1) for number in range(200)]
    found = shared_blobs([task(f"app{number}", *blobs) for number in range(4)])
    homes = list(found["localhost:5000"].values())
    assert all(30 < homes.count(f"localhost:5000/app{number}") < 70 for number in range(4))
