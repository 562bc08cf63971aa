"""What must hold whatever goes wrong: I1 to I8 of the fault matrix.

I1, I2: no byte that is not the right one, nothing acknowledged is lost: ``Operation.prove``, at the registry. I3:
memory. I4: time. I5: errors that say where they come from. I6: secrets. I7: nothing left behind. I8: requests.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import sniffio
import trio

from ocidist import errors
from tests.canary import CANARIES
from tests.faults.auth import assert_no_secrets
from tests.faults.dialling import left_open, open_files

if TYPE_CHECKING:
    from ocidist import OciError
    from tests.faults.matrix.fault import Fault
    from tests.faults.matrix.stage import Stage

DEADLINE_S = 10.0
MEMORY = 32 * 1024 * 1024
_STATUS = Path("/proc/self/status")
_PUBLIC = frozenset(getattr(errors, name) for name in errors.__all__)


def _memory(field: str) -> int:
    line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def _tasks() -> int:
    if sniffio.current_async_library() == "trio":
        return trio.lowlevel.current_statistics().tasks_living
    return len(asyncio.all_tasks())


def _temporary() -> frozenset[Path]:
    return frozenset(Path(tempfile.gettempdir()).iterdir())


@attrs.frozen
class Baseline:
    """What there was before an operation began."""

    memory: int
    files: frozenset[str]
    tasks: int
    temporary: frozenset[Path]
    sessions: int
    requests: int

    @classmethod
    def of(cls, stage: Stage) -> Baseline:
        """Take stock."""
        with suppress(OSError):
            # Lets the peak begin at what is used now; where that is not allowed, the peak so far is compared.
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        sessions = stage.standing.open_sessions(stage.name)
        return cls(_memory("VmHWM"), open_files(), _tasks(), _temporary(), sessions, len(stage.requests))

    async def check(self, stage: Stage, fault: Fault, allowed: int) -> None:
        """Compare with what there is now that the client is closed."""
        grown = _memory("VmHWM") - self.memory
        assert grown <= MEMORY, f"I3: {grown} bytes more than before"
        for server in stage.foreign:
            assert_no_secrets(server)
        assert await left_open(self.files) == [], "I7: open sockets or files"
        assert _tasks() == self.tasks, "I7: tasks"
        assert _temporary() == self.temporary, "I7: temporary files"
        # A journal is there to be gone on with.
        left = sorted(path.name for path in stage.folder.iterdir() if path.name not in {"blob", "journal"})
        assert left == [], "I7: files"
        sessions = stage.standing.open_sessions(stage.name) - self.sessions
        assert sessions <= fault.sessions, f"I7: {sessions} uploads left open"
        made = len(stage.requests) - self.requests
        told = [f"{request.method} {request.path}" for request in stage.requests]
        assert made <= allowed + fault.more, f"I8: {made} requests, {allowed} + {fault.more} allowed: {told}"


def check_error(error: OciError, stage: Stage, fault: Fault) -> None:
    """Check that an error is one of the expected ones, and says what a user has to know (I5)."""
    assert isinstance(error, fault.expect), f"{type(error).__name__}: {error}"
    assert type(error) in _PUBLIC, "I5: not a public error"
    hosts = {stage.proxy.host} if stage.tokens is None else {stage.proxy.host, stage.tokens.host}
    assert error.host in hosts, f"I5: the host is {error.host}"
    assert error.operation, "I5: no operation"
    assert error.attempts, "I5: no number of attempts"
    if not fault.operation.of_registry:
        assert stage.name in (error.reference or ""), f"I5: the reference is {error.reference}"
    CANARIES.search_exception("an error", error)
    assert sys.exc_info() == (None, None, None)
