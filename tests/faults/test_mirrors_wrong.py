"""Mirrors that send something wrong, or something old: the registry decides, and the mirror is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import attrs
import pytest

from ocidist import (
    DigestMismatchError,
    TagUnknownError,
)
from ocidist.hosts.host import MirrorTags
from tests.faults.mirroring import BLOB, DIGEST, IMAGE, OLDER, Group, failing
from tests.peers.answers import chain, close, respond
from tests.remote.support import NAME

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartWireServer


@pytest.fixture
def group(start_wire_server: StartWireServer) -> Group:
    return Group(start_wire_server)


@pytest.fixture
def pair(start_wire_server: StartWireServer) -> Group:
    """A registry with two mirrors."""
    return Group(start_wire_server, 2)


# --- mirrors that are wrong ------------------------------------------------------------------------------------------


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


async def test_f161_a_corrupt_blob_comes_from_the_registry_in_the_end(pair: Group, tmp_path: Path) -> None:
    for mirror in pair.mirrors:
        mirror.held[NAME].blobs[DIGEST] = flipped(BLOB)
    async with pair.client() as client:
        blobs = pair.repository(client).blobs
        assert await blobs.get(DIGEST) == BLOB
        assert [(event.mirror, event.wrong) for event in pair.events] == [(host.origin, True) for host in pair.hosts]
        await blobs.download(DIGEST, tmp_path / "blob")
        assert (tmp_path / "blob").read_bytes() == BLOB
        # Who sent it wrong once is not asked for it again, and still asked for everything else.
        assert [len(mirror.asked()) for mirror in pair.mirrors] == [1, 1]
        await pair.repository(client).manifests.get(IMAGE.digest)
        assert len(pair.mirror.asked()) == 2


async def test_f161_a_download_switches_by_itself(pair: Group, tmp_path: Path) -> None:
    pair.mirror.held[NAME].blobs[DIGEST] = flipped(BLOB)
    async with pair.client() as client:
        await pair.repository(client).blobs.download(DIGEST, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert [event.mirror for event in pair.events] == [pair.hosts[0].origin]
    assert names_in(tmp_path) == ["blob"]


async def test_f161_a_stream_names_the_mirror_and_the_next_one_avoids_it(group: Group) -> None:
    group.mirror.held[NAME].blobs[DIGEST] = flipped(BLOB)
    async with group.client() as client:
        blobs = group.repository(client).blobs
        async with blobs.open(DIGEST) as reader:
            with pytest.raises(DigestMismatchError, match=group.hosts[0].origin):
                _ = [piece async for piece in reader]
            assert reader.excused
        async with blobs.open(DIGEST) as reader:
            assert b"".join([piece async for piece in reader]) == BLOB
            assert not reader.excused
    assert len(group.mirror.asked()) == 1


async def test_f161_wrong_bytes_before_a_break_are_the_mirrors_fault(group: Group) -> None:
    wrong = b"x" + BLOB[1:70_000]
    group.mirror.instead = chain(respond(200, {"Content-Length": str(len(BLOB))}, wrong), close)
    async with group.client() as client:
        assert await group.repository(client).blobs.get(DIGEST) == BLOB
    assert [event.wrong for event in group.events] == [False, True]


@pytest.mark.parametrize("start", [0, 10])
async def test_f161_a_mirror_that_sends_a_part_of_what_was_asked_for(group: Group, start: int) -> None:
    piece = BLOB[start : start + 10]
    group.mirror.instead = respond(206, {"Content-Range": f"bytes {start}-{start + 9}/{len(BLOB)}"}, piece)
    config = group.config(tags=MirrorTags.TRUSTED)
    async with group.client(config) as client:
        with anyio.fail_after(20):
            assert await group.repository(client).blobs.get(DIGEST) == BLOB
    assert [event.wrong for event in group.events] == [True]


async def test_f161_wrong_bytes_from_the_registry_are_its_own_fault(group: Group) -> None:
    group.mirror.instead = failing(404)
    group.upstream.held[NAME].blobs[DIGEST] = flipped(BLOB)
    async with group.client() as client:
        with pytest.raises(DigestMismatchError) as caught:
            await group.repository(client).blobs.get(DIGEST)
    assert not caught.value.mirrors
    assert not group.events


@pytest.mark.parametrize("size", [-1, 1])
async def test_f161_a_blob_of_another_size_is_left_to_the_registry(group: Group, size: int) -> None:
    group.mirror.held[NAME].blobs[DIGEST] = BLOB[:size] if size < 0 else BLOB + b"x"
    async with group.client() as client:
        repository = group.repository(client)
        known = attrs.evolve(await repository.blobs.stat(DIGEST), size=len(BLOB))
        async with repository.blobs.open(known) as reader:
            assert b"".join([piece async for piece in reader]) == BLOB
    assert any(event.wrong for event in group.events)


@pytest.mark.parametrize("wrong", [OLDER.data, b"{}", b"<html>login</html>", b""])
async def test_f161_a_wrong_manifest_comes_from_the_registry(pair: Group, wrong: bytes) -> None:
    for mirror in pair.mirrors:
        mirror.held[NAME].manifests[IMAGE.digest] = (IMAGE.media_type, wrong)
    async with pair.client() as client:
        assert (await pair.repository(client).manifests.get(IMAGE.digest)).data == IMAGE.data
    assert [(event.mirror, event.wrong) for event in pair.events] == [(host.origin, True) for host in pair.hosts]


async def test_f161_an_answer_about_something_else_is_not_even_read(group: Group) -> None:
    other = respond(200, {"Docker-Content-Digest": "sha256:" + "1" * 64, "Content-Type": IMAGE.media_type}, b"{}")
    group.mirror.instead = other
    async with group.client(group.config(tags=MirrorTags.TRUSTED)) as client:
        repository = group.repository(client)
        assert (await repository.manifests.stat(IMAGE.digest)).digest == IMAGE.digest
        assert (await repository.blobs.stat(DIGEST)).size == len(BLOB)
    assert [event.wrong for event in group.events] == [True, True]


async def test_f161_a_stale_tag_is_noticed_and_the_registry_believed(pair: Group) -> None:
    pair.mirrors[0].held[NAME].tags["v1"] = OLDER.digest
    async with pair.client() as client:
        assert (await pair.repository(client).manifests.get("v1")).data == IMAGE.data
    # The second mirror is up to date, and what it sends is used.
    assert [(event.mirror, event.wrong) for event in pair.events] == [(pair.hosts[0].origin, True)]
    assert OLDER.digest in pair.events[0].reason
    assert pair.upstream.asked("GET") == []
    assert len(pair.upstream.asked("HEAD")) == 1


async def test_f161_a_tag_that_is_gone_is_gone_whatever_mirrors_say(group: Group) -> None:
    del group.upstream.held[NAME].tags["v1"]
    async with group.client() as client:
        with pytest.raises(TagUnknownError):
            await group.repository(client).manifests.get("v1")
        with pytest.raises(TagUnknownError):
            await group.repository(client).manifests.stat("v1")


async def test_f161_a_tag_that_the_mirror_says_is_unchanged_is_compared_too(group: Group) -> None:
    group.upstream.held[NAME].tags["v1"] = OLDER.digest
    group.mirror.instead = failing(304)
    async with group.client() as client:
        found = await group.repository(client).manifests.get("v1", if_none_match=IMAGE.digest)
    assert found.data == OLDER.data


async def test_t74_a_mirrors_word_counts_while_the_registry_is_out_of_reach(group: Group) -> None:
    group.upstream.instead = failing(503)
    async with group.client(group.config(patience=0.5)) as client:
        repository = group.repository(client)
        assert (await repository.manifests.get("v1")).data == IMAGE.data
        assert (await repository.manifests.stat("v1")).digest == IMAGE.digest
        # It is asked once, and not each time.
        assert len(group.upstream.asked()) == 1


async def test_t74_a_trusted_mirror_answers_for_tags_alone_and_a_distrusted_one_never(group: Group) -> None:
    group.mirror.held[NAME].tags["v1"] = OLDER.digest
    async with group.client(group.config(tags=MirrorTags.TRUSTED)) as client:
        assert (await group.repository(client).manifests.get("v1")).data == OLDER.data
    assert not group.upstream.asked()
    before = len(group.mirror.asked())
    async with group.client(group.config(tags=MirrorTags.NEVER)) as client:
        assert (await group.repository(client).manifests.get("v1")).data == IMAGE.data
    assert len(group.mirror.asked()) == before
