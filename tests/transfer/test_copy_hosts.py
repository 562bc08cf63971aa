"""Copies to registries that have mirrors, or ask for tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import Client, HostConfig, MemoryRegistry, Mirror, MirrorTags, copy, mirror
from tests.peers.images import index
from tests.remote.support import push_image
from tests.transfer.mirrors import config, contents, fill, images

if TYPE_CHECKING:
    from tests.peers.peer import Peer
    from tests.transfer.conftest import Pair

pytestmark = pytest.mark.anyio


async def test_what_a_mirror_of_the_destination_has_is_sent_all_the_same(
    docker_registry: Peer, embedded_registry: Peer, fresh_name: str
) -> None:
    top = index()
    source = MemoryRegistry().repository("a")
    await push_image(source, top, "v1")  # type: ignore[arg-type]  # another store does as well
    mirror = Mirror(f"http://{docker_registry.host}", tags=MirrorTags.TRUSTED)
    hosts = {embedded_registry.host: HostConfig(scheme="http", mirrors=[mirror])}
    async with Client(hosts=hosts, trust_env=False) as client, docker_registry.client() as there:
        await push_image(there.repository(f"{docker_registry.host}/{fresh_name}"), top, "v1")
        destination = client.repository(f"{embedded_registry.host}/{fresh_name}")
        assert await destination.manifests.exists("v1")
        report = await copy((source, "v1"), destination)
        assert (report.manifests_copied, report.blobs_copied) == (3, len(top.all_blobs))
    async with embedded_registry.client() as client:
        destination = client.repository(f"{embedded_registry.host}/{fresh_name}")
        assert (await destination.manifests.stat("v1")).digest == top.digest


async def test_a_mirror_job_asks_the_destination_itself(registries: Pair) -> None:
    source, destination = registries
    fill(source, 1)
    destination.add("acme/app0", images("another", ["v1", "v2"]))
    hosts = {
        source.host: HostConfig(scheme="http"),
        destination.host: HostConfig(scheme="http", mirrors=[Mirror(f"http://{source.host}", tags=MirrorTags.TRUSTED)]),
    }
    async with Client(hosts=hosts, trust_env=False) as client:
        report = await mirror(config(*registries), client=client)
    assert report.copied == 2
    assert contents(destination) == contents(source)


async def test_one_token_is_enough_for_a_destination(token_registry: Peer, fresh_name: str) -> None:
    top = index()
    source = MemoryRegistry().repository("a")
    await push_image(source, top, "v1")  # type: ignore[arg-type]  # another store does as well
    server = token_registry.token_server
    assert server is not None
    async with token_registry.client() as client:
        before = len(server.calls)
        report = await copy((source, "v1"), f"{token_registry.host}/{fresh_name}:v1", client=client)
        assert report.blobs_copied == len(top.all_blobs)
        assert len(server.calls) - before == 1
