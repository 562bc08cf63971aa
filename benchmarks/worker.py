"""A contender's own process: ``python -m benchmarks.worker MODULE:FUNCTION``.

It reads its job from standard input and prints what it measured, both as JSON.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module

from benchmarks.job import Job, Meter


def main(entry: str) -> None:
    """Run one contender once.

    Args:
        entry: ``module:function`` below ``benchmarks.contenders``.
    """
    module, _, function = entry.partition(":")
    job = Job(**json.load(sys.stdin))
    run = getattr(import_module(f"benchmarks.contenders.{module}"), function)
    meter = Meter(job.profile)
    run(job, meter)
    print(json.dumps(meter.figures()._asdict()))


if __name__ == "__main__":
    main(sys.argv[1])
