"""What was copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from ocidist.model.digest import Digest
    from ocidist.model.reference import Tag


@attrs.frozen(kw_only=True)
class CopyReport:
    """What a copy did.

    Attributes:
        source: Where it was read from, with the digest that was found there.
        destination: Where it went.
        digest: Digest of what the destination has now. Registries that know sha256 alone have it by that digest.
        source_digest: Digest of what the source named; another one where only some platforms were copied.
        tags: Tags that were set at the destination, or that named the manifest already.
        tags_set: How many of them were set.
        manifests_copied: Manifests that were sent; not those that were there, and were sent for a new tag alone.
        manifests_skipped: Manifests that were there already; what they lead to is not counted.
        blobs_copied: Blobs that were sent. Each blob of the manifests that were copied is counted once, here or below.
        blobs_mounted: Blobs that the destination took from another of its repositories.
        blobs_skipped: Blobs that were there already.
        foreign_skipped: Layers that were left out because of their licence.
        referrers_copied: Manifests among those sent that refer to another one.
        bytes_copied: Bytes of the blobs that were sent.
        seconds: How long it took.
    """

    source: str
    destination: str
    digest: Digest
    source_digest: Digest
    tags: tuple[Tag, ...] = ()
    tags_set: int = 0
    manifests_copied: int = 0
    manifests_skipped: int = 0
    blobs_copied: int = 0
    blobs_mounted: int = 0
    blobs_skipped: int = 0
    foreign_skipped: int = 0
    referrers_copied: int = 0
    bytes_copied: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, object]:
        """Return the same as plain values that ``json.dumps`` takes."""
        found = attrs.asdict(self)
        return found | {"digest": str(self.digest), "source_digest": str(self.source_digest), "tags": list(self.tags)}
