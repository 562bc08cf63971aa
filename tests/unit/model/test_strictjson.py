from __future__ import annotations

import json

import pytest

from ocidist.errors import ProtocolError
from ocidist.model.strictjson import MAX_DEPTH, MAX_NUMBER_LENGTH, loads


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -1, 1.5, "", "text", "é\U0001f600", [], {}, [1, [2, {"a": None}]], {"a": {"b": []}, "c": 2**63}],
)
def test_ordinary_json_reads_as_the_standard_reader_does(value: object) -> None:
    assert loads(json.dumps(value), what="value") == value
    assert loads(json.dumps(value, ensure_ascii=False).encode(), what="value", unique_keys=True) == value


BAD = {
    "nothing": b"",
    "blank": b"  \n",
    "html": b"<html><body>502 Bad Gateway</body></html>",
    "cut in an object": b'{"a": 1',
    "cut in a string": b'{"a": "b',
    "cut in an escape": b'"\\',
    "two documents": b"{} {}",
    "single quotes": b"{'a': 1}",
    "comment": b"/* a */ {}",
    "trailing comma": b"[1,]",
    "leading zero": b"[01]",
    "plus": b"[+1]",
    "underscore": b"[1_000]",
    "hex": b"[0x10]",
    "arabic digits": "[٣]".encode(),
    "raw newline in a string": b'"a\nb"',
    "raw nul in a string": b'"a\x00b"',
    "nan": b'{"a": NaN}',
    "infinity": b"[Infinity]",
    "minus infinity": b"[-Infinity]",
    "beyond a double": b"[1e400]",
    "minus beyond a double": b"[-1e400]",
    "latin-1": b'"\xe9"',
    "utf-16": "{}".encode("utf-16"),
    "utf-16 without mark": "{}".encode("utf-16-le"),
    "utf-32": "{}".encode("utf-32"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "surrogate in utf-8": b'"\xed\xa0\x80"',
    "overlong utf-8": b'"\xc0\xaf"',
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_what_is_not_json_in_utf8_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"^the token is not valid "):
        loads(data, what="token")


def test_t34_two_hundred_thousand_brackets_are_refused_without_recursion() -> None:
    for data in (b"[" * 200_000, b"[" * 200_000 + b"]" * 200_000, b'{"a":' * 200_000, b'[{"a":' * 100_000):
        with pytest.raises(ProtocolError, match="nested deeper than 64 levels"):
            loads(data, what="manifest")


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
def test_t34_depth_is_allowed_up_to_the_cap_and_no_further(opening: str) -> None:
    closing = opening.replace('"a":', "").translate(str.maketrans("[{", "]}"))[::-1]
    per_turn = len(closing)

    def nest(levels: int) -> str:
        return opening * (levels // per_turn) + "0" + closing * (levels // per_turn)

    assert loads(nest(MAX_DEPTH), what="value") is not None
    with pytest.raises(ProtocolError, match="nested deeper"):
        loads(nest(MAX_DEPTH + per_turn), what="value")


def test_t34_one_level_below_and_one_above_the_cap() -> None:
    assert loads("[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1), what="value") is not None
    with pytest.raises(ProtocolError, match="nested deeper"):
        loads("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), what="value")


@pytest.mark.parametrize("text", ["[" * 500, "{[" * 500, '\\"' + "[" * 500, "\\\\" + "{" * 500, '\\\\\\"[[' * 200])
def test_t34_brackets_inside_strings_are_not_depth(text: str) -> None:
    document = f'{{"{text}": "{text}"}}'
    assert loads(document, what="value") == json.loads(document)


def test_t34_many_brackets_side_by_side_are_not_depth() -> None:
    assert loads(b"[" + b"[{}]," * 5000 + b"0]", what="value") == [[{}]] * 5000 + [0]


@pytest.mark.parametrize("tail", [b"", b"\\", b'\\"', b"\\\\"])
def test_t34_a_string_that_never_ends_hides_no_depth_and_costs_no_backtracking(tail: bytes) -> None:
    with pytest.raises(ProtocolError):
        loads(b"[" * 100 + b'"' + b'\\"' * 500_000 + b"[" * 100 + tail, what="value")


@pytest.mark.parametrize("number", ["1" * 5000, "-" + "1" * 5000, "1." + "1" * 5000, "1e" + "1" * 5000])
def test_t34_numbers_of_thousands_of_digits_are_refused(number: str) -> None:
    with pytest.raises(ProtocolError, match=r"holds a number of \d+ characters"):
        loads(number, what="value")


@pytest.mark.parametrize("length", [MAX_NUMBER_LENGTH - 1, MAX_NUMBER_LENGTH, MAX_NUMBER_LENGTH + 1])
def test_t34_a_number_may_be_as_long_as_the_cap(length: int) -> None:
    text = "9" * length
    if length <= MAX_NUMBER_LENGTH:
        assert loads(text, what="value") == int(text)
    else:
        with pytest.raises(ProtocolError, match="101 characters"):
            loads(text, what="value")


@pytest.mark.parametrize(
    "text", [r'"\ud800"', r'"\uDFFF"', r'{"a\udc00": 1}', r'["\ude00\ud83d"]', r'"\ud83d\ud83d\ude00"']
)
def test_t34_half_a_surrogate_pair_is_refused_in_values_and_in_keys(text: str) -> None:
    with pytest.raises(ProtocolError, match="not valid Unicode"):
        loads(text, what="value")


def test_t34_a_lone_surrogate_in_text_is_refused_as_in_bytes() -> None:
    with pytest.raises(ProtocolError, match="not valid Unicode"):
        loads('"\ud800"', what="value")


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert loads(r'"\ud83d\ude00"', what="value") == "\U0001f600"


@pytest.mark.parametrize(
    "text", ['{"a":1,"a":1}', '{"a":1,"b":2,"a":3}', '[{"x":{"k":0,"k":0}}]', r'{"a":1,"\u0061":2}', '{"":1,"":2}']
)
def test_t34_duplicate_keys_are_refused_where_asked(text: str) -> None:
    assert loads(text, what="value") is not None
    with pytest.raises(ProtocolError, match="appears twice"):
        loads(text, what="value", unique_keys=True)


def test_a_long_duplicate_key_is_shown_shortened() -> None:
    key = "k" * 100_000
    with pytest.raises(ProtocolError) as raised:
        loads(f'{{"{key}":1,"{key}":2}}', what="value", unique_keys=True)
    assert len(str(raised.value)) < 200


def test_keys_that_differ_in_case_are_different_keys() -> None:
    assert loads('{"a":1,"A":2}', what="value", unique_keys=True) == {"a": 1, "A": 2}


def test_t34_a_reader_that_runs_out_of_stack_is_a_protocol_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object, **__: object) -> object:
        raise RecursionError

    monkeypatch.setattr(json, "loads", exhausted)
    with pytest.raises(ProtocolError):
        loads("{}", what="value")
