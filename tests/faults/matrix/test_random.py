"""Random faults during mixed work: nothing corrupted, nothing lost, nothing stuck.

A plan that fails is made as small as it gets before it is shown. ``OCIDIST_FAULT_SEED=7`` repeats a seed, and
``NIGHTLY=1`` tries the seeds 1 to 200.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anyio
import attrs
import pytest

from ocidist import OciError, RetryPolicy, UploadExpiredError
from tests.faults.matrix import operations, reads, writes
from tests.faults.matrix.actions import Drop, changed
from tests.faults.matrix.changes import Corrupt
from tests.faults.matrix.fault import DOCKER, EMBEDDED, Fault
from tests.faults.matrix.invariants import DEADLINE_S, Baseline
from tests.faults.matrix.plan import LENGTH, Misfortune, plan, shrunk
from tests.faults.matrix.stage import Stage
from tests.faults.matrix.standing import READ

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist import Client
    from tests.faults.matrix.conftest import Standings
    from tests.faults.matrix.plan import Plan
    from tests.faults.matrix.standing import Standing
    from tests.peers.tls import Authority

PATIENT = RetryPolicy(attempts=8, wait_initial=0.001, wait_max=0.01, jitter=0.0)
WORK = (
    *(
        writes.push_bytes,
        reads.pull,
        reads.tags,
        writes.push_chunked,
        reads.get,
        writes.mount,
        writes.attach,
        writes.push_manifest,
    ),
    *(
        reads.referrers,
        reads.download,
        writes.push_file,
        reads.manifest_stat,
        writes.delete,
        writes.write,
        reads.manifest_by_digest,
    ),
    *(
        writes.push_journal,
        reads.catalog,
        reads.stat,
        writes.push_stream,
        reads.read,
        writes.push_tag,
        writes.delete_blob,
        writes.push_single,
    ),
)
ONCE_ONLY = (writes.write, writes.push_stream)
"""Work that a registry may make impossible to go on with: what was sent cannot be had again."""


def _seeds() -> list[int]:
    if seed := os.environ.get("OCIDIST_FAULT_SEED"):
        return [int(seed)]
    return list(range(1, 201 if os.environ.get("NIGHTLY") else 4))


@attrs.frozen
class Setup:
    """What it takes to try a plan."""

    standing: Standing
    folder: Path
    authority: Authority

    async def attempt(self, found: Plan) -> str | None:
        """Do all of the work while a plan happens; return what went wrong, if anything did."""
        rules = tuple(each.rule() for each in found)
        fault = Fault("L12", "random", WORK[0], rules, options=(("retry", PATIENT),), sessions=len(found))
        with Stage(fault, self.standing, self.folder, self.authority) as stage:
            before = Baseline.of(stage)
            async with stage.client() as client:
                for operation in WORK:
                    try:
                        await _do(operation, stage, client)
                    except (AssertionError, OciError, TimeoutError) as error:
                        return f"{operation.name}: {type(error).__name__}: {error}"
                    (self.folder / "blob").unlink(missing_ok=True)
            try:
                await before.check(stage, fault, LENGTH)
            except AssertionError as error:
                return str(error)
        return None


async def _do(operation: operations.Operation, stage: Stage, client: Client) -> None:
    stage.name = READ
    operation.set_up(stage)
    try:
        with anyio.fail_after(DEADLINE_S):
            found = await operation.run(stage, client)
    except UploadExpiredError:
        if operation not in ONCE_ONLY:
            raise
        operation.prove(stage, None)
    else:
        operation.prove(stage, found)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("label", [EMBEDDED, DOCKER])
@pytest.mark.parametrize("seed", _seeds())
async def test_l12_random_faults_lose_and_spoil_nothing(
    seed: int, label: str, standings: Standings, tmp_path: Path, authority: Authority
) -> None:
    setup = Setup(standings(label), tmp_path, authority)
    found = plan(seed)
    wrong = await setup.attempt(found)
    if wrong is None:
        return

    async def fails(less: Plan) -> bool:
        return await setup.attempt(less) is not None

    least = await shrunk(found, fails)
    lines = "\n".join(f"  request {each.number}: {each.action}" for each in least)
    pytest.fail(f"OCIDIST_FAULT_SEED={seed}: {wrong}\nthe least of it that fails:\n{lines}", pytrace=False)


async def test_a_plan_is_shrunk_to_what_it_takes() -> None:
    tried = []

    async def fails(less: Plan) -> bool:
        tried.append(less)
        return {3, 17} <= {each.number for each in less}

    least = await shrunk(tuple(Misfortune(number, Drop()) for number in range(1, 33)), fails)
    assert [each.number for each in least] == [3, 17]
    assert len(tried) < 40


async def test_a_plan_that_no_client_survives_is_found_out(
    standings: Standings, tmp_path: Path, authority: Authority
) -> None:
    setup = Setup(standings(EMBEDDED), tmp_path, authority)
    spoiled = tuple(Misfortune(number, changed(Corrupt(0))) for number in range(1, LENGTH))
    wrong = await setup.attempt(spoiled)
    assert wrong is not None


def test_the_plan_of_a_seed_is_the_same_each_time() -> None:
    assert plan(7) == plan(7)
    assert plan(7) != plan(8)
    assert 20 < len(plan(7)) < 70
