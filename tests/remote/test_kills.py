"""kill -9 at random moments of pushes with a journal."""

from __future__ import annotations

import os
import random
import re
import secrets
import signal
import time
from typing import TYPE_CHECKING

import pytest

from ocidist import Digest
from tests.faults.tap import Tap
from tests.peers.images import noise
from tests.peers.mortal import DONE, Mortals

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.peers.peer import Peer

pytestmark = pytest.mark.in_turn

SIZE = 2 * 1024 * 1024
CHUNK = 128 * 1024
KILLS = 200 if os.environ.get("NIGHTLY") else 6
"""Kills per registry, all event loops together: run 200 with NIGHTLY=1."""
_HEAD = re.compile(rb"(POST|PATCH|PUT|GET) (\S*/blobs/uploads/\S*) HTTP/1.1\r\n(.*?)\r\n\r\n", re.DOTALL)


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    with Mortals() as made:
        yield made


class Pushes:
    """Pushes that are killed, over a wire that is listened to."""

    def __init__(self, mortals: Mortals, peer: Peer, name: str, folder: Path, backend: str) -> None:
        self.mortals = mortals
        self.peer = peer
        self.name = name
        self.backend = backend
        self.file = folder / "blob"
        self.journal = folder / "journal"
        self.kills = 0

    def attempt(self, tap: Tap, delay: float) -> bool:
        """Push until killed; return whether the push was over before that."""
        pid = self.mortals.start(
            action="push",
            host=f"127.0.0.1:{tap.port}",
            repository=self.name,
            path=str(self.file),
            backend=self.backend,
            chunk_size=CHUNK,
            journal=str(self.journal),
        )
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        status = self.mortals.wait()
        assert status in {DONE, -signal.SIGKILL}
        self.kills += status != DONE
        return status == DONE

    def until_done(self, tap: Tap, chance: random.Random) -> int:
        """Push a new blob, killed again and again; return how many kills it took."""
        before = self.kills
        self.file.write_bytes(noise(SIZE) + chance.randbytes(16))
        for number in range(100):
            # Later and later: whoever has to begin again each time would never end.
            if self.attempt(tap, chance.uniform(0, 0.03 * (number + 1))):
                return self.kills - before
        pytest.fail("it never ends")


def requests(tap: Tap) -> list[tuple[str, int, int]]:
    """Return the requests of upload sessions in their order: method, first byte, and bytes in all."""
    found = []
    for sent in tap.sent:
        for method, _, fields in _HEAD.findall(bytes(sent)):
            length = re.search(rb"(?i)^content-length: (\d+)", fields, re.MULTILINE)
            first = re.search(rb"(?i)^content-range: (\d+)-", fields, re.MULTILINE)
            found.append((method.decode(), int(first[1]) if first else 0, int(length[1]) if length else 0))
    return found


def contents(file: Path) -> tuple[bytes, set[str]]:
    """Return what is in a file, and the names of all files beside it."""
    return file.read_bytes(), {entry.name for entry in file.parent.iterdir()}


async def check(peer: Peer, name: str, file: Path) -> None:
    """Check that the registry has the file, byte for byte, and that nothing is left of the pushes."""
    data, left = contents(file)
    async with peer.client() as client:
        assert await client.repository(f"{peer.host}/{name}").blobs.get(Digest.of(data), max_size=2 * SIZE) == data
    assert left == {"blob"}


def backend_of(anyio_backend: object) -> str:
    return "uvloop" if isinstance(anyio_backend, tuple) else str(anyio_backend)


def port_of(peer: Peer) -> int:
    return int(peer.host.rpartition(":")[2])


@pytest.mark.timeout(600)
async def test_f205_a_killed_push_sends_at_most_one_chunk_again(
    mortals: Mortals, embedded_registry: Peer, fresh_name: str, tmp_path: Path, anyio_backend: object
) -> None:
    seed = secrets.randbits(32)
    chance = random.Random(seed)  # noqa: S311 -- the moments of kills, which have to be repeatable
    pushes = Pushes(mortals, embedded_registry, fresh_name, tmp_path, backend_of(anyio_backend))
    while pushes.kills < KILLS / 3:
        with Tap(port_of(embedded_registry)) as tap:
            kills = pushes.until_done(tap, chance)
            await check(embedded_registry, fresh_name, pushes.file)
        seen = requests(tap)
        sent = sum(length for method, _, length in seen if method in {"PATCH", "PUT"})
        assert sent <= SIZE + 16 + kills * CHUNK, f"seed {seed}: {kills} kills, {sent} bytes"
        # A session is begun once; what a kill leaves before the first journal is not known to anybody.
        assert [method for method, *_ in seen].count("POST") <= 1 + kills


@pytest.mark.timeout(600)
async def test_f205_a_killed_push_to_docker_registry_goes_on_or_begins_again_once(
    mortals: Mortals, docker_registry: Peer, fresh_name: str, tmp_path: Path, anyio_backend: object
) -> None:
    """docker-registry knows where an upload is by its newest Location alone."""
    seed = secrets.randbits(32)
    chance = random.Random(seed)  # noqa: S311 -- the moments of kills, which have to be repeatable
    pushes = Pushes(mortals, docker_registry, fresh_name, tmp_path, backend_of(anyio_backend))
    while pushes.kills < KILLS / 3:
        with Tap(port_of(docker_registry)) as tap:
            kills = pushes.until_done(tap, chance)
            await check(docker_registry, fresh_name, pushes.file)
        seen = requests(tap)
        # Every attempt either goes on where the one before it was, or begins again, once.
        assert [method for method, *_ in seen].count("POST") <= 1 + kills, f"seed {seed}"
        far = 0
        for method, first, length in seen:
            if method == "POST":
                far = 0
            elif method == "PATCH":
                assert first >= far - CHUNK, f"seed {seed}: {first} after {far}"
                far = first + length
