from __future__ import annotations

from typing import Any

import pytest

from ocidist.errors import UsageError
from ocidist.issuer import MemoryRefreshTokens, RefreshGrant
from ocidist.issuer.refresh import RefreshToken


def grant(account: str = "alice") -> RefreshGrant:
    return RefreshGrant(account, "service", "client", "stamp")


async def test_what_is_kept_is_found_until_it_is_revoked() -> None:
    store = MemoryRefreshTokens()
    token = RefreshToken()
    await store.put(token.digest, grant())
    assert await store.get(token.digest) == grant()
    assert await store.get(RefreshToken().digest) is None
    await store.revoke(token.digest)
    await store.revoke(token.digest)
    assert await store.get(token.digest) is None


async def test_all_tokens_of_an_account_can_be_revoked_at_once() -> None:
    store = MemoryRefreshTokens()
    for n in range(3):
        await store.put(f"alice{n}", grant())
    await store.put("bob", grant("bob"))
    await store.revoke_account("alice")
    await store.revoke_account("nobody")
    assert [await store.get(f"alice{n}") for n in range(3)] == [None] * 3
    assert await store.get("bob") == grant("bob")


async def test_tokens_that_nobody_uses_end() -> None:
    now = 0.0
    store = MemoryRefreshTokens(lifetime=10, clock=lambda: now)
    for digest in ("used", "unused"):
        await store.put(digest, grant())
    now = 9.0
    assert await store.get("used")
    now = 10.0
    assert await store.get("used")
    assert await store.get("unused") is None
    now = 20.0
    assert await store.get("used") is None


@pytest.mark.parametrize(("limits", "kept"), [({"max_tokens": 3}, 3), ({"max_per_account": 2}, 2)])
async def test_the_number_of_tokens_is_bounded_and_the_least_used_goes(limits: dict[str, Any], kept: int) -> None:
    store = MemoryRefreshTokens(**limits)
    await store.put("first", grant())
    for n in range(10):
        await store.put(str(n), grant())
        assert await store.get("first"), "it is used all the time"
    found = [await store.get(str(n)) for n in range(10)]
    assert sum(each is not None for each in found) == kept - 1
    assert found[-1] is not None


async def test_nobody_can_drive_out_the_tokens_of_others_with_many_of_their_own() -> None:
    store = MemoryRefreshTokens(max_tokens=100, max_per_account=10)
    await store.put("alice", grant())
    for n in range(1000):
        await store.put(str(n), grant("bob"))
    assert await store.get("alice")


def test_a_token_is_random_and_not_shown() -> None:
    tokens = [RefreshToken() for _ in range(3)]
    assert len({token.text for token in tokens}) == 3
    assert all(len(token.text) >= 43 for token in tokens)
    assert tokens[0].text not in repr(tokens[0])
    assert len(tokens[0].digest) == 64


@pytest.mark.parametrize("limits", [{"max_tokens": 0}, {"max_per_account": 0}, {"lifetime": 0}])
def test_limits_are_positive(limits: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        MemoryRefreshTokens(**limits)
