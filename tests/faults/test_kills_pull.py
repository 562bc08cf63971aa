"""Downloads whose process is killed, again and again, at moments of no choice."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from ocidist import Digest
from tests.faults.killed import PART
from tests.faults.throttle import Throttle
from tests.peers.images import noise
from tests.peers.peer import Mode

if TYPE_CHECKING:
    from tests.conftest import StartRegistry
    from tests.peers.peer import Peer

pytestmark = pytest.mark.in_turn

ROOT = Path(__file__).parent.parent.parent
MIB = 1024 * 1024
BLOB = noise(16 * MIB + 4321)
DIGEST = Digest.of(BLOB)
# Per registry and event loop.
KILLS = {1: 67, 4: 67} if os.environ.get("NIGHTLY") else {1: 3, 4: 1}
RATE = 12 * MIB
UNDER_WAY = 4 * MIB
"""Most bytes that were sent and never written to the disk, per kill: what lies in the buffers of four sockets."""


class Killer:
    """Downloads in a process of its own, and kills that.

    Args:
        wire: The way to the registry.
        loop: The event loop.
        name: The repository.
        path: Where the blob goes.
        connections: How many of them are used.
    """

    def __init__(self, wire: Throttle, loop: str, name: str, path: Path, connections: int) -> None:
        self._wire = wire
        self._arguments = [loop, f"127.0.0.1:{wire.port}", name, DIGEST, str(path), str(connections)]
        self._path = path

    def start(self) -> subprocess.Popen[bytes]:
        """Begin to download."""
        command = [sys.executable, "-m", "tests.faults.killed", *self._arguments]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=environment)
        assert child.stdout is not None
        assert child.stdout.readline() == b"begin\n"
        return child

    def run(self, seconds: float | None) -> bool:
        """Download, and kill that after so many seconds; return whether it was killed before it was done."""
        with self.start() as child:
            try:
                code = child.wait(seconds)
            except subprocess.TimeoutExpired:
                child.kill()
                code = child.wait()
        assert code in ({0} if seconds is None else {0, -9})
        return code != 0

    def there(self) -> int:
        """Return how many bytes are on the disk, of what is not complete."""
        if self._path.exists():
            # At no moment is there anything else under its name.
            assert Digest.of(self._path.read_bytes()) == DIGEST
        # Names that are shorter are of files that nobody looks for again.
        parts = list(self._path.parent.glob(f".ocidist-{'?' * 32}.part"))
        assert len(parts) <= 1
        return sum(part.stat().st_size for part in parts)


async def push(peer: Peer, name: str) -> None:
    async with peer.client() as client:
        await client.repository(f"{peer.host}/{name}").blobs.push(BLOB)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "way", [(mode, count) for mode in (Mode.EMBEDDED, Mode.PLAIN) for count in KILLS], ids="{0[0]} over {0[1]}".format
)
def test_t71_a_download_that_is_killed_goes_on_where_it_was(
    shared_registry: StartRegistry,
    fresh_name: str,
    tmp_path: Path,
    anyio_backend: str | tuple[str, dict[str, Any]],
    way: tuple[Mode, int],
) -> None:
    mode, connections = way
    loop = "uvloop" if isinstance(anyio_backend, tuple) else anyio_backend
    peer = shared_registry(mode)
    seed = time.time_ns()
    chance = random.Random(seed)  # noqa: S311 -- no secret; the seed is shown with a failure
    anyio.run(push, peer, fresh_name)
    path = tmp_path / "blob"
    kills = rounds = 0
    with Throttle(int(peer.host.rpartition(":")[2]), rate=RATE // connections) as wire:
        killer = Killer(wire, loop, fresh_name, path, connections)
        while kills < KILLS[connections]:
            there, asked = killer.there(), len(wire.starts)
            killed = killer.run(chance.uniform(0, 1.4))
            kills += killed
            wire.settle()
            if connections == 1:
                # What is there is not asked for again, to the byte.
                assert wire.starts[asked:] in ([], [there]), seed
            if killed and kills == KILLS[connections]:
                killer.run(None)
            if path.exists():
                assert killer.there() == 0
                path.unlink()
                rounds += 1
        again = wire.came - rounds * len(BLOB)
    assert rounds
    # Parts that were not complete are read again.
    lost = UNDER_WAY if connections == 1 else UNDER_WAY + connections * PART
    assert again <= (kills + 1) * 2 * lost, seed
    print(f"{kills} kills on {loop}, {mode}, {connections}: {again / kills:.0f} bytes again")  # noqa: T201 -- for reports


def test_t71_of_two_processes_with_one_target_one_may_be_killed(
    docker_registry: Peer, fresh_name: str, tmp_path: Path
) -> None:
    anyio.run(push, docker_registry, fresh_name)
    path = tmp_path / "blob"
    with Throttle(int(docker_registry.host.rpartition(":")[2]), rate=RATE // 4) as wire:
        killer = Killer(wire, "asyncio", fresh_name, path, 1)
        with killer.start() as first:
            while not killer.there():
                time.sleep(0.01)
            with killer.start() as second:
                while len(list(tmp_path.iterdir())) < 2:
                    time.sleep(0.01)
                assert first.poll() is None
                first.kill()
                assert second.wait(30) == 0
        # The second one had a file of its own: what the first one left is there for the next.
        there = killer.there()
        assert 0 < there < len(BLOB)
        path.unlink()
        wire.rate = RATE
        wire.settle()
        asked = len(wire.starts)
        assert not killer.run(None)
    assert wire.starts[asked:] == [there]
    assert killer.there() == 0
    assert path.exists()
