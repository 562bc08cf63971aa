"""What a token may say: the part of what was asked for that somebody may do.

Spec: docker registry auth, "How to authenticate" (the intersection) and "Resource Scope Grammar".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from ocidist.errors import InvalidReferenceError
from ocidist.model.reference import RepositoryName
from ocidist.wire.scope import ALL_ACTIONS, Scope, ScopeSet

if TYPE_CHECKING:
    from collections.abc import Iterable

REPOSITORY: Final = "repository"
REGISTRY: Final = "registry"
CATALOG_NAME: Final = "catalog"

Authorizer: TypeAlias = Callable[[str, ScopeSet], Awaitable[ScopeSet]]
"""Decides what an account may do.

Takes the account, empty for somebody anonymous, and the scopes that were asked for; returns the scopes that are
allowed. It may return more than was asked for: only what is in both is granted.
"""


def grant(requested: Iterable[Scope], allowed: Iterable[Scope]) -> ScopeSet:
    """Return what is both asked for and allowed.

    What no registry has is left out: resource types other than ``repository`` and ``registry``, names that do not
    follow the grammar, names with ``*``. The action ``*`` asks for whatever is allowed on that resource, and allows
    whatever is asked for.

    Args:
        requested: What was asked for.
        allowed: What the account may do; the same resource may be in it several times.
    """
    rights = {scope.resource: scope for scope in ScopeSet(tuple(allowed))}
    found = (
        Scope(*scope.resource, _both(scope.actions, rights[scope.resource].actions))
        for scope in known(requested)
        if scope.resource in rights
    )
    return ScopeSet(tuple(scope for scope in found if scope.actions))


def known(requested: Iterable[Scope]) -> ScopeSet:
    """Return the scopes that are about something a registry can have, without their deprecated classes."""
    return ScopeSet(tuple(Scope(*scope.resource, scope.actions) for scope in requested if _is_known(scope)))


def _is_known(scope: Scope) -> bool:
    kind, name = scope.resource
    if scope.opaque or kind not in {REPOSITORY, REGISTRY}:
        return False
    if kind == REGISTRY:
        return name == CATALOG_NAME
    try:
        RepositoryName(name)
    except InvalidReferenceError:
        return False
    return True


def _both(requested: frozenset[str], allowed: frozenset[str]) -> frozenset[str]:
    if ALL_ACTIONS in allowed:
        return requested
    return allowed if ALL_ACTIONS in requested else requested & allowed
