"""What it costs to import a library, in a process that does nothing else."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from benchmarks.job import Job
from benchmarks.plan import Contender, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.plan import Bench

HTTPX = "import httpx"
OCIDIST = "import ocidist"
CLIENT = "from ocidist import Client"
_STATEMENTS = (
    HTTPX,
    "pass",
    OCIDIST,
    CLIENT,
    "import httpx; httpx.AsyncClient()",
    "import ocidist; ocidist.Client()",
    "import aiohttp",
    "import oras.client",
    "import dxf",
    "import docker_registry_client_async",
)
# A run takes no time, and single runs differ much.
_FACTOR = 3


@contextmanager
def scenarios(bench: Bench) -> Iterator[list[Scenario]]:
    """Return the scenario."""
    yield [
        Scenario(
            key="import",
            title="Import, whole process",
            kind="start",
            contenders=tuple(map(_contender, _STATEMENTS)),
            fresh=lambda: nullcontext(Job("", "")),
            rounds=_FACTOR * bench.options.rounds,
        )
    ]


def _contender(statement: str) -> Contender:
    return Contender(name=statement, commands=lambda _: [[sys.executable, "-c", statement]])
