"""Signing tokens that registries accept.

A token carries its certificate (``x5c``) and its key's name (``kid``); its audience is one string. That is what
docker-registry 2.8 and 3.x both take.

Spec: docker registry auth, "Distribution Registry v2 Bearer token specification".
"""

from __future__ import annotations

import datetime as dt
import json
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn, Self, TypeAlias

import attrs
import jwt

from ocidist.errors import ChallengeError, UsageError
from ocidist.issuer.grants import known
from ocidist.issuer.keys import KeyId
from ocidist.wire.challenge import BEARER, Challenge, parse_challenges
from ocidist.wire.scope import NO_SCOPES, ScopeSet

if TYPE_CHECKING:
    from ocidist.issuer.keys import KeyMaterial

DEFAULT_ISSUER: Final = "127.0.0.1"
DEFAULT_TTL: Final = 60.0
"""Seconds a token lives unless something else is said. Registries let it live a minute longer."""

MIN_REQUESTED_TTL: Final = 60.0
"""Fewest seconds that a request may ask for: clients take a shorter life for a minute."""

MAX_TTL: Final = 3600.0
"""Most seconds a token lives; nobody can take it back before that."""

MAX_NAME_CHARS: Final = 1024
"""Longest account, service or issuer, in characters."""

BACKDATED_S: Final = 10
"""Seconds before its issue from which a token is valid: the registry's clock may be behind."""

MAX_CLAIMS_BYTES: Final = 9 * 1024
"""Most bytes of a token's claims: servers may read 16 KiB of headers only, and base64 and the certificate add a lot."""


Clock: TypeAlias = Callable[[], float]


def check_name(what: str, text: str, *, empty: bool = False) -> str:
    """Return an account, service or issuer that can be written into a token.

    Raises:
        UsageError: It is empty, too long, or does not print.
    """
    if not isinstance(text, str) or len(text) > MAX_NAME_CHARS or not text.isprintable() or not (text or empty):
        raise UsageError(f"the {what} is text of at most {MAX_NAME_CHARS} characters that print")
    return text


@attrs.frozen
class TokenRequest:
    """What a token is wanted for.

    Attributes:
        account: Who asks: the subject. Empty for somebody anonymous.
        service: The registry that will read the token: its audience. None for the issuer's own.
        scopes: What the token shall allow.
        ttl: Seconds it shall live, from 60 to 3600; None for the issuer's own number.

    Raises:
        UsageError: A name does not print, or the number is out of range.
    """

    account: str = ""
    service: str | None = None
    scopes: ScopeSet = NO_SCOPES
    ttl: float | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """Check the names and the number."""
        check_name("account", self.account, empty=True)
        if self.service is not None:
            check_name("service", self.service)
        if self.ttl is not None and not MIN_REQUESTED_TTL <= self.ttl <= MAX_TTL:
            raise UsageError(f"a token is asked for with {MIN_REQUESTED_TTL:g} to {MAX_TTL:g} seconds to live")

    @classmethod
    def from_challenge(cls, challenge: Challenge | str, *, account: str = "", ttl: float | None = None) -> Self:
        """Ask for what a registry's challenge wants, all of its scopes.

        Args:
            challenge: A bearer challenge, or a WWW-Authenticate header that has one.
            account: Who asks.
            ttl: Seconds the token shall live.

        Raises:
            ChallengeError: The header is malformed, or has no bearer challenge.
            UsageError: See the class.

        Spec: docker registry auth, "How to authenticate".
        """
        offered = (challenge,) if isinstance(challenge, Challenge) else parse_challenges([challenge])
        chosen = next((each for each in offered if each.scheme == BEARER), None)
        if chosen is None:
            raise ChallengeError("there is no bearer challenge to get a token for")
        return cls(account, chosen.service or None, chosen.scopes, ttl=ttl)


def _masked(value: object) -> str:
    return "None" if value is None else "'***'"


@attrs.frozen(eq=False)
class TokenResponse:
    """An issued token. A secret: its text is masked in ``repr``, and it cannot be pickled.

    Attributes:
        token: The token.
        expires_in: Seconds it lives from its issue.
        issued_at: When it was issued, in UTC.
        scopes: What it allows.
        refresh_token: What further tokens can be had with, or None.
    """

    token: str = attrs.field(repr=_masked)
    expires_in: int
    issued_at: dt.datetime
    scopes: ScopeSet = NO_SCOPES
    refresh_token: str | None = attrs.field(default=None, repr=_masked)

    @property
    def access_token(self) -> str:
        """The token by its other name."""
        return self.token

    def to_json(self) -> str:
        """Return the body of a token server's answer.

        Spec: docker registry auth, "Token Response Fields"; docker OAuth2, "Response fields".
        """
        fields: dict[str, object] = {
            "token": self.token,
            "access_token": self.access_token,
            "scope": str(self.scopes),
            "expires_in": self.expires_in,
            "issued_at": self.issued_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        if self.refresh_token is not None:
            fields["refresh_token"] = self.refresh_token
        return json.dumps(fields, separators=(",", ":"))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token is a secret and is not pickled")


def _check_ttl(_instance: object, _attribute: object, value: float) -> None:
    if not 1 <= value <= MAX_TTL:
        raise UsageError(f"tokens live from 1 to {MAX_TTL:g} seconds")


@attrs.frozen(eq=False)
class TokenIssuer:
    """Signs tokens. It grants what it is asked for: whoever calls it has decided that.

    Attributes:
        key: What they are signed with.
        issuer: What the registry knows the issuer as (``auth.token.issuer``).
        ttl: Seconds a token lives unless its request says something else.
        service: The only registry that tokens are signed for (``auth.token.service``); None for any.
        kid: How tokens name the key.
        x5c: Whether tokens carry the certificate. Without it, docker-registry 3.x needs ``KeyId.THUMBPRINT``.
        clock: Seconds since the epoch.

    Raises:
        UsageError: A name does not print, or the life is out of range.
    """

    key: KeyMaterial
    issuer: str = attrs.field(default=DEFAULT_ISSUER, kw_only=True)
    ttl: float = attrs.field(default=DEFAULT_TTL, kw_only=True, validator=_check_ttl)
    service: str | None = attrs.field(default=None, kw_only=True)
    kid: KeyId = attrs.field(default=KeyId.LIBTRUST, kw_only=True)
    x5c: bool = attrs.field(default=True, kw_only=True)
    clock: Clock = attrs.field(default=time.time, kw_only=True, repr=False)
    _headers: dict[str, object] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Check the names, and prepare the header that all tokens have."""
        check_name("issuer", self.issuer)
        if self.service is not None:
            check_name("service", self.service)
        headers: dict[str, object] = {"kid": self.key.key_id(self.kid)}
        if self.x5c:
            headers["x5c"] = self.key.x5c
        object.__setattr__(self, "_headers", headers)

    def issue(self, request: TokenRequest) -> TokenResponse:
        """Sign a token. Takes about a millisecond with an RSA key, a quarter of that with an EC key.

        Scopes that no registry has are left out; a token without scopes is a login.

        Raises:
            UsageError: It is for another service, for none, or has more scopes than fit into a header.
        """
        service = request.service or self.service
        if service is None:
            raise UsageError("a token needs a service: name it in the request or the issuer")
        if self.service not in {None, service}:
            raise UsageError(f"tokens are signed for the service {self.service!r} only")
        scopes = known(request.scopes)
        now = int(self.clock())
        life = int(request.ttl or self.ttl)
        claims = {
            "iss": self.issuer,
            "sub": request.account,
            "aud": service,
            "exp": now + life,
            "nbf": now - BACKDATED_S,
            "iat": now,
            "jti": str(uuid.uuid4()),
            "access": [{"type": scope.type, "name": scope.name, "actions": sorted(scope.actions)} for scope in scopes],
        }
        if len(json.dumps(claims, separators=(",", ":"))) > MAX_CLAIMS_BYTES:
            raise UsageError("a token for so many scopes would not fit into a header")
        token = jwt.encode(claims, self.key.private_key, self.key.algorithm, headers=self._headers)
        return TokenResponse(token, life, dt.datetime.fromtimestamp(now, dt.UTC), scopes)

    def login(self, account: str, *, service: str | None = None) -> TokenResponse:
        """Sign a token that says who somebody is and allows nothing: enough for a registry's version check.

        Args:
            account: Who.
            service: The registry; the issuer's own unless given.

        Raises:
            UsageError: See ``issue``.
        """
        return self.issue(TokenRequest(account, service))
