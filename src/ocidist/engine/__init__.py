"""What programs and the Docker Engine say to each other about registries: credentials, image inspection, configuration.

Nothing here talks to an Engine: these are the documents and headers of its API, to the letter, for programs that do.
Importing it loads no network library.

Spec: Docker Engine API v1.44, "Authentication", "Distribution" and "System".
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocidist.engine.auth import (
        AUTH_HEADER,
        AuthConfig,
        AuthenticateOKBody,
        DecodedAuth,
        decode_auth,
        decode_auth_body,
        encode_auth,
    )
    from ocidist.engine.inspection import DistributionInspect
    from ocidist.engine.names import IndexInfo
    from ocidist.engine.repository import RepositoryInfo
    from ocidist.engine.search import SearchResult, SearchResults
    from ocidist.engine.service import ServiceConfig

__all__ = [
    "AUTH_HEADER",
    "AuthConfig",
    "AuthenticateOKBody",
    "DecodedAuth",
    "DistributionInspect",
    "IndexInfo",
    "RepositoryInfo",
    "SearchResult",
    "SearchResults",
    "ServiceConfig",
    "decode_auth",
    "decode_auth_body",
    "encode_auth",
]

_WHERE = {
    "auth": "AUTH_HEADER AuthConfig AuthenticateOKBody DecodedAuth decode_auth decode_auth_body encode_auth",
    "inspection": "DistributionInspect",
    "names": "IndexInfo",
    "repository": "RepositoryInfo",
    "search": "SearchResult SearchResults",
    "service": "ServiceConfig",
}
_MODULES = {name: module for module, names in _WHERE.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"ocidist.engine.{_MODULES[name]}"), name)
