"""Whatever a server sends, a parser of ``ocidist.wire`` answers with a value or with the error it declares."""

from __future__ import annotations

import contextlib
import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from ocidist.errors import ChallengeError, LimitExceededError, ProtocolError, TokenError, UsageError
from ocidist.wire.challenge import Challenge, CredentialKind, choose, format_challenge, parse_challenges
from ocidist.wire.errorbody import MAX_SHOWN_CHARS, Subject, error_for, parse_errors
from ocidist.wire.link import next_target, parse_links
from ocidist.wire.paging import parse_page
from ocidist.wire.ranges import (
    content_length,
    format_content_range,
    parse_content_range,
    parse_int,
    parse_upload_range,
    range_header,
)
from ocidist.wire.redact import clean_text, redact_url
from ocidist.wire.retryafter import parse_retry_after
from ocidist.wire.scope import Scope, ScopeSet
from ocidist.wire.token import MAX_LIFETIME, append_query, parse_token
from ocidist.wire.warning import MAX_WARNING_BYTES, parse_warnings

MANY = settings(max_examples=200)

TOKEN_CHARS = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# Text that looks enough like a header to get deep into a parser.
PIECES = [
    "Bearer",
    "Basic",
    "Negotiate",
    "realm",
    "scope",
    "rel",
    "next",
    "299",
    "-",
    "=",
    '"',
    ",",
    ";",
    "<",
    ">",
    " ",
    "\t",
]
PIECES += [
    "\\",
    "/",
    ":",
    "?",
    "&",
    "abc==",
    "https://r.example/x",
    "repository:a:pull",
    "\x00",
    "\x1b",
    "\n",
    "ä",
    "\u202e",
]
HEADERISH = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
VALUES = st.lists(HEADERISH, max_size=4)
KEYS = [
    "errors",
    "error",
    "code",
    "message",
    "detail",
    "token",
    "access_token",
    "expires_in",
    "issued_at",
    "scope",
    "refresh_token",
    "tags",
    "repositories",
    "name",
    "error_description",
    "x",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
BODIES = st.one_of(st.binary(max_size=100), JSON.map(lambda value: json.dumps(value).encode()))


# --- nothing but the declared error ----------------------------------------------------------------------------------


@MANY
@given(VALUES)
def test_challenges_are_read_or_refused(values: list[str]) -> None:
    try:
        challenges = parse_challenges(values)
    except ChallengeError:
        return
    for challenge in challenges:
        assert challenge.scheme == challenge.scheme.lower() != ""
        assert not any(ord(char) < 32 and char != "\t" for value in challenge.params.values() for char in value)
    for have in CredentialKind:
        chosen = choose(challenges, have=have)
        assert chosen is None or chosen in challenges


@MANY
@given(VALUES)
def test_links_are_read_or_refused(values: list[str]) -> None:
    try:
        links = parse_links(values)
        target = next_target(values)
    except ProtocolError:
        return
    assert target is None or (target and target in {link.target for link in links})


@MANY
@given(VALUES)
def test_warnings_are_always_read_printable_and_bounded(values: list[str]) -> None:
    texts = parse_warnings(values)
    assert len(set(texts)) == len(texts)
    assert all(text and text.isprintable() for text in texts)
    assert sum(map(len, texts)) <= MAX_WARNING_BYTES


@MANY
@given(HEADERISH, st.floats(min_value=0, max_value=1e11))
def test_retry_after_is_never_negative_or_endless(text: str, now: float) -> None:
    seconds = parse_retry_after(text, now=now)
    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))


@MANY
@given(HEADERISH, VALUES)
def test_ranges_and_lengths_are_read_or_refused(text: str, values: list[str]) -> None:
    found = parse_content_range(text)
    assert found is None or 0 <= found.start < found.stop
    count = parse_upload_range(text)
    assert count is None or count >= 0
    with contextlib.suppress(ProtocolError):
        assert (content_length(values) is None) == (not values)


@MANY
@given(BODIES, st.integers(100, 599), st.sampled_from(Subject))
def test_error_bodies_are_always_read(data: bytes, status: int, subject: Subject) -> None:
    infos = parse_errors(data)
    assert sum(len(info.message) for info in infos) <= MAX_SHOWN_CHARS
    assert all(info.code and (info.code + info.message + info.detail).isprintable() for info in infos)
    error = error_for(status, infos=infos, subject=subject, url="https://r.example/", note=data.decode("latin-1"))
    assert error.status == status
    assert str(error).isprintable()


@MANY
@given(BODIES, st.floats(0, 1e9), st.floats(0, 1e11))
def test_tokens_are_read_with_a_sane_life_or_refused(data: bytes, now: float, wall: float) -> None:
    try:
        token = parse_token(data, requested=ScopeSet(), now=now, wall=wall)
    except (TokenError, LimitExceededError):
        return
    assert token.value.isascii()
    assert token.value.isprintable()
    assert " " not in token.value
    assert 30 <= token.lifetime <= MAX_LIFETIME
    assert token.expires_at == now + token.lifetime


@MANY
@given(BODIES, st.sampled_from(["tags", "repositories"]))
def test_pages_are_read_or_refused(data: bytes, key: str) -> None:
    try:
        page = parse_page(data, key)  # type: ignore[arg-type]  # a wrong argument is the point
    except ProtocolError:
        return
    assert len(page.items) + len(page.invalid) <= page.count


@MANY
@given(st.text(max_size=300), st.integers(0, 50))
def test_clean_text_is_printable_and_bounded(text: str, limit: int) -> None:
    clean = clean_text(text, limit)
    assert clean.isprintable()
    assert len(clean) <= limit


@MANY
@given(st.text(max_size=60), st.text(alphabet=TOKEN_CHARS, min_size=1, max_size=20), HEADERISH)
def test_no_user_information_and_no_unknown_value_survives_in_a_shown_url(path: str, name: str, rest: str) -> None:
    canary = "c4n4ry"
    shown = redact_url(f"https://{canary}:{canary}@r.example/?X-{name}={canary}#{canary}")
    assert canary not in shown
    assert redact_url(path + rest).isprintable()
    assert redact_url(shown) == shown


@MANY
@given(st.text(max_size=60))
def test_a_number_is_what_ascii_digits_say(text: str) -> None:
    number = parse_int(text)
    assert (number is not None) == (0 < len(text) <= 19 and all(char in "0123456789" for char in text))


# --- round trips -----------------------------------------------------------------------------------------------------

names = st.text(alphabet=TOKEN_CHARS, min_size=1, max_size=10)
quotable = st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\t"), max_size=20)
token68 = st.from_regex(r"[A-Za-z0-9._~+/-]{1,20}={0,2}", fullmatch=True)
challenges = st.one_of(
    st.builds(Challenge, names, st.dictionaries(names.map(str.lower), quotable, max_size=4)),
    st.builds(Challenge, names.filter(lambda name: name.lower() not in {"basic", "bearer"}), st.just({}), token68),
)


@MANY
@given(st.lists(challenges, max_size=5), st.booleans())
def test_t41_challenges_that_are_written_are_read_back(offered: list[Challenge], one_line: bool) -> None:
    values = [format_challenge(challenge) for challenge in offered]
    assert list(parse_challenges([", ".join(values)] if one_line else values)) == offered


resources = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789./_-", min_size=1, max_size=12)
actions = st.frozensets(st.sampled_from(["pull", "push", "delete", "*", "metadata_read"]), min_size=1)
scopes = st.builds(Scope, st.sampled_from(["repository", "repository(plugin)", "registry"]), resources, actions)
scope_sets = st.lists(scopes, max_size=6).map(lambda entries: ScopeSet(tuple(entries)))


@MANY
@given(scopes)
def test_a_scope_that_is_written_is_read_back(scope: Scope) -> None:
    assert Scope.parse(str(scope)) == scope


@MANY
@given(scope_sets)
def test_a_scope_set_that_is_written_is_read_back(entries: ScopeSet) -> None:
    assert ScopeSet.parse(str(entries)) == entries
    assert set(entries.first()) == set(entries)


@MANY
@given(scope_sets, scope_sets, scope_sets)
def test_scope_sets_unite_and_cover_as_sets_do(a: ScopeSet, b: ScopeSet, c: ScopeSet) -> None:
    assert a.covers(a)
    assert (a | b).covers(a)
    assert (a | b).covers(b)
    assert ((a | b) | c).covers(a | (b | c))
    assert a | a == a
    if a.covers(b) and b.covers(c):
        assert a.covers(c)
    if (a | b).covers(c) and a.covers(b):
        assert a.covers(c)


@MANY
@given(HEADERISH)
def test_t39_a_scope_is_read_or_refused_and_never_splits_a_header(text: str) -> None:
    try:
        entries = ScopeSet.parse(text)
    except UsageError:
        return
    assert str(entries).isascii()
    assert str(entries).isprintable()


@MANY
@given(st.integers(0, 2**62), st.integers(1, 2**62))
def test_chunk_ranges_are_read_back(start: int, length: int) -> None:
    found = parse_content_range(format_content_range(start, start + length))
    assert found is not None
    assert (found.start, found.stop) == (start, start + length)
    assert range_header(start, length) == "bytes=" + format_content_range(start, start + length)


@MANY
@given(st.integers(2, 2**62))
def test_upload_ranges_are_read_back(count: int) -> None:
    assert parse_upload_range(format_content_range(0, count)) == count
    assert parse_upload_range("bytes=" + format_content_range(0, count)) == count


@MANY
@given(
    st.text(alphabet=st.characters(exclude_characters="#", exclude_categories=["Cs"]), max_size=40),
    st.lists(st.tuples(names, st.text(st.characters(exclude_categories=["Cs"]), max_size=20)), min_size=1, max_size=3),
)
def test_t43_appending_to_a_url_changes_none_of_its_bytes(url: str, pairs: list[tuple[str, str]]) -> None:
    appended = append_query(url, pairs)
    assert appended.startswith(url)
    added = appended.removeprefix(url)
    assert added.isascii()
    assert added.lstrip("?&").count("=") == len(pairs)
    assert "?" in appended
