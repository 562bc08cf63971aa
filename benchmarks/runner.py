"""Runs the contenders of a scenario, each in a process of its own, in alternated order."""

from __future__ import annotations

import json
import mmap
import os
import pstats
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import attrs

from benchmarks.job import Figures
from benchmarks.servers import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.job import Job
    from benchmarks.plan import Bench, Contender, Scenario

_TIMEOUT_S = 600.0
_PROFILE_LINES = 45


@attrs.frozen(kw_only=True)
class Record:
    """One run.

    Attributes:
        scenario: Key of the scenario.
        contender: Name of the contender.
        round: Number of the round.
        wall: Seconds.
        cpu: Seconds of user and system time.
        rss: Peak resident memory in MiB.
        whole: Seconds from the start of the process to its end.
        count: Requests made.
        requests: Requests that the servers counted, divided by those that it takes at the least; 0 if they do not.
    """

    scenario: str
    contender: str
    round: int
    wall: float
    cpu: float
    rss: float
    whole: float
    count: int
    requests: float = 0.0


class Runner:
    """Runs scenarios.

    Args:
        bench: What the scenarios share.
        folder: Where its own files go.
    """

    def __init__(self, bench: Bench, folder: Path) -> None:
        self._bench = bench
        self._commands = folder / "commands"
        home = folder / "home"
        home.mkdir()
        # Neither a proxy nor a credential file of whoever runs this takes part.
        self._environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        self._environment |= {"HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
        self.failures: list[str] = []

    def run(self, scenario: Scenario) -> Iterator[Record]:
        """Run every contender of a scenario; one that fails is left out from then on."""
        failed: set[str] = set()
        contenders = [one for one in scenario.contenders if any(part in one.name for part in self._bench.options.match)]
        for number in range(scenario.rounds):
            # Whatever drifts while this goes on shall not be to the advantage of anybody.
            for contender in contenders[:: -1 if number % 2 else 1]:
                if contender.name in failed:
                    continue
                try:
                    yield self._one(scenario, contender, number)
                except (ValueError, RuntimeError) as error:
                    failed.add(contender.name)
                    self.failures.append(f"{scenario.key}, {contender.name}: {_reason(error)}")
                    _say(self.failures[-1])

    def _one(self, scenario: Scenario, contender: Contender, number: int) -> Record:
        with scenario.fresh() as job:
            command, text, count = self._command(scenario, contender, job)
            _touch(scenario.scratch)
            before = scenario.requests() if scenario.requests else 0
            start = time.perf_counter()
            output = self._output(command, text)
            whole = time.perf_counter() - start
            made = scenario.requests() - before if scenario.requests else 0
        figures = _figures(output, program=contender.commands is not None)
        _say(
            f"{scenario.key} {number + 1}/{scenario.rounds} {contender.name}:"
            f" {figures.wall:.3f} s, cpu {figures.cpu:.3f} s, {figures.rss:.0f} MiB"
        )
        self._print_profile(scenario, contender)
        return Record(
            scenario=scenario.key,
            contender=contender.name,
            round=number,
            whole=whole,
            count=count,
            requests=made / scenario.least if scenario.least else 0.0,
            **figures._asdict(),
        )

    def _output(self, command: list[str], text: str) -> str:
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=self._environment,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
            process_group=0,
        ) as process:
            try:
                output, errors = process.communicate(text, _TIMEOUT_S)
            except subprocess.TimeoutExpired as error:
                raise RuntimeError(f"took more than {_TIMEOUT_S:.0f} s") from error
            finally:
                if process.poll() is None:
                    # The group of its own has what it started, too.
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode:
            raise RuntimeError(errors.strip() or f"exit status {process.returncode}")
        return output

    def _command(self, scenario: Scenario, contender: Contender, job: Job) -> tuple[list[str], str, int]:
        if contender.commands is not None:
            commands = contender.commands(job)
            self._commands.write_text("".join("\t".join(one) + "\n" for one in commands), encoding="utf-8")
            return [sys.executable, "-I", "-S", "benchmarks/launch.py", str(self._commands)], "", len(commands)
        job = job._replace(loop=contender.loop, profile=str(self._profile(scenario, contender) or ""))
        command = [sys.executable, "-m", "benchmarks.worker", contender.entry]
        return command, json.dumps(job._asdict()), max(1, len(job.tags) - job.warm)

    def _profile(self, scenario: Scenario, contender: Contender) -> Path | None:
        folder = self._bench.options.profile
        return folder and folder / f"{scenario.key}-{re.sub('[^a-z0-9]+', '-', contender.name).strip('-')}.pstats"

    def _print_profile(self, scenario: Scenario, contender: Contender) -> None:
        path = self._profile(scenario, contender)
        if path is not None and contender.commands is None:
            pstats.Stats(str(path), stream=sys.stderr).sort_stats("tottime").print_stats(_PROFILE_LINES)


def _touch(size: int) -> None:
    """Use memory and give it back.

    A virtual machine gets memory from its host when it first touches it, and loses what it does not use. The run that
    happens to be the first to touch it would pay several times as much for the same file.
    """
    if size:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


def _figures(text: str, *, program: bool) -> Figures:
    last = text.splitlines()[-1]
    return Figures(*map(float, last.split())) if program else Figures(**json.loads(last))


def _reason(error: Exception) -> str:
    """Return the last line that the contender said: of a traceback, the error itself."""
    lines = [line.strip(" |+-") for line in str(error).replace(f"{ROOT}/", "").splitlines()]
    return next(filter(None, reversed(lines)), type(error).__name__)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
