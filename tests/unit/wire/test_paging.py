"""Spec: distribution-spec, "Listing Tags"."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

import pytest

from ocidist.errors import LimitExceededError, LinkRefusedError, PaginationLoopError, ProtocolError, UsageError
from ocidist.wire import paging
from ocidist.wire.paging import Listing, NextPage, Pager, parse_next, parse_page

if TYPE_CHECKING:
    from collections.abc import Callable

URL = "https://r.example/v2/a/tags/list"


def link(target: str) -> list[str]:
    return [f'<{target}>; rel="next"']


def page(*items: str) -> Listing:
    return Listing(items)


class Registry:
    """Lists tags as told: how it treats ``n`` and ``last``, and how it orders."""

    def __init__(
        self, tags: list[str], *, honours_n: bool = True, honours_last: bool = True, links: bool = False
    ) -> None:
        self.tags = tags
        self.honours_n = honours_n
        self.honours_last = honours_last
        self.links = links
        self.requests = 0

    def answer(self, request: NextPage) -> tuple[Listing, list[str], str]:
        """Return page, Link header and URL."""
        self.requests += 1
        wanted = parse_next(request.url) if request.url else request
        start = 0
        if self.honours_last and wanted.last is not None:
            start = self.tags.index(wanted.last) + 1
        stop = start + wanted.n if self.honours_n and wanted.n else len(self.tags)
        items = self.tags[start:stop]
        more = link(f"/v2/a/tags/list?n={wanted.n}&last={items[-1]}") if self.links and stop < len(self.tags) else []
        return page(*items), more, request.url or f"{URL}?n={request.n}&last={request.last}"


class Run:
    """Feeds a pager one linked page after another and counts."""

    def __init__(self, pager: Pager) -> None:
        self.pager = pager
        self.given: list[str] = []
        self.requests = 0

    def follow(
        self,
        page_of: Callable[[int], Listing],
        target_of: Callable[[int], str] = lambda number: f"{URL}?p={number + 1}",
    ) -> None:
        """Answer each request with ``page_of`` its number and a link to ``target_of`` it."""
        url = f"{URL}?p=0"
        while self.pager.request is not None:
            number, self.requests = self.requests, self.requests + 1
            self.given += self.pager.feed(page_of(number), links=link(target_of(number)), url=url)
            url = self.pager.request.url or URL


def walk(registry: Registry, pager: Pager) -> list[str]:
    found: list[str] = []
    while pager.request is not None:
        listing, links, url = registry.answer(pager.request)
        found += pager.feed(listing, links=links, url=url)
    return found


# --- one page --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "key", "items"),
    [
        ('{"name":"a","tags":["v1","v2"]}', "tags", ("v1", "v2")),
        ('{"repositories":["a","b/c"]}', "repositories", ("a", "b/c")),
        ('{"name":"a","tags":null}', "tags", ()),
        ('{"repositories":null}', "repositories", ()),
        ('{"name":"a","tags":[]}', "tags", ()),
        ('{"name":"a"}', "tags", ()),
        ("{}", "repositories", ()),
        ('{"name":"a","tags":["v1"],"manifest":{},"child":[]}', "tags", ("v1",)),
    ],
)
def test_q51_a_list_that_is_null_or_missing_is_empty(
    body: str, key: Literal["tags", "repositories"], items: tuple[str, ...]
) -> None:
    assert parse_page(body.encode(), key) == Listing(items)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        '"tags"',
        "null",
        '{"tags":"v1"}',
        '{"tags":{"v1":1}}',
        '{"tags":["v1",2]}',
        '{"tags":[null]}',
        '{"tags":[["v1"]]}',
        '{"repositories":["a"]}',
        '{"errors":[{"code":"DENIED"}]}',
        "<html>log in</html>",
        '{"tags":["v1"',
        "[" * 200_000,
        '{"tags":[NaN]}',
    ],
)
def test_f094_a_page_of_another_shape_is_a_protocol_error(body: str) -> None:
    with pytest.raises(ProtocolError):
        parse_page(body.encode(), "tags")


def test_f094_names_that_break_the_grammar_are_reported_apart_and_duplicates_dropped() -> None:
    tags = ["v1", "v1", "x?y=z", "..", "a/b", "", "\x1b[31mred", "v" * 129, "v2"]
    listing = parse_page(json.dumps({"tags": tags}).encode(), "tags")
    assert listing.items == ("v1", "v2")
    assert listing.invalid == ("x?y=z", "..", "a/b", "", "[31mred", "v" * 129)
    assert listing.count == len(tags)


@pytest.mark.parametrize("odd", ["v1\nv2", "v1\n", "\n", "", "a" * 129, ".v1", "v 1", "v\u0661", "a" * 128])
def test_f094_one_odd_name_among_many_is_the_only_one_left_out(odd: str) -> None:
    """Long lists are checked at once, and must be no laxer for it."""
    found = parse_page(json.dumps({"tags": ["v1", odd, "v3", "v1"]}).encode(), "tags")
    good = ("v1", "v3") if len(odd) != 128 else ("v1", odd, "v3")
    assert found.items == good
    assert len(found.invalid) == (len(odd) != 128)
    assert found.count == 4


def test_f094_repository_names_are_held_to_their_own_grammar() -> None:
    names = ["a/b", "A/b", "../etc", "a//b", "a\r\nb", "a b"]
    listing = parse_page(json.dumps({"repositories": names}).encode(), "repositories")
    assert listing.items == ("a/b",)
    assert len(listing.invalid) == 5


def test_a_page_above_8_mib_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_PAGE_BYTES", 100)
    assert parse_page(b'{"tags":[]}'.ljust(100), "tags") == Listing(())
    with pytest.raises(LimitExceededError):
        parse_page(b'{"tags":[]}'.ljust(101), "tags")


# --- going on --------------------------------------------------------------------------------------------------------

TAGS = [f"v{number:03}" for number in range(25)]


@pytest.mark.parametrize("size", [1, 2, 5, 24, 25, 26, 1000])
@pytest.mark.parametrize("links", [True, False])
def test_every_tag_is_given_once_whatever_the_page_size(size: int, links: bool) -> None:
    assert walk(Registry(TAGS, links=links), Pager(n=size)) == TAGS


def test_links_end_a_list_without_one_more_request() -> None:
    registry = Registry(TAGS, links=True)
    assert walk(registry, Pager(n=5)) == TAGS
    assert registry.requests == 5


def test_q53_a_full_page_without_a_link_is_continued_with_last() -> None:
    pager = Pager(n=2)
    assert pager.feed(page("a", "b"), url=URL) == ("a", "b")
    assert pager.request == NextPage(2, "b")
    assert pager.feed(page("c"), url=URL) == ("c",)
    assert pager.request is None


def test_q53_a_registry_that_ignores_n_and_last_gives_each_tag_once() -> None:
    registry = Registry(TAGS, honours_n=False, honours_last=False)
    assert walk(registry, Pager(n=5)) == TAGS
    assert registry.requests == 1


def test_q53_a_registry_with_exactly_one_page_that_ignores_last_gives_each_tag_once() -> None:
    registry = Registry(TAGS, honours_n=False, honours_last=False)
    assert walk(registry, Pager(n=25)) == TAGS
    assert registry.requests == 2


def test_q53_a_registry_that_honours_n_and_ignores_last_does_not_go_on_for_ever() -> None:
    registry = Registry(TAGS, honours_last=False)
    assert walk(registry, Pager(n=5)) == TAGS[:5]
    assert registry.requests == 2


def test_q53_a_start_that_the_registry_ignores_is_honoured_here() -> None:
    assert walk(Registry(TAGS, honours_n=False, honours_last=False), Pager(n=5, after="v020")) == TAGS[21:]
    assert walk(Registry(TAGS, honours_n=False, honours_last=False), Pager(n=5, after="v0205")) == TAGS[21:]


def test_q53_a_start_is_not_guessed_in_a_list_without_order() -> None:
    pager = Pager(n=5, after="m")
    assert pager.feed(page("z", "a", "c"), url=URL) == ("z", "a", "c")


def test_q55_both_orders_are_understood() -> None:
    pager = Pager(n=5, after="b")
    assert pager.feed(page("C", "d"), url=URL) == ("C", "d")
    pager = Pager(n=5, after="B")
    assert pager.feed(page("C", "a"), url=URL) == ("C", "a")


def test_q55_tags_that_differ_in_case_only_are_two_tags() -> None:
    pager = Pager(n=1)
    assert pager.feed(page("a"), url=URL) == ("a",)
    assert pager.feed(page("A"), url=URL) == ("A",)
    assert Pager(n=1, after="a").feed(page("A"), url=URL) == ("A",)


def test_q55_a_list_in_no_known_order_loses_nothing_where_last_is_honoured() -> None:
    pager = Pager(n=2)
    assert pager.feed(page("a-c", "ab"), url=URL) == ("a-c", "ab")
    assert pager.feed(page("a-d", "Z"), url=URL) == ("a-d", "Z")


def test_q55_tags_that_move_while_the_list_is_read_are_given_once() -> None:
    pager = Pager(n=3)
    assert pager.feed(page("a", "b", "c"), url=URL) == ("a", "b", "c")
    assert pager.feed(page("c", "d", "e"), url=URL) == ("d", "e")
    assert pager.request == NextPage(3, "e")


def test_q55_unsorted_pages_behind_links_lose_nothing() -> None:
    pager = Pager(n=2)
    assert pager.feed(page("z", "y"), links=link("?p=2"), url=URL) == ("z", "y")
    assert pager.feed(page("b", "a"), links=link("?p=3"), url=f"{URL}?p=2") == ("b", "a")
    assert pager.feed(page("m"), url=f"{URL}?p=3") == ("m",)


def test_a_page_that_failed_is_asked_for_again() -> None:
    pager = Pager(n=2)
    pager.feed(page("a", "b"), url=URL)
    assert pager.request == pager.request == NextPage(2, "b")


def test_without_a_page_size_only_links_are_followed() -> None:
    pager = Pager(n=None)
    assert pager.request == NextPage(None, None)
    pager.feed(page("a", "b"), links=link("/v2/a/tags/list?last=b"), url=URL)
    assert pager.request is not None
    assert pager.request.url == "https://r.example/v2/a/tags/list?last=b"
    pager.feed(page("c", "d"), url=URL)
    assert pager.request is None


@pytest.mark.parametrize("after", [None, "v1"])
def test_q54_the_default_page_is_what_registries_take(after: str | None) -> None:
    assert Pager(after=after).request == NextPage(1000, after)


def test_q54_a_refused_page_size_shrinks_and_keeps_the_place() -> None:
    pager = Pager(n=5000, after="v1")
    assert pager.shrink()
    assert pager.request == NextPage(100, "v1")
    assert pager.shrink()
    assert pager.request == NextPage(None, "v1")
    assert not pager.shrink()


def test_q54_a_place_behind_a_link_cannot_shrink() -> None:
    pager = Pager(n=1000)
    pager.feed(page("a"), links=link("?last=a"), url=URL)
    assert not pager.shrink()


def test_invalid_names_count_for_a_full_page_and_are_never_asked_with() -> None:
    pager = Pager(n=3)
    assert pager.feed(Listing(("a", "b"), ("../x",), 3), url=URL) == ("a", "b")
    assert pager.request == NextPage(3, "b")
    pager.feed(Listing((), ("x?", "y?", "z?"), 3), url=URL)
    assert pager.request is None


# --- stopping --------------------------------------------------------------------------------------------------------


def test_t32_a_link_to_itself_is_a_loop() -> None:
    pager = Pager(n=2)
    with pytest.raises(PaginationLoopError):
        pager.feed(page("a"), links=link("/v2/a/tags/list?n=2"), url=f"{URL}?n=2")


def test_f090_a_link_to_itself_is_found_however_the_origin_is_written() -> None:
    pager = Pager(n=2)
    with pytest.raises(PaginationLoopError):
        pager.feed(
            page("a"), links=link("http://R.example/v2/a/tags/list?n=2"), url="https://r.example:443/v2/a/tags/list?n=2"
        )


@pytest.mark.parametrize("length", [2, 3, 10])
def test_f090_a_cycle_of_links_is_a_loop_after_one_round(length: int) -> None:
    run = Run(Pager(n=2))
    with pytest.raises(PaginationLoopError):
        run.follow(lambda number: page(f"t{number}"), lambda number: f"{URL}?p={(number + 1) % length}")
    assert run.requests - length <= 2


def test_t32_the_same_page_behind_ever_new_links_is_a_loop() -> None:
    run = Run(Pager(n=2))
    with pytest.raises(PaginationLoopError):
        run.follow(lambda _: page("a", "b"))
    assert run.given == ["a", "b"]
    assert run.requests < 5


def test_t32_two_pages_in_turn_behind_ever_new_links_are_a_loop() -> None:
    run = Run(Pager(n=2))
    with pytest.raises(PaginationLoopError):
        run.follow(lambda number: page("ab"[number % 2]))
    assert run.given == ["a", "b"]
    assert run.requests < 6


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_f091_endless_new_pages_end_at_the_limit(limit: int) -> None:
    run = Run(Pager(n=1, max_pages=limit))
    with pytest.raises(LimitExceededError):
        run.follow(lambda number: page(f"t{number}"))
    assert run.requests == limit


def test_f091_a_list_of_exactly_the_limit_is_read() -> None:
    assert walk(Registry(TAGS, links=True), Pager(n=5, max_pages=5)) == TAGS


def test_t32_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_REMEMBERED", 50)
    pager = Pager(n=1)
    for number in range(500):
        pager.feed(page(f"t{number}"), links=link(f"?p={number + 1}"), url=f"{URL}?p={number}")
    assert len(pager._urls) == len(pager._contents) == 50
    assert pager._previous == ("t499",)


def test_t32_more_items_than_allowed_are_refused() -> None:
    pager = Pager(n=2, max_items=3)
    pager.feed(page("a", "b"), url=URL)
    with pytest.raises(LimitExceededError):
        pager.feed(page("c", "d"), url=URL)


def test_f092_empty_pages_with_a_link_are_gone_through() -> None:
    pager = Pager(n=2)
    for number in range(50):
        assert pager.feed(page(), links=link(f"?p={number + 1}"), url=f"{URL}?p={number}") == ()
    assert pager.feed(page("a"), url=f"{URL}?p=50") == ("a",)


def test_f092_empty_pages_do_not_go_on_for_ever() -> None:
    run = Run(Pager(n=2))
    with pytest.raises(PaginationLoopError):
        run.follow(lambda _: page())
    assert run.requests == paging.MAX_EMPTY_PAGES + 1


@pytest.mark.parametrize(
    "target",
    [
        "https://x.example/v2/",
        "//x.example/",
        "https://r.example:8443/v2/",
        "https://u:p@r.example/v2/",
        "ftp://r.example/",
    ],
)
def test_f093_a_link_to_another_origin_is_refused(target: str) -> None:
    with pytest.raises(LinkRefusedError):
        Pager().feed(page("a"), links=link(target), url=URL)


def test_q52_a_link_with_the_scheme_http_behind_a_tls_proxy_is_followed_over_https() -> None:
    pager = Pager()
    pager.feed(page("a"), links=link("http://r.example/v2/a/tags/list?last=a"), url=URL)
    assert pager.request is not None
    assert pager.request.url == "https://r.example/v2/a/tags/list?last=a"


def test_a_list_that_was_read_to_its_end_takes_no_more() -> None:
    pager = Pager(n=2)
    pager.feed(page("a"), url=URL)
    with pytest.raises(UsageError):
        pager.feed(page("b"), url=URL)


@pytest.mark.parametrize("numbers", [{"n": 0}, {"n": -1}, {"max_pages": 0}, {"max_items": 0}])
def test_numbers_are_positive(numbers: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Pager(**numbers)  # type: ignore[arg-type]  # a wrong argument is the point


# --- the rest --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "n", "last"),
    [("n=10&last=v1", 10, "v1"), ("last=a%2Fb", None, "a/b"), ("n=5", 5, None), ("n=x&last=y", None, "y")],
)
def test_the_place_of_the_next_page_is_read_from_its_url(query: str, n: int | None, last: str | None) -> None:
    url = f"{URL}?{query}"
    assert parse_next(url) == NextPage(n, last, url)


@pytest.mark.parametrize("query", ["", "?", "?page=2", "?n=", "?n=-1", "?" + "a=1&" * 100])
def test_a_next_page_without_a_place_is_a_protocol_error(query: str) -> None:
    with pytest.raises(ProtocolError):
        parse_next(URL + query)
