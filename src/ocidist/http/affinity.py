"""Where a client may be used: in the process and event loop it was first used in.

Sockets, locks and limiters belong to one event loop. Used from another one they hang, or fail somewhere deep inside;
after a fork two processes would talk over one connection.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from anyio.lowlevel import current_token

from ocidist.errors import UsageError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Affinity:
    """Holds a client to one process and one event loop."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop: object = None
        self._current: Callable[[], object] = _loop

    def check(self) -> None:
        """Check that this is where the client belongs; where it is used first is where it belongs.

        Raises:
            UsageError: It is used in another event loop, or in a forked process.
        """
        if self._pid != os.getpid():
            raise UsageError("this client was made before the process was forked: make one in each process")
        loop = self._current()
        if loop is self._loop:
            return
        if self._loop is None:
            self._loop = loop
            if asyncio_loop() is not None:
                self._current = sys.modules["asyncio"]._get_running_loop  # noqa: SLF001 -- it does not raise
        elif self._loop != loop:
            raise UsageError("this client was used in another event loop before: make one for each event loop")


def _loop() -> object:
    return asyncio_loop() or current_token()


def asyncio_loop() -> asyncio.AbstractEventLoop | None:
    """Return asyncio's event loop if the current task is one of its tasks; trio's may be guests in its callbacks."""
    module = sys.modules.get("asyncio")
    if module is None:
        return None
    try:
        loop: asyncio.AbstractEventLoop = module.get_running_loop()
    except RuntimeError:
        return None
    return loop if module.current_task(loop) is not None else None
