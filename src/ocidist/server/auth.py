"""Who may do what on the embedded registry: passwords, or tokens of a token server.

Both challenge as docker-registry does, so that every client knows what to do. The users and the verifier come from
``ocidist.issuer``, or are objects with the same methods; nothing of it is loaded for a registry that asks nobody.

Spec: docker registry auth, "How to authenticate" and "Resource Provider Use".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from ocidist.errors import (
    CredentialStoreError,
    DeniedError,
    RateLimitedError,
    ServerError,
    TokenInvalidError,
    UnauthorizedError,
    UsageError,
)
from ocidist.server.refusal import RefusedError, said
from ocidist.wire.challenge import BASIC, BEARER, Challenge, format_challenge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from ocidist.issuer.users import Login, Users
    from ocidist.issuer.verify import TokenVerifier
    from ocidist.server.exchange import Exchange
    from ocidist.wire.scope import ScopeSet

    Authorizer: TypeAlias = Callable[[str, ScopeSet], Awaitable[ScopeSet]]

MAX_LOGIN_CHARS: Final = 2048
"""Longest user name and password together."""

MAX_CHECKS: Final = 64
"""Passwords that are checked or wait for it at once; one more is answered with 429."""


class Guard(Protocol):
    """Decides whether a request is let in."""

    async def admit(self, exchange: Exchange, needed: ScopeSet) -> str:
        """Return who asks if the request may do what it needs to; an empty text for somebody who need not say.

        Args:
            exchange: The request; nothing of its body was read.
            needed: What it does, as scopes.

        Raises:
            RefusedError: It may not (401, with a challenge).
            ResponseError: It may not (403), or cannot be asked just now (429, 503).
        """
        ...


class PasswordGuard:
    """Lets in who has a user name and a password.

    Args:
        users: Who there is: an ``Htpasswd`` file, for example.
        authorize: What each of them may do; everything unless given. Takes the user name and what is needed, and
            returns what is allowed.
        realm: What the password is for, as clients show it.

    Attributes:
        unrestricted: Whether everybody who is let in may read everything; mounts without a source look in all
            repositories then.

    Raises:
        UsageError: The realm cannot be written into a header.
    """

    def __init__(self, users: Users, authorize: Authorizer | None = None, *, realm: str = "registry") -> None:
        self.unrestricted: bool = authorize is None
        self._users = users
        self._authorize = authorize
        self._challenge = _written(Challenge(BASIC, {"realm": realm}))
        self._checks = 0

    async def admit(self, exchange: Exchange, needed: ScopeSet) -> str:
        """Return the user name if it and the password are right and allow what is needed; see ``Guard``."""
        from ocidist.issuer.users import parse_basic  # noqa: PLC0415 -- only registries that ask for passwords need it

        login = parse_basic(exchange.headers.get("authorization", ""), most=MAX_LOGIN_CHARS)
        if login is None or not await self._is_right(login):
            raise _refused("a user name and password are needed", self._challenge)
        if self._authorize is not None and not (await self._authorize(login.name, needed)).covers(needed):
            raise said(DeniedError, 403, "this account may not do that", str(needed))
        return login.name

    async def _is_right(self, login: Login) -> bool:
        if self._checks >= MAX_CHECKS:
            raise RateLimitedError(429, retry_after=1)
        self._checks += 1
        try:
            return await self._users.check(login.name, login.password)
        except CredentialStoreError as error:
            raise said(ServerError, 503, "the users cannot be read") from error
        finally:
            self._checks -= 1


class TokenGuard:
    """Lets in who has a token of a token server that allows what is needed.

    Args:
        verifier: Checks the tokens, and knows the service they have to be for.
        realm: URL of the token server, as clients reach it.

    Raises:
        UsageError: It is no URL, or it or the service cannot be written into a header.
    """

    def __init__(self, verifier: TokenVerifier, *, realm: str) -> None:
        if not realm.startswith(("https://", "http://")):
            raise UsageError("the realm is the URL of a token server")
        self._verifier = verifier
        self._params = {"realm": realm, "service": verifier.service}
        _written(Challenge(BEARER, self._params))

    async def admit(self, exchange: Exchange, needed: ScopeSet) -> str:
        """Return the token's account if it is good and allows what is needed; see ``Guard``.

        Spec: docker registry auth, "Verifying the token" and "Resource Provider Use".
        """
        scheme, _, token = exchange.headers.get("authorization", "").partition(" ")
        if scheme.lower() != BEARER:
            raise self._refused("a token is needed", needed)
        try:
            claims = self._verifier.verify(token.strip(" "))
        except TokenInvalidError as error:
            problem = error.message
        else:
            if claims.scopes.covers(needed):
                return claims.account
            # 401 and not 403, as docker-registry has it: with another token the same client may be let in.
            raise self._refused("the token does not allow this", needed, error="insufficient_scope")
        finally:
            del token  # not for whoever shows the variables of this frame
        raise self._refused(problem, needed, error="invalid_token")

    def _refused(self, text: str, needed: ScopeSet, **more: str) -> RefusedError:
        scope = {"scope": str(needed)} if needed else {}
        return _refused(text, format_challenge(Challenge(BEARER, self._params | scope | more)), str(needed))


def _written(challenge: Challenge) -> str:
    text = format_challenge(challenge)
    if not text.isascii():
        raise UsageError("a challenge is written in ASCII")
    return text


def _refused(text: str, challenge: str, detail: str = "") -> RefusedError:
    return RefusedError(said(UnauthorizedError, 401, text, detail), [("WWW-Authenticate", challenge)])
