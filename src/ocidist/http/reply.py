"""Answers as the remote objects see them, and streams that give back their slot when they are closed."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
import httpx

from ocidist._io.body import WatchedBody
from ocidist.errors import LimitExceededError, OciError, TransportError, TruncatedBodyError
from ocidist.http.failure import translate
from ocidist.http.lean import EARLY, LeanRequest, LeanResponse
from ocidist.http.transport.body import ResponseBody
from ocidist.wire.ranges import content_length

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ocidist._io.body import Body, WatchedFile
    from ocidist.errors import AuthError
    from ocidist.http.limits import Slot
    from ocidist.http.mirrors import Source


_FIELDS: Final = "ocidist_fields"
WITHHELD: Final = "ocidist_withheld"

DRAIN_BYTES: Final = 64 * 1024
"""Longest body that is read only to keep its connection."""

DRAIN_SECONDS: Final = 1.0

SNAPSHOT_SECONDS: Final = 5.0
"""Longest time for the body of an answer that is an error, a challenge or a redirect: its status says what counts."""


class RequestStream(httpx.AsyncByteStream):
    """A request body that can be iterated again for another attempt, if its source can be opened again."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._source: AsyncGenerator[bytes, None] | None = None

    @property
    def file(self) -> WatchedFile | None:
        """The file that is the body, for a transport that can send it without reading it."""
        return self._body.file if isinstance(self._body, WatchedBody) else None

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._source = self._body.open()
        return self._source

    @property
    def half_read(self) -> bool:
        """Whether an attempt left the source before its end."""
        source = self._source
        return source is not None and not (isinstance(source, AsyncGeneratorType) and source.ag_frame is None)

    async def aclose(self) -> None:
        """Close the source where an attempt left it half-read; to be called after each attempt."""
        source, self._source = self._source, None
        if source is not None:
            await source.aclose()


class TimedStream(httpx.AsyncByteStream):
    """A response body as it comes from a transport: closed with its iterator, and timed as httpx does it."""

    def __init__(self, stream: httpx.AsyncByteStream, response: httpx.Response, start: float) -> None:
        self._stream = stream
        self._iterator: AsyncIterator[bytes] | None = None
        self._response = response
        self._start = start

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._iterator = aiter(self._stream)
        return self._iterator

    async def aclose(self) -> None:
        """Release the connection."""
        self._response.elapsed = timedelta(seconds=time.perf_counter() - self._start)
        try:
            # Left to the garbage collector it would be trio that closes it. Not every transport's can be closed.
            if isinstance(self._iterator, AsyncGenerator):
                await self._iterator.aclose()
        finally:
            await self._stream.aclose()


class TrackedStream(httpx.AsyncByteStream):
    """A response body that gives its slot back as soon as it is closed.

    Attributes:
        body: The body as it comes from the transport.
    """

    def __init__(self, stream: httpx.AsyncByteStream, slot: Slot) -> None:
        self.body = stream
        self._slot = slot

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self.body)

    def __del__(self) -> None:
        # Nobody will close it any more.
        self._slot.release()

    async def aclose(self) -> None:
        """Release the slot, then the connection."""
        # First what cannot be interrupted.
        self._slot.release()
        await self.body.aclose()


def fields_of(response: httpx.Response) -> dict[bytes, list[bytes]]:
    """Return the header fields of an answer by their names in lower case, read over once."""
    found: dict[bytes, list[bytes]] | None = response.by_name if isinstance(response, LeanResponse) else None
    if found is not None:
        return found
    found = response.extensions.get(_FIELDS)
    if found is None:
        found = response.extensions[_FIELDS] = {}
        for name, value in response.headers.raw:
            found.setdefault(name.lower(), []).append(value)
    return found


def is_whole(response: httpx.Response) -> bool:
    """Return whether the whole body of an answer is here, and its connection free for others already."""
    return isinstance(response.stream, ResponseBody) and response.stream.done


class _Chunks:
    """See ``sender.Pieces``."""

    def __init__(self, stream: httpx.AsyncByteStream, expected: int | None, source: Source | None = None) -> None:
        self._source = source
        self._body = stream.body if isinstance(stream, TrackedStream) else stream
        self._stream = aiter(stream)
        self._expected = expected
        self._count = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        failure: OciError
        try:
            piece = await anext(self._stream)
        except (httpx.HTTPError, ssl.SSLError) as error:
            failure = self._failure(error)
        else:
            self._count += len(piece)
            return piece
        raise failure

    async def pour(self, into: Callable[[bytes | memoryview], object]) -> bool:
        if not isinstance(self._body, ResponseBody):
            piece = await anext(self, b"")
            if piece:
                await anyio.to_thread.run_sync(into, piece)
            return bool(piece)

        def counted(piece: bytes | memoryview) -> None:
            self._count += len(piece)
            into(piece)

        failure: OciError
        try:
            return await self._body.pour(counted)
        except (httpx.HTTPError, ssl.SSLError) as error:
            failure = self._failure(error)
        raise failure

    def _failure(self, error: httpx.HTTPError | ssl.SSLError) -> OciError:
        # Not a TLS failure: the handshake is long over.
        cut = isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | ssl.SSLError)
        made = translate(error)
        if cut and self._expected is not None and self._count < self._expected:
            cause = made.__cause__
            made = TruncatedBodyError(self._expected, self._count)
            made.__cause__ = cause
        if self._source is not None:
            self._source.failed(made)
        return made


@lru_cache(maxsize=256)
def _key(name: str) -> bytes:
    return name.lower().encode("ascii")


class HttpReply:
    """An answer with an expected status. See ``sender.Reply``.

    Attributes:
        source: The mirror behind it, None if it is the registry's own.
    """

    source: Source | None = None

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._fields = fields_of(response)
        self._taken = False

    @property
    def status(self) -> int:
        """HTTP status code."""
        return self._response.status_code

    @property
    def url(self) -> str:
        """Absolute URL that answered, after redirects."""
        request = self._response.request
        return request.address if isinstance(request, LeanRequest) else str(request.url)

    @property
    def early(self) -> bool:
        """Whether the answer was there before the whole request was sent."""
        return EARLY in self._response.extensions

    @property
    def authenticated(self) -> bool:
        """Whether credentials, or a token of theirs, came with the request that was answered."""
        return "Authorization" in self._response.request.headers and self.withheld is None

    @property
    def withheld(self) -> AuthError | None:
        """Why the request was made as nobody although there are credentials, None if it was not."""
        error: AuthError | None = self._response.extensions.get(WITHHELD)
        return error

    @property
    def attempts(self) -> int | None:
        """How many requests it took, or None if nobody counted."""
        made: int | None = self._response.extensions.get("ocidist_attempts")
        return made

    @property
    def mirror(self) -> str | None:
        """The mirror that answered in the registry's place, None if it was the registry."""
        return None if self.source is None else str(self.source.mirror)

    def disproved(self, error: OciError) -> bool:
        """Tell that the body is not what was asked for, and return whether a mirror is to blame."""
        if self.source is None:
            return False
        self.source.disproved(error)
        return True

    def header(self, name: str) -> str | None:
        """Return the first field of this name, or None."""
        values = self._fields.get(_key(name))
        if values is None:
            return None
        try:
            return values[0].decode("ascii")
        except UnicodeDecodeError:
            return self.header_values(name)[0]

    def header_values(self, name: str) -> tuple[str, ...]:
        """Return every field of this name, in order, unsplit."""
        values = self._fields.get(_key(name))
        if values is None:
            return ()
        try:
            return tuple(value.decode("ascii") for value in values)
        except UnicodeDecodeError:
            # httpx knows what some servers mean by that.
            return tuple(self._response.headers.get_list(name))

    async def read(self, limit: int, what: str) -> bytes:
        """Read the whole body, refusing more than *limit* bytes, at once where its length is told."""
        if not self._taken and isinstance(self._response.stream, ResponseBody) and not self._used:
            data = self._response.stream.whole()
            if data is not None:
                self._taken = True
                if len(data) > limit:
                    raise LimitExceededError(what, limit)
                return data
        length = content_length(self.header_values("Content-Length"))
        if length is not None and length > limit and self._response.request.method != "HEAD":
            raise LimitExceededError(what, limit)
        return await read_capped(self.chunks(), limit, what)

    def chunks(self) -> _Chunks:
        """Return the body as it arrives, undecoded."""
        if self._taken:
            msg = "the body of an answer can be read only once"
            raise TransportError(msg)
        stream = self._response.stream
        if self._used:
            stream = httpx.ByteStream(self._response.content)
        self._taken = True
        length = content_length(self.header_values("Content-Length"))
        return _Chunks(stream, length, self.source)  # type: ignore[arg-type]  # transports answer async requests so

    async def aclose(self) -> None:
        """Release the connection; a short body that nobody wanted is read, so that the connection can be used again."""
        if is_whole(self._response) and not self._used:
            return
        try:
            with suppress(OciError):
                if not self._taken and not self._response.is_closed and self._is_short():
                    with anyio.move_on_after(DRAIN_SECONDS):
                        async for _ in self.chunks():
                            pass
        finally:
            await self._response.aclose()

    @property
    def _used(self) -> bool:
        # One of the user's event hooks has read it.
        return self._response.is_stream_consumed

    def _is_short(self) -> bool:
        if self._response.request.method == "HEAD" or self._response.status_code in {204, 304}:
            return True
        length = content_length(self.header_values("Content-Length"))
        return length is not None and length <= DRAIN_BYTES


async def read_capped(chunks: AsyncIterator[bytes], limit: int, what: str) -> bytes:
    """Collect a stream of at most *limit* bytes. Raises LimitExceededError naming *what* beyond it."""
    pieces: list[bytes] = []
    size = 0
    async for piece in chunks:
        size += len(piece)
        if size > limit:
            raise LimitExceededError(what, limit)
        pieces.append(piece)
    return b"".join(pieces)


async def snapshot(response: httpx.Response, limit: int) -> httpx.Response:
    """Return a closed copy of an answer with at most *limit* bytes of its body.

    A body that ends within the limit leaves the connection usable; a longer one costs the connection.
    """
    if response.is_closed:
        # Such a copy already, or a transport that has it all in memory.
        return response
    pieces: list[bytes] = []
    size = 0
    reply = HttpReply(response)
    try:
        with anyio.move_on_after(SNAPSHOT_SECONDS):
            async for piece in reply.chunks():
                pieces.append(piece)
                size += len(piece)
                if size >= limit:
                    break
    except OciError:
        # What came before the cut is all there is to show.
        pass
    finally:
        await reply.aclose()
    # As bytes: some servers write more than ASCII into their headers.
    headers = [(k, v) for k, v in response.headers.raw if k.lower() not in {b"content-encoding", b"transfer-encoding"}]
    kept = httpx.Response(
        response.status_code,
        headers=headers,
        content=b"".join(pieces)[:limit],
        request=response.request,
        extensions=response.extensions,
    )
    kept.history = response.history
    if not isinstance(response.request, LeanRequest):
        # Only who made the request with httpx's methods asks.
        kept.elapsed = response.elapsed
    return kept
