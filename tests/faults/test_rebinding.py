"""Names that servers give: the address they lead to is checked when it is dialled, and no other one is dialled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ocidist import (
    AuthRealmRefusedError,
    Client,
    Digest,
    EgressPolicy,
    HostConfig,
    LocationRefusedError,
    OciError,
    RedirectRefusedError,
    Repository,
)
from tests.faults.dialling import Network
from tests.http.support import ALICE, NAME, QUICK, SOME_TAGS, TAGS, challenge, token_answer, unauthorized, wants
from tests.peers.answers import respond
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.conftest import StartWireServer
    from tests.peers.wire_server import WireServer

PUBLIC = "8.8.8.8"
OTHER_PUBLIC = "1.1.1.1"
PRIVATE = "10.1.2.3"
BLOB = noise(2000)
DIGEST = Digest.of(BLOB)
BLOB_PATH = f"/v2/{NAME}/blobs/{DIGEST}"
UPLOADS = f"/v2/{NAME}/blobs/uploads/"

# Where nobody wants to be sent by a registry that lives in public.
REFUSED = {
    "loopback": "127.0.0.1",
    "all of loopback": "127.9.8.7",
    "loopback, IPv6": "::1",
    "loopback, mapped": "::ffff:127.0.0.1",
    "link-local": "169.254.10.20",
    "metadata": "169.254.169.254",
    "metadata, mapped": "::ffff:169.254.169.254",
    "metadata, IPv6": "fd00:ec2::254",
    "private": PRIVATE,
    "private, IPv6": "fd12::3",
    "unspecified": "0.0.0.0",  # noqa: S104 -- nothing is bound here: a name resolves to it
}


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """A resolver and wires of this test alone; two public addresses lead to loopback."""
    made = Network()
    made.install(monkeypatch)
    made.lead(PUBLIC)
    made.lead(OTHER_PUBLIC)
    return made


@pytest.fixture
def registry(start_wire_server: StartWireServer, network: Network) -> WireServer:
    """The registry ``registry.example``, which is reached at a public address."""
    network.name("registry.example", [PUBLIC])
    return start_wire_server(name="registry.example")


@pytest.fixture
def victim(start_wire_server: StartWireServer) -> WireServer:
    """Somebody on this machine who has what is asked for, and should never be asked."""
    server = start_wire_server(name="cdn.example")
    server.on("*", "*", respond(200, {}, BLOB))
    return server


def open_client(*servers: WireServer, **options: Any) -> Client:  # noqa: ANN401 -- the client's own options
    usual: dict[str, Any] = {"hosts": {server.host: HostConfig(scheme="http") for server in servers}, "retry": QUICK}
    return Client(**(usual | options))


def repository_of(client: Client, server: WireServer) -> Repository:
    return client.repository(f"{server.host}/{NAME}")


async def nothing_came_of_it(
    network: Network, victim: WireServer, work: Awaitable[object], error: type[OciError]
) -> None:
    """Hold that the work is refused in the words of its kind, once, and that nobody was so much as dialled."""
    with pytest.raises(error) as caught:
        await work
    assert isinstance(caught.value, RedirectRefusedError | AuthRealmRefusedError | LocationRefusedError)
    assert "cdn.example" in caught.value.target
    assert victim.connections == []
    assert set(network.dialled) <= {PUBLIC}
    assert network.lookups.count("cdn.example") == 1


@pytest.mark.parametrize("address", REFUSED.values(), ids=REFUSED)
async def test_f004_a_name_that_leads_home_is_refused_before_it_is_dialled(
    network: Network, registry: WireServer, victim: WireServer, address: str
) -> None:
    network.name("cdn.example", [address])
    registry.on("GET", BLOB_PATH, respond(307, {"Location": f"{victim.origin}/blob"}))
    async with open_client(registry) as client:
        work = repository_of(client, registry).blobs.get(DIGEST)
        await nothing_came_of_it(network, victim, work, RedirectRefusedError)


PATHS: dict[str, Callable[[Repository], Awaitable[object]]] = {
    "pull a manifest": lambda repository: repository.manifests.get("v1"),
    "look for a manifest": lambda repository: repository.manifests.stat("v1"),
    "pull a blob": lambda repository: repository.blobs.get(DIGEST),
    "look for a blob": lambda repository: repository.blobs.stat(DIGEST),
}


@pytest.mark.parametrize("path", PATHS)
async def test_f004_every_read_is_checked(
    network: Network, registry: WireServer, victim: WireServer, path: str
) -> None:
    network.name("cdn.example", ["127.0.0.1"])
    registry.on("*", "/v2/*", respond(307, {"Location": f"{victim.origin}/elsewhere"}))
    async with open_client(registry) as client:
        work = PATHS[path](repository_of(client, registry))
        await nothing_came_of_it(network, victim, work, RedirectRefusedError)


@pytest.mark.parametrize("signed_in", [True, False])
async def test_f004_a_realm_is_checked(
    network: Network, registry: WireServer, victim: WireServer, *, signed_in: bool
) -> None:
    network.name("cdn.example", ["127.0.0.1"])
    registry.on("GET", "/v2/*", unauthorized(challenge(f"{victim.origin}/token")))
    credentials = {registry.host: ALICE} if signed_in else None
    egress = EgressPolicy(trusted_realms=(victim.origin,))
    async with open_client(registry, credentials=credentials, egress=egress) as client:
        work = repository_of(client, registry).tags.list().collect()
        await nothing_came_of_it(network, victim, work, AuthRealmRefusedError)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_f004_the_place_of_an_upload_is_checked_in_every_answer(
    network: Network, registry: WireServer, victim: WireServer, method: str
) -> None:
    network.name("cdn.example", ["127.0.0.1"])
    there = f"https://cdn.example:{victim.port}/upload"
    registry.on("DELETE", "*", respond(204))
    registry.on("PATCH", "*", respond(202, {"Location": there, "Range": "0-999"}))
    registry.on("POST", UPLOADS, respond(202, {"Location": there if method == "POST" else f"{UPLOADS}1"}))
    async with open_client(registry) as client:
        blobs = repository_of(client, registry).blobs

        async def push() -> None:
            async with blobs.writer(chunk_size=1000) as writer:
                await writer.write(BLOB)
                await writer.commit()

        with pytest.raises(LocationRefusedError) as caught:
            await push()
    assert "cdn.example" in caught.value.target
    assert victim.connections == []
    assert set(network.dialled) == {PUBLIC}


@pytest.mark.parametrize("purpose", ["redirect", "realm"])
async def test_f004_an_answer_that_changes_is_refused_when_it_has_changed(
    network: Network, registry: WireServer, start_wire_server: StartWireServer, purpose: str
) -> None:
    # The same port at another address of loopback: the place that is public for the name's first answer.
    network.name("cdn.example", [OTHER_PUBLIC], ["127.0.0.1"])
    honest = start_wire_server(name="cdn.example", address="127.0.0.2")
    network.lead(OTHER_PUBLIC, "127.0.0.2")
    last = {"Connection": "close"}
    refused: type[OciError]
    if purpose == "redirect":
        honest.on("GET", "/blob", respond(200, last, BLOB))
        registry.on("GET", BLOB_PATH, respond(307, {"Location": f"{honest.origin}/blob"}))
        refused = RedirectRefusedError
    else:
        honest.on("GET", "/token*", respond(200, last, b'{"token": "t0ken", "expires_in": 60}'))
        registry.on("GET", BLOB_PATH, unauthorized(challenge(f"{honest.origin}/token")), respond(200, {}, BLOB))
        registry.on("GET", TAGS, unauthorized(challenge(f"{honest.origin}/token", "repository:other:pull")))
        refused = AuthRealmRefusedError
    async with open_client(registry) as client:
        repository = repository_of(client, registry)
        assert await repository.blobs.get(DIGEST) == BLOB
        with pytest.raises(refused):
            await (repository.blobs.get(DIGEST) if purpose == "redirect" else repository.tags.list().collect())
    assert network.lookups.count("cdn.example") == 2
    assert set(network.dialled) == {PUBLIC, OTHER_PUBLIC}
    assert len(honest.connections) == 1


async def test_f004_of_several_addresses_only_those_that_are_allowed_are_dialled(
    network: Network, registry: WireServer, victim: WireServer
) -> None:
    network.name("cdn.example", ["127.0.0.1", OTHER_PUBLIC, "169.254.169.254", "::1"])
    registry.on("GET", BLOB_PATH, respond(307, {"Location": f"{victim.origin}/blob"}))
    async with open_client(registry) as client:
        assert await repository_of(client, registry).blobs.get(DIGEST) == BLOB
    assert set(network.dialled) == {PUBLIC, OTHER_PUBLIC}


async def test_f004_a_connection_that_is_open_already_is_no_way_around_the_check(
    network: Network, registry: WireServer, victim: WireServer
) -> None:
    network.lead(PRIVATE)
    network.name("cdn.example", [PRIVATE])
    victim.on("GET", TAGS, SOME_TAGS)
    registry.on("GET", BLOB_PATH, respond(307, {"Location": f"{victim.origin}/blob"}))
    async with open_client(registry, victim) as client:
        # Whoever names the host themselves may go there, and leaves a connection behind.
        assert await repository_of(client, victim).tags.list().collect() == ["v1"]
        with pytest.raises(RedirectRefusedError):
            await repository_of(client, registry).blobs.get(DIGEST)
        assert await repository_of(client, victim).tags.list().collect() == ["v1"]
    assert {request.path for request in victim.requests} == {TAGS}
    assert len(victim.connections) == 1


async def test_f004_the_address_that_was_allowed_is_the_only_one_ever_looked_up(
    network: Network, registry: WireServer, victim: WireServer
) -> None:
    # Asked a second time between check and dial, the resolver would answer otherwise.
    network.name("cdn.example", [OTHER_PUBLIC], ["127.0.0.1"])
    registry.on("GET", BLOB_PATH, respond(307, {"Location": f"{victim.origin}/blob"}))
    async with open_client(registry) as client:
        for _ in range(3):
            assert await repository_of(client, registry).blobs.get(DIGEST) == BLOB
    assert network.lookups.count("cdn.example") == 1
    assert "127.0.0.1" not in network.dialled


# --- what stays allowed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("home", "there", "egress"),
    [
        ("127.0.0.1", "127.0.0.2", EgressPolicy()),
        (PRIVATE, "10.200.0.1", EgressPolicy()),
        (PRIVATE, "192.168.7.7", EgressPolicy()),
        (PUBLIC, PRIVATE, EgressPolicy(allow_private=True)),
        (PUBLIC, OTHER_PUBLIC, EgressPolicy()),
        (PRIVATE, PUBLIC, EgressPolicy()),
    ],
)
async def test_f004_a_registry_leads_to_places_like_its_own(
    network: Network, start_wire_server: StartWireServer, home: str, there: str, egress: EgressPolicy
) -> None:
    registry, tokens = start_wire_server(name="registry.example"), start_wire_server(name="cdn.example")
    for name, address in (("registry.example", home), ("cdn.example", there)):
        network.name(name, [network.lead(address)])
    tokens.on("GET", "/token*", token_answer())
    tokens.on("GET", "/blob", respond(200, {}, BLOB))
    leave = respond(307, {"Location": f"{tokens.origin}/blob"})
    registry.on("GET", BLOB_PATH, wants("Bearer t0ken", leave, unauthorized(challenge(f"{tokens.origin}/token"))))
    async with open_client(registry, egress=egress) as client:
        assert await repository_of(client, registry).blobs.get(DIGEST) == BLOB
    assert network.dialled[0] == home
    assert there in network.dialled


@pytest.mark.parametrize(
    ("home", "there"),
    [
        (PRIVATE, "127.0.0.1"),
        (PRIVATE, "169.254.169.254"),
        ("127.0.0.1", "169.254.169.254"),
        ("127.0.0.1", PRIVATE),
        (PUBLIC, "169.254.169.254"),
        (PUBLIC, "127.0.0.1"),
    ],
)
@pytest.mark.parametrize("allow_private", [True, False])
async def test_f004_nothing_allows_metadata_or_this_machine_from_elsewhere(
    network: Network,
    start_wire_server: StartWireServer,
    victim: WireServer,
    home: str,
    there: str,
    *,
    allow_private: bool,
) -> None:
    if allow_private and there == PRIVATE:
        pytest.skip("that is what it allows")
    registry = start_wire_server(name="registry.example")
    network.name("registry.example", [network.lead(home)])
    network.name("cdn.example", [there])
    registry.on("GET", BLOB_PATH, respond(307, {"Location": f"{victim.origin}/blob"}))
    async with open_client(registry, egress=EgressPolicy(allow_private=allow_private)) as client:
        with pytest.raises(RedirectRefusedError):
            await repository_of(client, registry).blobs.get(DIGEST)
    assert victim.connections == []
    assert set(network.dialled) == {home}


@pytest.mark.parametrize("address", ["127.0.0.1", PRIVATE, "169.254.10.20"])
async def test_f004_the_registry_that_the_user_named_may_be_anywhere(
    network: Network, start_wire_server: StartWireServer, address: str
) -> None:
    registry = start_wire_server(name="registry.example")
    network.name("registry.example", [network.lead(address)])
    registry.on("GET", BLOB_PATH, respond(307, {"Location": "/elsewhere"}))
    registry.on("GET", "/elsewhere", respond(200, {}, BLOB))
    async with open_client(registry) as client:
        assert await repository_of(client, registry).blobs.get(DIGEST) == BLOB
