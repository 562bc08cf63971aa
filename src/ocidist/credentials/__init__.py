"""Who asks: credentials, and where they are found and kept.

The public names are here; each is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocidist.credentials.authfile import AuthFile
    from ocidist.credentials.files import DefaultCredentials, FileCredentials
    from ocidist.credentials.helper import CredentialHelper
    from ocidist.credentials.logins import StoredLogin, login, logout
    from ocidist.credentials.paths import SEARCH_ORDER, CredentialPlace, CredentialSource
    from ocidist.credentials.store import ChainCredentials

__all__ = [
    "SEARCH_ORDER",
    "AuthFile",
    "ChainCredentials",
    "CredentialHelper",
    "CredentialPlace",
    "CredentialSource",
    "DefaultCredentials",
    "FileCredentials",
    "StoredLogin",
    "login",
    "logout",
]

_WHERE = {
    "SEARCH_ORDER": "paths",
    "AuthFile": "authfile",
    "ChainCredentials": "store",
    "CredentialHelper": "helper",
    "CredentialPlace": "paths",
    "CredentialSource": "paths",
    "DefaultCredentials": "files",
    "FileCredentials": "files",
    "StoredLogin": "logins",
    "login": "logins",
    "logout": "logins",
}


def __getattr__(name: str) -> object:
    if name in _WHERE:
        return getattr(import_module(f"ocidist.credentials.{_WHERE[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
