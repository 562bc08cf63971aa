"""What all handlers of an embedded registry share."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import attrs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ocidist.model.digest import Digest
    from ocidist.server.limits import Limits
    from ocidist.server.sessions import Sessions
    from ocidist.storage.protocols import Namespace


class Turns:
    """One lock per name, there only while somebody wants it."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[anyio.Lock, int]] = {}

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        """Hold the lock of a name."""
        lock, users = self._locks.get(name) or (anyio.Lock(), 0)
        self._locks[name] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(name)
            if users > 1:
                self._locks[name] = lock, users - 1


@attrs.frozen
class Service:
    """What a handler works with.

    Attributes:
        store: What is served.
        limits: How much is taken.
        sessions: The open uploads.
        anonymous_mounts: Whether a mount that names no source looks in all repositories: not where some of them are
            not everybody's to read.
        turns: Locks for changes that depend on what is there.
    """

    store: Namespace
    limits: Limits
    sessions: Sessions
    anonymous_mounts: bool = True
    turns: Turns = attrs.field(factory=Turns)


def etag(digest: Digest) -> str:
    """Return the entity tag of content: its digest, quoted."""
    return f'"{digest}"'


def names_entity(value: str, digest: Digest | None, *, weak: bool) -> bool:
    """Return whether an If-Match or If-None-Match header names content.

    Args:
        value: The header.
        digest: The content, or None if there is none; then even ``*`` does not name it.
        weak: Whether a weak entity tag may name it too.

    Spec: RFC 9110, sections 13.1.1 and 13.1.2.
    """
    if digest is None:
        return False
    tags = [tag.strip(" \t") for tag in value.split(",")]
    if weak:
        tags = [tag.removeprefix("W/") for tag in tags]
    return "*" in tags or etag(digest) in tags
