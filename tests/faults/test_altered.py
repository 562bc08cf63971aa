"""A pull altered by one byte, at any position, is never delivered as verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from anyio import to_thread

from ocidist import Digest, DigestMismatchError, OciError
from tests.peers import images
from tests.peers.answers import respond
from tests.peers.images import noise
from tests.remote.support import NAME, repository_on

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.wire_server import Connection, Request, WireServer


class Altering:
    """Answers with content in which one byte is another one."""

    def __init__(self, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.place = 0
        self._content = content
        self._headers = headers or {}

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer with the content as it is altered now."""
        data = bytearray(self._content)
        data[self.place] ^= 1 << self.place % 8
        respond(200, self._headers, bytes(data))(request, connection)


async def names_in(directory: Path) -> list[str]:
    return await to_thread.run_sync(lambda: [path.name for path in directory.iterdir()])


async def test_a_blob_altered_at_any_position_is_never_delivered(wire_server: WireServer, tmp_path: Path) -> None:
    blob = noise(300)
    altering = Altering(blob)
    wire_server.on("GET", f"/v2/{NAME}/blobs/*", altering)
    digest = Digest.of(blob)
    path = tmp_path / "blob"
    async with repository_on(wire_server) as repository:
        for altering.place in range(len(blob)):
            delivered: list[object] = []
            try:
                delivered.append(await repository.blobs.get(digest))
            except DigestMismatchError as error:
                delivered.append(error.actual)
            async with repository.blobs.open(digest) as reader:
                try:
                    delivered.append(await reader.read())
                except DigestMismatchError as error:
                    delivered.append(error.actual)
                assert not reader.verified
            assert all(isinstance(found, str) and found != digest for found in delivered)
        for altering.place in (0, 150, 299):
            with pytest.raises(DigestMismatchError):
                await repository.blobs.download(digest, path)
            assert await names_in(tmp_path) == []


async def test_a_manifest_altered_at_any_position_is_never_delivered(wire_server: WireServer) -> None:
    manifest = images.image("linux/amd64").manifest
    altering = Altering(manifest.data, {"Content-Type": manifest.media_type, "Docker-Content-Digest": manifest.digest})
    wire_server.on("GET", f"/v2/{NAME}/manifests/*", altering)
    refused = 0
    async with repository_on(wire_server) as repository:
        for altering.place in range(len(manifest.data)):
            for name in (manifest.digest, "v1"):
                try:
                    await repository.manifests.get(name)
                except OciError:
                    refused += 1
    assert refused == 2 * len(manifest.data)
