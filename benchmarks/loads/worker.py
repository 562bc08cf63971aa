"""A load's own process: ``python -m benchmarks.loads.worker``.

Its task comes in, and what it found goes out, as JSON.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from benchmarks.contenders.on_anyio import run
from benchmarks.loads.findings import Task
from benchmarks.loads.plan import LOADS

if TYPE_CHECKING:
    from benchmarks.loads.findings import Finding


def main() -> None:
    """Run one load once."""
    task = Task(**json.load(sys.stdin))
    module, _, function = LOADS[task.load].entry.partition(":")
    work = getattr(import_module(f"benchmarks.loads.{module}"), function)
    if not LOADS[task.load].on_a_loop:
        _tell(work(task))
        return

    async def measure() -> None:
        _tell(await work(task))

    run(measure, task.loop)


def _tell(found: list[Finding]) -> None:
    print(json.dumps([finding._asdict() for finding in found]))


if __name__ == "__main__":
    main()
