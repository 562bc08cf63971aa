"""What a load is given, what it finds, and how it measures that."""

from __future__ import annotations

import gc
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import anyio
import httpx

from benchmarks.job import peak_rss

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

TICK_S = 0.005


class Task(NamedTuple):
    """One run of one load.

    Attributes:
        load: Its name.
        loop: Event loop.
        quick: Whether to do a small part of it.
        source: ``host:port`` of the registry of one pattern.
        target: The same, another one.
        registry: An empty docker-registry, or nothing where it is not installed.
        flaky: The way to it that fails now and then.
        embedded: The embedded registry, in memory.
        folder: An empty folder.
        seed: What chance begins with.
    """

    load: str
    loop: str
    quick: bool
    source: str
    target: str
    registry: str
    flaky: str
    embedded: str
    folder: str
    seed: int


class Finding(NamedTuple):
    """A line of the table.

    Attributes:
        what: What was measured.
        value: What came of it.
        limit: What was promised; None where nothing was, and the line is for the reader.
        unit: Unit of both.
        at_least: Whether more is better.
        timed: Whether it depends on what else the machine has to do.
    """

    what: str
    value: float
    limit: float | None = None
    unit: str = ""
    at_least: bool = False
    timed: bool = False

    @property
    def met(self) -> bool:
        """Whether it is as promised."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit


class Growth:
    """How much memory the process takes at the most inside ``with``, beyond what it had before."""

    def __init__(self) -> None:
        self._before = 0.0
        self.mib = 0.0

    def __enter__(self) -> Self:
        gc.collect()
        # From now on the peak is that of what follows.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._before = resident()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.mib = peak_rss() - self._before


def resident() -> float:
    """Return the resident memory of this process in MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


class Lag:
    """How late a task wakes that wants to do so every 5 ms, and how much the event loop's thread computed until then.

    On a machine that has other things to do, it is late without anybody's fault; what was computed is the loop's own.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.computed: list[float] = []

    async def watch(self) -> None:
        """Watch until cancelled."""
        while True:
            due, used = time.perf_counter() + TICK_S, time.thread_time()
            await anyio.sleep(TICK_S)
            self.seconds.append(time.perf_counter() - due)
            self.computed.append(time.thread_time() - used)


def within_ms(seconds: list[float], share: float) -> float:
    """Return the milliseconds that this share of them is within."""
    found = sorted(seconds)
    return found[min(len(found) - 1, int(len(found) * share))] * 1000


class Complaints(logging.Handler):
    """Counts warnings of every kind: of Python, of loggers, and what is raised where nobody can catch it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []
        logging.getLogger().addHandler(self)
        logging.captureWarnings(capture=True)
        warnings.simplefilter("always")
        sys.unraisablehook = lambda unraisable: self.texts.append(repr(unraisable.exc_value))

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of one."""
        self.texts.append(record.getMessage())


def sockets() -> int:
    """Return how many sockets this process has open."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            count += str(entry.readlink()).startswith("socket:")
        except OSError:
            continue
    return count


async def control(host: str, what: str, body: bytes = b"", **query: object) -> dict[str, Any]:
    """Tell a server of ours something, and return its counts."""
    async with httpx.AsyncClient(timeout=60) as client:
        pairs = {name: str(value) for name, value in query.items()}
        answer = await client.post(f"http://{host}/-/{what}", params=pairs, content=body)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found


async def within(seconds: float, condition: Callable[[], bool]) -> float:
    """Return how long it took until something became true, in seconds; at most *seconds*."""
    started = time.monotonic()
    with anyio.move_on_after(seconds):
        while not condition():  # noqa: ASYNC110 -- what is waited for tells nobody
            await anyio.sleep(0.01)
    return time.monotonic() - started
