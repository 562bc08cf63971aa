"""The other half of token authentication: keys, tokens, users, and a token server, for whoever runs a registry.

Needs the extra ``issuer``. A service that owns a registry can be its token server (``TokenApp``), sign tokens for
itself (``SelfTokenProvider``), keep the user file of a registry with passwords (``Htpasswd``), and check tokens that
others bring (``TokenVerifier``).

Spec: docker registry auth, "Token Authentication Specification", "Oauth2 Token Authentication", "Token Authentication
Implementation".
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocidist.issuer.grants import Authorizer, grant
    from ocidist.issuer.htpasswd import HashedUser, Htpasswd
    from ocidist.issuer.keys import KeyId, KeyKind, KeyMaterial
    from ocidist.issuer.paths import KeyPaths
    from ocidist.issuer.refresh import MemoryRefreshTokens, RefreshGrant, RefreshStore
    from ocidist.issuer.selftoken import SelfTokenProvider
    from ocidist.issuer.server import TokenApp, TokenLimits
    from ocidist.issuer.token import TokenIssuer, TokenRequest, TokenResponse
    from ocidist.issuer.users import StaticUsers, Users
    from ocidist.issuer.verify import Claims, TokenVerifier, TrustedKeys

__all__ = [
    "Authorizer",
    "Claims",
    "HashedUser",
    "Htpasswd",
    "KeyId",
    "KeyKind",
    "KeyMaterial",
    "KeyPaths",
    "MemoryRefreshTokens",
    "RefreshGrant",
    "RefreshStore",
    "SelfTokenProvider",
    "StaticUsers",
    "TokenApp",
    "TokenIssuer",
    "TokenLimits",
    "TokenRequest",
    "TokenResponse",
    "TokenVerifier",
    "TrustedKeys",
    "Users",
    "grant",
]

_WHERE = {
    "grants": "Authorizer grant",
    "htpasswd": "HashedUser Htpasswd",
    "keys": "KeyId KeyKind KeyMaterial",
    "paths": "KeyPaths",
    "refresh": "MemoryRefreshTokens RefreshGrant RefreshStore",
    "selftoken": "SelfTokenProvider",
    "server": "TokenApp TokenLimits",
    "token": "TokenIssuer TokenRequest TokenResponse",
    "users": "StaticUsers Users",
    "verify": "Claims TokenVerifier TrustedKeys",
}
_MODULES = {name: module for module, names in _WHERE.items() for name in names.split()}


def __getattr__(name: str) -> object:
    # An htpasswd file needs no JWT library, and a token no bcrypt.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"ocidist.issuer.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in {"bcrypt", "cryptography"}:
            raise
        raise ModuleNotFoundError(
            f"{name} needs {error.name}: pip install 'ocidist[issuer]'", name=error.name
        ) from None
