"""Going on with a blob that another writer began.

Spec: distribution-spec, "Pushing a blob in chunks".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ocidist._io.body import blame_source
from ocidist._io.verify import update
from ocidist.errors import DigestMismatchError, UploadConflictError, UploadExpiredError, UsageError
from ocidist.model.digest import Hasher
from ocidist.model.result import OnExit
from ocidist.remote._upload import UploadSession
from ocidist.remote.writer import BlobWriter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType

    from ocidist._io.body import Body
    from ocidist.model.descriptor import Descriptor
    from ocidist.model.digest import Buffer, Digest
    from ocidist.remote._channel import Channel
    from ocidist.remote._transfer import Transfer
    from ocidist.wire.upload_state import UploadState


class ResumedWriter(BlobWriter):
    """A blob that another writer began. Get it from ``Blobs.resume``.

    Args:
        channel: The repository.
        state: Where the other writer stood.
        source: Where the blob's bytes come from, from its first one on; None if the caller has only the rest.
        on_exit: What leaving without ``commit()`` does to the session.
    """

    def __init__(
        self,
        channel: Channel,
        state: UploadState,
        source: Body | None,
        on_exit: OnExit,
        transfer: Transfer | None = None,
    ) -> None:
        size, kind = state.chunk_size, state.algorithm
        super().__init__(channel, chunk_size=size, algorithm=kind, on_exit=on_exit, transfer=transfer)
        self._before = state
        self._source = source
        # What the registry does not have of the source: the end of the piece in hand, and the pieces after it.
        self._left = b""
        self._rest: AsyncGenerator[bytes, None] | None = None
        self._failed = False

    async def __aenter__(self) -> Self:
        """Ask the registry where the session stands, and hash again what it has.

        Raises:
            UploadExpiredError: It forgot the session, and there is no source to begin again with.
            UploadConflictError: It has more bytes than the source.
            DigestMismatchError: The source does not begin with what was sent before.
            OciError: See ``Sender.exchange``.
        """
        with self._entered():
            session = await UploadSession.resume(self._channel, self._before)
            if session is not None:
                if session.state.offset:
                    self._transfer.resumed(session.state.offset, "an earlier upload stopped there")
                await self._use(session)
            elif self._source is None and self._before.offset:
                raise UploadExpiredError("the registry does not know the upload session any more").locate(
                    reference=self._channel.name_of(), host=self._channel.host
                )
            else:
                await self._begin()
            self._base = self.state.offset
            if self._source is not None:
                try:
                    await self._catch_up(self._source)
                except BaseException:
                    await self._close_source()
                    if self._on_exit is OnExit.CANCEL:
                        await self.cancel()
                    raise
            elif self._base:
                self._hasher = None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Keep or cancel the session, unless the blob was committed."""
        try:
            await self._close_source()
        finally:
            await super().__aexit__(kind, error, at)

    async def write(self, data: Buffer) -> int:
        """Append bytes; see ``BlobWriter.write``. From then on the source's own rest is not sent any more."""
        await self._close_source()
        return await super().write(data)

    async def commit(self, expected: Digest | Descriptor | None = None) -> Descriptor:
        """Send the rest of the source, if there is one and nothing was written here, and finish the blob.

        See ``BlobWriter.commit``. Without a source the expected digest is required, and only the registry checks it.
        If this fails or is cancelled, it can be called again, unless it was the source that failed.

        Raises:
            UsageError: The source failed before, so that the rest of it is not known.
        """
        if self._rest is not None:
            await self._send_rest(self._rest)
            await self._close_source()
        return await super().commit(expected)

    async def _send_rest(self, rest: AsyncGenerator[bytes, None]) -> None:
        while True:
            before = self.size
            try:
                await super().write(self._left)
            finally:
                self._left = self._left[self.size - before :]
            if self._failed:
                raise UsageError("the source failed before its end: resume the upload with a new one")
            # A stream that raised looks, the next time, as if it had ended.
            self._failed = True
            self._left = await anext(rest, b"")
            self._failed = False
            if not self._left:
                return

    async def _catch_up(self, source: Body) -> None:
        """Hash the first bytes of the source, as many as the registry has."""
        self._rest = source.open()
        before = self._before
        hasher = Hasher(self._algorithm)
        if before.prefix is not None and before.offset <= self._base:
            await self._hash_to(before.offset, hasher)
            if hasher.digest() != before.prefix:
                mismatch = DigestMismatchError(before.prefix, hasher.digest(), size=before.offset)
                raise blame_source(mismatch).locate(reference=self._channel.name_of(), host=self._channel.host)
        await self._hash_to(self._base, hasher)
        self._hasher = hasher

    async def _hash_to(self, stop: int, hasher: Hasher) -> None:
        while hasher.size < stop:
            if not self._left and self._rest is not None:
                self._left = await anext(self._rest, b"")
            if not self._left:
                error = UploadConflictError(f"the registry has {self._base} bytes, the source {hasher.size}")
                raise error.locate(reference=self._channel.name_of(), host=self._channel.host)
            room = stop - hasher.size
            await update(hasher, self._left[:room])
            self._left = self._left[room:]

    async def _close_source(self) -> None:
        rest, self._rest = self._rest, None
        if rest is not None:
            await rest.aclose()
