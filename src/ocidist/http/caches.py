"""Caches of challenges and tokens: what a client remembers about authentication, host by host.

Both are protocols, so that a service can share or persist them. The methods are plain functions and must not block.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

import attrs

from ocidist.wire.redact import redact_url

if TYPE_CHECKING:
    from ocidist.wire.challenge import Challenge
    from ocidist.wire.scope import ScopeSet
    from ocidist.wire.token import Token


@attrs.frozen
class TokenOwner:
    """Whose tokens they are: a token is never used for another host, token server or identity.

    Attributes:
        origin: Origin of the registry (``https://host:port``).
        realm: URL of the token server.
        service: The service the token is for.
        identity: A digest of the credential; the credential itself is not kept. Not shown, because short passwords
            can be guessed from it.
    """

    origin: str
    realm: str = attrs.field(repr=lambda realm: repr(redact_url(realm)))
    service: str
    identity: str = attrs.field(repr=False)


class ChallengeCache(Protocol):
    """Remembers how a registry wants to be authenticated."""

    def get(self, origin: str) -> Challenge | None:
        """Return the newest challenge of an origin, or None."""
        ...

    def set(self, origin: str, challenge: Challenge) -> None:
        """Remember a challenge."""
        ...

    def delete(self, origin: str) -> None:
        """Forget an origin's challenge."""
        ...


class TokenCache(Protocol):
    """Remembers tokens until they expire."""

    def find(self, owner: TokenOwner, scopes: ScopeSet, *, now: float) -> Token | None:
        """Return a fresh token whose scopes cover *scopes*, or None. *now* is monotonic, in seconds."""
        ...

    def store(self, owner: TokenOwner, token: Token) -> None:
        """Remember a token."""
        ...

    def discard(self, owner: TokenOwner, token: Token) -> None:
        """Forget a token that a registry refused."""
        ...


class MemoryChallengeCache:
    """Challenges in memory, for as long as the client lives.

    Args:
        max_entries: Most challenges to keep; beyond that the one that was learned first goes.
    """

    def __init__(self, max_entries: int = 4096) -> None:
        self._max = max_entries
        self._entries: dict[str, Challenge] = {}

    def get(self, origin: str) -> Challenge | None:
        """Return the newest challenge of an origin, or None."""
        return self._entries.get(origin)

    def set(self, origin: str, challenge: Challenge) -> None:
        """Remember a challenge."""
        self._entries[origin] = challenge
        if len(self._entries) > self._max:
            del self._entries[next(iter(self._entries))]

    def delete(self, origin: str) -> None:
        """Forget an origin's challenge."""
        self._entries.pop(origin, None)


class MemoryTokenCache:
    """Tokens in memory, the least recently used dropped first.

    Args:
        max_entries: Most tokens to keep.
    """

    def __init__(self, max_entries: int = 1024) -> None:
        self._max = max_entries
        self._tokens: OrderedDict[tuple[TokenOwner, ScopeSet], Token] = OrderedDict()
        self._by_owner: dict[TokenOwner, dict[ScopeSet, Token]] = {}
        # A mirror has a token for each repository, and must not look at all of them for one more.
        self._by_resource: dict[tuple[TokenOwner, object], dict[ScopeSet, Token]] = {}

    def find(self, owner: TokenOwner, scopes: ScopeSet, *, now: float) -> Token | None:
        """Return a fresh token whose scopes cover *scopes*, or None."""
        owned = self._by_owner.get(owner, {})
        found = owned.get(scopes)
        if found is None or not found.fresh(now):
            first = next(iter(scopes), None)
            # What covers all of them has the first one, too.
            some = owned if first is None else self._by_resource.get((owner, first.resource), {})
            found = next((token for token in some.values() if token.scopes.covers(scopes) and token.fresh(now)), None)
        if found is not None:
            self._tokens.move_to_end((owner, found.scopes))
        return found

    def store(self, owner: TokenOwner, token: Token) -> None:
        """Remember a token."""
        key = (owner, token.scopes)
        self._tokens[key] = token
        self._tokens.move_to_end(key)
        self._by_owner.setdefault(owner, {})[token.scopes] = token
        for scope in token.scopes:
            self._by_resource.setdefault((owner, scope.resource), {})[token.scopes] = token
        while len(self._tokens) > self._max:
            (oldest, scopes), _ = self._tokens.popitem(last=False)
            self._drop(oldest, scopes)

    def discard(self, owner: TokenOwner, token: Token) -> None:
        """Forget a token that a registry refused."""
        if self._by_owner.get(owner, {}).get(token.scopes) is token:
            del self._tokens[owner, token.scopes]
            self._drop(owner, token.scopes)

    def _drop(self, owner: TokenOwner, scopes: ScopeSet) -> None:
        owned = self._by_owner[owner]
        del owned[scopes]
        if not owned:
            del self._by_owner[owner]
        for scope in scopes:
            known = self._by_resource[owner, scope.resource]
            del known[scopes]
            if not known:
                del self._by_resource[owner, scope.resource]
