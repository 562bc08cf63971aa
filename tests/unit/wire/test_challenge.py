"""Spec: RFC 9110, section 11.6.1; RFC 6750, section 3."""

from __future__ import annotations

import pytest

from ocidist.errors import ChallengeError, UsageError
from ocidist.wire.challenge import Challenge, CredentialKind, choose, format_challenge, parse_challenges
from ocidist.wire.scope import NO_SCOPES, repository_scope

HUB = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:samalba/my-app:pull,push"'


def bearer(**params: str) -> Challenge:
    return Challenge("bearer", params)


def basic(**params: str) -> Challenge:
    return Challenge("basic", params)


def test_the_challenge_of_the_specification_is_read() -> None:
    (challenge,) = parse_challenges([HUB])
    assert challenge.scheme == "bearer"
    assert challenge.realm == "https://auth.docker.io/token"
    assert challenge.service == "registry.docker.io"
    assert challenge.scope == "repository:samalba/my-app:pull,push"
    assert challenge.scopes == repository_scope("samalba/my-app", "pull", "push")
    assert challenge.error is None
    assert challenge.token68 is None


@pytest.mark.parametrize(
    ("value", "challenges"),
    [
        ("", []),
        (" , ,", []),
        ('Basic realm="Registry"', [basic(realm="Registry")]),
        ("BASIC REALM=Registry", [basic(realm="Registry")]),
        ('Basic realm = "Registry" , charset\t=\t"UTF-8"', [basic(realm="Registry", charset="UTF-8")]),
        ('Basic realm="a \\"b\\" \\\\ c, d=e"', [basic(realm='a "b" \\ c, d=e')]),
        ('Basic realm=""', [basic(realm="")]),
        ("Negotiate", [Challenge("negotiate")]),
        ("Negotiate YIIBhwYGKw==", [Challenge("negotiate", {}, "YIIBhwYGKw==")]),
        ("NTLM abc/+._~-=", [Challenge("ntlm", {}, "abc/+._~-=")]),
        ("Custom a=b", [Challenge("custom", {"a": "b"})]),
        ("Custom a=", [Challenge("custom", {}, "a=")]),
        ('Negotiate, Basic realm="r"', [Challenge("negotiate"), basic(realm="r")]),
        ('Negotiate abc==, Basic realm="r"', [Challenge("negotiate", {}, "abc=="), basic(realm="r")]),
        (
            'Basic realm="r", Bearer realm="https://t/x",service="s"',
            [basic(realm="r"), bearer(realm="https://t/x", service="s")],
        ),
        (
            'Bearer realm="https://t/x", service="s",, Basic realm="r",',
            [bearer(realm="https://t/x", service="s"), basic(realm="r")],
        ),
        (
            'Digest realm=r, qop="auth, auth-int", nonce=abc, Basic realm=x',
            [Challenge("digest", {"realm": "r", "qop": "auth, auth-int", "nonce": "abc"}), basic(realm="x")],
        ),
        (
            "Bearer realm=https://t/x?y=1,service=r.example:5000",
            [bearer(realm="https://t/x?y=1", service="r.example:5000")],
        ),
        ('Bearer service=,realm="https://t/x"', [bearer(service="", realm="https://t/x")]),
        ('Bearer realm="https://t/x" service="s"', [bearer(realm="https://t/x", service="s")]),
        ('Bearer   realm="https://t/x"', [bearer(realm="https://t/x")]),
        ('Bearer\trealm="https://t/x"', [bearer(realm="https://t/x")]),
        ('Bearer ,realm="https://t/x"', [bearer(realm="https://t/x")]),
    ],
)
def test_t41_the_whole_list_grammar_is_read(value: str, challenges: list[Challenge]) -> None:
    assert list(parse_challenges([value])) == challenges


@pytest.mark.parametrize(
    "value",
    [
        'Basic realm="a", realm="b"',
        'Basic realm="a", REALM="a"',
        'Bearer realm="https://t/x",scope="a:b:c",scope="d:e:f"',
    ],
)
def test_t41_a_parameter_given_twice_fails_closed(value: str) -> None:
    with pytest.raises(ChallengeError, match="twice"):
        parse_challenges([value])


MALFORMED = [
    'realm="https://t/x"',
    'Bearer realm="https://t/x',
    'Bearer realm="https://t/x\\',
    'Bearer realm="a"b',
    'Bearer realm=a"b"',
    'Bearer realm="a" "b"',
    'Bearer realm="a\x00b"',
    'Bearer realm="a\nb"',
    "Bearer realm=a\x1bb",
    "Bearer abc def",
    "Custom abc def",
    "=",
    '"',
    "Bearer (realm)",
    "(comment)",
    "Bearer;realm=x",
]


@pytest.mark.parametrize("value", MALFORMED)
def test_f031_a_malformed_challenge_is_an_error_that_does_not_repeat_it(value: str) -> None:
    with pytest.raises(ChallengeError) as caught:
        parse_challenges([value])
    assert str(caught.value).isprintable()
    assert caught.value.__cause__ is None


def test_q08_the_challenge_to_answer_is_found_behind_others_in_one_line() -> None:
    challenges = parse_challenges([f'Negotiate, NTLM abc=, Basic realm="r", {HUB}'])
    chosen = choose(challenges, have=CredentialKind.PASSWORD)
    assert chosen is not None
    assert chosen.scheme == "bearer"


def test_q08_the_challenge_to_answer_is_found_on_a_line_of_its_own() -> None:
    chosen = choose(parse_challenges(["Negotiate", 'Basic realm="r"', HUB]), have=CredentialKind.ANONYMOUS)
    assert chosen is not None
    assert chosen.scheme == "bearer"


@pytest.mark.parametrize(
    "values",
    [
        ('Basic realm="r"', HUB),
        (HUB, 'Basic realm="r"'),
        (f'Basic realm="r", {HUB}',),
        (f'{HUB}, Basic realm="r"',),
    ],
)
def test_f032_bearer_is_preferred_to_basic_in_either_order(values: tuple[str, ...]) -> None:
    chosen = choose(parse_challenges(values), have=CredentialKind.PASSWORD)
    assert chosen is not None
    assert chosen.scheme == "bearer"


@pytest.mark.parametrize(
    ("values", "have", "scheme"),
    [
        (['Basic realm="r"'], CredentialKind.PASSWORD, "basic"),
        (['Basic realm="r"'], CredentialKind.ANONYMOUS, None),
        (['Basic realm="r"'], CredentialKind.IDENTITY_TOKEN, None),
        (['Basic realm="r"'], CredentialKind.REGISTRY_TOKEN, None),
        (["Bearer"], CredentialKind.PASSWORD, None),
        (["Bearer", 'Basic realm="r"'], CredentialKind.PASSWORD, "basic"),
        (["Bearer"], CredentialKind.REGISTRY_TOKEN, "bearer"),
        ([HUB], CredentialKind.ANONYMOUS, "bearer"),
        ([HUB], CredentialKind.IDENTITY_TOKEN, "bearer"),
        (["Negotiate"], CredentialKind.PASSWORD, None),
        ([], CredentialKind.PASSWORD, None),
    ],
)
def test_a_challenge_is_chosen_that_the_credential_can_answer(
    values: list[str], have: CredentialKind, scheme: str | None
) -> None:
    chosen = choose(parse_challenges(values), have=have)
    assert (chosen.scheme if chosen else None) == scheme


def test_q10_a_placeholder_scope_is_told_apart_from_the_scope_of_an_operation() -> None:
    (challenge,) = parse_challenges(
        ['Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:user/image:pull"']
    )
    assert not challenge.scopes.covers(repository_scope("acme/app", "pull"))


def test_a_refusal_for_want_of_scope_names_the_scope() -> None:
    (challenge,) = parse_challenges([HUB + ',error="insufficient_scope"'])
    assert challenge.error == "insufficient_scope"


def test_a_challenge_without_a_scope_asks_for_none() -> None:
    assert bearer(realm="https://t/x").scopes == NO_SCOPES


def test_t39_a_scope_with_forbidden_characters_makes_the_challenge_unusable() -> None:
    (challenge,) = parse_challenges(['Bearer realm="https://t/x",scope="repository:a\tb:pull"'])
    with pytest.raises(ChallengeError):
        _ = challenge.scopes


@pytest.mark.parametrize(
    "values",
    [["Bearer " + "a" * 1_000_000], ['Basic realm="' + "\\" * 20_000], ["," * 20_000], ["x," * 5000, "y," * 5000]],
)
def test_t36_more_than_16_kib_are_refused_before_they_are_read(values: list[str]) -> None:
    with pytest.raises(ChallengeError, match="larger"):
        parse_challenges(values)


def test_t36_a_header_just_below_the_cap_is_read() -> None:
    many = ",".join(["x"] * 8000)
    assert len(parse_challenges([many])) == 8000


@pytest.mark.parametrize(
    "challenge",
    [
        Challenge("bad scheme"),
        Challenge(""),
        basic(realm="a\nb"),
        Challenge("basic", {"a b": "c"}),
        Challenge("x", {}, "a b"),
        Challenge("x", {}, ""),
    ],
)
def test_a_challenge_that_would_break_a_header_is_not_written(challenge: Challenge) -> None:
    with pytest.raises(UsageError):
        format_challenge(challenge)


def test_a_challenge_is_a_value_that_does_not_show_its_token68() -> None:
    assert bearer(realm="r") == Challenge("Bearer", {"REALM": "r"})
    assert hash(bearer(realm="r")) == hash(Challenge("Bearer", {"REALM": "r"}))
    assert "abc" not in repr(Challenge("negotiate", {}, "abc"))
