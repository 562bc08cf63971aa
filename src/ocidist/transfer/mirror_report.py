"""What a mirror did."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs

from ocidist.errors import MirrorError
from ocidist.observe.counting import counted, in_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocidist.model.digest import Digest
    from ocidist.transfer.plan import MirrorFailure


class MirrorOutcome(enum.Enum):
    """What became of an image."""

    COPIED = "copied"
    """Something was sent for it: blobs, manifests or a tag."""
    PRESENT = "present"
    """The destination had it."""


@attrs.frozen
class MirroredImage:
    """An image that is at its destination now.

    Attributes:
        source: Where it was read from: tag and digest.
        destination: Where it is.
        digest: The digest it has there.
        outcome: Whether it was copied.
        bytes_copied: Bytes of its blobs that were sent.
    """

    source: str
    destination: str
    digest: Digest
    outcome: MirrorOutcome
    bytes_copied: int = 0

    def to_json(self) -> dict[str, object]:
        """Return the same as plain values."""
        found: dict[str, object] = attrs.asdict(self)
        return found | {"digest": str(self.digest), "outcome": self.outcome.value}


@attrs.frozen(kw_only=True)
class MirrorReport:
    """What a mirror did.

    Attributes:
        images: The images that are at their destinations now.
        failures: What could not be mirrored, or deleted.
        deleted: Tags that were deleted.
        warnings: What somebody should look at.
        shard: Which part of the plan it is about (``0/4``); empty for all of it.
        blobs_copied: Blobs that were sent.
        blobs_mounted: Blobs that destinations took from other repositories of theirs.
        blobs_skipped: Blobs that were there already.
        manifests_copied: Manifests that were sent.
        referrers_copied: Manifests among them that refer to another one.
        bytes_copied: Bytes of the blobs that were sent.
        seconds: How long it took; making the plan is part of it where the same client did both.
    """

    images: tuple[MirroredImage, ...] = ()
    failures: tuple[MirrorFailure, ...] = ()
    deleted: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    shard: str = ""
    blobs_copied: int = 0
    blobs_mounted: int = 0
    blobs_skipped: int = 0
    manifests_copied: int = 0
    referrers_copied: int = 0
    bytes_copied: int = 0
    seconds: float = 0.0

    @property
    def copied(self) -> int:
        """Images that were copied."""
        return sum(image.outcome is MirrorOutcome.COPIED for image in self.images)

    @property
    def present(self) -> int:
        """Images that were there already."""
        return len(self.images) - self.copied

    def raise_failures(self) -> None:
        """Raise what failed, all together.

        Raises:
            MirrorError: Something failed; it has this report.
        """
        if self.failures:
            raise MirrorError(self.summary(), [failure.error for failure in self.failures], self)

    def to_json(self) -> dict[str, object]:
        """Return the report as plain values that ``json.dumps`` takes."""
        counts = attrs.asdict(self, filter=lambda field, _: field.name not in {"images", "failures"})
        return {
            "copied": self.copied,
            "present": self.present,
            "failed": len(self.failures),
            **counts,
            "deleted": list(self.deleted),
            "warnings": list(self.warnings),
            "images": [image.to_json() for image in self.images],
            "failures": [failure.to_json() for failure in self.failures],
        }

    def summary(self) -> str:
        """Return one line for people to read."""
        parts = [f"{self.copied} copied", f"{self.present} there already"]
        parts += [f"{len(self.deleted)} deleted"] if self.deleted else []
        parts += [f"{len(self.failures)} failed"] if self.failures else []
        blobs = (
            f"{counted(self.blobs_copied, 'blob')} sent ({in_bytes(self.bytes_copied)}), {self.blobs_mounted} mounted"
        )
        return f"{', '.join(parts)}; {blobs}, {self.blobs_skipped} skipped; {self.seconds:.1f} s"

    def lines(self) -> Iterator[str]:
        """Yield the report for people to read: what was not simply there already, and the summary."""
        for image in self.images:
            if image.outcome is MirrorOutcome.COPIED:
                yield f"copied   {image.source} -> {image.destination} ({in_bytes(image.bytes_copied)} sent)"
        yield from (f"deleted  {tag}" for tag in self.deleted)
        yield from (f"warning  {warning}" for warning in self.warnings)
        yield from (f"failed   {failure}" for failure in self.failures)
        yield self.summary()

    def __str__(self) -> str:
        return "\n".join(self.lines())
