"""What is sent: bodies that can be opened again, or that say they cannot.

A body knows its size if anybody does, and whether it is replayable. Files are read in worker threads, so that a slow
disk never holds up the event loop.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, TypeVar, cast

import anyio
import anyio.to_thread

from ocidist.errors import BodyNotReplayableError, IntegrityError, SizeMismatchError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from io import FileIO

    from ocidist.model.digest import Digest

Source: TypeAlias = bytes | bytearray | memoryview | Path | AsyncIterable[bytes] | Callable[[], AsyncIterable[bytes]]
"""What callers may give: bytes, a path, a stream that can be read once, or a callable that opens a stream afresh."""

Progress: TypeAlias = Callable[[int, int | None], None]
"""Told the bytes done so far and the bytes in all, None while that is unknown. Called on the event loop."""

PIECE: Final = 256 * 1024
"""Bytes in memory that are handed on at once: nobody needs a copy of more."""
FILE_PIECE: Final = 1024 * 1024
"""Bytes read from a file at once: large enough that going to a worker thread costs nothing."""

CLOCK_TICK: Final = 50_000_000
"""Nanoseconds within which file systems may give two changes the same time."""

Signature: TypeAlias = tuple[int, int, int, int]
"""Device, number, size and time of modification of a file: what changes when it is written to or replaced."""

_Error = TypeVar("_Error", bound=IntegrityError)
_BLAME: Final = "The source is not what was announced, or it changed while it was read"


class Body(Protocol):
    """A request body.

    ``open()`` may be called once, or any number of times if the body is replayable; every call reads from the start.
    """

    @property
    def size(self) -> int | None:
        """Bytes in all, or None if nobody knows."""
        ...

    @property
    def replayable(self) -> bool:
        """Whether it can be opened again."""
        ...

    def open(self) -> AsyncGenerator[bytes, None]:
        """Return a fresh stream of the bytes; close it with ``aclose()`` if it is not read to the end.

        Raises:
            BodyNotReplayableError: It was opened before and is not replayable.
        """
        ...


class BytesBody:
    """Bytes in memory. A ``bytearray`` or ``memoryview`` must not change while it is being sent.

    Args:
        data: The bytes; they are not copied.

    Attributes:
        data: The bytes.
        size: Their number.
    """

    replayable = True

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self.data = data
        self.size = memoryview(data).nbytes

    def __repr__(self) -> str:
        return f"<BytesBody, {self.size} bytes>"

    async def open(self) -> AsyncGenerator[bytes, None]:
        """Return a stream of the bytes in pieces of at most ``PIECE``."""
        if isinstance(self.data, bytes) and self.size <= PIECE:
            if self.data:
                yield self.data
            return
        for start in range(0, self.size, PIECE):
            # The view is let go before each pause: a bytearray that somebody looks at cannot grow.
            with memoryview(self.data) as view, view.cast("B") as octets:
                piece = bytes(octets[start : start + PIECE])
            yield piece


class FileBody:
    """A part of a regular file, or all of it.

    Args:
        path: The file.
        offset: First byte to send.
        length: Bytes to send from there; None means up to the end, and leaves the size unknown until ``measure()``.

    Attributes:
        path: See above.
        offset: See above.
        size: Bytes to send, if known.
        seen: What the file looked like when it was measured.
        settled: Whether it had not been written to in the moment before; else a change might not show in its time.
    """

    replayable = True

    def __init__(self, path: Path, offset: int = 0, length: int | None = None) -> None:
        if offset < 0 or (length is not None and length < 0):
            raise UsageError("a file is read from an offset that is not negative, and forward")
        self.path = path
        self.offset = offset
        self.size = length
        self.seen: Signature | None = None
        self.settled = False

    def __repr__(self) -> str:
        return f"<FileBody {self.path}, {self.size} bytes from {self.offset}>"

    async def measure(self) -> FileBody:
        """Return the same body with its size known.

        Raises:
            UsageError: The path is no regular file, or ends before the offset.
            OSError: The file cannot be looked at.
        """
        if self.size is not None:
            return self
        now = time.time_ns()
        found = await anyio.to_thread.run_sync(os.stat, self.path)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{self.path} is not a regular file; pass an asynchronous stream instead")
        if found.st_size < self.offset:
            raise UsageError(f"{self.path} has {found.st_size} bytes, fewer than the offset {self.offset}")
        measured = FileBody(self.path, self.offset, found.st_size - self.offset)
        measured.seen = signature_of(found)
        measured.settled = found.st_mtime_ns + CLOCK_TICK < now
        return measured

    async def open(self) -> AsyncGenerator[bytes, None]:
        """Return a stream of the file's bytes in pieces of at most ``FILE_PIECE``.

        Raises:
            SizeMismatchError: The file ended before the promised size.
            OSError: The file cannot be read.
        """
        async with _opened(self.path, self.offset) as file:
            done = 0
            while self.size is None or done < self.size:
                room = FILE_PIECE if self.size is None else min(FILE_PIECE, self.size - done)
                piece = await anyio.to_thread.run_sync(file.read, room)
                if not piece:
                    break
                done += len(piece)
                yield piece
            if self.size is not None and done < self.size:
                raise blame_source(SizeMismatchError(self.size, done))


class StreamBody:
    """A stream that can be read once.

    Args:
        stream: Where the bytes come from; it is closed when the body is, if it can be.
        size: Bytes in all, if known.
    """

    replayable = False

    def __init__(self, stream: AsyncIterable[bytes], size: int | None = None) -> None:
        self._stream: AsyncIterable[bytes] | None = stream
        self.size = size

    def __repr__(self) -> str:
        return f"<StreamBody, {'unknown size' if self.size is None else f'{self.size} bytes'}>"

    def open(self) -> AsyncGenerator[bytes, None]:
        """Return the stream, the first time only."""
        stream, self._stream = self._stream, None
        if stream is None:
            raise BodyNotReplayableError("this body was read before and cannot be read again")
        return _pieces(stream)

    def proves(self, digest: Digest, size: int) -> bool:
        """Return whether the stream itself makes sure that it brings this content and no other."""
        return _proves(self._stream, digest, size)


def _proves(source: object, digest: Digest, size: int) -> bool:
    """Return whether a source hands out its last piece only once the whole was proven, as a ``BlobReader`` does."""
    proves: Callable[[Digest, int], bool] | None = getattr(source, "proves", None)
    return proves is not None and proves(digest, size)


class FactoryBody:
    """A callable that opens the same stream afresh each time.

    Args:
        factory: Returns a new asynchronous iterable over the same bytes.
        size: Bytes in all, if known.
    """

    replayable = True

    def __init__(self, factory: Callable[[], AsyncIterable[bytes]], size: int | None = None) -> None:
        self._factory = factory
        self.size = size

    def __repr__(self) -> str:
        return f"<FactoryBody, {'unknown size' if self.size is None else f'{self.size} bytes'}>"

    def open(self) -> AsyncGenerator[bytes, None]:
        """Return a fresh stream."""
        return _pieces(self._factory())

    def proves(self, digest: Digest, size: int) -> bool:
        """Return whether its streams themselves make sure that they bring this content and no other."""
        return _proves(self._factory, digest, size)


class LaterBody:
    """A replayable body without its beginning. That is read, too, but not handed out.

    Args:
        body: The whole; its size must be known.
        skip: Bytes that are left out.
    """

    replayable = True

    def __init__(self, body: Body, skip: int) -> None:
        self._body = body
        self._skip = skip
        self.size: int = (body.size or skip) - skip

    def __repr__(self) -> str:
        return f"<LaterBody, {self.size} bytes from {self._skip} of {self._body!r}>"

    async def open(self) -> AsyncGenerator[bytes, None]:
        """Return a stream of the rest. Raises what the whole raises."""
        skip = self._skip
        async with aclosing(self._body.open()) as pieces:
            async for piece in pieces:
                left = piece[skip:]
                skip -= min(skip, len(piece))
                if left:
                    yield left


class WatchedBody:
    """A body that reports what is taken from it, and remembers what its source raised.

    Args:
        body: Where the bytes come from.
        progress: Told how many were taken so far; begins anew each time the body is opened.

    Attributes:
        failure: What the source raised the last time it was open, or None. Somebody who only sees the request fail
            can tell by it that the connection was not to blame.
        on_end: Called when its last byte was taken, each time that it is read to the end. None for nobody.
    """

    def __init__(self, body: Body, progress: Progress | None = None) -> None:
        self._body = body
        self._progress = progress
        self.failure: Exception | None = None
        self.on_end: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<WatchedBody of {self._body!r}>"

    @property
    def size(self) -> int | None:
        """Bytes in all, or None if nobody knows."""
        return self._body.size

    @property
    def replayable(self) -> bool:
        """Whether it can be opened again."""
        return self._body.replayable

    @property
    def file(self) -> WatchedFile | None:
        """The file behind the body, if all of it is one whose bytes need no look: it can be sent without reading."""
        body = self._body
        # Looking for one method is enough, and does not take as long as asking whether it has all of a protocol.
        if not hasattr(body, "open_at"):
            return None
        return WatchedFile(self, cast("KnownFile", body), self._progress)

    async def open(self) -> AsyncGenerator[bytes, None]:
        """Return a stream of the bytes. Raises what the source raises."""
        self.failure = None
        done = 0
        try:
            async with aclosing(self._body.open()) as pieces:
                async for piece in pieces:
                    yield piece
                    done += len(piece)
                    if self._progress is not None:
                        self._progress(done, self.size)
            if self.on_end is not None:
                self.on_end()
        except Exception as error:
            self.failure = error
            raise


class KnownFile(Protocol):
    """A body that is a part of a file, with content that need not be hashed on the way. See ``PinnedFile``."""

    offset: int
    size: int

    def open_at(self, done: int) -> FileIO:
        """Open the file at the byte after the first *done* ones. Blocks."""
        ...

    def verify(self, file: FileIO) -> None:
        """Look whether an open file is the one it was. Blocks."""
        ...


class WatchedFile:
    """The file behind a watched body, for whoever sends it in a worker thread.

    Args:
        body: The body; told what the file raises.
        file: The file.
        progress: Told how many bytes were sent.

    Attributes:
        offset: First byte to send.
        size: Bytes to send.
    """

    def __init__(self, body: WatchedBody, file: KnownFile, progress: Progress | None) -> None:
        self._body = body
        self._file = file
        self._progress = progress
        self.offset: int = file.offset
        self.size: int = file.size
        body.failure = None

    def open_at(self, done: int) -> FileIO:
        """Open the file at the byte after the first *done* ones. Blocks; raises what the file raises."""
        try:
            return self._file.open_at(done)
        except Exception as error:
            self._body.failure = error
            raise

    def verify(self, file: FileIO) -> None:
        """Look whether an open file is the one it was. Blocks; raises what the file raises."""
        try:
            self._file.verify(file)
        except Exception as error:
            self._body.failure = error
            raise

    def report(self, done: int) -> None:
        """Take note of how many bytes were sent."""
        if self._progress is not None:
            self._progress(done, self.size)
        if done == self.size and self._body.on_end is not None:
            self._body.on_end()


def signature_of(found: os.stat_result) -> Signature:
    """Return the part of a file's status that tells whether it is the file it was."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def as_body(source: Source) -> Body:
    """Return the body for what a caller gave.

    Raises:
        UsageError: It is none of the kinds ``Source`` lists; a string, above all, might be a path or the text itself.
    """
    match source:
        case bytes() | bytearray() | memoryview():
            return BytesBody(source)
        case Path():
            return FileBody(source)
        case str():
            raise UsageError("a string is not content: pass pathlib.Path(...) for a file, or bytes")
        case AsyncIterable():
            return StreamBody(source)
        case _ if callable(source):
            return FactoryBody(source)
    kind = type(source).__name__
    raise UsageError(f"content is bytes, a path, an asynchronous iterable or a callable returning one, not {kind}")


def blame_source(error: _Error) -> _Error:
    """Say of a mismatch that the bytes to be sent are at fault, and not the registry."""
    vars(error)["hint"] = _BLAME
    return error


def is_blamed_on_source(error: Exception) -> bool:
    """Return whether a mismatch is one of the bytes to be sent."""
    return isinstance(error, IntegrityError) and error.hint == _BLAME


@asynccontextmanager
async def _opened(path: Path, offset: int) -> AsyncIterator[FileIO]:
    opened: list[FileIO] = []
    given_up = False

    def begin() -> None:
        # Unbuffered: the pieces are large already.
        file = path.open("rb", buffering=0)
        file.seek(offset)
        opened.append(file)
        if given_up:
            file.close()

    try:
        await anyio.to_thread.run_sync(begin)
        yield opened[0]
    except BaseException:
        # asyncio's own cancellation waits neither for the thread nor for a shielded cleanup.
        given_up = True
        for file in opened:
            file.close()
        raise
    with anyio.CancelScope(shield=True):
        try:
            await anyio.to_thread.run_sync(opened[0].close)
        finally:
            opened[0].close()


async def _pieces(stream: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    if not isinstance(stream, AsyncIterable):
        raise UsageError(f"a callable that opens content returns an asynchronous iterable, not {type(stream).__name__}")
    try:
        async for piece in stream:
            octets = piece if isinstance(piece, bytes) else _octets(piece)
            # An empty piece would be taken for the end, or for the last one.
            if octets:
                yield octets
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


def _octets(piece: object) -> bytes:
    if isinstance(piece, bytearray | memoryview):
        return bytes(piece)
    raise UsageError(f"a stream of content yields bytes, not {type(piece).__name__}")
