"""A list is read completely, once and in finite time, whatever habits the registry has."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from ocidist.errors import LimitExceededError, PaginationLoopError
from ocidist.wire.paging import Listing, NextPage, Pager, parse_next

MANY = settings(max_examples=300)

URL = "https://r.example/v2/a/tags/list"
TAGS = st.lists(st.text("abcABC012", min_size=1, max_size=3), unique=True, max_size=25)


def _answer(tags: list[str], request: NextPage, *, links: bool) -> tuple[Listing, list[str]]:
    wanted = parse_next(request.url) if request.url else request
    start = tags.index(wanted.last) + 1 if wanted.last is not None else 0
    stop = start + wanted.n if wanted.n else len(tags)
    items = tuple(tags[start:stop])
    if not links or stop >= len(tags):
        return Listing(items), []
    return Listing(items), [f'<?n={wanted.n}&last={quote(items[-1])}>; rel="next"']


@MANY
@given(TAGS, st.sampled_from([None, str.casefold]), st.integers(1, 30), st.booleans())
def test_q55_a_list_in_either_order_is_given_whole_and_once(
    tags: list[str],
    key: None,
    size: int,
    links: bool,
) -> None:
    tags.sort(key=key)
    pager = Pager(n=size)
    found: list[str] = []
    while (request := pager.request) is not None:
        page, values = _answer(tags, request, links=links)
        url = request.url or f"{URL}?n={request.n}&last={quote(request.last or '')}"
        found += pager.feed(page, links=values, url=url)
    assert found == tags


@MANY
@given(TAGS, st.integers(1, 30))
def test_q55_a_list_without_order_is_given_whole_behind_links(tags: list[str], size: int) -> None:
    pager = Pager(n=size)
    found: list[str] = []
    while (request := pager.request) is not None:
        page, values = _answer(tags, request, links=True)
        found += pager.feed(page, links=values, url=request.url or URL)
    assert found == tags


PAGES = st.lists(
    st.tuples(
        st.lists(st.sampled_from("abcdef"), unique=True, max_size=4),
        st.sampled_from([None, "?p=1", "?p=2", "?p=3", "?p=4"]),
    ),
    min_size=1,
    max_size=20,
)


@MANY
@given(PAGES, st.integers(1, 4))
def test_t32_a_registry_that_answers_anything_is_left_after_few_requests(
    pages: list[tuple[list[str], str | None]], size: int
) -> None:
    pager = Pager(n=size, max_pages=50)
    requests = 0
    try:
        while (request := pager.request) is not None:
            items, target = pages[requests % len(pages)]
            requests += 1
            links = [f"<{target}>; rel=next"] if target else []
            given = pager.feed(Listing(tuple(items)), links=links, url=request.url or URL)
            assert set(given) <= set(items)
    except (PaginationLoopError, LimitExceededError):
        pass
    assert requests <= 50
