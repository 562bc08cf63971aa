"""A token server as an ASGI application: who asks, what they may do, and a token that says so.

Spec: docker registry auth, "Requesting a Token" (GET); docker OAuth2, "Getting a token" (POST).
"""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import attrs

from ocidist.errors import CredentialStoreError, UsageError
from ocidist.issuer.exchange import ClientGoneError, Exchange, Form, RefusedError
from ocidist.issuer.grants import grant, known
from ocidist.issuer.refresh import MAX_TOKEN_CHARS, RefreshGrant, RefreshToken
from ocidist.issuer.token import TokenRequest
from ocidist.issuer.users import Login, parse_basic
from ocidist.wire.scope import NO_SCOPES, ScopeSet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocidist.issuer.exchange import Receive, Scope, Send
    from ocidist.issuer.grants import Authorizer
    from ocidist.issuer.refresh import RefreshStore
    from ocidist.issuer.token import TokenIssuer, TokenResponse
    from ocidist.issuer.users import Users

FORM: Final = "application/x-www-form-urlencoded"
KIB: Final = 1024

# RFC 6749, appendix A.1: what client identifiers are made of.
_CLIENT_ID: Final = re.compile(r"[\x20-\x7e]*", re.ASCII)

_logger = logging.getLogger("ocidist.issuer")


@attrs.frozen(kw_only=True)
class TokenLimits:
    """What a token server takes at most.

    Attributes:
        max_request: Bytes of a query or a form.
        max_fields: Fields of a query or a form.
        max_field: Characters of a user name, password, service or client identifier.
        max_scopes: Resources in one request.
        max_checks: Passwords that are checked or wait for it at once; one more is answered with 429.
        idle: Seconds for a form to come.

    Raises:
        UsageError: A number is not positive.
    """

    max_request: int = 16 * KIB
    max_fields: int = 128
    max_field: int = KIB
    max_scopes: int = 100
    max_checks: int = 64
    idle: float = 10

    def __attrs_post_init__(self) -> None:
        """Check the numbers."""
        for name in attrs.fields_dict(type(self)):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} must be positive")


@attrs.frozen
class _Asker:
    """Who asks for a token, and for which client.

    Attributes:
        account: Empty for somebody anonymous.
        client_id: Empty if the client did not say.
        stamp: What their refresh tokens depend on; None for somebody anonymous.
        refresh_token: The one they came with.
    """

    account: str = ""
    client_id: str = ""
    stamp: str | None = attrs.field(default=None, repr=False)
    refresh_token: RefreshToken | None = None


class TokenApp:
    """A token server: an ASGI application that answers under one path.

    It takes GET requests with a user name and password or without, and OAuth2 POST requests with a password or a
    refresh token. What is granted is what *authorize* allows of what was asked for; having less, or nothing, is no
    error here. It has to be served over TLS, and does not count failed logins: a proxy before it can do both.

    Args:
        issuer: What signs; it needs a ``service``. Requests for other services are refused.
        users: Who there is.
        authorize: Decides what an account may do; see ``Authorizer``.
        anonymous: Whether requests without a user name are asked about too, under the empty name, or refused.
        refresh: Where refresh tokens are kept, for example ``MemoryRefreshTokens()``; without it none are given out.
        path: The path of the realm.
        realm: What the password is for, as clients show it.
        limits: How much is taken.

    Raises:
        UsageError: The issuer has no service, or the realm does not print.

    Spec: docker registry auth, "Authorization Server Endpoint Descriptions".
    """

    def __init__(
        self,
        issuer: TokenIssuer,
        users: Users,
        authorize: Authorizer,
        *,
        anonymous: bool = True,
        refresh: RefreshStore | None = None,
        path: str = "/token",
        realm: str = "token server",
        limits: TokenLimits | None = None,
    ) -> None:
        if issuer.service is None:
            raise UsageError("a token server needs an issuer with a service")
        self._issuer = issuer
        self._service = issuer.service
        self._users = users
        self._authorize = authorize
        self._anonymous = anonymous
        self._refresh = refresh
        self._path = path
        self._challenge = ("WWW-Authenticate", f'Basic realm="{_quotable(realm)}",charset="UTF-8"')
        self._limits = limits or TokenLimits()
        self._checks = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope: ASGI's entry point.

        Raises:
            UsageError: The scope is neither ``http`` nor ``lifespan``.
        """
        match scope["type"]:
            case "http":
                await self._answer(Exchange(scope, receive, send))
            case "lifespan":
                await _live(receive, send)
            case kind:
                raise UsageError(f"a token server does not serve {kind}")

    async def _answer(self, exchange: Exchange) -> None:
        try:
            response = await self._serve(exchange)
        except ClientGoneError:
            return
        except RefusedError as error:
            await _refuse(exchange, error)
        except CredentialStoreError as error:
            _logger.warning("no token: %s", error)
            await _refuse(exchange, RefusedError(503, "temporarily_unavailable", "the users cannot be read"))
        except Exception:
            _logger.exception("no token: the token server failed")
            await _refuse(exchange, RefusedError(500, "server_error", "the token server failed"))
        else:
            await exchange.respond(200, response.to_json())

    async def _serve(self, exchange: Exchange) -> TokenResponse:
        if exchange.path != self._path:
            raise RefusedError(404, "invalid_request", "there is nothing here")
        if exchange.method == "GET":
            return await self._get(exchange)
        if exchange.method == "POST":
            return await self._post(exchange)
        raise RefusedError(405, "invalid_request", "use GET or POST", (("Allow", "GET, POST"),))

    # --- the two ways to ask -----------------------------------------------------------------------------------------

    async def _get(self, exchange: Exchange) -> TokenResponse:
        form = Form(exchange.query(self._limits.max_request), most=self._limits.max_fields)
        self._check_service(self._field(form, "service") or self._service)
        client_id = self._client_id(form)
        scopes = self._scopes(form.all("scope"))
        login = self._login(exchange.header("authorization"))
        asker = _Asker(client_id=client_id) if login is None else await self._known(login, client_id)
        offline = self._field(form, "offline_token") == "true"
        return await self._granted(asker, scopes, offline=offline)

    async def _post(self, exchange: Exchange) -> TokenResponse:
        kind = (exchange.header("content-type") or "").partition(";")[0].strip().lower()
        if kind != FORM:
            raise RefusedError(415, "invalid_request", f"send a form: {FORM}")
        limits = self._limits
        form = Form(await exchange.body(limits.max_request, limits.idle), most=limits.max_fields)
        service, client_id = self._field(form, "service"), self._client_id(form)
        if not service or not client_id:
            raise RefusedError(400, "invalid_request", "service and client_id are required")
        self._check_service(service)
        # One field, by OAuth2; Podman and skopeo send several.
        scopes = self._scopes(form.all("scope"))
        match self._field(form, "grant_type"):
            case "password":
                _require(form, "username", "password")
                login = Login(self._field(form, "username"), self._field(form, "password"))
                asker = await self._known(login, client_id)
            case "refresh_token":
                _require(form, "refresh_token")
                asker = await self._holder(_Asker(client_id=client_id, refresh_token=self._refresh_token(form)))
            case _:
                _require(form, "grant_type")
                raise RefusedError(400, "unsupported_grant_type", "use the grant type password or refresh_token")
        return await self._granted(asker, scopes, offline=self._field(form, "access_type") == "offline")

    def _field(self, form: Form, name: str, *, most: int | None = None) -> str:
        return form.one(name, most=most or self._limits.max_field)

    def _client_id(self, form: Form) -> str:
        found = self._field(form, "client_id")
        if _CLIENT_ID.fullmatch(found) is None:
            raise RefusedError(400, "invalid_request", "a client_id is made of ASCII that prints")
        return found

    def _refresh_token(self, form: Form) -> RefreshToken:
        return RefreshToken(self._field(form, "refresh_token", most=MAX_TOKEN_CHARS))

    def _check_service(self, service: str) -> None:
        if service != self._service:
            raise RefusedError(400, "invalid_request", "tokens for this service are not given out here")

    def _scopes(self, texts: list[str]) -> ScopeSet:
        words = [word for text in texts for word in text.split(" ") if word]
        if len(words) > self._limits.max_scopes:
            raise RefusedError(400, "invalid_scope", f"at most {self._limits.max_scopes} scopes are taken")
        try:
            return known(ScopeSet.parse(" ".join(words)))
        except UsageError:
            raise RefusedError(400, "invalid_scope", "a scope holds characters that no scope may hold") from None

    # --- who asks ----------------------------------------------------------------------------------------------------

    def _login(self, header: str | None) -> Login | None:
        if header is None:
            if self._anonymous:
                return None
            raise RefusedError(401, "invalid_client", "a user name and password are required", (self._challenge,))
        login = parse_basic(header, most=2 * self._limits.max_field)
        del header  # not for whoever shows the variables of this frame
        if login is None:
            raise RefusedError(401, "invalid_client", "send a user name and password", (self._challenge,))
        return login

    async def _known(self, login: Login, client_id: str) -> _Asker:
        with self._room():
            right = await self._users.check(login.name, login.password)
        stamp = await self._users.stamp(login.name) if right else None
        if stamp is None:
            # What OAuth2 would answer with 400: Docker's clients tell their user about a wrong password after 401 only.
            _logger.info("no token: wrong password or no such user")
            raise RefusedError(401, "invalid_grant", "the user name or password is wrong", (self._challenge,))
        return _Asker(login.name, client_id, stamp)

    @contextmanager
    def _room(self) -> Iterator[None]:
        if self._checks >= self._limits.max_checks:
            raise RefusedError(429, "temporarily_unavailable", "too many logins at once", (("Retry-After", "1"),))
        self._checks += 1
        try:
            yield
        finally:
            self._checks -= 1

    async def _holder(self, asker: _Asker) -> _Asker:
        if self._refresh is not None and asker.refresh_token is not None:
            digest = asker.refresh_token.digest
            found = await self._refresh.get(digest)
            if found is not None and found.service == self._service:
                if found.stamp == await self._users.stamp(found.account):
                    return attrs.evolve(asker, account=found.account, stamp=found.stamp)
                await self._refresh.revoke(digest)
        raise RefusedError(400, "invalid_grant", "the refresh token is not good, or not good any more")

    # --- what they get -----------------------------------------------------------------------------------------------

    async def _granted(self, asker: _Asker, scopes: ScopeSet, *, offline: bool) -> TokenResponse:
        allowed = grant(scopes, await self._authorize(asker.account, scopes)) if scopes else NO_SCOPES
        try:
            response = self._issuer.issue(TokenRequest(asker.account, self._service, allowed))
        except UsageError as error:
            raise RefusedError(400, "invalid_scope", error.message) from None
        _logger.info("token for %r: %s", asker.account, allowed or "no scope")
        refresh = await self._refresh_for(asker, offline=offline)
        return response if refresh is None else attrs.evolve(response, refresh_token=refresh.text)

    async def _refresh_for(self, asker: _Asker, *, offline: bool) -> RefreshToken | None:
        if asker.refresh_token is not None:
            return asker.refresh_token
        if not offline or self._refresh is None or asker.stamp is None:
            return None
        token = RefreshToken()
        found = RefreshGrant(asker.account, self._service, asker.client_id, asker.stamp)
        await self._refresh.put(token.digest, found)
        return token


def _require(form: Form, *names: str) -> None:
    # RFC 6749, section 5.2: what is missing is another mistake than what is wrong.
    if not all(map(form.all, names)):
        raise RefusedError(400, "invalid_request", f"required: {' and '.join(names)}")


async def _refuse(exchange: Exchange, refusal: RefusedError) -> None:
    await exchange.respond(refusal.status, refusal.to_json(), refusal.headers)


def _quotable(realm: str) -> str:
    if not realm.isascii() or not realm.isprintable() or not {'"', "\\"}.isdisjoint(realm):
        raise UsageError("a realm is ASCII text that prints, without quotes and backslashes")
    return realm


async def _live(receive: Receive, send: Send) -> None:
    while (kind := (await receive())["type"]) != "lifespan.shutdown":
        await send({"type": f"{kind}.complete"})
    await send({"type": "lifespan.shutdown.complete"})
