"""Which manifests a layout has: those in its index, those in indexes within, and who refers to whom. All of it blocks.

A manifest says the same for ever, so each is read once: what it lists and its subject are kept in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ocidist.errors import LimitExceededError, OciError
from ocidist.model.manifest import Manifest
from ocidist.model.mediatype import INDEX_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocidist.model.descriptor import Descriptor
    from ocidist.model.digest import Digest
    from ocidist.storage.contents import Contents
    from ocidist.storage.layout_index import Index

MAX_MANIFEST: Final = 4 * 1024 * 1024
"""Bytes that a manifest has at most."""
_MOST_KEPT: Final = 200_000


@attrs.frozen
class Facts:
    """What a manifest says about others.

    Attributes:
        children: The manifests it lists.
        subject: What it refers to.
        referrer: How it is listed among the referrers of that.
    """

    children: tuple[Descriptor, ...] = ()
    subject: Digest | None = None
    referrer: Descriptor | None = None


_NOTHING: Final = Facts()


class Known:
    """The manifests of a layout.

    Args:
        files: The layout.
    """

    def __init__(self, files: Contents) -> None:
        self._files = files
        self._facts: dict[tuple[Digest, str], Facts] = {}
        self._all: tuple[Index, Mapping[Digest, str]] | None = None
        self._subjects: tuple[Index, Mapping[Digest, Mapping[Digest, Descriptor]]] | None = None

    def media_type(self, index: Index, digest: Digest) -> str | None:
        """Return the media type of a manifest, or None if nothing says that this is one."""
        entry = index.by_digest.get(digest)
        return self.all(index).get(digest) if entry is None else entry.media_type

    def all(self, index: Index) -> Mapping[Digest, str]:
        """Return the media types of all manifests, whether they are there or not."""
        if self._all is None or self._all[0] is not index:
            self._all = index, dict(self.walk(index))
        return self._all[1]

    def walk(self, index: Index) -> Iterator[tuple[Digest, str]]:
        """Iterate over all manifests, each with its media type."""
        found: set[Digest] = set()
        left = [(entry.digest, entry.media_type) for entry in reversed(index.entries)]
        while left:
            digest, media_type = left.pop()
            if digest in found:
                continue
            found.add(digest)
            yield digest, media_type
            if media_type in INDEX_TYPES:
                children = self.facts(digest, media_type).children
                left.extend((child.digest, child.media_type) for child in children if child.digest not in found)

    def referrers(self, index: Index, subject: Digest) -> Mapping[Digest, Descriptor]:
        """Return how the manifests are listed whose subject this is."""
        if self._subjects is None or self._subjects[0] is not index:
            by_subject: dict[Digest, dict[Digest, Descriptor]] = {}
            for digest, media_type in self.all(index).items():
                facts = self.facts(digest, media_type)
                if facts.subject is not None and facts.referrer is not None:
                    by_subject.setdefault(facts.subject, {})[digest] = facts.referrer
            self._subjects = index, by_subject
        found = self._subjects[1].get(subject, {})
        # What lists them may be there still.
        return {digest: each for digest, each in found.items() if self._files.size(digest) is not None}

    def facts(self, digest: Digest, media_type: str) -> Facts:
        """Return what a manifest says about others; nothing if it is missing or damaged."""
        kept = self._facts.get((digest, media_type))
        if kept is not None:
            return kept
        try:
            data = self._files.read(digest, MAX_MANIFEST)
            if data is None:
                return _NOTHING
            digest.verify(data)
            found = facts_of(data, digest, media_type)
        except (OciError, OSError):
            return _NOTHING
        if len(self._facts) >= _MOST_KEPT:
            self._facts.clear()
        self._facts[digest, media_type] = found
        return found

    def get(self, digest: Digest, media_type: str) -> Manifest | None:
        """Return a manifest, or None if it is not there.

        Raises:
            LimitExceededError: It is too large.
            DigestMismatchError: It has other content.
            MalformedManifestError: It is not what its media type says.
            OSError: It cannot be read.
        """
        data = self._files.read(digest, MAX_MANIFEST)
        if data is None:
            return None
        if len(data) > MAX_MANIFEST:
            raise LimitExceededError("manifest", MAX_MANIFEST)
        return Manifest.of(data, media_type, expected=digest)


def facts_of(data: bytes, digest: Digest, media_type: str) -> Facts:
    """Return what a manifest says about others.

    Raises:
        MalformedManifestError: It is not what its media type says.
    """
    lists = media_type in INDEX_TYPES
    # Most refer to nothing, and need not be parsed. A key may be spelled with escapes, too.
    if not lists and b'"subject"' not in data and b"\\u" not in data:
        return _NOTHING
    made = Manifest(data, media_type, digest)
    subject = made.subject
    return Facts(
        children=made.references if lists else (),
        subject=None if subject is None else subject.digest,
        referrer=None if subject is None else made.as_referrer(),
    )
