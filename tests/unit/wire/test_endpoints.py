from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocidist.errors import (
    BlobUploadInvalidError,
    DigestInvalidError,
    NameInvalidError,
    NotFoundError,
    PaginationInvalidError,
    ResponseError,
    TagInvalidError,
    TagUnknownError,
    UnsupportedError,
)
from ocidist.model.digest import Digest
from ocidist.model.reference import RepositoryName, Tag
from ocidist.wire import endpoints
from ocidist.wire.endpoints import (
    CancelUpload,
    DeleteBlob,
    DeleteManifest,
    Endpoint,
    GetBlob,
    GetManifest,
    ListReferrers,
    ListRepositories,
    ListTags,
    MountBlob,
    PatchUpload,
    Ping,
    PostBlob,
    PutManifest,
    PutUpload,
    StartUpload,
    StatBlob,
    StatManifest,
    UploadStatus,
)
from ocidist.wire.routing import MAX_QUERY_FIELDS, parse

if TYPE_CHECKING:
    from collections.abc import Callable

_HEX = "0123456789abcdef"
SHA = Digest("sha256:" + "a" * 64)

sizes = st.integers(0, 2**63 - 1)
words = st.from_regex(r"[a-z0-9]{1,8}([._-][a-z0-9]{1,8})?", fullmatch=True)
# The words the API's own paths are made of are good repository names too.
components = words | st.sampled_from(["blobs", "uploads", "manifests", "tags", "list", "referrers", "v2"])
names = st.lists(components, min_size=1, max_size=4).map("/".join).map(RepositoryName)
tags = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True).map(Tag)
digests = st.one_of(
    st.text(_HEX, min_size=64, max_size=64).map("sha256:{}".format),
    st.text(_HEX, min_size=128, max_size=128).map("sha512:{}".format),
    st.from_regex(r"[a-z]{1,6}[+._-]?b3:[a-zA-Z0-9=_-]{1,20}", fullmatch=True),
).map(Digest)
references = tags | digests
header_text = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
media_types = st.from_regex(r"application/[a-z0-9.+-]{1,40}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
optional_texts = st.none() | texts
# "_" leads nowhere in the grammar of names, so a session's location is made of what our server gives out.
queries = st.sampled_from(["", "?_state=a%2Bb+c%3D", "?x=1&y=", "?digestive=1"])
locations = st.builds("/v2/{}/blobs/uploads/{}{}".format, names, st.uuids(), queries)
spans = st.none() | st.tuples(st.integers(0, 2**40), st.integers(1, 2**40)).map(lambda pair: (pair[0], sum(pair)))


def _of_session(kind: Callable[..., Endpoint], *args: object) -> Endpoint:
    location = args[0]
    assert isinstance(location, str)
    name = location.removeprefix("/v2/").partition("?")[0].rpartition("/blobs/uploads/")[0]
    return kind(RepositoryName(name), *args)


def _chunk(kind: type[Endpoint]) -> st.SearchStrategy[Endpoint]:
    between = (digests,) if kind is PutUpload else ()
    return st.builds(
        lambda location, span, *rest: _of_session(kind, location, *rest, *(span or (None, None))),
        locations,
        spans,
        *between,
    )


def _session(kind: type[Endpoint]) -> st.SearchStrategy[Endpoint]:
    return st.builds(lambda location: _of_session(kind, location), locations)


_counts = st.none() | sizes
STRATEGIES: dict[type[Endpoint], st.SearchStrategy[Endpoint]] = {
    Ping: st.just(Ping()),
    ListRepositories: st.builds(ListRepositories, n=_counts, last=optional_texts),
    GetBlob: st.one_of(
        st.builds(GetBlob, names, digests),
        st.builds(GetBlob, names, digests, st.integers(0, 2**62), st.none() | st.integers(1, 2**62)),
        st.builds(GetBlob, names, digests, suffix=sizes),
    ),
    StatBlob: st.builds(StatBlob, names, digests),
    GetManifest: st.builds(GetManifest, names, references, accept=header_text, if_none_match=st.none() | digests),
    StatManifest: st.builds(StatManifest, names, references, accept=header_text),
    StartUpload: st.builds(StartUpload, names, st.none() | words),
    PostBlob: st.builds(PostBlob, names, digests),
    MountBlob: st.builds(MountBlob, names, digests, st.none() | names),
    PatchUpload: _chunk(PatchUpload),
    PutUpload: _chunk(PutUpload),
    UploadStatus: _session(UploadStatus),
    CancelUpload: _session(CancelUpload),
    PutManifest: st.builds(
        PutManifest,
        names,
        references,
        media_types | st.just(""),
        tags=st.lists(tags, max_size=12).map(tuple),
        if_match=st.none() | header_text,
    ),
    DeleteManifest: st.builds(DeleteManifest, names, references),
    DeleteBlob: st.builds(DeleteBlob, names, digests),
    ListTags: st.builds(ListTags, names, n=_counts, last=optional_texts),
    ListReferrers: st.builds(
        ListReferrers,
        names,
        digests,
        artifact_type=st.none() | texts.filter(lambda text: text and " " not in text),
        last=st.none() | digests,
    ),
}


def _received(endpoint: Endpoint) -> Endpoint:
    """Return what a server makes of the endpoint's request."""
    request = endpoint.to_request()
    parts = urlsplit(request.target)
    return parse(request.method, parts.path, parts.query, {name.lower(): value for name, value in request.headers})


def test_every_endpoint_takes_part_in_the_round_trip() -> None:
    public = {
        each
        for each in vars(endpoints).values()
        if isinstance(each, type) and issubclass(each, Endpoint) and each.id and not each.__name__.startswith("_")
    }
    assert set(STRATEGIES) == public


@pytest.mark.parametrize("kind", list(STRATEGIES), ids=lambda kind: kind.__name__)
def test_the_server_reads_each_endpoint_as_the_client_means_it(kind: type[Endpoint]) -> None:
    @given(STRATEGIES[kind])
    def check(endpoint: Endpoint) -> None:
        assert _received(endpoint) == endpoint

    check()


@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"]) | st.text(max_size=8),
    path=st.lists(components | st.just("") | st.just(SHA) | st.text(max_size=8), max_size=8).map(
        lambda parts: "/v2/" + "/".join(parts)
    ),
    query=st.text(max_size=60),
    headers=st.dictionaries(
        st.sampled_from(["range", "content-range", "if-none-match", "accept", "content-type"]), st.text(max_size=30)
    ),
)
def test_whatever_arrives_is_an_endpoint_or_an_answer_of_the_4xx_class(
    method: str, path: str, query: str, headers: dict[str, str]
) -> None:
    found: Endpoint | None = None
    refused: ResponseError | None = None
    try:
        found = parse(method, path, query, headers)
    except ResponseError as error:
        refused = error
    assert found is not None or (refused is not None and 400 <= refused.status < 500 and refused.errors)


@pytest.mark.parametrize(
    "path", ["/", "", "/v1/", "/v2", "/v3/", "/v2/a", "/v2/a/b", "/v2//manifests/x", "/v2/tags/list"]
)
def test_paths_outside_the_api_are_not_found(path: str) -> None:
    if path == "/v2":
        assert parse("GET", path) == Ping()
        return
    with pytest.raises((NotFoundError, NameInvalidError)):
        parse("GET", path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/v2/"),
        ("POST", "/v2/_catalog"),
        ("PUT", "/v2/a/tags/list"),
        ("POST", f"/v2/a/blobs/{SHA}"),
        ("POST", "/v2/a/manifests/v1"),
        ("GET", "/v2/a/blobs/uploads/"),
        ("POST", "/v2/a/blobs/uploads/b7f0"),
        ("DELETE", f"/v2/a/referrers/{SHA}"),
        ("get", "/v2/"),
    ],
)
def test_other_methods_are_not_allowed(method: str, path: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        parse(method, path)
    assert caught.value.status == 405


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v2/A/tags/list", NameInvalidError),
        ("/v2/a//b/tags/list", NameInvalidError),
        ("/v2/../tags/list", NameInvalidError),
        ("/v2/" + "a" * 256 + "/tags/list", NameInvalidError),
        ("/v2/a/blobs/sha256:abc", DigestInvalidError),
        ("/v2/a/blobs/latest", DigestInvalidError),
        ("/v2/a/referrers/v1", DigestInvalidError),
        ("/v2/a/manifests/sha256:", DigestInvalidError),
    ],
)
def test_names_that_break_the_grammar_get_the_code_for_it(path: str, kind: type[ResponseError]) -> None:
    with pytest.raises(kind) as caught:
        parse("GET", path)
    assert (caught.value.status, caught.value.errors[0].code) == (400, kind.code)


@pytest.mark.parametrize("tag", ["-v1", ".v1", "x" * 129, "v 1", "v1\n"])
def test_what_can_be_no_tag_is_invalid_to_push_and_unknown_otherwise(tag: str) -> None:
    with pytest.raises(TagInvalidError) as invalid:
        parse("PUT", f"/v2/a/manifests/{tag}")
    assert invalid.value.status == 400
    for method in ("GET", "HEAD", "DELETE"):
        with pytest.raises(TagUnknownError) as unknown:
            parse(method, f"/v2/a/manifests/{tag}")
        assert unknown.value.status == 404


@pytest.mark.parametrize("n", ["-1", "abc", "", "1.5", "+1", "1_0", "%D9%A1", "9" * 20])
def test_a_page_size_that_is_no_number_is_refused(n: str) -> None:
    with pytest.raises(PaginationInvalidError):
        parse("GET", "/v2/a/tags/list", f"n={n.replace('+', '%2B')}")


@pytest.mark.parametrize("text", ["", "5", "9-5", "-5", "5-", "a-b", "bytes */5", "items 0-4/5", "0-4/3", "0-4,5-9"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_malformed_content_range_is_refused_and_not_ignored(method: str, text: str) -> None:
    with pytest.raises(BlobUploadInvalidError) as caught:
        parse(method, "/v2/a/blobs/uploads/b7f0", f"digest={SHA}", {"content-range": text})
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes=5-9", (5, 5, None)),
        ("bytes=5-", (5, None, None)),
        ("Bytes = 5-9", (5, 5, None)),
        ("bytes=-5", (0, None, 5)),
        ("bytes=-0", (0, None, 0)),
        ("bytes=9-5", (9, 0, None)),
        ("bytes=-", (0, None, None)),
        ("bytes=", (0, None, None)),
        ("bytes", (0, None, None)),
        ("bytes=0-1,4-5", (0, None, None)),
        ("items=0-1", (0, None, None)),
        ("bytes=x-1", (0, None, None)),
        ("bytes=1-x", (0, None, None)),
    ],
)
def test_a_range_of_a_read_is_one_range_of_bytes_or_ignored(
    text: str, expected: tuple[int, int | None, int | None]
) -> None:
    assert parse("GET", f"/v2/a/blobs/{SHA}", "", {"range": text}) == GetBlob(RepositoryName("a"), SHA, *expected)


def test_closing_a_session_without_a_digest_is_refused() -> None:
    with pytest.raises(DigestInvalidError):
        parse("PUT", "/v2/a/blobs/uploads/b7f0")


def test_closing_a_session_keeps_the_rest_of_its_query() -> None:
    found = parse("PUT", "/v2/a/blobs/uploads/b7f0", f"_state=x%2By&digest={SHA}&z")
    assert found == PutUpload(RepositoryName("a"), "/v2/a/blobs/uploads/b7f0?_state=x%2By&z", SHA)
    assert isinstance(found, PutUpload)
    assert found.session == "b7f0"


@pytest.mark.parametrize(("count", "taken"), [(MAX_QUERY_FIELDS, True), (MAX_QUERY_FIELDS + 1, False)])
def test_a_query_has_so_many_parameters_and_no_more(count: int, taken: bool) -> None:
    query = "&".join(f"tag=v{index}" for index in range(count))
    if taken:
        found = parse("PUT", f"/v2/a/manifests/{SHA}", query)
        assert isinstance(found, PutManifest)
        assert len(found.tags) == count
        return
    with pytest.raises(UnsupportedError) as caught:
        parse("PUT", f"/v2/a/manifests/{SHA}", query)
    assert caught.value.status == 414


def test_locations_are_not_shown() -> None:
    assert "b7f0-secret" not in repr(PatchUpload(RepositoryName("a"), "https://h/v2/a/blobs/uploads/1?s=b7f0-secret"))
