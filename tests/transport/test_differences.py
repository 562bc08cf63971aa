from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.transport.differences import HTTPX, why_skipped

SOURCES = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("test_*.py"))]


def _source_of(test: str) -> str | None:
    """Return the text of the file that has a test function."""
    for text in SOURCES:
        for node in ast.parse(text).body:
            if isinstance(node, ast.AsyncFunctionDef) and node.name == test:
                return text
    return None


@pytest.mark.parametrize("named", HTTPX)
def test_every_difference_is_about_a_case_that_there_is(named: str) -> None:
    test, _, case = named.removesuffix("]").partition("[")
    text = _source_of(test)
    assert text is not None
    assert not case or f'"{case}"' in text or case.isdigit()


def test_a_case_is_skipped_by_its_whole_name_only() -> None:
    test = "test_f015_a_length_that_is_none_is_refused"
    assert why_skipped(test, "asyncio-httpx-5,5") is not None
    assert why_skipped(test, "asyncio-httpx-5,55") is None
    assert why_skipped(test + "_even_so", "asyncio-httpx-5,5") is None
    assert why_skipped("test_f015_chunks_in_http_1_0_are_refused", "asyncio-httpx") is not None
