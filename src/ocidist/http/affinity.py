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


class Affinity:
    """Holds a client to one process and one event loop."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop: object = None

    def check(self) -> None:
        """Check that this is where the client belongs; where it is used first is where it belongs.

        Raises:
            UsageError: It is used in another event loop, or in a forked process.
        """
        if self._pid != os.getpid():
            raise UsageError("this client was made before the process was forked: make one in each process")
        loop = asyncio_loop() or current_token()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop and self._loop != loop:
            raise UsageError("this client was used in another event loop before: make one for each event loop")


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
