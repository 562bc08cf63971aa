"""Which manifests of an index are for the platforms that are wanted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from ocidist.errors import PlatformUnknownError, UsageError
from ocidist.model.manifest import ImageIndex, Manifest
from ocidist.model.mediatype import DOCKER_CONFIG, OCI_CONFIG
from ocidist.model.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocidist.model.descriptor import Descriptor

ABOUT: Final = "vnd.docker.reference.digest"
"""Annotation of a manifest in an index that is about another one in it, as the attestations of BuildKit are."""
CONFIG_TYPES: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})


def entries_for(index: ImageIndex, wanted: Sequence[Platform]) -> tuple[Descriptor, ...]:
    """Return the entries of an index that suit one of the platforms, in the index's order.

    For each platform these are the entries that are exactly for it, or else the one that suits it best.

    Raises:
        PlatformUnknownError: There is none for one of them.
    """
    chosen: list[Descriptor] = []
    for platform in wanted:
        exact = [each for each in index.manifests if each.platform is not None and each.platform.matches(platform)]
        best = index.select(platform)
        if best is None:
            there = tuple(dict.fromkeys(str(each.platform) for each in index.manifests if each.platform is not None))
            raise PlatformUnknownError(str(platform), there)
        chosen += exact or [best]
    return tuple(each for each in index.manifests if each in chosen)


def reduced(manifest: Manifest, chosen: Iterable[Descriptor]) -> Manifest:
    """Return an index with these entries only, and what is there about them; everything else in it stays as it is.

    Raises:
        MalformedManifestError: The index cannot be read.
    """
    kept = {str(each.digest) for each in chosen}
    # Not from the view: fields that this version does not know go along.
    content = json.loads(manifest.data)
    entries = content["manifests"]
    content["manifests"] = [
        each for each in entries if each["digest"] in kept or (each.get("annotations") or {}).get(ABOUT) in kept
    ]
    if len(content["manifests"]) == len(entries):
        return manifest
    data = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    return Manifest.of(data, manifest.media_type)


def platform_of(config: bytes) -> Platform | None:
    """Return the platform that an image's configuration states, or None if it states none."""
    try:
        found = json.loads(config)
        return Platform(
            str(found["os"]).lower(),
            str(found["architecture"]).lower(),
            found.get("variant") or None,
            found.get("os.version") or None,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError):
        return None


def check_suits(found: Platform | None, wanted: Sequence[Platform]) -> None:
    """Check that an image that is for one platform is for one of those that are wanted.

    Raises:
        PlatformUnknownError: It is not.
    """
    for platform in wanted:
        if found is not None and any(found.matches(each) for each in platform.acceptable()):
            return
    raise PlatformUnknownError(", ".join(map(str, wanted)), () if found is None else (str(found),))
