"""Spec: RFC 8288, section 3; distribution-spec, "Listing Tags"."""

from __future__ import annotations

import pytest

from ocidist.errors import ProtocolError
from ocidist.wire.link import Link, next_target, parse_links


@pytest.mark.parametrize(
    ("values", "target"),
    [
        ([], None),
        (['</v2/a/tags/list?n=2&last=b>; rel="next"'], "/v2/a/tags/list?n=2&last=b"),
        (["</v2/a/tags/list?n=2&last=b>; rel=next"], "/v2/a/tags/list?n=2&last=b"),
        (["</x>;rel=next"], "/x"),
        (['<https://r.example/v2/_catalog?last=a,b;c>; rel="next"'], "https://r.example/v2/_catalog?last=a,b;c"),
        (['</x>; REL="NEXT"'], "/x"),
        (['</x>; Rel = "Next"'], "/x"),
        (['</x>; rel="prev next"'], "/x"),
        (['</x>; title="a, b; rel=next"; rel="prev"'], None),
        (['</first>; rel="first", </next>; rel="next"'], "/next"),
        (['</first>; rel="first"', '</next>; rel="next"'], "/next"),
        (["/v2/_catalog?next_page=abc; rel=next"], "/v2/_catalog?next_page=abc"),
        (["https://r.example/v2/_catalog?last=a,b; rel=next"], "https://r.example/v2/_catalog?last=a,b"),
        (["/prev; rel=prev, /next; rel=next"], "/next"),
        (['<?last=b&n=2>; rel="next"'], "?last=b&n=2"),
        (['<list?last=b>; rel="next"'], "list?last=b"),
        (['<>; rel="next"'], None),
        (['< >; rel="next"'], None),
        (['<>; rel="next", </x>; rel="next"'], "/x"),
        (['< /x >; rel="next"'], "/x"),
        (['</x>; rel="next"; next_page="abc"'], "/x"),
        (["</x>"], "/x"),
        (["</x>; title=y"], "/x"),
        (["</x>, </y>"], None),
        (['</x>; rel="prev"'], None),
        (['</x>; rel="nextish"'], None),
        (['</x>; rel=prev; rel="next"'], None),
        ([""], None),
        ([", ,"], None),
        (['</x>; ; ;rel="next"'], "/x"),
        (['</x>; @@; rel="next"'], "/x"),
        (['</x> rel="next"'], "/x"),
    ],
)
def test_q52_the_next_page_is_found_in_every_shape(values: list[str], target: str | None) -> None:
    assert next_target(values) == target


@pytest.mark.parametrize(
    "value",
    ["</x", "<", '</x>; rel="next', "</a b>; rel=next", "</x\x00>; rel=next", "</x\n>; rel=next", '</x>; rel="a\x1bb"'],
)
def test_f093_a_malformed_link_is_an_error_instead_of_a_list_cut_short(value: str) -> None:
    with pytest.raises(ProtocolError):
        next_target([value])


@pytest.mark.parametrize("value", ["<" * 20_000, "</x>," * 1_000_000, "</x>;" + "a=b;" * 10_000])
def test_t36_more_than_16_kib_are_refused_before_they_are_read(value: str) -> None:
    with pytest.raises(ProtocolError, match="larger"):
        parse_links([value])


def test_all_links_keep_their_relations_and_parameters() -> None:
    (one, two) = parse_links(['</a>; rel="next first"; title="x \\"y\\""; flag, </b>; Rel=prev'])
    assert one == Link("/a", frozenset({"next", "first"}), {"rel": "next first", "title": 'x "y"', "flag": ""})
    assert two == Link("/b", frozenset({"prev"}), {"rel": "prev"})
