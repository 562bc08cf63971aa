"""Pushes with a journal, against real registries."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest

from ocidist import (
    AuthError,
    Basic,
    Descriptor,
    Digest,
    StorageError,
    TransferFinished,
    TransferResumed,
    UploadState,
    UsageError,
)
from tests.peers.images import noise
from tests.peers.peer import Mode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ocidist import Client, Event
    from tests.conftest import StartRegistry
    from tests.peers.peer import Peer

BLOB = noise(100_000)
KNOWN = Descriptor.of(BLOB)
CHUNK = 10_000


def gone(path: Path) -> bool:
    return not path.exists()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def read(path: Path) -> str:
    return path.read_text()


def write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


class EnoughError(Exception):
    """Raised where a test wants a push to stop."""


def stop_at(limit: int) -> object:
    """Return a progress callback that fails once so many bytes were acknowledged."""

    def progress(done: int, size: int | None) -> None:
        assert size == len(BLOB)
        if done >= limit:
            raise EnoughError

    return progress


async def interrupted(client: Client, place: str, file: Path, journal: Path, limit: int = 30_000) -> None:
    """Push the blob until so many bytes are there."""
    with pytest.raises(EnoughError):
        await client.repository(place).blobs.push(
            file,
            chunk_size=CHUNK,
            journal=str(journal),
            progress=stop_at(limit),  # type: ignore[arg-type]  # a callable
        )


@pytest.fixture(params=[Mode.PLAIN, Mode.EMBEDDED], ids=str)
def real_registry(request: pytest.FixtureRequest, shared_registry: StartRegistry) -> Peer:
    """docker-registry, whose sessions are known by their newest Location alone, and the embedded one."""
    return shared_registry(request.param)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "blob"
    made.write_bytes(BLOB)
    return made


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "push.journal"


async def test_a_push_with_a_journal_leaves_none_behind(
    real_registry: Peer, fresh_name: str, file: Path, journal: Path
) -> None:
    async with real_registry.client() as client:
        blobs = client.repository(f"{real_registry.host}/{fresh_name}").blobs
        assert await blobs.push(file, chunk_size=CHUNK, journal=journal) == KNOWN
        assert await blobs.get(KNOWN) == BLOB
        assert gone(journal)
        # It is there: nothing is sent, and nothing kept.
        assert await blobs.push(file, chunk_size=CHUNK, journal=journal) == KNOWN
    assert gone(journal)


async def test_t71_a_second_process_goes_on_where_the_first_one_stopped(
    real_registry: Peer, fresh_name: str, file: Path, journal: Path
) -> None:
    place = f"{real_registry.host}/{fresh_name}"
    async with real_registry.client() as client:
        await interrupted(client, place, file, journal)
    assert mode_of(journal) == 0o600
    events: list[Event] = []
    seen: list[int] = []
    async with real_registry.client(hooks=[events.append]) as client:
        found = await client.repository(place).blobs.push(
            file, chunk_size=CHUNK, journal=journal, progress=lambda done, _: seen.append(done)
        )
        assert found == KNOWN
        assert await client.repository(place).blobs.get(KNOWN) == BLOB
    assert gone(journal)
    assert [event.offset for event in events if isinstance(event, TransferResumed)] == [30_000]
    (finished, *_) = [event for event in events if isinstance(event, TransferFinished)]
    assert (finished.done, finished.size) == (70_000, 100_000)
    assert seen[0] == 30_000
    assert seen[-1] == 100_000


@pytest.mark.parametrize("kind", ["bytes", "callable"])
async def test_t71_every_source_that_can_be_read_again_may_have_a_journal(
    docker_registry: Peer, fresh_name: str, journal: Path, kind: str
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(BLOB), 7000):
            yield BLOB[start : start + 7000]

    source = BLOB if kind == "bytes" else pieces
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        with pytest.raises(EnoughError):
            await blobs.push(source, chunk_size=CHUNK, journal=journal, progress=stop_at(50_000))  # type: ignore[arg-type]  # a callable
        assert await blobs.push(source, chunk_size=CHUNK, journal=journal) == KNOWN
        assert await blobs.get(KNOWN) == BLOB


async def test_a_stream_that_can_be_read_once_has_no_use_for_a_journal(
    docker_registry: Peer, fresh_name: str, journal: Path
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield BLOB

    async with docker_registry.client() as client:
        with pytest.raises(UsageError, match="only once"):
            await client.repository(f"{docker_registry.host}/{fresh_name}").blobs.push(pieces(), journal=journal)
    assert gone(journal)


async def test_f208_a_session_that_the_registry_forgot_begins_again(
    real_registry: Peer, fresh_name: str, file: Path, journal: Path
) -> None:
    place = f"{real_registry.host}/{fresh_name}"
    async with real_registry.client() as client:
        await interrupted(client, place, file, journal)
        kept = UploadState.from_json(json.loads(read(journal))["ocidist-journal"]["state"])
        async with client.repository(place).blobs.resume(kept) as writer:
            await writer.cancel()
        assert await client.repository(place).blobs.push(file, chunk_size=CHUNK, journal=journal) == KNOWN
        assert await client.repository(place).blobs.get(KNOWN) == BLOB
    assert gone(journal)


@pytest.mark.parametrize("which", ["version", "offset", "location", "prefix", "digest", "damaged", "empty"])
async def test_f209_a_journal_that_was_tampered_with_is_ignored(
    real_registry: Peer, fresh_name: str, file: Path, journal: Path, which: str
) -> None:
    place = f"{real_registry.host}/{fresh_name}"
    async with real_registry.client() as client:
        await interrupted(client, place, file, journal)
        said = json.loads(read(journal))
        inner = said["ocidist-journal"]
        state = json.loads(inner["state"])
        match which:
            case "version":
                inner["version"] = 99
            case "offset":
                state["offset"] = 70_000
            case "location":
                state["location"] = "https://evil.example/upload?secret"
            case "prefix":
                state["prefix"] = Digest.of(b"something else")
            case "digest":
                inner["digest"] = Digest.of(b"something else")
            case _:
                pass
        inner["state"] = json.dumps(state)
        text = {"damaged": json.dumps(said)[:-20], "empty": ""}.get(which, json.dumps(said))
        write(journal, text.replace('{"ocidist-journal": ', '{"ocidist-journal":', 1))
        assert await client.repository(place).blobs.push(file, chunk_size=CHUNK, journal=journal) == KNOWN
        assert await client.repository(place).blobs.get(KNOWN) == BLOB
    assert gone(journal)


async def test_f209_a_journal_of_another_blob_or_repository_is_ignored(
    real_registry: Peer, fresh_name: str, file: Path, journal: Path, tmp_path: Path
) -> None:
    async with real_registry.client() as client:
        await interrupted(client, f"{real_registry.host}/{fresh_name}", file, journal)
        elsewhere = client.repository(f"{real_registry.host}/{fresh_name}/other").blobs
        assert await elsewhere.push(file, chunk_size=CHUNK, journal=journal) == KNOWN
        await interrupted(client, f"{real_registry.host}/{fresh_name}", file, journal)
        other = tmp_path / "other"
        other.write_bytes(BLOB[::-1])
        blobs = client.repository(f"{real_registry.host}/{fresh_name}").blobs
        assert await blobs.push(other, chunk_size=CHUNK, journal=journal) == Descriptor.of(BLOB[::-1])
        assert await elsewhere.get(KNOWN) == BLOB


async def test_f209_a_session_of_another_account_is_not_gone_on_with(
    token_registry: Peer, fresh_name: str, file: Path, journal: Path
) -> None:
    """docker-registry does not bind a session to an account; what counts is that whoever goes on has the right to."""
    place = f"{token_registry.host}/{fresh_name}"
    async with token_registry.client() as client:
        await interrupted(client, place, file, journal)
    async with token_registry.client(credentials={token_registry.host: Basic("nobody", "wr0ng")}) as client:
        with pytest.raises(AuthError):
            await client.repository(place).blobs.push(file, chunk_size=CHUNK, journal=journal, check_exists=False)
    # Nothing is lost for whoever may.
    async with token_registry.client() as client:
        assert await client.repository(place).blobs.push(file, chunk_size=CHUNK, journal=journal) == KNOWN


async def test_t71_a_source_that_changed_since_begins_again(
    real_registry: Peer, fresh_name: str, file: Path, journal: Path
) -> None:
    place = f"{real_registry.host}/{fresh_name}"
    async with real_registry.client() as client:
        await interrupted(client, place, file, journal)
        changed = b"x" + BLOB[1:]
        write(file, changed)
        found = await client.repository(place).blobs.push(file, chunk_size=CHUNK, journal=journal)
        assert found == Descriptor.of(changed)
        assert await client.repository(place).blobs.get(found) == changed


async def test_a_file_that_is_no_journal_is_not_overwritten(
    docker_registry: Peer, fresh_name: str, file: Path, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        with pytest.raises(UsageError, match="not one"):
            await blobs.push(file, chunk_size=CHUNK, journal=precious)
        with pytest.raises(StorageError):
            await blobs.push(file, chunk_size=CHUNK, journal=tmp_path / "missing" / "journal")
        assert not await blobs.exists(KNOWN)
        # Nor is it removed where the blob is there already.
        await blobs.push(BLOB)
        with pytest.raises(UsageError, match="not one"):
            await blobs.push(file, chunk_size=CHUNK, journal=precious)
    assert precious.read_text() == "precious"


async def test_an_empty_blob_may_have_a_journal(docker_registry: Peer, fresh_name: str, journal: Path) -> None:
    async with docker_registry.client() as client:
        blobs = client.repository(f"{docker_registry.host}/{fresh_name}").blobs
        assert await blobs.push(b"", journal=journal) == Descriptor.of(b"")
    assert gone(journal)


async def test_a_journal_holds_no_credential(token_registry: Peer, fresh_name: str, file: Path, journal: Path) -> None:
    async with token_registry.client() as client:
        await interrupted(client, f"{token_registry.host}/{fresh_name}", file, journal)
    text = read(journal)
    assert "Bearer" not in text
    assert "eyJ" not in text.replace(json.loads(json.loads(text)["ocidist-journal"]["state"])["location"], "")
