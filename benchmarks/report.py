"""The results as Markdown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs

from benchmarks.scenarios.imports import HTTPX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.figures import Results
    from benchmarks.plan import Contender, Scenario
    from benchmarks.targets import Target


@attrs.frozen(kw_only=True)
class Report:
    """Everything that is printed.

    Attributes:
        results: The runs.
        scenarios: What was run.
        targets: What should come of it.
        parsed: Parses per second, by what is parsed.
        machine: What it ran on.
        how: The settings of this run.
        notes: What is left out, and why.
        failed: Who failed, and how.
    """

    results: Results
    scenarios: Sequence[Scenario]
    targets: Sequence[Target]
    parsed: Mapping[str, float]
    machine: Mapping[str, str]
    how: str
    notes: Sequence[str]
    failed: Sequence[str]

    def markdown(self) -> str:
        """Return the report."""
        parts = [
            f"Measured on {datetime.now(UTC):%Y-%m-%d}. {self.how}",
            "\n".join(f"- {name}: {value}" for name, value in self.machine.items()),
            *_list("Left out", self.notes),
            *_list("Failed", self.failed),
            "### Targets",
            _table(
                ["", "measured", "of the best runs", "of bare streams", "target", ""],
                (one.row() for one in self.targets),
            ),
        ]
        for scenario in self.scenarios:
            parts += [f"### {scenario.title}", _scenario(self.results, scenario)]
        if self.parsed:
            rows = ((name, f"{rate:,.0f}") for name, rate in self.parsed.items())
            parts += ["### Parsing", _table(["", "per second"], rows)]
        return "\n\n".join(parts)


def loads(table: str, machine: Mapping[str, str], *, quick: bool) -> str:
    """Return the results of loads as Markdown."""
    about = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    size = " A quick run: a small part of each." if quick else ""
    return f"Measured on {datetime.now(UTC):%Y-%m-%d}.{size}\n\n{about}\n\n{table}"


def write(path: Path, text: str, name: str) -> None:
    """Put results into a Markdown file, in place of earlier ones.

    Args:
        path: The file.
        text: The results.
        name: What is written in the comments before and after them.
    """
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = path.read_text(encoding="utf-8").partition(start)
    after = rest.partition(end)[2]
    path.write_text(f"{before}{start}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def _list(title: str, items: Sequence[str]) -> list[str]:
    return ["\n".join([f"{title}:", "", *(f"- {item}" for item in items)])] if items else []


def _scenario(results: Results, scenario: Scenario) -> str:
    ran = [one for one in scenario.contenders if results.values(scenario.key, one.name, "wall")]
    row: Callable[[Results, Scenario, Contender], list[str]]
    match scenario.kind:
        case "transfer":
            first = ran[0].name if ran else ""
            names = ["wall s", "cpu s", "min cpu s", f"wall / {first}", f"cpu / {first}", "peak RSS MiB", "process s"]
            names += ["requests / least"] if scenario.least else []
            row = _transfer
        case "requests":
            names = ["requests/s", "cpu us each", "/ aiohttp", "/ httpx", "peak RSS MiB"]
            row = _requests
        case "start":
            names = ["wall ms", "cpu ms", "cpu over httpx", "peak RSS MiB", "RSS over httpx"]
            row = _start
    header = ["", *names, "runs", *(["note"] if any(one.note for one in ran) else [])]
    lines = []
    for one in ran:
        count = str(len(results.values(scenario.key, one.name, "wall")))
        lines.append([one.name, *row(results, scenario, one), count, one.note][: len(header)])
    return _table(header, lines)


def _transfer(results: Results, scenario: Scenario, one: Contender) -> list[str]:
    first = next(each.name for each in scenario.contenders if results.values(scenario.key, each.name, "wall"))
    return [
        _show(results.median(scenario.key, one.name, "wall"), 3),
        _show(results.median(scenario.key, one.name, "cpu"), 3),
        _show(min(results.values(scenario.key, one.name, "cpu")), 3),
        _show(results.ratio(scenario.key, one.name, first, "wall"), 2),
        _show(results.ratio(scenario.key, one.name, first, "cpu"), 2),
        _show(results.median(scenario.key, one.name, "rss"), 0),
        _show(results.median(scenario.key, one.name, "whole"), 2),
        *([_show(results.median(scenario.key, one.name, "requests"), 3)] if scenario.least else []),
    ]


def _requests(results: Results, scenario: Scenario, one: Contender) -> list[str]:
    return [
        _show(results.median(scenario.key, one.name, "rate"), 0),
        _show(results.median(scenario.key, one.name, "us"), 0),
        _show(results.ratio(scenario.key, one.name, "aiohttp", "rate"), 2),
        _show(results.ratio(scenario.key, one.name, "httpx", "rate"), 2),
        _show(results.median(scenario.key, one.name, "rss"), 0),
    ]


def _start(results: Results, scenario: Scenario, one: Contender) -> list[str]:
    wall, cpu, rss = (results.median(scenario.key, one.name, figure) or 0.0 for figure in ("wall", "cpu", "rss"))
    base_cpu = results.median(scenario.key, HTTPX, "cpu")
    base_rss = results.median(scenario.key, HTTPX, "rss")
    return [
        _show(wall * 1000, 0),
        _show(cpu * 1000, 0),
        _show(None if base_cpu is None else (cpu - base_cpu) * 1000, 0),
        _show(rss, 1),
        _show(None if base_rss is None else rss - base_rss, 1),
    ]


def _show(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
