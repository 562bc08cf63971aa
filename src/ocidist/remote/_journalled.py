"""Pushing a blob with a journal: whoever starts again after a crash goes on where the registry is.

Spec: distribution-spec, "Pushing a blob in chunks".
"""

from __future__ import annotations

import json
import logging
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Final

import attrs

from ocidist.errors import (
    DigestMismatchError,
    EgressError,
    IntegrityError,
    OciError,
    ProtocolError,
    ResponseError,
    TransportError,
    UploadError,
    UsageError,
)
from ocidist.model import strictjson
from ocidist.model.result import OnExit
from ocidist.remote._resumed import ResumedWriter
from ocidist.remote._upload_answers import is_home, may_pass
from ocidist.remote.writer import BlobWriter
from ocidist.wire.upload import MAX_MIN_CHUNK
from ocidist.wire.upload_state import UploadState

if TYPE_CHECKING:
    from ocidist._io.body import Body, Progress
    from ocidist._io.journal import Journal
    from ocidist.model.descriptor import Descriptor
    from ocidist.remote._channel import Channel
    from ocidist.remote._transfer import Transfer

_MARK: Final = '{"ocidist-journal":'
VERSION: Final = 1
NO_CHUNKS_EVER: Final = frozenset({405, 501})
"""What is answered to a chunk by who does not take any."""
_log = logging.getLogger("ocidist.remote")


async def push_with_journal(
    channel: Channel,
    journal: Journal,
    body: Body,
    descriptor: Descriptor,
    *,
    chunk_size: int,
    transfer: Transfer,
    progress: Progress,
) -> Descriptor:
    """Send a blob in chunks, and save after each one how far it came.

    Args:
        channel: The repository.
        journal: The journal, open. It is kept where going on may help.
        body: The blob, replayable.
        descriptor: What it is; the body was found to be that a moment ago.
        chunk_size: Bytes per chunk.
        transfer: Reports the push.
        progress: Told the bytes that the registry has acknowledged.

    Raises:
        OciError: See ``Blobs.push``. The session is kept.
    """
    state = _state(journal.text, channel, descriptor)
    writer: BlobWriter | None = None

    async def save(state: UploadState) -> None:
        await journal.save(_text(state, descriptor))
        progress(state.offset, descriptor.size)

    async with AsyncExitStack() as stack:
        if state is not None:
            # The caller's wish counts, and nothing that a file says should fill the memory.
            state = attrs.evolve(state, chunk_size=max(chunk_size, min(state.min_chunk, MAX_MIN_CHUNK)))
            resumed = ResumedWriter(channel, state, body, OnExit.KEEP, transfer)
            resumed.on_acknowledged = save
            writer = await _opened(stack, resumed, channel, transfer, state)
        if writer is None:
            algorithm = descriptor.digest.algorithm
            writer = BlobWriter(channel, chunk_size=chunk_size, algorithm=algorithm, transfer=transfer)
            writer.on_acknowledged = save
            await stack.enter_async_context(writer)
            pieces = await stack.enter_async_context(aclosing(body.open()))
            try:
                async for piece in pieces:
                    await writer.write(piece)
            except ResponseError as error:
                # Nobody goes on with chunks where there are none.
                if error.status in NO_CHUNKS_EVER:
                    await writer.cancel()
                raise
        try:
            found = await writer.commit(descriptor)
        except IntegrityError as error:
            # Wrong bytes stay wrong; a connection may be better next time.
            if not isinstance(error, TransportError):
                await writer.cancel()
            raise
    progress(descriptor.size, descriptor.size)
    return found


async def _opened(
    stack: AsyncExitStack, writer: ResumedWriter, channel: Channel, transfer: Transfer, state: UploadState
) -> BlobWriter | None:
    """Open the session of a journal; None if it is of no use any more: forgotten, or not what it was."""
    failure: OciError
    try:
        return await stack.enter_async_context(writer)
    except (ResponseError, EgressError, UploadError, DigestMismatchError, TransportError) as error:
        failure = error
    # The registry may answer the next time; a place elsewhere that does not answer now may never have been one.
    transient = isinstance(failure, TransportError) or (isinstance(failure, ResponseError) and may_pass(failure))
    if transient and is_home(channel, state.location):
        raise failure
    _log.info("%s: the upload in the journal cannot be gone on with: %s", channel.host, failure.message)
    await writer.cancel()
    transfer.resumed(0, failure.message)
    return None


def check_journal(text: str) -> None:
    """Check that a file may be overwritten and removed.

    Raises:
        UsageError: It is something else than a journal.
    """
    if text and not text.startswith(_MARK):
        raise UsageError("the file given as journal is not one, and is left as it is: name another, or one that is new")


def _text(state: UploadState, descriptor: Descriptor) -> str:
    said = {"version": VERSION, "digest": descriptor.digest, "size": descriptor.size, "state": state.to_json()}
    return f"{_MARK}{json.dumps(said)}}}\n"


def _state(text: str, channel: Channel, descriptor: Descriptor) -> UploadState | None:
    """Return the state in a journal, if it is of this blob's upload and can be read."""
    if not text:
        return None
    try:
        said = strictjson.loads(text, what="journal")
        found = said.get("ocidist-journal") if isinstance(said, dict) else None
        kept = found if isinstance(found, dict) and found.get("version") == VERSION else {}
        state = UploadState.from_json(str(kept.get("state")))
    except (ProtocolError, UsageError):
        return None
    mine = (state.registry, state.repository) == (channel.host, channel.repository)
    same = (kept.get("digest"), kept.get("size")) == (descriptor.digest, descriptor.size)
    return state if mine and same else None
