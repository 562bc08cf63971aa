from __future__ import annotations

import pytest

from ocidist._io.parts import MAX_PARTS, Plan
from ocidist.remote import _parts

STEP = 10 * 1024 * 1024


def test_a_plan_is_read_as_it_was_written() -> None:
    plan = Plan(10**9, 77, 10**7, b"h" * 32)
    assert plan.count == 100
    assert plan.span(0) == (77, 10**7 + 77)
    assert plan.span(99) == (99 * 10**7 + 77, 10**9)
    assert Plan.parse(plan.footer(), plan.length) == plan
    assert Plan.parse(plan.footer(), plan.length + 1) is None
    assert Plan.parse(b"", 0) is None
    assert Plan.parse(plan.footer()[1:] + b"x", plan.length) is None


@pytest.mark.parametrize(
    ("size", "connections"), [(2 * STEP, 2), (10**9, 4), (20 * 2**30, 8), (2**50, 1), (2**50, 64), (STEP, 1)]
)
def test_no_blob_has_too_many_parts_or_too_small_ones(size: int, connections: int) -> None:
    step = _parts.step_of(size, connections)
    assert step >= _parts.MIN_PART
    assert -(-size // step) <= MAX_PARTS
