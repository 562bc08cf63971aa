from __future__ import annotations

import ast
from pathlib import Path

from tests.transport.differences import HTTPX, why_skipped


def _tests() -> dict[str, str]:
    """Return every test function with the text of its file."""
    found = {}
    for path in Path(__file__).parent.glob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        found.update({node.name: text for node in ast.parse(text).body if isinstance(node, ast.AsyncFunctionDef)})
    return found


def test_every_difference_is_about_a_case_that_there_is() -> None:
    tests, unknown = _tests(), []
    for named in HTTPX:
        test, _, case = named.removesuffix("]").partition("[")
        if test not in tests or (case and f'"{case}"' not in tests[test] and not case.isdigit()):
            unknown.append(named)
    assert unknown == []


def test_a_case_is_skipped_by_its_whole_name_only() -> None:
    test = "test_f015_a_length_that_is_none_is_refused"
    assert why_skipped(test, "asyncio-httpx-5,5") is not None
    assert why_skipped(test, "asyncio-httpx-5,55") is None
    assert why_skipped(test + "_even_so", "asyncio-httpx-5,5") is None
    assert why_skipped("test_f015_chunks_in_http_1_0_are_refused", "asyncio-httpx") is not None
