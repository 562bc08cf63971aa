"""Upload sessions, decided without I/O: from what a registry answered follows what to send next.

The client's own counter is the truth after a success: the ``Range`` of real registries is stale, off by one, relative
to the chunk or missing. The registry is asked, and believed, only when an answer was lost or a chunk was refused; and
then a report that contradicts the counter ends the session instead of being guessed at.

Spec: distribution-spec, "Pushing a blob in chunks".
"""

from __future__ import annotations

import json
from typing import Final, Self, TypeAlias

import attrs

from ocidist.errors import InvalidReferenceError, ProtocolError, UsageError
from ocidist.model import strictjson
from ocidist.model.descriptor import MAX_SIZE
from ocidist.model.reference import RepositoryName
from ocidist.wire.ranges import parse_int, parse_upload_range
from ocidist.wire.redact import redact_url

MIB: Final = 1024 * 1024
DEFAULT_CHUNK: Final = 16 * MIB
"""Bytes per chunk where neither the caller, the host's configuration nor the registry says otherwise."""
MAX_MIN_CHUNK: Final = 64 * MIB
"""Largest minimum chunk a registry can impose: a chunk is held in memory."""
STATE_VERSION: Final = 1
MAX_STATE_CHARS: Final = 64 * 1024
_MAX_LOCATION: Final = 8 * 1024
_ALGORITHMS: Final = frozenset({"sha256", "sha512"})


@attrs.frozen
class UploadState:
    """What is needed to go on with an upload session, in this process or another.

    It holds no credential, but its location is a capability: whoever has it may write to the session. It is masked in
    the repr; keep stored states private.

    Attributes:
        registry: ``host[:port]`` of the registry.
        repository: Repository the blob goes to.
        location: The session's newest Location, absolute; stores other than registries put their own identifier here.
        offset: Bytes the registry is known to have.
        chunk_size: Bytes per chunk.
        min_chunk: The registry's minimum for all chunks but the last, in bytes; 0 if it named none.
        started_at: When the session was opened, in seconds since the epoch.
        algorithm: Digest algorithm of the blob.
    """

    registry: str
    repository: RepositoryName
    location: str = attrs.field(repr=redact_url)
    offset: int
    chunk_size: int
    min_chunk: int = 0
    started_at: float = 0.0
    algorithm: str = "sha256"

    def to_json(self) -> str:
        """Return the state as one line of JSON."""
        return json.dumps({"version": STATE_VERSION, **attrs.asdict(self)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a state that ``to_json()`` wrote.

        Raises:
            UsageError: It is malformed, or was written by an incompatible version.
        """
        if len(text) > MAX_STATE_CHARS:
            raise UsageError("this is not an upload state: it is too long")
        try:
            found = strictjson.loads(text, what="upload state", unique_keys=True)
        except ProtocolError as error:
            raise UsageError(f"this is not an upload state: {error.message}") from None
        if not isinstance(found, dict) or "version" not in found:
            raise UsageError("this is not an upload state")
        if found["version"] != STATE_VERSION or isinstance(found["version"], bool):
            raise UsageError("this upload state was written by an incompatible version of ocidist")
        return cls(
            registry=_text(found, "registry"),
            repository=_repository(found),
            location=_text(found, "location"),
            offset=_count(found, "offset"),
            chunk_size=_count(found, "chunk_size", 1),
            min_chunk=_count(found, "min_chunk"),
            started_at=_seconds(found, "started_at"),
            algorithm=_algorithm(found),
        )


def _damaged(name: str) -> UsageError:
    return UsageError(f"this upload state is damaged: {name} is missing or invalid")


def _text(found: dict[str, object], name: str) -> str:
    value = found.get(name)
    if isinstance(value, str) and 0 < len(value) <= _MAX_LOCATION and value.isprintable():
        return value
    raise _damaged(name)


def _count(found: dict[str, object], name: str, least: int = 0) -> int:
    value = found.get(name)
    if type(value) is int and least <= value <= MAX_SIZE:
        return value
    raise _damaged(name)


def _seconds(found: dict[str, object], name: str) -> float:
    value = found.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_SIZE:
        return float(value)
    raise _damaged(name)


def _repository(found: dict[str, object]) -> RepositoryName:
    try:
        return RepositoryName(_text(found, "repository"))
    except InvalidReferenceError:
        raise _damaged("repository") from None


def _algorithm(found: dict[str, object]) -> str:
    value = _text(found, "algorithm")
    if value in _ALGORITHMS:
        return value
    raise _damaged("algorithm")


@attrs.frozen
class UploadStarted:
    """A mount was declined and an upload session opened instead: send the blob, or cancel the session.

    Attributes:
        state: The session, at offset 0; give it to ``blobs.resume``.
    """

    state: UploadState


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
    """The registry has less than was sent: send again from ``state.offset``, within what the caller still holds."""

    state: UploadState


@attrs.frozen
class AskStatus:
    """The chunk was refused, or its answer lost: ask the registry what it has."""


@attrs.frozen
class Restart:
    """The session is of no use any more: begin a new one from the blob's first byte.

    Attributes:
        reason: Why, for an error message.
    """

    reason: str


@attrs.frozen
class Conflict:
    """The registry contradicts what was sent: end the session.

    Attributes:
        reason: How, for an error message.
    """

    reason: str


Step: TypeAlias = Advance | Resend | Restart | Conflict


def chunk_size_for(wanted: int, min_chunk: int) -> int:
    """Return the bytes per chunk: what the caller wants, raised to the registry's minimum within ``MAX_MIN_CHUNK``."""
    return max(wanted, min(min_chunk, MAX_MIN_CHUNK))


def parse_min_chunk(text: str | None) -> int:
    """Read OCI-Chunk-Min-Length, in bytes; anything that is not a number counts as none (0)."""
    return (parse_int(text.strip(" \t")) or 0) if text else 0


def started(
    answer: Answer, *, registry: str, repository: RepositoryName, chunk_size: int, at: float, algorithm: str
) -> UploadState:
    """Return the state of a session that was just opened.

    A Range is not looked at: registries say ``0-0``, which cannot mean a byte here.

    Raises:
        ProtocolError: The answer names no Location.

    Spec: distribution-spec, "POST then PUT".
    """
    if answer.location is None:
        raise ProtocolError("the registry opened an upload session without saying where (no Location)")
    minimum = parse_min_chunk(answer.min_chunk)
    return UploadState(
        registry=registry,
        repository=repository,
        location=answer.location,
        offset=0,
        chunk_size=chunk_size_for(chunk_size, minimum),
        min_chunk=min(minimum, MAX_MIN_CHUNK),
        started_at=at,
        algorithm=algorithm,
    )


def patched(state: UploadState, stop: int, answer: Answer) -> Advance | Conflict:
    """Decide after a chunk that was accepted (2xx).

    Args:
        state: The session before the chunk.
        stop: Offset after the chunk's last byte.
        answer: What the registry said; an omitted Location leaves the old one in force.

    Returns:
        ``Advance``, also when the registry reports less: real ones do so although they have everything, and one that
        does not will refuse the next chunk. ``Conflict`` if it reports more than was ever sent; one byte too many is
        a known counting error and tolerated.

    Spec: distribution-spec, "Pushing a blob in chunks".
    """
    reported = parse_upload_range(answer.range) if answer.range is not None else None
    if reported is not None and reported > stop + 1:
        return Conflict(f"it reports {reported} bytes of an upload, but only {stop} were sent")
    return Advance(_moved(state, stop, answer))


def refused(status: int, *, asked: bool) -> AskStatus | Restart | None:
    """Decide after a chunk, or the closing request, that was refused.

    Args:
        status: HTTP status of the refusal.
        asked: Whether the registry was asked for its offset already since the last accepted chunk.

    Returns:
        What to do, or None if the refusal stands.
    """
    match status:
        case 404 | 410:
            return Restart("the registry does not know the upload session any more")
        case 416 if asked:
            return Restart("the registry refuses the offset it reported itself")
        case 416:
            return AskStatus()
    return None


def reconciled(state: UploadState, stop: int, answer: Answer) -> Step:
    """Decide after asking for the status of a session whose last chunk was lost or refused.

    Args:
        state: The session before that chunk.
        stop: Offset after the last byte that may have arrived.
        answer: The answer to the status request: 2xx, or 404 if the session is gone.

    Returns:
        ``Advance`` if everything arrived, ``Resend`` from where the registry is, ``Restart`` if the session is gone or
        its report can be read in two ways, ``Conflict`` if it has more than was sent or lost what it had acknowledged.
    """
    if answer.status in {404, 410}:
        return Restart("the registry does not know the upload session any more")
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
    # "0-0" is nothing or one byte. The own counter tells, unless the lost chunk was the first one.
    if state.offset == 1:
        moved = _moved(state, 1, answer)
        return Advance(moved) if stop == 1 else Resend(moved)
    if state.offset == 0 and stop == 0:
        return Advance(_moved(state, 0, answer))
    if state.offset == 0:
        return Restart("the registry has nothing or one byte of the upload, and does not say which")
    return Conflict(f"it reports next to nothing of an upload, but had acknowledged {state.offset} bytes")


def resumed(state: UploadState, answer: Answer) -> Advance | Restart:
    """Decide about a session that another writer began and whose caller can go on from any offset.

    The registry is believed: the writer may have stopped before it saved the state of its last chunk.

    Returns:
        ``Advance`` with the offset to go on from, or ``Restart`` if the session is gone or its offset unknowable.
    """
    if answer.status in {404, 410}:
        return Restart("the registry does not know the upload session any more")
    reported = parse_upload_range(answer.range) if answer.range is not None else None
    if reported is None:
        if state.offset <= 1 and answer.range is not None:
            # An untouched session says "0-0" as well; only a saved acknowledgement tells one byte from none.
            return Advance(_moved(state, state.offset, answer))
        return Restart("the registry does not say how much of the upload it has")
    return Advance(_moved(state, reported, answer))


def _moved(state: UploadState, offset: int, answer: Answer) -> UploadState:
    # Always the newest Location: an older one may answer 404, or lose data.
    return attrs.evolve(state, offset=offset, location=answer.location or state.location)
