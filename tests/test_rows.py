"""Every promise that was made by number has a test named after it: ``test_q29_...``, ``test_f090_...``.

A fault may be a case of the matrix as well.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.matrix.cases import FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parent
NAME = re.compile(r"test_([asntqfl])(\d{1,3})_", re.ASCII)

# Seed traps (S), registry quirks (Q), novelties (N), acceptance points (A), threats (T), faults (F) and loads (L).
PROMISED = """
s1-16
q1-72
n1-15
a1-15
t1-48 t50-78
f1-17 f20-27 f30-41 f45-57 f60-66 f70-84 f90-106 f110-124 f130-151 f155-158 f160-169 f175-179 f185-191 f195-200
f205-209 f215-220
l1-18
"""


def _promised() -> Iterator[str]:
    for word in PROMISED.split():
        first, _, last = word[1:].partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield f"{word[0]}{number}"


@cache
def _kept() -> frozenset[str]:
    found = {f"f{int(fault.row[1:])}" for fault in FAULTS}
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (named := NAME.match(node.name)):
                found.add(f"{named[1]}{int(named[2])}")
    return frozenset(found)


@pytest.mark.parametrize("row", sorted(_promised()))
def test_every_promised_row_has_a_test_named_after_it(row: str) -> None:
    assert row in _kept()
