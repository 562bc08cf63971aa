"""What the configuration forbids: registries that are blocked, and hosts that may not say what a tag names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from ocidist import HostConfig, HostsConfig, RegistryBlockedError
from ocidist.hosts.host import Mirror, MirrorTags
from tests.faults.mirroring import BLOB, DIGEST, IMAGE, Group, read_all

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartWireServer


@pytest.fixture
def group(start_wire_server: StartWireServer) -> Group:
    return Group(start_wire_server)


async def test_n7_a_location_is_not_asked_for_what_it_may_not_say(group: Group) -> None:
    moved = Mirror(group.hosts[0].origin, tags=MirrorTags.NEVER)
    async with group.client(HostConfig(scheme="http", location=moved)) as client:
        repository = group.repository(client)
        for ask in (repository.manifests.get, repository.manifests.stat):
            with pytest.raises(RegistryBlockedError, match="does not let"):
                await ask("v1")
        assert not group.mirror.asked()
        assert (await repository.manifests.get(IMAGE.digest)).data == IMAGE.data
        assert await repository.blobs.get(DIGEST) == BLOB
    assert not group.upstream.asked()


async def test_n7_a_mirror_that_may_speaks_for_a_location_that_may_not(group: Group) -> None:
    moved = Mirror(group.hosts[0].origin, tags=MirrorTags.NEVER)
    config = HostConfig(scheme="http", mirrors=[Mirror(group.hosts[0].origin, tags=MirrorTags.TRUSTED)], location=moved)
    async with group.client(config) as client:
        assert (await group.repository(client).manifests.get("v1")).data == IMAGE.data
        with pytest.raises(RegistryBlockedError) as caught:
            await group.repository(client).manifests.get("v2")
    assert len(caught.value.mirrors) == 1
    assert not group.upstream.asked()


async def test_n7_a_host_that_is_blocked_is_blocked_at_every_port(group: Group, tmp_path: Path) -> None:
    path = tmp_path / "registries.conf"
    path.write_text('[[registry]]\nlocation = "127.0.0.1"\nblocked = true\n')
    hosts = await HostsConfig.from_registries_conf(path) | {group.home.host: HostConfig(scheme="http")}
    async with group.client(hosts=hosts) as client:
        repository = group.repository(client)
        with pytest.raises(RegistryBlockedError):
            await repository.manifests.get("v1")
        with pytest.raises(RegistryBlockedError):
            await repository.blobs.push(b"x")
        with pytest.raises(RegistryBlockedError):
            await client.registry(group.home.host).ping()
        with pytest.raises(RegistryBlockedError):
            await client.get(f"{group.home.origin}/v2/")
    assert not group.upstream.requests


async def test_n7_nothing_is_mounted_from_what_is_blocked(group: Group) -> None:
    hosts = {group.home.host: HostConfig(scheme="http"), f"{group.home.host}/evil": HostConfig(blocked=True)}
    async with group.client(hosts=hosts) as client:
        blobs = group.repository(client).blobs
        with pytest.raises(RegistryBlockedError):
            await blobs.mount(DIGEST, source="evil/base")
        await blobs.mount(DIGEST, source="acme/base")
    assert [target for target in group.upstream.asked() if "evil" in target] == []


async def test_n7_a_blocked_registry_is_read_from_its_mirrors_alone(group: Group, tmp_path: Path) -> None:
    path = tmp_path / "registries.conf"
    path.write_text(
        f"""
        [[registry]]
        location = "{group.home.host}"
        blocked = true
        [[registry.mirror]]
        location = "{group.hosts[0].host}"
        """
    )
    async with group.client(hosts=await HostsConfig.from_registries_conf(path)) as client:
        repository = group.repository(client)
        await read_all(repository)
        for attempt in (
            repository.blobs.push(b"x"),
            repository.tags.list().collect(limit=9),
            client.registry(group.home.host).ping(),
        ):
            with pytest.raises(RegistryBlockedError):
                await attempt
        group.mirror.held.clear()
        with pytest.raises(RegistryBlockedError) as caught:
            await repository.manifests.get("v1")
    assert len(caught.value.mirrors) == 1
    assert not group.home.connections


@pytest.mark.parametrize("tags", [MirrorTags.CHECKED, MirrorTags.NEVER])
async def test_n7_a_mirrors_word_counts_where_the_registry_is_blocked(group: Group, tags: MirrorTags) -> None:
    config = attrs.evolve(group.config(tags=tags), blocked=True)
    async with group.client(config) as client:
        repository = group.repository(client)
        if tags is MirrorTags.CHECKED:
            await read_all(repository)
        else:
            assert await repository.blobs.get(DIGEST) == BLOB
            with pytest.raises(RegistryBlockedError):
                await repository.manifests.get("v1")
    assert not group.home.connections


async def test_n7_what_is_blocked_is_not_read_as_a_mirror_either(group: Group) -> None:
    there = Mirror(group.hosts[0].origin, namespace="evil", tags=MirrorTags.TRUSTED)
    group.mirror.held["evil/acme/app"] = group.mirror.held["acme/app"]
    evil = {f"{group.hosts[0].host}/evil": HostConfig(blocked=True)}
    async with group.client(hosts={**evil, group.home.host: HostConfig(mirrors=[there])}) as client:
        await read_all(group.repository(client))
    async with group.client(hosts={**evil, group.home.host: HostConfig(location=there)}) as client:
        with pytest.raises(RegistryBlockedError):
            await group.repository(client).manifests.get("v1")
    assert not group.mirror.asked()
