"""Pushing one blob: what is known of it decides how it is sent.

Spec: distribution-spec, "Pushing blobs".
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import anyio
import attrs

from ocidist._io.body import BytesBody, FactoryBody, FileBody, StreamBody, WatchedBody, blame_source
from ocidist._io.pinned import PinnedFile
from ocidist._io.verify import ProvenBody, digest_of, digest_of_file, measured
from ocidist.errors import (
    DigestMismatchError,
    OciError,
    ResponseError,
    SizeMismatchError,
    TransportError,
    UploadConflictError,
    UploadError,
    UploadExpiredError,
    UsageError,
)
from ocidist.model.descriptor import Descriptor
from ocidist.model.mediatype import OCTET_STREAM
from ocidist.model.result import Mounted, OnExit
from ocidist.remote._journalled import NO_CHUNKS_EVER, push_with_journal
from ocidist.remote._memory import learn_profile, profile_of
from ocidist.remote._opening import open_session
from ocidist.remote._stat import stat
from ocidist.remote._upload import UploadSession
from ocidist.remote._upload_answers import appeared, check_stated, is_home, may_pass, opened, wait_of
from ocidist.remote.writer import BlobWriter
from ocidist.wire import upload
from ocidist.wire.endpoints import PatchUpload, PostBlob, PutUpload, StartUpload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ocidist._io.body import Body, Progress
    from ocidist._io.journal import Journal
    from ocidist.http.sender import Reply
    from ocidist.model.digest import Digest
    from ocidist.remote._channel import Channel
    from ocidist.remote._transfer import Transfer
    from ocidist.wire.upload_state import UploadStarted, UploadState

    Mount = Callable[..., Awaitable[Mounted | UploadStarted]]

MAX_ATTEMPTS: Final = 3
"""Times a source that can be read again is sent from its first byte."""
FIRST_WAIT_S: Final = 0.1
_WHOLE_ONLY: Final = (
    "Perhaps this registry takes blobs in one piece only: give the descriptor, or a source that can be read again"
)
_NO_CHUNKS: Final = frozenset({400, 404, 405, 411, 415, 416, 501})
"""Refusals of a chunk that may be refusals of chunks as such."""


@attrs.frozen
class _PostOnce(PostBlob):
    # A registry that does not want the bytes may cut the connection while they come, and would do so again.
    repeatable = False


class BlobPush:
    """One blob on its way into a repository.

    Args:
        channel: The repository.
        body: The bytes.
        descriptor: What they should be, if the caller knows.
        chunk_size: Bytes per chunk, if it is sent in chunks.

    Attributes:
        digest: The blob's digest, once it is known.
        size: Its size, once it is known.
        chunked: Whether to send in chunks although one request would do.
        single_post: Whether to try a single request.
        journal: Where to keep how far the upload has come, or None.
        progress: Told how many bytes were taken from the source.
        transfer: Reports the push.
    """

    def __init__(
        self, channel: Channel, body: Body, descriptor: Descriptor | None, *, chunk_size: int, transfer: Transfer
    ) -> None:
        self._channel = channel
        self._body = body
        self._descriptor = descriptor
        self._chunk_size = chunk_size
        self._session: UploadSession | None = None
        self._watched = WatchedBody(body)
        self.digest = None if descriptor is None else descriptor.digest
        self.size = None if descriptor is None else descriptor.size
        self.chunked = False
        self.single_post = False
        self.journal: Journal | None = None
        self.progress: Progress | None = None
        self.transfer = transfer
        # Set once chunks turned out not to work.
        self._whole = False
        self._expired = 0

    def described(self, digest: Digest) -> Descriptor:
        """Return the blob's descriptor: the caller's own, if there is one."""
        return self._descriptor or Descriptor(OCTET_STREAM, digest, self.size or 0)

    async def prepare(self) -> None:
        """Learn size and digest where that costs no second reading of a stream, and compare with the descriptor.

        Raises:
            DigestMismatchError: The bytes in memory are not what the descriptor says.
            SizeMismatchError: The source has another size than the descriptor says.
            DigestUnsupportedError: The descriptor's digest cannot be verified.
            OSError: The file cannot be read.
        """
        algorithm = "sha256" if self.digest is None else self.digest.hasher().algorithm
        body = self._body
        if isinstance(body, FileBody):
            body = self._body = await body.measure()
        if body.size is not None and self.size is not None and body.size != self.size:
            raise blame_source(SizeMismatchError(self.size, body.size))
        self.size = body.size if self.size is None else self.size
        if isinstance(body, BytesBody):
            actual = await digest_of(body.data, algorithm)
            if self.digest is not None and self.digest != actual:
                raise blame_source(DigestMismatchError(self.digest, actual, size=body.size))
            self.digest = actual
        elif self.digest is None and isinstance(body, FileBody):
            self.digest = await digest_of_file(body, algorithm)
        elif self.digest is None and self.journal is not None:
            self.digest, self.size = await measured(body, algorithm)
        self.transfer.digest, self.transfer.size = self.digest, self.size

    async def exists(self) -> bool:
        """Return whether the registry has the blob already; False also if it does not want to say."""
        if self.digest is None:
            return False
        try:
            return (await stat(self._channel, self.digest, to_push=True)).size == self.size
        except (ResponseError, DigestMismatchError):
            return False

    async def mounted(self, mount: Mount, sources: Sequence[str]) -> bool:
        """Try to mount the blob from one repository after the other.

        A session that a registry opens instead is kept for the upload; an earlier one is cancelled. No failure counts:
        then the blob is sent.
        """
        for source in sources:
            try:
                found = await mount(self.digest, source=source)
            except UsageError:
                raise
            except OciError:
                continue
            finally:
                # Whatever comes next, only one session is ever open.
                await self._drop_session()
            if isinstance(found, Mounted):
                self.transfer.mounted(source)
                return True
            self._session = UploadSession(self._channel, found.state)
        return False

    async def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.cancel()

    async def run(self) -> Descriptor:
        """Send the blob.

        Raises:
            OciError: See ``Blobs.push``.
        """
        attempts = MAX_ATTEMPTS if self._body.replayable else 1
        attempt = 1
        while True:
            try:
                if self.digest is None or await self._goes_in_chunks():
                    return await self._in_chunks()
                await self._in_one(self.digest, self.size or 0)
                return self.described(self.digest)
            except (TransportError, ResponseError, UploadError) as error:
                if self._watched.failure is not None:
                    raise
                if await self._otherwise(error):
                    continue
                if isinstance(error, ResponseError) and not self.chunked and self.digest is not None:
                    explained = await self._explained(error, self.digest)
                    if explained is not error:
                        raise explained from error
                wait = wait_of(self._channel, error)
                if attempt >= attempts or wait is None or not self._is_worth_another(error):
                    raise
                reason = error.message
            attempt += 1
            await anyio.sleep(max(wait, FIRST_WAIT_S * 2.0**attempt))
            self.transfer.resumed(0, reason)

    def _is_worth_another(self, error: OciError) -> bool:
        """Return whether sending all of it once more may work."""
        if error.operation == StartUpload.operation:
            # Nothing was sent yet, and the request for a session was repeated as often as the policy says.
            return False
        if isinstance(error, ResponseError):
            return may_pass(error) or self._is_joined_wrong(error)
        return isinstance(error, TransportError | UploadExpiredError)

    def _is_joined_wrong(self, error: ResponseError) -> bool:
        """Return whether a refused blob is one of which the registry may have kept another part than it said."""
        return error.status == 400 and error.operation == PutUpload.operation and self.transfer.joined

    async def _goes_in_chunks(self) -> bool:
        """Return whether a blob of known digest is sent in chunks."""
        profile = profile_of(self._channel)
        if self._whole or not profile.chunked:
            return False
        return self.chunked or (profile.max_body is not None and (self.size or 0) > profile.max_body)

    async def _otherwise(self, error: OciError) -> bool:
        """Return whether there is another way to send the blob, after the registry did not like this one."""
        profile = profile_of(self._channel)
        if not self._body.replayable and error.operation == PatchUpload.operation and self._is_about_chunks(error):
            error.hint = _WHOLE_ONLY
        if self._session is not None or not self._body.replayable or self._whole:
            return False
        status = getattr(error, "status", None)
        if status == 413 and error.operation == PutUpload.operation and profile.chunked:
            # Proxies limit what may come in one request.
            size = self.size or 0
            most = self._chunk_size if size > self._chunk_size else max(size // 4, upload.LEAST_CHUNK)
            most = max(most, profile.min_chunk)
            if most >= min(size, profile.max_body or size):
                return False
            self._chunk_size = most
            learn_profile(self._channel, max_body=most)
            self.transfer.resumed(0, error.message)
            return True
        if error.operation == PatchUpload.operation and self._is_about_chunks(error):
            if status in NO_CHUNKS_EVER:
                learn_profile(self._channel, chunked=False)
            if self.digest is None:
                await self._measure()
            self._whole = profile.max_body is None or (self.size or 0) <= profile.max_body
            if self._whole:
                self.transfer.resumed(0, error.message)
            return self._whole
        return False

    def _is_about_chunks(self, error: OciError) -> bool:
        """Return whether sending in chunks is what fails; a session may be forgotten once."""
        if isinstance(error, UploadExpiredError):
            self._expired += 1
            return self._expired > 1
        return isinstance(error, UploadConflictError) or getattr(error, "status", None) in _NO_CHUNKS

    async def _measure(self) -> None:
        """Read a source that can be read again, for its size and digest."""
        self.digest, self.size = await measured(self._body, "sha256")
        self.transfer.digest, self.transfer.size = self.digest, self.size

    async def _in_chunks(self) -> Descriptor:
        if self.digest is None and self._body.replayable and not profile_of(self._channel).chunked:
            await self._measure()
            return await self.run()
        session, self._session = self._session, None
        if self.journal is not None and self.digest is not None:
            if session is not None:
                # A journal begins with a session of its own.
                await session.cancel()
            self._watched = WatchedBody(self._body)
            return await push_with_journal(
                self._channel,
                self.journal,
                self._watched,
                self.described(self.digest),
                chunk_size=self._chunk_size,
                transfer=self.transfer,
                progress=self._progress,
            )
        self._watched = WatchedBody(self._body, self._progress)
        algorithm = "sha256" if self.digest is None else self.digest.algorithm
        writer = BlobWriter(
            self._channel,
            chunk_size=self._chunk_size,
            algorithm=algorithm,
            on_exit=OnExit.CANCEL,
            session=session,
            transfer=self.transfer,
        )
        async with writer, aclosing(self._watched.open()) as pieces:
            async for piece in pieces:
                if self.size is not None and writer.size + len(piece) > self.size:
                    raise blame_source(SizeMismatchError(self.size, writer.size + len(piece)))
                await writer.write(piece)
            found = await writer.commit(self._descriptor or self.digest)
        self.digest, self.size = found.digest, found.size
        self.transfer.digest, self.transfer.size = found.digest, found.size
        return found

    def _progress(self, done: int, size: int | None) -> None:
        self.transfer.progress(done, size)
        if self.progress is not None:
            self.progress(done, size)

    async def _in_one(self, digest: Digest, size: int) -> None:
        self._watched = watched = WatchedBody(self._proven(digest, size), self._progress)
        try:
            if self._session is None and self.single_post and watched.replayable and await self._post(digest, watched):
                return
            if self._session is None:
                self._session = await UploadSession.begin(
                    self._channel, chunk_size=self._chunk_size, algorithm=digest.algorithm
                )
            self._session.on_resume = self.transfer.went_on
            await self._session.finish_whole(digest, watched, size)
        finally:
            # Does nothing after the blob was stored.
            await self._drop_session()

    def _proven(self, digest: Digest, size: int) -> Body:
        """Return the body as it is sent where the registry is told its digest."""
        body = self._body
        if isinstance(body, BytesBody) and isinstance(body.data, bytes):
            return body
        if isinstance(body, StreamBody | FactoryBody) and body.proves(digest, size):
            # A blob that is piped from one registry into another is hashed once.
            body.size = size
            return body
        if isinstance(body, FileBody) and body.seen is not None and (body.settled or self._descriptor is not None):
            return PinnedFile(body, digest)
        # Everything that may change, or was never looked at, proves itself while it is sent.
        return ProvenBody(body, digest, size)

    async def _explained(self, error: ResponseError, digest: Digest) -> OciError:
        """Return why a registry refused a file, if that is because it is not what the descriptor says."""
        body = self._body
        if isinstance(body, FileBody) and self._descriptor is not None and error.status == 400:
            actual = await digest_of_file(body, digest.algorithm)
            if actual != digest:
                made = blame_source(DigestMismatchError(digest, actual, size=body.size))
                return made.locate(operation=error.operation, reference=error.reference, host=error.host)
        return error

    async def _post(self, digest: Digest, body: WatchedBody) -> bool:
        """Return whether the registry took the blob in a single request; it may have opened a session instead."""
        endpoint = _PostOnce(self._channel.repository_name, digest)
        proven = True

        def take(reply: Reply) -> UploadState | None:
            nonlocal proven
            if reply.status == 201:
                proven = not reply.early and is_home(self._channel, reply.url)
                check_stated(reply, digest)
                return None
            return opened(self._channel, reply, chunk_size=self._chunk_size, algorithm=digest.algorithm)

        try:
            state = await open_session(self._channel, endpoint, take, body=body, about=digest)
        except (TransportError, ResponseError) as error:
            if body.failure is not None or (isinstance(error, ResponseError) and error.status in {401, 403}):
                raise
            return await self.exists()
        if state is None:
            # What was answered too early, or elsewhere, is no proof.
            return proven or await appeared(self._channel, digest, self.size)
        self._session = UploadSession(self._channel, state)
        return False
