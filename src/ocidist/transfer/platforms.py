"""Which manifests of an index are for the platforms that are wanted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from ocidist.errors import PlatformUnknownError, UsageError
from ocidist.model.manifest import ImageIndex, Manifest
from ocidist.model.mediatype import DOCKER_CONFIG, INDEX_TYPES, OCI_CONFIG
from ocidist.model.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ocidist.model.descriptor import Descriptor
    from ocidist.model.digest import Digest

ABOUT: Final = "vnd.docker.reference.digest"
"""Annotation of a manifest in an index that is about another one in it, as the attestations of BuildKit are."""
MOST_TOLD: Final = 32
"""Platforms that an error names."""
CONFIG_TYPES: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})


def entries_for(index: ImageIndex, wanted: Sequence[Platform]) -> list[int]:
    """Return the positions of the entries of an index that suit one of the platforms.

    For each platform these are the entries that are exactly for it, or else the one that suits it best.

    Raises:
        PlatformUnknownError: There is none for one of them.
    """
    chosen: set[int] = set()
    entries = index.manifests
    for platform in wanted:
        exact = [at for at, each in enumerate(entries) if each.platform is not None and each.platform.matches(platform)]
        best = index.select(platform)
        if best is None:
            there = dict.fromkeys(str(each.platform) for each in entries if each.platform is not None)
            raise PlatformUnknownError(str(platform), tuple(there)[:MOST_TOLD])
        chosen.update(exact or [entries.index(best)])
    return sorted(chosen)


def indexes_in(index: ImageIndex) -> list[Descriptor]:
    """Return the entries that are indexes, and not for a platform as a whole: what is in them is for several."""
    found = {each.digest: each for each in index.manifests if each.media_type in INDEX_TYPES and each.platform is None}
    return list(found.values())


def expanded(manifest: Manifest, parts: Mapping[Digest, Manifest | None]) -> Manifest:
    """Return an index that has, in the place of indexes, what is in these.

    Args:
        manifest: The index.
        parts: The indexes; None for one that was put in its place already.

    Raises:
        MalformedManifestError: One of them cannot be read.
    """
    content = json.loads(manifest.data)
    left = dict(parts)
    entries: list[object] = []
    for entry, raw in zip(manifest.references, content["manifests"], strict=True):
        if entry.digest not in parts or entry.platform is not None:
            entries.append(raw)
            continue
        # Once: whoever lists one a thousand times would have it grow by as much.
        part = left.pop(entry.digest, None)
        if part is not None and part.media_type in INDEX_TYPES:
            entries += json.loads(part.data)["manifests"]
    content["manifests"] = entries
    return Manifest.of(json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode(), manifest.media_type)


def reduced(manifest: Manifest, chosen: Iterable[int]) -> Manifest:
    """Return an index with these entries only, and what is there about them; everything else in it stays as it is.

    Args:
        manifest: The index.
        chosen: Positions of the entries.

    Raises:
        MalformedManifestError: The index cannot be read.
    """
    positions = set(chosen)
    # Not from the view: fields that this version does not know go along.
    content = json.loads(manifest.data)
    entries = content["manifests"]
    kept = {entries[at]["digest"] for at in positions}
    content["manifests"] = [
        each for at, each in enumerate(entries) if at in positions or (each.get("annotations") or {}).get(ABOUT) in kept
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
