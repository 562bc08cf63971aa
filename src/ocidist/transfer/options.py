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
        _check_counts(self, "depth")


def _platforms(value: Iterable[Platform | str] | Platform | str | None) -> tuple[Platform, ...]:
    several = [value] if isinstance(value, Platform | str) else value or ()
    try:
        found = [Platform.parse(each) if isinstance(each, str) else each for each in several]
    except TypeError:
        found = []
        wrong: object = value
    else:
        wrong = next((each for each in found if not isinstance(each, Platform)), None)
    if wrong is not None:
        raise UsageError(f"platforms are texts like 'linux/arm64', not {type(wrong).__name__}")
    return tuple(dict.fromkeys(found))


def _referrers(value: Referrers | bool | None) -> Referrers | None:  # noqa: FBT001 -- a field's value
    if isinstance(value, bool):
        return Referrers() if value else None
    if value is not None and not isinstance(value, Referrers):
        raise UsageError(f"referrers is True, False or Referrers(...), not {type(value).__name__}")
    return value


def _check_counts(options: object, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UsageError(f"{name} is a whole number, at least 1")


@attrs.frozen(kw_only=True)
class CopyOptions:
    """What is copied along with a manifest, and how far copying goes.

    Attributes:
        platforms: Only images for these, texts like ``linux/arm64`` are taken too; empty for all. With one of them, the
            destination gets that image itself; with several, an index of those images, which has a digest of its own.
        referrers: Which referrers to copy; True for all, None or False for none.
        digest_tags: Whether to copy what tags of the form ``sha256-<digest>.sig`` name, too: cosign keeps signatures
            and attestations there.
        foreign_layers: Whether to copy layers, too, that their licence keeps off most registries and that have URLs of
            their own for that reason. They are read from the source, or else from those URLs.
        force: Whether to look at all content, although the destination has the manifest that names it.
        at_once: Blobs that are on their way at any moment.
        max_depth: Manifests within manifests within manifests that are followed.
        max_manifests: Manifests that one copy may be made of.
        max_manifest_bytes: Bytes of all of them together.

    Raises:
        UsageError: A number is not positive, a platform cannot be read, or something is of another type.
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
        for name in ("digest_tags", "foreign_layers", "force"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} is True or False")
        _check_counts(self, "at_once", "max_depth", "max_manifests", "max_manifest_bytes")
