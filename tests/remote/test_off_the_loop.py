"""What takes long happens in worker threads, so that a service goes on while blobs move."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from ocidist import Descriptor, DigestMismatchError, SizeMismatchError
from ocidist._io.verify import OFFLOAD
from ocidist.http.transport import body
from ocidist.model.digest import Hasher
from tests.peers import images
from tests.peers.answers import respond
from tests.remote.support import client_for

if TYPE_CHECKING:
    import httpx

    from tests.peers.peer import Peer
    from tests.peers.wire_server import WireServer

ROOT = Path(__file__).parent.parent.parent
LARGE = images.noise(5 * OFFLOAD + 7)
KNOWN = Descriptor.of(LARGE)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, int]]:
    """Whether each piece that is hashed from here on is hashed on the event loop, and its size."""
    seen: list[tuple[bool, int]] = []
    here, real = threading.get_ident(), Hasher.update

    def update(self: Hasher, data: bytes | bytearray | memoryview) -> None:
        seen.append((threading.get_ident() == here, len(data)))
        real(self, data)

    monkeypatch.setattr(Hasher, "update", update)
    return seen


async def test_t73_no_large_piece_is_hashed_on_the_event_loop(
    docker_registry: Peer, fresh_name: str, tmp_path: Path, hashed: list[tuple[bool, int]]
) -> None:
    path = tmp_path / "blob"
    path.write_bytes(LARGE)

    async def pieces() -> object:
        for start in range(0, len(LARGE), 3 * OFFLOAD):
            yield LARGE[start : start + 3 * OFFLOAD]

    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        await blobs.push(pieces(), KNOWN, check_exists=False)  # type: ignore[arg-type]  # an asynchronous generator
        await blobs.push(LARGE, check_exists=False)
        await blobs.push(path, check_exists=False)
        assert await blobs.get(KNOWN, max_size=len(LARGE)) == LARGE
    assert max(size for _, size in hashed) >= OFFLOAD
    assert [size for on_loop, size in hashed if on_loop and size >= OFFLOAD] == []


async def test_l14_a_download_is_received_hashed_and_written_elsewhere_while_others_run(
    docker_registry: Peer,
    fresh_name: str,
    tmp_path: Path,
    hashed: list[tuple[bool, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So short a slice that the event loop is asked many times.
    monkeypatch.setattr(body, "SLICE", 0.001)
    monkeypatch.setattr(body, "POUR", 64 * 1024)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        await blobs.push(LARGE)
        hashed.clear()
        async with anyio.create_task_group() as group:
            group.start_soon(others)
            await blobs.download(KNOWN, tmp_path / "pulled")
            group.cancel_scope.cancel()
    assert sum(size for _, size in hashed) == len(LARGE)
    assert [size for on_loop, size in hashed if on_loop] == []
    assert turns > 1


def test_l18_the_speed_of_the_parsers_is_measured_against_what_was_promised() -> None:
    script = [str(ROOT / "benchmarks" / "parsers.py"), "--json", "--seconds", "0.01", "--rounds", "1"]
    done = subprocess.run([sys.executable, *script], capture_output=True, text=True, timeout=50, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    text = " ".join(json.dumps(each) for each in found)
    assert found
    for name in ("reference", "challenge", "digest"):
        assert name in text


async def test_a_blob_that_is_piped_from_one_repository_into_another_is_hashed_once(
    docker_registry: Peer, fresh_name: str, hashed: list[tuple[bool, int]]
) -> None:
    lengths: list[str | None] = []

    async def note(request: httpx.Request) -> None:
        if request.method == "PUT":
            lengths.append(request.headers.get("Content-Length"))

    async with docker_registry.client(event_hooks={"request": [note]}) as client:
        source = client.repository(f"{docker_registry.host}/{fresh_name}/from").blobs
        target = client.repository(f"{docker_registry.host}/{fresh_name}/to").blobs
        await source.push(LARGE, KNOWN, check_exists=False)
        hashed.clear()
        async with source.open(KNOWN) as reader:
            await target.push(reader, KNOWN, check_exists=False)
        assert sum(size for _, size in hashed) == len(LARGE)
        assert lengths[-1] == str(len(LARGE))
        assert await target.exists(KNOWN)


async def test_a_reader_proves_only_what_it_reads_from_the_first_byte_to_the_last(
    docker_registry: Peer, fresh_name: str
) -> None:
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        await blobs.push(LARGE, KNOWN, check_exists=False)
        async with blobs.open(KNOWN, length=len(LARGE) - 1) as part:
            assert not part.proves(KNOWN.digest, KNOWN.size)
            with pytest.raises(SizeMismatchError):
                await blobs.push(part, KNOWN, check_exists=False)
        async with blobs.open(KNOWN, offset=1) as rest:
            assert not rest.proves(KNOWN.digest, KNOWN.size)
        async with blobs.open(KNOWN) as whole:
            assert whole.proves(KNOWN.digest, KNOWN.size)
            assert not whole.proves(KNOWN.digest, KNOWN.size - 1)
            await whole.read(1)
            assert not whole.proves(KNOWN.digest, KNOWN.size)


async def test_a_wrong_blob_never_arrives_whole_where_it_is_piped_to(
    docker_registry: Peer, fresh_name: str, wire_server: WireServer
) -> None:
    wrong = LARGE[:-1] + bytes([LARGE[-1] ^ 1])
    wire_server.on("GET", f"/v2/a/b/blobs/{KNOWN.digest}", respond(200, {}, wrong))
    async with client_for(wire_server) as other, docker_registry.client() as client:
        target = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        async with other.repository(f"{wire_server.host}/a/b").blobs.open(KNOWN) as reader:
            with pytest.raises(DigestMismatchError, match=f"{wire_server.host}/a/b"):
                await target.push(reader, KNOWN, check_exists=False)
        assert not await target.exists(KNOWN)
        assert not await target.exists(Descriptor.of(wrong))
