"""The fault matrix: every fault of every row, on every event loop, before both registries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import OciError
from tests.faults.matrix.cases import FAULTS
from tests.faults.matrix.fault import DOCKER, EMBEDDED, Case, Fault
from tests.faults.matrix.invariants import DEADLINE_S, Baseline, check_error
from tests.faults.matrix.stage import Stage
from tests.faults.matrix.writes import UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.matrix.conftest import Standings
    from tests.faults.matrix.operations import Operation
    from tests.faults.matrix.stage import Evidence, Setting
    from tests.faults.matrix.standing import Standing
    from tests.peers.tls import Authority


def _parameters() -> Iterator[object]:
    turn = 0
    for fault in FAULTS:
        marks = [pytest.mark.xfail(strict=True, reason=fault.finding)] if fault.finding else []
        for label in (EMBEDDED, DOCKER):
            if fault.only in {"", label}:
                yield pytest.param(Case(fault, label, turn), id=f"{fault.label}-{label}", marks=marks)
                turn += 1


_costs: dict[tuple[Operation, Setting, str], int] = {}


async def _attempt(stage: Stage, operation: Operation) -> Evidence | OciError:
    try:
        with anyio.fail_after(DEADLINE_S):
            async with stage.client() as client:
                return await operation.run(stage, client)
    except OciError as error:
        return error


async def _cost(fault: Fault, standing: Standing, folder: Path, authority: Authority) -> int:
    """Return how many requests the operation takes when nothing goes wrong."""
    if fault.operation in UNFINISHED:
        return 0
    key = (fault.operation, fault.setting, standing.label)
    if key not in _costs:
        quiet = Fault(fault.row, "nothing", fault.operation, (), setting=fault.setting)
        with Stage(quiet, standing, folder, authority) as stage:
            fault.operation.set_up(stage)
            found = await _attempt(stage, fault.operation)
            if isinstance(found, OciError):
                raise found
            _costs[key] = len(stage.requests)
            (folder / "blob").unlink(missing_ok=True)
    return _costs[key]


@pytest.mark.parametrize("case", list(_parameters()))
async def test_fault(case: Case, standings: Standings, tmp_path: Path, authority: Authority) -> None:
    fault, standing = case.fault, standings(case.registry)
    allowed = await _cost(fault, standing, tmp_path, authority)
    with Stage(fault, standing, tmp_path, authority) as stage:
        fault.operation.set_up(stage)
        before = Baseline.of(stage)
        found = await _attempt(stage, fault.operation)
        if isinstance(found, OciError):
            if not fault.expect:
                raise found
            check_error(found, stage, fault)
        else:
            assert not fault.expect, "it worked"
        assert all(server.happened for server in stage.proxies if server.ruled), "the fault did not happen"
        fault.operation.prove(stage, None if isinstance(found, OciError) else found)
        await before.check(stage, fault, allowed)
