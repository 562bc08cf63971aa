"""Upload sessions that outlive a process: what has to be known to go on, as text.

Spec: distribution-spec, "Pushing a blob in chunks".
"""

from __future__ import annotations

import json
from typing import Final, Self

import attrs

from ocidist.errors import InvalidDigestError, InvalidReferenceError, ProtocolError, UsageError
from ocidist.model import strictjson
from ocidist.model.descriptor import MAX_SIZE
from ocidist.model.digest import Digest
from ocidist.model.reference import RepositoryName
from ocidist.wire.redact import redact_url

STATE_VERSION: Final = 1
MAX_STATE_CHARS: Final = 64 * 1024
_MAX_LOCATION: Final = 8 * 1024
# The last second that Python has a date for.
_LATEST: Final = 253_402_300_799
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
        prefix: Digest of the first ``offset`` bytes as they were sent; None if it is not known.
    """

    registry: str
    repository: RepositoryName
    location: str = attrs.field(repr=redact_url)
    offset: int
    chunk_size: int
    min_chunk: int = 0
    started_at: float = 0.0
    algorithm: str = "sha256"
    prefix: Digest | None = None

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
            prefix=_prefix(found),
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
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LATEST:
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


def _prefix(found: dict[str, object]) -> Digest | None:
    if found.get("prefix") is None:
        return None
    try:
        return Digest(_text(found, "prefix"))
    except InvalidDigestError:
        raise _damaged("prefix") from None


@attrs.frozen
class UploadStarted:
    """A mount was declined and an upload session opened instead: send the blob, or cancel the session.

    Attributes:
        state: The session, at offset 0; give it to ``blobs.resume``.
    """

    state: UploadState
