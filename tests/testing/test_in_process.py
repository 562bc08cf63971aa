"""The embedded registry without a socket: a client whose transport is the application itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from ocidist import (
    BlobUnknownError,
    Client,
    DigestMismatchError,
    MemoryRegistry,
    Mounted,
    RetryPolicy,
    TagUnknownError,
    UploadStarted,
)
from ocidist.server import Fault, Faults, Mounts, Quirks, ReferrersApi, RegistryApp
from ocidist.testing import Content
from ocidist.wire import endpoints

if TYPE_CHECKING:
    from pathlib import Path

HOST = "http://registry.test"


def client_of(app: RegistryApp) -> Client:
    """Return a client of nothing but an application."""
    return Client(transport=httpx.ASGITransport(app), credentials={}, retry=RetryPolicy(wait_initial=0.01))


async def test_a14_everything_a_client_does_works_in_process_on_every_event_loop(tmp_path: Path) -> None:
    async with client_of(RegistryApp(MemoryRegistry())) as client:
        registry = client.registry(HOST)
        repository, other = registry.repository("demo/app"), registry.repository("demo/other")
        await registry.ping()
        content = Content().image("app", tags=["v1", "v2"]).artifact("sbom", "application/spdx+json", subject="app")
        built = await content.push_to(repository)
        assert (await repository.manifests.get("v1")).data == built["app"].data
        assert (await repository.manifests.stat("v2")).digest == built["app"].digest
        assert await repository.tags.list().collect() == ["v1", "v2"]
        assert [each.digest for each in await repository.referrers(built["app"].digest).collect()] == [
            built["sbom"].digest
        ]
        async with repository.blobs.writer(chunk_size=1000) as writer:
            await writer.write(b"x" * 2500)
            blob = await writer.commit()
        assert isinstance(await other.blobs.mount(blob.digest, source="demo/app"), Mounted)
        await other.blobs.download(blob.digest, tmp_path / "blob")
        assert (tmp_path / "blob").read_bytes() == b"x" * 2500
        async with repository.blobs.open(blob, offset=1000, length=10) as reader:
            assert await reader.read() == b"x" * 10
        assert await registry.repositories().collect() == ["demo/app", "demo/other"]
        await repository.tags.delete("v2")
        with pytest.raises(TagUnknownError):
            await repository.manifests.get("v2")
        await other.blobs.delete(blob.digest)
        with pytest.raises(BlobUnknownError):
            await other.blobs.get(blob.digest)


async def test_n12_quirks_and_faults_happen_in_process_too() -> None:
    faults = Faults(Fault(on=endpoints.GetManifest, status=503), Fault(on=endpoints.GetBlob, corrupt_at=1))
    quirks = Quirks(mounts=Mounts.DECLINED, referrers=ReferrersApi.MISSING)
    async with client_of(RegistryApp(MemoryRegistry(), quirks=quirks, faults=faults)) as client:
        repository = client.repository(f"{HOST}/demo/app")
        built = await Content().blob("data", b"data").image("app", tags=["v1"]).push_to(repository)
        assert (await repository.manifests.get("v1")).digest == built["app"].digest
        with pytest.raises(DigestMismatchError):
            await repository.blobs.get(built["data"].digest)
        assert [type(endpoint) for _, endpoint in faults.met] == [endpoints.GetManifest, endpoints.GetBlob]
        declined = await client.repository(f"{HOST}/demo/other").blobs.mount(built["data"].digest, source="demo/app")
        assert isinstance(declined, UploadStarted)
        missing = await client.get(f"{HOST}/v2/demo/app/referrers/{built['app'].digest}")
        assert missing.status_code == 404
