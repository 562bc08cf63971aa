"""Mirrors whose processes are killed, and mirrors that several processes share."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import pytest

from ocidist.testing import serve
from tests.peers.mortal import DONE, Mortals
from tests.transfer.mirrors import contents, fill, traffic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ocidist.testing import LoopbackRegistry

pytestmark = [pytest.mark.in_turn, pytest.mark.timeout(600)]

NIGHTLY: Final = bool(os.environ.get("NIGHTLY"))
REPOSITORIES, KILLS = (100, 10) if NIGHTLY else (12, 3)
"""Of two images each."""
LATE_S: Final = 60


@pytest.fixture
def registries() -> Iterator[tuple[LoopbackRegistry, LoopbackRegistry]]:
    with serve() as source, serve() as destination:
        fill(source, REPOSITORIES, base_size=200_000, own_size=50_000)
        yield source, destination


@pytest.fixture
def backend(anyio_backend: object) -> str:
    return "uvloop" if isinstance(anyio_backend, tuple) else str(anyio_backend)


def rules(source: LoopbackRegistry, destination: LoopbackRegistry) -> str:
    hosts = "".join(f'[hosts."{each.host}"]\nscheme = "http"\n' for each in (source, destination))
    ends = f'source = "{source.host}"\ndestination = "{destination.host}"\n'
    return f"[defaults]\nimages_at_once = 2\n{hosts}[[mirror]]\n{ends}"


def wait_for(registry: LoopbackRegistry, requests: int) -> bool:
    """Wait until a registry was asked so often; return whether it was."""
    end = time.monotonic() + LATE_S
    while len(registry.requests) < requests and time.monotonic() < end:
        time.sleep(0.002)
    return len(registry.requests) >= requests


def wait_until_alone(registry: LoopbackRegistry) -> None:
    """Wait until a registry has noticed that its client is dead: what it had received, it keeps."""
    end = time.monotonic() + LATE_S
    while registry.connections and time.monotonic() < end:
        time.sleep(0.002)


def test_a_mirror_that_is_killed_again_and_again_sends_no_finished_blob_twice(
    registries: tuple[LoopbackRegistry, LoopbackRegistry], tmp_path: Path, backend: str
) -> None:
    source, destination = registries
    images = 2 * REPOSITORIES
    whole = REPOSITORIES + images * 6
    file = tmp_path / "checkpoint"
    task = {"action": "mirror", "backend": backend, "rules": rules(*registries), "checkpoint": str(file)}
    done = 0
    with Mortals() as mortals:
        for number in range(KILLS):
            pid = mortals.start(**task)
            assert wait_for(destination, len(destination.requests) + whole // (KILLS + 1)), f"kill {number}"
            os.kill(pid, signal.SIGKILL)
            assert mortals.wait() == -signal.SIGKILL
            wait_until_alone(destination)
            # What is done stays done.
            before, done = done, len(file.read_text().splitlines()) - 1
            assert done >= before
        assert 0 < done < images
        mortals.start(**task)
        assert mortals.wait() == DONE
    assert contents(destination) == contents(source)
    assert not file.exists()
    sent = traffic(destination).sent
    assert set(sent.values()) == {1}
    assert len(sent) == 2 + 2 * images


@pytest.mark.parametrize("how", ["at the same time", "one after the other"])
def test_shards_in_processes_of_their_own_make_the_same_mirror_and_send_shared_layers_once(
    registries: tuple[LoopbackRegistry, LoopbackRegistry], backend: str, how: str
) -> None:
    source, destination = registries
    task = {"action": "mirror", "backend": backend, "rules": rules(*registries)}

    def run(shard: str) -> int:
        with Mortals() as mortals:
            mortals.start(**task, shard=shard, patience=60 if how == "at the same time" else 0)
            return mortals.wait()

    workers = 2 if how == "at the same time" else 1
    with ThreadPoolExecutor(workers) as pool:
        assert list(pool.map(run, ["0/2", "1/2"])) == [DONE, DONE]
    assert contents(destination) == contents(source)
    sent = traffic(destination).sent
    assert set(sent.values()) == {1}
    assert len(sent) == 2 + 4 * REPOSITORIES
