"""What image names without a registry mean.

Spec: containers-registries.conf(5), "unqualified-search-registries" and "Short-Name Aliasing".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ocidist.errors import InvalidReferenceError
from ocidist.model.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.frozen
class ShortNames:
    """Registries to look in for names that name none, and names that stand for others.

    Attributes:
        search: Registries (``host[:port]``), in the order in which to look.
        aliases: References by the short name that stands for them.
        enforcing: Whether a name that may be looked for in several registries is refused.
    """

    search: tuple[str, ...] = ()
    aliases: Mapping[str, str] = attrs.field(factory=dict)
    enforcing: bool = attrs.field(default=False, kw_only=True)

    def candidates(self, name: str) -> tuple[Reference, ...]:
        """Return what a name may mean, in the order in which to try; no request is made.

        A name that names its registry means itself. An alias means one thing. Any other short name is looked for in
        each of the registries: whoever owns a name in an earlier one gets the reader's trust, so aliases are safer.

        Args:
            name: An image name, with a tag or digest or without.

        Raises:
            InvalidReferenceError: The name does not follow the grammar, or may mean several things and must not.
        """
        if names_registry(name):
            return (Reference.parse(name),)
        bare, tail = _cut(name)
        if bare in self.aliases:
            return (Reference.parse(self.aliases[bare] + tail),)
        if self.enforcing and len(self.search) > 1:
            raise InvalidReferenceError(f"{name[:80]!r} may be in any of {len(self.search)} registries: name the one")
        return tuple(Reference.parse(name, default_registry=registry) for registry in self.search)


def names_registry(name: str) -> bool:
    """Return whether an image name begins with a registry."""
    first, slash, _ = name.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost" or first != first.lower())


def _cut(name: str) -> tuple[str, str]:
    """Split a name into the repository and its tag or digest, with the sign before it."""
    bare, at, digest = name.partition("@")
    start = bare.rfind(":", bare.rfind("/") + 1)
    if start >= 0:
        return bare[:start], bare[start:] + at + digest
    return bare, at + digest
