"""L09 and L10: registries that cannot keep up, as ``benchmarks.overload`` makes them. They run on asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.loads.findings import Finding
from benchmarks.overload import outage, rate_limit

if TYPE_CHECKING:
    from benchmarks.loads.findings import Task


def l09(task: Task) -> list[Finding]:
    """Read from a registry that allows fifty requests a second."""
    found = rate_limit(seconds=15.0 if task.quick else 40.0)
    return [
        Finding("useful requests per second", found.useful, 45, "/s", at_least=True, timed=True),
        Finding("answered with 429", 100 * found.refused, 5, "%", timed=True),
        Finding("operations that failed", found.failed),
    ]


def l10(task: Task) -> list[Finding]:
    """Read from a registry that is down for a minute, with 200 tasks."""
    found = outage(seconds=10.0 if task.quick else 60.0)
    return [
        Finding("requests per second meanwhile, after the first second", found.asked_later, 3, "/s", timed=True),
        Finding("requests per second meanwhile", found.asked, unit="/s", timed=True),
        Finding("until the first answer after it is back", found.back, 5, "s", timed=True),
        Finding("requests for each answer from then on", found.amplification, 1.1, timed=True),
    ]
