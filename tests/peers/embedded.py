"""The embedded registry, served by uvicorn from a thread (uvicorn runs on asyncio only; suites on trio use it too)."""

from __future__ import annotations

import importlib
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

from tests.peers.peer import Mode, Peer

if TYPE_CHECKING:
    from collections.abc import Iterator

_START_S = 10.0
_STOP_S = 10.0


def default_app() -> Any:  # noqa: ANN401 -- an ASGI application has no type of its own
    """Return the application under test: the registry over an empty memory store."""
    server = importlib.import_module("ocidist.server")
    return server.RegistryApp(importlib.import_module("ocidist.storage.memory").MemoryRegistry())


@contextmanager
def serve(app: Any) -> Iterator[Peer]:  # noqa: ANN401 -- see default_app
    """Serve an ASGI application on a loopback port of the kernel's choice until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_level="warning", lifespan="off", access_log=False, ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="embedded", daemon=True)
        thread.start()
        try:
            _wait_until_started(server, thread)
            yield Peer(mode=Mode.EMBEDDED, host=f"127.0.0.1:{listener.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join(_STOP_S)


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + _START_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            message = "uvicorn did not start"
            raise RuntimeError(message)
        time.sleep(0.005)
