"""Fixtures of the tests of the command line: they need no event loop of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist.testing.registry import serve
from tests.cli.support import Command, filled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ocidist.testing.registry import LoopbackRegistry


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "dumb")
    # A home of its own: what one test logs in to is none of the others' business.
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def ocidist(tmp_path: Path) -> Command:
    """Carry out command lines: ``ocidist("ls", host)``."""
    return Command(tmp_path)


@pytest.fixture
def registry() -> Iterator[LoopbackRegistry]:
    """The embedded registry, empty."""
    with serve() as found:
        yield found


@pytest.fixture
def full_registry(registry: LoopbackRegistry) -> LoopbackRegistry:
    """The embedded registry, with what ``filled`` puts in."""
    filled(registry)
    return registry
