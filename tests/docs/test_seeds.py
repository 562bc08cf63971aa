"""The seed map: every name of the seeds is in it, and what it says is here can be imported."""

from __future__ import annotations

import pytest

from tests.docs.pages import DOCS, Row, names, quoted, resolve, rows
from tests.docs.seed_names import NAMES

PAGE = DOCS / "reference" / "seeds.md"
HEADER = ("Seed name", "In ocidist", "State")
MAP = [row for row in rows(PAGE) if row.header == HEADER]
SHORTEST_REASON = 40


def _rows(state: str) -> list[Row]:
    return [row for row in MAP if row.cells[2].partition(":")[0] == state]


def _label(row: Row) -> str:
    return f"{row.section.split()[0]}: {row.cells[0].split(',')[0]}"


@pytest.mark.parametrize("seed", NAMES)
def test_every_name_of_a_seed_has_a_row_and_no_row_is_about_anything_else(seed: str) -> None:
    found = {name for row in MAP if row.section == seed for name in quoted(row.cells[0])}
    assert found == NAMES[seed]


def test_every_row_belongs_to_a_seed_and_has_a_state() -> None:
    assert {row.section for row in MAP} == set(NAMES)
    # Everything is there, or has a reason not to be.
    assert len(_rows("here")) + len(_rows("none")) == len(MAP)


@pytest.mark.parametrize("row", _rows("here"), ids=_label)
def test_what_is_here_can_be_imported(row: Row) -> None:
    found = names(row.cells[1])
    assert found
    for name in found:
        resolve(name)


@pytest.mark.parametrize("row", _rows("none"), ids=_label)
def test_what_has_no_counterpart_has_a_reason(row: Row) -> None:
    assert not names(row.cells[1])
    assert len(row.cells[1]) >= SHORTEST_REASON
