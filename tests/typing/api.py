"""The public API as a type checker sees it: this file is checked, never run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, assert_type

import ocidist
from ocidist import (
    Basic,
    BlobReader,
    BlobWriter,
    Client,
    CopyTask,
    Descriptor,
    Digest,
    EgressPolicy,
    Event,
    Hook,
    HostConfig,
    LoginResult,
    Manifest,
    MirrorConfig,
    MirrorPlan,
    MirrorReport,
    MirrorRule,
    Mounted,
    Paginator,
    PushResult,
    Registry,
    RegistryInfo,
    Repository,
    RepositoryName,
    Shard,
    Tag,
    TagFilter,
    TransferProgressed,
    UploadStarted,
    UploadState,
    make_plan,
    mirror,
    run_plan,
)
from ocidist.engine import (
    AuthConfig,
    DecodedAuth,
    DistributionInspect,
    decode_auth,
    encode_auth,
)
from ocidist.observe.otel import OpenTelemetryHook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def construct() -> None:
    """Options are typed values; httpx's own arguments are taken beside them."""
    async with Client(
        credentials={"registry.example": Basic("user", "password")},
        hosts={"localhost:5000": HostConfig(scheme="http"), "registry.example": HostConfig(ca=Path("ca.pem"))},
        egress=EgressPolicy(trusted_realms=("https://auth.example",)),
        timeout=10.0,
        http2=False,
        headers={"X-Team": "blue"},
    ) as client:
        assert_type(client, Client)
        assert_type(client.registry("localhost:5000"), Registry)
        assert_type(client.repository("localhost:5000/a/b"), Repository)
        assert_type(await client.detect_scheme("localhost:5000"), str)


async def lists(registry: Registry, repository: Repository, digest: Digest) -> None:
    """Lists are paginators of the thing they list."""
    assert_type(await registry.ping(), RegistryInfo)
    assert_type(registry.repositories(), Paginator[RepositoryName])
    assert_type(repository.tags.list(after="v1"), Paginator[Tag])
    assert_type(repository.referrers(digest, artifact_type="text/x"), Paginator[Descriptor])
    async for tag in repository.tags.list():
        assert_type(tag, Tag)
    assert_type(await repository.tags.list().collect(limit=3), list[Tag])


async def manifests(repository: Repository, digest: Digest) -> None:
    """Manifests go in and out as bytes with a media type."""
    manifest = await repository.manifests.get("v1")
    assert_type(manifest, Manifest)
    assert_type(manifest.data, bytes)
    assert_type(manifest.digest, Digest)
    assert_type(await repository.manifests.stat("v1"), Descriptor)
    assert_type(await repository.manifests.exists(digest), bool)
    assert_type(await repository.manifests.push(manifest, tags=["v2"]), PushResult)
    assert_type(await repository.tags.set("stable", digest), Descriptor)
    assert_type(await repository.tags.lookup(digest), tuple[Tag, ...])
    assert_type(await repository.attach(digest, artifact_type="text/x", layers=[b"x"]), PushResult)


async def stream() -> AsyncIterator[bytes]:
    """Yield a body piece by piece."""
    yield b"x"


async def blobs(repository: Repository, digest: Digest, path: Path) -> None:
    """Blobs go in and out as bytes, files and streams."""
    assert_type(await repository.blobs.get(digest), bytes)
    assert_type(await repository.blobs.push(b"x"), Descriptor)
    assert_type(await repository.blobs.push(path, mount_from=["a/base"]), Descriptor)
    assert_type(await repository.blobs.push(stream()), Descriptor)
    assert_type(await repository.blobs.download(digest, path), Descriptor)
    assert_type(await repository.blobs.download(digest, path, resume=False, connections=4), Descriptor)
    assert_type(await ocidist.sweep_downloads(path, older_than=3600), list[Path])
    async with repository.blobs.open(digest, offset=1) as reader:
        assert_type(reader, BlobReader)
        assert_type(await reader.read(10), bytes)
    async with repository.blobs.writer(chunk_size=1024) as writer:
        assert_type(writer, BlobWriter)
        assert_type(writer.state, UploadState)
        assert_type(writer.state.to_json(), str)
        assert_type(await writer.commit(digest), Descriptor)
    async with repository.blobs.resume(UploadState.from_json("{}"), source=path) as resumed:
        assert_type(resumed, BlobWriter)
    assert_type(await repository.blobs.mount(digest, source="a/base"), Mounted | UploadStarted)


async def engine(registry: Registry, repository: Repository, digest: Digest) -> None:
    """The Docker Engine's documents are values, and what is asked in its place returns them."""
    assert_type(await repository.inspect(digest), DistributionInspect)
    assert_type(await registry.login(Basic("u", "p")), LoginResult)
    assert_type(encode_auth(AuthConfig.of(Basic("u", "p"))), str)
    assert_type(decode_auth(""), AuthConfig)
    assert_type(decode_auth("", strict=False), DecodedAuth)


async def mirroring(client: Client) -> None:
    """A mirror is rules, a plan and a report; an error of it has the report."""
    config = MirrorConfig(rules=[MirrorRule(source="a.io/b", destination="b.io/c", tags=TagFilter(allow=["v*"]))])
    assert_type(await MirrorConfig.from_file("mirror.toml"), MirrorConfig)
    plan = await make_plan(config, client=client)
    assert_type(plan, MirrorPlan)
    assert_type(plan.tasks, tuple[CopyTask, ...])
    assert_type(MirrorPlan.from_json(plan.to_json()), MirrorPlan)
    assert_type(await run_plan(plan, client=client, shard=Shard.parse("0/2"), checkpoint=Path("done")), MirrorReport)
    try:
        report = await mirror(config)
    except ocidist.MirrorError as error:
        report = error.report
    assert_type(report, MirrorReport)


def hooks() -> None:
    """Hooks are plain callables that are given frozen records."""

    def hook(event: Event) -> None:
        if isinstance(event, TransferProgressed):
            assert_type(event.done, int)
            assert_type(event.size, int | None)

    assert_type(ocidist.log_events("a.logger"), Hook)
    Client(hooks=[hook, ocidist.log_events(), OpenTelemetryHook()])


def errors(error: Exception) -> None:
    """Errors carry plain values."""
    if isinstance(error, ocidist.ManifestUnknownError):
        assert_type(error.status, int)
        assert_type(error.reference, str | None)
    if isinstance(error, ocidist.DigestMismatchError):
        assert_type(error.expected, str)
