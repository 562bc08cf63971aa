"""Modules and data that are slow to load, loaded in a worker thread when something first needs them."""

from __future__ import annotations

from importlib import import_module

import anyio.to_thread

_loaded: set[str] = set()


async def load_module(name: str) -> None:
    """Import a module in a worker thread, so that an ``import`` statement after it does not hold up the event loop."""
    if name not in _loaded:
        await anyio.to_thread.run_sync(import_module, name)
        _loaded.add(name)
