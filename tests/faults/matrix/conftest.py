"""The registries of the fault matrix: of their own, because it counts what is left open in them."""

from __future__ import annotations

import os
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from ocidist.remote import _push
from ocidist.server import RegistryApp
from ocidist.storage.memory import MemoryRegistry
from tests.faults.matrix.fault import DOCKER, EMBEDDED, Case
from tests.faults.matrix.standing import Standing
from tests.faults.scoreboard import EVERYTHING
from tests.peers.docker_registry import DockerRegistries
from tests.peers.embedded import serve
from tests.peers.peer import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.peers.tls import Authority

Standings: TypeAlias = "Callable[[str], Standing]"


LOOPS = ("asyncio", "uvloop", "trio")
ON_ALL_LOOPS = (EVERYTHING, "OCIDIST_FAULT_SEED", "NIGHTLY")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let each fault take one registry, and each case and each seed one event loop, in turn.

    They take all of them only where the environment says so.
    """
    if any(os.environ.get(name) for name in ON_ALL_LOOPS):
        return
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        (kept if _has_its_turn(item) else left).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


def _has_its_turn(item: pytest.Item) -> bool:
    if Path(__file__).parent not in item.path.parents:
        # The hook is given all there is.
        return True
    spec = getattr(item, "callspec", None)
    params = {} if spec is None else spec.params
    case = params.get("case")
    if isinstance(case, Case) and not case.fault.only:
        mine = (EMBEDDED, DOCKER)[zlib.crc32(case.fault.label.encode()) % 2]
        if case.registry != mine:
            return False
    turn = case.turn if isinstance(case, Case) else params.get("seed")
    if turn is None:
        return True
    backend = params["anyio_backend"]
    loop = backend if isinstance(backend, str) else "uvloop"
    return LOOPS[turn % len(LOOPS)] == loop


@pytest.fixture(autouse=True)
def _no_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_push, "LAG_WAITS", (0.001, 0.001))


@pytest.fixture(scope="session")
def standings(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Standings]:
    """Return a registry with content, started on first use."""
    made: dict[str, Standing] = {}
    with ExitStack() as stack:

        def get(label: str) -> Standing:
            if label not in made:
                start = {EMBEDDED: _embedded, DOCKER: _docker}[label]
                made[label] = start(stack, tmp_path_factory.mktemp("matrix"), authority)
                made[label].furnish()
            return made[label]

        yield get


def _embedded(stack: ExitStack, _folder: Path, _authority: Authority) -> Standing:
    store = MemoryRegistry()
    peer = stack.enter_context(serve(RegistryApp(store)))

    def open_sessions(name: str) -> int:
        return sum(upload.repository == name for upload in list(store._state.uploads.values()))

    return Standing(EMBEDDED, peer, open_sessions)


def _docker(stack: ExitStack, folder: Path, authority: Authority) -> Standing:
    registries = stack.enter_context(DockerRegistries(folder, authority))
    peer = registries.start(Mode.PLAIN)
    assert peer.log_path is not None
    repositories = peer.log_path.parent / "content" / "docker" / "registry" / "v2" / "repositories"

    def open_sessions(name: str) -> int:
        uploads = repositories / name / "_uploads"
        # What was cancelled may leave a folder behind, but never this file.
        return len(list(uploads.glob("*/startedat")))

    return Standing(DOCKER, peer, open_sessions)
