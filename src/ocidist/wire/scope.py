"""Token scopes: what a token may do, as values that can be merged and compared.

Spec: docker registry auth, "Scope Components" and "Resource Scope Grammar".
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self

import attrs

from ocidist.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ALL_ACTIONS: Final = "*"
PUSH: Final = "push"
PULL: Final = "pull"
MAX_SCOPE_CHARS: Final = 16 * 1024
"""A longer list of scopes would not fit into any server's request line."""

# RFC 6749, section 3.3: printable ASCII without blank, quote and backslash. This keeps out CR and LF as well.
_SCOPE_CHARS: Final = frozenset(map(chr, range(0x21, 0x7F))) - frozenset('"\\')


def _check(part: str, text: str, *, forbidden: str = "") -> None:
    if not _SCOPE_CHARS.issuperset(text) or any(char in text for char in forbidden):
        msg = f"the {part} of a scope may not hold {text[:80]!r}"
        raise UsageError(msg)


def _actions(actions: Iterable[str]) -> frozenset[str]:
    if isinstance(actions, str):
        msg = "the actions of a scope are a collection of words, not one string"
        raise UsageError(msg)
    wanted = frozenset(action for action in actions if action)
    for action in wanted:
        _check("actions", action, forbidden=",:")
    return frozenset({ALL_ACTIONS}) if ALL_ACTIONS in wanted else wanted


@attrs.frozen(order=False)
class Scope:
    """One resource and what may be done with it.

    Attributes:
        type: Resource type, with its class if it has one: ``repository``, ``registry``, ``repository(plugin)``.
        name: Resource name; empty only for an opaque scope, one that does not follow the resource grammar.
        actions: What may be done; ``*`` stands for everything and absorbs the others.

    Raises:
        UsageError: A part is empty, or holds a blank, a control character or anything else that no scope may hold.
    """

    type: str
    name: str
    actions: frozenset[str] = attrs.field(default=frozenset(), converter=_actions)

    def __attrs_post_init__(self) -> None:
        """Check the parts."""
        if not self.type or (self.actions and not self.name):
            msg = "a scope needs a type and a name"
            raise UsageError(msg)
        _check("type", self.type, forbidden=":" if self.name else "")
        _check("name", self.name)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``type:name:action,action``; the name may hold a colon, before a port number.

        A word with fewer than two colons is opaque: it is kept, and covers only itself.

        Raises:
            UsageError: The text is empty, too long or holds forbidden characters.
        """
        if len(text) > MAX_SCOPE_CHARS:
            msg = f"a scope is longer than {MAX_SCOPE_CHARS} characters"
            raise UsageError(msg)
        resource, colon, rest = text.partition(":")
        name, second, actions = rest.rpartition(":")
        if not colon or not second or not name:
            return cls(text, "")
        return cls(resource, name, frozenset(actions.split(",")))

    @property
    def resource(self) -> tuple[str, str]:
        """What the scope is about: the type without its deprecated class, and the name."""
        return self.type.partition("(")[0] if self.name else self.type, self.name

    @property
    def opaque(self) -> bool:
        """Whether the scope does not follow the resource grammar."""
        return not self.name

    def covers(self, other: Scope) -> bool:
        """Tell whether a token for this scope is good for *other*."""
        if self.resource != other.resource:
            return False
        return ALL_ACTIONS in self.actions or self.actions >= other.actions

    def __str__(self) -> str:
        """Write the scope with its actions sorted."""
        return f"{self.type}:{self.name}:{','.join(sorted(self.actions))}" if self.name else self.type


def _normalised(scopes: Iterable[Scope]) -> tuple[Scope, ...]:
    merged: dict[tuple[str, str], Scope] = {}
    for scope in scopes:
        if not scope.opaque and not scope.actions:
            continue
        seen = merged.get(scope.resource)
        if seen is None or seen == scope:
            merged[scope.resource] = scope
        else:
            # Two classes of one resource are the same to a token server: keep the type without a class.
            kind = seen.type if seen.type == scope.type else scope.resource[0]
            merged[scope.resource] = Scope(kind, scope.name, seen.actions | scope.actions)
    return tuple(merged[key] for key in sorted(merged))


@attrs.frozen(order=False, cache_hash=True)
class ScopeSet:
    """Several scopes: one per resource, sorted, so that equal sets are equal values.

    Attributes:
        entries: The scopes. Those without an action are left out.
    """

    entries: tuple[Scope, ...] = attrs.field(default=(), converter=_normalised)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read scopes separated by blanks; an empty text is the empty set.

        Raises:
            UsageError: The text is too long or holds forbidden characters.
        """
        if len(text) > MAX_SCOPE_CHARS:
            msg = f"a list of scopes is longer than {MAX_SCOPE_CHARS} characters"
            raise UsageError(msg)
        return cls(tuple(Scope.parse(word) for word in text.split(" ") if word))

    def __or__(self, other: ScopeSet) -> ScopeSet:
        """Merge two sets."""
        if not other.entries or self == other:
            return self
        return ScopeSet(self.entries + other.entries)

    def __iter__(self) -> Iterator[Scope]:
        """Go through the scopes in order of type and name."""
        return iter(self.entries)

    def __len__(self) -> int:
        """Count the resources."""
        return len(self.entries)

    def __contains__(self, scope: object) -> bool:
        """Tell whether exactly this scope is in the set."""
        return scope in self.entries

    def covers(self, other: ScopeSet) -> bool:
        """Tell whether a token for this set is good for everything in *other*."""
        mine = {scope.resource: scope for scope in self.entries}
        return all(scope.resource in mine and mine[scope.resource].covers(scope) for scope in other.entries)

    def first(self, wanted: ScopeSet | None = None) -> tuple[Scope, ...]:
        """Order the scopes for a token request: those of *wanted*, then those that write, then the rest.

        Some token servers look at the first ``scope`` parameter only.
        """
        urgent = frozenset(scope.resource for scope in wanted) if wanted is not None else frozenset()

        def rank(scope: Scope) -> tuple[bool, bool]:
            return scope.resource not in urgent, not scope.actions & {PUSH, ALL_ACTIONS}

        return tuple(sorted(self.entries, key=rank))

    def __str__(self) -> str:
        """Write the scopes separated by blanks."""
        return " ".join(map(str, self.entries))


@lru_cache(maxsize=1024)
def repository_scope(name: str, *actions: str) -> ScopeSet:
    """Name what an operation needs on one repository, for example ``repository_scope("a/b", "pull", "push")``.

    Raises:
        UsageError: The name or an action holds characters that no scope may hold.
    """
    return ScopeSet((Scope("repository", name, frozenset(actions)),))


CATALOG: Final = ScopeSet((Scope("registry", "catalog", frozenset({ALL_ACTIONS})),))
"""What listing the repositories of a registry needs."""

NO_SCOPES: Final = ScopeSet()
"""The empty set: a login, or a version check."""
