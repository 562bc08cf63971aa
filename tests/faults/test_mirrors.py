"""Mirrors that are down, slow, wrong, or lack things: the registry answers in time, and the mirror is named."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from ocidist import (
    Basic,
    Client,
    ConnectError,
    DigestMismatchError,
    EgressPolicy,
    HostConfig,
    Manifest,
    ManifestUnknownError,
    OciError,
    RegistryBlockedError,
    TagUnknownError,
    TlsError,
)
from ocidist.hosts.config import HostsConfig
from ocidist.hosts.mirror import Mirror, MirrorTags
from ocidist.http import standing
from ocidist.observe.events import MirrorFailed
from tests.faults.mirroring import BLOB, DIGEST, EMPTY, IMAGE, OLDER, Copy, Group, failing
from tests.peers.answers import chain, close, reset, respond, silence
from tests.peers.images import noise
from tests.peers.peer import Mode
from tests.peers.tls import Authority
from tests.remote.support import NAME, QUICK

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist import Repository
    from tests.conftest import StartRegistry, StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.wire_server import Connection, Request

DEAD = "127.0.0.9:9"


@pytest.fixture
def group(start_wire_server: StartWireServer) -> Group:
    return Group(start_wire_server)


@pytest.fixture
def pair(start_wire_server: StartWireServer) -> Group:
    """A registry with two mirrors."""
    return Group(start_wire_server, 2)


async def read_all(repository: Repository) -> None:
    """Read everything there is to read, in every way, and check it."""
    assert await repository.blobs.get(DIGEST) == BLOB
    assert (await repository.blobs.stat(DIGEST)).size == len(BLOB)
    assert (await repository.manifests.get(IMAGE.digest)).data == IMAGE.data
    assert (await repository.manifests.stat(IMAGE.digest)).digest == IMAGE.digest
    assert (await repository.manifests.get("v1")).data == IMAGE.data
    assert (await repository.manifests.stat("v1")).digest == IMAGE.digest


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


# --- mirrors that fail -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "instead",
    [failing(500), failing(503, Retry_After="3000"), failing(429), failing(502), close, reset, silence],
    ids=["500", "503", "429", "502", "fin", "rst", "silent"],
)
async def test_f160_a_mirror_that_fails_is_set_aside_and_the_registry_answers_in_time(
    group: Group, instead: Handler
) -> None:
    group.mirror.instead = instead
    config = group.config(patience=0.5)
    started = anyio.current_time()
    async with group.client(config) as client:
        await read_all(group.repository(client))
        # It cost one wait, once: after that nobody asks the mirror for a while.
        assert anyio.current_time() - started < 3
        assert len(group.mirror.asked()) <= 2
        (event,) = group.events
        assert isinstance(event, MirrorFailed)
        assert (event.host, event.mirror) == (group.home.host, group.hosts[0].origin)
        assert event.aside == (standing.MAX_ASIDE if event.reason == "answered 503" else standing.FIRST_ASIDE)
        assert not event.wrong


@pytest.mark.parametrize("scheme", ["http://", "https://", ""])
async def test_f160_a_mirror_that_is_down_is_set_aside(group: Group, scheme: str) -> None:
    config = HostConfig(scheme="http", mirrors=[Mirror(scheme + DEAD)])
    started = anyio.current_time()
    async with group.client(config) as client:
        await read_all(group.repository(client))
    assert anyio.current_time() - started < 2
    assert [event.mirror for event in group.events] == [scheme + DEAD]


async def test_f160_a_mirror_that_is_back_is_found_by_one_request(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(standing, "monotonic", lambda: now)
    monkeypatch.setattr("ocidist.http.mirrors.monotonic", lambda: now)
    group.mirror.instead = failing(500)
    async with group.client() as client:
        blobs = group.repository(client).blobs
        for expected in (1, 1):
            await blobs.get(DIGEST)
            assert len(group.mirror.asked()) == expected
        now += standing.FIRST_ASIDE + 1
        await blobs.get(DIGEST)
        assert len(group.mirror.asked()) == 2
        now += standing.FIRST_ASIDE + 1
        await blobs.get(DIGEST)
        # The second time it is left alone for twice as long.
        assert len(group.mirror.asked()) == 2
        now += standing.FIRST_ASIDE
        group.mirror.instead = None
        await blobs.get(DIGEST)
        await blobs.get(DIGEST)
        assert len(group.mirror.asked()) == 4
    assert [event.aside for event in group.events] == [standing.FIRST_ASIDE, 2 * standing.FIRST_ASIDE]


async def test_f160_a_mirror_that_lacks_something_is_back_all_the_same(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(standing, "monotonic", lambda: now)
    monkeypatch.setattr("ocidist.http.mirrors.monotonic", lambda: now)
    group.mirror.instead = failing(500)
    async with group.client() as client:
        blobs = group.repository(client).blobs
        await blobs.get(DIGEST)
        now += standing.FIRST_ASIDE + 1
        group.mirror.instead = failing(404)
        await blobs.get(DIGEST)
        await blobs.get(DIGEST)
    assert len(group.mirror.asked()) == 3


async def test_f160_many_at_once_count_as_one_failure(group: Group) -> None:
    group.mirror.instead = silence
    started = anyio.current_time()
    async with group.client(group.config(patience=0.5)) as client, anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(group.repository(client).blobs.get, DIGEST)
    assert anyio.current_time() - started < 5
    assert [event.aside for event in group.events] == [standing.FIRST_ASIDE]


async def test_f160_waiting_for_a_place_at_the_mirror_is_not_held_against_it(group: Group) -> None:
    def slowly(request: Request, connection: Connection) -> None:
        time.sleep(0.4)
        respond(200, {"Docker-Content-Digest": DIGEST}, BLOB)(request, connection)

    group.mirror.instead = slowly
    mirror = Mirror(group.hosts[0].origin, patience=1.0, host=HostConfig(concurrency=1))
    async with (
        group.client(HostConfig(scheme="http", mirrors=[mirror])) as client,
        anyio.create_task_group() as tasks,
    ):
        # One after the other: the last one waits longer than the mirror has to answer.
        for _ in range(5):
            tasks.start_soon(group.repository(client).blobs.get, DIGEST)
    assert len(group.mirror.asked()) == 5
    assert not group.events
    assert not group.upstream.asked()


@pytest.mark.parametrize("how", [close, reset, silence])
async def test_f160_a_body_that_breaks_off_goes_on_at_the_registry(group: Group, how: Handler) -> None:
    group.mirror.instead = chain(respond(200, {"Content-Length": str(len(BLOB))}, BLOB[:70_000]), how)
    async with (
        group.client(group.config(patience=0.5)) as client,
        group.repository(client).blobs.open(DIGEST) as reader,
    ):
        assert b"".join([piece async for piece in reader]) == BLOB
        assert reader.verified
    (request,) = [request for request in group.upstream.requests if "blobs" in request.path]
    assert len(group.mirror.asked()) == 1
    assert request.header("Range") == "bytes=70000-"
    assert [event.mirror for event in group.events] == [group.hosts[0].origin]


async def test_f160_a_connection_that_died_while_idle_is_no_failure_of_the_mirror(group: Group) -> None:
    async with group.client() as client:
        blobs = group.repository(client).blobs
        await blobs.get(DIGEST)
        for connection in group.hosts[0].connections:
            connection.interrupt()
        assert await blobs.get(DIGEST) == BLOB

        def once(request: Request, connection: Connection) -> None:
            group.mirror.instead = None
            close(request, connection)

        # Or so late that the request is under way already.
        group.mirror.instead = once
        assert await blobs.get(DIGEST) == BLOB
    assert not group.events
    assert not group.upstream.asked()


async def test_f162_what_a_mirror_does_not_have_the_next_one_is_asked_for(pair: Group) -> None:
    pair.mirror.instead = failing(404)
    async with pair.client() as client:
        for _ in range(3):
            assert await pair.repository(client).blobs.get(DIGEST) == BLOB
    # No back-off: it may have other things, or the same a moment later.
    assert len(pair.mirrors[0].asked()) == 3
    assert len(pair.mirrors[1].asked()) == 3
    assert not pair.upstream.asked()
    assert not pair.events


async def test_f162_what_nobody_has_is_not_found(pair: Group) -> None:
    missing = "sha256:" + "0" * 64
    async with pair.client() as client:
        with pytest.raises(ManifestUnknownError) as caught:
            await pair.repository(client).manifests.get(missing)
    assert len(caught.value.mirrors) == 2
    assert not pair.events


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
    async with group.client() as client:
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


# --- nobody answers --------------------------------------------------------------------------------------------------


async def test_f164_where_all_are_dead_the_error_lists_every_host(pair: Group) -> None:
    pair.mirrors[0].instead = failing(500)
    pair.mirrors[1].instead = reset
    pair.upstream.instead = reset
    config = pair.config()
    config = attrs.evolve(config, mirrors=(*config.mirrors, Mirror(f"http://{DEAD}")))
    async with pair.client(config) as client:
        for _ in range(2):
            with pytest.raises(OciError) as caught:
                await pair.repository(client).blobs.get(DIGEST)
            text = str(caught.value)
            for host, reason in (
                (pair.hosts[0].origin, "500"),
                (pair.hosts[1].origin, "ended early|failed|reset"),
                (f"http://{DEAD}", "no connection"),
            ):
                assert any(line.startswith(host) for line in caught.value.mirrors)
                assert host in text
                assert any(word in text for word in reason.split("|"))
            assert pair.home.host in text
            assert len(caught.value.mirrors) == 3
        # The second time, too, it says why each was not asked.
        assert all("set aside" in line for line in caught.value.mirrors)


async def test_f164_nobody_answers_at_all() -> None:
    hosts = {"127.0.0.8:9": HostConfig(scheme="http", mirrors=[f"http://{DEAD}"])}
    async with Client(hosts=hosts, retry=QUICK) as client:
        with pytest.raises(ConnectError, match=DEAD) as caught:
            await client.repository("127.0.0.8:9/acme/app").manifests.get("v1")
    assert caught.value.attempts == 3


# --- cancellation ----------------------------------------------------------------------------------------------------


async def test_t74_a_cancelled_read_stays_cancelled(group: Group) -> None:
    group.mirror.instead = silence
    async with group.client() as client:
        with anyio.move_on_after(0.2) as scope:
            await group.repository(client).blobs.get(DIGEST)
        assert scope.cancelled_caught
        assert not group.upstream.asked()
        assert not group.events
        group.mirror.instead = None
        assert await group.repository(client).blobs.get(DIGEST) == BLOB
    assert len(group.mirror.asked()) == 2


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
