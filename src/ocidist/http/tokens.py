"""Access tokens: asking a token server for them, and keeping refresh tokens.

Spec: docker token authentication, "Requesting a Token"; docker OAuth2, "Getting a token".
"""

from __future__ import annotations

import base64
import hashlib
import time
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import attrs
import httpx

from ocidist.credentials.store import ANONYMOUS, Basic, Credential, IdentityToken
from ocidist.errors import (
    CredentialsRejectedError,
    RedirectRefusedError,
    ScopeDeniedError,
    TokenError,
    UsageError,
)
from ocidist.http.caches import TokenOwner
from ocidist.http.retry import monotonic
from ocidist.wire.egress import check_realm
from ocidist.wire.redact import clean_text, redact_url
from ocidist.wire.retryafter import parse_retry_after
from ocidist.wire.token import Token, append_query, get_query, parse_token, post_form

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ocidist.errors import AuthRealmRefusedError
    from ocidist.wire.challenge import Challenge
    from ocidist.wire.egress import EgressPolicy, Origin, RealmDecision
    from ocidist.wire.scope import ScopeSet

MAX_TOKEN_BODY = 128 * 1024
MAX_OWNERS = 1024
_NO_POST = frozenset({404, 405})
_Value = TypeVar("_Value")


@attrs.frozen
class TokenOptions:
    """How tokens are asked for.

    Attributes:
        client_id: The name this client gives itself at the token server.
        force_oauth2: Whether to use the OAuth2 password grant even where a GET request would do.
        offline_token: Whether to ask for a refresh token as well.
        margin: Seconds before its end at which a token counts as expired.
    """

    client_id: str = "ocidist"
    force_oauth2: bool = False
    offline_token: bool = False
    margin: float = 5.0

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
    fields = attrs.astuple(credential)
    text = "\0".join((type(credential).__name__, *fields))
    return hashlib.sha256(text.encode()).hexdigest()


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

    def owner(self, origin: Origin, challenge: Challenge, credential: Credential) -> TokenOwner:
        """Return whose token a challenge asks for."""
        return TokenOwner(str(origin), challenge.realm or "", challenge.service or "", identity(credential))

    def refusal(self, owner: TokenOwner) -> AuthRealmRefusedError | None:
        """Return why an owner's tokens were fetched without its credentials, or None if they were not."""
        decision = self._untrusted.get(owner)
        return None if decision is None else decision.refusal()

    async def fetch(self, origin: Origin, challenge: Challenge, scopes: ScopeSet, credential: Credential) -> Token:
        """Ask the challenge's realm for a token.

        Stored credentials are sent only where the egress policy trusts the realm with them; elsewhere the request is
        anonymous, and the refusal is kept to explain a later failure.

        Raises:
            AuthRealmRefusedError: The realm may not be asked at all, or refuses the anonymous request.
            CredentialsRejectedError: The token server answers 401.
            ScopeDeniedError: The token server answers 403.
            TokenError: The answer holds no usable token.
        """
        decision = check_realm(str(origin), challenge.realm or "", policy=self._policy)
        owner = self.owner(origin, challenge, credential)
        if decision.credentials or credential == ANONYMOUS:
            return await self._ask(decision.url, owner, scopes, credential)
        _remember(self._untrusted, owner, decision)
        try:
            return await self._ask(decision.url, owner, scopes, ANONYMOUS)
        except (CredentialsRejectedError, ScopeDeniedError):
            pass
        raise decision.refusal()

    async def _ask(self, realm: str, owner: TokenOwner, scopes: ScopeSet, credential: Credential) -> Token:
        refresh = credential if isinstance(credential, IdentityToken) else self._refresh.get(owner)
        if credential == ANONYMOUS:
            refresh = None
        if refresh is not None:
            answer = await self._post(realm, owner, scopes, refresh)
            if answer.status not in _NO_POST and not (answer.status in {400, 401} and isinstance(credential, Basic)):
                return self._token(answer, realm, owner, scopes)
            if isinstance(credential, IdentityToken):
                msg = f"the token server at {redact_url(realm)} does not take identity tokens ({answer.status})"
                raise TokenError(msg)
            # A refresh token that the server gave out and no longer takes: the password is still there.
            self._refresh.pop(owner, None)
        if isinstance(credential, Basic) and self._options.force_oauth2:
            answer = await self._post(realm, owner, scopes, credential)
            if answer.status not in _NO_POST:
                return self._token(answer, realm, owner, scopes)
        return self._token(await self._get(realm, owner, scopes, credential), realm, owner, scopes)

    async def _get(self, realm: str, owner: TokenOwner, scopes: ScopeSet, credential: Credential) -> Answer:
        account = credential.username if isinstance(credential, Basic) else None
        pairs = get_query(
            owner.service,
            scopes,
            account=account,
            client_id=self._options.client_id,
            offline=self._options.offline_token,
        )
        request = _token_request("GET", append_query(realm, pairs))
        if isinstance(credential, Basic):
            request.headers["Authorization"] = basic_header(credential)
        return await self._send(request)

    async def _post(self, realm: str, owner: TokenOwner, scopes: ScopeSet, credential: Credential) -> Answer:
        form = post_form(
            owner.service,
            scopes,
            client_id=self._options.client_id,
            username=credential.username if isinstance(credential, Basic) else None,
            password=credential.password if isinstance(credential, Basic) else None,
            refresh_token=credential.token if isinstance(credential, IdentityToken) else None,
            offline=self._options.offline_token,
        )
        return await self._send(_token_request("POST", realm, form))

    def _token(self, answer: Answer, realm: str, owner: TokenOwner, scopes: ScopeSet) -> Token:
        where = redact_url(realm)
        match answer.status:
            case 200 | 201:
                token = parse_token(answer.body, requested=scopes, now=monotonic(), wall=time.time())
            case 401:
                msg = f"the token server at {where} answered 401{_said(answer.body)}"
                raise CredentialsRejectedError(msg)
            case 403:
                msg = f"the token server at {where} answered 403{_said(answer.body)}"
                raise ScopeDeniedError(msg, scope=str(scopes))
            case status if 300 <= status < 400:
                raise RedirectRefusedError(where, "another place", "token servers are asked where they are")
            case status:
                msg = f"the token server at {where} answered {status}{_said(answer.body)}"
                raise TokenError(msg)
        if token.refresh_token and identity(ANONYMOUS) != owner.identity:
            _remember(self._refresh, owner, IdentityToken(token.refresh_token))
        life = _jwt_life(token)
        return token if life is None or life >= token.lifetime else token.lasting(life, now=monotonic())


def _remember(memory: dict[TokenOwner, _Value], owner: TokenOwner, value: _Value) -> None:
    # A hostile registry may name a new realm each time.
    if len(memory) >= MAX_OWNERS:
        del memory[next(iter(memory))]
    memory[owner] = value


def _token_request(method: str, url: str, form: bytes | None = None) -> httpx.Request:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    if form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    return httpx.Request(method, url, headers=headers, content=form)


def _said(body: bytes) -> str:
    text = clean_text(body[:512].decode("utf-8", "replace"), 200)
    return f": {text}" if text else ""


def _jwt_life(token: Token) -> float | None:
    """Return the token's life by its own claims, in seconds; None if it is opaque.

    The signature is the registry's business, and the claims only ever shorten a life: ``exp - iat`` counts from the
    receipt, so that a wrong clock here does not matter.
    """
    if token.value.count(".") != 2:
        return None
    import jwt  # noqa: PLC0415 -- slow to import, and not needed for opaque tokens

    try:
        claims = jwt.decode(token.value, options={"verify_signature": False, "verify_exp": False})
        life = float(claims["exp"]) - float(claims["iat"])
    except (jwt.PyJWTError, KeyError, TypeError, ValueError, OverflowError):
        return None
    return life if life > 0 else None


def retry_after_of(response: httpx.Response) -> float | None:
    """Return the seconds a response asks to wait, or None."""
    value = response.headers.get("Retry-After")
    return None if value is None else parse_retry_after(value, now=time.time())
