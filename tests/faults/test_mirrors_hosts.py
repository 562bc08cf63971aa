"""Which host is asked for what, under which name, and with whose credentials and certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from ocidist import (
    Basic,
    Client,
    EgressPolicy,
    HostConfig,
    Manifest,
    OciError,
    RegistryBlockedError,
    TlsError,
)
from ocidist.hosts.config import HostsConfig
from ocidist.hosts.host import Mirror, MirrorTags
from tests.faults.mirroring import BLOB, DIGEST, EMPTY, IMAGE, OLDER, Copy, Group, failing, read_all
from tests.peers.answers import respond
from tests.peers.images import noise
from tests.peers.peer import Mode
from tests.peers.tls import Authority
from tests.remote.support import NAME, QUICK

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartRegistry, StartWireServer


@pytest.fixture
def group(start_wire_server: StartWireServer) -> Group:
    return Group(start_wire_server)


@pytest.fixture
def pair(start_wire_server: StartWireServer) -> Group:
    """A registry with two mirrors."""
    return Group(start_wire_server, 2)


# --- what goes to mirrors, and what does not -------------------------------------------------------------------------


async def test_n7_reads_go_to_the_mirror_and_say_for_whom(group: Group) -> None:
    async with group.client(group.config(tags=MirrorTags.TRUSTED)) as client:
        await read_all(group.repository(client))
    assert not group.upstream.asked()
    ns = f"ns={group.home.host}"
    assert len(group.mirror.asked()) == 6
    assert {target.rpartition("?")[2] for target in group.mirror.asked()} == {ns}


async def test_t74_writes_and_lists_go_to_the_registry_alone(group: Group) -> None:
    async with group.client() as client:
        repository = group.repository(client)
        assert [tag async for tag in repository.tags.list()] == ["v1"]
        data = noise(1000, "pushed")
        await repository.blobs.push(data)
        await repository.blobs.mount(DIGEST, source="acme/base")
        await repository.manifests.push(Manifest.of(OLDER.data, OLDER.media_type), tags=["v2"])
        # What was written is read back where it was written.
        assert await repository.blobs.get(DIGEST) == BLOB
        assert (await repository.manifests.get("v2")).data == OLDER.data
        await repository.blobs.delete(DIGEST)
    assert not group.mirror.asked()
    assert not group.hosts[0].requests


async def test_t74_whether_a_blob_is_there_before_it_is_pushed_is_asked_of_the_registry(group: Group) -> None:
    del group.upstream.held[NAME].blobs[DIGEST]
    async with group.client() as client:
        await group.repository(client).blobs.push(BLOB)
    assert group.upstream.held[NAME].blobs[DIGEST] == BLOB
    assert not group.mirror.asked()


async def test_n7_a_client_without_mirrors_asks_nobody_else(group: Group) -> None:
    async with group.client(HostConfig(scheme="http")) as client:
        await read_all(group.repository(client))
    assert not group.hosts[0].connections
    assert not any("ns=" in target for target in group.upstream.asked())


async def test_n7_paths_and_names_are_those_of_the_mirror(group: Group) -> None:
    seen = group.hosts[0].origin
    expected = {
        Mirror(f"{seen}/cache", ns=False): f"/cache/v2/{NAME}/blobs/{DIGEST}",
        Mirror(f"{seen}/cache", override_path=True, ns=False): f"/cache/{NAME}/blobs/{DIGEST}",
        Mirror(f"{seen}/v2/hub", override_path=True, ns=False): f"/v2/hub/{NAME}/blobs/{DIGEST}",
        Mirror(seen, namespace="hub", ns=False): f"/v2/hub/{NAME}/blobs/{DIGEST}",
    }
    for mirror in expected:
        async with group.client(HostConfig(scheme="http", mirrors=[mirror])) as client:
            assert await group.repository(client).blobs.get(DIGEST) == BLOB
    assert group.mirror.asked() == list(expected.values())


async def test_n7_the_part_of_the_name_that_is_configured_is_what_is_replaced(group: Group) -> None:
    mirror = Mirror(group.hosts[0].origin, namespace="mirrored/acme")
    hosts = {group.home.host: HostConfig(scheme="http"), f"{group.home.host}/acme": HostConfig(mirrors=[mirror])}
    async with group.client(hosts=hosts) as client:
        assert await group.repository(client).blobs.get(DIGEST) == BLOB
    assert group.mirror.asked("GET") == [f"/v2/mirrored/acme/app/blobs/{DIGEST}?ns={group.home.host}"]
    async with group.client(hosts=hosts) as client:
        with pytest.raises(OciError):
            await group.repository(client, "acmes/app").blobs.get(DIGEST)
    assert len(group.mirror.asked()) == 1


async def test_n7_a_location_is_read_from_and_never_written_to(group: Group) -> None:
    group.mirror.held["moved/app"] = group.mirror.held[NAME]
    moved = Mirror(group.hosts[0].origin, namespace="moved", ns=False, tags=MirrorTags.TRUSTED)
    hosts = {group.home.host: HostConfig(scheme="http"), f"{group.home.host}/acme": HostConfig(location=moved)}
    async with group.client(hosts=hosts) as client:
        repository = group.repository(client)
        await read_all(repository)
        assert not group.upstream.asked()
        await repository.blobs.push(noise(10, "pushed"))
    assert group.mirror.asked("POST") == []
    assert len(group.upstream.asked("POST")) == 1


async def test_n7_header_fields_go_to_their_host_only(group: Group) -> None:
    mirror = Mirror(group.hosts[0].origin, host=HostConfig(headers={"X-Key": "for-the-mirror"}), blobs=False)
    config = HostConfig(scheme="http", mirrors=[mirror], headers={"X-Key": "for-the-registry"})
    async with group.client(config) as client:
        await read_all(group.repository(client))
    assert b"for-the-mirror" in group.hosts[0].received
    assert b"for-the-registry" not in group.hosts[0].received
    assert b"for-the-registry" in group.home.received
    assert b"for-the-mirror" not in group.home.received
    assert "for-the" not in repr(config)


async def test_n7_a_blocked_registry_is_refused_before_any_request(group: Group) -> None:
    async with group.client(HostConfig(scheme="http", blocked=True)) as client:
        repository = group.repository(client)
        for attempt in (
            repository.blobs.get(DIGEST),
            repository.blobs.push(b"x"),
            repository.manifests.get("v1"),
            client.registry(group.home.host).ping(),
            client.detect_scheme(group.home.host),
            client.get(f"{group.home.origin}/v2/"),
        ):
            with pytest.raises(RegistryBlockedError, match="blocked"):
                await attempt
    assert not group.home.connections


async def test_n7_a_blocked_namespace_is_refused_and_its_neighbours_are_not(group: Group) -> None:
    hosts = {group.home.host: HostConfig(scheme="http"), f"{group.home.host}/evil": HostConfig(blocked=True)}
    async with group.client(hosts=hosts) as client:
        for attempt in (
            group.repository(client, "evil/app").blobs.get(DIGEST),
            group.repository(client, "evil/app").blobs.push(b"x"),
            group.repository(client, "evil/app").tags.list().collect(limit=9),
        ):
            with pytest.raises(RegistryBlockedError):
                await attempt
        assert not group.home.connections
        assert await group.repository(client).blobs.get(DIGEST) == BLOB


async def test_n7_a_registries_conf_leads_to_the_mirror_under_its_name_there(group: Group, tmp_path: Path) -> None:
    group.mirror.held["hub/app"] = group.mirror.held[NAME]
    path = tmp_path / "registries.conf"
    write(
        path,
        f"""
        [[registry]]
        prefix = "registry.example/acme"
        location = "registry.example/acme"
        [[registry.mirror]]
        location = "{group.hosts[0].host}/hub"
        insecure = true
        """,
    )
    hosts = await HostsConfig.from_registries_conf(path)
    async with Client(hosts=hosts, retry=QUICK) as client:
        repository = client.repository("registry.example/acme/app")
        assert await repository.blobs.get(DIGEST) == BLOB
        assert (await repository.manifests.get("v1")).data == IMAGE.data
    assert group.mirror.asked() == [f"/v2/hub/app/blobs/{DIGEST}", "/v2/hub/app/manifests/v1"]


def write(path: Path, text: str) -> None:
    path.write_text(text)


# --- TLS -------------------------------------------------------------------------------------------------------------


async def test_n7_a_mirror_has_certificates_of_its_own(
    group: Group, start_wire_server: StartWireServer, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    server = start_wire_server(group.mirror, address="127.0.0.3", tls=authority)
    for authorities in (authority.ca_path, (other.ca_path, authority.ca_path)):
        mirror = Mirror(server.origin, host=HostConfig(ca=authorities))
        async with group.client(HostConfig(scheme="http", mirrors=[mirror])) as client:
            assert await group.repository(client).blobs.get(DIGEST) == BLOB
    assert not group.upstream.asked()
    assert not group.events


@pytest.mark.parametrize("named", ["origin", "host"])
async def test_t10_a_mirror_whose_certificate_is_refused_is_not_asked_in_plain_text(
    group: Group, start_wire_server: StartWireServer, authority: Authority, named: str
) -> None:
    server = start_wire_server(group.mirror, address="127.0.0.3", tls=authority)
    mirror = Mirror(getattr(server, named))
    async with group.client(HostConfig(scheme="http", mirrors=[mirror])) as client:
        assert await group.repository(client).blobs.get(DIGEST) == BLOB
    assert not server.requests
    (event,) = group.events
    assert "CERTIFICATE_VERIFY_FAILED" in event.reason


async def test_n7_certificates_of_a_certs_d_directory_are_used(
    start_wire_server: StartWireServer, authority: Authority, tmp_path: Path
) -> None:
    server = start_wire_server(Copy(), tls=authority)
    install(authority, tmp_path / server.host)
    hosts = await HostsConfig.from_certs_d(tmp_path)
    async with Client(hosts=hosts, retry=QUICK) as client:
        assert await client.repository(f"{server.host}/{NAME}").blobs.get(DIGEST) == BLOB


def install(authority: Authority, directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "ca.crt").write_bytes(authority.ca_path.read_bytes())


async def test_n7_a_key_with_a_password_is_an_error_and_asks_nobody(tmp_path: Path) -> None:
    certificate = encrypted(tmp_path)
    config = HostConfig(scheme="https", client_cert=certificate)
    async with Client(hosts={"127.0.0.1:9": config}, retry=QUICK) as client:
        with pytest.raises(TlsError, match=r"client\.pem"):
            await client.registry("127.0.0.1:9").ping()


def encrypted(directory: Path) -> Path:
    issued = trustme.CA().issue_cert("client.example")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"a password"),
    )
    path = directory / "client.pem"
    path.write_bytes(issued.cert_chain_pems[0].bytes() + locked)
    return path


# --- credentials -----------------------------------------------------------------------------------------------------


class Asking(Copy):
    """Wants a name and a password."""

    def _admitted(self, request: Any, /) -> Any:  # noqa: ANN401 -- as the class above
        if request.header("Authorization") is None:
            return 401, {"WWW-Authenticate": 'Basic realm="here"'}, b""
        return super()._admitted(request)


async def test_f163_each_host_gets_its_own_credentials_and_no_others(start_wire_server: StartWireServer) -> None:
    group = Group(start_wire_server, kind=Asking)
    del group.mirror.held[NAME].manifests[IMAGE.digest]
    identities = {
        group.home.host: Basic("homeuser", "homesecret"),
        group.hosts[0].host: Basic("mirroruser", "mirrorsecret"),
    }
    async with group.client(credentials=identities) as client:
        repository = group.repository(client)
        assert await repository.blobs.get(DIGEST) == BLOB
        assert (await repository.manifests.get(IMAGE.digest)).data == IMAGE.data
    servers = (group.upstream, group.mirror)
    sent = [{request.header("Authorization") for request in each.requests} - {None} for each in servers]
    assert len(sent[0]) == len(sent[1]) == 1
    assert not sent[0] & sent[1]


async def test_f163_an_identity_given_for_the_registry_is_not_shown_to_a_mirror(
    start_wire_server: StartWireServer,
) -> None:
    group = Group(start_wire_server, kind=Asking)
    own = Basic("homeuser", "homesecret")
    async with group.client(credentials={group.home.host: own}) as client:
        named = f"{group.home.host}/{NAME}"
        for repository in (client.repository(named), client.repository(named, credential=own)):
            assert await repository.blobs.get(DIGEST) == BLOB
            assert (await repository.manifests.get("v1")).data == IMAGE.data
    assert group.mirror.asked()
    assert b"uthorization" not in group.hosts[0].received


async def test_f163_an_identity_given_for_the_registry_is_good_at_another_part_of_its_host(
    start_wire_server: StartWireServer,
) -> None:
    group = Group(start_wire_server, kind=Asking)
    group.upstream.held["moved/app"] = group.upstream.held.pop(NAME)
    own = Basic("homeuser", "homesecret")
    moved = Mirror(group.home.host, namespace="moved", ns=False, tags=MirrorTags.TRUSTED)
    for config in (HostConfig(location=moved), HostConfig(mirrors=[moved])):
        hosts = {f"{group.home.host}/acme": config}
        async with group.client(hosts=hosts) as client:
            await read_all(client.repository(f"{group.home.host}/{NAME}", credential=own))


async def test_f163_a_mirrors_token_server_gets_the_mirrors_credentials(
    group: Group, start_wire_server: StartWireServer
) -> None:
    realm = start_wire_server(address="127.0.0.5")
    realm.on("GET", "/token*", respond(200, {"Content-Type": "application/json"}, b'{"token":"t0k3n"}'))
    answer = {"WWW-Authenticate": f'Bearer realm="{realm.origin}/token",service="mirror"'}

    def guarded(request: Any, connection: Any) -> None:  # noqa: ANN401 -- a handler's arguments
        if request.header("Authorization") is None:
            respond(401, answer)(request, connection)
        else:
            Copy.__call__(plain, request, connection)

    plain = Copy()
    group.mirror.instead = guarded
    identities = {group.home.host: Basic("homeuser", "homesecret"), group.hosts[0].host: Basic("mirroruser", "x")}
    mirror = Mirror(group.hosts[0].origin, namespace="hub")
    config = HostConfig(scheme="http", mirrors=[mirror])
    plain.held[f"hub/{NAME}"] = plain.held[NAME]
    egress = EgressPolicy(trusted_realms=(realm.origin,))
    async with group.client(config, credentials=identities, egress=egress) as client:
        assert await group.repository(client).blobs.get(DIGEST) == BLOB
    (asked,) = realm.requests
    # The scope is the name that the mirror knows.
    assert ("scope", f"repository:hub/{NAME}:pull") in asked.query
    assert (asked.header("Authorization") or "").startswith("Basic bWlycm9y")
    assert not group.upstream.asked()


async def test_f163_a_mirror_that_lets_nobody_in_is_passed_over(group: Group) -> None:
    group.mirror.instead = failing(401, WWW_Authenticate='Basic realm="x"')
    async with group.client() as client:
        await read_all(group.repository(client))
    assert {event.aside for event in group.events} == {0.0}


async def test_t1_a_mirrors_realm_on_another_host_gets_no_credentials(
    group: Group, start_wire_server: StartWireServer
) -> None:
    realm = start_wire_server(address="127.0.0.6")
    realm.on("GET", "/token*", respond(200, {"Content-Type": "application/json"}, b'{"token":"t0k3n"}'))
    group.mirror.instead = failing(401, WWW_Authenticate=f'Bearer realm="{realm.origin}/token",service="x"')
    identities = {host: Basic("someuser", "somesecret") for host in (group.home.host, group.hosts[0].host)}
    async with group.client(credentials=identities) as client:
        assert await group.repository(client).blobs.get(DIGEST) == BLOB
    assert b"uthorization" not in realm.received


async def test_t5_a_mirror_that_redirects_takes_no_secret_along(
    group: Group, start_wire_server: StartWireServer
) -> None:
    away = start_wire_server(address="127.0.0.7")
    away.on("GET", "/*", respond(200, (), BLOB))
    mirror = Mirror(group.hosts[0].origin, host=HostConfig(headers={"X-Key": "secretvalue"}))
    group.mirror.instead = failing(307, Location=f"{away.origin}/somewhere")
    async with group.client(HostConfig(scheme="http", mirrors=[mirror])) as client:
        assert await group.repository(client).blobs.get(DIGEST) == BLOB
    assert len(away.requests) == 1
    assert b"secretvalue" not in away.received
    assert b"secretvalue" in group.hosts[0].received


# --- real registries -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("swapped", [False, True], ids=["docker-upstream", "docker-mirror"])
async def test_n7_real_registries_mirror_each_other(
    shared_registry: StartRegistry, fresh_name: str, swapped: bool, tmp_path: Path
) -> None:

    peers = [shared_registry(mode) for mode in (Mode.PLAIN, Mode.EMBEDDED)]
    home, mirror = reversed(peers) if swapped else peers
    manifest = Manifest.of(IMAGE.data, IMAGE.media_type)
    async with mirror.client() as client:
        there = client.repository(f"{mirror.host}/{fresh_name}")
        await there.blobs.push(EMPTY)
        await there.blobs.push(BLOB)
        await there.manifests.push(manifest, tags=["v1"])
    async with home.client() as client:
        here = client.repository(f"{home.host}/{fresh_name}")
        await here.blobs.push(EMPTY)
        await here.manifests.push(manifest, tags=["v1"])
    hosts = HostsConfig({home.host: HostConfig(scheme="http", mirrors=[mirror.origin])})
    async with home.client(hosts=hosts) as client:
        repository = client.repository(f"{home.host}/{fresh_name}")
        # Only the mirror has it.
        assert await repository.blobs.get(DIGEST) == BLOB
        await repository.blobs.download(DIGEST, tmp_path / "blob")
        assert (await repository.manifests.get("v1")).digest == IMAGE.digest
        assert (await repository.manifests.stat(IMAGE.digest)).size == len(IMAGE.data)
        assert not await repository.manifests.exists("sha256:" + "0" * 64)
