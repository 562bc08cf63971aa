"""What is copied along with a manifest, and how far copying goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ocidist.errors import UsageError
from ocidist.model.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DEPTH: Final = 32
"""Manifests within manifests within manifests that are followed."""
MAX_MANIFESTS: Final = 100_000
"""Manifests that one copy may be made of."""
MAX_MANIFEST_BYTES: Final = 64 * 1024 * 1024
"""Bytes of manifests that one copy may be made of; they are in memory until it is done."""
AT_ONCE: Final = 8
"""Blobs that are on their way at any moment."""


def _several(value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise UsageError(f"artifact types are given as a list: artifact_types=[{value!r}]")
    return tuple(value)


@attrs.frozen
class Referrers:
    """Which referrers are copied along: signatures, attestations, bills of materials.

    Attributes:
        depth: How far to go: 1 for what refers to the manifests themselves, 2 also for what refers to that.
        artifact_types: Only referrers of these types; empty for all.

    Raises:
        UsageError: The depth is not positive, or a text stands where several types belong.
    """

    depth: int = 3
    artifact_types: tuple[str, ...] = attrs.field(default=(), converter=_several)

    def __attrs_post_init__(self) -> None:
        if self.depth < 1:
            raise UsageError("referrers are followed to a depth of at least 1")


def _platforms(value: Iterable[Platform | str] | Platform | str) -> tuple[Platform, ...]:
    several = [value] if isinstance(value, Platform | str) else value
    found = (Platform.parse(each) if isinstance(each, str) else each for each in several)
    return tuple(dict.fromkeys(found))


def _referrers(value: Referrers | bool | None) -> Referrers | None:  # noqa: FBT001 -- a field's value
    if isinstance(value, bool):
        return Referrers() if value else None
    return value


@attrs.frozen(kw_only=True)
class CopyOptions:
    """What is copied along with a manifest, and how far copying goes.

    Attributes:
        platforms: Only images for these, texts like ``linux/arm64`` are taken too; empty for all. With one of them, the
            destination gets that image itself; with several, an index of those images, which has a digest of its own.
        referrers: Which referrers to copy; True for all, None or False for none.
        digest_tags: Whether to copy what tags of the form ``sha256-<digest>.sig`` name, too: cosign keeps signatures
            and attestations there.
        foreign_layers: Whether to copy layers that their licence keeps off most registries, too. They are read from the
            source, or from the URLs that the manifest states for them.
        force: Whether to look at all content, although the destination has the manifest that names it.
        at_once: Blobs that are on their way at any moment.
        max_depth: Manifests within manifests within manifests that are followed.
        max_manifests: Manifests that one copy may be made of.
        max_manifest_bytes: Bytes of all of them together.

    Raises:
        UsageError: A number is not positive, or a platform cannot be read.
    """

    platforms: tuple[Platform, ...] = attrs.field(default=(), converter=_platforms)
    referrers: Referrers | None = attrs.field(default=None, converter=_referrers)
    digest_tags: bool = False
    foreign_layers: bool = False
    force: bool = False
    at_once: int = AT_ONCE
    max_depth: int = MAX_DEPTH
    max_manifests: int = MAX_MANIFESTS
    max_manifest_bytes: int = MAX_MANIFEST_BYTES

    def __attrs_post_init__(self) -> None:
        for name in ("at_once", "max_depth", "max_manifests", "max_manifest_bytes"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is at least 1")
