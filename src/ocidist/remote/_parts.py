"""A blob's parts, read over several connections at once and put together in a file.

Spec: RFC 9110, section 14.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import anyio

from ocidist._io.parts import FOOTER, MAX_PARTS, RECORD, Plan
from ocidist.errors import DigestMismatchError, TruncatedBodyError
from ocidist.model.digest import Hasher
from ocidist.remote._stream import BlobStream
from ocidist.wire.endpoints import GetBlob

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ocidist._io.body import Progress
    from ocidist._io.partial import PartialFile
    from ocidist.http.sender import Reply
    from ocidist.model.digest import Digest
    from ocidist.remote._channel import Channel
    from ocidist.remote._transfer import Transfer

MIN_PART: Final = 8 * 1024 * 1024
"""Least bytes of a part: below that, asking takes longer than reading. Blobs of less than two are read in one piece."""
MAX_PART: Final = 64 * 1024 * 1024
PARTS_PER_CONNECTION: Final = 4
"""Parts that each connection gets, so that a slow one does not have to be waited for at the end."""
MAX_WRONG: Final = 3
"""Parts that are read anew because they were wrong; beyond that, the blob as a whole is."""

_NOTHING = bytes(RECORD)


async def plan_of(file: PartialFile) -> Plan | None:
    """Return how an unfinished file is divided; None if it is not."""
    return Plan.parse(await file.read(-FOOTER.size, FOOTER.size), await file.length())


def worth_dividing(size: int) -> bool:
    """Return whether so many bytes are worth more than one connection."""
    return size >= 2 * MIN_PART


def step_of(size: int, connections: int) -> int:
    """Return how long the parts of so many bytes are."""
    step = -(-size // (connections * PARTS_PER_CONNECTION))
    return max(MIN_PART, min(step, MAX_PART), -(-size // MAX_PARTS))


class Parts:
    """Reads what is missing of a blob in parts.

    The digest is computed from the file, in order, while the parts arrive. If it is wrong, each part is read once more
    and compared: what differs is replaced, and the rest stays.

    Args:
        channel: The repository.
        digest: The blob.
        size: Its size.
        file: Where it goes; begun already.
        connections: How many parts are read at once.
        transfer: What the reading is part of.
        progress: Told the bytes that are there so far and the bytes in all.

    Attributes:
        excused: Whether the bytes were wrong and a mirror had sent some of them: another try avoids that.
        doubtful: Whether the bytes were wrong, and not all of them were read twice, the same each time.
        prefix: Bytes from the first one on that are there without a gap.
    """

    def __init__(
        self,
        channel: Channel,
        digest: Digest,
        size: int,
        file: PartialFile,
        *,
        connections: int,
        transfer: Transfer,
        progress: Progress | None = None,
    ) -> None:
        self._channel = channel
        self._digest = digest
        self._size = size
        self._file = file
        self._connections = connections
        self._transfer = transfer
        self._progress = progress
        self._plan = Plan(size, 0, size or 1, _NOTHING)
        self._records: list[bytes] = []
        self._there: list[anyio.Event] = []
        # What the hasher of the whole had seen before each part.
        self._states: list[Hasher] = []
        self._hasher = digest.hasher()
        self._todo: deque[int] = deque()
        self._troubled: list[int] = []
        self._asked = False
        self._answered = anyio.Event()
        self._tag: str | None = None
        self._mirrored: dict[str, Reply] = {}
        self._done = 0
        self.excused = False
        self.doubtful = False

    @property
    def prefix(self) -> int:
        """See above."""
        for index, record in enumerate(self._records):
            if record == _NOTHING:
                return self._plan.span(index)[0]
        return self._size

    async def run(self, found: Plan | None) -> None:
        """Read everything that is missing, and prove the whole.

        Args:
            found: How the file is divided, if an earlier process began to write it in parts.

        Raises:
            PartRefusedError: The registry does not send the parts it is asked for.
            DigestMismatchError: The blob is wrong, however often it is read.
            StorageError: The file cannot be read or written.
            OciError: See ``Sender.exchange``.
        """
        await self._prepare(found)
        workers = [self._work] * min(self._connections, len(self._todo))
        await self._together([self._hash_in_order, *workers])
        if self._hasher.digest() != self._digest and not await self._repaired():
            raise self._wrong()
        await self._file.resize(self._size)

    def _wrong(self) -> DigestMismatchError:
        error = DigestMismatchError(self._digest, self._hasher.digest(), size=self._size)
        about = self._channel.name_of(self._digest)
        error.locate(operation=GetBlob.operation, reference=about, host=self._channel.host)
        error.mirrors = tuple(f"{name} sent the bytes, or some of them" for name in self._mirrored)
        for reply in self._mirrored.values():
            reply.disproved(error)
        self.excused = bool(self._mirrored)
        return error

    async def _together(self, jobs: list[Callable[[], Awaitable[None]]]) -> None:
        """Do jobs at once; the first failure ends all of them and is raised as it is."""
        failures: list[Exception] = []

        async def one(job: Callable[[], Awaitable[None]]) -> None:
            try:
                await job()
            except Exception as error:  # noqa: BLE001 -- raised below, outside of the group
                failures.append(error)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for job in jobs:
                group.start_soon(one, job)
        if failures:
            raise failures[0]

    # --- what is there -----------------------------------------------------------------------------------------------

    async def _prepare(self, found: Plan | None) -> None:
        """Find out what is there, or divide the file anew."""
        if found is None or found.size != self._size or not await self._is_head(found):
            await self._divide(0 if found is not None else await self._file.length())
        else:
            self._plan = found
            recorded = await self._file.read(found.record_at(0), found.count * RECORD)
            self._records = [recorded[at : at + RECORD] for at in range(0, len(recorded), RECORD)]
        self._there = [anyio.Event() for _ in self._records]
        self._done = self._plan.base
        for index, record in enumerate(self._records):
            start, stop = self._plan.span(index)
            if record != _NOTHING and await self._hashed(start, stop) == record:
                self._there[index].set()
                self._done += stop - start
            else:
                self._records[index] = _NOTHING
                self._todo.append(index)
        self._file.there = self._done
        if self._done:
            self._transfer.resumed(self._done, "an earlier download was interrupted")

    async def _is_head(self, plan: Plan) -> bool:
        return await self._hashed(0, plan.base) == plan.head

    async def _divide(self, base: int) -> None:
        """Keep the first bytes, and divide what follows them."""
        head = await self._hashed(0, base)
        self._plan = Plan(self._size, base, step_of(self._size - base, self._connections), head)
        self._records = [_NOTHING] * self._plan.count
        await self._file.resize(base)
        await self._file.resize(self._plan.length)
        await self._file.put(self._plan.footer_at, self._plan.footer())

    async def _hashed(self, start: int, stop: int) -> bytes:
        hasher = Hasher("sha256")
        await self._file.hash_into(hasher, start, stop)
        return bytes.fromhex(hasher.digest().encoded)

    async def _hash_in_order(self) -> None:
        await self._file.hash_into(self._hasher, 0, self._plan.base)
        for index, there in enumerate(self._there):
            await there.wait()
            self._states.append(self._hasher.copy())
            await self._file.hash_into(self._hasher, *self._plan.span(index))

    # --- what is missing ---------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        if self._asked:
            # Whether the registry knows ranges at all is found out with one connection.
            await self._answered.wait()
        self._asked = True
        while self._todo:
            await self._read(self._todo.popleft())

    async def _read(self, index: int) -> None:
        """Read a part into the file."""
        record = await self._fetch(index, keep=True)
        await self._file.put(self._plan.record_at(index), record)
        self._records[index] = record
        self._there[index].set()

    async def _fetch(self, index: int, *, keep: bool) -> bytes:
        """Read a part, and return the digest of what came."""
        start, stop = self._plan.span(index)
        hasher = Hasher("sha256")
        write = self._file.writer()
        told = start
        stream = BlobStream(self._channel, self._digest, size=self._size, at=start, stop=stop)
        stream.only_parts, stream.tag, stream.mirrored = True, self._tag, self._mirrored

        def take(piece: bytes | memoryview) -> None:
            if keep:
                write(start + hasher.size, piece)
            hasher.update(piece)

        def note() -> None:
            nonlocal told
            self._count(stream.at - told)
            told = stream.at

        def lost(reason: str) -> None:
            self._troubled.append(index)
            note()
            self._transfer.resumed(self._done, reason)

        stream.on_loss = lost
        try:
            await stream.start()
            self._tag = stream.tag
            self._answered.set()
            while await stream.pour(take):
                note()
            note()
        finally:
            await stream.close()
        if hasher.size != stop - start:
            raise TruncatedBodyError(stop - start, hasher.size)
        return bytes.fromhex(hasher.digest().encoded)

    def _count(self, count: int) -> None:
        self._done = min(self._done + count, self._size)
        self._file.there = self._done
        self._transfer.progress(self._done, self._size)
        if self._progress is not None and count:
            self._progress(self._done, self._size)

    # --- what is wrong -----------------------------------------------------------------------------------------------

    async def _repaired(self) -> bool:
        """Find the parts that are wrong, replace them, and return whether the whole is right now."""
        if self._mirrored:
            # Others are asked for all of it.
            return False
        wrong = 0
        self.doubtful = self._plan.base > 0
        suspects = dict.fromkeys([*self._troubled, *range(self._plan.count)])
        for index in suspects:
            if await self._fetch(index, keep=False) == self._records[index]:
                continue
            await self._read(index)
            if await self._proves_from(index):
                return True
            self.doubtful = True
            wrong += 1
            if wrong == MAX_WRONG:
                break
        return False

    async def _proves_from(self, index: int) -> bool:
        self._hasher = self._states[index].copy()
        for later in range(index, self._plan.count):
            self._states[later] = self._hasher.copy()
            await self._file.hash_into(self._hasher, *self._plan.span(later))
        return self._hasher.digest() == self._digest
