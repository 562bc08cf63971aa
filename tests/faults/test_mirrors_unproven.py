"""What nothing proves, though it is asked for by digest: sizes, existence, and parts of a blob."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import BlobUnknownError, OciError
from ocidist.hosts.host import MirrorTags
from tests.faults.mirroring import BLOB, DIGEST, IMAGE, Group, failing
from tests.peers.answers import respond

if TYPE_CHECKING:
    from ocidist import Repository
    from tests.conftest import StartWireServer

LOGIN = respond(200, {"Content-Type": "text/html"}, b"<html>Please log in.</html>")


@pytest.fixture
def group(start_wire_server: StartWireServer) -> Group:
    return Group(start_wire_server)


async def part(repository: Repository) -> bytes:
    async with repository.blobs.open(DIGEST, offset=5, length=7) as reader:
        return await reader.read()


@pytest.mark.parametrize("tags", [MirrorTags.CHECKED, MirrorTags.NEVER])
async def test_f161_what_nothing_proves_is_not_taken_from_a_mirror(group: Group, tags: MirrorTags) -> None:
    group.mirror.instead = LOGIN
    async with group.client(group.config(tags=tags)) as client:
        repository = group.repository(client)
        assert await part(repository) == BLOB[5:12]
        assert (await repository.blobs.stat(DIGEST)).size == len(BLOB)
        stated = await repository.manifests.stat(IMAGE.digest)
        assert (stated.size, stated.media_type) == (len(IMAGE.data), IMAGE.media_type)
    assert not group.mirror.asked("HEAD")


async def test_f161_what_nothing_proves_is_taken_from_a_trusted_mirror(group: Group) -> None:
    async with group.client(group.config(tags=MirrorTags.TRUSTED)) as client:
        repository = group.repository(client)
        assert await part(repository) == BLOB[5:12]
        assert (await repository.blobs.stat(DIGEST)).size == len(BLOB)
    assert not group.upstream.asked()


async def test_f161_what_the_registry_does_not_have_is_not_there(group: Group) -> None:
    group.upstream.held.clear()
    async with group.client() as client:
        with pytest.raises(BlobUnknownError):
            await group.repository(client).blobs.stat(DIGEST)


async def test_f160_a_mirrors_word_counts_while_the_registry_is_out_of_reach(group: Group) -> None:
    group.upstream.instead = failing(503)
    async with group.client() as client:
        repository = group.repository(client)
        assert (await repository.blobs.stat(DIGEST)).size == len(BLOB)
        assert await part(repository) == BLOB[5:12]
        assert (await repository.manifests.stat(IMAGE.digest)).size == len(IMAGE.data)
    # It was asked once, and then left alone.
    assert len(group.upstream.asked()) == 1


async def test_f164_a_mirror_without_a_say_has_none_then_either(group: Group) -> None:
    group.upstream.instead = failing(503)
    async with group.client(group.config(tags=MirrorTags.NEVER)) as client:
        with pytest.raises(OciError):
            await group.repository(client).blobs.stat(DIGEST)
    assert not group.mirror.asked()
