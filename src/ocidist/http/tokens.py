"""Access tokens: asking a token server for them, and keeping refresh tokens.

Spec: docker token authentication, "Requesting a Token"; docker OAuth2, "Getting a token".
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import time
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote, quote_plus

import anyio.to_thread
import attrs
import httpx

from ocidist._io.load import load_module
from ocidist.credentials.store import ANONYMOUS, Basic, Credential, IdentityToken
from ocidist.errors import (
    AuthError,
    AuthRealmRefusedError,
    CredentialsRejectedError,
    InvalidCredentialError,
    ScopeDeniedError,
    TokenError,
    TokenRedirectRefusedError,
    UsageError,
)
from ocidist.http.caches import TokenOwner
from ocidist.http.guard import CHECK, AddressGuard
from ocidist.http.logins import Logins
from ocidist.http.retry import monotonic
from ocidist.wire.domains import public_suffixes
from ocidist.wire.egress import Origin, check_realm, resolve
from ocidist.wire.errorbody import parse_errors
from ocidist.wire.redact import MASK, clean_text, redact_url
from ocidist.wire.scope import NO_SCOPES, PULL
from ocidist.wire.token import Token, append_query, get_query, parse_token, post_form

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from ocidist.wire.challenge import Challenge
    from ocidist.wire.egress import EgressPolicy, RealmDecision
    from ocidist.wire.scope import ScopeSet

_log = logging.getLogger("ocidist.http")

MAX_TOKEN_BODY: Final = 128 * 1024
MAX_OWNERS: Final = 1024
_GRANTED: Final = frozenset({200, 201})
_NO_POST: Final = frozenset({404, 405})
_Value = TypeVar("_Value")


@attrs.frozen
class TokenOptions:
    """How tokens are asked for.

    Attributes:
        client_id: The name this client gives itself at the token server.
        force_oauth2: Whether to use the OAuth2 password grant even where a GET request would do.
        offline_token: Whether to ask for a refresh token as well.
        margin: Seconds before its end at which a token counts as expired. It is never kept longer than until 5 seconds,
            or a tenth of its life, before its end; a margin beyond half its life counts as half.
        anonymous_fallback: Whether to pull as nobody, with a warning in the log, where a token server refuses the
            stored credentials: public content stays within reach of a client whose password has expired.
    """

    client_id: str = "ocidist"
    force_oauth2: bool = False
    offline_token: bool = False
    margin: float = 5.0
    anonymous_fallback: bool = False

    def __attrs_post_init__(self) -> None:
        if not self.client_id or self.margin < 0:
            msg = "client_id must not be empty and margin must not be negative"
            raise UsageError(msg)


@attrs.frozen
class Answer:
    """A token server's answer: status and bounded body."""

    status: int
    body: bytes = attrs.field(repr=False)


@lru_cache(maxsize=256)
def identity(credential: Credential) -> str:
    """Return a digest that tells credentials apart without keeping them readable."""
    text = "\0".join((type(credential).__name__, *_secrets(credential)))
    return hashlib.sha256(text.encode()).hexdigest()


def _secrets(credential: Credential) -> tuple[str, ...]:
    return tuple(map(str, attrs.astuple(credential)))


def basic_header(credential: Basic) -> str:
    """Return the Authorization value of a user name and password (RFC 7617, UTF-8)."""
    pair = f"{credential.username}:{credential.password}".encode()
    return "Basic " + base64.b64encode(pair).decode()


class TokenSource:
    """Fetches tokens. Refresh tokens stay bound to the realm, service and identity they were given for.

    Args:
        send: Sends a request to a token server and returns its bounded answer; follows no redirect.
        policy: The egress policy.
        options: How to ask.
    """

    def __init__(
        self, send: Callable[[httpx.Request], Awaitable[Answer]], policy: EgressPolicy, options: TokenOptions
    ) -> None:
        self._send = send
        self._policy = policy
        self._options = options
        self._refresh: dict[TokenOwner, IdentityToken] = {}
        self._untrusted: dict[TokenOwner, RealmDecision] = {}
        self._logins = Logins()

    def owner(self, origin: Origin, challenge: Challenge, credential: Credential) -> TokenOwner:
        """Return whose token a challenge asks for."""
        return TokenOwner(str(origin), challenge.realm or "", challenge.service or "", identity(credential))

    def refusal(self, owner: TokenOwner) -> AuthRealmRefusedError | None:
        """Return why an owner's tokens were fetched without its credentials, or None if they were not."""
        decision = self._untrusted.get(owner)
        return None if decision is None else decision.refusal()

    async def identity_token(self, origin: Origin, challenge: Challenge, credential: Basic) -> IdentityToken | None:
        """Return what the challenge's realm gives in place of a password, None if it gives nothing; keep none of it.

        Raises:
            AuthError: The realm refuses the credentials, or its answer holds no usable token; see ``fetch``.
        """
        once = TokenSource(self._send, self._policy, attrs.evolve(self._options, offline_token=True))
        await once.fetch(origin, challenge, NO_SCOPES, credential)
        # What a realm gives to nobody is no login.
        return once._refresh.get(self.owner(origin, challenge, credential))

    async def fetch(self, origin: Origin, challenge: Challenge, scopes: ScopeSet, credential: Credential) -> Token:
        """Ask the challenge's realm for a token.

        Stored credentials are sent only where the egress policy trusts the realm with them; elsewhere the request is
        anonymous, and the refusal is kept to explain a later failure.

        Raises:
            AuthRealmRefusedError: The realm may not be asked at all, or refuses the anonymous request.
            CredentialsRejectedError: The token server refuses the credentials.
            ScopeDeniedError: The token server answers 403.
            TokenError: The answer holds no usable token.
        """
        decision = await self._decide(origin, challenge.realm or "")
        owner = self.owner(origin, challenge, credential)
        if decision.credentials or credential == ANONYMOUS:
            return await self._ask_as_somebody(decision.url, owner, scopes, credential)
        _remember(self._untrusted, owner, decision)
        try:
            return await self._ask(decision.url, owner, scopes, ANONYMOUS)
        except (CredentialsRejectedError, ScopeDeniedError):
            pass
        raise decision.refusal()

    async def _ask_as_somebody(self, realm: str, owner: TokenOwner, scopes: ScopeSet, credential: Credential) -> Token:
        if credential == ANONYMOUS:
            return await self._ask(realm, owner, scopes, credential)

        async def ask(wanted: ScopeSet) -> Token:
            return await self._ask(realm, owner, wanted, credential)

        refused: CredentialsRejectedError | ScopeDeniedError
        try:
            return await self._logins.fetch(owner, scopes, ask)
        except (CredentialsRejectedError, ScopeDeniedError) as error:
            refused = error
        if self._options.anonymous_fallback and _only_reads(scopes):
            with suppress(AuthError):
                token = await self._ask(realm, owner, scopes, ANONYMOUS)
                _log.warning("the token server of %s refuses the credentials; reading as nobody instead", owner.origin)
                return token
        raise refused

    async def _decide(self, origin: Origin, realm: str) -> RealmDecision:
        elsewhere = Origin.of(resolve(origin, realm, refuse=AuthRealmRefusedError)).host != origin.host
        if elsewhere and not public_suffixes.cache_info().currsize:
            # Whose host that is takes the public suffix list, and reading it is not for the event loop.
            await anyio.to_thread.run_sync(public_suffixes)
        return check_realm(origin, realm, policy=self._policy)

    async def _ask(self, realm: str, owner: TokenOwner, scopes: ScopeSet, credential: Credential) -> Token:
        kept = None if credential == ANONYMOUS else self._refresh.get(owner)
        answer = None if kept is None else await self._by_refresh_token(realm, owner, scopes, kept)
        if answer is None and isinstance(credential, IdentityToken):
            answer = await self._post(realm, owner, scopes, credential)
            if answer.status in _NO_POST:
                msg = f"the token server at {redact_url(realm)} does not take identity tokens ({answer.status})"
                raise TokenError(msg)
        if answer is None and isinstance(credential, Basic) and self._options.force_oauth2:
            answer = await self._post(realm, owner, scopes, credential)
            if answer.status in _NO_POST:
                answer = None
        if answer is None:
            answer = await self._get(realm, owner, scopes, credential)
        if answer.status not in _GRANTED:
            raise _refusal(answer, realm, scopes, (credential, kept))
        return await self._token(answer, owner, scopes, credential)

    async def _by_refresh_token(
        self, realm: str, owner: TokenOwner, scopes: ScopeSet, kept: IdentityToken
    ) -> Answer | None:
        answer = await self._post(realm, owner, scopes, kept)
        if answer.status in _GRANTED:
            return answer
        # The server gave it out and no longer takes it, whatever it says: what the caller gave is still there.
        if self._refresh.get(owner) is kept:
            del self._refresh[owner]
        return None

    async def _get(self, realm: str, owner: TokenOwner, scopes: ScopeSet, credential: Credential) -> Answer:
        account = credential.username if isinstance(credential, Basic) else None
        pairs = get_query(
            owner.service,
            scopes,
            account=account,
            client_id=self._options.client_id,
            offline=self._options.offline_token,
        )
        request = self._request("GET", append_query(realm, pairs), owner)
        if isinstance(credential, Basic):
            request.headers["Authorization"] = basic_header(credential)
        return await self._send(request)

    async def _post(self, realm: str, owner: TokenOwner, scopes: ScopeSet, credential: Credential) -> Answer:
        # The form is made elsewhere: the error of who is cancelled while this waits keeps what is in this frame.
        return await self._send(self._post_request(realm, owner, scopes, credential))

    def _post_request(self, realm: str, owner: TokenOwner, scopes: ScopeSet, credential: Credential) -> httpx.Request:
        form = post_form(
            owner.service,
            scopes,
            client_id=self._options.client_id,
            username=credential.username if isinstance(credential, Basic) else None,
            password=credential.password if isinstance(credential, Basic) else None,
            refresh_token=credential.token if isinstance(credential, IdentityToken) else None,
            offline=self._options.offline_token,
        )
        return self._request("POST", realm, owner, form)

    def _request(self, method: str, url: str, owner: TokenOwner, form: bytes | None = None) -> httpx.Request:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        request = httpx.Request(method, url, headers=headers, content=form)
        registry, realm = Origin.of(owner.origin), Origin.of(url)
        if realm != registry:
            # It is the registry that names it, so where that name leads is looked at once more.
            request.extensions[CHECK] = AddressGuard(registry, realm, self._policy, AuthRealmRefusedError)
        return request

    async def _token(self, answer: Answer, owner: TokenOwner, scopes: ScopeSet, credential: Credential) -> Token:
        token = parse_token(answer.body, requested=scopes, now=monotonic(), wall=time.time())
        if token.refresh_token and credential != ANONYMOUS:
            # One that could not be sent is as good as none.
            with suppress(InvalidCredentialError):
                _remember(self._refresh, owner, IdentityToken(token.refresh_token))
        life = await _jwt_life(token)
        return token if life is None or life >= token.lifetime else token.lasting(life, now=monotonic())


def _only_reads(scopes: ScopeSet) -> bool:
    return len(scopes) > 0 and all(scope.actions == {PULL} for scope in scopes)


def _remember(memory: dict[TokenOwner, _Value], owner: TokenOwner, value: _Value) -> None:
    # A hostile registry may name a new realm each time.
    if owner not in memory and len(memory) >= MAX_OWNERS:
        del memory[next(iter(memory))]
    memory[owner] = value


def _refusal(
    answer: Answer, realm: str, scopes: ScopeSet, secrets: tuple[Credential | None, ...]
) -> CredentialsRejectedError | ScopeDeniedError | TokenRedirectRefusedError | TokenError:
    where = redact_url(realm)
    said = f"the token server at {where} answered {answer.status}{_said(answer.body, secrets)}"
    # OAuth2 says 400 where the basic scheme says 401.
    if answer.status == httpx.codes.UNAUTHORIZED or b"invalid_grant" in answer.body:
        return CredentialsRejectedError(said)
    if answer.status == httpx.codes.FORBIDDEN:
        return ScopeDeniedError(said, scope=str(scopes))
    if httpx.codes.is_redirect(answer.status):
        return TokenRedirectRefusedError(where, "another place", "token servers are asked where they are")
    return TokenError(said)


def _said(body: bytes, secrets: tuple[Credential | None, ...]) -> str:
    # Some servers repeat what they refuse. The longest first: one spelling may be part of another.
    spellings = sorted({each for secret in secrets for each in _spellings(secret)}, key=len, reverse=True)
    text = _without(spellings, body[:4096].decode("utf-8", "replace"))
    told = "; ".join(info.message for info in parse_errors(text.encode()) if info.message)
    # Once more, because JSON has yet other spellings.
    text = clean_text(_without(spellings, told or text), 200)
    return f": {text}" if text else ""


def _without(spellings: list[str], text: str) -> str:
    for spelling in spellings:
        text = text.replace(spelling, MASK)
    return text


def _spellings(credential: Credential | None) -> Iterator[str]:
    """Yield what a secret looks like in what was sent, and in the JSON of those who repeat it."""
    if isinstance(credential, Basic):
        yield basic_header(credential).partition(" ")[2]
        secret = credential.password
    elif isinstance(credential, IdentityToken):
        secret = credential.token
    else:
        return
    yield from (secret, quote_plus(secret), quote(secret, safe=""))
    for shown in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        yield shown
        # As Go writes it.
        yield shown.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


async def _jwt_life(token: Token) -> float | None:
    """Return the token's life by its own claims, in seconds; None if it is opaque.

    The signature is the registry's business, and the claims only ever shorten a life: ``exp - iat`` counts from the
    receipt, so that a wrong clock here does not matter.
    """
    if token.value.count(".") != 2:
        return None
    await load_module("jwt")
    import jwt  # noqa: PLC0415 -- slow to import, and not needed for opaque tokens

    try:
        claims = jwt.decode(token.value, options={"verify_signature": False, "verify_exp": False})
        life = float(claims["exp"]) - float(claims["iat"])
    except (jwt.PyJWTError, KeyError, TypeError, ValueError, OverflowError):
        return None
    return life if life > 0 else None
