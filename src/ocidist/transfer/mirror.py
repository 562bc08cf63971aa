"""Mirroring: plan what has to be done, and do it."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ocidist.client import Client
from ocidist.errors import UsageError
from ocidist.transfer.checkpoint import Checkpoint
from ocidist.transfer.config import MirrorConfig
from ocidist.transfer.copying import Copier
from ocidist.transfer.options import CopyOptions
from ocidist.transfer.plan import MirrorPlan
from ocidist.transfer.planning import Planner
from ocidist.transfer.running import Runner
from ocidist.transfer.shard import Shard
from ocidist.transfer.sharing import PATIENCE_S
from ocidist.transfer.stores import Stores
from ocidist.transfer.surveys import Memory, Recalled, Surveys

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike
    from types import UnionType

    from ocidist.observe.hooks import Hook
    from ocidist.transfer.mirror_report import MirrorReport


def _check(value: object, kind: type | UnionType, instead: str) -> None:
    if not isinstance(value, kind):
        raise UsageError(f"this takes no {type(value).__name__}: {instead}")


async def make_plan(config: MirrorConfig, *, client: Client | None, shard: Shard | None = None) -> MirrorPlan:
    """Find out what has to be done for a mirror; nothing is changed anywhere.

    Tags are resolved once, here: what they name now is what is copied, whatever becomes of them. Tags that the
    destination has, and the source has unchanged, are only asked for, not read.

    Cancelling it leaves nothing behind.

    Args:
        config: What is mirrored.
        client: Who asks registries; it is not closed. None if only layouts take part.
        shard: Whose plan it is; None for one that any shard can use. Of what others copy it has what it may share with
            them: what they copy to registries that this one writes to.

    Returns:
        The plan. What could not be read is among its ``failures``.
    """
    _check(config, MirrorConfig, "MirrorConfig.from_file() reads a file")
    _check(shard, Shard | None, "Shard.parse('0/4') reads one")
    began = time.monotonic()
    surveys = Surveys(Copier())
    planner = Planner(config, Stores(client), surveys, shard=shard)
    plan = await planner.run()
    return attrs.evolve(plan, memory=Memory(client, surveys, planner.absent, time.monotonic() - began))


async def run_plan(
    plan: MirrorPlan,
    *,
    client: Client | None,
    checkpoint: str | PathLike[str] | None = None,
    shard: Shard | None = None,
    patience: float = PATIENCE_S,
    hooks: Iterable[Hook] = (),
) -> MirrorReport:
    """Do what a plan says.

    What fails is reported, and keeps nothing else from being done; what failed in a way that may pass is tried again
    after everything else. When it is cancelled, or its process killed, whatever was copied stays, and no tag names
    something that is not complete.

    Args:
        plan: The plan.
        client: Who asks registries; it is not closed. None if only layouts take part.
        checkpoint: A file that what is done is noted in, so that a run that was interrupted goes on where it was. It is
            removed after a run that came to its end. It is for one process at a time: give each shard its own.
        shard: Which part of the plan to do; None for all of it.
        patience: Seconds that other shards have to begin with blobs that this one could mount from theirs. The time
            that moving those takes is added. After that they are sent from here.
        hooks: Callables that are given events, see ``copy``.

    Returns:
        What was done, and what failed.

    Raises:
        UsageError: The checkpoint is one of another mirror, or in use.
        StorageError: The checkpoint cannot be read or made. That it cannot be written later is a warning in the report.
    """
    _check(plan, MirrorPlan, "make_plan() makes one, MirrorPlan.from_json() reads one")
    _check(shard, Shard | None, "Shard.parse('0/4') reads one")
    # Written so that what is no number is refused, too.
    if not patience >= 0:
        raise UsageError("patience is a number of seconds, and not negative")
    copier = Copier(options=CopyOptions(at_once=plan.blobs_at_once), hooks=hooks)
    began = time.monotonic()
    known = Recalled()
    if isinstance(plan._memory, Memory):  # noqa: SLF001 -- it is put there above
        # What was read to make the plan is not read again, as far as there was room for it.
        known = plan._memory.recall(client)  # noqa: SLF001 -- see above
    async with AsyncExitStack() as stack:
        noted = None
        if checkpoint is not None:
            noted = await stack.enter_async_context(Checkpoint(Path(checkpoint), plan.config))
        runner = Runner(
            plan,
            Stores(client),
            copier,
            known.surveys or Surveys(copier),
            shard=shard,
            checkpoint=noted,
            patience=patience,
            known=known,
            began=began - known.seconds,
        )
        return await runner.run()


async def mirror(
    config: MirrorConfig,
    *,
    client: Client | None = None,
    checkpoint: str | PathLike[str] | None = None,
    shard: Shard | None = None,
    patience: float = PATIENCE_S,
    hooks: Iterable[Hook] = (),
) -> MirrorReport:
    """Let destinations have what sources have: ``make_plan`` and ``run_plan`` in one.

    Args:
        config: What is mirrored.
        client: Who asks registries; it is not closed. None makes one for this, with the configuration's ``hosts``.
        checkpoint: See ``run_plan``, as for all that follow.
        shard: See there.
        patience: See there.
        hooks: See there.

    Returns:
        What was done.

    Raises:
        MirrorError: Something failed; everything else was done. It is a group of all failures and has the ``report``.
        UsageError: The checkpoint is one of another mirror, or in use.
        StorageError: The checkpoint cannot be read or made. That it cannot be written later is a warning in the report.
    """
    _check(config, MirrorConfig, "MirrorConfig.from_file() reads a file")
    async with AsyncExitStack() as stack:
        if client is None:
            client = await stack.enter_async_context(Client(hosts=config.hosts, hooks=hooks))
        plan = await make_plan(config, client=client, shard=shard)
        report = await run_plan(plan, client=client, checkpoint=checkpoint, shard=shard, patience=patience, hooks=hooks)
    report.raise_failures()
    return report
