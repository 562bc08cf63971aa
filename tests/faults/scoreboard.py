"""How many faults were survived: on which event loop, before which registry.

What counts as a fault: a case of the matrix, and every variant of a test that is named after a row (``test_f110_...``),
which meets scripted servers. A fault is survived only if everything that its test looks at holds, before and after.

Tests say what they are in ``user_properties``, which travel with their reports: runs in several processes add up.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from tests.faults.matrix.fault import Case
from tests.faults.rows import NOT_BUILT, ROWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EVERYTHING: Final = "OCIDIST_ALL_FAULTS"
"""In the environment of a run that is to meet every fault on every event loop."""
SCRIPTED: Final = "scripted"
LOOPS: Final = ("asyncio", "uvloop", "trio", "no loop")
REGISTRIES: Final = ("embedded", "docker-registry", SCRIPTED)
_PROPERTY: Final = "fault"
_NAME: Final = re.compile(r"test_f(\d{3})_", re.ASCII)
_FAILED: Final = ("failed", "error", "xfailed", "xpassed")
"""What is skipped does not count: it makes no sense there, as native cancellation on trio."""


@attrs.frozen
class Counted:
    """What a test counts as.

    Attributes:
        row: The row of the matrix.
        registry: What the client met.
        loop: The event loop.
        name: The test.
    """

    row: str
    registry: str
    loop: str
    name: str


def _counted(item: pytest.Item) -> Counted | None:
    spec = getattr(item, "callspec", None)
    params = {} if spec is None else spec.params
    backend = params.get("anyio_backend", "no loop")
    loop = backend if isinstance(backend, str) else "uvloop"
    case = params.get("case")
    if isinstance(case, Case):
        return Counted(case.fault.row, case.registry, loop, item.nodeid)
    named = _NAME.match(getattr(item, "originalname", ""))
    return None if named is None else Counted(f"F{named[1]}", SCRIPTED, loop, item.nodeid)


class Scoreboard:
    """The results of a run.

    Args:
        stats: The reports of the run by their outcome, as pytest's terminal reporter has them.
    """

    def __init__(self, stats: dict[str, list[pytest.TestReport]]) -> None:
        lost = {each for outcome in _FAILED for each in _found(stats.get(outcome, []))}
        skipped = set(_found(stats.get("skipped", [])))
        met = lost | (set(_found(stats.get("passed", []))) - skipped)
        self.met = Counter((each.loop, each.registry) for each in met)
        self.survived = Counter((each.loop, each.registry) for each in met - lost)
        self.lost = sorted({(each.row, each.name) for each in lost})
        self.missing = sorted(ROWS - {each.row for each in met} - NOT_BUILT.keys())

    @property
    def complete(self) -> bool:
        """Whether every fault was met, and survived."""
        return not self.lost and not self.missing

    def lines(self, *, everything: bool = False) -> Iterator[str]:
        """Yield what there is to say, of *everything* if the run was about that."""
        for loop in LOOPS:
            for registry in REGISTRIES:
                if met := self.met[loop, registry]:
                    yield f"{loop:8} {registry:16} {self.survived[loop, registry]} of {met} faults survived"
        yield f"{'in all':25} {self.survived.total()} of {self.met.total()} faults survived"
        yield from (f"not survived: {row} {name}" for row, name in self.lost)
        if everything:
            yield from (f"not here: {row}: {reason}" for row, reason in sorted(NOT_BUILT.items()))
        if everything and self.missing:
            yield f"not met in this run: {' '.join(self.missing)}"


def _found(reports: Iterable[pytest.TestReport]) -> Iterator[Counted]:
    for report in reports:
        for name, value in getattr(report, "user_properties", ()):
            if name == _PROPERTY:
                yield Counted(*value)


# --- what pytest calls -----------------------------------------------------------------------------------------------


def mark(items: list[pytest.Item]) -> None:
    """Let tests say what they count as, in their reports."""
    for item in items:
        counted = _counted(item)
        if counted is not None:
            item.user_properties.append((_PROPERTY, attrs.astuple(counted)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many faults were survived, where the run was about that."""
    board = Scoreboard(terminalreporter.stats)
    everything = EVERYTHING in os.environ
    if everything or any(registry != SCRIPTED for _, registry in board.met):
        terminalreporter.section("faults")
        for line in board.lines(everything=everything):
            terminalreporter.line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a run that was to meet all faults fail if one was not survived, or not met."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or EVERYTHING not in os.environ or hasattr(session.config, "workerinput"):
        return
    if session.exitstatus == pytest.ExitCode.OK and not Scoreboard(reporter.stats).complete:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
