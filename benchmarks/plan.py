"""What a run consists of: scenarios, the contenders in each, and where they find their servers and files."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from benchmarks.servers import MissingError, program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from benchmarks.job import Job

Kind: TypeAlias = Literal["transfer", "requests", "start"]
Commands: TypeAlias = "Callable[[Job], list[list[str]]]"

RAW = "raw socket"
LOOPS = ("asyncio", "uvloop", "trio")
STREAMS = {"asyncio": "raw asyncio streams", "trio": "raw trio streams"}


@attrs.frozen(kw_only=True)
class Options:
    """What the command line says.

    Attributes:
        size: Bytes of the blob that is pulled and pushed.
        rounds: Rounds of each scenario; those with the narrowest targets get twice as many.
        requests: Manifests read in one run.
        images: Images copied in one run.
        layer: Bytes of one of their layers.
        only: Families to run.
        match: Parts of names: contenders with one of them take part. An empty one is part of all.
        quick: Whether every scenario gets the same number of rounds.
        profile: Folder for profiles, or None.
        load_rounds: How often each load runs; None for what it says itself.
    """

    size: int
    rounds: int
    requests: int
    images: int
    layer: int
    only: tuple[str, ...]
    match: tuple[str, ...] = ("",)
    quick: bool = False
    profile: Path | None = None
    load_rounds: int | None = None


@attrs.frozen(kw_only=True)
class Contender:
    """Who takes part.

    Attributes:
        name: As it is printed.
        entry: ``module:function`` below ``benchmarks.contenders``; empty for a program.
        loop: Event loop.
        note: What has to be known to read its figures.
        commands: The program's command lines, one after the other.
    """

    name: str
    entry: str = ""
    loop: str = "asyncio"
    note: str = ""
    commands: Commands | None = None


@attrs.frozen(kw_only=True)
class Scenario:
    """What all of its contenders do, in alternated order.

    Attributes:
        key: Short name.
        title: Heading of its table.
        kind: What its table shows.
        contenders: Who takes part; the first is what the others are compared with.
        fresh: Gives one run its job, with everything it may write to empty, and checks afterwards that it was done.
        rounds: How often each contender runs.
        scratch: Bytes of memory that one run fills with files.
        requests: Says how many requests the servers have had, where they count them.
        least: Requests that it takes at the least.
    """

    key: str
    title: str
    kind: Kind
    contenders: tuple[Contender, ...]
    fresh: Callable[[], AbstractContextManager[Job]]
    rounds: int
    scratch: int = 0
    requests: Callable[[], int] | None = None
    least: int = 0


class Bench:
    """What the scenarios share.

    Args:
        options: What the command line says.
        folder: Where all files go.

    Attributes:
        options: What the command line says.
        notes: What is left out, and why.
        skopeo: Path of skopeo, or None.
    """

    def __init__(self, options: Options, folder: Path) -> None:
        self.options = options
        self._folder = folder
        self.notes: list[str] = []
        self.skopeo: str | None = None
        with self.optional():
            self.skopeo = program("skopeo", "skopeo")

    def folder(self, name: str) -> Path:
        """Return a new, empty folder, in place of an older one of this name."""
        made = self._folder / name
        if made.exists():
            shutil.rmtree(made)
        made.mkdir(parents=True)
        return made

    @contextmanager
    def optional(self) -> Iterator[None]:
        """Go on without what needs a program that is not installed, and remember to say so."""
        try:
            yield
        except MissingError as error:
            if str(error) not in self.notes:
                self.notes.append(str(error))

    def rounds(self, *, narrow: bool = False) -> int:
        """Return the rounds of a scenario; *narrow* where its targets are."""
        return self.options.rounds * (2 if narrow and not self.options.quick else 1)

    def with_skopeo(self, commands: Callable[[str, Job], list[list[str]]], name: str = "skopeo") -> list[Contender]:
        """Return skopeo as a contender, or nothing where it is not installed.

        Args:
            commands: Its command lines, given its path and the job.
            name: As it is printed.
        """
        path = self.skopeo
        if path is None:
            return []
        return [Contender(name=name, commands=lambda job: commands(path, job), note="whole process")]


def on_all_loops(entry: str, suffix: str = "") -> list[Contender]:
    """Return ocidist on each event loop."""
    return [Contender(name=f"ocidist ({loop}){suffix}", entry=f"ocidist_client:{entry}", loop=loop) for loop in LOOPS]
