from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import pytest

from tests.faults.matrix.cases import FAULTS
from tests.faults.matrix.fault import DOCKER, EMBEDDED
from tests.faults.rows import NOT_BUILT, ROWS
from tests.faults.scoreboard import Scoreboard

NAMED = re.compile(r"def test_f(\d{3})_", re.ASCII)


def met() -> set[str]:
    """Return the rows that a case of the matrix is about, or a test anywhere."""
    texts = (path.read_text() for path in Path(__file__).parents[1].rglob("test_*.py"))
    return {fault.row for fault in FAULTS} | {f"F{row}" for text in texts for row in NAMED.findall(text)}


def report(row: str, loop: str = "trio", *, name: str = "one", failed: bool = False) -> pytest.TestReport:
    """Return the report of a test that counts as a fault."""
    properties = [("fault", (row, "embedded", loop, name))]
    outcome: Literal["failed", "passed"] = "failed" if failed else "passed"
    return pytest.TestReport(name, ("", 0, ""), {}, outcome, None, "call", user_properties=properties)


def test_every_row_is_met_or_there_is_a_reason() -> None:
    assert sorted(ROWS - met()) == []
    assert all(NOT_BUILT.values())
    assert not ROWS & NOT_BUILT.keys()


def test_no_two_cases_have_one_name() -> None:
    names = [(each.label, label) for each in FAULTS for label in (EMBEDDED, DOCKER) if each.only in {"", label}]
    assert len(names) == len(set(names))
    assert len(FAULTS) > 1000


def test_a_fault_is_survived_only_if_every_phase_of_its_test_passed() -> None:
    passed = [report("F110"), report("F115", name="two"), report("F116", "asyncio")]
    wrong, skipped = [report("F115", name="two", failed=True)], [report("F117", name="three")]
    board = Scoreboard({"passed": [*passed, *skipped], "error": wrong, "skipped": skipped})
    lines = list(board.lines())
    assert "trio     embedded         1 of 2 faults survived" in lines
    assert "asyncio  embedded         1 of 1 faults survived" in lines
    assert "in all                    2 of 3 faults survived" in lines
    assert "not survived: F115 two" in lines
    assert "F110" not in board.missing
    assert "F001" in board.missing
