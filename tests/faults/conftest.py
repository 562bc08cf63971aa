"""What the fault tests share: waits that take no time, a registry that takes uploads, and the count of what held."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ocidist.remote import _pushing, _stream, _upload, _upload_answers
from tests.faults import scoreboard
from tests.faults.uploads import UploadRegistry

if TYPE_CHECKING:
    from tests.peers.wire_server import WireServer


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stream, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(_upload, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(_upload_answers, "LAG_WAITS", (0.001, 0.001))
    monkeypatch.setattr(_pushing, "FIRST_WAIT_S", 0.001)


@pytest.fixture
def registry(wire_server: WireServer) -> UploadRegistry:
    """The upload endpoints of ``acme/app``."""
    made = UploadRegistry()
    wire_server.on("*", "/*", made)
    return made


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests say which fault they are about."""
    scoreboard.mark(items)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a run that was to meet all faults fail if one was not survived, or not met."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not os.environ.get("OCIDIST_ALL_FAULTS") or hasattr(session.config, "workerinput"):
        return
    board = scoreboard.Scoreboard(reporter.stats)
    if (board.lost or board.missing) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many faults were survived."""
    board = scoreboard.Scoreboard(terminalreporter.stats)
    if board.met:
        terminalreporter.section("faults")
        for line in board.lines():
            terminalreporter.line(line)
