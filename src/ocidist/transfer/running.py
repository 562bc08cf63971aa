"""Doing what a plan says: what fails is reported, and keeps nothing else from being done."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from ocidist._io.fanout import each
from ocidist.errors import NotFoundError, OciError, StorageError
from ocidist.remote.repository import Repository
from ocidist.remote.tags import TagDelete
from ocidist.transfer.again import in_rounds, passes
from ocidist.transfer.looking import has_manifest, named_by
from ocidist.transfer.mirror_report import MirroredImage, MirrorOutcome, MirrorReport
from ocidist.transfer.plan import MirrorFailure
from ocidist.transfer.planning import lightened
from ocidist.transfer.sharing import Sharing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from ocidist.transfer.checkpoint import Checkpoint
    from ocidist.transfer.copying import Copier
    from ocidist.transfer.plan import CopyTask, DeleteTask, MirrorPlan
    from ocidist.transfer.report import CopyReport
    from ocidist.transfer.shard import Shard
    from ocidist.transfer.stores import Stores
    from ocidist.transfer.surveys import Recalled, Surveys

DELETIONS_AT_ONCE: Final = 8
"""Tags that are deleted at any moment."""
COUNTED: Final = (
    *("blobs_copied", "blobs_mounted", "blobs_skipped"),
    *("manifests_copied", "referrers_copied", "bytes_copied"),
)
"""What reports of copies are added up by."""


class Runner:
    """Does what a plan says, or a shard's part of it.

    Args:
        plan: The plan.
        stores: Where things are and go.
        copier: Copies them.
        surveys: Knows what they are made of.
        shard: Which part; None for all of it.
        checkpoint: What is done already, and where to write what is done now; None for nothing.
        patience: Seconds that another shard has to begin with blobs that this one shares with it.
        known: What is known of destinations, just now.
        began: When the work began, as ``time.monotonic()`` has it.
    """

    def __init__(
        self,
        plan: MirrorPlan,
        stores: Stores,
        copier: Copier,
        surveys: Surveys,
        *,
        shard: Shard | None,
        checkpoint: Checkpoint | None,
        patience: float,
        known: Recalled,
        began: float,
    ) -> None:
        self._plan = plan
        self._stores = stores
        self._copier = copier
        self._surveys = surveys
        self._shard = shard
        self._checkpoint = checkpoint
        self._absent = set(known.absent)
        self._is_fresh = known.fresh
        self._began = began
        self._sharing = Sharing(plan, copier, stores, shard=shard, patience=patience)
        self._images: dict[str, MirroredImage] = {}
        self._failures: list[MirrorFailure] = []
        self._deleted: list[str] = []
        self._warnings: list[str] = []
        self._counts: Counter[str] = Counter()

    async def run(self) -> MirrorReport:
        """Do it. Nothing that fails is raised."""
        mine = self._plan if self._shard is None else self._plan.part_of(self._shard)
        tasks = mine.tasks
        await each(tasks, self._take_note, at_once=self._plan.images_at_once)
        todo = [task for task in tasks if task.key not in self._images]
        if todo:
            await self._sharing.begin()
            last: dict[str, OciError] = {}
            for task in await in_rounds(todo, lambda several: self._attempt(several, last)):
                self._fail(task, last[task.key])
        await each(mine.deletions, self._delete, at_once=DELETIONS_AT_ONCE)
        if self._checkpoint is not None:
            # Only what is interrupted has something to go on with: what failed is planned anew the next time.
            await self._note(self._checkpoint.remove())
        self._counts["blobs_copied"] += self._sharing.sent
        self._counts["bytes_copied"] += self._sharing.sent_bytes
        return MirrorReport(
            images=tuple(self._images[task.key] for task in tasks if task.key in self._images),
            failures=(*mine.failures, *self._failures),
            deleted=tuple(self._deleted),
            warnings=(*self._plan.warnings, *self._warnings),
            shard="" if self._shard is None else str(self._shard),
            seconds=time.monotonic() - self._began,
            **{name: self._counts[name] for name in COUNTED},
        )

    # --- copying -----------------------------------------------------------------------------------------------------

    async def _take_note(self, task: CopyTask) -> None:
        """Take note of what is there already. What an older plan or run says of it may not be true any more."""
        done = task.present or (self._checkpoint is not None and task.key in self._checkpoint)
        if done and ((task.present and self._is_fresh) or await self._is_there(task)):
            self._finish(task, MirrorOutcome.PRESENT)

    async def _is_there(self, task: CopyTask) -> bool:
        """Return whether the destination still has what it had."""
        try:
            if task.tag is None:
                return await has_manifest(self._stores.place(task.destination_repository, None), task.digest)
            return await named_by(self._stores.place(task.destination_repository, None), task.tag) == task.digest
        except OciError:
            return False  # copying it says what is wrong

    def _finish(self, task: CopyTask, outcome: MirrorOutcome, sent: int = 0) -> None:
        self._images[task.key] = MirroredImage(task.source, task.destination, task.digest, outcome, sent)

    async def _attempt(self, several: Sequence[CopyTask], last: dict[str, OciError]) -> Sequence[CopyTask]:
        """Copy images, and return those that are worth another attempt."""
        left: list[CopyTask] = []

        async def one(task: CopyTask) -> None:
            try:
                await self._sharing.prepare(task)
                report = await self._copy(task)
            except OciError as error:
                last[task.key] = lightened(error)
                if passes(error):
                    left.append(task)
                else:
                    self._fail(task, error)
                return
            self._counts.update({name: getattr(report, name) for name in COUNTED})
            self._finish(task, outcome_of(report), report.bytes_copied)
            if self._checkpoint is not None and not self._warnings:
                await self._note(self._checkpoint.add(task.key))

        await each(several, one, at_once=self._plan.images_at_once)
        return left

    async def _note(self, noting: Awaitable[None]) -> None:
        """Write to the checkpoint; where that fails the work goes on, and the next run has to look at more."""
        try:
            await noting
        except StorageError as error:
            if str(error) not in self._warnings:
                self._warnings.append(str(error))

    async def _copy(self, task: CopyTask) -> CopyReport:
        absent = task.destination in self._absent
        # After the first attempt it may be there.
        self._absent.discard(task.destination)
        return await copy_task(task, self._copier, self._stores, self._surveys, absent=absent)

    def _fail(self, task: CopyTask, error: OciError) -> None:
        self._failures.append(
            MirrorFailure(task.source, task.destination, lightened(error), task.destination_repository)
        )

    # --- deleting ----------------------------------------------------------------------------------------------------

    async def _delete(self, task: DeleteTask) -> None:
        try:
            done = await delete_task(task, self._stores)
        except OciError as error:
            self._failures.append(MirrorFailure("", task.destination, lightened(error), task.repository))
        else:
            if done:
                self._deleted.append(task.destination)
            else:
                self._warnings.append(kept(task))


async def copy_task(
    task: CopyTask, copier: Copier, stores: Stores, surveys: Surveys, *, absent: bool = False
) -> CopyReport:
    """Copy what a task says; *absent* says that the destination is known not to have the tag.

    Raises:
        CopyError: One of the stores failed.
    """
    source = stores.place(task.repository, task.source_digest)
    destination = stores.place(task.destination_repository, task.digest if task.tag is None else task.tag)
    survey = await surveys.of(source, task.source_digest, task.options)
    return await copier.copy(source, destination, task.options, survey=survey, absent=absent)


def kept(task: DeleteTask) -> str:
    """Return the warning that a tag was not deleted."""
    return f"{task.destination}: it names something else since the plan was made, so it is not deleted"


async def delete_task(task: DeleteTask, stores: Stores) -> bool:
    """Delete a tag, and nothing else, whatever else has its digest. That it is gone already is as good.

    Returns:
        Whether it is gone; it stays if it names something else by now.

    Raises:
        UnsupportedError: The registry deletes neither tags nor manifests.
        OciError: The store failed.
    """
    place = stores.place(task.repository, task.tag)
    try:
        if task.digest is not None and await named_by(place, task.tag) not in {None, task.digest}:
            return False
        if isinstance(place.repository, Repository):
            await place.repository.tags.delete(task.tag, strategy=TagDelete.DUMMY)
        else:
            await place.repository.tags.delete(task.tag)
    except NotFoundError:
        # A registry may also answer so because it does not know the request.
        if await named_by(place, task.tag) is not None:
            raise
    return True


def outcome_of(report: CopyReport) -> MirrorOutcome:
    """Return whether anything was sent for an image."""
    sent = report.manifests_copied or report.tags_set or report.blobs_copied or report.blobs_mounted
    return MirrorOutcome.COPIED if sent else MirrorOutcome.PRESENT
