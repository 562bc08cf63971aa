"""Programs that are killed: one process that forks others, each doing one transfer until somebody ends it.

Starting an interpreter takes longer than a transfer; forking one that has everything loaded does not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

DONE, FAILED = 0, 3


class Mortals:
    """Starts transfers in processes of their own; a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        folder = Path(__file__).parents[2]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.peers.mortal"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._process.communicate()

    def start(self, **task: Any) -> int:  # noqa: ANN401 -- what ``_transfer`` takes
        """Start a transfer and return its process's number; it has begun to move bytes, or is over."""
        self._say(task)
        return int(self._hear())

    def wait(self) -> int:
        """Wait for the end of the transfer, and return its exit status: ``DONE``, or negative if it was killed."""
        self._say("wait")
        return int(self._hear())

    def _say(self, what: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        print(json.dumps(what), file=self._process.stdin, flush=True)

    def _hear(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def _transfer(
    *,
    action: str,
    backend: str,
    started: int,
    host: str = "",
    repository: str = "",
    path: str = "",
    **options: Any,  # noqa: ANN401 -- what is in the JSON
) -> None:  # pragma: no cover -- in another process
    import anyio

    from ocidist import Client, HostConfig, MirrorConfig, Shard, mirror

    told = False

    def progress(*_: object) -> None:
        nonlocal told
        if not told:
            told = True
            os.write(started, b"x")

    async def main() -> None:
        if action == "mirror":
            shard = Shard.parse(options["shard"]) if "shard" in options else None
            config = MirrorConfig.from_toml(options["rules"])
            known = {name: options[name] for name in ("checkpoint", "patience") if name in options}
            await mirror(config, shard=shard, hooks=[progress], **known)
            return
        async with Client(credentials={}, hosts={host: HostConfig(scheme="http")}) as client:
            blobs = client.repository(f"{host}/{repository}").blobs
            if action == "push":
                await blobs.push(
                    Path(path),
                    chunk_size=options["chunk_size"],
                    journal=Path(options["journal"]),
                    progress=progress,
                )
            else:
                await blobs.download(options["digest"], Path(path), progress=progress)

    loop = {"use_uvloop": True} if backend == "uvloop" else {}
    anyio.run(main, backend="trio" if backend == "trio" else "asyncio", backend_options=loop)


def _answer(number: int) -> None:  # pragma: no cover -- in another process
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _serve() -> None:  # pragma: no cover -- in another process

    import ocidist.transfer.mirror  # noqa: F401 -- see above

    child = 0
    for line in sys.stdin:
        task = json.loads(line)
        if task == "wait":
            _answer(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            continue
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            status = FAILED
            try:
                _transfer(**task, started=writing)
                status = DONE
            finally:
                os._exit(status)
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        _answer(child)


if __name__ == "__main__":
    _serve()
