"""Compares ocidist with other clients, side by side: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from benchmarks import machine, report, targets
from benchmarks.content import MIB
from benchmarks.figures import Results
from benchmarks.loads import harness
from benchmarks.loads.plan import LOADS
from benchmarks.plan import LOOPS, Bench, Options
from benchmarks.runner import Runner
from benchmarks.scenarios import imports, mirror, pull, push, small
from benchmarks.servers import ROOT

if TYPE_CHECKING:
    from benchmarks.plan import Scenario
    from benchmarks.runner import Record

_SCENARIOS = {"pull": pull, "push": push, "small": small, "mirror": mirror, "import": imports}
_COMPARED = (*_SCENARIOS, "parsers")
# They take an hour, so they are run when somebody asks for them.
_FAMILIES = (*_COMPARED, "loads")
_MEMORY = Path("/dev/shm")  # noqa: S108 -- the folder made there has a name of its own


def main() -> int:
    """Run what was asked for, print the results, and return the exit status."""
    arguments = _arguments()
    options = _options(arguments)
    with ExitStack() as stack:
        folder = _folder(stack, options)
        print(f"Files are in {folder.parent}.", file=sys.stderr)
        failed = _loads(options, folder, write=arguments.write) if "loads" in options.only else False
        if options.only == ("loads",):
            return 1 if failed else 0
        made = _run(options, folder)
    text = made.markdown()
    print(text)
    if arguments.json:
        rows = {"machine": dict(made.machine), "runs": [attrs.asdict(one) for one in made.results.records]}
        arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    if arguments.write:
        from benchmarks.plot import draw  # noqa: PLC0415 -- only who writes needs matplotlib

        text = f"{text}\n\n![The same as bars](results.svg)"
        report.write(ROOT / "benchmarks" / "README.md", text, "results")
        draw(made.results, made.scenarios, ROOT / "benchmarks" / "results.svg")
    return 1 if made.failed or failed else 0


def _loads(options: Options, folder: Path, *, write: bool) -> bool:
    """Run the loads that match, print what came of them, and return whether one failed."""
    names = [(load, loop) for load in LOADS for loop in LOOPS]
    wanted = [one for one in names if any(part in f"{one[0]} ({one[1]})" for part in options.match)]
    found = machine.describe()
    outcomes = harness.measure(Bench(options, folder), wanted)
    text = report.loads(harness.table(outcomes), found, quick=options.quick)
    print(text)
    if write:
        report.write(ROOT / "benchmarks" / "README.md", text, "loads")
    return any(outcome.failure for outcome in outcomes)


def _run(options: Options, folder: Path) -> report.Report:
    found = machine.describe()
    bench = Bench(options, folder)
    runner = Runner(bench, folder)
    records: list[Record] = []
    scenarios: list[Scenario] = []
    for family, module in _SCENARIOS.items():
        if family in options.only:
            with module.scenarios(bench) as planned:
                for scenario in planned:
                    records += runner.run(scenario)
                    scenarios.append(scenario)
    parsed = _parsed(options) if "parsers" in options.only else {}
    results = Results(records)
    where = f"Files are on {'tmpfs' if folder.is_relative_to(_MEMORY) else 'the file system of the temporary folder'}."
    how = f"{options.rounds} rounds, twice as many of those with narrow targets. {where}"
    return report.Report(
        results=results,
        scenarios=scenarios,
        targets=targets.targets(results, parsed),
        parsed=parsed,
        machine=found,
        how=how if not options.quick else f"A quick run. {where}",
        notes=bench.notes,
        failed=runner.failures,
    )


def _folder(stack: ExitStack, options: Options) -> Path:
    """Return a folder in memory if there is room for a few copies of the blob, else in the temporary folder."""
    room = 6 * options.size + 3 * options.images * 8 * options.layer
    in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > room
    made = tempfile.TemporaryDirectory(prefix="ocidist-bench-", dir=_MEMORY if in_memory else None)
    return Path(stack.enter_context(made))


def _parsed(options: Options) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.parsers", "--json", "--rounds", str(options.rounds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["case"]: line["per_second"] for line in lines}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a run of a minute or two, to see that everything works")
    parser.add_argument(
        "--only", default=",".join(_COMPARED), help=f"some of {', '.join(_FAMILIES)}; all but loads if not given"
    )
    parser.add_argument(
        "--match",
        default="",
        help="only contenders and loads whose name contains one of these, as raw,ocidist or 'L02 (trio)'",
    )
    parser.add_argument(
        "--rounds", type=int, help="rounds of each scenario (2, and 4 where targets are narrow; 1 if quick)"
    )
    parser.add_argument("--size", type=int, help="MiB of the blob that is pulled and pushed (1024; 64 if quick)")
    parser.add_argument("--requests", type=int, help="manifests read in one run (1500; 300 if quick)")
    parser.add_argument("--json", type=Path, help="write every run to this file")
    parser.add_argument("--write", action="store_true", help="write README.md and results.svg in benchmarks/")
    parser.add_argument("--profile", type=Path, help="profile the Python contenders and write it to this folder")
    arguments = parser.parse_args()
    unknown = set(arguments.only.split(",")) - set(_FAMILIES)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    return arguments


def _options(arguments: argparse.Namespace) -> Options:
    quick = arguments.quick
    if arguments.profile is not None:
        arguments.profile.mkdir(parents=True, exist_ok=True)
    return Options(
        size=(arguments.size or (64 if quick else 1024)) * MIB,
        rounds=arguments.rounds or (1 if quick else 2),
        requests=arguments.requests or (300 if quick else 1500),
        images=8 if quick else 50,
        layer=MIB if quick else 4 * MIB,
        only=tuple(arguments.only.split(",")),
        match=tuple(arguments.match.split(",")),
        quick=quick,
        profile=None if arguments.profile is None else arguments.profile.resolve(),
        load_rounds=arguments.rounds,
    )


if __name__ == "__main__":
    sys.exit(main())
