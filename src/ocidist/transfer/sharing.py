"""Getting what several repositories need to one of them first, so that the others can mount it.

Within a process the copier sees to it that a blob is sent once. Here it is decided *where to*, so that another process,
be it a shard on another machine or the next one after this was killed, finds it without asking.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import anyio

from ocidist._io.fanout import each
from ocidist._io.flight import SingleFlight
from ocidist.errors import OciError
from ocidist.model.reference import Reference
from ocidist.transfer.looking import has_blob
from ocidist.transfer.moving import Outcome
from ocidist.transfer.shard import owner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocidist.model.digest import Digest
    from ocidist.transfer.copying import Copier
    from ocidist.transfer.plan import CopyTask, MirrorPlan, PlannedBlob
    from ocidist.transfer.shard import Shard
    from ocidist.transfer.stores import Stores

PATIENCE_S: Final = 15.0
"""Seconds that another shard has to begin; on top of the time that its blobs may take."""
RATE: Final = 4 * 1024 * 1024
"""Bytes a second that another shard is expected to move at least."""
MAX_WAIT_S: Final = 900.0
"""Longest wait for another shard, in seconds."""
AT_ONCE: Final = 8
"""Blobs of one image that are looked after at any moment."""
_FIRST_WAIT_S: Final = 0.05
_LONGEST_WAIT_S: Final = 5.0
_MOST_CANDIDATES: Final = 3

_log = logging.getLogger("ocidist.mirror")


class Sharing:
    """Gets the blobs of a plan that several repositories need to their homes.

    Args:
        plan: The plan.
        copier: Moves them.
        stores: Where they are and go.
        shard: Which part of the plan is this process's; None for all of it.
        patience: Seconds that another shard has to begin.

    Attributes:
        sent: Blobs that were sent here, and not for a single image.
        sent_bytes: Their bytes.
    """

    def __init__(
        self, plan: MirrorPlan, copier: Copier, stores: Stores, *, shard: Shard | None, patience: float
    ) -> None:
        self._shared = plan.shared
        self._copier = copier
        self._stores = stores
        self._shard = shard
        self._flights: SingleFlight[None] = SingleFlight()
        self._settled: set[tuple[str, Digest]] = set()
        self._late: set[int] = set()
        self._began = anyio.current_time()
        self._homes: dict[tuple[str, Digest], tuple[CopyTask, PlannedBlob]] = {}
        self._elsewhere: dict[tuple[str, Digest], dict[int, str]] = {}
        self._deadlines: dict[tuple[str, Digest], float] = {}
        self.sent: int = 0
        self.sent_bytes: int = 0
        for task in plan.tasks:
            self._learn(task)
        if shard is not None:
            self._expect(shard.count, patience)

    def _learn(self, task: CopyTask) -> None:
        """Take note of what a task says of the blobs it needs."""
        shared = self._shared.get(task.registry, {})
        for blob in task.blobs:
            home = shared.get(blob.digest)
            key = (task.registry, blob.digest)
            if home == task.destination_repository:
                # If one image of the home is there, so is the blob.
                if key not in self._homes or task.present:
                    self._homes[key] = (task, blob)
            elif home is not None and self._shard is not None:
                whose = owner(task.destination_repository, self._shard.count)
                if whose != self._shard.index:
                    self._elsewhere.setdefault(key, {}).setdefault(whose, task.destination_repository)

    def _expect(self, count: int, patience: float) -> None:
        """Find out until when each blob has to be at its home: shards take theirs in this order."""
        moved = dict.fromkeys(range(count), 0)
        for key, (task, blob) in self._in_order():
            whose = owner(task.destination_repository, count)
            moved[whose] += blob.size
            self._deadlines[key] = self._began + min(patience + moved[whose] / RATE, MAX_WAIT_S)

    def _in_order(self) -> Iterator[tuple[tuple[str, Digest], tuple[CopyTask, PlannedBlob]]]:
        for registry, homes in self._shared.items():
            for digest in homes:
                if (registry, digest) in self._homes:
                    yield (registry, digest), self._homes[registry, digest]

    async def begin(self) -> None:
        """Move what other shards wait for, before anything else."""
        if self._shard is not None:
            mine = [key for key, (task, _) in self._in_order() if self._shard.owns(task.destination_repository)]
            await each(mine, self._settle, at_once=AT_ONCE)

    async def prepare(self, task: CopyTask) -> None:
        """Let the blobs that a task shares with others be at their homes, as far as that is possible."""
        shared = self._shared.get(task.registry, {})
        keys = [
            (task.registry, blob.digest)
            for blob in task.blobs
            if shared.get(blob.digest, task.destination_repository) != task.destination_repository
        ]
        await each(keys, self._settle, at_once=AT_ONCE)

    async def _settle(self, key: tuple[str, Digest]) -> None:
        if key not in self._settled and key in self._homes:
            await self._flights.do(key, lambda: self._bring(key))
            self._settled.add(key)

    async def _bring(self, key: tuple[str, Digest]) -> None:
        task, blob = self._homes[key]
        if task.present:
            self._offer(key, task.destination_repository)
        elif self._shard is None or self._shard.owns(task.destination_repository):
            await self._move(key, task, blob)
        elif await self._arrives(key, owner(task.destination_repository, self._shard.count)):
            self._offer(key, task.destination_repository)

    def _offer(self, key: tuple[str, Digest], repository: str) -> None:
        registry, digest = key
        self._copier.may_have(registry, digest, Reference.parse(repository).repository)

    async def _move(self, key: tuple[str, Digest], task: CopyTask, blob: PlannedBlob) -> None:
        for repository in list(self._elsewhere.get(key, {}).values())[:_MOST_CANDIDATES]:
            # Shards that ran before this one may have it there.
            self._offer(key, repository)
        source = self._stores.place(task.repository, task.source_digest)
        destination = self._stores.place(task.destination_repository, None)
        try:
            outcome = await self._copier.move(blob.descriptor, source, destination)
        except OciError as error:
            # The image that needs it will say so, unless it has another source.
            _log.info("%s is not at its home: %s", blob.digest, error)
            return
        if outcome is Outcome.COPIED:
            self.sent += 1
            self.sent_bytes += blob.size

    async def _arrives(self, key: tuple[str, Digest], whose: int) -> bool:
        """Wait for another shard to move a blob; a shard that was late once is not waited for again."""
        task, blob = self._homes[key]
        place = self._stores.place(task.destination_repository, None)
        wait = _FIRST_WAIT_S
        while True:
            late = whose in self._late
            try:
                if await has_blob(place, blob.digest):
                    return True
            except OciError as error:
                _log.info("%s cannot be looked for: %s", blob.digest, error)
            if late:
                return False
            if anyio.current_time() >= self._deadlines[key]:
                self._late.add(whose)
                _log.info("shard %d is late, and is not waited for", whose)
                return False
            await anyio.sleep(wait)
            wait = min(wait * 1.5, _LONGEST_WAIT_S)
