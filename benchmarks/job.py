"""What one run is asked to do, and what it measures: shared by the harness and the contenders' own processes.

It imports next to nothing, so that the peak memory of a contender is the contender's.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cProfile import Profile
    from types import TracebackType

PIECE = 1024 * 1024
"""Bytes that contenders read, hash and write at once where that is theirs to choose."""
ACCEPT = "application/vnd.oci.image.manifest.v1+json"
OCTETS = "application/octet-stream"


class Job(NamedTuple):
    """One run.

    Attributes:
        host: ``host:port`` of the server.
        name: The repository.
        digest: Digest of the blob to pull or push.
        size: Its size in bytes.
        path: The file it comes from or goes to.
        small: Digest of a small blob, pulled or pushed before the clock starts.
        small_size: Its size in bytes.
        small_path: The file it comes from or goes to.
        ca: PEM file of the server's certificate authority; empty for plain http.
        loop: Event loop: ``asyncio``, ``uvloop`` or ``trio``.
        tags: Manifests to read, one after the other; the first *warm* of them before the clock starts.
        warm: Number of manifests that are not counted.
        concurrency: Tasks or threads that share the work.
        target: ``host:port`` of the registry to copy to.
        names: Repositories to copy.
        profile: File to write a profile to; empty for none.
    """

    host: str
    name: str
    digest: str = ""
    size: int = 0
    path: str = ""
    small: str = ""
    small_size: int = 0
    small_path: str = ""
    ca: str = ""
    loop: str = "asyncio"
    tags: tuple[str, ...] = ()
    warm: int = 0
    concurrency: int = 1
    target: str = ""
    names: tuple[str, ...] = ()
    profile: str = ""

    @property
    def url(self) -> str:
        """The repository's address."""
        return f"{'https' if self.ca else 'http'}://{self.host}/v2/{self.name}"

    def warm_up(self) -> Job:
        """Return the same job for the small blob: it imports what is imported late, and opens the connection."""
        return self._replace(digest=self.small, size=self.small_size, path=self.small_path)


class Figures(NamedTuple):
    """What one run measured.

    Attributes:
        wall: Seconds.
        cpu: Seconds of user and system time, all threads.
        rss: Peak resident memory of the process in MiB.
    """

    wall: float
    cpu: float
    rss: float


class Meter:
    """Measures what happens inside ``with``.

    Args:
        profile: File to write a profile to; empty for none.
    """

    def __init__(self, profile: str = "") -> None:
        self._profile_path = profile
        self._profile: Profile | None = None
        self._start = (0.0, 0.0)
        self._figures: Figures | None = None

    def __enter__(self) -> None:
        if self._profile_path:
            from cProfile import Profile  # noqa: PLC0415 -- a run that is not profiled need not hold it in memory

            self._profile = Profile()
            self._profile.enable()
        self._start = (time.perf_counter(), time.process_time())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        wall, cpu = time.perf_counter() - self._start[0], time.process_time() - self._start[1]
        if self._profile is not None:
            self._profile.disable()
            self._profile.dump_stats(self._profile_path)
        self._figures = Figures(wall, cpu, 0)

    def figures(self) -> Figures:
        """Return what was measured.

        Raises:
            RuntimeError: Nothing was.
        """
        if self._figures is None:
            raise RuntimeError("the contender did not use its meter")
        return self._figures._replace(rss=peak_rss())


def check(digest: str, expected: str) -> None:
    """Compare two digests, either with or without its algorithm.

    Raises:
        ValueError: They differ.
    """
    if digest.removeprefix("sha256:") != expected.removeprefix("sha256:"):
        raise ValueError(f"{digest} instead of {expected}")


def peak_rss() -> float:
    """Return this process's peak resident memory in MiB."""
    # Not ru_maxrss: that starts with the peak of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
