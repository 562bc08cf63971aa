from __future__ import annotations

import pytest

from ocidist.errors import InvalidReferenceError, UsageError
from ocidist.http.caches import MemoryTokenCache, TokenOwner
from ocidist.issuer import SelfTokenProvider, TokenIssuer
from ocidist.issuer import selftoken as module
from ocidist.wire.scope import NO_SCOPES, ScopeSet
from ocidist.wire.token import Token
from tests.unit.issuer.support import SERVICE, decoded, issuer, key, verifier

PULL = ScopeSet.parse("repository:a/b:pull")
PUSH = ScopeSet.parse("repository:a/b:pull,push")


def owner(origin: str = "https://registry.test", service: str = SERVICE) -> TokenOwner:
    return TokenOwner(origin, "https://auth.test/token", service, "identity")


def test_a_token_is_signed_for_what_is_needed_and_used_again() -> None:
    provider = SelfTokenProvider(issuer(), ["registry.test"], account="mirror")
    found = provider.find(owner(), PUSH, now=1000)
    assert found is not None
    claims = verifier().verify(found.value)
    assert (claims.account, claims.scopes) == ("mirror", PUSH)
    assert found.scopes == PUSH
    assert provider.find(owner(), PUSH, now=1001) is found
    assert provider.find(owner(), PULL, now=1001) is found
    other = provider.find(owner(), ScopeSet.parse("repository:c/d:pull"), now=1001)
    assert other is not None
    assert other is not found
    login = SelfTokenProvider(issuer(), ["registry.test"]).find(owner(), NO_SCOPES, now=0)
    assert login is not None
    assert decoded(login.value)[1]["access"] == []


def test_a_token_is_signed_anew_before_it_ends_or_after_it_was_refused() -> None:
    provider = SelfTokenProvider(issuer(), ["registry.test"])
    first = provider.find(owner(), PULL, now=1000)
    assert first is not None
    half = first.lifetime / 2
    assert provider.find(owner(), PULL, now=999 + half) is first
    # From here on a client with much to send would find it too old, and ask a token server instead.
    second = provider.find(owner(), PULL, now=1000 + half)
    assert second is not first
    assert second is not None
    assert second.fresh(1000 + half, 3600)
    provider.discard(owner(), second)
    assert provider.find(owner(), PULL, now=1000 + half) not in {first, second}


@pytest.mark.parametrize(
    ("registry", "origin", "own"),
    [
        ("registry.test", "https://registry.test", True),
        ("registry.test", "http://registry.test", False),
        ("http://registry.test", "http://registry.test", True),
        ("http://registry.test", "https://registry.test", False),
        ("REGISTRY.test", "https://registry.test", True),
        ("https://registry.test", "https://registry.test", True),
        ("https://registry.test", "http://registry.test", False),
        ("registry.test:443", "https://registry.test", True),
        ("registry.test:443", "http://registry.test", False),
        ("registry.test", "https://registry.test:5000", False),
        ("registry.test:5000", "http://registry.test:5000", False),
        ("localhost:5000", "http://localhost:5000", True),
        ("localhost:5000", "https://localhost:5000", True),
        ("registry.test", "https://evil.registry.test", False),
        ("registry.test", "https://registry.test.evil", False),
        ("[::1]:5000", "http://[::1]:5000", True),
    ],
)
def test_only_the_registries_that_were_named_get_tokens(registry: str, origin: str, own: bool) -> None:
    provider = SelfTokenProvider(issuer(), [registry])
    for _ in range(2):
        assert (provider.find(owner(origin), PULL, now=0) is not None) is own
    assert provider.find(owner(origin, "another service"), PULL, now=0) is None


def test_what_is_remembered_about_origins_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ORIGINS", 3)
    provider = SelfTokenProvider(issuer(), ["registry.test"])
    for number in range(10):
        assert provider.find(owner(f"https://registry{number}.test"), PULL, now=0) is None
        assert len(provider._named) <= 3
    assert provider.find(owner(), PULL, now=0) is not None


def test_tokens_of_other_registries_are_remembered_as_ever() -> None:
    others = MemoryTokenCache()
    provider = SelfTokenProvider(issuer(), ["registry.test"], others=others)
    elsewhere = owner("https://other.test")
    token = Token("x", 100.0, PULL, lifetime=100)
    provider.store(elsewhere, token)
    assert provider.find(elsewhere, PULL, now=0) is others.find(elsewhere, PULL, now=0) is token
    provider.discard(elsewhere, token)
    assert provider.find(elsewhere, PULL, now=0) is None
    provider.store(owner(), token)
    assert others.find(owner(), PULL, now=0) is None


def test_what_it_needs_is_checked_at_once() -> None:
    with pytest.raises(UsageError, match="service"):
        SelfTokenProvider(TokenIssuer(key()), ["registry.test"])
    with pytest.raises(UsageError, match="60 seconds"):
        SelfTokenProvider(issuer(ttl=59), ["registry.test"])
    with pytest.raises(UsageError, match="not one string"):
        SelfTokenProvider(issuer(), "registry.test")
    with pytest.raises(InvalidReferenceError):
        SelfTokenProvider(issuer(), ["registry.test/path"])
    with pytest.raises(UsageError, match="account"):
        SelfTokenProvider(issuer(), ["registry.test"], account="a\nb")
    assert repr(SelfTokenProvider(issuer(), ["b.test", "a.test"])) == "SelfTokenProvider(['a.test', 'b.test'])"
