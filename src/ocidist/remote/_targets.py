"""What callers name manifests by: tags, digests, and the values that carry a digest."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ocidist.errors import UsageError
from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest
from ocidist.model.manifest import Manifest
from ocidist.model.reference import Tag

if TYPE_CHECKING:
    from collections.abc import Iterable

Target: TypeAlias = Tag | Digest | Descriptor | str
"""A manifest, by whatever names it."""

Content: TypeAlias = Digest | Descriptor | Manifest | str
"""A manifest, by what has its digest."""


def tag_or_digest(target: Target) -> Tag | Digest:
    """Return the tag or the digest that names a manifest.

    Raises:
        InvalidDigestError: It is a text with a colon but no digest.
        InvalidReferenceError: It is a text but no tag.
        UsageError: It is something else.
    """
    if isinstance(target, Descriptor):
        return target.digest
    if isinstance(target, str):
        return Digest(target) if ":" in target else Tag(target)
    raise UsageError(f"a manifest is named by a tag, a digest or a descriptor, not {_kind(target)}")


def digest_of(content: Content) -> Digest:
    """Return the digest of a manifest.

    Raises:
        InvalidDigestError: It is a text but no digest.
        UsageError: It is something else.
    """
    if isinstance(content, Descriptor | Manifest):
        return content.digest
    if isinstance(content, str):
        return Digest(content)
    raise UsageError(f"expected a digest, a descriptor or a manifest, not {_kind(content)}")


def several_tags(tags: Iterable[Tag | str]) -> tuple[Tag, ...]:
    """Return tags, each once, in the order given.

    Raises:
        InvalidReferenceError: One is no tag.
        UsageError: A single text stands where several belong: its letters would be tags too.
    """
    if isinstance(tags, str | bytes) or not hasattr(tags, "__iter__"):
        raise UsageError(f"tags are given as a list: tags=[{tags!r}]")
    return tuple(dict.fromkeys(map(Tag, tags)))


def _kind(value: object) -> str:
    hint = " (its .locator is one)" if hasattr(value, "locator") else ""
    return f"{type(value).__name__}{hint}"
