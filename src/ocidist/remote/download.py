"""Whole blobs: small ones into memory, any to files whose path appears only once the bytes are verified.

Spec: distribution-spec, "Pulling blobs".
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocidist._io.partial import KEEP_FROM, PartialFile
from ocidist.errors import (
    DigestMismatchError,
    IntegrityError,
    LimitExceededError,
    SizeMismatchError,
    StorageError,
    TransportError,
    UsageError,
)
from ocidist.model.descriptor import Descriptor
from ocidist.model.mediatype import OCTET_STREAM
from ocidist.remote._parts import Parts, plan_of, worth_dividing
from ocidist.remote._stat import stat
from ocidist.remote._stream import PartRefusedError
from ocidist.remote._transfer import PULL, Transfer
from ocidist.remote.reader import BlobReader

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist._io.body import Progress
    from ocidist._io.parts import Plan
    from ocidist.model.digest import Digest
    from ocidist.remote._channel import Channel


class Attempts:
    """Decides whether a blob that was wrong is read again, from its first byte.

    A mirror is not asked twice for what it sent wrong, so that comes to an end at the registry. What was joined from
    several answers, or to what an earlier process left, gets one chance in one piece.
    """

    def __init__(self) -> None:
        self._joined = False

    def another(self, error: IntegrityError, reader: BlobReader) -> bool:
        """Return whether there is another attempt after a failure."""
        if reader.excused:
            return True
        if self._joined or not reader.joined or isinstance(error, TransportError):
            return False
        self._joined = True
        return True


async def fetch(channel: Channel, digest: Digest, known: Descriptor | None, max_size: int) -> bytes:
    """Return a small blob's verified bytes; see ``Blobs.get``."""
    attempts = Attempts()
    with Transfer(channel, PULL, digest, None if known is None else known.size) as transfer:
        while True:
            reader = BlobReader(channel, digest, known, transfer=transfer)
            try:
                return await _small(reader, max_size)
            except IntegrityError as error:
                if not attempts.another(error, reader):
                    raise
                transfer.resumed(0, error.message)


async def _small(reader: BlobReader, max_size: int) -> bytes:
    pieces: list[bytes] = []
    count = 0
    if (reader.size or 0) > max_size:
        raise LimitExceededError("blob", max_size)
    async with reader:
        if (reader.size or 0) > max_size:
            raise LimitExceededError("blob", max_size)
        async for piece in reader:
            count += len(piece)
            if count > max_size:
                raise LimitExceededError("blob", max_size)
            pieces.append(piece)
    return b"".join(pieces)


class Download:
    """One blob on its way to a file.

    Args:
        channel: The repository.
        digest: The blob.
        known: Its descriptor, if the caller has it.
        path: Where to put it.
        progress: Told the bytes that are there so far and the bytes in all.
        resume: Whether to go on with what an earlier attempt left, and to leave something to the next one.
        connections: How many parts of the blob to read at once.

    Raises:
        DigestUnsupportedError: The digest cannot be verified.
        UsageError: There is not even one connection.
    """

    def __init__(
        self,
        channel: Channel,
        digest: Digest,
        known: Descriptor | None,
        path: Path,
        *,
        progress: Progress | None = None,
        resume: bool = True,
        connections: int = 1,
    ) -> None:
        digest.hasher()
        if connections < 1:
            raise UsageError("a download takes at least one connection")
        self._channel = channel
        self._digest = digest
        self._known = known
        self._progress = progress
        self._resume = resume
        self._connections = connections if os.name == "posix" else 1
        self._file = PartialFile(path, digest, lasting=resume)
        self._why = "an earlier download was interrupted"
        self._transfer = Transfer(channel, PULL, digest, None if known is None else known.size)

    async def run(self) -> Descriptor:
        """Write the blob to the file.

        Raises:
            OciError: See ``Blobs.download``.
        """
        with self._transfer:
            async with self._file as file:
                # Until something says that it is worth nothing.
                file.keep = self._resume
                try:
                    descriptor = await self._verified()
                    await file.commit()
                except IntegrityError as error:
                    file.keep = file.keep and isinstance(error, TransportError)
                    raise
                except StorageError:
                    # A disk that is full should not stay so because of us.
                    file.keep = False
                    raise
        return descriptor

    async def _verified(self) -> Descriptor:
        found = False
        # A blob of which nothing would be kept does not pay for looking.
        if self._known is None or self._known.size >= KEEP_FROM:
            found = await self._file.find()
        descriptor = None
        if found or self._connections > 1:
            descriptor = await self._in_parts(await plan_of(self._file))
        return descriptor or await self._in_one_piece()

    async def _in_parts(self, plan: Plan | None) -> Descriptor | None:
        """Read over several connections; nothing if it has to be read in one piece."""
        if plan is None and self._connections == 1:
            return None
        descriptor = self._known or await self._described(plan)
        if plan is None and not worth_dividing(descriptor.size - await self._file.length()):
            return None
        await self._file.begin()
        while True:
            parts = Parts(
                self._channel,
                self._digest,
                descriptor.size,
                self._file,
                connections=self._connections,
                transfer=self._transfer,
                progress=self._progress,
            )
            try:
                await parts.run(plan)
            except PartRefusedError as error:
                self._why = error.message
                await self._file.resize(parts.prefix)
                self._file.there = None
                return None
            except DigestMismatchError as error:
                if not (parts.excused or parts.doubtful):
                    raise
                await self._file.clear()
                self._transfer.resumed(0, error.message)
                if not parts.excused:
                    return None
                plan = None
            else:
                return descriptor

    async def _described(self, plan: Plan | None) -> Descriptor:
        if plan is not None:
            return Descriptor(OCTET_STREAM, self._digest, plan.size)
        return await stat(self._channel, self._digest)

    async def _in_one_piece(self) -> Descriptor:
        attempts = Attempts()
        while True:
            reader = await self._reader()
            try:
                await self._read(reader)
            except IntegrityError as error:
                if not attempts.another(error, reader):
                    raise
                await self._file.clear()
                self._transfer.resumed(0, error.message)
            else:
                return reader.descriptor

    async def _reader(self) -> BlobReader:
        """Return a reader of what is missing."""
        known = self._known
        begun = self._digest.hasher()
        await self._file.hash_into(begun)
        if known is not None and begun.size > known.size:
            await self._file.clear()
            begun = self._digest.hasher()
        if begun.size:
            self._transfer.resumed(begun.size, self._why)
        return BlobReader(self._channel, self._digest, known, offset=begun.size, begun=begun, transfer=self._transfer)

    async def _read(self, reader: BlobReader) -> None:
        # The registry is asked first: a missing blob should not leave a trace on the disk.
        async with reader:
            begun = reader.tell()
            if reader.size is not None and begun > reader.size:
                raise SizeMismatchError(reader.size, begun)
            await self._file.begin()
            told, more = 0, True
            while more:
                more = await reader.pour(self._file.append)
                if self._progress is not None and reader.tell() > told:
                    told = reader.tell()
                    self._progress(told, reader.size)
            if not reader.verified:
                raise IntegrityError("the blob was not read as a whole")
