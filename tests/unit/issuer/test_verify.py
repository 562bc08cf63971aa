from __future__ import annotations

import hashlib
import hmac
import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from ocidist.errors import AuthError, TokenInvalidError, UsageError
from ocidist.issuer import KeyId, KeyKind, KeyMaterial, TokenRequest, TokenVerifier, TrustedKeys
from ocidist.issuer.verify import MAX_ACCESS, MAX_TOKEN_CHARS
from ocidist.wire.scope import NO_SCOPES, ScopeSet
from tests.http.test_leaks import told
from tests.unit.issuer.support import (
    ISSUER,
    NOW,
    SERVICE,
    claims,
    encoded,
    header,
    issuer,
    key,
    signature,
    signed,
    verifier,
)

if TYPE_CHECKING:
    from collections.abc import Callable

STRANGER = KeyMaterial.generate(kind=KeyKind.EC)


def reason(token: str, **options: Any) -> str:  # noqa: ANN401 -- any keyword argument of the verifier
    with pytest.raises(TokenInvalidError) as caught:
        verifier(**options).verify(token)
    assert isinstance(caught.value, AuthError)
    assert pickle.loads(pickle.dumps(caught.value)).reason == caught.value.reason  # noqa: S301 -- our own
    if token:
        assert token not in told(caught.value)
    return caught.value.reason


# --- what is taken ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(KeyKind))
def test_a_good_token_says_who_and_what(kind: KeyKind) -> None:
    found = verifier().verify(signed(header(key(kind)), claims(), key(kind)))
    assert found.account == "alice"
    assert found.scopes == ScopeSet.parse("repository:a/b:pull")
    assert (found.expires_at, found.issued_at, found.token_id) == (NOW + 300, NOW, "1")


@pytest.mark.parametrize("kid", list(KeyId))
@pytest.mark.parametrize("x5c", [True, False])
def test_what_the_issuer_signs_is_taken_by_either_name_of_its_key(kid: KeyId, x5c: bool) -> None:
    made = issuer(kid=kid, x5c=x5c).issue(TokenRequest("alice", scopes=ScopeSet.parse("repository:a/b:pull,push")))
    found = verifier().verify(made.token)
    assert (found.account, found.scopes) == ("alice", made.scopes)
    assert found.token_id


@pytest.mark.parametrize(
    "trusted",
    [
        lambda: TrustedKeys.of(key()),
        lambda: TrustedKeys.from_certificates(key().certificate_pem + key(KeyKind.EC).certificate_pem),
        lambda: TrustedKeys.from_jwks(key().jwks(KeyId.LIBTRUST)),
        lambda: TrustedKeys.of(STRANGER) | TrustedKeys.of(key()),
    ],
)
def test_keys_can_be_trusted_in_several_forms(trusted: Callable[[], TrustedKeys]) -> None:
    trusting = TokenVerifier(trusted(), issuer=ISSUER, service=SERVICE, clock=lambda: NOW)
    found = trusting.verify(signed(header(), claims()))
    assert found.account == "alice"


# --- the header (F215, T56) ------------------------------------------------------------------------------------------


def _unsigned() -> str:
    return f"{encoded(header(alg='none'))}.{encoded(claims())}."


def _hmac_with_the_public_key() -> str:
    text = f"{encoded(header(alg='HS256'))}.{encoded(claims())}"
    return f"{text}.{encoded(hmac.digest(key().public_pem, text.encode(), hashlib.sha256))}"


def _own_jwk(**fields: object) -> str:
    jwk = json.loads(STRANGER.jwks())["keys"][0]
    return signed(header(STRANGER, jwk=jwk, **fields), claims(), STRANGER)


ATTACKS: dict[str, Callable[[], str]] = {
    "alg none": _unsigned,
    "alg None": lambda: f"{encoded(header(alg='None'))}.{encoded(claims())}.",
    "no alg": lambda: signed(header(alg=None), claims()),
    "hs256 with the public key": _hmac_with_the_public_key,
    "a key of its own": _own_jwk,
    "a key of its own and no kid": lambda: _own_jwk(kid=None),
    "a key of its own under a known name": lambda: _own_jwk(kid=key().key_id(KeyId.LIBTRUST), alg="RS256"),
    "a harmless jwk": lambda: signed(header(jwk=json.loads(key().jwks())["keys"][0]), claims()),
    "jku": lambda: signed(header(jku="https://evil.test/keys"), claims()),
    "x5u": lambda: signed(header(x5u="https://evil.test/cert"), claims()),
    "crit": lambda: signed(header(crit=["exp"]), claims()),
    "b64 false": lambda: signed(header(b64=False, crit=["b64"]), claims()),
    "compressed": lambda: signed(header(zip="DEF"), claims()),
    "unknown kid": lambda: signed(header(kid="nobody"), claims()),
    "kid is a path": lambda: signed(header(kid="../../dev/null"), claims()),
    "kid is a list": lambda: signed(header(kid=[key().key_id(KeyId.LIBTRUST)]), claims()),
    "no kid": lambda: signed(header(kid=None), claims()),
    "only x5c": lambda: signed(header(kid=None, x5c=key().x5c), claims()),
    "x5c of a stranger": lambda: signed(header(STRANGER, x5c=STRANGER.x5c), claims(), STRANGER),
    "x5c of a stranger under a known name": lambda: signed(
        header(STRANGER, kid=key(KeyKind.EC).key_id(KeyId.LIBTRUST), x5c=STRANGER.x5c), claims(), STRANGER
    ),
    "another type": lambda: signed(header(typ="at+jwt"), claims()),
    "no type": lambda: signed(header(typ=None), claims()),
    "the other key's algorithm": lambda: signed(header(alg="ES256"), claims()),
    "another algorithm of the same key": lambda: signed(header(alg="PS256"), claims()),
    "a header of a mebibyte": lambda: signed(header(pad="x" * 2**20), claims()),
    "a header that names its key twice": lambda: signed(
        f'{{"typ":"JWT","alg":"RS256","kid":"x","kid":"{key().key_id(KeyId.LIBTRUST)}"}}'.encode(), claims()
    ),
    "a header that is a list": lambda: signed([], claims()),
    "a header that is no JSON": lambda: signed(b"{", claims()),
    "a header nested deeply": lambda: signed(header(deep=json.loads("[" * 200 + "]" * 200)), claims()),
    "claims that are a list": lambda: signed(header(), []),
    "claims that are no JSON": lambda: signed(header(), b"\xff"),
    "claims with one name twice": lambda: signed(header(), json.dumps(claims()).encode()[:-1] + b',"aud":"x"}'),
    "two signatures": lambda: json.dumps(
        {"payload": encoded(claims()), "signatures": [{"protected": encoded(header()), "signature": "x"}] * 2}
    ),
    "a fourth part": lambda: signed(header(), claims()) + ".x",
    "two parts": lambda: signed(header(), claims()).rpartition(".")[0],
    "padding": lambda: signed(header(), claims()) + "=",
    "a blank": lambda: signed(header(), claims()).replace(".", ". ", 1),
    "not ASCII": lambda: signed(header(), claims()) + "\u0661",
    "half a character": lambda: signed(header(), claims()) + "\ud800",
    "nothing": lambda: "",
    "dots": lambda: "..",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_f215_what_is_unusual_about_a_header_is_refused(attack: str) -> None:
    assert reason(ATTACKS[attack]())


def test_t56_a_key_verifies_one_algorithm_only_and_comes_from_the_list() -> None:
    assert reason(_hmac_with_the_public_key()) == "its algorithm is not that of its key"
    assert reason(_unsigned()) == "its algorithm is not that of its key"
    assert reason(signed(header(kid="../../dev/null"), claims())) == "its key is not known"
    assert reason(_own_jwk()) == "its header names a key or an extension"
    assert reason(ATTACKS["x5c of a stranger under a known name"]()) == "its signature is wrong"
    assert reason(ATTACKS["only x5c"]()) == "its key is not known"
    assert reason(ATTACKS["a header of a mebibyte"]()) == "it is too long"


def test_t56_x5c_is_ignored_whatever_it_holds() -> None:
    good = verifier().verify(signed(header(x5c=STRANGER.x5c), claims()))
    assert good.account == "alice"
    assert verifier().verify(signed(header(x5c="nonsense"), claims())) == good


def test_a_changed_byte_anywhere_is_noticed() -> None:
    token = signed(header(), claims())
    body = signed(header(), claims(sub="mallory"))
    head, _, tail = token.split(".")
    assert reason(f"{head}.{body.split('.')[1]}.{tail}") == "its signature is wrong"
    assert reason(token[:-8] + ("A" if token[-8] != "A" else "B") + token[-7:]) == "its signature is wrong"


@pytest.mark.parametrize("extra", [0, 1])
def test_the_longest_token(extra: int) -> None:
    short = len(signed(header(), claims(pad="")))
    pad = (MAX_TOKEN_CHARS - short) // 4 * 3
    token = signed(header(), claims(pad="x" * pad))
    token = signed(header(), claims(pad="x" * (pad + (MAX_TOKEN_CHARS - len(token)) * 3 // 4 + extra)))
    if len(token) <= MAX_TOKEN_CHARS:
        assert verifier().verify(token)
    else:
        assert reason(token) == "it is too long"


# --- the claims (T57) ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["iss", "aud", "exp", "nbf", "iat", "access"])
def test_t57_a_claim_that_is_missing_is_refused(name: str) -> None:
    assert reason(signed(header(), claims(**{name: None})))


STRANGE: tuple[object, ...] = ("soon", True, -1, 1e300, 10**30, [NOW], {})


BAD_CLAIMS: list[tuple[str, object]] = [
    ("iss", ISSUER[:-1]),
    ("iss", [ISSUER]),
    ("iss", ISSUER.upper()),
    ("aud", SERVICE + " "),
    ("aud", [SERVICE]),
    ("aud", {SERVICE: 1}),
    ("sub", 7),
    ("jti", 7),
    *((name, value) for name in ("exp", "nbf", "iat") for value in STRANGE),
    ("exp", NOW - 61),
    ("exp", NOW + 3601),
    ("exp", NOW - 400),
    ("nbf", NOW + 1000),
    ("iat", NOW + 250),
    ("access", {}),
    ("access", "repository:a/b:pull"),
    ("access", ["repository:a/b:pull"]),
    ("access", [{"type": "repository", "name": "a/b"}]),
    ("access", [{"type": "repository", "name": "a/b", "actions": "pull"}]),
    ("access", [{"type": "repository", "name": "a/b", "actions": [1]}]),
    ("access", [{"type": "repository", "name": 7, "actions": ["pull"]}]),
    ("access", [{"type": "", "name": "a/b", "actions": ["pull"]}]),
    ("access", [{"type": "repository", "name": "a b", "actions": ["pull"]}]),
    ("access", [{"type": "repository", "name": "a/b", "actions": ["pull,push"]}]),
]


# Numbered, because the values hold the time of day.
@pytest.mark.parametrize(("name", "value"), BAD_CLAIMS, ids=range(len(BAD_CLAIMS)))
def test_t57_a_claim_of_another_kind_or_value_is_refused(name: str, value: object) -> None:
    assert reason(signed(header(), claims(**{name: value})))


@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"1e999", b"9" * 200])
def test_t57_times_that_are_no_numbers_are_refused(literal: bytes) -> None:
    body = json.dumps(claims(exp=12345)).encode().replace(b"12345", literal)
    assert reason(signed(header(), body))


def test_t57_clocks_may_differ_by_a_minute_and_no_more() -> None:
    def at(moment: float) -> TokenVerifier:
        return verifier(clock=lambda: moment)

    token = signed(header(), claims(exp=NOW + 60, iat=NOW, nbf=NOW))
    assert at(NOW + 119.9).verify(token)
    assert at(NOW - 60).verify(token)
    assert reason(token, clock=lambda: NOW + 120) == "it has expired"
    assert reason(token, clock=lambda: NOW - 60.1) == "it is not valid yet"
    assert reason(token, clock=lambda: NOW + 60, leeway=0) == "it has expired"


def test_t57_fractions_of_seconds_and_a_life_of_an_hour_are_good() -> None:
    assert verifier().verify(signed(header(), claims(exp=NOW + 0.5)))
    assert verifier().verify(signed(header(), claims(exp=NOW + 3600)))
    assert reason(signed(header(), claims(exp=NOW + 3600.5))) == "it lives too long"


def test_a_token_may_leave_out_who_it_is_for_and_its_own_name() -> None:
    found = verifier().verify(signed(header(), claims(sub=None, jti=None, access=[])))
    assert (found.account, found.token_id, found.scopes) == ("", "", NO_SCOPES)


@pytest.mark.parametrize("extra", [0, 1])
def test_the_most_access_entries(extra: int) -> None:
    entries = [{"type": "repository", "name": f"a{n}", "actions": ["pull"]} for n in range(MAX_ACCESS + extra)]
    token = signed(header(), claims(access=entries))
    if extra:
        assert reason(token) == "its access is no list, or too long"
    else:
        assert len(verifier().verify(token).scopes) == MAX_ACCESS


# --- what is trusted -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"keys":[{}]}',
        '{"keys":[{"kty":"oct","k":"AAAA","kid":"1"}]}',
        '{"keys":[{"kty":"EC","crv":"P-384","x":"AA","y":"AA","kid":"1"}]}',
        '{"keys":7}',
        STRANGER.jwks().replace('"kid"', '"name"'),
    ],
    ids=range(8),
)
def test_a_jwk_set_without_good_keys_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="JWK set"):
        TrustedKeys.from_jwks(text)


def test_other_things_cannot_be_trusted() -> None:
    with pytest.raises(UsageError, match="certificates"):
        TrustedKeys.from_certificates(b"no certificate")
    with pytest.raises(UsageError, match="needs a key"):
        TokenVerifier(TrustedKeys({}), issuer=ISSUER, service=SERVICE)
    with pytest.raises(UsageError, match="differ"):
        verifier(leeway=-1)
    with pytest.raises(UsageError, match="service"):
        verifier(service="")


def test_a_signature_is_of_the_header_too() -> None:
    text = f"{encoded(header())}.{encoded(claims())}"
    other = f"{encoded(header(cty='x'))}.{encoded(claims())}"
    assert reason(f"{other}.{encoded(signature(text.encode(), key()))}") == "its signature is wrong"
