from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ocidist import wire
from ocidist.errors import ProtocolError, UsageError
from ocidist.wire.ranges import (
    ContentRange,
    content_length,
    format_content_range,
    parse_content_range,
    parse_int,
    parse_upload_range,
    range_header,
)

NOT_NUMBERS = [
    "",
    " 1",
    "1 ",
    "+1",
    "-1",
    "1_000",
    "0x10",
    "1.0",
    "1e3",
    "NaN",
    "\u0661\u0662",
    "\u00b2",
    "1\n",
    "9" * 20,
]


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("42", 42), ("9" * 19, 10**19 - 1)])
def test_a_number_is_ascii_digits(text: str, number: int) -> None:
    assert parse_int(text) == number


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_t40_what_int_would_take_and_a_header_may_not_say_is_no_number(text: str) -> None:
    assert parse_int(text) is None


def test_t40_no_pattern_in_the_source_is_matched_up_to_a_last_newline_or_in_every_script() -> None:
    found: list[str] = []
    for path in Path(wire.__file__).parents[1].rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            name = ast.unparse(node.func)
            pattern = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else ""
            if name == "re.match" or (name.startswith("re.") and str(pattern).endswith("$")):
                found.append(f"{path.name}:{node.lineno}")
    assert not found


@pytest.mark.parametrize(
    ("values", "length"),
    [((), None), (("12",), 12), (("12", "12"), 12), (("12, 12",), 12), (("12,\t12", "12"), 12), ((" 0 ",), 0)],
)
def test_a_length_said_several_times_is_one_length(values: tuple[str, ...], length: int | None) -> None:
    assert content_length(values) == length


@pytest.mark.parametrize("values", [("1", "2"), ("1, 2",), ("",), ("1,",), ("-1",), ("1_0",), ("\u0661",), ("0x1",)])
def test_a_contradictory_or_malformed_length_is_refused(values: tuple[str, ...]) -> None:
    with pytest.raises(ProtocolError):
        content_length(values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes 0-99/200", ContentRange(0, 99, 200)),
        ("bytes 0-99/*", ContentRange(0, 99, None)),
        ("Bytes  5-5/6 ", ContentRange(5, 5, 6)),
        ("0-99", ContentRange(0, 99, None)),
        ("100-199", ContentRange(100, 199, None)),
    ],
)
def test_a_content_range_is_read_with_and_without_its_unit(text: str, expected: ContentRange) -> None:
    found = parse_content_range(text)
    assert found == expected
    assert found is not None
    assert found.stop - found.start == found.last - found.first + 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bytes",
        "bytes */200",
        "items 0-1/2",
        "bytes 5-4/10",
        "bytes 0-10/10",
        "bytes 0-/10",
        "bytes -5/10",
        "0",
        "a-b",
    ],
)
def test_a_content_range_that_contradicts_itself_is_none(text: str) -> None:
    assert parse_content_range(text) is None


def test_a_chunk_range_is_written_inclusively() -> None:
    assert format_content_range(0, 100) == "0-99"
    assert format_content_range(100, 101) == "100-100"


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (5, 5), (5, 4), (-1, 4)])
def test_an_empty_chunk_has_no_range(start: int, stop: int) -> None:
    with pytest.raises(UsageError):
        format_content_range(start, stop)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0-99", 100),
        ("bytes=0-99", 100),
        ("bytes 0-99", 100),
        ("bytes=0-99/*", 100),
        (" 0 - 99 ", 100),
        ("100-199", 200),
        ("0-1", 2),
        ("0--1", 0),
    ],
)
def test_an_upload_range_tells_how_many_bytes_a_registry_claims_to_have(text: str, count: int) -> None:
    assert parse_upload_range(text) == count


@pytest.mark.parametrize(
    "text", ["0-0", "bytes=0-0", "", "0", "-", "-5", "5-4", "x-y", "0-99999999999999999999", "0--2"]
)
def test_an_upload_range_of_nothing_or_one_byte_or_garbage_says_nothing(text: str) -> None:
    assert parse_upload_range(text) is None


def test_a_read_is_asked_for_inclusively() -> None:
    assert range_header(0) == "bytes=0-"
    assert range_header(10, 5) == "bytes=10-14"
    assert range_header(0, 1) == "bytes=0-0"


@pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, 0), (0, -1)])
def test_a_read_of_nothing_cannot_be_asked_for(offset: int, length: int | None) -> None:
    with pytest.raises(UsageError):
        range_header(offset, length)
