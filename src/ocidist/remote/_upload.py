"""An upload session on the wire: ``wire/upload.py`` decides, this sends.

Spec: distribution-spec, "Pushing a blob in chunks".
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Self

import anyio
import attrs

from ocidist._io.body import BytesBody, LaterBody
from ocidist.errors import (
    OciError,
    ResponseError,
    TransportError,
    UploadConflictError,
    UploadExpiredError,
)
from ocidist.remote._memory import learn_profile, profile_of
from ocidist.remote._opening import CANCEL_S, end_session, open_session
from ocidist.remote._stat import stat
from ocidist.remote._upload_answers import (
    answer_of,
    appeared,
    check_stated,
    home_of,
    is_home,
    may_pass,
    missing,
    opened,
    wait_of,
)
from ocidist.wire import upload
from ocidist.wire.egress import check_location
from ocidist.wire.endpoints import PatchUpload, PutUpload, StartUpload, UploadStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocidist._io.body import Body, WatchedBody
    from ocidist.http.sender import Reply
    from ocidist.model.digest import Digest
    from ocidist.remote._channel import Channel
    from ocidist.wire.upload import Answer
    from ocidist.wire.upload_state import UploadState

MAX_TRIES: Final = 4
"""Times in a row that a chunk, or the closing request, is sent before it is an error."""
FIRST_WAIT_S: Final = 0.1


class UploadSession:
    """An open upload session.

    Args:
        channel: The repository.
        state: Where the session stands.

    Attributes:
        state: Where it stands now: only what the registry acknowledged counts.
        on_resume: Told the offset and the reason whenever the session goes on after a failure.
    """

    def __init__(self, channel: Channel, state: UploadState) -> None:
        self._channel = channel
        self.state: UploadState = state
        self.on_resume: Callable[[int, str], None] | None = None
        self._over = False
        # Offset after the last byte of a request whose fate is unknown, until its answer is read.
        self._sent: int | None = None
        # Whether the registry was asked for its offset already since the last accepted chunk.
        self._asked = False
        # Whether it may have one byte more than the state says.
        self._unclear = False
        # Offset after a chunk that was accepted, although the registry says that it has less; then the rest is sent.
        self._short: int | None = None
        self._closing = False
        # How often its bytes were sent since the registry last had more of them.
        self._attempts = 0
        # Why the last request failed.
        self._trouble: str | None = None

    @classmethod
    async def begin(cls, channel: Channel, *, chunk_size: int, algorithm: str) -> Self:
        """Open a session.

        Raises:
            ProtocolError: The registry does not say where the session is.
            LocationRefusedError: It is somewhere this client must not send to.
            OciError: See ``Sender.exchange``.
        """
        endpoint = StartUpload(channel.repository_name, None if algorithm == "sha256" else algorithm)
        take = partial(opened, channel, chunk_size=chunk_size, algorithm=algorithm)
        try:
            return cls(channel, await open_session(channel, endpoint, take))
        except ResponseError as error:
            if endpoint.algorithm is None or error.status not in {400, 404, 405}:
                raise
        # The parameter is new; the digest says the same in the end.
        return cls(channel, await open_session(channel, StartUpload(channel.repository_name), take))

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

    async def send(self, start: int, chunk: bytearray, *, keep: int = 0) -> None:
        """Send a chunk until the registry has acknowledged its last byte; in parts, if it is larger than it takes.

        Args:
            start: Offset of the chunk in the blob; the session stands within it.
            chunk: Its bytes; they must not change meanwhile.
            keep: Bytes at its end that are not sent.

        Raises:
            UploadExpiredError: The registry forgot the session.
            UploadConflictError: It contradicts what was sent; the session is cancelled.
            OciError: See ``Sender.exchange``.
        """
        stop = start + len(chunk) - keep
        tries = 0
        while self._sent is not None or self.state.offset < stop:
            before = self.state.offset
            try:
                await self._settle()
                if self.state.offset < stop:
                    await self._patch(start, stop, chunk)
                tries = 0
            except (TransportError, ResponseError) as error:
                tries = 1 if self.state.offset > before else tries + 1
                await self._overcome(error, tries)

    async def _patch(self, start: int, stop: int, chunk: bytearray) -> None:
        state, profile = self.state, profile_of(self._channel)
        stop = upload.piece_stop(state, stop, profile.max_chunk)
        endpoint = PatchUpload(state.repository, state.location, state.offset, stop)
        self._sent = stop
        self._attempts += 1
        with memoryview(chunk) as view, view[state.offset - start : stop - start] as part:
            async with self._channel.exchange(endpoint, body=BytesBody(part)) as reply:
                # Before anything is awaited: a cancellation must not make this chunk doubtful again.
                step = upload.patched(state, stop, self._heard(reply), exact=profile.exact_range)
                if isinstance(step, upload.Advance):
                    self._goes_on(step.state)
        match step:
            case upload.AskStatus():
                await self._look_into(stop)
            case upload.Conflict():
                await self._conflict(step)

    def _goes_on(self, state: UploadState) -> None:
        self._attempts = 0 if state.offset > self.state.offset else self._attempts
        self.state = state
        self._sent = self._short = None
        self._asked = self._unclear = False

    async def _look_into(self, stop: int) -> None:
        """Find out what a Range means that falls short of a chunk that was accepted."""
        answer = None
        if self._short is None:
            with suppress(ResponseError):
                answer = await self.ask()
        step = upload.looked_into(self.state, stop, answer)
        match step:
            case upload.Advance():
                learn_profile(self._channel, exact_range=False)
                self._goes_on(step.state)
            case upload.Resend():
                self._goes_on(step.state)
                self._short = stop
            case upload.Conflict():
                await self._conflict(step)

    async def _settle(self) -> None:
        """Find out what became of a request whose answer was lost, or that was refused for its offset."""
        if self._sent is not None:
            step = upload.reconciled(self.state, self._sent, await self.ask())
            match step:
                case upload.Restart():
                    raise await self._given_up(step)
                case upload.Conflict():
                    await self._conflict(step)
                case upload.Advance() | upload.Resend():
                    self._attempts = 0 if step.state.offset > self.state.offset else self._attempts
                    self.state = step.state
                    self._sent = None
                    # Of a chunk that was refused no byte was taken.
                    self._unclear = isinstance(step, upload.Resend) and step.unclear and not self._asked
        if self._trouble is not None:
            reason, self._trouble = self._trouble, None
            if self.on_resume is not None:
                self.on_resume(self.state.offset, reason)

    async def _overcome(self, error: TransportError | ResponseError, tries: int) -> None:
        """Prepare another try, or raise."""
        if isinstance(error, ResponseError) and await self._adapted(error):
            return
        wait = wait_of(self._channel, error)
        if tries >= MAX_TRIES or wait is None:
            raise error
        self._trouble = error.message
        await anyio.sleep(max(wait, FIRST_WAIT_S * 2.0**tries))

    async def _adapted(self, error: ResponseError) -> bool:
        """Return whether another request is to be sent at once after a refusal; raise if none is."""
        if error.status == 416 and self._unclear:
            # So it does have the byte.
            self._goes_on(attrs.evolve(self.state, offset=1, prefix=None))
            return True
        if self._short is not None and 400 <= error.status < 500 and error.status not in {401, 403, 408, 429}:
            # So it has all of the chunk, and its reports mean nothing.
            learn_profile(self._channel, exact_range=False)
            self._goes_on(attrs.evolve(self.state, offset=self._short, prefix=None))
            return True
        sent = (self._sent or self.state.offset) - self.state.offset
        # What the registry takes may have become known after the session was opened.
        least = max(self.state.min_chunk, profile_of(self._channel).min_chunk)
        step = upload.refused(error.status, asked=self._asked, sent=sent, min_chunk=least)
        match step:
            case upload.Restart():
                raise await self._given_up(step) from error
            case upload.AskStatus():
                self._asked = True
                return True
            case upload.Shrink() if self._shrunk(error, step.max_chunk):
                return True
        if not may_pass(error):
            # A plain refusal: nothing of the chunk was taken.
            self._sent = None
            raise error
        return False

    def _shrunk(self, error: ResponseError, most: int) -> bool:
        """Return whether chunks can be made smaller than they were."""
        profile = profile_of(self._channel)
        if not profile.chunked or most >= (profile.max_chunk or most + 1):
            return False
        learn_profile(self._channel, max_chunk=most, max_body=most if error.status == 413 else profile.max_body)
        self._goes_on(attrs.evolve(self.state, chunk_size=min(self.state.chunk_size, most)))
        return True

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
        tries = 0
        while True:
            before = self.state.offset
            try:
                if self._closing and await self._stored(digest, stop):
                    break
                await self._settle()
                await self.send(start, chunk, keep=self._last(stop))
                with memoryview(chunk) as view, view[self.state.offset - start :] as part:
                    await self._put(digest, BytesBody(part), stop)
            except (TransportError, ResponseError) as error:
                tries = 1 if self.state.offset > before else tries + 1
                await self._overcome(error, tries)
            else:
                break
        self._over = True

    def _last(self, stop: int) -> int:
        """Return how many bytes go with the closing request."""
        left, profile = stop - self.state.offset, profile_of(self._channel)
        # What begins the blob is all of it, and may be larger than a chunk.
        most = profile.max_chunk if self.state.offset else profile.max_body
        return left if most is None else min(left, most)

    async def finish_whole(self, digest: Digest, body: WatchedBody, size: int) -> None:
        """Send a whole blob and close the session, in one request.

        Where the connection breaks, the rest is sent if the registry says that it kept the beginning. Raises as
        ``finish``, and what the body raises.
        """
        while True:
            rest = LaterBody(body, self.state.offset) if self.state.offset else body
            try:
                await self._put(digest, rest, size)
                break
            except (TransportError, ResponseError) as error:
                lost = isinstance(error, TransportError) or may_pass(error)
                # What the source raised looks like a lost connection if the source is a download.
                if body.failure is not None or not lost:
                    raise
                if await self._stored(digest, size):
                    break
                wait = wait_of(self._channel, error)
                if wait is None or not (body.replayable and await self._kept_some(size)):
                    raise
                self._trouble = error.message
                await anyio.sleep(wait)
                await self._settle()
        self._over = True

    async def _kept_some(self, size: int) -> bool:
        """Return whether the registry has more of the blob than before."""
        before = self.state
        try:
            step = upload.reconciled(before, size, await self.ask())
        except OciError:
            return False
        if not isinstance(step, upload.Advance | upload.Resend) or step.state.offset <= before.offset:
            return False
        self._goes_on(step.state)
        return True

    async def _put(self, digest: Digest, body: Body, stop: int) -> None:
        state = self.state
        endpoint = PutUpload(state.repository, state.location, digest, state.offset or None, stop)
        self._sent, self._closing = stop, True
        self._attempts += 1
        async with self._channel.exchange(endpoint, body=body, about=digest) as reply:
            proven = reply.status == 201 and not reply.early and is_home(self._channel, reply.url)
            check_stated(reply, digest)
        # 200, 202 and 204 are answers of real registries, but also of proxies that never passed the request on; and
        # what another host has stored the registry may not have.
        if not proven and not await appeared(self._channel, digest, stop):
            raise missing(self._channel, endpoint.operation, digest)

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
        await end_session(self._channel, self.state, within=CANCEL_S)

    # --- details -----------------------------------------------------------------------------------------------------

    def _heard(self, reply: Reply) -> Answer:
        answer = answer_of(self._channel, reply)
        # Whatever else the answer says: an older Location may be of no use any more, not even to cancel.
        self.state = attrs.evolve(self.state, location=answer.location or self.state.location)
        return answer

    async def _conflict(self, step: upload.Conflict) -> None:
        await self.cancel()
        raise UploadConflictError(step.reason).locate(
            operation=PatchUpload.operation,
            reference=self._channel.name_of(),
            host=self._channel.host,
            attempts=max(1, self._attempts),
        )

    async def _given_up(self, step: upload.Restart) -> UploadExpiredError:
        self._over = self._over or step.gone
        await self.cancel()
        return UploadExpiredError(step.reason).locate(
            operation=PatchUpload.operation,
            reference=self._channel.name_of(),
            host=self._channel.host,
            attempts=max(1, self._attempts),
        )
