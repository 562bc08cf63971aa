"""Answers that are compressed although nobody asked: bombs do not go off, and blobs are the bytes as they came."""

from __future__ import annotations

import gzip
import json
import struct
import subprocess
import sys
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
import pytest

from ocidist import Descriptor, Digest, DigestMismatchError, IntegrityError, Repository
from tests.http.support import NAME, challenge, unauthorized
from tests.peers.answers import respond
from tests.peers.images import OCI_INDEX, noise
from tests.remote.support import repository_on

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.peers.wire_server import Connection, Request, WireServer

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024
GIB = 1024 * MIB
GROWTH_KIB = 32 * 1024


# --- T31: bombs ------------------------------------------------------------------------------------------------------


@cache
def deflated(size: int) -> bytes:
    """Return *size* bytes of a raw deflate stream of zeros, a thousand times as many as it has."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    # Complete blocks that need nothing of what came before can be repeated without end.
    block = packer.compress(bytes(16 * MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return (block * (size // len(block) + 1))[:size]


@cache
def zstandard(size: int) -> bytes:
    """Return about *size* bytes of a Zstandard frame: 128 KiB of zeros for every four bytes."""
    head = bytes.fromhex("28b52ffd") + b"\x00\x48"
    block = struct.pack("<I", (128 * 1024) << 3 | 1 << 1)[:3] + b"\0"
    return head + block * (size // len(block))


def bomb(coding: str, size: int) -> bytes:
    """Return a bomb of at most *size* bytes."""
    match coding:
        case "gzip" | "x-gzip":
            return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + deflated(size - 10)
        case "deflate":
            return b"\x78\x9c" + deflated(size - 2)
        case "gzip, gzip":
            return gzip.compress(bomb("gzip", 10 * MIB))
        case "zstd":
            return zstandard(size - 10)
    # There is nothing here that could make one of this coding, and nothing that could unpack it.
    return noise(size)


CODINGS = {
    "gzip": "gzip",
    "x-gzip": "x-gzip",
    "deflate": "deflate",
    "nested": "gzip, gzip",
    "zstd": "zstd",
    "br": "br",
    "unknown": "x-nothing",
}
# What each kind of answer may have as it comes, so that a bomb that is smaller is looked at.
FITS = {"manifests": 4 * MIB, "tags": 4 * MIB, "referrers": 4 * MIB, "blobs": 10 * MIB, "token": 128 * 1024}


def test_t31_these_are_bombs() -> None:
    for coding, window in (("gzip", 31), ("deflate", 15)):
        packed = bomb(coding, 10 * MIB)
        assert len(packed) == 10 * MIB
        taken, unpacker = 0, zlib.decompressobj(window)
        # One hundredth of it is as much as there is time for.
        for start in range(0, len(packed) // 100, 4096):
            taken += len(unpacker.decompress(packed[start : start + 4096]))
        assert taken > 10 * GIB // 110


def serve_bombs(size: int | None) -> Callable[[Request, Connection], None]:
    """Answer everything with a bomb: of this many bytes, or of as many as are looked at."""

    def answer(request: Request, connection: Connection) -> None:
        name, kind = request.path.removeprefix("/v2/").split("/")[0], request.path.split("/")[4:5]
        if request.path.endswith("/manifests/token") and request.header("Authorization") is None:
            unauthorized(challenge(f"/v2/{name}/app/token"))(request, connection)
            return
        body = b"{}"
        headers = {"Content-Type": OCI_INDEX, "Docker-Content-Digest": str(Digest.of(b"{}"))}
        if name != "plain":
            body = bomb(CODINGS[name], size or FITS[kind[0]] - 1000)
            headers["Content-Encoding"] = CODINGS[name]
        respond(404 if request.path.endswith("/error") else 200, headers, body)(request, connection)

    return answer


REFUSALS = {
    "manifest": {"ProtocolError", "LimitExceededError", "DigestMismatchError"},
    "pinned": {"ProtocolError", "LimitExceededError", "DigestMismatchError"},
    "stat": {"ProtocolError", "LimitExceededError", "DigestMismatchError"},
    "tags": {"ProtocolError", "LimitExceededError"},
    "referrers": {"ProtocolError", "LimitExceededError", "MalformedManifestError"},
    "blob": {"DigestMismatchError", "LimitExceededError"},
    "known blob": {"SizeMismatchError"},
    "stream": {"DigestMismatchError"},
    "download": {"DigestMismatchError"},
    "error": {"ManifestUnknownError", "TagUnknownError", "NameUnknownError"},
    "token": {"TokenError", "LimitExceededError", "ProtocolError"},
}


@pytest.mark.in_turn
@pytest.mark.timeout(180)
@pytest.mark.parametrize("size", [10 * MIB, None], ids=["10 MiB", "within the limits"])
async def test_t31_a_bomb_goes_off_nowhere(
    wire_server: WireServer, anyio_backend: str | tuple[str, object], size: int | None
) -> None:
    wire_server._handler = serve_bombs(size)
    loop = anyio_backend if isinstance(anyio_backend, str) else "uvloop"
    command = [sys.executable, "-W", "error", "-m", "tests.http.bombed", loop, wire_server.host, *CODINGS]
    # In a process of its own: what matters is its memory, and nobody else's.
    done = await anyio.to_thread.run_sync(
        lambda: subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    )
    assert done.stderr == ""
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == (len(CODINGS) + 1) * len(REFUSALS)
    for line in found:
        if line["name"] != "plain":
            assert line["outcome"] in REFUSALS[line["operation"]], line
            assert line["grown"] < GROWTH_KIB, line
    # The program does see what is fine.
    assert any(line["outcome"] == "success" for line in found if line["name"] == "plain")


# --- F118: blobs under a coding --------------------------------------------------------------------------------------

BLOB = noise(200_000)
PACKED = gzip.compress(BLOB, mtime=0)
KNOWN = {each.digest: each for each in (Descriptor.of(BLOB), Descriptor.of(PACKED))}


async def streamed(repository: Repository, digest: Digest, _directory: Path) -> bytes:
    """Read a blob as a stream."""
    async with repository.blobs.open(digest) as reader:
        return b"".join([piece async for piece in reader])


async def downloaded(repository: Repository, digest: Digest, directory: Path) -> bytes:
    """Read a blob by way of a file."""
    await repository.blobs.download(digest, directory / "blob")
    return (directory / "blob").read_bytes()


WAYS: dict[str, Callable[[Repository, Digest, Path], Awaitable[bytes]]] = {
    "get": lambda repository, digest, _directory: repository.blobs.get(digest),
    "known": lambda repository, digest, _directory: repository.blobs.get(KNOWN[digest]),
    "stream": streamed,
    "download": downloaded,
}


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "x-unknown", "gzip, gzip", "identity", ""])
@pytest.mark.parametrize("way", WAYS)
async def test_f118_a_blob_is_the_bytes_that_came_whatever_they_are_called(
    wire_server: WireServer, tmp_path: Path, way: str, coding: str
) -> None:
    digest = Digest.of(PACKED)
    wire_server.on("GET", f"/v2/{NAME}/blobs/{digest}", respond(200, {"Content-Encoding": coding}, PACKED))
    async with repository_on(wire_server) as repository:
        assert await WAYS[way](repository, digest, tmp_path) == PACKED


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "x-unknown", "gzip, gzip"])
@pytest.mark.parametrize("way", WAYS)
async def test_f118_a_blob_that_was_packed_on_its_way_is_refused(
    wire_server: WireServer, tmp_path: Path, way: str, coding: str
) -> None:
    packed = gzip.compress(PACKED) if coding == "gzip, gzip" else PACKED
    digest = Digest.of(BLOB)
    route = wire_server.on("GET", f"/v2/{NAME}/blobs/{digest}", respond(200, {"Content-Encoding": coding}, packed))
    async with repository_on(wire_server) as repository:
        with pytest.raises(IntegrityError) as caught:
            await WAYS[way](repository, digest, tmp_path)
    assert isinstance(caught.value, DigestMismatchError) or way == "known"
    assert not (tmp_path / "blob").exists()
    assert [request.header("Accept-Encoding") for request in route.requests] == ["identity"] * len(route.requests)
