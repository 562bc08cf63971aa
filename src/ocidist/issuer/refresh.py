"""Refresh tokens: long-lived, for one account at one service, and good for nothing but further tokens.

Spec: docker OAuth2, "Refresh token format"; docker registry auth, "Refresh Tokens".
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from ocidist.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN_BYTES: Final = 32
"""Random bytes of a refresh token: too many to guess, so a plain digest of them can be kept."""

MAX_TOKENS: Final = 10_000
MAX_PER_ACCOUNT: Final = 100
LIFETIME: Final = 90 * 24 * 3600.0
"""Seconds after which a refresh token that nobody used ends."""

MAX_TOKEN_CHARS: Final = 256


@attrs.frozen
class RefreshGrant:
    """What a refresh token is good for.

    Attributes:
        account: The account it was given to.
        service: The service it gets tokens for.
        client_id: The client it was given to, as that called itself; empty if it did not. It is there to be looked at:
            programs share what one of them has stored in ``config.json``, so any client may use it.
        stamp: What ``Users.stamp`` said then: the token ends when the password changes.
    """

    account: str
    service: str
    client_id: str
    stamp: str = attrs.field(repr=False)


class RefreshStore(Protocol):
    """Keeps what refresh tokens are good for. It is given digests, never the tokens themselves."""

    async def put(self, digest: str, grant: RefreshGrant) -> None:
        """Keep a grant."""
        ...

    async def get(self, digest: str) -> RefreshGrant | None:
        """Return a grant, None if there is none or it ended."""
        ...

    async def revoke(self, digest: str) -> None:
        """Forget a grant."""
        ...

    async def revoke_account(self, account: str) -> None:
        """Forget all grants of an account."""
        ...


@attrs.frozen
class RefreshToken:
    """A refresh token; not shown.

    Attributes:
        text: What the client has.
    """

    text: str = attrs.field(factory=lambda: secrets.token_urlsafe(TOKEN_BYTES), repr=lambda _: "'***'")

    @property
    def digest(self) -> str:
        """What a store keeps in its place: SHA-256, in hexadecimal digits."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()


@attrs.define
class _Entry:
    grant: RefreshGrant
    ends: float


class MemoryRefreshTokens:
    """Grants in memory, for one process; they are gone when it ends.

    Args:
        max_tokens: Most grants; beyond that the one that was not used for longest goes.
        max_per_account: Most grants of one account; likewise.
        lifetime: Seconds after which a grant that nobody used ends.
        clock: Seconds from any moment on.

    Raises:
        UsageError: A number is not positive.
    """

    def __init__(
        self,
        *,
        max_tokens: int = MAX_TOKENS,
        max_per_account: int = MAX_PER_ACCOUNT,
        lifetime: float = LIFETIME,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if min(max_tokens, max_per_account, lifetime) <= 0:
            raise UsageError("max_tokens, max_per_account and lifetime must be positive")
        self._max = max_tokens
        self._max_per_account = max_per_account
        self._lifetime = lifetime
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._by_account: dict[str, OrderedDict[str, None]] = {}

    def __repr__(self) -> str:
        return f"<MemoryRefreshTokens with {len(self._entries)} tokens>"

    async def put(self, digest: str, grant: RefreshGrant) -> None:
        """Keep a grant."""
        owned = self._by_account.setdefault(grant.account, OrderedDict())
        owned[digest] = None
        self._entries[digest] = _Entry(grant, self._clock() + self._lifetime)
        if len(owned) > self._max_per_account:
            self._drop(next(iter(owned)))
        if len(self._entries) > self._max:
            self._drop(next(iter(self._entries)))

    async def get(self, digest: str) -> RefreshGrant | None:
        """Return a grant, None if there is none or it ended; using it makes it live on."""
        entry = self._entries.get(digest)
        if entry is None:
            return None
        if entry.ends <= self._clock():
            self._drop(digest)
            return None
        entry.ends = self._clock() + self._lifetime
        self._entries.move_to_end(digest)
        self._by_account[entry.grant.account].move_to_end(digest)
        return entry.grant

    async def revoke(self, digest: str) -> None:
        """Forget a grant."""
        self._drop(digest)

    async def revoke_account(self, account: str) -> None:
        """Forget all grants of an account."""
        for digest in tuple(self._by_account.get(account, ())):
            self._drop(digest)

    def _drop(self, digest: str) -> None:
        entry = self._entries.pop(digest, None)
        if entry is None:
            return
        owned = self._by_account[entry.grant.account]
        del owned[digest]
        if not owned:
            del self._by_account[entry.grant.account]
