from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import (
    DeniedError,
    HostConfig,
    HostLimits,
    LimitExceededError,
    LinkRefusedError,
    NameUnknownError,
    PaginationInvalidError,
    PaginationLoopError,
    ProtocolError,
    RepositoryName,
    ServerError,
    Tag,
    UnsupportedError,
    UsageError,
)
from ocidist.observe.events import NamesSkipped
from tests.peers import answers
from tests.peers.answers import error, respond, respond_json
from tests.remote.support import NAME, client_for, repository_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from ocidist import Event
    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.token_server import TokenServer
    from tests.peers.wire_server import Connection, Request, WireServer

LIST = f"/v2/{NAME}/tags/list"
CATALOG = "/v2/_catalog"


def page(*names: object, link: str | None = None) -> Handler:
    headers = {"Link": link} if link is not None else {}
    return respond_json(200, {"name": NAME, "tags": list(names), "repositories": list(names)}, headers)


def raw_page(body: str) -> Handler:
    return respond(200, {"Content-Type": "application/json"}, body.encode())


# --- the shape of a page ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ['{"name": "acme/app", "tags": null}', '{"tags": []}', '{"name": "acme/app"}', "{}"])
async def test_q51_a_list_that_is_null_or_missing_is_empty(wire_server: WireServer, body: str) -> None:
    wire_server.on("GET", LIST, raw_page(body))
    async with repository_on(wire_server) as repository:
        assert await repository.tags.list().collect() == []


@pytest.mark.parametrize("body", ['{"repositories": null}', '{"repositories": []}'])
async def test_q51_a_catalog_that_is_null_is_empty(wire_server: WireServer, body: str) -> None:
    wire_server.on("GET", CATALOG, raw_page(body))
    async with client_for(wire_server) as client:
        assert await client.registry(wire_server.host).repositories().collect() == []


@pytest.mark.parametrize("body", ['{"tags": "v1"}', '{"tags": {"v1": 1}}', '{"tags": [1]}', "[]", '{"error": 1}', "{"])
async def test_f094_a_list_of_the_wrong_type_is_an_error(wire_server: WireServer, body: str) -> None:
    wire_server.on("GET", LIST, raw_page(body))
    async with repository_on(wire_server) as repository:
        with pytest.raises(ProtocolError, match="list"):
            await repository.tags.list().collect()


async def test_f094_duplicates_are_given_once_and_invalid_names_are_reported(wire_server: WireServer) -> None:
    seen: list[Event] = []
    wire_server.on("GET", LIST, page("v1", "v1", "../up", "v2", "bad tag", "v2"))
    async with repository_on(wire_server, hooks=[seen.append]) as repository:
        assert await repository.tags.list().collect() == ["v1", "v2"]
    assert seen == [NamesSkipped(wire_server.host, "tags", ("../up", "bad tag"))]


async def test_entries_are_tags_and_names_whichever_way_they_are_taken(wire_server: WireServer) -> None:
    wire_server.on("GET", LIST, page("v1", "v2"))
    wire_server.on("GET", CATALOG, page("acme/app"))
    async with client_for(wire_server) as client:
        tags = client.repository(f"{wire_server.host}/{NAME}").tags.list()
        kinds = [type(tag) async for tag in tags] + [type(tag) for tag in await tags.collect()]
        names = client.registry(wire_server.host).repositories()
        other = [type(name) async for name in names] + [type(name) for name in await names.collect()]
    assert (kinds, other) == ([Tag] * 4, [RepositoryName] * 2)


async def test_f099_catalog_names_that_are_no_names_are_skipped_and_never_used(wire_server: WireServer) -> None:
    seen: list[Event] = []
    evil = ["../../etc", "Upper/case", "a\r\nHost: evil", "a//b", "", "a/../b", "\x1b[31m", "x" * 300]
    wire_server.on("GET", CATALOG, page("good/one", *evil))
    async with client_for(wire_server, hooks=[seen.append]) as client:
        names = await client.registry(wire_server.host).repositories().collect()
    assert names == ["good/one"]
    [event] = seen
    assert isinstance(event, NamesSkipped)
    assert all(character.isprintable() for name in event.names for character in name)
    assert b"etc" not in wire_server.received
    assert b"evil" not in wire_server.received


async def test_t26_a_web_page_instead_of_a_list_is_named_as_one(wire_server: WireServer) -> None:
    portal = b"<html>\x1b[2J<title>Please log in</title></html>"
    wire_server.on("GET", LIST, respond(200, {"Content-Type": "text/html; charset=utf-8"}, portal))
    async with repository_on(wire_server) as repository:
        with pytest.raises(ProtocolError, match=r"text/html.*Please log in") as caught:
            await repository.tags.list().collect()
    assert "\x1b" not in str(caught.value)


async def test_t29_a_page_above_the_cap_is_refused_while_it_arrives(wire_server: WireServer) -> None:
    def endless(_request: Request, connection: Connection) -> None:
        connection.send(answers.head(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}))
        piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        while True:  # until the client hangs up
            connection.send(piece)

    wire_server.on("GET", LIST, endless)
    async with repository_on(wire_server) as repository:
        with pytest.raises(LimitExceededError, match="list page"):
            await repository.tags.list().collect()


# --- from page to page -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "link",
    [
        '</v2/acme/app/tags/list?last=b&n=2>; rel="next"',
        "</v2/acme/app/tags/list?last=b&n=2>;rel=next",
        '<{origin}/v2/acme/app/tags/list?last=b&n=2>; rel="next"',
        '<?last=b&n=2>; rel="next"',
        "/v2/acme/app/tags/list?last=b&n=2",
        '<>; rel="prev", </v2/acme/app/tags/list?last=b&n=2>; rel="next"; title="x"',
    ],
)
async def test_q52_every_shape_of_link_is_followed(wire_server: WireServer, link: str) -> None:
    wire_server.on("GET", LIST, page("a", "b", link=link.format(origin=wire_server.origin)))
    wire_server.on("GET", f"{LIST}?last=b&n=2", page("c"))
    async with repository_on(wire_server) as repository:
        assert await repository.tags.list(page_size=2).collect() == ["a", "b", "c"]
    assert wire_server.targets("GET") == [f"{LIST}?n=2", f"{LIST}?last=b&n=2"]


@pytest.mark.parametrize("link", ["", "<>", '<>; rel="next"', '</v2/acme/app/tags/list?last=b>; rel="prev"'])
async def test_q52_a_link_that_names_no_next_page_ends_the_list(wire_server: WireServer, link: str) -> None:
    wire_server.on("GET", LIST, page("a", "b", link=link))
    async with repository_on(wire_server) as repository:
        assert await repository.tags.list().collect() == ["a", "b"]
    assert len(wire_server.requests) == 1


async def test_q53_a_full_page_without_a_link_is_continued_with_last(wire_server: WireServer) -> None:
    wire_server.on("GET", LIST, page("a", "b"), page("c", "d"), page("e"))
    async with repository_on(wire_server) as repository:
        assert await repository.tags.list(page_size=2).collect() == ["a", "b", "c", "d", "e"]
    assert wire_server.targets("GET") == [f"{LIST}?n=2", f"{LIST}?n=2&last=b", f"{LIST}?n=2&last=d"]


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c", "d"), ("z", "a", "M", "b")])
async def test_q53_a_registry_that_ignores_paging_yields_each_tag_once(
    wire_server: WireServer, names: tuple[str, ...]
) -> None:
    wire_server.on("GET", LIST, page(*names))
    async with repository_on(wire_server) as repository:
        assert await repository.tags.list(page_size=2).collect() == list(names)
    assert len(wire_server.requests) <= 2


@pytest.mark.parametrize(("names", "rest"), [(("a", "b", "c"), ["c"]), (("d", "b", "a", "c"), ["a", "c"])])
async def test_q53_after_holds_in_the_order_of_a_registry_that_ignores_it(
    wire_server: WireServer, names: tuple[str, ...], rest: list[str]
) -> None:
    wire_server.on("GET", LIST, page(*names))
    async with repository_on(wire_server) as repository:
        assert await repository.tags.list(after="b").collect() == rest


async def test_q54_a_page_size_that_is_refused_is_made_smaller(wire_server: WireServer) -> None:
    wire_server.on("GET", LIST, error(400, "PAGINATION_NUMBER_INVALID", "n is too large"))
    wire_server.on("GET", f"{LIST}?n=100", page("a", link=f'<{LIST}?last=a&n=100>; rel="next"'))
    wire_server.on("GET", f"{LIST}?last=a&n=100", page("b"))
    async with repository_on(wire_server) as repository:
        assert await repository.tags.list(page_size=5000).collect() == ["a", "b"]
    assert wire_server.targets("GET") == [f"{LIST}?n=5000", f"{LIST}?n=100", f"{LIST}?last=a&n=100"]


async def test_q54_without_any_size_left_to_try_the_refusal_is_raised(wire_server: WireServer) -> None:
    wire_server.on("GET", LIST, error(400, "PAGINATION_NUMBER_INVALID", "no"))
    async with repository_on(wire_server) as repository:
        with pytest.raises(PaginationInvalidError, match="no"):
            await repository.tags.list().collect()
    assert wire_server.targets("GET") == [f"{LIST}?n=1000", f"{LIST}?n=100", LIST]


async def test_q55_tags_that_move_to_the_next_page_are_given_once(wire_server: WireServer) -> None:
    wire_server.on("GET", LIST, page("a", "b", link=f'<{LIST}?last=b>; rel="next"'))
    wire_server.on("GET", f"{LIST}?last=b", page("b", "B", "c"))
    async with repository_on(wire_server) as repository:
        assert await repository.tags.list().collect() == ["a", "b", "B", "c"]


async def test_f090_a_link_to_itself_is_an_error_and_not_a_loop(wire_server: WireServer) -> None:
    wire_server.on("GET", LIST, page("a", link=f'<{LIST}?n=1000>; rel="next"'))
    async with repository_on(wire_server) as repository:
        with pytest.raises(PaginationLoopError):
            await repository.tags.list().collect()
    assert len(wire_server.requests) <= 3


async def test_f090_two_pages_that_link_to_each_other_are_an_error(wire_server: WireServer) -> None:
    wire_server.on("GET", f"{LIST}?x=1", page("b", link=f'<{LIST}?x=2>; rel="next"'))
    wire_server.on("GET", f"{LIST}?x=2", page("c", link=f'<{LIST}?x=1>; rel="next"'))
    wire_server.on("GET", f"{LIST}?n=1000", page("a", link=f'<{LIST}?x=1>; rel="next"'))
    async with repository_on(wire_server) as repository:
        with pytest.raises(PaginationLoopError):
            await repository.tags.list().collect()
    assert len(wire_server.requests) <= 5


def endless_pages(*, fresh: bool) -> Handler:
    count = 0

    def answer(request: Request, connection: Connection) -> None:
        nonlocal count
        count += 1
        name = f"t{count:06}" if fresh else "same"
        page(name, link=f'<{LIST}?cursor={count}>; rel="next"')(request, connection)

    return answer


async def test_f091_endless_pages_are_fetched_only_as_they_are_read(wire_server: WireServer) -> None:
    wire_server.on("GET", LIST, endless_pages(fresh=True))
    async with repository_on(wire_server) as repository:
        assert len(await repository.tags.list().collect(limit=30)) == 30
    assert len(wire_server.requests) == 30


async def test_t32_the_same_page_under_ever_new_links_is_an_error(wire_server: WireServer) -> None:
    wire_server.on("GET", LIST, endless_pages(fresh=False))
    async with repository_on(wire_server) as repository:
        with pytest.raises(PaginationLoopError):
            await repository.tags.list().collect()
    assert len(wire_server.requests) <= 5


async def test_f092_an_empty_page_with_a_link_goes_on(wire_server: WireServer) -> None:
    wire_server.on("GET", LIST, page(link=f'<{LIST}?p=2>; rel="next"'))
    wire_server.on("GET", f"{LIST}?p=2", page(link=f'<{LIST}?p=3>; rel="next"'))
    wire_server.on("GET", f"{LIST}?p=3", page("z"))
    async with repository_on(wire_server) as repository:
        assert await repository.tags.list().collect() == ["z"]


async def read_until_it_fails(tags: AsyncIterable[str], kind: type[Exception]) -> list[str]:
    """Return what a list gives before it fails."""
    found: list[str] = []
    try:
        async for tag in tags:
            found.append(tag)  # noqa: PERF401 -- what came before the failure counts
    except kind:
        return found
    pytest.fail("the list came to an end")


async def test_f093_a_link_to_another_host_is_refused_and_nothing_is_sent_there(
    wire_server: WireServer, start_wire_server: StartWireServer
) -> None:
    other = start_wire_server(address="127.0.0.2")
    wire_server.on("GET", LIST, page("a", link=f'<{other.origin}{LIST}?last=a>; rel="next"'))
    async with repository_on(wire_server) as repository:
        await read_until_it_fails(repository.tags.list(), LinkRefusedError)
    assert other.connections == []


@pytest.mark.parametrize(
    "link", ['<http://user:pw@{host}/x>; rel="next"', '<file:///etc/passwd>; rel="next"', '</v2/x; rel="next"']
)
async def test_f093_a_link_that_cannot_be_a_page_is_an_error(wire_server: WireServer, link: str) -> None:
    wire_server.on("GET", LIST, page("a", link=link.format(host=wire_server.host)))
    async with repository_on(wire_server) as repository:
        with pytest.raises((LinkRefusedError, ProtocolError)):
            await repository.tags.list().collect()
    assert len(wire_server.requests) == 1


def numbered(last: int) -> dict[str, Handler]:
    """Pages 1 to *last*, with one tag each, linked."""
    found = {}
    for number in range(1, last + 1):
        link = f'<{LIST}?p={number + 1}>; rel="next"' if number < last else None
        found[f"{LIST}?n=1000" if number == 1 else f"{LIST}?p={number}"] = page(f"t{number:03}", link=link)
    return found


async def test_f095_a_page_that_fails_in_passing_is_asked_again_without_gap_or_duplicate(
    wire_server: WireServer,
) -> None:
    for target, answer in numbered(20).items():
        wire_server.on("GET", target, *([respond(500), answers.reset] if target.endswith("p=17") else []), answer)
    async with repository_on(wire_server) as repository:
        assert await repository.tags.list().collect() == [f"t{number:03}" for number in range(1, 21)]


async def test_f095_a_page_that_keeps_failing_can_be_asked_again_later(wire_server: WireServer) -> None:
    pages = numbered(3)
    for target, answer in pages.items():
        failing = [respond(500)] * 3 if target.endswith("p=2") else []
        wire_server.on("GET", target, *failing, answer)
    async with repository_on(wire_server) as repository:
        tags = aiter(repository.tags.list())
        assert await anext(tags) == "t001"
        with pytest.raises(ServerError):
            await anext(tags)
        assert [tag async for tag in tags] == ["t002", "t003"]


async def test_f096_a_token_that_expires_between_two_pages_is_replaced(
    wire_server: WireServer, token_server: TokenServer
) -> None:
    challenge = f'Bearer realm="{token_server.realm}",service="registry",scope="repository:{NAME}:pull"'
    valid: set[str | None] = set()

    def guarded(answer: Handler, *, forget: bool = False) -> Handler:
        def check(request: Request, connection: Connection) -> None:
            sent = request.header("Authorization")
            if forget and sent in valid:
                valid.clear()
                refused.add(sent)
            if sent is None or sent in refused:
                respond(401, {"WWW-Authenticate": challenge})(request, connection)
                return
            valid.add(sent)
            answer(request, connection)

        return check

    refused: set[str | None] = set()
    for target, answer in numbered(3).items():
        wire_server.on("GET", target, guarded(answer, forget=target.endswith("p=2")))
    async with repository_on(wire_server) as repository:
        # Only a token that is new can follow one that the registry forgot.
        assert await repository.tags.list().collect() == ["t001", "t002", "t003"]
    assert len(token_server.calls) == 2


async def test_f097_a_consumer_that_stops_early_leaves_no_request_behind(wire_server: WireServer) -> None:
    for target, answer in numbered(5).items():
        wire_server.on("GET", target, answer)
    hosts = {wire_server.host: HostConfig(scheme="http", concurrency=1)}
    async with repository_on(wire_server, hosts=hosts) as repository:
        async for tag in repository.tags.list():
            assert tag == "t001"
            break
        # With a single slot this would wait for ever if the page were still held.
        assert await repository.tags.list().collect(limit=2) == ["t001", "t002"]
    assert len(wire_server.connections) == 1


async def test_f097_a_cancelled_page_gives_its_slot_back(wire_server: WireServer) -> None:
    wire_server.on("GET", LIST, answers.silence, page("a"))
    async with repository_on(wire_server, limits=HostLimits(concurrency=1)) as repository:
        with anyio.move_on_after(0.2) as scope:
            await repository.tags.list().collect()
        assert scope.cancelled_caught
        assert await repository.tags.list().collect() == ["a"]


# --- lists that registries do not give -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_f098_a_catalog_that_is_not_there_is_unsupported(wire_server: WireServer, status: int) -> None:
    wire_server.on("GET", CATALOG, respond(status))
    async with client_for(wire_server) as client:
        with pytest.raises(UnsupportedError, match="does not list its repositories") as caught:
            await client.registry(wire_server.host).repositories().collect()
    assert caught.value.status == status
    assert caught.value.host == wire_server.host


async def test_f098_a_catalog_that_is_denied_says_so(wire_server: WireServer) -> None:
    wire_server.on("GET", CATALOG, error(403, "DENIED", "not for you"))
    async with client_for(wire_server) as client:
        with pytest.raises(DeniedError, match=r"or not to these credentials.*not for you"):
            await client.registry(wire_server.host).repositories().collect()


async def test_q27_a_token_server_that_knows_no_catalog_scope_is_not_asked_again_and_again(
    wire_server: WireServer, token_server: TokenServer
) -> None:
    challenge = f'Bearer realm="{token_server.realm}",service="registry",scope="registry:catalog:*"'
    wire_server.on("GET", CATALOG, error(401, "UNAUTHORIZED", headers={"WWW-Authenticate": challenge}))
    async with client_for(wire_server) as client:
        with pytest.raises(DeniedError, match="does not list its repositories"):
            await client.registry(wire_server.host).repositories().collect()
    assert len(wire_server.requests) <= 3
    assert len(token_server.calls) <= 2


async def test_q54_an_entry_to_begin_after_need_not_exist_even_where_the_registry_wants_it_to(
    wire_server: WireServer,
) -> None:
    # zot answers 404 without a body.
    wire_server.on("GET", LIST, page("a", "b", link=f'<{LIST}?p=2>; rel="next"'))
    wire_server.on("GET", f"{LIST}?n=1000&last=b5", respond(404))
    wire_server.on("GET", f"{LIST}?p=2", page("c", "d"))
    async with repository_on(wire_server) as repository:
        assert await repository.tags.list(after="b5").collect() == ["c", "d"]
        wire_server.on("GET", LIST, respond(404))
        with pytest.raises(NameUnknownError):
            await repository.tags.list(after="b5").collect()


async def test_q54_a_position_the_registry_does_not_know_is_reported_as_it_says(wire_server: WireServer) -> None:
    wire_server.on("GET", LIST, error(404, "NAME_UNKNOWN", "no such repository"))
    async with repository_on(wire_server) as repository:
        with pytest.raises(NameUnknownError, match="no such repository"):
            await repository.tags.list(after="gone").collect()


async def test_a_list_cannot_be_asked_for_in_pages_of_nothing(wire_server: WireServer) -> None:
    async with repository_on(wire_server) as repository:
        with pytest.raises(UsageError, match="page_size"):
            repository.tags.list(page_size=0)
    assert wire_server.requests == []


async def test_a08_lists_survive_links_of_every_kind_null_loops_and_refused_sizes(wire_server: WireServer) -> None:
    origin = wire_server.origin
    wire_server.on("GET", f"{LIST}?n=1000", error(400, "PAGINATION_NUMBER_INVALID"))
    wire_server.on("GET", f"{LIST}?n=100", page("a", link=f"<{LIST}?p=2>;rel=next"))
    wire_server.on("GET", f"{LIST}?p=2", raw_page(json.dumps({"tags": ["b"]})))
    wire_server.on("GET", f"{LIST}?p=2", page("b", link=f'<{origin}{LIST}?p=3>; rel="next"'))
    wire_server.on("GET", f"{LIST}?p=3", page(link=f'<{LIST}?p=4>; rel="next"'))
    wire_server.on("GET", f"{LIST}?p=4", page("c", link=f'<{LIST}?p=2>; rel="next"'))
    async with repository_on(wire_server) as repository:
        tags = await read_until_it_fails(repository.tags.list(), PaginationLoopError)
    assert tags[:2] == ["a", "b"]
