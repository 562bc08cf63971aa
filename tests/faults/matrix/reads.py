"""Operations that read."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from ocidist import Descriptor, Digest
from tests.faults.matrix.operations import Operation
from tests.faults.matrix.stage import Evidence
from tests.faults.matrix.standing import (
    BIG,
    BIG_DIGEST,
    BLOB,
    DIGEST,
    IMAGE,
    NOTE_TYPE,
    NOTES,
    READ,
    TAGS,
)

if TYPE_CHECKING:
    from ocidist import Client
    from tests.faults.matrix.stage import Stage


KNOWN = Descriptor.of(BLOB)


async def _ping(stage: Stage, client: Client) -> Evidence:
    info = await stage.registry_of(client).ping()
    return Evidence(listed=("supported" if info.supported else "unsupported",))


async def _stat(stage: Stage, client: Client) -> Evidence:
    found = await stage.repository_of(client).blobs.stat(DIGEST)
    assert found.size == len(BLOB)
    return Evidence(found.digest)


async def _get(stage: Stage, client: Client) -> Evidence:
    return Evidence(DIGEST, await stage.repository_of(client).blobs.get(DIGEST))


async def _get_empty(stage: Stage, client: Client) -> Evidence:
    digest = Digest.of(b"")
    return Evidence(digest, await stage.repository_of(client).blobs.get(digest))


async def _read(stage: Stage, client: Client) -> Evidence:
    async with stage.repository_of(client).blobs.open(KNOWN) as reader:
        pieces = [piece async for piece in reader]
        assert reader.verified
    return Evidence(DIGEST, b"".join(pieces))


async def _read_slowly(stage: Stage, client: Client) -> Evidence:
    pieces = []
    async with stage.repository_of(client).blobs.open(DIGEST) as reader:
        while piece := await reader.read(10_000):
            pieces.append(piece)
    return Evidence(DIGEST, b"".join(pieces))


async def _read_big(stage: Stage, client: Client) -> Evidence:
    hasher, size = hashlib.sha256(), 0
    async with stage.repository_of(client).blobs.open(BIG_DIGEST) as reader:
        async for piece in reader:
            hasher.update(piece)
            size += len(piece)
    assert (f"sha256:{hasher.hexdigest()}", size) == (BIG_DIGEST, BIG)
    return Evidence(BIG_DIGEST)


async def _sink_slow(stage: Stage, client: Client) -> Evidence:
    pieces = []
    async with stage.repository_of(client).blobs.open(DIGEST) as reader:
        while piece := await reader.read(10_000):
            pieces.append(piece)
            await anyio.sleep(0.01)
    return Evidence(DIGEST, b"".join(pieces))


async def _sink_raises(stage: Stage, client: Client) -> Evidence:
    with suppress(ZeroDivisionError):
        async with stage.repository_of(client).blobs.open(DIGEST) as reader:
            async for _ in reader:
                raise ZeroDivisionError
    return Evidence(DIGEST)


async def _sink_cancelled(stage: Stage, client: Client) -> Evidence:
    with anyio.CancelScope() as scope:
        async with stage.repository_of(client).blobs.open(DIGEST) as reader:
            await reader.read(10)
            scope.cancel()
            await reader.read()
    assert scope.cancelled_caught
    return Evidence(DIGEST)


async def _sink_leaves(stage: Stage, client: Client) -> Evidence:
    async with stage.repository_of(client).blobs.open(DIGEST) as reader:
        await reader.read(10)
    return Evidence(DIGEST)


async def _download(stage: Stage, client: Client) -> Evidence:
    path = stage.folder / "blob"
    await stage.repository_of(client).blobs.download(KNOWN, path)
    return Evidence(DIGEST, path.read_bytes())


async def _manifest(stage: Stage, client: Client, reference: str) -> Evidence:
    found = await stage.repository_of(client).manifests.get(reference)
    return Evidence(found.digest, found.data)


async def _manifest_by_digest(stage: Stage, client: Client) -> Evidence:
    return await _manifest(stage, client, IMAGE.digest)


async def _manifest_by_tag(stage: Stage, client: Client) -> Evidence:
    return await _manifest(stage, client, TAGS[0])


async def _manifest_stat(stage: Stage, client: Client) -> Evidence:
    found = await stage.repository_of(client).manifests.stat(TAGS[0])
    assert found.size == len(IMAGE.manifest.data)
    return Evidence(found.digest)


async def _tags(stage: Stage, client: Client) -> Evidence:
    return Evidence(listed=tuple(await stage.repository_of(client).tags.list(page_size=4).collect()))


async def _catalog(stage: Stage, client: Client) -> Evidence:
    names = stage.registry_of(client).repositories(after="zz/a", page_size=4)
    return Evidence(listed=tuple(map(str, await names.collect())))


async def _referrers(stage: Stage, client: Client) -> Evidence:
    found = await stage.repository_of(client).referrers(IMAGE.digest, artifact_type=NOTE_TYPE).collect()
    return Evidence(listed=tuple(each.digest for each in found))


async def _pull(stage: Stage, client: Client) -> Evidence:
    repository = stage.repository_of(client)
    manifest = await repository.manifests.get(TAGS[0])
    blobs = {part.digest: await repository.blobs.get(part) for part in manifest.references}
    assert blobs == {blob.digest: blob.data for blob in IMAGE.blobs}
    return Evidence(manifest.digest, manifest.data)


def _supported(_stage: Stage, evidence: Evidence | None) -> None:
    assert evidence is None or evidence.listed == ("supported",)


def _same_blob(stage: Stage, evidence: Evidence | None) -> None:
    if evidence is None:
        assert not (stage.folder / "blob").exists()
    elif evidence.data is not None:
        assert evidence.data == stage.standing.blob(READ, evidence.digest)


def _same_manifest(stage: Stage, evidence: Evidence | None) -> None:
    if evidence is None:
        return
    assert evidence.digest == IMAGE.digest
    if evidence.data is not None:
        assert evidence.data == stage.standing.manifest(READ, IMAGE.digest)


def _same_tags(stage: Stage, evidence: Evidence | None) -> None:
    if evidence is not None:
        assert sorted(evidence.listed) == stage.standing.tags(READ)


def _same_catalog(_stage: Stage, evidence: Evidence | None) -> None:
    assert evidence is None or evidence.listed == (READ,)


def _same_referrers(_stage: Stage, evidence: Evidence | None) -> None:
    assert evidence is None or sorted(evidence.listed) == sorted(note.digest for note in NOTES)


ping = Operation("ping", _ping, _supported, of_registry=True)
stat = Operation("stat blob", _stat, _same_blob)
get = Operation("get blob", _get, _same_blob)
get_empty = Operation("get empty blob", _get_empty, _same_blob)
read = Operation("stream blob", _read, _same_blob)
read_slowly = Operation("stream blob in pieces", _read_slowly, _same_blob)
read_big = Operation("stream large blob", _read_big, _same_blob)
sink_slow = Operation("stream to who is slow", _sink_slow, _same_blob)
sink_raises = Operation("stream to who raises", _sink_raises, _same_blob)
sink_cancelled = Operation("stream to who is cancelled", _sink_cancelled, _same_blob)
sink_leaves = Operation("stream to who leaves", _sink_leaves, _same_blob)
SINKS = (sink_slow, sink_raises, sink_cancelled, sink_leaves)
download = Operation("download blob", _download, _same_blob)
manifest_by_digest = Operation("get manifest by digest", _manifest_by_digest, _same_manifest)
manifest_by_tag = Operation("get manifest by tag", _manifest_by_tag, _same_manifest)
manifest_stat = Operation("stat manifest", _manifest_stat, _same_manifest)
tags = Operation("list tags", _tags, _same_tags)
catalog = Operation("list repositories", _catalog, _same_catalog, of_registry=True)
referrers = Operation("list referrers", _referrers, _same_referrers)
pull = Operation("pull image", _pull, _same_manifest)
