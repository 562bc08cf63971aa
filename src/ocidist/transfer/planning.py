"""Making a plan: rules become tasks.

Tags are listed page by page, and resolved while the next page waits. A tag that the destination has, and that the
source has unchanged, costs two questions and no manifest: registries count what is read, and most of a mirror that
runs every night is there already.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import attrs

from ocidist._io.fanout import each
from ocidist.errors import DeniedError, OciError, UnsupportedError, UsageError
from ocidist.errors._transfer import Side
from ocidist.model.digest import Digest
from ocidist.model.places import LAYOUT
from ocidist.transfer.again import in_rounds, passes, patiently
from ocidist.transfer.blame import blaming
from ocidist.transfer.listing import Pair, Wanted, is_digest_tag, listed_pair, named_pair, tags_there
from ocidist.transfer.local import need_layout
from ocidist.transfer.looking import has_manifest, named_by
from ocidist.transfer.options import CopyOptions, Referrers
from ocidist.transfer.plan import (
    CopyTask,
    DeleteTask,
    MirrorFailure,
    MirrorPlan,
    PlannedBlob,
    registry_of,
    shared_blobs,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocidist.model.descriptor import Descriptor
    from ocidist.model.reference import Tag
    from ocidist.transfer.config import MirrorConfig, MirrorRule
    from ocidist.transfer.shard import Shard
    from ocidist.transfer.stores import Stores
    from ocidist.transfer.surveys import Surveys

REPOSITORIES_AT_ONCE: Final = 8
"""Repositories that are listed at any moment."""
IMAGES_AT_ONCE: Final = 16
"""Images that are resolved at any moment, those of all repositories together."""
_LOOKED_AT: Final = 20
_AT_LEAST: Final = 200


class Planner:
    """Makes the plan of a configuration.

    Args:
        config: The configuration.
        stores: Where it reads and looks.
        surveys: Reads manifests, and keeps some for the copies that follow.
        shard: Whose part is planned; None for everybody's.

    Attributes:
        absent: Destinations that had no such tag. That is true now, so it is no part of the plan.
    """

    def __init__(self, config: MirrorConfig, stores: Stores, surveys: Surveys, *, shard: Shard | None = None) -> None:
        self._config = config
        self._stores = stores
        self._surveys = surveys
        self._shard = shard
        self._others: list[Pair] = []
        self._mine: set[str] = set()
        self._limiter = anyio.CapacityLimiter(IMAGES_AT_ONCE)
        self.absent: set[str] = set()
        self._tasks: dict[str, CopyTask] = {}
        self._clashing: dict[str, list[str]] = {}
        self._deletions: dict[str, DeleteTask] = {}
        self._deleting = any(rule.delete for rule in config.rules)
        self._expected: dict[str, set[str]] = {}
        self._complete = True
        self._failures: list[MirrorFailure] = []
        self._warnings: list[str] = []
        self._blobs: dict[Digest, PlannedBlob] = {}
        self._again: list[Wanted] = []

    async def run(self) -> MirrorPlan:
        """Make the plan. What fails is in it, and keeps nothing else from being planned."""
        for rule in self._config.rules:
            # In their order: machines that share the work have to agree on the spelling.
            destination = rule.ends[1].registry
            if destination is not None:
                self._stores.spell(destination)
        named = [rule for rule in self._config.rules if not rule.ends[0].glob]
        await each(named, self._follow, at_once=REPOSITORIES_AT_ONCE)
        for rule in self._config.rules:
            if rule.ends[0].glob:
                await self._follow_catalog(rule)
        # Blobs are shared within a registry: what others copy to one that is not written to here does not matter here.
        needed = [pair for pair in self._others if registry_of(pair.destination) in self._mine]
        await each(needed, self._plan, at_once=REPOSITORIES_AT_ONCE)
        await self._once_more()
        self._drop_clashes()
        await self._look_at_destinations()
        tasks = sorted(self._tasks.values(), key=lambda task: (-task.size, task.key))
        return MirrorPlan(
            config=self._config.digest,
            images_at_once=self._config.images_at_once,
            blobs_at_once=self._config.blobs_at_once,
            tasks=tuple(tasks),
            deletions=await self._safe_deletions(),
            failures=tuple(self._failures),
            warnings=tuple(self._warnings),
            shared=shared_blobs(tasks),
        )

    # --- repositories ------------------------------------------------------------------------------------------------

    async def _follow(self, rule: MirrorRule) -> None:
        """Plan the one repository that a rule names."""
        await self._take(named_pair(rule))

    async def _follow_catalog(self, rule: MirrorRule) -> None:
        """Plan the repositories of a registry that a rule means, as its catalog lists them."""
        source = rule.ends[0].registry
        if source is None or self._stores.client is None:
            raise UsageError(f"a client is needed to ask for {rule.source}")
        found = False
        pages = self._stores.client.registry(source).repositories().pages()
        try:
            while (page := await patiently(lambda: anext(pages, None))) is not None:
                pairs = [pair for name in page.items if (pair := self._pair(rule, name)) is not None]
                found = found or bool(pairs)
                await each(pairs, self._take, at_once=REPOSITORIES_AT_ONCE)
        except OciError as error:
            self._fail_catalog(rule, error)
        else:
            if not found:
                self._warnings.append(f"{rule.source}: no repository has such a name")

    def _pair(self, rule: MirrorRule, name: str) -> Pair | None:
        try:
            return listed_pair(rule, name)
        except OciError as error:
            self._fail(f"{rule.ends[0].registry}/{name}", rule.destination, error, f"{rule.destination}/{name}")
            return None

    def _fail_catalog(self, rule: MirrorRule, error: OciError) -> None:
        # What is not known to be there must not be deleted anywhere.
        self._complete = False
        if isinstance(error, UnsupportedError | DeniedError):
            error.hint = "Without its catalog, name the repositories: each in a rule of its own"
        self._fail(rule.source, rule.destination, error)

    async def _take(self, pair: Pair) -> None:
        """Plan a repository, or put it off until it is known whether this shard has to know of it."""
        pair = attrs.evolve(pair, destination=await self._stores.known_as(pair.destination))
        if self._shard is None or self._shard.owns(pair.destination):
            self._mine.add(registry_of(pair.destination))
            await self._plan(pair)
        else:
            self._others.append(pair)

    async def _plan(self, pair: Pair) -> None:
        source, destination = pair.rule.ends
        name = source.digest or source.tag
        if name is not None:
            tag = destination.tag or source.tag
            self._expect(pair, [] if tag is None else [tag])
            await self._resolve(Wanted(pair, name, tag, there=None))
            return
        try:
            await self._plan_tags(pair)
        except OciError as error:
            self._fail(pair.source, pair.destination, error, pair.destination)

    async def _plan_tags(self, pair: Pair) -> None:
        if pair.source.startswith(LAYOUT):
            await need_layout(Path(pair.source.removeprefix(LAYOUT)))
        there = await tags_there(pair, self._stores)
        listed = accepted = 0
        pages = self._stores.repository(pair.source).tags.list().pages()
        while (page := await patiently(lambda: anext(pages, None))) is not None:
            tags = [tag for tag in page.items if not is_digest_tag(tag) and pair.rule.tags.accepts(tag)]
            listed += len(page.items)
            accepted += len(tags)
            self._expect(pair, tags)
            wanted = [Wanted(pair, tag, tag, None if there is None else tag in there) for tag in tags]
            await each(wanted, self._resolve, at_once=IMAGES_AT_ONCE)
        if not accepted and not pair.rule.ends[0].glob:
            why = "it has no tags" if not listed else f"none of its {listed} tags is accepted"
            self._warnings.append(f"{pair.source}: {why}")
        if pair.rule.delete:
            self._delete(pair, there, listed, accepted)

    def _expect(self, pair: Pair, tags: Iterable[Tag]) -> None:
        """Take note of tags that are meant to be in a repository, whether or not they can be resolved."""
        if self._deleting:
            self._expected.setdefault(pair.destination, set()).update(tags)

    # --- images ------------------------------------------------------------------------------------------------------

    async def _resolve(self, wanted: Wanted) -> None:
        async with self._limiter:
            try:
                task = await self._task(wanted)
            except OciError as error:
                if passes(error):
                    self._again.append(wanted)
                else:
                    self._fail(wanted.source, wanted.destination, error, wanted.pair.destination)
                return
        self._add(task, wanted)

    async def _once_more(self) -> None:
        """Try again what failed, now that everything else was looked at."""
        last: dict[Wanted, OciError] = {}

        async def attempt(several: Sequence[Wanted]) -> Sequence[Wanted]:
            left: list[Wanted] = []

            async def one(wanted: Wanted) -> None:
                try:
                    self._add(await self._task(wanted), wanted)
                except OciError as error:
                    last[wanted] = error
                    if passes(error):
                        left.append(wanted)
                    else:
                        self._fail(wanted.source, wanted.destination, error, wanted.pair.destination)

            await each(several, one, at_once=IMAGES_AT_ONCE)
            return left

        for wanted in await in_rounds(self._again, attempt) if self._again else ():
            self._fail(wanted.source, wanted.destination, last[wanted], wanted.pair.destination)

    async def _task(self, wanted: Wanted) -> CopyTask:
        options = wanted.pair.rule.options
        whole = not (options.referrers or options.digest_tags or options.force)
        named = await self._named_there(wanted) if whole and wanted.there is not False else None
        source = self._stores.place(wanted.pair.source, wanted.name)
        digest = wanted.name if isinstance(wanted.name, Digest) else None
        if digest is None and (named is not None or not whole):
            with blaming(Side.SOURCE):
                digest = (await source.repository.manifests.stat(wanted.name)).digest
        if digest is not None and digest == named and not options.platforms:
            return self._made(wanted, digest, digest, present=True)
        if digest is None:
            survey = await self._surveys.of_tag(source, options)
        else:
            # What refers to it is looked up once, however many tags it has.
            pinned = self._stores.place(wanted.pair.source, digest)
            survey = await self._surveys.of(pinned, digest, options)
        root = survey.root.digest
        return self._made(wanted, survey.source_digest, root, present=root == named, blobs=survey.blobs)

    async def _named_there(self, wanted: Wanted) -> Digest | None:
        """Return what the destination's tag names, None if there is no such tag or it cannot be told."""
        name = wanted.tag or wanted.name
        place = self._stores.place(wanted.pair.destination, name)
        try:
            if isinstance(name, Digest):
                return name if await has_manifest(place, name) else None
            return await named_by(place, name)
        except OciError:
            return None

    def _made(
        self, wanted: Wanted, source: Digest, digest: Digest, *, present: bool, blobs: Sequence[Descriptor] = ()
    ) -> CopyTask:
        return CopyTask(
            repository=wanted.pair.source,
            source_digest=source,
            source_tag=None if isinstance(wanted.name, Digest) else wanted.name,
            destination_repository=wanted.pair.destination,
            tag=wanted.tag,
            digest=digest,
            options=wanted.pair.rule.options,
            blobs=self._interned(blobs),
            present=present,
        )

    def _interned(self, blobs: Sequence[Descriptor]) -> tuple[PlannedBlob, ...]:
        # Thousands of images are made of the same layers.
        return tuple(self._blobs.setdefault(blob.digest, PlannedBlob(blob.digest, blob.size)) for blob in blobs)

    def _add(self, task: CopyTask, wanted: Wanted) -> None:
        destination = task.destination
        if wanted.there is False:
            self.absent.add(destination)
        before = self._tasks.get(destination)
        if before is None:
            self._tasks[destination] = task
        elif before.digest != task.digest:
            self._clashing.setdefault(task.destination, [before.source]).append(task.source)
        elif before.options != task.options or (before.present and not task.present):
            # The same thing, with more or less of what goes along: all of it is wanted by somebody.
            self._tasks[task.destination] = _both(before, task)

    def _drop_clashes(self) -> None:
        for destination, sources in self._clashing.items():
            task = self._tasks.pop(destination)
            error = UsageError(f"{len(sources)} different images are meant for it: nothing was copied there")
            self._fail(", ".join(sorted(sources)), destination, error, task.destination_repository)

    def _fail(self, source: str, destination: str, error: OciError, repository: str = "") -> None:
        self._failures.append(MirrorFailure(source, destination, lightened(error), repository))

    # --- what the destinations have ----------------------------------------------------------------------------------

    async def _look_at_destinations(self) -> None:
        """Find out which blobs those images have that are there already: new ones can mount them.

        Only where there are new ones, and not at many times as many as there are new ones.
        """
        new: dict[str, int] = {}
        for task in self._tasks.values():
            new[task.registry] = new.get(task.registry, 0) + (not task.present)
        there = [task for task in self._tasks.values() if task.present and not task.blobs and new[task.registry]]
        for registry, number in new.items():
            here = [task for task in there if task.registry == registry]
            if len(here) <= number * _LOOKED_AT + _AT_LEAST:
                await each(here, self._look, at_once=IMAGES_AT_ONCE)

    async def _look(self, task: CopyTask) -> None:
        place = self._stores.place(task.destination_repository, task.digest)
        try:
            survey = await self._surveys.of(place, task.digest, CopyOptions())
        except OciError:
            return
        self._tasks[task.destination] = attrs.evolve(task, blobs=self._interned(survey.blobs))

    # --- what vanished -----------------------------------------------------------------------------------------------

    def _delete(self, pair: Pair, there: set[str] | None, listed: int, accepted: int) -> None:
        if there is None:
            self._warnings.append(f"{pair.destination}: its tags cannot be listed, so none is deleted")
        elif not accepted:
            why = "no tag of it is accepted" if listed else "it is empty"
            self._warnings.append(f"{pair.source}: {why}, so nothing is deleted in {pair.destination}")
        else:
            for tag in sorted(there - self._expected[pair.destination]):
                if not is_digest_tag(tag):
                    self._deletions[f"{pair.destination}:{tag}"] = DeleteTask(pair.destination, tag)

    async def _safe_deletions(self) -> tuple[DeleteTask, ...]:
        """Return the deletions in repositories of which everything is known that is meant to be there."""
        failed = {failure.destination for failure in self._failures}
        safe = [
            task
            for task in self._deletions.values()
            # Another rule may have come later, and want what this one does not.
            if task.tag not in self._expected[task.repository] and task.repository not in failed and self._complete
        ]
        if len(safe) < len(self._deletions) and not self._complete:
            self._warnings.append("not all repositories are known, so nothing is deleted")
        found = await each(safe, self._pinned, at_once=IMAGES_AT_ONCE)
        return tuple(task for task in found if task is not None)

    async def _pinned(self, task: DeleteTask) -> DeleteTask | None:
        """Return a deletion of what a tag names now, None if that cannot be told."""
        try:
            digest = await named_by(self._stores.place(task.repository, task.tag), task.tag)
        except OciError as error:
            self._fail("", task.destination, error, task.repository)
            return None
        if digest is None:
            self._warnings.append(f"{task.destination}: nobody can tell what it names, so it is not deleted")
            return None
        return attrs.evolve(task, digest=digest)


def _both(first: CopyTask, second: CopyTask) -> CopyTask:
    flags = {
        name: getattr(first.options, name) or getattr(second.options, name)
        for name in ("digest_tags", "foreign_layers", "force")
    }
    referrers = _both_referrers(first.options.referrers, second.options.referrers)
    options = attrs.evolve(first.options, referrers=referrers, **flags)
    return attrs.evolve(first, options=options, present=first.present and second.present)


def _both_referrers(first: Referrers | None, second: Referrers | None) -> Referrers | None:
    if first is None or second is None:
        return first or second
    # No types are all types.
    some = first.artifact_types and second.artifact_types
    types = dict.fromkeys((*first.artifact_types, *second.artifact_types)) if some else ()
    return Referrers(max(first.depth, second.depth), artifact_types=types)


def lightened(error: OciError) -> OciError:
    """Return an error without its tracebacks: there may be thousands, and each would keep what its frames held."""
    found: BaseException | None = error
    while found is not None:
        found.__traceback__ = None
        found.__context__ = None
        found = found.__cause__
    return error
