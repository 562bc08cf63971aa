"""A blob on its way from upstream into a store, read by clients while it comes.

The transfer runs by itself: no client slows it down, and none ends it by leaving. Clients read what has come from a
window over the newest bytes; whoever falls behind it goes on from the store, once the blob is there. Nobody gets the
last bytes before all of them were proven.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

import anyio

from ocidist.errors import OciError, ServerError, StorageError, UsageError
from ocidist.model.result import OnExit
from ocidist.server.refusal import said

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AsyncExitStack

    from ocidist.model.descriptor import Descriptor
    from ocidist.storage.protocols import BlobReader, BlobStore

WINDOW: Final = 4 * 1024 * 1024
"""Bytes of a blob under way that are kept in memory."""

_logger = logging.getLogger("ocidist.server")


class Fetch:
    """One blob under way, and those who read it meanwhile.

    Args:
        descriptor: The blob.
        upstream: Where it comes from.
        store: Where it goes to.
    """

    def __init__(self, descriptor: Descriptor, upstream: BlobStore, store: BlobStore) -> None:
        self.descriptor = descriptor
        self.upstream = upstream
        self.store = store
        self.error: OciError | None = None
        self.done: bool = False
        self._pieces: deque[bytes] = deque()
        self._stop = 0
        self._start = 0
        self._changed = anyio.Event()

    async def run(self) -> None:
        """Bring the blob into the store; a failure is told to those who read."""
        try:
            await self._transfer()
            self.done = True
        except StorageError as error:
            self.error = error
        except Exception as error:
            _logger.warning("%s could not be had from upstream", self.descriptor.digest, exc_info=error)
            self.error = said(ServerError, 502, "the registry behind this one cannot be used just now")
        finally:
            if not self.done and self.error is None:
                self.error = said(ServerError, 503, "the registry is about to end")
            self._tell()

    async def _transfer(self) -> None:
        digest = self.descriptor.digest
        writing = self.store.writer(algorithm=digest.algorithm, on_exit=OnExit.CANCEL)
        async with self.upstream.open(digest) as reader, writing as writer:
            async for piece in reader:
                await writer.write(piece)
                self._add(piece)
            await writer.commit(digest)

    def _add(self, piece: bytes) -> None:
        self._pieces.append(bytes(piece))
        self._stop += len(piece)
        while self._stop - self._start > WINDOW and len(self._pieces) > 1:
            self._start += len(self._pieces.popleft())
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def changed(self) -> None:
        """Wait until more has come, or the transfer is over."""
        if not self.done and self.error is None:
            await self._changed.wait()

    def after(self, position: int) -> bytes | None:
        """Return bytes from a position, as many as are at hand in one piece; None if they are not in the window."""
        if not self._start <= position < self._stop:
            return None
        at = self._start
        for piece in self._pieces:
            if position < at + len(piece):
                return piece[position - at :]
            at += len(piece)
        return None

    def passed(self, position: int) -> bool:
        """Return whether the window has gone on past a position."""
        return position < self._start


class Tail:
    """A blob as a stream, while it comes. What it opens is closed with *stack*.

    Args:
        fetch: The transfer.
        stack: Closed when the reader is done.
    """

    def __init__(self, fetch: Fetch, stack: AsyncExitStack) -> None:
        self._fetch = fetch
        self._stack = stack
        self._position = 0
        self._direct: AsyncIterator[bytes] | None = None

    @property
    def descriptor(self) -> Descriptor:
        """The whole blob."""
        return self._fetch.descriptor

    def tell(self) -> int:
        """Return the current byte offset."""
        return self._position

    async def seek(self, offset: int, whence: int = 0) -> int:
        """Refuse: a blob that is still coming is read forward.

        Raises:
            UsageError: Always, unless it is where the stream is already.
        """
        if whence == 0 and offset == self._position:
            return offset
        raise UsageError("a blob that is still coming is read forward")

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the bytes."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next bytes."""
        piece = b""
        while not piece:
            if self._direct is None and self._position >= self.descriptor.size:
                raise StopAsyncIteration
            piece = await (self._next() if self._direct is None else anext(self._direct))
        self._position += len(piece)
        return piece

    async def read(self, size: int = -1) -> bytes:
        """Read all of it.

        Raises:
            UsageError: Only a part is asked for.
        """
        if size >= 0:
            raise UsageError("a blob that is still coming is read as a whole, or by iterating")
        return b"".join([piece async for piece in self])

    async def _next(self) -> bytes:
        fetch = self._fetch
        while True:
            if fetch.error is not None:
                return await self._without_store(fetch.error)
            piece = fetch.after(self._position)
            if piece is not None and (fetch.done or self._position + len(piece) < self.descriptor.size):
                return piece
            if fetch.done:
                return await self._from(fetch.store)
            await fetch.changed()

    async def _without_store(self, error: OciError) -> bytes:
        # Whoever has nothing yet can do without the store; a reader from the beginning proves what it reads.
        if isinstance(error, StorageError) and not self._position:
            return await self._from(self._fetch.upstream)
        raise error

    async def _from(self, blobs: BlobStore) -> bytes:
        opening = blobs.open(self.descriptor.digest, offset=self._position)
        reader: BlobReader = await self._stack.enter_async_context(opening)
        self._direct = aiter(reader)
        return await anext(self._direct)
