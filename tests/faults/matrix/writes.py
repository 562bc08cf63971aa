"""Operations that write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import Descriptor, Digest, OnExit, TransportError
from tests.faults.matrix.operations import Operation
from tests.faults.matrix.stage import Evidence
from tests.faults.matrix.standing import (
    BLOB,
    DIGEST,
    IMAGE,
    NOTE_TYPE,
    NOTES,
    OTHER,
    PLAIN,
    READ,
    fallback_index,
    sha512,
)
from tests.faults.uploads import stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ocidist import Client
    from tests.faults.matrix.stage import Stage


CHUNK = 64 * 1024
HUGE = 1024 * 1024 * 1024
PUSHED = Digest(DIGEST)
KNOWN = Descriptor.of(BLOB)
PIECES = tuple(BLOB[at : at + 50_000] for at in range(0, len(BLOB), 50_000))


async def _push_bytes(stage: Stage, client: Client) -> Evidence:
    found = await stage.repository_of(client).blobs.push(BLOB)
    return Evidence(found.digest, BLOB)


async def _push_file(stage: Stage, client: Client) -> Evidence:
    path = stage.folder / "source"
    path.write_bytes(BLOB)
    try:
        found = await stage.repository_of(client).blobs.push(path, KNOWN)
    finally:
        path.unlink()
    return Evidence(found.digest, BLOB)


async def _push_stream(stage: Stage, client: Client) -> Evidence:
    found = await stage.repository_of(client).blobs.push(stream(*PIECES), chunk_size=CHUNK)
    return Evidence(found.digest, BLOB)


async def _push_once(stage: Stage, client: Client) -> Evidence:
    found = await stage.repository_of(client).blobs.push(stream(*PIECES), KNOWN)
    return Evidence(found.digest, BLOB)


async def _push_chunked(stage: Stage, client: Client) -> Evidence:
    found = await stage.repository_of(client).blobs.push(lambda: stream(*PIECES), KNOWN, chunk_size=CHUNK)
    return Evidence(found.digest, BLOB)


async def _push_single(stage: Stage, client: Client) -> Evidence:
    found = await stage.repository_of(client).blobs.push(BLOB, single_post=True)
    return Evidence(found.digest, BLOB)


async def _push_journal(stage: Stage, client: Client) -> Evidence:
    path, journal = stage.folder / "source", stage.folder / "journal"
    path.write_bytes(BLOB)
    blobs = stage.repository_of(client).blobs
    try:
        for attempt in range(3):
            try:
                found = await blobs.push(path, KNOWN, chunk_size=CHUNK, journal=journal)
                break
            except TransportError:
                # As a user does: call it again.
                if attempt == 2:
                    raise
    finally:
        path.unlink()
    assert not journal.exists()
    return Evidence(found.digest, BLOB)


def _huge() -> tuple[Callable[[], AsyncIterator[bytes]], Descriptor]:
    """Return a gigabyte that is made while it is sent, and a descriptor of that size."""

    async def pieces() -> AsyncIterator[bytes]:
        piece = bytes(256 * 1024)
        for _ in range(HUGE // len(piece)):
            yield piece

    return pieces, Descriptor("application/octet-stream", Digest.of(b"never sent to its end"), HUGE)


async def _push_huge(stage: Stage, client: Client) -> Evidence:
    pieces, known = _huge()
    await stage.repository_of(client).blobs.push(pieces, known)
    return Evidence(known.digest)


async def _push_huge_once(stage: Stage, client: Client) -> Evidence:
    pieces, known = _huge()
    await stage.repository_of(client).blobs.push(pieces(), known)
    return Evidence(known.digest)


async def _source_raises(stage: Stage, client: Client) -> Evidence:
    async def broken() -> AsyncIterator[bytes]:
        yield BLOB[:100_000]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await stage.repository_of(client).blobs.push(broken, KNOWN)
    return Evidence()


async def _source_raises_in_chunks(stage: Stage, client: Client) -> Evidence:
    async def broken() -> AsyncIterator[bytes]:
        yield BLOB[:100_000]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await stage.repository_of(client).blobs.push(broken(), chunk_size=CHUNK)
    return Evidence()


async def _source_short(stage: Stage, client: Client) -> Evidence:
    await stage.repository_of(client).blobs.push(lambda: stream(BLOB[:-1]), KNOWN)
    return Evidence()


async def _source_long(stage: Stage, client: Client) -> Evidence:
    await stage.repository_of(client).blobs.push(lambda: stream(BLOB, b"x"), KNOWN)
    return Evidence()


async def _source_other(stage: Stage, client: Client) -> Evidence:
    await stage.repository_of(client).blobs.push(lambda: stream(OTHER), KNOWN)
    return Evidence()


async def _push_cancelled(stage: Stage, client: Client) -> Evidence:
    with anyio.CancelScope() as scope:
        await stage.repository_of(client).blobs.push(
            BLOB, chunk_size=CHUNK, progress=lambda done, _size: scope.cancel() if done > CHUNK else None
        )
    assert scope.cancelled_caught
    return Evidence()


async def _push_verified(stage: Stage, client: Client) -> Evidence:
    found = await stage.repository_of(client).blobs.push(BLOB, verify=True)
    return Evidence(found.digest, BLOB)


async def _push_sha512(stage: Stage, client: Client) -> Evidence:
    known = Descriptor("application/octet-stream", Digest(sha512(BLOB)), len(BLOB))
    found = await stage.repository_of(client).blobs.push(BLOB, known)
    return Evidence(found.digest, BLOB)


async def _write(stage: Stage, client: Client) -> Evidence:
    async with stage.repository_of(client).blobs.writer(chunk_size=CHUNK, on_exit=OnExit.CANCEL) as writer:
        await writer.write(BLOB)
        found = await writer.commit(PUSHED)
    return Evidence(found.digest, BLOB)


async def _mount(stage: Stage, client: Client) -> Evidence:
    found = await stage.repository_of(client).blobs.push(BLOB, mount_from=[READ], check_exists=False)
    return Evidence(found.digest, BLOB)


async def _push_manifest(stage: Stage, client: Client) -> Evidence:
    result = await stage.repository_of(client).manifests.push(IMAGE.manifest.data, tags=["t"])
    assert result.tags == ("t",)
    return Evidence(result.descriptor.digest, IMAGE.manifest.data)


async def _push_tag(stage: Stage, client: Client) -> Evidence:
    result = await stage.repository_of(client).manifests.push(IMAGE.manifest.data, tags=["t"], by_digest=False)
    return Evidence(result.descriptor.digest, IMAGE.manifest.data)


async def _delete(stage: Stage, client: Client) -> Evidence:
    await stage.repository_of(client).manifests.delete(PLAIN.digest)
    return Evidence(PLAIN.digest)


async def _delete_blob(stage: Stage, client: Client) -> Evidence:
    await stage.repository_of(client).blobs.delete(PLAIN.blobs[0].digest)
    return Evidence(PLAIN.blobs[0].digest)


async def _attach(stage: Stage, client: Client) -> Evidence:
    subject = Descriptor(IMAGE.manifest.media_type, Digest(IMAGE.digest), len(IMAGE.manifest.data))
    result = await stage.repository_of(client).attach(subject, artifact_type=NOTE_TYPE, layers=[b"a new note"])
    return Evidence(result.descriptor.digest)


def _stored(stage: Stage, evidence: Evidence | None) -> None:
    digest = DIGEST if evidence is None else evidence.digest
    found = stage.standing.blob(stage.name, digest)
    assert found == BLOB if evidence is not None else found in {None, BLOB}


def _not_stored(stage: Stage, _evidence: Evidence | None) -> None:
    assert stage.standing.blob(stage.name, DIGEST) is None


def _stored_manifest(stage: Stage, evidence: Evidence | None) -> None:
    good = {IMAGE.manifest.data} if evidence is not None else {IMAGE.manifest.data, None}
    assert stage.standing.manifest(stage.name, IMAGE.digest) in good
    assert stage.standing.manifest(stage.name, "t") in good


def _gone(stage: Stage, evidence: Evidence | None) -> None:
    found = stage.standing.manifest(stage.name, PLAIN.digest)
    assert found is None if evidence is not None else found in {None, PLAIN.manifest.data}


def _blob_gone(stage: Stage, evidence: Evidence | None) -> None:
    blob = PLAIN.blobs[0]
    found = stage.standing.blob(stage.name, blob.digest)
    assert found is None if evidence is not None else found in {None, blob.data}


def _listed(stage: Stage, evidence: Evidence | None) -> None:
    found = stage.standing.referrers(stage.name, IMAGE.digest)
    assert set(stage.before) <= set(found)
    assert len(found) == len(set(found))
    if evidence is not None:
        assert evidence.digest in found


def _with_image(stage: Stage) -> None:
    stage.standing.put_image(stage.name, IMAGE)


def _with_notes(stage: Stage) -> None:
    _with_image(stage)
    stage.standing.put_image(stage.name, NOTES[0])
    if not stage.standing.peer.has_referrers:
        index = fallback_index(NOTES[0])
        stage.standing.put_manifest(stage.name, index, IMAGE.digest.replace(":", "-"))
    stage.before = stage.standing.referrers(stage.name, IMAGE.digest)


def _with_blobs(stage: Stage) -> None:
    for blob in IMAGE.blobs:
        target = f"/v2/{stage.name}/blobs/uploads/?mount={blob.digest}&from={READ}"
        assert stage.standing.ask("POST", target).status == 201


def _with_plain(stage: Stage) -> None:
    stage.standing.put_image(stage.name, PLAIN, "plain")


push_bytes = Operation("push bytes", _push_bytes, _stored, fresh=True)
push_file = Operation("push file", _push_file, _stored, fresh=True)
push_stream = Operation("push stream in chunks", _push_stream, _stored, fresh=True)
push_once = Operation("push stream of known digest", _push_once, _stored, fresh=True)
push_chunked = Operation("push in chunks what can be read again", _push_chunked, _stored, fresh=True)
push_single = Operation("push in one request", _push_single, _stored, fresh=True)
push_verified = Operation("push and verify", _push_verified, _stored, fresh=True)
push_sha512 = Operation("push by sha512", _push_sha512, _stored, fresh=True)
push_journal = Operation("push with a journal", _push_journal, _stored, fresh=True)
push_huge = Operation("push much", _push_huge, _not_stored, fresh=True)
push_huge_once = Operation("push much, once", _push_huge_once, _not_stored, fresh=True)
source_raises = Operation("push what raises", _source_raises, _not_stored, fresh=True)
source_raises_in_chunks = Operation("push in chunks what raises", _source_raises_in_chunks, _not_stored, fresh=True)
source_short = Operation("push what is too short", _source_short, _not_stored, fresh=True)
source_long = Operation("push what is too long", _source_long, _not_stored, fresh=True)
source_other = Operation("push something else", _source_other, _not_stored, fresh=True)
push_cancelled = Operation("push and cancel", _push_cancelled, _not_stored, fresh=True)
write = Operation("write in chunks", _write, _stored, fresh=True)
mount = Operation("push by mount", _mount, _stored, fresh=True)
push_manifest = Operation("push manifest", _push_manifest, _stored_manifest, fresh=True, prepare=_with_blobs)
push_tag = Operation("push manifest by tag", _push_tag, _stored_manifest, fresh=True, prepare=_with_blobs)
delete = Operation("delete manifest", _delete, _gone, fresh=True, prepare=_with_plain)
delete_blob = Operation("delete blob", _delete_blob, _blob_gone, fresh=True, prepare=_with_plain)
attach = Operation("attach", _attach, _listed, fresh=True, prepare=_with_notes)

UNFINISHED = frozenset(
    {push_huge, push_huge_once, source_raises, source_raises_in_chunks, source_short, source_long, source_other}
)
"""Those that never end well, so that nobody knows what they cost when they do."""
