"""L13: pushes with a journal and downloads are killed, and gone on with by the next process."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import random
import signal
import struct
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.contenders.on_anyio import run
from benchmarks.loads.findings import Finding
from benchmarks.loads.source import BLOCK, MIB
from ocidist import Client, Descriptor, Digest, Event, HostConfig, TransferResumed

# A child that is forked has to have everything loaded: what takes long would be killed most of the time.
import ocidist._io.journal  # noqa: F401 isort: skip
import ocidist.remote.blobs  # noqa: F401 isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from typing import Any

    from benchmarks.loads.findings import Task

CHUNK: Final = MIB
_PIECE: Final = 128 * 1024
_NUMBERS: Final = struct.Struct("qq")


class Kill(NamedTuple):
    """One kill.

    Attributes:
        clean: Whether everything was as it has to be afterwards.
        reached: How far the process that was killed had come in the blob.
    """

    clean: bool
    reached: int


class _Shared:
    """What a child tells, also when it is killed: where it went on, and how far it came."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _NUMBERS.size)

    def clear(self) -> None:
        self._memory[:] = _NUMBERS.pack(0, 0)

    @property
    def resumed(self) -> int:
        found: int = _NUMBERS.unpack(self._memory[:])[0]
        return found

    @property
    def reached(self) -> int:
        found: int = _NUMBERS.unpack(self._memory[:])[1]
        return found

    def hear(self, event: Event) -> None:
        if isinstance(event, TransferResumed):
            self._memory[:] = _NUMBERS.pack(event.offset, self.reached)

    def reach(self, offset: int) -> None:
        self._memory[:] = _NUMBERS.pack(self.resumed, max(offset, self.reached))


class _Victims:
    """Does one kind of transfer in children, and kills them.

    Args:
        task: The task.
        host: The registry.
        what: What is done.
        size: Bytes of the blob.
    """

    def __init__(self, task: Task, host: str, what: str, size: int) -> None:
        self._loop = task.loop
        self._host = host
        self._folder = Path(task.folder, f"{what}-{host.partition(':')[2]}")
        self._folder.mkdir()
        self.data = (BLOCK * (size // MIB + 1))[:size]
        self.digest = Digest.of(self.data)
        self._shared = _Shared()
        self._journal = self._folder / "journal"
        self._path = self._folder / "pulled"
        self.name = ""

    def push(self) -> Callable[[Client], Coroutine[Any, Any, object]]:
        """Return what pushes the blob, and tells how far it read it."""

        async def pieces() -> AsyncIterator[bytes]:  # noqa: RUF029 -- a source that a journal can be kept of
            for start in range(0, len(self.data), _PIECE):
                yield self.data[start : start + _PIECE]
                self._shared.reach(start + _PIECE)

        # Of a blob that is not described, the digest would be computed first: that reads it to its end.
        known = Descriptor.of(self.data)
        return lambda client: self._blobs(client).push(pieces, known, chunk_size=CHUNK, journal=self._journal)

    def pull(self) -> Callable[[Client], Coroutine[Any, Any, object]]:
        """Return what downloads the blob, and tells how far it came."""
        return lambda client: self._blobs(client).download(
            self.digest, self._path, progress=lambda done, _size: self._shared.reach(done)
        )

    def _blobs(self, client: Client) -> Any:  # noqa: ANN401 -- the repository's
        return client.repository(f"{self._host}/{self.name}").blobs

    def once(self, work: Callable[[Client], Coroutine[Any, Any, object]], seconds: float | None) -> int | None:
        """Let a child work, kill it after so long, and return its status: None if it was killed."""
        self._shared.clear()
        child = os.fork()
        if not child:
            status = 1
            try:
                run(lambda: self._work(work), self._loop)
                status = 0
            finally:
                os._exit(status)
        ends = None if seconds is None else time.monotonic() + seconds
        while True:
            found, status = os.waitpid(child, 0 if ends is None else os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            if ends is not None and time.monotonic() > ends:
                os.kill(child, signal.SIGKILL)
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                # It may have been done just before.
                return None if code < 0 else code
            time.sleep(0.001)

    async def _work(self, work: Callable[[Client], Coroutine[Any, Any, object]]) -> None:
        async with Client(
            hosts={self._host: HostConfig(scheme="http")}, credentials={}, hooks=[self._shared.hear]
        ) as client:
            await work(client)

    @property
    def told(self) -> tuple[int, int]:
        """Where the last child went on, and how far it came."""
        return self._shared.resumed, self._shared.reached

    def clean(self) -> bool:
        """Return whether there is no half of anything where a whole is expected."""
        text = self._journal.read_text(encoding="utf-8") if self._journal.exists() else ""
        whole = not text or "ocidist-journal" in json.loads(text)
        return whole and (not self._path.exists() or Digest.of(self._path.read_bytes()) == self.digest)

    def over(self, what: str) -> bool:
        """Return whether the last child had done all of it before it was killed."""
        return self._path.exists() if what == "download" else self.told[1] > 0 and not self._journal.exists()

    def finished(self) -> bool:
        """Return whether all is there, nothing else is, and make room for the next one."""
        kept = {path.name for path in self._folder.iterdir()}
        right = kept <= {"pulled"} and self.clean()
        self._path.unlink(missing_ok=True)
        return right

    def stored(self) -> bool:
        """Return whether the registry has the blob, every byte of it."""
        return self.once(self._compare, None) == 0

    async def _compare(self, client: Client) -> None:
        hasher = hashlib.sha256()
        async with self._blobs(client).open(self.digest) as reader:
            async for piece in reader:
                hasher.update(piece)
        if f"sha256:{hasher.hexdigest()}" != self.digest:
            raise ValueError(self.digest)


def l13(task: Task) -> list[Finding]:
    """Kill pushes and downloads."""
    kills = 4 if task.quick else 500
    # Half of them each; docker-registry forgets an upload whose answer was lost, the embedded one does not.
    hosts = [host for host in (task.registry, task.embedded) if host]
    chance = random.Random(task.seed)  # noqa: S311 -- no secret
    findings = []
    for what in ("push", "download"):
        for number, host in enumerate(hosts):
            victims = _Victims(task, host, what, (4 if task.quick else 24) * MIB + 4321)
            share = kills // len(hosts) + (number < kills % len(hosts))
            done, dirty, failed, again = _killed(victims, what, share, chance)
            name = f"{what}, {'docker-registry' if host == task.registry else 'embedded registry'}"
            # docker-registry knows an upload by its newest Location alone: one whose answer was lost begins again.
            limit = None if task.quick or (host == task.registry and what == "push") else 1
            findings += [
                Finding(f"{name}: kills", done, share, at_least=True),
                Finding(f"{name}: not clean after a kill, or wrong in the end", dirty, 0),
                Finding(f"{name}: processes that did not go on", failed, 0),
                Finding(f"{name}: chunks of 1 MiB again after a kill, median", median(again or [0]) / CHUNK, limit),
                Finding(f"{name}: chunks of 1 MiB again after a kill, most", max(again, default=0) / CHUNK),
            ]
    return findings


def _killed(victims: _Victims, what: str, kills: int, chance: random.Random) -> tuple[int, int, int, list[int]]:
    """Return how many were killed, not clean, did not go on; and the bytes that came again after each kill."""
    done = dirty = failed = 0
    again: list[int] = []
    rounds, usual = 0, 0.0
    while done < kills:
        victims.name = f"load/{what}-{rounds}"
        if what == "download":
            victims.name = "load/download"
            if not rounds:
                failed += victims.once(victims.push(), None) != 0
        work = victims.push() if what == "push" else victims.pull()
        if not rounds:
            # One that nobody kills, to know how long it takes.
            started = time.monotonic()
            failed += victims.once(work, None) != 0
            usual = time.monotonic() - started
            dirty += not (victims.finished() and (what == "download" or victims.stored()))
            rounds += 1
            continue
        before: int | None = None
        status: int | None = None
        while status is None:
            status = victims.once(work, chance.uniform(0, usual) if done < kills else None)
            resumed, reached = victims.told
            if before is not None and (reached or status == 0):
                again.append(max(0, before - resumed))
            if status is None:
                done += 1
                dirty += not victims.clean()
                if victims.over(what):
                    # It was killed when there was nothing left to do.
                    status = 0
                # One that was killed before it came to anything changes nothing.
                before = reached or before
        failed += status != 0
        dirty += not (victims.finished() and (what == "download" or victims.stored()))
        rounds += 1
    return done, dirty, failed, again
