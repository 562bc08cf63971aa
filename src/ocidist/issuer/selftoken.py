"""A client that signs its own tokens: for services that hold the key which a registry trusts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocidist.errors import UsageError
from ocidist.http.caches import MemoryTokenCache
from ocidist.issuer.token import MIN_REQUESTED_TTL, TokenRequest, check_name
from ocidist.model.reference import RegistryName
from ocidist.wire.egress import Origin
from ocidist.wire.token import Token

if TYPE_CHECKING:
    from collections.abc import Collection

    from ocidist.http.caches import TokenCache, TokenOwner
    from ocidist.issuer.token import TokenIssuer
    from ocidist.wire.scope import ScopeSet

MAX_ORIGINS: Final = 1024
_PORTS: Final = {"http": 80, "https": 443}


class SelfTokenProvider:
    """The token cache of a client that signs its own tokens: ``Client(token_cache=SelfTokenProvider(...))``.

    Where a client would look for a token it has, and ask the token server if it has none, it is given one that was just
    signed, with the scopes that the request needs and no others. So the token server is never asked for these
    registries; it need not even run.

    Tokens are signed for the registries named here and for the issuer's service only: a registry that asks for a token
    of another one does not get it.

    Args:
        issuer: What signs. It needs a ``service``, and tokens that live for a minute at least.
        registries: The registries, as ``[scheme://]host[:port]``. Where no scheme is given, tokens go there over https,
            and over http on loopback only.
        account: Who the tokens say the client is.
        others: Where tokens for all other registries are remembered; in memory by default.

    Raises:
        UsageError: The issuer has no service, its tokens are too short-lived, or the account does not print.
        InvalidReferenceError: A registry's name does not follow the grammar.
    """

    def __init__(
        self,
        issuer: TokenIssuer,
        registries: Collection[str],
        *,
        account: str = "",
        others: TokenCache | None = None,
    ) -> None:
        if issuer.service is None:
            raise UsageError("a client that signs its own tokens needs an issuer with a service")
        if issuer.ttl < MIN_REQUESTED_TTL:
            raise UsageError(f"a client that signs its own tokens needs them to live {MIN_REQUESTED_TTL:g} seconds")
        if isinstance(registries, str):
            raise UsageError("registries is a collection of names, not one string")
        self._issuer = issuer
        self._names = frozenset(map(RegistryName.parse, registries))
        self._account = check_name("account", account, empty=True)
        self._named: dict[str, bool] = {}
        self._own = MemoryTokenCache()
        self._others = others or MemoryTokenCache()

    def __repr__(self) -> str:
        return f"SelfTokenProvider({sorted(map(str, self._names))})"

    def find(self, owner: TokenOwner, scopes: ScopeSet, *, now: float) -> Token | None:
        """Return a token for what is needed, signed just now if there is none.

        Args:
            owner: Whose token it is to be.
            scopes: What it has to allow.
            now: When it has to be good, in seconds of the monotonic clock.
        """
        if not self._is_own(owner):
            return self._others.find(owner, scopes, now=now)
        found = self._own.find(owner, scopes, now=now)
        # A client that needs one for longer than that is content with half a life: it must not ask elsewhere for more.
        if found is None or not found.fresh(now, found.lifetime / 2):
            made = self._issuer.issue(TokenRequest(self._account, owner.service, scopes))
            found = Token(made.token, now + made.expires_in, scopes, lifetime=made.expires_in)
            self._own.store(owner, found)
        return found

    def store(self, owner: TokenOwner, token: Token) -> None:
        """Remember a token of another registry."""
        (self._own if self._is_own(owner) else self._others).store(owner, token)

    def discard(self, owner: TokenOwner, token: Token) -> None:
        """Forget a token that a registry refused."""
        (self._own if self._is_own(owner) else self._others).discard(owner, token)

    def _is_own(self, owner: TokenOwner) -> bool:
        return owner.service == self._issuer.service and self._is_named(owner.origin)

    def _is_named(self, origin: str) -> bool:
        # Asked for every request, and of a few registries only.
        found = self._named.get(origin)
        if found is None:
            found = any(_names(each, Origin.of(origin)) for each in self._names)
            if len(self._named) >= MAX_ORIGINS:
                self._named.clear()
            self._named[origin] = found
        return found


def _names(name: RegistryName, origin: Origin) -> bool:
    if (name.scheme or ("http" if name.is_loopback and origin.scheme == "http" else "https")) != origin.scheme:
        return False
    return (name.host, name.port or _PORTS[origin.scheme]) == (origin.host, origin.port)
