from __future__ import annotations

import pytest

from ocidist.wire.warning import MAX_WARNING_BYTES, parse_warnings


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((), ()),
        (('299 - "Your token ends soon."',), ("Your token ends soon.",)),
        (('299 - "one"', '299 - "two"'), ("one", "two")),
        (('299 - "one", 299 - "two, three"',), ("one", "two, three")),
        (('299 - "say \\"hi\\" \\\\ bye"',), ('say "hi" \\ bye',)),
        (('299 registry.example:5000 "text" "Sun, 06 Nov 1994 08:49:37 GMT", 299 - "next"',), ("text", "next")),
        (('299 - "same"', '299 - "same"'), ("same",)),
        (('299  -  "blanks"',), ("blanks",)),
        (('299 - ""',), ()),
        (('199 - "other code"', '110 - "stale"'), ()),
        (("299 - unquoted", '299 "no agent"', "nonsense", ", ,,", '"', "299"), ()),
        (('junk, 299 - "after junk"',), ("after junk",)),
    ],
)
def test_texts_of_code_299_are_read_in_order_and_once(values: tuple[str, ...], texts: tuple[str, ...]) -> None:
    assert parse_warnings(values) == texts


def test_t37_a_flood_of_warnings_is_read_up_to_4096_bytes() -> None:
    values = tuple(f'299 - "warning number {number}"' for number in range(100_000))
    texts = parse_warnings(values)
    assert 1 < len(texts) < MAX_WARNING_BYTES
    assert sum(map(len, texts)) <= MAX_WARNING_BYTES


def test_t37_one_endless_warning_is_cut() -> None:
    (text,) = parse_warnings(['299 - "' + "x" * 1_000_000 + '"'])
    assert set(text) == {"x"}
    assert len(text) <= MAX_WARNING_BYTES


@pytest.mark.parametrize("hidden", ["\x1b", "\x07", "\x9b", "\u202e", "\u200b", "\x00"])
def test_t37_control_characters_are_removed(hidden: str) -> None:
    assert parse_warnings([f'299 - "a{hidden}b"']) == ("ab",)
