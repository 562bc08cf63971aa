"""Checking the tokens that clients bring.

Nothing that a token says about its own key is believed: the key comes from a list that was made beforehand, each with
the one algorithm it is for. A token is refused when anything about it is unusual.

Spec: docker registry auth, "Verifying the token"; RFC 7519, section 7.2; RFC 8725.
"""

from __future__ import annotations

import base64
import binascii
import math
import time
from typing import TYPE_CHECKING, Final, Self

import attrs
import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from ocidist.errors import ProtocolError, TokenInvalidError, UsageError
from ocidist.issuer.keys import KeyId, PublicKey, key_id, kind_of
from ocidist.issuer.token import MAX_TTL, Clock, check_name
from ocidist.model import strictjson
from ocidist.model.fields import FrozenMap
from ocidist.wire.scope import Scope, ScopeSet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocidist.issuer.keys import KeyMaterial

MAX_TOKEN_CHARS: Final = 32 * 1024
"""Longest token that is looked at; servers take headers of little more."""

MAX_ACCESS: Final = 256
"""Most access entries of a token."""

LEEWAY: Final = 60.0
"""Seconds that clocks may differ, as docker-registry has it."""

# What would let a token choose its key, or change how it is read. ``x5c`` is there in every good token: it is ignored.
_REFUSED_HEADERS: Final = frozenset({"jwk", "jku", "x5u", "crit", "b64", "zip"})
_LATEST: Final = 253_402_300_799  # the end of the year 9999
_BASE64URL: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_JWS: Final = jwt.PyJWS()


@attrs.frozen
class TrustedKey:
    """A public key and the one algorithm it verifies.

    Attributes:
        key: The key.
        algorithm: ``RS256`` or ``ES256``.
    """

    key: PublicKey = attrs.field(repr=False)
    algorithm: str

    @classmethod
    def of(cls, key: object) -> Self:
        """Return a key with its algorithm.

        Raises:
            UsageError: It is none of the kinds that tokens are signed with.
        """
        return cls(key, kind_of(key).value)  # type: ignore[arg-type]  # kind_of refuses all other types


def _frozen(entries: Mapping[str, TrustedKey]) -> Mapping[str, TrustedKey]:
    return FrozenMap(entries)


@attrs.frozen
class TrustedKeys:
    """The keys whose tokens are taken, by the names that tokens call them.

    Attributes:
        entries: Keys by name (``kid``).
    """

    entries: Mapping[str, TrustedKey] = attrs.field(converter=_frozen, repr=lambda entries: repr(sorted(entries)))

    @classmethod
    def of(cls, *keys: KeyMaterial) -> Self:
        """Trust keys by both of their names."""
        return cls(_named(*(key.public_key for key in keys)))

    @classmethod
    def from_certificates(cls, pem: bytes) -> Self:
        """Trust the keys of a bundle of certificates, by both of their names. Their dates are not looked at.

        Raises:
            UsageError: It is no such bundle, or a key is of another kind.
        """
        try:
            keys = [each.public_key() for each in x509.load_pem_x509_certificates(pem)]
        except (ValueError, UnsupportedAlgorithm):
            raise UsageError("the trusted keys are not certificates in PEM of keys that can be used") from None
        return cls(_named(*keys))

    @classmethod
    def from_jwks(cls, data: bytes | str) -> Self:
        """Trust the keys of a JWK set, by the names they have there.

        Raises:
            UsageError: It is no JWK set, or a key has no name or is of another kind.
        """
        try:
            keys = _object(data.encode() if isinstance(data, str) else data)["keys"]
            if isinstance(keys, list):
                return cls({_text(each["kid"]): TrustedKey.of(jwt.PyJWK(each).key) for each in keys})
        except (ProtocolError, TokenInvalidError, jwt.PyJWTError, KeyError, TypeError, ValueError):
            pass
        raise UsageError("the trusted keys are no JWK set of named RSA or EC P-256 keys")

    def __or__(self, other: TrustedKeys) -> TrustedKeys:
        """Trust the keys of both."""
        return TrustedKeys({**self.entries, **other.entries})


@attrs.frozen
class Claims:
    """What a good token says.

    Attributes:
        account: Who brought it; empty for somebody anonymous.
        scopes: What it allows.
        expires_at: When it ends, in seconds since the epoch.
        issued_at: When it was issued, likewise.
        token_id: What tells it from other tokens; empty if nothing does.
    """

    account: str
    scopes: ScopeSet
    expires_at: float
    issued_at: float
    token_id: str = ""


@attrs.frozen(eq=False)
class TokenVerifier:
    """Checks tokens.

    Attributes:
        keys: The keys whose tokens are taken.
        issuer: Who has to have issued them; compared as text.
        service: Whom they have to be for; compared as text.
        leeway: Seconds that clocks may differ.
        clock: Seconds since the epoch.

    Raises:
        UsageError: A name does not print, there is no key, or the leeway is negative or longer than an hour.
    """

    keys: TrustedKeys
    issuer: str = attrs.field(kw_only=True)
    service: str = attrs.field(kw_only=True)
    leeway: float = attrs.field(default=LEEWAY, kw_only=True)
    clock: Clock = attrs.field(default=time.time, kw_only=True, repr=False)

    def __attrs_post_init__(self) -> None:
        """Check the names and the numbers."""
        check_name("issuer", self.issuer)
        check_name("service", self.service)
        if not self.keys.entries:
            raise UsageError("a verifier needs a key")
        if not 0 <= self.leeway <= MAX_TTL:
            raise UsageError(f"clocks may differ by at most {MAX_TTL:g} seconds")

    def verify(self, token: str) -> Claims:
        """Return what a token says, if all of it is as it has to be. Takes less than a millisecond.

        Required are the claims ``iss``, ``aud``, ``exp``, ``nbf``, ``iat`` and ``access``; a token lives for an hour at
        most.

        Raises:
            TokenInvalidError: It is not. No message quotes the token.

        Spec: docker registry auth, "Verifying the token".
        """
        reason = "it cannot be read"
        try:
            trusted = self._key_of(token)
            payload = _JWS.decode(token, trusted.key, algorithms=[trusted.algorithm])
            return self._claims(_object(payload))
        except TokenInvalidError as error:
            reason = error.reason
        except jwt.InvalidSignatureError:
            reason = "its signature is wrong"
        except (jwt.PyJWTError, ProtocolError, UsageError, ValueError):
            pass
        # Raised out here: the frames of the error before hold the token.
        del token
        raise TokenInvalidError(reason)

    def _key_of(self, token: str) -> TrustedKey:
        if len(token) > MAX_TOKEN_CHARS:
            raise TokenInvalidError("it is too long")
        parts = token.split(".")
        if len(parts) != 3 or not all(_BASE64URL.issuperset(part.encode()) for part in parts):
            raise TokenInvalidError("it is no JWT")
        header = _object(_decoded(parts[0]))
        if header.get("typ") != "JWT":
            raise TokenInvalidError("its type is not JWT")
        if not _REFUSED_HEADERS.isdisjoint(header):
            raise TokenInvalidError("its header names a key or an extension")
        kid = header.get("kid")
        trusted = self.keys.entries.get(kid) if isinstance(kid, str) else None
        if trusted is None:
            raise TokenInvalidError("its key is not known")
        if header.get("alg") != trusted.algorithm:
            raise TokenInvalidError("its algorithm is not that of its key")
        return trusted

    def _claims(self, claims: Mapping[str, object]) -> Claims:
        if claims.get("iss") != self.issuer:
            raise TokenInvalidError("it is from another issuer")
        if claims.get("aud") != self.service:
            raise TokenInvalidError("it is for another service")
        expires, valid, issued = (_moment(claims.get(name)) for name in ("exp", "nbf", "iat"))
        now = self.clock()
        if not now - self.leeway < expires:
            raise TokenInvalidError("it has expired")
        if not max(valid, issued) <= now + self.leeway:
            raise TokenInvalidError("it is not valid yet")
        if not 0 < expires - issued <= MAX_TTL:
            raise TokenInvalidError("it lives too long")
        account, token_id = claims.get("sub", ""), claims.get("jti", "")
        return Claims(_text(account), _access(claims.get("access")), expires, issued, _text(token_id))


def _named(*keys: object) -> dict[str, TrustedKey]:
    trusted = [TrustedKey.of(key) for key in keys]
    return {key_id(each.key, kind): each for each in trusted for kind in KeyId}


def _decoded(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise TokenInvalidError("it is no JWT") from None


def _object(data: object) -> dict[str, object]:
    value = strictjson.loads(data, what="token", unique_keys=True) if isinstance(data, bytes) else None
    if not isinstance(value, dict):
        raise TokenInvalidError("it is no JWT")
    return value


def _moment(value: object) -> float:
    # bool is a number to Python.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenInvalidError("a time in it is no number")
    if not math.isfinite(value) or not 0 <= value <= _LATEST:
        raise TokenInvalidError("a time in it is out of range")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TokenInvalidError("a text in it is none")
    return value


def _access(value: object) -> ScopeSet:
    if not isinstance(value, list) or len(value) > MAX_ACCESS:
        raise TokenInvalidError("its access is no list, or too long")
    return ScopeSet(tuple(_scope(entry) for entry in value))


def _scope(entry: object) -> Scope:
    fields = entry if isinstance(entry, dict) else {}
    actions = fields.get("actions")
    if not isinstance(actions, list):
        raise TokenInvalidError("an access entry is malformed")
    return Scope(_text(fields.get("type")), _text(fields.get("name")), frozenset(map(_text, actions)))
