"""A plan done by a Dask cluster: the same tasks, and what many need as tasks of their own.

Tasks are coroutines on the workers' event loops; a worker has one client, made there by a function that is named, with
whatever credentials that machine has. What is sent to the cluster are names, digests and sizes.

Needs the extra ``dask``. Dask's event loop is asyncio's.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import anyio
import attrs

try:
    from distributed import Semaphore, WorkerPlugin, as_completed, get_worker
except ModuleNotFoundError as _missing:
    if _missing.name != "distributed":
        raise
    _message = "ocidist.transfer.dask needs distributed: pip install 'ocidist[dask]'"
    raise ModuleNotFoundError(_message, name=_missing.name) from None

from ocidist.client import Client
from ocidist.errors import OciError, UsageError
from ocidist.hosts.host import HostConfig
from ocidist.model.digest import Digest
from ocidist.model.places import LAYOUT
from ocidist.model.reference import Reference, RegistryName, Tag
from ocidist.transfer.again import ROUNDS, passes
from ocidist.transfer.copying import Copier
from ocidist.transfer.mirror_report import MirroredImage, MirrorOutcome, MirrorReport
from ocidist.transfer.moving import Outcome
from ocidist.transfer.options import CopyOptions
from ocidist.transfer.plan import DeleteTask, MirrorFailure, PlannedBlob, registry_of, task_from_json, task_to_json
from ocidist.transfer.running import COUNTED, copy_task, delete_task, kept, outcome_of
from ocidist.transfer.stores import Stores
from ocidist.transfer.surveys import Memory, Surveys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from distributed import Client as Cluster
    from distributed import Future, Worker

    from ocidist.transfer.plan import CopyTask, MirrorPlan

CLEANUP_S: Final = 10.0
"""Seconds that the workers have to close their clients."""
MAX_SUBMITTED: Final = 5000
"""Images that the scheduler knows of at any moment."""
FACTORY: Final = "ocidist.transfer.dask:make_client"

_log = logging.getLogger("ocidist.mirror")

_PLAIN: Final = ("scheme", "insecure", "verify", "ca", "client_cert", "concurrency", "rate", "chunk_size")


async def run_plan_on_dask(
    plan: MirrorPlan,
    cluster: Cluster,
    *,
    factory: str = FACTORY,
    hosts: Mapping[str, HostConfig] | None = None,
    limits: Mapping[str, int] | None = None,
) -> MirrorReport:
    """Do what a plan says on a Dask cluster.

    A blob that several repositories of a registry need is a task of its own, on which the images wait: it is sent once
    by the whole fleet. Workers that die lose nothing: their tasks are done elsewhere, and move what is missing.

    When it is cancelled, so are the tasks that have not begun.

    Args:
        plan: The plan.
        cluster: A client of the cluster, made with ``asynchronous=True``. It is not closed.
        factory: Makes the client of each worker: ``module:function``, importable there. The function returns a
            ``Client`` and is called with ``hosts=``. The default one takes credentials from where the tools keep them,
            on the worker's machine.
        hosts: What the clients are to know of hosts. Headers may hold secrets, and are refused: set them in a factory.
        limits: Tasks that use a registry (``host[:port]``) at any moment, on all workers together.

    Returns:
        What was done, and what failed.

    Raises:
        UsageError: The settings of a host cannot be sent, a limit or the factory's name is none, or the cluster's
            client is not asynchronous.
        OciError: A worker cannot make its client.
    """
    if not getattr(cluster, "asynchronous", False):
        raise UsageError("the cluster's client has to be made with asynchronous=True")
    if not all(factory.partition(":")[::2]):
        raise UsageError(f"a factory is named as module:function, not {factory[:200]!r}")
    for name, most in (limits or {}).items():
        if type(most) is not int or most < 1:
            raise UsageError(f"the limit of {name} is a whole number, at least 1")
    crew = Crew(f"ocidist-mirror-{uuid.uuid4().hex}", factory, sent_hosts(hosts or {}), plan.blobs_at_once)
    try:
        await _register(crew, cluster)
        return await _Job(plan, cluster, crew.name, dict(limits or {})).run()
    finally:
        await _unregister(crew, cluster)


async def _register(crew: Crew, cluster: Cluster) -> None:
    try:
        await cluster.register_plugin(crew, name=crew.name)
    except Exception as error:
        raise OciError(f"the workers cannot make their clients: {type(error).__name__}: {error}") from error


async def _unregister(crew: Crew, cluster: Cluster) -> None:
    """Let the workers close their clients; if the scheduler is gone, so are they, or will be."""
    with anyio.move_on_after(CLEANUP_S, shield=True):
        try:
            await cluster.unregister_worker_plugin(crew.name)
        except Exception as error:  # noqa: BLE001 -- whatever Dask raises, it is not what the caller waits for
            _log.info("the workers' clients cannot be closed: %s", error)


def make_client(hosts: Mapping[str, Mapping[str, Any]]) -> Client:
    """Make the client of a worker.

    Args:
        hosts: What is configured for hosts, as ``sent_hosts`` returned it.
    """
    return Client(hosts={name: HostConfig(**fields) for name, fields in hosts.items()})


def sent_hosts(hosts: Mapping[str, HostConfig]) -> dict[str, dict[str, Any]]:
    """Return configurations of hosts as plain values that can be sent to workers.

    Raises:
        UsageError: One holds what cannot be sent, or should not be.
    """
    plain = HostConfig()
    found: dict[str, dict[str, Any]] = {}
    for name, config in hosts.items():
        fields = {field.name: getattr(config, field.name) for field in attrs.fields(HostConfig)}
        changed = {key: value for key, value in fields.items() if value != getattr(plain, key)}
        for key in changed.keys() - set(_PLAIN):
            raise UsageError(f"{key} of {name} is not sent to workers: set it in a factory of your own")
        found[name] = changed
    return found


class Crew(WorkerPlugin):  # type: ignore[misc]  # its types are not used, see pyproject.toml
    """What each worker has for a job: a client, and a copier that knows what was done there.

    Args:
        name: The job's name.
        factory: Makes the client.
        hosts: What the factory is called with.
        at_once: Blobs that one worker has under way at any moment.
    """

    def __init__(self, name: str, factory: str, hosts: Mapping[str, Mapping[str, Any]], at_once: int) -> None:
        self.name = name
        self._factory = factory
        self._hosts = hosts
        self._at_once = at_once
        # By worker: where all of them share a process, they share this object.
        self._tools: dict[str, _Tools] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Crew, (self.name, self._factory, self._hosts, self._at_once)

    async def setup(self, worker: Worker) -> None:
        """Make a worker's tools, on its event loop."""
        module, _, function = self._factory.partition(":")
        made = getattr(import_module(module), function)(hosts=self._hosts)
        stack = AsyncExitStack()
        client = await stack.enter_async_context(made)
        copier = Copier(options=CopyOptions(at_once=self._at_once))
        self._tools[worker.address] = _Tools(stack, Stores(client), copier, Surveys(copier))

    async def teardown(self, worker: Worker) -> None:
        """Close a worker's client."""
        tools = self._tools.pop(worker.address, None)
        if tools is not None:
            await tools.stack.aclose()

    def tools(self, worker: Worker) -> _Tools:
        """Return a worker's tools."""
        return self._tools[worker.address]


@attrs.frozen
class _Tools:
    stack: AsyncExitStack
    stores: Stores
    copier: Copier
    surveys: Surveys


def _tools(job: str) -> _Tools:
    worker = get_worker()
    crew: Any = worker.plugins[job]
    found: _Tools = crew.tools(worker)
    return found


@asynccontextmanager
async def _within(limits: Iterable[tuple[str, int]]) -> AsyncIterator[None]:
    """Hold a place for each registry, always in the same order."""
    async with AsyncExitStack() as stack:
        for name, most in sorted(limits):
            await stack.enter_async_context(Semaphore(max_leases=most, name=name))
        yield


# --- what workers do -------------------------------------------------------------------------------------------------


async def move_blob(
    job: str, task: Mapping[str, Any], digest: str, size: int, limits: list[tuple[str, int]]
) -> tuple[str | None, bool]:
    """Get a blob to the repository that a task copies to.

    Returns:
        That repository, and whether the blob was sent; None for the repository if it failed: then images send it.
    """
    tools, wanted = _tools(job), task_from_json(task)
    source = tools.stores.place(wanted.repository, wanted.source_digest)
    destination = tools.stores.place(wanted.destination_repository, None)
    async with _within(limits):
        for _ in range(ROUNDS):
            try:
                outcome = await tools.copier.move(PlannedBlob(digest, size).descriptor, source, destination)
            except OciError as error:
                if not passes(error):
                    break
            else:
                return wanted.destination_repository, outcome is Outcome.COPIED
    return None, False


async def copy_image(
    job: str,
    task: Mapping[str, Any],
    digests: list[str],
    homes: list[tuple[str | None, bool]],
    limits: list[tuple[str, int]],
) -> dict[str, Any]:
    """Copy an image, and return what was done or what failed as plain values."""
    tools, wanted = _tools(job), task_from_json(task)
    for digest, (home, _) in zip(digests, homes, strict=True):
        if home is not None:
            tools.copier.may_have(wanted.registry, Digest(digest), Reference.parse(home).repository)
    async with _within(limits):
        for attempt in range(ROUNDS):
            try:
                report = await copy_task(wanted, tools.copier, tools.stores, tools.surveys)
            except OciError as error:
                if attempt == ROUNDS - 1 or not passes(error):
                    return {"failure": MirrorFailure(wanted.source, wanted.destination, error).to_json()}
            else:
                counts = {name: getattr(report, name) for name in COUNTED}
                return {"counts": counts, "outcome": outcome_of(report).value}
    raise AssertionError  # pragma: no cover -- the last attempt returns


async def delete_tag(
    job: str, repository: str, tag: str, digest: str | None, limits: list[tuple[str, int]]
) -> dict[str, Any]:
    """Delete a tag, and return what failed as plain values."""
    async with _within(limits):
        try:
            task = DeleteTask(repository, Tag(tag), None if digest is None else Digest(digest))
            return {"deleted": await delete_task(task, _tools(job).stores)}
        except OciError as error:
            return {"failure": MirrorFailure("", f"{repository}:{tag}", error).to_json()}


# --- the job ---------------------------------------------------------------------------------------------------------


class _Job:
    def __init__(self, plan: MirrorPlan, cluster: Cluster, name: str, limits: dict[str, int]) -> None:
        self._plan = plan
        self._cluster = cluster
        self._name = name
        self._limits = {
            host if host.startswith(LAYOUT) else RegistryName.parse(host).identity: most
            for host, most in limits.items()
        }
        self._blobs: dict[tuple[str, Digest], Future] = {}
        self._sizes: dict[tuple[str, Digest], int] = {}
        self._homes: dict[tuple[str, Digest], CopyTask] = {}
        self._images: dict[str, MirroredImage] = {}
        self._failures: list[MirrorFailure] = []
        self._deleted: list[str] = []
        self._warnings: list[str] = []
        self._counts: Counter[str] = Counter()
        for task in plan.tasks:
            self._learn(task)

    def _learn(self, task: CopyTask) -> None:
        shared = self._plan.shared.get(task.registry, {})
        for blob in task.blobs:
            key = (task.registry, blob.digest)
            if shared.get(blob.digest) == task.destination_repository and (key not in self._homes or task.present):
                self._homes[key] = task

    async def run(self) -> MirrorReport:
        began = time.monotonic()
        # What was written down, or done before, may be old: workers look whether what it calls present still is.
        memory = self._plan._memory  # noqa: SLF001 -- make_plan() puts it there
        fresh = isinstance(memory, Memory) and memory.is_first_use()
        for task in self._plan.tasks:
            if task.present and fresh:
                self._finish(task, MirrorOutcome.PRESENT, 0)
        todo = [(number, task) for number, task in enumerate(self._plan.tasks) if task.key not in self._images]
        await self._all(self._image(number, task) for number, task in todo)
        await self._count_blobs()
        await self._all(self._deletion(task) for task in self._plan.deletions)
        return MirrorReport(
            images=tuple(self._images[task.key] for task in self._plan.tasks if task.key in self._images),
            failures=(*self._plan.failures, *self._failures),
            deleted=tuple(self._deleted),
            warnings=(*self._plan.warnings, *self._warnings),
            shard="",
            seconds=time.monotonic() - began,
            **{name: self._counts[name] for name in COUNTED},
        )

    async def _count_blobs(self) -> None:
        for key, future in self._blobs.items():
            # One that could not be done was done by the images, or is among their failures.
            if future.status == "finished" and await self._was_sent(future):
                self._counts["blobs_copied"] += 1
                self._counts["bytes_copied"] += self._sizes[key]

    @staticmethod
    async def _was_sent(future: Future) -> bool:
        try:
            return bool((await future.result())[1])
        except Exception:  # noqa: BLE001 -- the worker that knew is gone
            return False

    async def _all(self, begun: Iterable[tuple[Future, CopyTask | DeleteTask]]) -> None:
        """Wait for tasks, as many at a time as the scheduler should know of."""
        left = iter(begun)
        pending: dict[str, CopyTask | DeleteTask] = {}
        futures = as_completed([], loop=self._cluster.loop)
        self._submit(left, futures, pending, MAX_SUBMITTED)
        try:
            async for future in futures:
                task = pending.pop(str(future.key))
                self._take(task, await self._result(future, task))
                future.release()
                self._submit(left, futures, pending, 1)
        finally:
            if pending:
                # It is done at once: the scheduler is told, and nothing is waited for.
                with anyio.CancelScope(shield=True):
                    left_over = [*futures.futures, *self._blobs.values()]
                    await self._cluster.cancel(left_over, asynchronous=True)

    @staticmethod
    def _submit(
        left: Iterable[tuple[Future, CopyTask | DeleteTask]],
        futures: as_completed,
        pending: dict[str, CopyTask | DeleteTask],
        most: int,
    ) -> None:
        for (future, task), _ in zip(left, range(most), strict=False):
            pending[str(future.key)] = task
            futures.add(future)

    async def _result(self, future: Future, task: CopyTask | DeleteTask) -> dict[str, Any]:
        try:
            found: dict[str, Any] = await future.result()
        except Exception as error:  # noqa: BLE001 -- workers may die, and raise what a factory raises
            told = OciError(f"the cluster did not do it: {type(error).__name__}: {error}")
            source = getattr(task, "source", "")
            return {"failure": MirrorFailure(source, task.destination, told).to_json()}
        return found

    def _take(self, task: CopyTask | DeleteTask, found: dict[str, Any]) -> None:
        if "failure" in found:
            self._failures.append(MirrorFailure.from_json(found["failure"]))
        elif "counts" in found:
            self._counts.update(found["counts"])
            self._finish(task, MirrorOutcome(found["outcome"]), found["counts"]["bytes_copied"])  # type: ignore[arg-type]  # deletions count nothing
        elif found["deleted"]:
            self._deleted.append(task.destination)
        else:
            self._warnings.append(kept(task))  # type: ignore[arg-type]  # images are never deleted

    def _finish(self, task: CopyTask, outcome: MirrorOutcome, sent: int) -> None:
        self._images[task.key] = MirroredImage(task.source, task.destination, task.digest, outcome, sent)

    # --- tasks -------------------------------------------------------------------------------------------------------

    def _image(self, number: int, task: CopyTask) -> tuple[Future, CopyTask]:
        shared = self._plan.shared.get(task.registry, {})
        mine = [blob for blob in task.blobs if (task.registry, blob.digest) in self._homes and blob.digest in shared]
        future = self._cluster.submit(
            copy_image,
            self._name,
            task_to_json(task),
            [str(blob.digest) for blob in mine],
            [self._home(blob, task.registry, number) for blob in mine],
            self._places(task.repository, task.destination_repository),
            key=f"{task.key}#{self._name}",
            priority=-number,
            pure=False,
        )
        return future, task

    def _home(self, blob: PlannedBlob, registry: str, number: int) -> Future | tuple[str, bool]:
        key = (registry, blob.digest)
        task = self._homes[key]
        if task.present:
            return task.destination_repository, False
        if key not in self._blobs:
            # One key is one task, whatever the number of images. It is this job's alone: another one has other clients.
            self._sizes[key] = blob.size
            self._blobs[key] = self._cluster.submit(
                move_blob,
                self._name,
                task_to_json(attrs.evolve(task, blobs=())),
                str(blob.digest),
                blob.size,
                self._places(task.repository, task.destination_repository),
                key=f"{blob.digest}@{registry}#{self._name}",
                priority=-number,
                pure=False,
            )
        return self._blobs[key]

    def _deletion(self, task: DeleteTask) -> tuple[Future, DeleteTask]:
        places = self._places(task.repository)
        key = f"{task.key}#{self._name}"
        future = self._cluster.submit(
            delete_tag, self._name, task.repository, str(task.tag), task.digest, places, key=key, pure=False
        )
        return future, task

    def _places(self, *repositories: str) -> list[tuple[str, int]]:
        registries = sorted({registry_of(repository) for repository in repositories})
        # A semaphore keeps the number that it was made with, whoever asks for it later.
        found = [(name, self._limits[name]) for name in registries if name in self._limits]
        return [(f"ocidist {name} {most}", most) for name, most in found]
