"""The upload sessions of an embedded registry: who may go on where, and for how long."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from contextlib import asynccontextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, Final

import anyio
import attrs

from ocidist.errors import BlobUploadUnknownError, OciError, RateLimitedError
from ocidist.model.result import OnExit
from ocidist.server.refusal import said

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ocidist.model.reference import RepositoryName
    from ocidist.server.limits import Limits
    from ocidist.storage.protocols import Namespace
    from ocidist.wire.upload_state import UploadState

RETRY_AFTER_S: Final = 5
"""Seconds that a client is asked to wait before it tries again to begin an upload."""


@attrs.define(eq=False)
class Session:
    """One upload session.

    Attributes:
        repository: The only repository it may be used for.
        account: The only account that may use it; empty where nobody is asked.
        state: Where the store goes on.
        used_at: Reading of the clock when it was last used.
        id: Identifier that nobody can guess.
        size: Bytes the store has.
        users: Requests that use it or wait for it.
        lock: Held by the one request that writes.
    """

    repository: RepositoryName
    account: str
    state: UploadState
    used_at: float
    id: str = attrs.field(factory=lambda: str(uuid.uuid4()))
    size: int = 0
    users: int = 0
    lock: anyio.Lock = attrs.field(factory=anyio.Lock, repr=False)

    @property
    def location(self) -> str:
        """Path of the session."""
        return f"/v2/{self.repository}/blobs/uploads/{self.id}"


class Sessions:
    """All open sessions, the longest unused one first.

    Args:
        store: Where their bytes are.
        limits: How many there may be, and for how long.
        clock: Seconds from any moment on.

    Attributes:
        pending: Bytes of all open sessions.
    """

    def __init__(self, store: Namespace, limits: Limits, clock: Callable[[], float]) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock
        self._open: OrderedDict[str, Session] = OrderedDict()
        self.pending: int = 0
        self._begun = 0

    def __len__(self) -> int:
        return len(self._open)

    @asynccontextmanager
    async def room(self) -> AsyncIterator[None]:
        """Hold room for one more upload, after ending the sessions that nobody used for too long.

        Raises:
            RateLimitedError: There are too many uploads even so.
        """
        deadline = self._clock() - self._limits.upload_ttl
        # Those that were not used for longest come first, so a flood of requests does not look at all of them.
        old = takewhile(lambda each: each.used_at < deadline, self._open.values())
        expired = [each for each in old if not each.users]
        for session in expired:
            self.drop(session)
        for session in expired:
            await self._discard(session)
        if len(self._open) + self._begun >= self._limits.max_uploads:
            error = said(RateLimitedError, 429, "too many uploads are open")
            error.retry_after = RETRY_AFTER_S
            raise error
        self._begun += 1
        try:
            yield
        finally:
            self._begun -= 1

    def add(self, repository: RepositoryName, account: str, state: UploadState) -> Session:
        """Open a session for an upload that the store has begun."""
        session = Session(repository, account, state, self._clock())
        self._open[session.id] = session
        return session

    def find(self, repository: RepositoryName, session_id: str, account: str) -> Session:
        """Return an open session.

        Raises:
            BlobUploadUnknownError: There is none of this identifier, it is another repository's or another account's,
                or nobody used it for too long.
        """
        found = self._open.get(session_id)
        if found is None or (found.repository, found.account) != (repository, account) or self._is_expired(found):
            raise said(BlobUploadUnknownError, 404, "the upload session is not known")
        return found

    @asynccontextmanager
    async def use(self, repository: RepositoryName, session_id: str, account: str) -> AsyncIterator[Session]:
        """Have a session to oneself; others that want it wait.

        Raises:
            BlobUploadUnknownError: See ``find``; also if the session ended during the wait.
        """
        session = self.find(repository, session_id, account)
        session.users += 1
        try:
            async with session.lock:
                yield self.find(repository, session_id, account)
        finally:
            session.users -= 1
            session.used_at = self._clock()
            if session.id in self._open:
                self._open.move_to_end(session.id)

    def grow(self, session: Session, size: int) -> None:
        """Say how many bytes of a session the store has."""
        if session.id in self._open:
            self.pending += size - session.size
        session.size = size

    def drop(self, session: Session) -> None:
        """Forget a session; does nothing the second time."""
        if self._open.pop(session.id, None) is not None:
            self.pending -= session.size

    def _is_expired(self, session: Session) -> bool:
        return session.used_at < self._clock() - self._limits.upload_ttl and not session.users

    async def _discard(self, session: Session) -> None:
        blobs = self._store.repository(session.repository).blobs
        try:
            async with blobs.resume(session.state, on_exit=OnExit.CANCEL):
                pass
        except OciError:
            # Whatever is left of it is no more than the store itself will clear up.
            return
