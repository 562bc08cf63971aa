"""Fixtures of the whole suite: event loops, a clean environment, and what to talk to."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from blockbuster import blockbuster_ctx

import ocidist.client  # noqa: F401 -- imported here as a program does, not inside an event loop where it would block
from ocidist.testing.plugin import (  # noqa: F401 -- its marker, whether or not the installed package has the plugin
    pytest_configure,
)
from tests.canary import (  # noqa: F401 -- fixtures and a hook, for every test
    no_secret_escapes,
    no_secret_stays,
    pytest_runtest_makereport,
    secrets_may_show,
)
from tests.faults.scoreboard import (  # noqa: F401 -- hooks: faults are counted wherever they are met
    mark,
    pytest_sessionfinish,
    pytest_terminal_summary,
)
from tests.peers.clients import Skopeo, umoci_layout
from tests.peers.docker_registry import DockerRegistries
from tests.peers.embedded import default_app, serve
from tests.peers.peer import Mode, Peer
from tests.peers.tls import Authority
from tests.peers.token_server import TokenServer
from tests.peers.tools import missing
from tests.peers.wire_server import WireServer
from tests.turns import choose

if TYPE_CHECKING:
    from pathlib import Path

# A loaded machine is not a slow parser.
hypothesis.settings.register_profile("ours", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("ours")

_ENVIRONMENT = re.compile(
    r"(.*_proxy|docker_.*|registry_auth_file|xdg_.*|ssl_cert_(file|dir)|netrc|ocidist_.*|no_color)", re.IGNORECASE
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the event loops of tests that take long, and let tests say which faults they are about."""
    choose(config, items)
    mark(items)


def pytest_collection_finish() -> None:
    """Hide what was collected from the garbage collector, which tests that look for leaks run hundreds of times."""
    gc.collect()
    gc.freeze()


StartRegistry = Callable[[Mode], Peer]
StartWireServer = Callable[..., WireServer]


@pytest.fixture(scope="module", params=["asyncio", "uvloop", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str | tuple[str, dict[str, Any]]:
    """Run each asynchronous test on all three event loops."""
    if request.param != "uvloop":
        name: str = request.param
        return name
    if find_spec("uvloop") is None:
        missing("uvloop", "pip install 'ocidist[uvloop]'")
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture(scope="session", autouse=True)
def _clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the proxies, credentials and configuration of whoever runs the tests."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if _ENVIRONMENT.fullmatch(name)]:
            patch.delenv(name)
        patch.setenv("HOME", str(home))
        patch.setenv("DOCKER_CONFIG", str(home / ".docker"))
        patch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
        yield


@pytest.fixture(scope="module", autouse=True)
def _blocking_calls_are_errors() -> Iterator[None]:
    """Fail what blocks the loop inside ocidist. asyncio and uvloop only: blockbuster cannot see trio."""
    with blockbuster_ctx("ocidist") as blockbuster:
        # Queues, logging and imports hold locks for a moment; whether somebody else does just then is a matter of luck.
        blockbuster.functions["threading.Lock.acquire"].deactivate()
        blockbuster.functions["threading.Lock.acquire_lock"].deactivate()
        yield


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A private certificate authority; ``authority.ca_path`` is what a client has to be given."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def _registries(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[DockerRegistries]:
    with DockerRegistries(tmp_path_factory.mktemp("registries"), authority) as registries:
        yield registries


@pytest.fixture(scope="session")
def shared_registry(_registries: DockerRegistries) -> Iterator[StartRegistry]:
    """Return the registry of a mode, started on first use and shared by all: use ``fresh_name``."""
    peers: dict[Mode, Peer] = {}
    with ExitStack() as stack:

        def get(mode: Mode) -> Peer:
            if mode not in peers:
                embedded = mode is Mode.EMBEDDED
                peers[mode] = stack.enter_context(serve(default_app())) if embedded else _registries.start(mode)
            return peers[mode]

        yield get


@pytest.fixture
def empty_registry(tmp_path: Path, authority: Authority) -> Iterator[StartRegistry]:
    """Start a registry of any mode that is empty and belongs to this test alone."""
    with ExitStack() as stack:
        registries = stack.enter_context(DockerRegistries(tmp_path / "registries", authority))

        def start(mode: Mode) -> Peer:
            if mode is Mode.EMBEDDED:
                return stack.enter_context(serve(default_app()))
            return registries.start(mode)

        yield start


@pytest.fixture
def docker_registry(shared_registry: StartRegistry) -> Peer:
    """docker-registry 2.8.2 over plain http, without authentication."""
    return shared_registry(Mode.PLAIN)


@pytest.fixture
def token_registry(shared_registry: StartRegistry) -> Peer:
    """docker-registry 2.8.2 that sends clients to ``token_registry.token_server``, shared by all tests."""
    return shared_registry(Mode.TOKEN)


@pytest.fixture
def embedded_registry(shared_registry: StartRegistry) -> Peer:
    """The embedded registry behind a real socket."""
    return shared_registry(Mode.EMBEDDED)


@pytest.fixture(params=list(Mode), ids=str)
def any_registry(request: pytest.FixtureRequest, shared_registry: StartRegistry) -> Peer:
    """Each registry in turn: docker-registry 2.8.2 in its six modes, and the embedded one."""
    return shared_registry(request.param)


@pytest.fixture
def token_server() -> Iterator[TokenServer]:
    """A token server of this test alone."""
    with TokenServer() as server:
        yield server


@pytest.fixture
def fresh_name(request: pytest.FixtureRequest) -> str:
    """A repository name that no other test uses."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.nodeid.rpartition("::")[2].lower()).strip("-")
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    return f"{worker}/{words[:100].strip('-')}"


@pytest.fixture
def start_wire_server() -> Iterator[StartWireServer]:
    """Start scripted servers; takes the arguments of ``WireServer``. A handler that fails, fails the test."""
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(WireServer(*args, **kwargs))


@pytest.fixture
def wire_server(start_wire_server: StartWireServer) -> WireServer:
    """A scripted server on 127.0.0.1 over plain http."""
    return start_wire_server()


@pytest.fixture
def skopeo() -> Callable[[Peer], Skopeo]:
    """Return skopeo set up for a registry."""
    return Skopeo


@pytest.fixture(scope="session")
def real_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout made by umoci, image ``v1``, manifests without ``mediaType``. Shared: only read it."""
    return umoci_layout(tmp_path_factory.mktemp("umoci"))
