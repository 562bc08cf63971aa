"""Runs loads, each in a process of its own, with the servers it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from statistics import median
from typing import TYPE_CHECKING

import attrs

from benchmarks.loads.findings import Finding, Task
from benchmarks.loads.plan import LOADS
from benchmarks.servers import ROOT, docker_registry, free_host, running

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.plan import Bench

_TIMEOUT_S = 3 * 3600.0


@attrs.frozen
class Outcome:
    """What came of a load on a loop.

    Attributes:
        load: Its name.
        loop: Event loop.
        rounds: What each round found.
        failure: Why there is nothing more.
    """

    load: str
    loop: str
    rounds: tuple[tuple[Finding, ...], ...] = ()
    failure: str = ""


def measure(bench: Bench, names: Iterable[tuple[str, str]]) -> list[Outcome]:
    """Run loads, given by their names and loops."""
    return [_measured(bench, load, loop) for load, loop in names]


def _measured(bench: Bench, load: str, loop: str) -> Outcome:
    rounds: list[tuple[Finding, ...]] = []
    wanted = 1 if bench.options.quick else bench.options.load_rounds or LOADS[load].rounds
    for number in range(wanted):
        started = time.monotonic()
        try:
            rounds.append(once(bench, load, loop))
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            return Outcome(load, loop, tuple(rounds), f"{error}"[-2000:])
        took = time.monotonic() - started
        print(f"{load} ({loop}) {number + 1}/{wanted}: {took:.0f} s", file=sys.stderr, flush=True)
        for finding in rounds[-1]:
            print(f"  {'  ' if finding.met else '! '}{finding.what}: {_number(finding.value)}", file=sys.stderr)
    return Outcome(load, loop, tuple(rounds))


def once(bench: Bench, load: str, loop: str) -> tuple[Finding, ...]:
    """Run a load once.

    Raises:
        RuntimeError: It failed; with what its process said.
        MissingError: A program that it needs is not installed.
    """
    home = bench.folder("load")
    needs = LOADS[load].needs
    with ExitStack() as stack:
        registry, flaky, embedded = "", "", ""
        source, target = (_started(stack, bench, "source", name) for name in ("source", "target"))
        if "registry" in needs:
            registry = stack.enter_context(docker_registry(home / "registry", counted="counted" in needs))
        if "flaky" in needs:
            flaky = _started(stack, bench, "flaky", "flaky", registry)
        if "embedded" in needs:
            embedded = free_host()
            command = [*_apart(bench, 1), sys.executable, "-m", "ocidist.server", "--port", embedded.partition(":")[2]]
            stack.enter_context(running(command, embedded, home / "embedded.log"))
        (home / "work").mkdir()
        seed = time.time_ns() % 1_000_000
        task = Task(
            load, loop, bench.options.quick, source, target, registry, flaky, embedded, f"{home / 'work'}", seed
        )
        return _asked(bench, task)


def _started(stack: ExitStack, bench: Bench, module: str, name: str, *arguments: str) -> str:
    host = free_host()
    command = [
        *_apart(bench, 1),
        sys.executable,
        "-m",
        f"benchmarks.loads.{module}",
        host.partition(":")[2],
        *arguments,
    ]
    stack.enter_context(running(command, host, bench.folder(f"load-{name}") / "log"))
    return host


def _asked(bench: Bench, task: Task) -> tuple[Finding, ...]:
    command = [*_apart(bench, 0), sys.executable, "-m", "benchmarks.loads.worker"]
    text = json.dumps(task._asdict())
    done = subprocess.run(
        command, input=text, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
    )
    if done.stderr:
        print(done.stderr[-4000:], file=sys.stderr)
    if done.returncode:
        raise RuntimeError(f"{task} failed with {done.returncode}: {done.stderr[-2000:]}")
    return tuple(Finding(**one) for one in json.loads(done.stdout))


def _apart(bench: Bench, core: int) -> list[str]:
    """Return what makes a program run on one core, where there are several: servers on one, the client on another."""
    # A quick run may be one of several at once.
    if bench.options.quick or (os.cpu_count() or 1) < 2:
        return []
    code = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execv(sys.argv[2], sys.argv[2:])"
    return [sys.executable, "-I", "-S", "-c", code, str(core)]


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the results as Markdown: of several rounds the median, and the worst."""
    lines = ["| load | loop | what | median | worst | promised | |", "| --- | --- | --- | ---: | ---: | ---: | --- |"]
    for outcome in outcomes:
        for number, finding in enumerate(outcome.rounds[0] if outcome.rounds else ()):
            same = [one[number] for one in outcome.rounds]
            values = [one.value for one in same]
            worst = min(values) if finding.at_least else max(values)
            met = "met" if all(one.met for one in same) else "**not met**"
            sign = ">=" if finding.at_least else "<="
            promised = "" if finding.limit is None else f"{sign} {_number(finding.limit)}{_unit(finding)}"
            shown = [f"{_number(value)}{_unit(finding)}" for value in (median(values), worst)]
            cells = [outcome.load, outcome.loop, finding.what, *shown, promised, met if promised else ""]
            lines.append(f"| {' | '.join(cells)} |")
        if outcome.failure:
            said = " ".join(outcome.failure.split()).replace("|", "/")
            lines.append(f"| {outcome.load} | {outcome.loop} | failed: {said[-300:]} | | | | **not met** |")
    return "\n".join(lines)


def _unit(finding: Finding) -> str:
    return f" {finding.unit}" if finding.unit else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"
