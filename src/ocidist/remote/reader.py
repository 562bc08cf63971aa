"""Reading a blob as a stream: verified, seekable, and carried on after a lost connection.

Spec: distribution-spec, "Pulling blobs".
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Self

import anyio
import anyio.to_thread

from ocidist._io.verify import update
from ocidist.errors import DigestMismatchError, IntegrityError, ResponseError, TransportError, UsageError
from ocidist.model.descriptor import Descriptor
from ocidist.model.mediatype import OCTET_STREAM
from ocidist.remote._stream import BlobStream
from ocidist.remote._transfer import PULL, Transfer
from ocidist.wire.endpoints import GetBlob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

    from ocidist.model.digest import Digest, Hasher
    from ocidist.remote._channel import Channel


class BlobReader:
    """A blob's bytes. ``async with`` opens it; get it from ``Blobs.open``.

    Iterate over it, or use ``read()``. Reading from the first byte to the last proves the digest, and nothing else
    does: the bytes handed out before are unverified, and what ``seek()``, ``offset=`` and ``length=`` select stays so.
    Where the size is known, the last piece of a full read is handed out only after the digest was found right, so
    nobody ever holds a whole blob that is wrong. A connection that is lost is opened again where it broke, at another
    host where it was a mirror's. Bytes that were handed out cannot be taken back: where a mirror sent wrong ones the
    error at the end names it, ``excused`` is set, and a new reader does not ask it for this blob again.

    Use it from one task at a time.

    Args:
        channel: The repository.
        digest: The blob's digest.
        known: Its descriptor, if the caller has it.
        offset: First byte to read.
        length: Bytes to read from there, or None for all.
        begun: Has seen every byte before the offset, so that the rest proves the whole.
        transfer: What the reading is part of; None makes it a transfer of its own.

    Raises:
        DigestUnsupportedError: The digest cannot be verified.
        UsageError: Offset or length is negative.
    """

    def __init__(
        self,
        channel: Channel,
        digest: Digest,
        known: Descriptor | None = None,
        *,
        offset: int = 0,
        length: int | None = None,
        begun: Hasher | None = None,
        transfer: Transfer | None = None,
    ) -> None:
        if offset < 0 or (length is not None and length < 0):
            raise UsageError("offset and length must not be negative")
        hasher = digest.hasher()
        self._where = channel.name_of(digest)
        self._host = channel.host
        self._digest = digest
        self._known = known
        stop = None if length is None else offset + length
        self._stream = BlobStream(channel, digest, size=None if known is None else known.size, at=offset, stop=stop)
        self._stream.on_loss = self._on_loss
        self._to_the_end = length is None
        # Present as long as every byte before the current position went through it.
        self._hasher: Hasher | None = hasher if offset == 0 else begun
        self._begun = begun is not None and begun.size > 0
        # Offset of the byte that counts as the first of the transfer.
        self._base = 0 if begun is not None else offset
        self._sought = False
        self._transfer = transfer or Transfer(channel, PULL, digest, self._in_all())
        self._own = transfer is None
        self._verified = False
        self._broken: IntegrityError | None = None
        self._given_up = False
        self._excused = False
        self._pending = b""
        # A piece of which only the part before the cut was handed out.
        self._ready = b""
        self._cut = 0
        self._guard = anyio.ResourceGuard("reading from")

    def __repr__(self) -> str:
        return f"<BlobReader {self._where} at {self.tell()}>"

    @property
    def descriptor(self) -> Descriptor:
        """The whole blob: the descriptor that was given, or one with the size the registry states.

        Raises:
            UsageError: The registry did not state a size; it is known once the blob was read to the end.
        """
        if self._known is not None:
            return self._known
        if self.size is None:
            raise UsageError("the registry did not say how large the blob is; read it to the end first")
        return Descriptor(OCTET_STREAM, self._digest, self.size)

    @property
    def size(self) -> int | None:
        """Bytes in the whole blob, or None while unknown."""
        return self._stream.size

    @property
    def verified(self) -> bool:
        """Whether the whole blob was read in sequence and has the digest that was asked for."""
        return self._verified

    @property
    def excused(self) -> bool:
        """Whether the bytes were wrong and a mirror had sent some of them: reading again from the start avoids it."""
        return self._excused

    @property
    def joined(self) -> bool:
        """Whether the bytes come from more than one answer: then reading again from the start may help."""
        return self._begun or self._stream.joined

    def proves(self, digest: Digest, size: int) -> bool:
        """Return whether what is still to be read is the whole blob of this digest and size.

        Then its last piece is not handed out before all of it was verified, and nobody has to hash it again.
        """
        whole = self._to_the_end and size > 0 and (self._digest, self.size) == (digest, size)
        return whole and self._hasher is not None and self.tell() == 0

    def tell(self) -> int:
        """Return the offset of the next byte ``read()`` returns."""
        return self._stream.at - len(self._pending) - (len(self._ready) - self._cut)

    async def __aenter__(self) -> Self:
        """Send the request, so that a missing blob is found here.

        Raises:
            BlobUnknownError: There is no such blob.
            SizeMismatchError: The registry announces another size than the descriptor.
            OciError: See ``Sender.exchange``.
        """
        if self._own:
            self._transfer.__enter__()
        try:
            self._stream.proof = self._hasher
            await self._stream.start()
        except BaseException as error:
            self._end(error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Release the connection."""
        try:
            await self._stream.close()
        finally:
            self._end(error or self._broken)

    def _end(self, error: BaseException | None) -> None:
        if self._own:
            self._transfer.__exit__(None if error is None else type(error), error, None)

    def _in_all(self) -> int | None:
        """Return how many bytes the transfer has, if anybody can tell."""
        end = self._stream.end
        return None if end is None or self._sought else max(end - self._base, 0)

    def _note(self) -> None:
        self._transfer.progress(self._stream.at - self._base, self._in_all())

    def _on_loss(self, reason: str) -> None:
        self._note()
        self._transfer.resumed(self._stream.at - self._base, reason)

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the bytes from the current position, in pieces as they arrive."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece. See ``read`` for what it raises."""
        with self._guard:
            piece = self._held() or await self._next()
        if not piece:
            raise StopAsyncIteration
        return piece

    async def read(self, size: int = -1) -> bytes:
        """Return the next *size* bytes, fewer only at the end; all that are left when negative.

        All that are left are held in memory.

        Raises:
            DigestMismatchError: The whole blob was read, and is another.
            SizeMismatchError: It is longer than it should be.
            TruncatedBodyError: It keeps ending early.
            TransportError: The connection was lost too often.
            OciError: See ``Sender.exchange``.
        """
        pieces: list[bytes] = []
        count = 0
        with self._guard:
            while size < 0 or count < size:
                try:
                    piece = self._held(-1 if size < 0 else size - count) or await self._next()
                except BaseException:
                    # What was taken already is not lost to whoever tries again.
                    self._hold(b"".join(pieces), 0)
                    raise
                if not piece:
                    break
                take = len(piece) if size < 0 else min(len(piece), size - count)
                if take < len(piece):
                    self._hold(piece, take)
                pieces.append(piece[:take])
                count += take
        return b"".join(pieces)

    async def pour(self, into: Callable[[bytes | memoryview], object]) -> bool:
        """Hand the next part of the blob to *into*, in a worker thread, and return whether there may be more.

        This is the fastest way to the end of a blob: bytes are received, hashed and handed over outside of the event
        loop. A piece is good until *into* returns. As when iterating, bytes are unverified until the end was reached.
        Each call takes a fraction of a second; cancelled, it ends at once, while *into* may still be busy.

        Args:
            into: Takes a piece; what it raises is raised here, and ends the reading for good, as a cancellation does.

        Raises:
            Exception: As ``read``, and what *into* raises.
            UsageError: It was cancelled before, or *into* failed: nobody knows which bytes were taken.
        """
        with self._guard:
            held = self._held() or (await self._next() if self._pending else b"")
            if not held:
                return await self._pour(into)
            await anyio.to_thread.run_sync(into, held)
            return True

    async def _pour(self, into: Callable[[bytes | memoryview], object]) -> bool:
        self._check()
        hasher = self._hasher

        def take(piece: bytes | memoryview) -> None:
            if hasher is not None:
                hasher.update(piece)
            into(piece)

        more = False
        try:
            # While it goes on nobody can tell how far the hasher is.
            self._hasher = None
            self._stream.proof = hasher
            more = await self._stream.pour(take)
            self._note()
            if hasher is not None and self._stream.at == self.size and not self._verified:
                await self._prove(hasher)
                more = False
        except (TransportError, ResponseError):
            # All that came was taken; the rest may come another time.
            self._hasher = hasher
            raise
        except IntegrityError as error:
            self._broken = error
            self._excused = self._stream.disproved(error)
            raise
        except BaseException:
            self._given_up = True
            raise
        self._hasher = hasher
        return more

    def _check(self) -> None:
        if self._broken is not None:
            raise self._broken
        if self._given_up:
            raise UsageError("the reading ended while bytes were handed over: open the blob again")

    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to another byte and return its offset in the blob.

        The next read asks for the rest from there. Going anywhere but to the very beginning gives up verification.

        Args:
            offset: Bytes from the start, the current position or the end, as *whence* says.
            whence: ``io.SEEK_SET``, ``io.SEEK_CUR`` or ``io.SEEK_END``.

        Raises:
            UsageError: It would lie before the start, or the blob's size is not known.
        """
        with self._guard:
            target = offset + self._origin(whence)
            if target < 0:
                raise UsageError("cannot seek to before the start")
            if target != self.tell():
                # What is read from now on counts from where the reading stands.
                self._base += target - self._stream.at
                self._sought, self._begun = True, False
                await self._stream.move(target)
                self._hold(b"", 0)
                self._pending = b""
                self._hasher = self._digest.hasher() if target == 0 else None
                self._verified = False
                self._broken = None
            return target

    def _origin(self, whence: int) -> int:
        match whence:
            case io.SEEK_SET:
                return 0
            case io.SEEK_CUR:
                return self.tell()
            case io.SEEK_END:
                return self.descriptor.size
        raise UsageError("whence is io.SEEK_SET, io.SEEK_CUR or io.SEEK_END")

    def _hold(self, piece: bytes, cut: int) -> None:
        self._ready, self._cut = piece, cut

    def _held(self, size: int = -1) -> bytes:
        """Return up to *size* bytes of what arrived but was not handed out yet."""
        left = len(self._ready) - self._cut
        take = left if size < 0 else min(size, left)
        piece = self._ready[self._cut : self._cut + take]
        self._cut += take
        if take == left:
            self._hold(b"", 0)
        return piece

    async def _next(self) -> bytes:
        """Return the next piece, or nothing at the end."""
        self._check()
        try:
            # A piece stays pending until it is hashed, so that a cancelled reader can go on without a gap.
            if not self._pending:
                self._stream.proof = self._hasher
                self._pending = await self._stream.next()
                if self._pending:
                    self._note()
            if self._hasher is not None:
                hasher = self._hasher.copy()
                await update(hasher, self._pending)
                if self._stream.at == self.size and not self._verified:
                    await self._prove(hasher)
                self._hasher = hasher
        except IntegrityError as error:
            # A wrong blob stays wrong, however often somebody asks; a connection may be better next time.
            if not isinstance(error, TransportError):
                self._broken = error
                self._excused = self._stream.disproved(error)
            raise
        piece, self._pending = self._pending, b""
        return piece

    async def _prove(self, hasher: Hasher) -> None:
        await self._stream.check_end()
        await self._stream.close()
        actual = hasher.digest()
        if actual != self._digest:
            error = DigestMismatchError(self._digest, actual, size=hasher.size)
            asked = self._stream.asked
            raise error.locate(operation=GetBlob.operation, reference=self._where, host=self._host, attempts=asked)
        self._verified = True
