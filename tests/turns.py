"""Which event loops a test runs on, where there is not time enough for all of them.

Tests that take seconds run on one event loop, each on another one. In continuous integration, which has to be done in
twenty minutes, asyncio and uvloop take turns as well: the code is the same but for the loop. Everything runs on all
three where the environment says so (``NIGHTLY``), and all that is quick wherever else the suite is run.
"""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Final

from tests.faults.scoreboard import EVERYTHING

if TYPE_CHECKING:
    import pytest

LOOPS: Final = ("asyncio", "uvloop", "trio")
MARK: Final = "in_turn"
DIFFER: Final = ("tests/transport/", "tests/faults/test_cancels")
"""Where the loops are what a test is about."""


def choose(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the event loops on which a test does not have its turn."""
    if any(os.environ.get(name) for name in (EVERYTHING, "NIGHTLY")):
        return
    left = [item for item in items if not _has_its_turn(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]


def _has_its_turn(item: pytest.Item) -> bool:
    spec = getattr(item, "callspec", None)
    if spec is None or "anyio_backend" not in spec.params:
        return True
    backend = spec.params["anyio_backend"]
    loop = backend if isinstance(backend, str) else "uvloop"
    name = "-".join(part for part in item.name.replace("[", "-").replace("]", "").split("-") if part != loop)
    turn = zlib.crc32(name.encode())
    hurried = bool(os.environ.get("CI"))
    # httpx's own transport is compared with, not made here.
    if item.get_closest_marker(MARK) is not None or (hurried and spec.params.get("transport_kind") == "httpx"):
        return LOOPS[turn % 3] == loop
    if loop == "trio" or not hurried or item.nodeid.startswith(DIFFER):
        return True
    return LOOPS[turn % 2] == loop
