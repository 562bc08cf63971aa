"""Event records: frozen values handed to hooks while a client works. They hold no secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from ocidist.model.ratelimit import RateLimit

CANCELLED: Final = "cancelled"
"""Why a transfer failed whose caller gave up."""


@attrs.frozen
class Event:
    """Root of the event records.

    Attributes:
        host: The registry host the event is about (``host[:port]``).
    """

    host: str


@attrs.frozen
class WarningReceived(Event):
    """A registry sent a ``Warning: 299`` text that this client has not shown before.

    Spec: distribution-spec, "Warnings".

    Attributes:
        text: The registry's words, control characters removed.
    """

    text: str


@attrs.frozen
class RequestRetried(Event):
    """A request failed and is sent again.

    Attributes:
        operation: What was attempted.
        attempt: Number of the attempt that failed, from 1.
        wait: Seconds until the next attempt.
        reason: Why it failed.
    """

    operation: str
    attempt: int
    wait: float
    reason: str


@attrs.frozen
class RequestRedirected(Event):
    """A registry sends a request to another place, and it is followed there.

    Attributes:
        operation: What was attempted.
        target: The host it goes to (``host[:port]``); the rest of the URL may hold secrets.
    """

    operation: str
    target: str


@attrs.frozen
class RateLimitSeen(Event):
    """A host says something new of how many requests it allows; at most once a second, unless none are left.

    Attributes:
        quota: What it says.
    """

    quota: RateLimit


@attrs.frozen
class ConcurrencyChanged(Event):
    """A host answered 429 or 503, and is given less to do at once; or it coped for a while, and is given more.

    Attributes:
        kind: Which requests: ``stream`` (blobs that are read), ``read`` (other reads) or ``write``.
        limit: Most of them under way at once from now on.
        rate: Most of them that begin in a second, as learned from the host; None sets no limit.
    """

    kind: str
    limit: int
    rate: float | None


@attrs.frozen
class MirrorFailed(Event):
    """A mirror did not answer in its registry's place, or answered with something wrong; another host is asked.

    That a mirror does not have something is no failure.

    Attributes:
        mirror: The mirror (``https://host[:port]``).
        operation: What was attempted.
        reason: What came back.
        aside: Seconds for which the mirror is not asked at all; 0 if it goes on being asked for other things.
        wrong: Whether it sent something that is not what was asked for: corrupt content, or a stale tag.
    """

    mirror: str
    operation: str
    reason: str
    aside: float = 0.0
    wrong: bool = False


@attrs.frozen
class NamesSkipped(Event):
    """A list held names that do not follow the grammar; they are neither given out nor used in a URL.

    Attributes:
        what: What was listed, ``tags`` or ``repositories``.
        names: The names, control characters removed.
    """

    what: str
    names: tuple[str, ...]


@attrs.frozen
class TransferEvent(Event):
    """Root of what is told about a blob on its way. Bytes are counted as they arrive, before they are proven.

    Attributes:
        transfer: Ties together what is told about one transfer; no other one of this process has the number.
        operation: What is done, ``pull blob`` or ``push blob``.
        reference: The blob (``host/repository@sha256:...``), or only the repository while the digest is not known.
    """

    transfer: int
    operation: str
    reference: str


@attrs.frozen
class TransferStarted(TransferEvent):
    """A transfer begins. Exactly one of ``TransferFinished`` and ``TransferFailed`` follows.

    Attributes:
        size: Bytes in all, or None while nobody knows.
    """

    size: int | None


@attrs.frozen
class TransferProgressed(TransferEvent):
    """More of a blob is there. Told once in a megabyte or so, and at the end.

    Attributes:
        done: Bytes so far. Smaller than before where a part had to be sent or read again.
        size: Bytes in all, or None while nobody knows.
    """

    done: int
    size: int | None


@attrs.frozen
class TransferResumed(TransferEvent):
    """A transfer goes on after a failure, or where an earlier process left it.

    Attributes:
        offset: Bytes that need not be moved again.
        reason: What interrupted it.
    """

    offset: int
    reason: str


@attrs.frozen
class BlobMounted(TransferEvent):
    """The registry took the blob from another of its repositories; nothing was sent.

    Attributes:
        source: That repository.
    """

    source: str


@attrs.frozen
class TransferFinished(TransferEvent):
    """A transfer is complete, and proven by its digest wherever it was read or sent as a whole.

    Attributes:
        done: Bytes of the blob that were moved; 0 where it was there already, or mounted.
        size: Bytes in all, or None where only a part was read and nobody knows.
        seconds: How long it took.
    """

    done: int
    size: int | None
    seconds: float


@attrs.frozen
class TransferFailed(TransferEvent):
    """A transfer ended without its blob.

    Attributes:
        done: Bytes so far.
        reason: Why; ``cancelled`` if the caller gave up.
        error: Name of the error's class; empty where there was none: the caller gave up.
    """

    done: int
    reason: str
    error: str = ""


@attrs.frozen
class CopyEvent(Event):
    """Root of what is told about copies; the host is the destination.

    Attributes:
        source: Where the content comes from (``host/repository@sha256:...``, ``oci:DIR@sha256:...``).
        destination: Where it goes (``host/repository``, ``oci:DIR``).
        size: Its bytes; for a copy as a whole, those of all its blobs.
    """

    source: str
    destination: str
    size: int


@attrs.frozen
class CopyStarted(CopyEvent):
    """What a copy is made of is known, and it begins.

    Attributes:
        blobs: Blobs it is made of.
        manifests: Manifests it is made of.
    """

    blobs: int
    manifests: int


@attrs.frozen
class ContentCopied(CopyEvent):
    """A blob or a manifest was sent to the destination."""


@attrs.frozen
class ContentMounted(CopyEvent):
    """The destination took a blob from another of its repositories.

    Attributes:
        mounted_from: That repository; several, with commas between them, where it is not known which of them it was.
    """

    mounted_from: str


@attrs.frozen
class ContentSkipped(CopyEvent):
    """A blob or a manifest was at the destination already; or it is a layer that is left out."""


@attrs.frozen
class CopyFinished(CopyEvent):
    """A copy is complete.

    Attributes:
        seconds: How long it took.
    """

    seconds: float
