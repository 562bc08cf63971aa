"""Tests that take seconds run on one event loop, each on another one; on all of them where the environment says so."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING

from tests.faults.scoreboard import EVERYTHING

if TYPE_CHECKING:
    import pytest

LOOPS = ("asyncio", "uvloop", "trio")
MARK = "in_turn"


def choose(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the event loops on which a test that is marked ``in_turn`` does not have its turn."""
    if any(os.environ.get(name) for name in (EVERYTHING, "NIGHTLY")):
        return
    left = [item for item in items if not _has_its_turn(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]


def _has_its_turn(item: pytest.Item) -> bool:
    spec = getattr(item, "callspec", None)
    if item.get_closest_marker(MARK) is None or spec is None or "anyio_backend" not in spec.params:
        return True
    backend = spec.params["anyio_backend"]
    loop = backend if isinstance(backend, str) else "uvloop"
    name = "-".join(part for part in item.name.replace("[", "-").replace("]", "").split("-") if part != loop)
    return LOOPS[zlib.crc32(name.encode()) % len(LOOPS)] == loop
