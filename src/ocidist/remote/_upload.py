"""An upload session on the wire: ``wire/upload.py`` decides, this sends.

Spec: distribution-spec, "Pushing a blob in chunks".
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

import anyio
import attrs

from ocidist._io.body import BytesBody
from ocidist.errors import (
    DigestMismatchError,
    NotFoundError,
    OciError,
    ProtocolError,
    ResponseError,
    TransportError,
    UploadConflictError,
    UploadExpiredError,
)
from ocidist.remote._answers import stated_digest
from ocidist.remote._stat import stat
from ocidist.wire import upload
from ocidist.wire.egress import Origin, check_location
from ocidist.wire.endpoints import CancelUpload, PatchUpload, PutUpload, StartUpload, UploadStatus

if TYPE_CHECKING:
    from ocidist._io.body import Body, WatchedBody
    from ocidist.http.sender import Reply
    from ocidist.model.digest import Digest
    from ocidist.remote._channel import Channel
    from ocidist.wire.upload import Answer, UploadState

CANCEL_S: Final = 2.0
"""Seconds that ending a session may take; nobody waits longer for a registry that does not answer."""
MAX_TRIES: Final = 4
"""Times a chunk, or the closing request, is sent before it is an error."""
LAG_WAITS: Final = (0.2, 0.8)
"""Seconds to wait, one after the other, for a registry whose replicas do not show yet what was just pushed."""
FIRST_WAIT_S: Final = 0.1
_MAX_WAIT_S: Final = 30.0


class UploadSession:
    """An open upload session.

    Args:
        channel: The repository.
        state: Where the session stands.

    Attributes:
        state: Where it stands now: only what the registry acknowledged counts.
    """

    def __init__(self, channel: Channel, state: UploadState) -> None:
        self._channel = channel
        self.state: UploadState = state
        self._over = False
        # Whether a chunk is under way whose fate is unknown; true from before it is sent until its answer is read.
        self._doubt = False
        # Whether the registry was asked for its offset already since the last accepted chunk.
        self._asked = False
        self._closing = False

    @classmethod
    async def begin(cls, channel: Channel, *, chunk_size: int, algorithm: str) -> Self:
        """Open a session.

        Raises:
            ProtocolError: The registry does not say where the session is.
            LocationRefusedError: It is somewhere this client must not send to.
            OciError: See ``Sender.exchange``.
        """
        endpoint = StartUpload(channel.repository_name, None if algorithm == "sha256" else algorithm)
        async with channel.exchange(endpoint) as reply:
            return cls(channel, opened(channel, reply, chunk_size=chunk_size, algorithm=algorithm))

    @classmethod
    async def resume(cls, channel: Channel, state: UploadState) -> Self | None:
        """Go on with a session that was saved; None if the registry does not know it any more.

        Raises:
            LocationRefusedError: The saved session is somewhere this client must not send to.
            OciError: See ``Sender.exchange``.
        """
        home = home_of(channel, state.location)
        location = check_location(home, state.location, channel.sender.egress).url
        session = cls(channel, attrs.evolve(state, location=location))
        step = upload.resumed(session.state, await session.ask())
        if isinstance(step, upload.Restart):
            return None
        session.state = step.state
        return session

    # --- chunks ------------------------------------------------------------------------------------------------------

    async def send(self, start: int, chunk: bytearray) -> None:
        """Send a chunk until the registry has acknowledged its last byte.

        Args:
            start: Offset of the chunk in the blob; the session stands within it.
            chunk: Its bytes; they must not change meanwhile.

        Raises:
            UploadExpiredError: The registry forgot the session.
            UploadConflictError: It contradicts what was sent; the session is cancelled.
            OciError: See ``Sender.exchange``.
        """
        stop = start + len(chunk)
        for tries in range(1, MAX_TRIES + 1):
            try:
                await self._settle(stop)
                if self.state.offset < stop:
                    await self._patch(start, stop, chunk)
            except (TransportError, ResponseError) as error:
                await self._overcome(error, tries)
            else:
                return

    async def _patch(self, start: int, stop: int, chunk: bytearray) -> None:
        state = self.state
        endpoint = PatchUpload(state.repository, state.location, state.offset, stop)
        self._doubt = True
        with memoryview(chunk) as view, view[state.offset - start :] as part:
            async with self._channel.exchange(endpoint, body=BytesBody(part)) as reply:
                # Before anything is awaited: a cancellation must not make this chunk doubtful again.
                step = upload.patched(state, stop, self._heard(reply))
                if isinstance(step, upload.Advance):
                    self.state = step.state
                    self._doubt = self._asked = False
        if isinstance(step, upload.Conflict):
            await self._conflict(step)

    async def _settle(self, stop: int) -> None:
        """Find out what became of a chunk whose answer was lost."""
        if not self._doubt:
            return
        step = upload.reconciled(self.state, stop, await self.ask())
        match step:
            case upload.Restart():
                raise self._expired(step.reason)
            case upload.Conflict():
                await self._conflict(step)
            case upload.Advance() | upload.Resend():
                self.state = step.state
                self._doubt = False

    async def _overcome(self, error: TransportError | ResponseError, tries: int) -> None:
        """Prepare another try, or raise."""
        wait = 0.0
        if isinstance(error, ResponseError):
            step = upload.refused(error.status, asked=self._asked)
            if isinstance(step, upload.Restart):
                raise self._expired(step.reason) from error
            self._asked = self._asked or step is not None
            if step is None and not may_pass(error):
                # A plain refusal: nothing of the chunk was taken.
                self._doubt = False
                raise error
            wait = error.retry_after or 0.0
        if tries == MAX_TRIES:
            raise error
        await anyio.sleep(min(max(wait, FIRST_WAIT_S * 2.0**tries), _MAX_WAIT_S))

    async def ask(self) -> Answer:
        """Ask the registry where the session stands; a session it does not know is a 404.

        Raises:
            OciError: See ``Sender.exchange``.
        """
        endpoint = UploadStatus(self.state.repository, self.state.location)
        try:
            async with self._channel.exchange(endpoint) as reply:
                return self._heard(reply)
        except ResponseError as error:
            # 400 is what some registries answer for a session they do not know.
            if error.status not in {400, 404, 410}:
                raise
            return upload.Answer(404)

    # --- the end -----------------------------------------------------------------------------------------------------

    async def finish(self, digest: Digest, start: int, chunk: bytearray) -> None:
        """Close the session with its last bytes.

        Args:
            digest: Digest of the whole blob.
            start: Offset of the last chunk in the blob.
            chunk: Its bytes, possibly none.

        Raises:
            DigestMismatchError: The registry stored other bytes.
            UploadExpiredError: It forgot the session, and does not have the blob.
            UploadConflictError: It contradicts what was sent; the session is cancelled.
            OciError: See ``Sender.exchange``.
        """
        stop = start + len(chunk)
        for tries in range(1, MAX_TRIES + 1):
            try:
                if self._closing and await self._stored(digest, stop):
                    break
                await self._settle(stop)
                with memoryview(chunk) as view, view[self.state.offset - start :] as part:
                    await self._put(digest, BytesBody(part), stop)
            except (TransportError, ResponseError) as error:
                await self._overcome(error, tries)
            else:
                break
        self._over = True

    async def finish_whole(self, digest: Digest, body: WatchedBody, size: int) -> None:
        """Send a whole blob and close the session, in one request. Raises as ``finish``, and what the body raises."""
        try:
            await self._put(digest, body, size)
        except (TransportError, ResponseError) as error:
            lost = isinstance(error, TransportError) or may_pass(error)
            # What the source raised looks like a lost connection if the source is a download.
            if body.failure is not None or not lost or not await self._stored(digest, size):
                raise
        self._over = True

    async def _put(self, digest: Digest, body: Body, stop: int) -> None:
        state = self.state
        endpoint = PutUpload(state.repository, state.location, digest, state.offset or None, stop)
        self._doubt = self._closing = True
        async with self._channel.exchange(endpoint, body=body, about=digest) as reply:
            proven = reply.status == 201 and not reply.early
            check_stated(reply, digest)
        # 202 and 204 are answers of real registries, but also of proxies that never passed the request on.
        if not proven and not await appeared(self._channel, digest, stop):
            raise ProtocolError("the registry reported success but does not have the blob").locate(
                operation=endpoint.operation, reference=self._channel.name_of(digest), host=self._channel.host
            )

    async def _stored(self, digest: Digest, size: int) -> bool:
        try:
            return (await stat(self._channel, digest, to_push=True)).size == size
        except OciError:
            return False

    async def cancel(self) -> None:
        """End the session, as far as that works within ``CANCEL_S`` seconds; afterwards this does nothing."""
        if self._over:
            return
        self._over = True
        with anyio.move_on_after(CANCEL_S, shield=True), suppress(OciError):
            async with self._channel.exchange(CancelUpload(self.state.repository, self.state.location)):
                pass

    # --- details -----------------------------------------------------------------------------------------------------

    def _heard(self, reply: Reply) -> Answer:
        answer = answer_of(self._channel, reply)
        # Whatever else the answer says: an older Location may be of no use any more, not even to cancel.
        self.state = attrs.evolve(self.state, location=answer.location or self.state.location)
        return answer

    async def _conflict(self, step: upload.Conflict) -> None:
        await self.cancel()
        raise UploadConflictError(step.reason).locate(
            operation=PatchUpload.operation, reference=self._channel.name_of(), host=self._channel.host
        )

    def _expired(self, reason: str) -> UploadExpiredError:
        self._over = True
        return UploadExpiredError(reason).locate(
            operation=PatchUpload.operation, reference=self._channel.name_of(), host=self._channel.host
        )


def may_pass(error: ResponseError) -> bool:
    """Return whether a refusal may be a passing failure of the server, its effect unknown."""
    return error.status == 408 or error.status >= 500


def answer_of(channel: Channel, reply: Reply) -> Answer:
    """Return what an answer of an upload session says, its Location checked and made absolute.

    Raises:
        LocationRefusedError: The session is somewhere this client must not send to.
    """
    location = reply.header("Location")
    if location is not None:
        home = home_of(channel, reply.url)
        location = check_location(reply.url, location, channel.sender.egress, registry=home).url
    return upload.Answer(reply.status, location, reply.header("Range"), reply.header("OCI-Chunk-Min-Length"))


def home_of(channel: Channel, url: str) -> str:
    """Return the registry's own URL, as far as it can be told from a URL that is its own or somebody else's."""
    scheme = channel.sender.host_config(channel.registry).scheme or channel.registry.scheme
    return f"{scheme or Origin.of(url).scheme}://{channel.registry.api_host}"


def opened(channel: Channel, reply: Reply, *, chunk_size: int, algorithm: str) -> UploadState:
    """Return the state of the session that an answer opened. Raises as ``UploadSession.begin``."""
    return upload.started(
        answer_of(channel, reply),
        registry=channel.host,
        repository=channel.repository_name,
        chunk_size=chunk_size,
        at=time.time(),
        algorithm=algorithm,
    )


def check_stated(reply: Reply, digest: Digest) -> None:
    """Check the digest an answer states, as far as it can be compared.

    Raises:
        DigestMismatchError: It is of another blob.
    """
    stated = stated_digest(reply)
    if stated is not None and stated.algorithm == digest.algorithm and stated != digest:
        raise DigestMismatchError(digest, stated)


async def appeared(channel: Channel, digest: Digest, size: int | None) -> bool:
    """Return whether a blob that was just pushed or mounted is there, giving replicas a moment to show it."""
    for wait in (*LAG_WAITS, None):
        try:
            found = await stat(channel, digest, to_push=True)
        except NotFoundError:
            if wait is None:
                return False
            await anyio.sleep(wait)
        else:
            return size is None or found.size == size
    return False
