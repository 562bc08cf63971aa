"""Upload sessions, decided without I/O: from what a registry answered follows what to send next.

Bytes are counted here, because the ``Range`` of real registries is stale, off by one, relative to the chunk or missing.
A Range that falls short of what was sent is looked into once: the registry either took a part of the chunk, or is known
from then on not to mean it. Where an answer was lost or a chunk refused the registry is asked and believed; a report
that contradicts the counter then ends the session instead of being guessed at.

Spec: distribution-spec, "Pushing a blob in chunks".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from ocidist.errors import ProtocolError
from ocidist.wire.ranges import parse_int, parse_upload_range
from ocidist.wire.upload_state import UploadState

if TYPE_CHECKING:
    from ocidist.model.profile import RegistryProfile
    from ocidist.model.reference import RepositoryName

MIB: Final = 1024 * 1024
DEFAULT_CHUNK: Final = 16 * MIB
"""Bytes per chunk where neither the caller, the host's configuration nor the registry says otherwise."""
MAX_MIN_CHUNK: Final = 64 * MIB
"""Largest minimum chunk a registry can impose: a chunk is held in memory."""
LEAST_CHUNK: Final = 256 * 1024
"""Bytes per chunk below which a registry that refuses chunks for their size is given up."""


@attrs.frozen
class Answer:
    """What an answer of an upload session says.

    Attributes:
        status: HTTP status code.
        location: The Location header, made absolute and found acceptable; None if there was none.
        range: The Range header.
        min_chunk: The OCI-Chunk-Min-Length header.
    """

    status: int
    location: str | None = attrs.field(default=None, repr=False)
    range: str | None = None
    min_chunk: str | None = None


@attrs.frozen
class Advance:
    """Go on from ``state.offset``."""

    state: UploadState


@attrs.frozen
class Resend:
    """The registry has less than was sent: send again from ``state.offset``, within what the caller still holds.

    Attributes:
        state: Where to go on.
        unclear: Whether it may have one byte more than that.
    """

    state: UploadState
    unclear: bool = False


@attrs.frozen
class AskStatus:
    """Ask the registry what it has: the chunk was refused, or was taken with a Range that falls short of it."""


@attrs.frozen
class Shrink:
    """The chunk is too large for the registry: send smaller ones.

    Attributes:
        max_chunk: Most bytes of a chunk from now on.
    """

    max_chunk: int


@attrs.frozen
class Restart:
    """The session is of no use any more: begin a new one from the blob's first byte.

    Attributes:
        reason: Why, for an error message.
        gone: Whether there is nothing left to cancel.
    """

    reason: str
    gone: bool = False


@attrs.frozen
class Conflict:
    """The registry contradicts what was sent: end the session.

    Attributes:
        reason: How, for an error message.
    """

    reason: str


Step: TypeAlias = Advance | Resend | Restart | Conflict


def parse_min_chunk(text: str | None) -> int:
    """Read OCI-Chunk-Min-Length, in bytes; anything that is not a number counts as none (0)."""
    return (parse_int(text.strip(" \t")) or 0) if text else 0


def started(
    answer: Answer,
    *,
    registry: str,
    repository: RepositoryName,
    chunk_size: int,
    at: float,
    algorithm: str,
    profile: RegistryProfile,
) -> UploadState:
    """Return the state of a session that was just opened.

    A Range is not looked at: registries say ``0-0``, which cannot mean a byte here.

    Args:
        answer: What opened it.
        registry: ``host[:port]`` of the registry.
        repository: The repository.
        chunk_size: Bytes per chunk that the caller wants; the registry's limits change it.
        at: Seconds since the epoch.
        algorithm: Digest algorithm of the blob.
        profile: What is known of the registry.

    Raises:
        ProtocolError: The answer names no Location.

    Spec: distribution-spec, "POST then PUT".
    """
    if answer.location is None:
        raise ProtocolError("the registry opened an upload session without saying where (no Location)")
    minimum = min(max(parse_min_chunk(answer.min_chunk), profile.min_chunk), MAX_MIN_CHUNK)
    return UploadState(
        registry=registry,
        repository=repository,
        location=answer.location,
        offset=0,
        chunk_size=max(profile.chunk_size(chunk_size), minimum),
        min_chunk=minimum,
        started_at=at,
        algorithm=algorithm,
    )


def piece_stop(state: UploadState, stop: int, max_chunk: int | None) -> int:
    """Return the offset after the next chunk, where all up to *stop* is to be sent and chunks may have a limit.

    The rest is split evenly, so that the last part is not smaller than a registry takes.
    """
    left = stop - state.offset
    if max_chunk is None or left <= max_chunk:
        return stop
    parts = -(-left // max_chunk)
    return state.offset + -(-left // parts)


def patched(state: UploadState, stop: int, answer: Answer, *, exact: bool) -> Advance | AskStatus | Conflict:
    """Decide after a chunk that was accepted (2xx).

    Args:
        state: The session before the chunk.
        stop: Offset after the chunk's last byte.
        answer: What the registry said; an omitted Location leaves the old one in force.
        exact: Whether a Range that falls short has to be looked into; see ``RegistryProfile.exact_range``.

    Returns:
        ``Advance``, or ``AskStatus`` if the registry reports less. ``Conflict`` if it reports more than was ever sent;
        one byte too many is a known counting error and tolerated.

    Spec: distribution-spec, "Pushing a blob in chunks".
    """
    reported = parse_upload_range(answer.range) if answer.range is not None else None
    if reported is not None and reported > stop + 1:
        return Conflict(f"it reports {reported} bytes of an upload, but only {stop} were sent")
    if reported is not None and reported < stop and exact:
        return AskStatus()
    return Advance(_moved(state, stop, answer))


def looked_into(state: UploadState, stop: int, answer: Answer | None) -> Advance | Resend | Conflict:
    """Decide after asking about a chunk that was accepted with a Range that falls short of it.

    Args:
        state: The session before the chunk.
        stop: Offset after the chunk's last byte.
        answer: The answer to the status request; None if the registry does not answer those.

    Returns:
        ``Resend`` where the registry says a second time that it has a part of the chunk: whether that is true shows
        when the rest is sent. Otherwise its reports mean nothing, and the chunk was taken.
    """
    reported = parse_upload_range(answer.range) if answer is not None and answer.range is not None else None
    if answer is None or reported is None:
        return Advance(_moved(state, stop, answer or Answer(0)))
    if reported > stop + 1:
        return Conflict(f"it reports {reported} bytes of an upload, but only {stop} were sent")
    if state.offset <= reported < stop:
        return Resend(_moved(state, reported, answer))
    return Advance(_moved(state, stop, answer))


def refused(status: int, *, asked: bool, sent: int, min_chunk: int) -> AskStatus | Shrink | Restart | None:
    """Decide after a chunk, or the closing request, that was refused.

    Args:
        status: HTTP status of the refusal.
        asked: Whether the registry was asked for its offset already since the last accepted chunk.
        sent: Bytes that were sent.
        min_chunk: The registry's minimum for all chunks but the last.

    Returns:
        What to do, or None if the refusal stands.

    Spec: distribution-spec, "Pushing a blob in chunks".
    """
    smaller = max(sent // 4, LEAST_CHUNK, min_chunk)
    match status:
        case 404 | 410:
            return Restart("the registry does not know the upload session any more")
        case 413 if smaller < sent:
            return Shrink(smaller)
        case 416 if not asked:
            return AskStatus()
        case 416 if smaller < sent:
            # GitHub says so of a chunk that is too large.
            return Shrink(smaller)
        case 416:
            return Restart("the registry refuses the offset it reported itself")
    return None


def reconciled(state: UploadState, stop: int, answer: Answer) -> Step:
    """Decide after asking for the status of a session whose last chunk was lost or refused.

    Args:
        state: The session before that chunk.
        stop: Offset after the last byte that may have arrived.
        answer: The answer to the status request: 2xx, or 404 if the session is gone.

    Returns:
        ``Advance`` if everything arrived, ``Resend`` from where the registry is, ``Restart`` if the session is gone or
        says nothing of its offset, ``Conflict`` if it has more than was sent or lost what it had acknowledged.
    """
    if answer.status in {404, 410}:
        return Restart("the registry does not know the upload session any more", gone=True)
    if answer.range is None:
        return Restart("the registry does not say how much of the upload it has")
    reported = parse_upload_range(answer.range)
    if reported is None:
        return _unclear(state, stop, answer)
    if reported < state.offset:
        return Conflict(f"it reports {reported} bytes of an upload, but had acknowledged {state.offset}")
    if reported > stop:
        return Conflict(f"it reports {reported} bytes of an upload, but only {stop} were sent")
    moved = _moved(state, reported, answer)
    return Advance(moved) if reported == stop else Resend(moved)


def _unclear(state: UploadState, stop: int, answer: Answer) -> Step:
    # "0-0" is nothing or one byte. The own counter tells, unless the lost chunk was the first one: then the first byte
    # is sent once more, and a registry that has it refuses that.
    if state.offset > 1:
        return Conflict(f"it reports next to nothing of an upload, but had acknowledged {state.offset} bytes")
    moved = _moved(state, state.offset, answer)
    return Advance(moved) if stop == state.offset else Resend(moved, unclear=state.offset == 0)


def resumed(state: UploadState, answer: Answer) -> Advance | Restart:
    """Decide about a session that another writer began and whose caller can go on from any offset.

    The registry is believed: the writer may have stopped before it saved the state of its last chunk.

    Returns:
        ``Advance`` with the offset to go on from, or ``Restart`` if the session is gone or its offset unknowable.
    """
    if answer.status in {404, 410}:
        return Restart("the registry does not know the upload session any more", gone=True)
    reported = parse_upload_range(answer.range) if answer.range is not None else None
    if reported is None:
        if state.offset <= 1 and answer.range is not None:
            # An untouched session says "0-0" as well; only a saved acknowledgement tells one byte from none.
            return Advance(_moved(state, state.offset, answer))
        return Restart("the registry does not say how much of the upload it has")
    return Advance(_moved(state, reported, answer))


def _moved(state: UploadState, offset: int, answer: Answer) -> UploadState:
    # Always the newest Location: an older one may answer 404, or lose data.
    prefix = state.prefix if offset == state.offset else None
    return attrs.evolve(state, offset=offset, location=answer.location or state.location, prefix=prefix)
