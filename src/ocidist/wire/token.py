"""Token servers: what is asked of them, and what they answer.

Spec: docker registry auth, "Requesting a Token" (GET) and "Getting a token" (POST, OAuth 2).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NoReturn, Self
from urllib.parse import quote, urlencode

import attrs

from ocidist.errors import LimitExceededError, ProtocolError, TokenError, UsageError
from ocidist.model import strictjson
from ocidist.wire.scope import NO_SCOPES, Scope, ScopeSet

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_TOKEN_BYTES: Final = 128 * 1024
"""The largest answer of a token server that is read; real ones stay below 16 KiB."""

MIN_LIFETIME: Final = 60.0
"""Seconds a token lives if the server does not say, or says less."""

MAX_LIFETIME: Final = 24 * 3600.0
"""Seconds after which a token is renewed whatever the server says: a revoked right should not outlive a day."""

_EARLIEST: Final = 5.0
_EARLY_SHARE: Final = 0.1
_MAX_NUMBER_CHARS: Final = 32
# Between these two a bearer token can be written into a header: no blank, no control character, nothing beyond ASCII.
_VISIBLE: Final = frozenset(map(chr, range(0x21, 0x7F))) - {","}


def _masked(value: object) -> str:
    return "None" if value is None else "'***'"


@attrs.frozen(eq=False)
class Token:
    """A bearer token. A secret: its text is masked in ``repr``, it cannot be pickled, and it equals only itself.

    Attributes:
        value: What goes into the Authorization header.
        expires_at: When it ends, in seconds of the monotonic clock.
        scopes: What it is good for, as far as is known.
        refresh_token: What the token server gave to get further tokens with, or None.
        lifetime: Seconds it lives from its receipt.
    """

    value: str = attrs.field(repr=_masked)
    expires_at: float
    scopes: ScopeSet = NO_SCOPES
    refresh_token: str | None = attrs.field(default=None, repr=_masked)
    lifetime: float = MIN_LIFETIME

    def fresh(self, now: float, margin: float = 0.0) -> bool:
        """Tell whether the token is good for at least *margin* more seconds.

        A token is renewed early: 5 seconds or a tenth of its life before its end, whichever is more. A margin beyond
        half its life counts as half: a new token would not be better.
        """
        early = min(max(margin, _EARLIEST, self.lifetime * _EARLY_SHARE), self.lifetime / 2)
        return now + early < self.expires_at

    def lasting(self, lifetime: float, *, now: float) -> Self:
        """Return the token with another lifetime from now, for example one read from inside it."""
        seconds = _bounded(lifetime)
        return attrs.evolve(self, expires_at=now + seconds, lifetime=seconds)

    def __reduce__(self) -> NoReturn:
        message = "a token is a secret and is not pickled"
        raise TypeError(message)


def parse_token(data: bytes, *, requested: ScopeSet, now: float, wall: float) -> Token:
    """Read a token server's answer.

    ``token`` is preferred to ``access_token``; an empty one counts as absent. The life counts from the receipt:
    60 seconds at least, a day at most, shortened by ``issued_at`` where that lies in the first half of the life and
    otherwise ignored, because a clock is wrong. No message quotes the answer.

    Args:
        data: The body.
        requested: The scopes that were asked for.
        now: Seconds of the monotonic clock.
        wall: Seconds since the epoch.

    Raises:
        TokenError: The body is not a JSON object, or holds no token that could be sent in a header.
        LimitExceededError: The body is larger than 128 KiB.

    Spec: docker registry auth, "Token Response Fields".
    """
    if len(data) > MAX_TOKEN_BYTES:
        what = "token"
        raise LimitExceededError(what, MAX_TOKEN_BYTES)
    body = _body(data)
    if not isinstance(body, dict):
        raise TokenError("the token server's answer is not a JSON object")
    value = _secret(body, "token") or _secret(body, "access_token")
    if value is None:
        raise TokenError("the token server's answer holds no token")
    if not _VISIBLE.issuperset(value):
        raise TokenError("the token server's answer holds a token that cannot be sent in a header")
    lifetime = _lifetime(body.get("expires_in"), body.get("issued_at"), wall)
    return Token(value, now + lifetime, _granted(body.get("scope"), requested), _refresh(body), lifetime)


def _body(data: bytes) -> object:
    try:
        return strictjson.loads(data, what="token")
    except ProtocolError:
        pass
    # Raised out here: the reader's own error may quote the body, and a chain would keep it.
    raise TokenError("the token server's answer is not JSON")


def _secret(body: dict[str, object], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise TokenError(f"the token server's answer holds a {name} that is not a string")
    return value or None


def _refresh(body: dict[str, object]) -> str | None:
    value = body.get("refresh_token")
    # Refresh tokens are opaque and optional: an unusable one is as good as none.
    return value if isinstance(value, str) and value and value.isprintable() else None


def _bounded(seconds: float) -> float:
    # Written so that anything that is no number ends at the minimum.
    return min(seconds, MAX_LIFETIME) if seconds > MIN_LIFETIME else MIN_LIFETIME


def _lifetime(expires_in: object, issued_at: object, wall: float) -> float:
    life = _bounded(_seconds(expires_in))
    issued = _rfc3339(issued_at) if isinstance(issued_at, str) else None
    age = 0.0 if issued is None else wall - issued
    return life - age if 0 < age <= life / 2 else life


def _seconds(value: object) -> float:
    if isinstance(value, bool):
        return 0.0
    if isinstance(value, int | float):
        return min(value, MAX_LIFETIME)
    if isinstance(value, str) and len(value) <= _MAX_NUMBER_CHARS:
        whole, dot, fraction = value.strip().partition(".")
        if whole.isascii() and whole.isdigit() and (not dot or (fraction.isascii() and fraction.isdigit())):
            return float(value)
    return 0.0


def _rfc3339(text: str) -> float | None:
    # fromisoformat takes nanoseconds (and drops them), which Go servers write.
    if len(text) > _MAX_NUMBER_CHARS + 8 or not text.isascii():
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _granted(scope: object, requested: ScopeSet) -> ScopeSet:
    """Believe what the server says it granted where it speaks of what was asked for, in the scope grammar."""
    if not isinstance(scope, str) or not scope:
        return requested
    try:
        granted = ScopeSet.parse(scope)
    except UsageError:
        return requested
    asked = {entry.resource for entry in requested}
    known = all(entry.resource in asked for entry in granted)
    return granted if known and granted.entries else requested


# --- asking ----------------------------------------------------------------------------------------------------------


def _ordered(scopes: Iterable[Scope]) -> tuple[Scope, ...]:
    # Some token servers look at the first scope only: those that write come first.
    return scopes.first() if isinstance(scopes, ScopeSet) else tuple(scopes)


def get_query(
    service: str | None,
    scopes: Iterable[Scope],
    *,
    account: str | None = None,
    client_id: str | None = None,
    offline: bool = False,
) -> list[tuple[str, str]]:
    """Build the query of a token request by GET: one ``scope`` for each resource, those that write first.

    Args:
        service: What the challenge called the registry, if it did.
        scopes: What is needed; a sequence keeps its order.
        account: User name, for the token server's log.
        client_id: Name of the program, for the token server's log.
        offline: Whether to ask for a refresh token too.

    Spec: docker registry auth, "Requesting a Token".
    """
    pairs = [("service", service)] if service else []
    pairs += [("scope", str(scope)) for scope in _ordered(scopes)]
    pairs += [("account", account)] if account else []
    pairs += [("client_id", client_id)] if client_id else []
    pairs += [("offline_token", "true")] if offline else []
    return pairs


def post_form(
    service: str | None,
    scopes: Iterable[Scope],
    *,
    client_id: str,
    refresh_token: str | None = None,
    username: str | None = None,
    password: str | None = None,
    offline: bool = False,
) -> bytes:
    """Build the body of a token request by POST, a form: all scopes in one field, separated by blanks.

    Args:
        service: What the challenge called the registry, if it did.
        scopes: What is needed; a sequence keeps its order.
        client_id: Name of the program; the token server demands one.
        refresh_token: Secret for the grant type ``refresh_token``.
        username: User name for the grant type ``password``.
        password: Secret for the grant type ``password``.
        offline: Whether to ask for a refresh token too.

    Raises:
        UsageError: There is neither a refresh token nor a user name and password, or both.

    Spec: docker registry auth, "Getting a token".
    """
    by_password = username is not None and password is not None
    if by_password == (refresh_token is not None):
        raise UsageError("a token is asked for with a refresh token, or with a user name and a password")
    pairs = [("grant_type", "password" if by_password else "refresh_token")]
    pairs += [("service", service)] if service else []
    pairs += [("client_id", client_id)]
    if scope := " ".join(map(str, _ordered(scopes))):
        pairs.append(("scope", scope))
    if offline:
        pairs.append(("access_type", "offline"))
    if refresh_token is not None:
        pairs.append(("refresh_token", refresh_token))
    elif username is not None and password is not None:
        pairs += [("username", username), ("password", password)]
    return urlencode(pairs).encode("ascii")


def append_query(url: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Add parameters to a URL, leaving every byte of its own query as it is.

    Realms and upload Locations carry queries that are signed or opaque, so they are never decoded and encoded again.
    A fragment is dropped: it is never sent.

    Spec: distribution-spec, "Pushing a blob in chunks" (``<location>?digest=<digest>``).
    """
    base = url.partition("#")[0]
    added = "&".join(f"{quote(name, safe='')}={quote(value, safe=':/,')}" for name, value in pairs)
    if not added:
        return base
    if "?" not in base:
        return f"{base}?{added}"
    return f"{base}{added}" if base.endswith(("?", "&")) else f"{base}&{added}"
