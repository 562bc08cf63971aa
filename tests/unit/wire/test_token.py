"""Spec: docker registry auth, "Requesting a Token" and "Getting a token"."""

from __future__ import annotations

import json
import pickle
import traceback
from urllib.parse import parse_qsl

import pytest

from ocidist.errors import LimitExceededError, TokenError, UsageError
from ocidist.wire.scope import NO_SCOPES, Scope, ScopeSet, repository_scope
from ocidist.wire.token import (
    MAX_LIFETIME,
    MAX_TOKEN_BYTES,
    Token,
    append_query,
    get_query,
    parse_token,
    post_form,
)

PULL = repository_scope("acme/app", "pull")
PUSH = repository_scope("acme/app", "pull", "push")
NOW = 1000.0
WALL = 1_700_000_000.0  # 2023-11-14T22:13:20Z


def answer(**fields: object) -> Token:
    return parse_token(json.dumps(fields).encode(), requested=PUSH, now=NOW, wall=WALL)


def life(**fields: object) -> float:
    token = answer(token="abc", **fields)
    assert token.expires_at == NOW + token.lifetime
    return token.lifetime


# --- which token -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"token": "one"}, "one"),
        ({"access_token": "two"}, "two"),
        ({"token": "one", "access_token": "two"}, "one"),
        ({"token": "", "access_token": "two"}, "two"),
        ({"token": None, "access_token": "two"}, "two"),
        ({"token": "one", "access_token": ""}, "one"),
    ],
)
def test_q14_the_token_is_under_either_name_and_an_empty_one_is_none(fields: dict[str, object], value: str) -> None:
    assert answer(**fields).value == value


def test_f050_of_two_different_tokens_the_one_named_token_is_used() -> None:
    assert answer(access_token="two", token="one").value == "one"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>please log in</html>",
        b"null",
        b"[]",
        b'"abc"',
        b"{}",
        b'{"token":""}',
        b'{"token":"","access_token":""}',
        b'{"token":5}',
        b'{"token":["abc"]}',
        b'{"access_token":{"a":1}}',
        b'{"token":"abc"',
        b'{"token":"abc"}{}',
        b'{"token":"a\\ud800"}',
        b"\xff\xfe",
        b'\xef\xbb\xbf{"token":"abc"}',
        b'{"token":"abc","expires_in":NaN}',
        b'{"token":"abc","expires_in":' + b"9" * 5000 + b"}",
        b"[" * 100_000,
    ],
)
def test_f048_an_answer_without_a_token_is_a_token_error(data: bytes) -> None:
    with pytest.raises(TokenError):
        parse_token(data, requested=PULL, now=NOW, wall=WALL)


@pytest.mark.parametrize("bad", ["a\r\nX-Evil: 1", "a b", "a\tb", "abc\n", "\x00", "äbc", "a\u2028", "a,b", "a\x7f"])
def test_f056_a_token_that_would_break_a_header_is_refused(bad: str) -> None:
    with pytest.raises(TokenError):
        answer(token=bad)


def test_f049_more_than_128_kib_are_refused() -> None:
    fits = b'{"token":"abc"}'.ljust(MAX_TOKEN_BYTES)
    assert parse_token(fits, requested=PULL, now=NOW, wall=WALL).value == "abc"
    with pytest.raises(LimitExceededError):
        parse_token(fits + b" ", requested=PULL, now=NOW, wall=WALL)


def test_q16_an_opaque_token_is_good_for_its_life_like_any_other() -> None:
    token = answer(token="Z2hwX29wYXF1ZQ==")
    assert token.fresh(NOW)
    assert token.fresh(NOW + 50)
    assert token.scopes == PUSH


# --- how long --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expires_in", [None, 0, -1, 1, 59, "abc", "", "-5", "1e9", "\u0663\u0660\u0660", True, [300], {}]
)
def test_q15_a_life_that_is_missing_or_short_or_no_number_is_a_minute(expires_in: object) -> None:
    assert life(expires_in=expires_in) == 60.0


def test_q15_a_life_that_is_not_there_is_a_minute() -> None:
    assert life() == 60.0


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (300, 300.0),
        (300.5, 300.5),
        ("300", 300.0),
        ("300.5", 300.5),
        (60, 60.0),
        (1e12, MAX_LIFETIME),
        (10**30, MAX_LIFETIME),
    ],
)
def test_f051_a_life_is_a_number_however_it_is_written_and_a_day_at_most(expires_in: object, seconds: float) -> None:
    assert life(expires_in=expires_in) == seconds


@pytest.mark.parametrize(
    ("issued_at", "seconds"),
    [
        ("2023-11-14T22:13:20Z", 300.0),
        ("2023-11-14T22:12:20Z", 240.0),
        ("2023-11-14T22:12:20.000000000Z", 240.0),
        ("2023-11-14T23:12:20+01:00", 240.0),
        ("2023-11-14T22:12:20", 240.0),
        ("2023-11-14T22:23:20Z", 300.0),
        ("2023-11-13T22:13:20Z", 300.0),
        ("2023-11-15T22:13:20Z", 300.0),
        ("0001-01-01T00:00:00Z", 300.0),
        ("9999-12-31T23:59:59Z", 300.0),
        ("yesterday", 300.0),
        ("", 300.0),
        (1699999940, 300.0),
        (None, 300.0),
        ("2023-11-14T22:12:20Z" * 1000, 300.0),
    ],
)
def test_q15_issued_at_shortens_a_life_a_little_and_a_wrong_clock_does_not(issued_at: object, seconds: float) -> None:
    assert life(expires_in=300, issued_at=issued_at) == seconds


def test_a_token_is_renewed_early() -> None:
    token = answer(token="abc", expires_in=1000)
    assert token.fresh(NOW + 899)
    assert not token.fresh(NOW + 901)


def test_a_short_token_is_renewed_five_seconds_early_or_a_tenth() -> None:
    token = Token("abc", 30.0, lifetime=30.0)
    assert token.fresh(24.9)
    assert not token.fresh(25.0)


def test_a_margin_for_a_long_transfer_counts_up_to_half_the_life() -> None:
    token = answer(token="abc", expires_in=300)
    assert token.fresh(NOW, margin=3600)
    assert not token.fresh(NOW + 150, margin=3600)
    assert token.fresh(NOW + 150, margin=60)


def test_a_life_read_from_inside_the_token_replaces_the_one_from_outside() -> None:
    token = answer(token="abc").lasting(900, now=NOW)
    assert (token.lifetime, token.expires_at) == (900, NOW + 900)
    assert answer(token="abc").lasting(-5, now=NOW).lifetime == 60.0


# --- what for --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "granted"),
    [
        (None, PUSH),
        ("", PUSH),
        ("repository:acme/app:pull,push", PUSH),
        ("repository:acme/app:pull", PULL),
        ("repository:acme/app:*", repository_scope("acme/app", "*")),
        ("repository:acme/app:pull,repository:acme/app:push", PUSH),
        ("repository:other:pull", PUSH),
        ("something else", PUSH),
        ("bad\r\nscope", PUSH),
        (["repository:acme/app:pull"], PUSH),
    ],
)
def test_a_token_is_good_for_what_was_asked_unless_the_server_says_otherwise(scope: object, granted: ScopeSet) -> None:
    assert answer(token="abc", scope=scope).scopes == granted


def test_f055_a_smaller_grant_is_seen() -> None:
    assert not answer(token="abc", scope="repository:acme/app:pull").scopes.covers(PUSH)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("refresh", "refresh"), ("", None), (None, None), (5, None), ("a\r\nb", None), ("tok en", "tok en")],
)
def test_a_refresh_token_is_kept_if_it_is_one(given: object, kept: str | None) -> None:
    assert answer(token="abc", refresh_token=given).refresh_token == kept


# --- secrecy ---------------------------------------------------------------------------------------------------------


def test_t45_a_token_does_not_show_its_secrets() -> None:
    token = answer(token="canary1", refresh_token="canary2")
    assert "canary" not in repr(token)
    assert "canary" not in f"{token} {token!r} {[token]}"
    assert repr(Token("canary1", 0.0)).count("None") == 1


def test_t45_a_token_is_not_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(answer(token="canary"))


def test_t45_a_token_equals_only_itself() -> None:
    one, two = answer(token="abc"), answer(token="abc")
    assert one == one  # noqa: PLR0124  identity is what equality means here
    assert one != two


@pytest.mark.parametrize(
    "data",
    [
        b'{"token":"canary\\n"}',
        b'{"token":"canary"',
        b'{"canary":1}',
        b"canary",
        b'{"token":["canary"]}',
        b'{"token":1e999,"x":"canary"}',
    ],
)
def test_t45_no_error_quotes_the_answer(data: bytes) -> None:
    with pytest.raises(TokenError) as caught:
        parse_token(data, requested=PULL, now=NOW, wall=WALL)
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


# --- asking ----------------------------------------------------------------------------------------------------------


def test_q13_a_get_repeats_the_scope_parameter_with_what_writes_first() -> None:
    scopes = ScopeSet.parse("repository:a/base:pull repository:b/app:pull,push")
    assert get_query("registry.example", scopes) == [
        ("service", "registry.example"),
        ("scope", "repository:b/app:pull,push"),
        ("scope", "repository:a/base:pull"),
    ]


def test_q13_a_sequence_of_scopes_keeps_its_order() -> None:
    scopes = [Scope("repository", "b", {"pull"}), Scope("repository", "a", {"push"})]
    assert [value for _, value in get_query(None, scopes)] == ["repository:b:pull", "repository:a:push"]


def test_q13_a_post_joins_the_scopes_with_blanks() -> None:
    scopes = ScopeSet.parse("repository:a/base:pull repository:b/app:pull,push")
    form = parse_qsl(post_form("s", scopes, client_id="me", refresh_token="r").decode(), strict_parsing=True)
    assert form == [
        ("grant_type", "refresh_token"),
        ("service", "s"),
        ("client_id", "me"),
        ("scope", "repository:b/app:pull,push repository:a/base:pull"),
        ("refresh_token", "r"),
    ]


def test_a_get_says_who_asks_and_whether_a_refresh_token_is_wanted() -> None:
    query = get_query("s", NO_SCOPES, account="ci", client_id="ocidist", offline=True)
    assert query == [("service", "s"), ("account", "ci"), ("client_id", "ocidist"), ("offline_token", "true")]
    assert get_query("", NO_SCOPES) == []


def test_a_post_with_a_password_survives_any_character() -> None:
    form = post_form("s", NO_SCOPES, client_id="me", username="ä&b=c", password="p+ %\r\n", offline=True)
    assert form.isascii()
    assert dict(parse_qsl(form.decode(), strict_parsing=True)) == {
        "grant_type": "password",
        "service": "s",
        "client_id": "me",
        "access_type": "offline",
        "username": "ä&b=c",
        "password": "p+ %\r\n",
    }


@pytest.mark.parametrize(
    "secrets",
    [{}, {"username": "u"}, {"password": "p"}, {"username": "u", "password": "p", "refresh_token": "r"}],
)
def test_a_post_needs_exactly_one_way_to_prove_who_asks(secrets: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        post_form("s", NO_SCOPES, client_id="me", **secrets)  # type: ignore[arg-type]  # a wrong argument is the point


DIGEST = [("digest", "sha256:abc")]


@pytest.mark.parametrize(
    ("url", "appended"),
    [
        ("https://t.example/token", "https://t.example/token?service=s&scope=repository:a/b:pull,push"),
        ("https://t.example/token?", "https://t.example/token?service=s&scope=repository:a/b:pull,push"),
        ("https://t.example/x?y=1", "https://t.example/x?y=1&service=s&scope=repository:a/b:pull,push"),
        ("https://t.example/x?y=1&", "https://t.example/x?y=1&service=s&scope=repository:a/b:pull,push"),
        (
            "https://t.example/x?y=%7E%2f+a%20b&&z",
            "https://t.example/x?y=%7E%2f+a%20b&&z&service=s&scope=repository:a/b:pull,push",
        ),
        ("https://t.example/x?y=1#top", "https://t.example/x?y=1&service=s&scope=repository:a/b:pull,push"),
    ],
)
def test_t43_a_realm_keeps_its_own_query_byte_for_byte(url: str, appended: str) -> None:
    assert append_query(url, get_query("s", repository_scope("a/b", "push", "pull"))) == appended


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/v2/a/blobs/uploads/1", "/v2/a/blobs/uploads/1?digest=sha256:abc"),
        ("/v2/a/blobs/uploads/1?", "/v2/a/blobs/uploads/1?digest=sha256:abc"),
        (
            "https://r.example/u?_state=aB%2b%2F%3d&x=a%20b+c",
            "https://r.example/u?_state=aB%2b%2F%3d&x=a%20b+c&digest=sha256:abc",
        ),
        ("https://r.example/u?_state=a==&z", "https://r.example/u?_state=a==&z&digest=sha256:abc"),
        ("https://r.example/u?%zz=\xe4", "https://r.example/u?%zz=\xe4&digest=sha256:abc"),
    ],
)
def test_t44_an_upload_location_keeps_its_own_query_byte_for_byte(location: str, url: str) -> None:
    assert append_query(location, DIGEST) == url


def test_t43_what_is_appended_cannot_add_another_parameter() -> None:
    assert append_query("https://t.example/", [("service", "a&b=c#d?e f+g\r\n%")]) == (
        "https://t.example/?service=a%26b%3Dc%23d%3Fe%20f%2Bg%0D%0A%25"
    )


def test_nothing_is_appended_for_no_parameters() -> None:
    assert append_query("https://t.example/x?y", []) == "https://t.example/x?y"
