"""Writing a blob piece by piece: chunks in memory, each one kept until the registry has acknowledged it.

Spec: distribution-spec, "Pushing a blob in chunks".
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

import anyio
import attrs

from ocidist._io.body import blame_source
from ocidist._io.verify import update
from ocidist.errors import (
    DigestMismatchError,
    SizeMismatchError,
    TransportError,
    UploadExpiredError,
    UploadInterruptedError,
    UsageError,
)
from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest, Hasher
from ocidist.model.mediatype import OCTET_STREAM
from ocidist.model.result import OnExit
from ocidist.remote._transfer import PUSH, Transfer
from ocidist.remote._upload import UploadSession

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
    from types import TracebackType

    from ocidist.model.digest import Buffer
    from ocidist.remote._channel import Channel
    from ocidist.wire.upload_state import UploadState


class BlobWriter:
    """A blob being written. ``async with`` opens its session; get it from ``Blobs.writer``.

    At most one chunk is held in memory. Leaving without ``commit()`` keeps the session to be resumed, or cancels it, as
    ``on_exit`` says. Use it from one task at a time.

    Args:
        channel: The repository.
        chunk_size: Bytes per chunk; the registry may raise it.
        algorithm: Digest algorithm of the blob, ``sha256`` or ``sha512``.
        on_exit: What leaving without ``commit()`` does to the session.
        session: A session that is open already, at offset 0; None opens one.
        transfer: Reports what this is a part of; None reports the writing itself.

    Attributes:
        on_acknowledged: Given the state whenever a session is open or the registry has acknowledged a chunk.

    Raises:
        DigestUnsupportedError: Content cannot be verified with the algorithm.
        UsageError: The chunk size is not positive.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        chunk_size: int,
        algorithm: str = "sha256",
        on_exit: OnExit = OnExit.KEEP,
        session: UploadSession | None = None,
        transfer: Transfer | None = None,
    ) -> None:
        if chunk_size < 1:
            raise UsageError("a chunk has at least one byte")
        self._channel = channel
        self._wanted = chunk_size
        self._algorithm = algorithm
        self._on_exit = on_exit
        self._session = session
        # None once the bytes before the first one written here are not known.
        self._hasher: Hasher | None = Hasher(algorithm)
        # What the registry has not acknowledged yet, and the offset of its first byte.
        self._buffer = bytearray()
        self._base = 0
        self._ended = False
        self._told = ExitStack()
        self._reports = transfer is None
        self._transfer = transfer or Transfer(channel, PUSH)
        self.on_acknowledged: Callable[[UploadState], Awaitable[None]] | None = None
        self._guard = anyio.ResourceGuard("writing to")

    def __repr__(self) -> str:
        return f"<BlobWriter {self._channel.name_of()}, {self.size} bytes>"

    @property
    def size(self) -> int:
        """Bytes accepted so far, those of an earlier writer that was resumed included."""
        return self._base + len(self._buffer)

    @property
    def chunk_size(self) -> int:
        """Bytes per chunk."""
        return self._opened.state.chunk_size

    @property
    def started_at(self) -> datetime:
        """When the session was opened, in UTC."""
        return datetime.fromtimestamp(self._opened.state.started_at, UTC)

    @property
    def state(self) -> UploadState:
        """What another process needs to go on: give it to ``Blobs.resume``.

        It covers what the registry has acknowledged; bytes that are still buffered are not part of it.
        """
        return self._opened.state

    @property
    def _opened(self) -> UploadSession:
        if self._session is None:
            raise UsageError("the writer is not open: use it with 'async with'")
        return self._session

    async def __aenter__(self) -> Self:
        """Open the session.

        Raises:
            OciError: See ``Sender.exchange``.
        """
        with self._entered():
            session, self._session = self._session, None
            if session is None:
                await self._begin()
            else:
                await self._use(session)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Keep or cancel the session, unless the blob was committed."""
        try:
            if self._on_exit is OnExit.CANCEL:
                await self.cancel()
        finally:
            self._told.__exit__(kind, error, at)

    @contextmanager
    def _entered(self) -> Iterator[None]:
        with ExitStack() as told:
            if self._reports:
                told.enter_context(self._transfer)
            yield
            self._told = told.pop_all()

    async def _begin(self) -> None:
        session = await UploadSession.begin(self._channel, chunk_size=self._wanted, algorithm=self._algorithm)
        try:
            await self._use(session)
        except BaseException:
            # Nobody wrote down where it is: nobody could go on with it, or end it.
            await session.cancel()
            raise

    async def _use(self, session: UploadSession) -> None:
        self._session = session
        session.on_resume = self._transfer.went_on
        if self.on_acknowledged is not None:
            await self.on_acknowledged(session.state)

    async def write(self, data: Buffer) -> int:
        """Append bytes and return their number. Sends a chunk whenever one is full and more bytes follow.

        If this is cancelled, ``size`` tells how many bytes were taken; the session stays usable.

        Raises:
            UploadExpiredError: The registry forgot the session.
            UploadConflictError: It contradicts what was sent.
            UploadInterruptedError: The connection failed too often; the session was kept.
            OciError: Another failure, see the error's class.
        """
        with self._guard, self._interruptible():
            self._check_open()
            octets = memoryview(data).cast("B")
            done = 0
            while done < octets.nbytes:
                if len(self._buffer) >= self.chunk_size:
                    await self._send()
                part = octets[done : done + self.chunk_size - len(self._buffer)]
                await self._take(part)
                done += part.nbytes
            return done

    async def write_from(self, source: AsyncIterable[bytes]) -> int:
        """Append everything a stream yields and return the number of bytes. Raises as ``write``, and as the stream."""
        count = 0
        async for piece in source:
            count += await self.write(piece)
        return count

    async def flush(self) -> None:
        """Send what is buffered, unless that is less than the registry's minimum for a chunk.

        Raises:
            OciError: See ``write``.
        """
        with self._guard, self._interruptible():
            self._check_open()
            if self._buffer and len(self._buffer) >= self.state.min_chunk:
                await self._send()

    async def commit(self, expected: Digest | Descriptor | None = None) -> Descriptor:
        """Finish the blob and return its descriptor. The bytes still buffered go with the closing request.

        Args:
            expected: What the blob should be. Checked before anything is sent, by digest and, from a descriptor, by
                size; its media type and annotations are kept in the result.

        Raises:
            DigestMismatchError: The bytes written have another digest, or the registry stored others.
            SizeMismatchError: Their number is another.
            UsageError: The expected digest uses another algorithm than the writer.
            UploadInterruptedError: The connection failed too often; the session was kept.
            OciError: Another failure, see the error's class.
        """
        with self._guard, self._interruptible():
            self._check_open()
            digest = self._check(expected)
            await self._finish(digest)
            self._ended = True
        if self._reports:
            self._transfer.digest = digest
            self._transfer.progress(self.size, self.size)
            self._transfer.complete = True
        return expected if isinstance(expected, Descriptor) else Descriptor(OCTET_STREAM, digest, self.size)

    async def cancel(self) -> None:
        """End the session; the registry forgets the bytes. Takes 2 seconds at most and never raises.

        Does nothing after ``commit()`` or a second time.
        """
        if self._ended:
            return
        self._ended = True
        if self._session is not None:
            await self._session.cancel()

    # --- details -----------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        _ = self._opened
        if self._ended:
            raise UsageError("the blob was committed or cancelled already")

    def _check(self, expected: Digest | Descriptor | None) -> Digest:
        if isinstance(expected, Descriptor) and expected.size != self.size:
            raise blame_source(SizeMismatchError(expected.size, self.size))
        wanted = expected.digest if isinstance(expected, Descriptor) else expected
        wanted = None if wanted is None else Digest(wanted)
        if wanted is not None and wanted.algorithm != self._algorithm:
            raise UsageError(f"this writer computes {self._algorithm}; open it with algorithm={wanted.algorithm!r}")
        actual = None if self._hasher is None else self._hasher.digest()
        if wanted is not None and actual is not None and wanted != actual:
            raise blame_source(DigestMismatchError(wanted, actual, size=self.size))
        found = actual or wanted
        if found is None:
            raise UsageError("a resumed writer that was not given the source needs the expected digest")
        return found

    async def _take(self, part: memoryview) -> None:
        if self._hasher is not None:
            # Hashed in a copy: if this is cancelled, the bytes were not taken, and hasher and buffer still agree.
            hasher = self._hasher.copy()
            await update(hasher, part)
            self._hasher = hasher
        self._buffer += part

    async def _send(self) -> None:
        try:
            await self._opened.send(self._base, self._buffer)
        except UploadExpiredError:
            if self._base:
                raise
            # Nothing but this chunk was sent, and it is still here.
            await self._begin()
            await self._opened.send(self._base, self._buffer)
        finally:
            self._trim()
        session = self._opened
        if self._hasher is not None:
            session.state = attrs.evolve(session.state, prefix=self._hasher.digest())
        if self._reports:
            self._transfer.progress(self._base, None)
        if self.on_acknowledged is not None:
            await self.on_acknowledged(session.state)

    async def _finish(self, digest: Digest) -> None:
        try:
            await self._opened.finish(digest, self._base, self._buffer)
        except UploadExpiredError:
            if self._base:
                raise
            await self._begin()
            await self._opened.finish(digest, self._base, self._buffer)

    def _trim(self) -> None:
        """Let go of what the registry has acknowledged."""
        acknowledged = self._opened.state.offset - self._base
        if acknowledged > 0:
            del self._buffer[:acknowledged]
            self._base += acknowledged

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        try:
            yield
        except TransportError as error:
            if self._on_exit is OnExit.CANCEL or self._session is None or isinstance(error, SizeMismatchError):
                raise
            made = UploadInterruptedError(f"the upload stopped: {error.message}", state=self.state.to_json())
            made.locate(operation=error.operation, reference=error.reference, host=error.host, attempts=error.attempts)
            raise made from error
