"""Keys that tests share, and tokens made by hand: those that no library would sign."""

from __future__ import annotations

import base64
import json
import time
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from ocidist.issuer import KeyId, KeyKind, KeyMaterial, TokenIssuer, TokenVerifier, TrustedKeys

ISSUER = "issuer of the tests"
SERVICE = "registry of the tests"
# A while ago: nothing may depend on how long a run of all tests takes.
NOW = int(time.time()) - 900


def key(kind: KeyKind = KeyKind.RSA) -> KeyMaterial:
    """Return a key that all tests share; making one takes a while."""
    return _made(kind)


@cache
def _made(kind: KeyKind) -> KeyMaterial:
    return KeyMaterial.generate(kind=kind)


def issuer(**options: Any) -> TokenIssuer:  # noqa: ANN401 -- any keyword argument of the issuer
    """Return an issuer of the tests, for which the time stands still: a run may take longer than a token lives."""
    return TokenIssuer(key(), **{"issuer": ISSUER, "service": SERVICE, "clock": lambda: NOW, **options})


def verifier(**options: Any) -> TokenVerifier:  # noqa: ANN401 -- any keyword argument of the verifier
    """Return a verifier that trusts the shared keys, and for which the time stands still, too."""
    keys = TrustedKeys.of(key(), key(KeyKind.EC))
    return TokenVerifier(keys, **{"issuer": ISSUER, "service": SERVICE, "clock": lambda: NOW, **options})


def encoded(value: object) -> str:
    """Return JSON, or bytes, as a part of a JWT."""
    data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(**changes: object) -> dict[str, object]:
    """Return good claims with changes; None leaves a claim out."""
    good: dict[str, object] = {
        "iss": ISSUER,
        "sub": "alice",
        "aud": SERVICE,
        "exp": NOW + 300,
        "nbf": NOW - 10,
        "iat": NOW,
        "jti": "1",
        "access": [{"type": "repository", "name": "a/b", "actions": ["pull"]}],
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def header(by: KeyMaterial | None = None, **changes: object) -> dict[str, object]:
    """Return a good header with changes; None leaves a field out."""
    signer = by or key()
    good: dict[str, object] = {"typ": "JWT", "alg": signer.algorithm, "kid": signer.key_id(KeyId.LIBTRUST)}
    return {name: value for name, value in (good | changes).items() if value is not None}


def signed(head: object, body: object, by: KeyMaterial | None = None) -> str:
    """Sign whatever it is."""
    text = f"{encoded(head)}.{encoded(body)}"
    return f"{text}.{encoded(signature(text.encode(), by or key()))}"


def signature(data: bytes, by: KeyMaterial) -> bytes:
    """Return a signature by the key's own algorithm."""
    private = by.private_key
    if isinstance(private, rsa.RSAPrivateKey):
        return private.sign(data, padding.PKCS1v15(), hashes.SHA256())
    r, s = decode_dss_signature(private.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def decoded(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a token's header and claims."""
    head, body, _ = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split("."))
    return json.loads(head), json.loads(body)
