"""Locks that are known by what they protect."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable


class _Lock:
    def __init__(self) -> None:
        # Free nearly always: there is nobody to yield to.
        self.lock = anyio.Lock(fast_acquire=True)
        self.users = 0


class Locks:
    """A lock for each name, made when somebody wants it and forgotten after the last of those. For one event loop."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, _Lock] = {}

    @asynccontextmanager
    async def hold(self, *name: Hashable) -> AsyncIterator[None]:
        """Hold the lock of a name against all other tasks."""
        mine = self._locks.get(name)
        if mine is None:
            mine = self._locks[name] = _Lock()
        mine.users += 1
        try:
            async with mine.lock:
                yield
        finally:
            mine.users -= 1
            if not mine.users:
                del self._locks[name]
