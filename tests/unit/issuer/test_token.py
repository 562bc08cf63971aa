from __future__ import annotations

import datetime as dt
import json
import pickle

import pytest

from ocidist.errors import ChallengeError, UsageError
from ocidist.issuer import KeyId, TokenIssuer, TokenRequest
from ocidist.wire.challenge import Challenge
from ocidist.wire.scope import NO_SCOPES, ScopeSet
from ocidist.wire.token import parse_token
from tests.unit.issuer.support import ISSUER, NOW, SERVICE, decoded, issuer, key

CHALLENGE = 'Bearer realm="https://auth.acme.io/token",service="S",scope="repository:a/b:push,pull repository:c/d:pull"'
BOTH = ScopeSet.parse("repository:a/b:pull,push repository:c/d:pull")


def test_the_claims_are_those_of_the_specification() -> None:
    made = issuer(clock=lambda: NOW + 0.7).issue(TokenRequest("alice", scopes=BOTH))
    head, body = decoded(made.token)
    assert head == {
        "typ": "JWT",
        "alg": "RS256",
        "kid": key().key_id(KeyId.LIBTRUST),
        "x5c": key().x5c,
    }
    assert body.pop("jti")
    assert body == {
        "iss": ISSUER,
        "sub": "alice",
        "aud": SERVICE,
        "iat": NOW,
        "nbf": NOW - 10,
        "exp": NOW + 60,
        "access": [
            {"type": "repository", "name": "a/b", "actions": ["pull", "push"]},
            {"type": "repository", "name": "c/d", "actions": ["pull"]},
        ],
    }


def test_no_two_tokens_are_the_same() -> None:
    made = [issuer().issue(TokenRequest()).token for _ in range(3)]
    assert len({decoded(token)[1]["jti"] for token in made}) == 3


def test_the_defaults_are_those_of_the_seed() -> None:
    made = TokenIssuer(key(), service=SERVICE).login("alice")
    body = decoded(made.token)[1]
    assert (body["iss"], body["exp"] - body["iat"], body["access"]) == ("127.0.0.1", 60, [])
    assert body["sub"] == "alice"


def test_the_answer_is_what_clients_read() -> None:
    made = issuer(clock=lambda: NOW, ttl=300).issue(TokenRequest("alice", scopes=BOTH))
    body = json.loads(made.to_json())
    assert body == {
        "token": made.token,
        "access_token": made.token,
        "scope": str(BOTH),
        "expires_in": 300,
        "issued_at": dt.datetime.fromtimestamp(NOW, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    read = parse_token(made.to_json().encode(), requested=BOTH, now=5, wall=NOW)
    assert (read.value, read.scopes, read.expires_at) == (made.access_token, BOTH, 305)


def test_a_token_is_a_secret() -> None:
    made = issuer().login("alice")
    assert made.token not in repr(made) + str(made)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(made)


@pytest.mark.parametrize("challenge", [CHALLENGE, f'Basic realm="x", {CHALLENGE}'])
def test_a_challenge_is_a_request_for_all_of_its_scopes(challenge: str) -> None:
    found = TokenRequest.from_challenge(challenge, account="alice", ttl=90)
    assert found == TokenRequest("alice", "S", BOTH, ttl=90)


def test_a_challenge_may_name_nothing() -> None:
    assert TokenRequest.from_challenge(Challenge("bearer", {"realm": "r"})) == TokenRequest()


@pytest.mark.parametrize("header", ['Basic realm="x"', "", 'Bearer realm="'])
def test_what_is_no_bearer_challenge_is_refused(header: str) -> None:
    with pytest.raises(ChallengeError):
        TokenRequest.from_challenge(header)


def test_a_request_may_ask_for_another_life() -> None:
    assert issuer().issue(TokenRequest(ttl=3600)).expires_in == 3600
    for ttl in (59, 3601, 0, -1, float("nan")):
        with pytest.raises(UsageError, match="60 to 3600"):
            TokenRequest(ttl=ttl)


@pytest.mark.parametrize("ttl", [0, 0.5, 3601, float("nan")])
def test_an_issuer_has_a_sensible_life(ttl: float) -> None:
    with pytest.raises(UsageError, match="1 to 3600"):
        issuer(ttl=ttl)
    assert issuer(ttl=1).login("x").expires_in == 1


def test_tokens_are_for_one_service() -> None:
    with pytest.raises(UsageError, match="only"):
        issuer().issue(TokenRequest(service="another"))
    anybody = TokenIssuer(key())
    assert decoded(anybody.issue(TokenRequest(service="another")).token)[1]["aud"] == "another"
    with pytest.raises(UsageError, match="needs a service"):
        anybody.login("alice")


def test_what_no_registry_has_is_not_in_a_token() -> None:
    scopes = ScopeSet.parse("repository(plugin):a/b:pull unknown:x:y opaque repository:A/*:pull registry:catalog:*")
    made = issuer().issue(TokenRequest(scopes=scopes))
    assert decoded(made.token)[1]["access"] == [
        {"type": "registry", "name": "catalog", "actions": ["*"]},
        {"type": "repository", "name": "a/b", "actions": ["pull"]},
    ]
    assert made.scopes == ScopeSet.parse("repository:a/b:pull registry:catalog:*")


def test_a_token_fits_into_a_header() -> None:
    many = " ".join(f"repository:a{n:03}/{'x' * 80}:pull,push" for n in range(100))
    with pytest.raises(UsageError, match="fit"):
        issuer().issue(TokenRequest(scopes=ScopeSet.parse(many)))
    few = " ".join(f"repository:a{n:03}/{'x' * 20}:pull,push" for n in range(50))
    assert len(issuer().issue(TokenRequest(scopes=ScopeSet.parse(few))).token) < 12 * 1024


@pytest.mark.parametrize("name", ["a\nb", "a\x00", "x" * 1025, "\u202e"])
def test_names_that_do_not_print_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="print"):
        TokenRequest(name)
    with pytest.raises(UsageError, match="print"):
        TokenRequest(service=name)
    with pytest.raises(UsageError, match="print"):
        issuer(issuer=name)


def test_no_scope_is_a_login() -> None:
    assert issuer().issue(TokenRequest("alice")).scopes == NO_SCOPES
