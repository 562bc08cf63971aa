"""The embedded registry on loopback."""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ocidist.testing.runner import loopback
from tests.peers.peer import Mode, Peer

if TYPE_CHECKING:
    from collections.abc import Iterator


def default_app() -> Any:  # noqa: ANN401 -- an ASGI application has no type of its own
    """Return the application under test: the registry over an empty memory store."""
    server = importlib.import_module("ocidist.server")
    return server.RegistryApp(importlib.import_module("ocidist.storage.memory").MemoryRegistry())


@contextmanager
def serve(app: Any, **options: Any) -> Iterator[Peer]:  # noqa: ANN401 -- see default_app; as loopback has them
    """Serve an ASGI application on a loopback port of the kernel's choice until the block ends."""
    with loopback(app, **{"lifespan": "off", **options}) as server:
        yield Peer(mode=Mode.EMBEDDED, host=server.host)
