"""The pytest plugin: ``oci_registry``, ``oci_content`` and what goes with them.

Every session with pytest and ocidist installed imports this module, so it imports nothing itself that pytest has not
loaded; what the fixtures need is loaded by the first test that asks for one. All fixtures are synchronous: they work
under every plugin for asynchronous tests, and without one.
"""

from __future__ import annotations

import inspect
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocidist.storage.protocols import Namespace
    from ocidist.testing.bound import BoundContent
    from ocidist.testing.registry import LoopbackRegistry

_MARKER = "oci_registry"


class StartRegistry(Protocol):
    """What ``oci_registry_factory`` is: it takes the arguments of ``ocidist.testing.serve``."""

    def __call__(self, store: Namespace | None = None, **options: Any) -> LoopbackRegistry:  # noqa: ANN401 -- as serve has them
        """Start a registry that runs until the test ends."""
        ...


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known to ``--strict-markers``."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(**options): arguments of ocidist.testing.serve for the registry of this test, such as "
        "auth=('user', 'password'), tokens=True, tls=True, quirks='docker-registry-2'",
    )


@pytest.fixture
def oci_registry_options() -> Mapping[str, Any]:
    """Arguments of ``ocidist.testing.serve`` for every registry; override it for a module or a whole suite."""
    return {}


@pytest.fixture
def oci_registry_factory(oci_registry_options: Mapping[str, Any]) -> Iterator[StartRegistry]:
    """Start any number of empty registries that run until the test ends; takes the arguments of ``serve``."""
    from ocidist.testing.registry import serve  # noqa: PLC0415 -- see the top of the module

    with ExitStack() as stack:

        def start(store: Namespace | None = None, **options: Any) -> LoopbackRegistry:  # noqa: ANN401 -- as serve has them
            wanted = {**oci_registry_options, **options}
            known = inspect.signature(serve).parameters.keys() - {"store"}
            for name in wanted.keys() - known:
                raise pytest.UsageError(f"a registry has no argument {name!r}, only {', '.join(sorted(known))}")
            return stack.enter_context(serve(store, **wanted))

        yield start


@pytest.fixture
def oci_registry(request: pytest.FixtureRequest, oci_registry_factory: StartRegistry) -> LoopbackRegistry:
    """A registry on loopback that is empty and belongs to this test alone; see ``LoopbackRegistry``.

    The marker ``oci_registry`` has the arguments of ``serve``; the nearest one wins, argument by argument.
    """
    options: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers(_MARKER))):
        if marker.args:
            raise pytest.UsageError(f"the marker {_MARKER} takes arguments by name only")
        options.update(marker.kwargs)
    return oci_registry_factory(**options)


@pytest.fixture
def oci_content(oci_registry: LoopbackRegistry) -> BoundContent:
    """Content to be declared by ids of the test's own; ``push()`` puts it into ``oci_registry``."""
    from ocidist.testing.bound import BoundContent  # noqa: PLC0415 -- see the top of the module

    return BoundContent(oci_registry)
