"""What hooks are told of a push that meets a fault: that it goes on, from where, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import (
    HostConfig,
    OciError,
    RequestRetried,
    TransferFailed,
    TransferFinished,
    TransferResumed,
)
from tests.faults.uploads import BLOB, DIGEST, KNOWN, UploadRegistry, lost, refuse, stream
from tests.remote.support import client_for, repository_on
from tests.remote.telling import Told, names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ocidist import TransferEvent
    from tests.peers.wire_server import Connection, Request, WireServer


def resumed(story: Sequence[TransferEvent]) -> list[int]:
    return [event.offset for event in story if isinstance(event, TransferResumed)]


def check_end(story: Sequence[TransferEvent], least: int) -> None:
    """Check that a transfer is complete, and how many bytes of it were sent at least."""
    last = story[-1]
    assert isinstance(last, TransferFinished)
    assert last.size == len(BLOB)
    assert last.done >= least


def check_secrets(told: Told) -> None:
    """Check that no event holds what gives access to a session."""
    assert "a%2Fb" not in repr(told.events)


@pytest.mark.parametrize("applied", [0, 150, 300], ids=["nothing", "a part", "all"])
async def test_n13_a_chunk_whose_answer_is_lost(
    wire_server: WireServer, registry: UploadRegistry, applied: int
) -> None:
    registry.moves = False
    registry.script("PATCH", None, lost(applied))
    told = Told()
    async with repository_on(wire_server, hooks=[told.events.append]) as repository:
        await repository.blobs.push(BLOB, chunk_size=300)
    story = told.only()
    assert resumed(story) == [300 + applied]
    check_end(story, len(BLOB))
    check_secrets(told)


@pytest.mark.parametrize("kept", [0, 400])
async def test_n13_one_request_that_breaks(wire_server: WireServer, registry: UploadRegistry, kept: int) -> None:
    def broken(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        request.read()
        upload = usual._find(request)
        assert upload is not None
        upload.data += request.body[:kept]
        connection.close()

    registry.moves = False
    registry.script("PUT", broken)
    told = Told()
    async with repository_on(wire_server, hooks=[told.events.append]) as repository:
        await repository.blobs.push(BLOB)
    story = told.only()
    assert resumed(story) == [kept]
    check_end(story, len(BLOB) - kept)
    check_secrets(told)


async def test_n13_a_session_that_is_forgotten(wire_server: WireServer, registry: UploadRegistry) -> None:
    registry.script("PATCH", None, refuse(404))
    told = Told()
    async with repository_on(wire_server, hooks=[told.events.append]) as repository:
        await repository.blobs.push(BLOB, chunk_size=300)
    story = told.only()
    assert resumed(story) == [0]
    check_end(story, len(BLOB))
    check_secrets(told)


async def test_n13_a_blob_that_is_too_large_for_one_request(wire_server: WireServer, registry: UploadRegistry) -> None:
    registry.script("PUT", refuse(413))
    told = Told()
    hosts = {wire_server.host: HostConfig(scheme="http", chunk_size=400)}
    async with repository_on(wire_server, hooks=[told.events.append], hosts=hosts) as repository:
        await repository.blobs.push(BLOB)
    story = told.only()
    assert resumed(story) == [0]
    check_end(story, len(BLOB))


async def test_n13_a_registry_without_chunks(wire_server: WireServer, registry: UploadRegistry) -> None:
    registry.script("PATCH", refuse(405))
    told = Told()
    async with repository_on(wire_server, hooks=[told.events.append]) as repository:
        await repository.blobs.push(lambda: stream(BLOB), chunk_size=300)
    story = told.only()
    assert resumed(story) == [0]
    check_end(story, len(BLOB))
    assert story[-1].reference.endswith(str(DIGEST))


async def test_n13_a_journal_whose_session_is_gone_begins_like_any_other(
    wire_server: WireServer, registry: UploadRegistry, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    registry.moves = False
    registry.script("PATCH", None, *[refuse(403)] * 10)
    told = Told()
    async with client_for(wire_server, hooks=[told.events.append]) as client:
        blobs = client.repository(f"{wire_server.host}/acme/app").blobs
        with pytest.raises(OciError):
            await blobs.push(BLOB, chunk_size=300, journal=journal)
        registry.forgive()
        registry.open.clear()
        await blobs.push(BLOB, chunk_size=300, journal=journal)
    first, second = told.transfers()
    assert isinstance(first[-1], TransferFailed)
    assert first[-1].done == 300
    assert resumed(second) == []
    check_end(second, len(BLOB))
    check_secrets(told)


async def test_n13_a_push_that_fails_in_the_end_says_why(wire_server: WireServer, registry: UploadRegistry) -> None:
    registry.script("PUT", *[refuse(403)] * 10)
    told = Told()
    async with repository_on(wire_server, hooks=[told.events.append]) as repository:
        with pytest.raises(OciError) as caught:
            await repository.blobs.push(BLOB)
    story = told.only()
    assert names(story) == ["TransferStarted", "TransferFailed"]
    assert isinstance(story[-1], TransferFailed)
    assert story[-1].reason == caught.value.message
    check_secrets(told)


async def test_n13_requests_that_are_tried_again_are_told_beside_the_transfer(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("POST", refuse(503), refuse(503))
    told = Told()
    async with repository_on(wire_server, hooks=[told.events.append]) as repository:
        await repository.blobs.push(stream(BLOB), KNOWN)
    retried = [event.operation for event in told.events if isinstance(event, RequestRetried)]
    assert retried == ["start upload"] * 2
    assert "TransferResumed" not in names(told.only())
