"""Reading from an index and registries of version 1."""

from __future__ import annotations

import base64
import socket
from typing import TYPE_CHECKING

import pytest

from ocidist import (
    ANONYMOUS,
    AuthError,
    Basic,
    ConnectError,
    CredentialsRejectedError,
    Digest,
    DigestMismatchError,
    IdentityToken,
    NamesSkipped,
    NameUnknownError,
    NotFoundError,
    ServerError,
    SizeMismatchError,
    TruncatedBodyError,
    UsageError,
)
from ocidist.engine import AuthConfig, AuthenticateOKBody
from ocidist.http.outage import FAILURES
from ocidist.legacy import v1
from ocidist.legacy.v1.models import checksums_of
from tests.legacy.support import ALICE, NAME, USERS, filled, session_with
from tests.legacy.v1_server import V1Server
from tests.peers.answers import respond, respond_json
from tests.remote.support import client_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocidist import Event
    from tests.conftest import StartWireServer
    from tests.peers.wire_server import Connection, Request, WireServer

BASE = b"the base " * 1000
TOP = b"the top " * 2000


async def take(session: v1.Session, image: v1.ImageJson, data: v1.RepositoryData, into: list[bytes]) -> None:
    async with session.layer(image, data) as pieces:
        async for piece in pieces:
            into.append(piece)  # noqa: PERF401 -- what came before a failure is to be seen


async def read(session: v1.Session, image: str, data: v1.RepositoryData) -> bytes:
    arrived: list[bytes] = []
    await take(session, await session.image_json(image, data), data, arrived)
    return b"".join(arrived)


async def test_an_image_is_pulled_through_an_index_and_a_registry(start_wire_server: StartWireServer) -> None:
    """The whole way, as Docker went it: the index, its token, tags, ancestry, and the layers from the base on."""
    state = filled(BASE, TOP, standalone=False, users=dict(USERS))
    registry, index = start_wire_server(state), start_wire_server(state)
    state.endpoints = registry.host
    async with session_with(index) as session:
        assert session.endpoint.info == v1.RegistryInfo("0.9.1", standalone=False)
        data = await session.repository_data(NAME)
        assert data.endpoints == (f"{registry.origin}/v1/",)
        assert len(data.images) == 2
        tags = await session.tags(data)
        ancestry = await session.ancestry(tags["v1"], data)
        assert await session.has_image(ancestry[0], data)
        assert not await session.has_image("f" * 64, data)
        layers = [await read(session, image, data) for image in reversed(ancestry)]
    assert layers == [BASE, TOP]
    # The password is the index's, the token the registry's.
    assert b"Basic" not in registry.received
    assert {request.header("Authorization") for request in registry.requests} == {f"Token {data.tokens[0]}"}
    assert [request.header("X-Docker-Token") for request in index.requests] == [None, "true"]
    assert "signature" not in repr(data)


async def test_a_registry_that_stands_alone_gets_the_password(start_wire_server: StartWireServer) -> None:
    server = start_wire_server(filled(BASE, users=dict(USERS)))
    async with session_with(server) as session:
        assert session.endpoint.info.standalone
        data = await session.repository_data(NAME)
        # It names no registry: it is it.
        assert data.endpoints == (f"{server.origin}/v1/",)
        (image,) = (await session.tags(data)).values()
        assert await read(session, image, data) == BASE
    assert {
        request.header(
            "Authorization",
        )
        for request in server.requests[2:]
    } == {server.requests[2].header("Authorization")}
    assert (server.requests[2].header("Authorization") or "").startswith("Basic ")


async def test_a_registry_for_everybody_is_shown_the_token_it_gave_out(start_wire_server: StartWireServer) -> None:
    server = start_wire_server(filled(BASE))
    async with session_with(server, credential=ANONYMOUS) as session:
        data = await session.repository_data(NAME)
        assert await session.tags(data)
    # Without the scheme that docker-registry writes before it.
    assert (server.requests[-1].header("Authorization") or "").startswith("Token signature=")


async def test_who_is_refused_is_told(start_wire_server: StartWireServer) -> None:
    server = start_wire_server(filled(BASE, users={"alice": "other"}))
    async with session_with(server) as session:
        with pytest.raises(CredentialsRejectedError) as caught:
            await session.repository_data(NAME)
        assert "s3cret" not in str(caught.value)
        assert caught.value.operation == "look up repository"
    async with session_with(server, credential=ANONYMOUS) as session:
        with pytest.raises(AuthError):
            await session.repository_data(NAME)
    async with session_with(server, credential=IdentityToken("t0ken")) as session:
        with pytest.raises(UsageError):
            await session.repository_data(NAME)


async def test_what_is_not_there_is_told(start_wire_server: StartWireServer) -> None:
    state = filled(BASE)
    server = start_wire_server(state)
    async with session_with(server) as session:
        with pytest.raises(NameUnknownError):
            await session.repository_data("acme/other")
        data = await session.repository_data(NAME)
        with pytest.raises(NotFoundError):
            await session.ancestry("f" * 64, data)
        with pytest.raises(UsageError):
            await session.ancestry("latest", data)
        del state.tags[NAME]
        with pytest.raises(NotFoundError):
            await session.tags(data)
        state.blocked.add("json")
        # An outage is not an answer.
        with pytest.raises(ServerError):
            await session.has_image("f" * 64, data)


@pytest.fixture
def dead() -> Iterator[str]:
    """An address where nobody answers, and nobody else will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


async def test_registries_are_asked_in_turn(start_wire_server: StartWireServer, dead: str) -> None:
    state = filled(BASE, standalone=False)
    index, empty, good = start_wire_server(state), start_wire_server(respond(404)), start_wire_server(state)
    state.endpoints = f"{dead}, {empty.host},{good.host}"
    async with session_with(index) as session:
        data = await session.repository_data(NAME)
        (image,) = (await session.tags(data)).values()
        assert await read(session, image, data) == BASE


async def test_an_index_is_not_taken_for_its_registry_that_is_down(
    start_wire_server: StartWireServer, dead: str
) -> None:
    state = filled(BASE, standalone=False)
    index = start_wire_server(state)
    state.endpoints = dead
    async with session_with(index) as session:
        data = await session.repository_data(NAME)
        for _ in range(FAILURES):
            with pytest.raises(ConnectError):
                await session.tags(data)
        sender = session.endpoint.line.sender
        # Else everybody would have to wait before they ask it.
        assert not sender._traffic[index.host].outage.down  # type: ignore[attr-defined]  # the client's own


async def test_what_one_index_said_is_not_told_to_another(start_wire_server: StartWireServer) -> None:
    one, other = start_wire_server(filled(BASE)), start_wire_server(filled(BASE))
    async with session_with(one) as session, session_with(other) as elsewhere:
        data = await session.repository_data(NAME)
        with pytest.raises(UsageError):
            await elsewhere.tags(data)
        with pytest.raises(UsageError):
            await elsewhere.push_tag("v2", "0" * 64, data)
    assert len(other.requests) == 1


# --- layers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("breaks", [[1], [100, 200, 7000], [0, 0, 0, 0], [len(TOP) - 1], [len(TOP) - 2]])
async def test_a_layer_that_breaks_off_is_gone_on_with(start_wire_server: StartWireServer, breaks: list[int]) -> None:
    state = filled(TOP)
    state.breaks = list(breaks)
    server = start_wire_server(state)
    async with session_with(server) as session:
        data = await session.repository_data(NAME)
        assert await read(session, "0" * 64, data) == TOP
    assert len([target for target in server.targets("GET") if target.endswith("/layer")]) == len(breaks) + 1


async def test_a_layer_that_cannot_be_gone_on_with_is_an_error(start_wire_server: StartWireServer) -> None:
    state = filled(TOP)
    state.ranges = False
    state.breaks = [100]
    server = start_wire_server(state)
    async with session_with(server) as session:
        data = await session.repository_data(NAME)
        with pytest.raises(TruncatedBodyError):
            await read(session, "0" * 64, data)
        state.ranges, state.breaks = True, [100, 0, 0, 0, 0, 0]
        with pytest.raises(TruncatedBodyError) as caught:
            await read(session, "0" * 64, data)
        assert caught.value.attempts == 5


async def test_a_registry_that_begins_again_is_followed(wire_server: WireServer) -> None:
    """It says that it knows ranges, and answers with all of it."""
    state = filled(TOP)
    state.breaks = [500]
    whole = respond(200, {"Accept-Ranges": "bytes"}, TOP)

    def answer(request: object, connection: object) -> None:
        if not state.breaks and "Range" in dict(request.headers):  # type: ignore[attr-defined]  # a request of the wire server
            whole(request, connection)  # type: ignore[arg-type]  # see above
        else:
            state(request, connection)  # type: ignore[arg-type]  # see above

    wire_server.on("GET", "/v1/*", answer)
    wire_server.on("GET", "/v2/*", respond(404))
    async with session_with(wire_server) as session:
        data = await session.repository_data(NAME)
        assert await read(session, "0" * 64, data) == TOP


@pytest.mark.parametrize("header", ["X-Docker-Payload-Checksum", "X-Docker-Checksum-Payload"])
async def test_a_layer_that_was_altered_is_not_handed_out_whole(
    start_wire_server: StartWireServer, header: str
) -> None:
    state = filled(TOP)
    state.proof = header
    server = start_wire_server(state)
    async with session_with(server) as session:
        data = await session.repository_data(NAME)
        found = await session.image_json("0" * 64, data)
        for layer, expected in ((TOP.upper(), DigestMismatchError), (TOP + b"x", SizeMismatchError)):
            state.images["0" * 64]["layer"] = layer
            arrived: list[bytes] = []
            with pytest.raises(expected):
                await take(session, found, data, arrived)
            assert sum(map(len, arrived)) < len(TOP)
        # Where the registry says nothing of it, there is nothing to prove.
        state.checksummed = False
        state.images["0" * 64]["layer"] = TOP.upper()
        assert await read(session, "0" * 64, data) == TOP.upper()


@pytest.mark.parametrize(
    ("values", "known"),
    [
        (["sha256:" + "0" * 64], 1),
        (["['sha256:" + "0" * 64 + "', 'tarsum+sha256:" + "1" * 64 + "']"], 1),
        # A tarsum is of something else, and so proves nothing here.
        (["tarsum+sha256:" + "1" * 64, "tarsum.v1+sha256:" + "1" * 64], 0),
        (["sha256:" + "0" * 65, "sha256:" + "g" * 64, ""], 0),
    ],
)
def test_what_proves_a_layer_is_found_however_it_is_written(values: list[str], known: int) -> None:
    assert checksums_of(values) == (Digest("sha256:" + "0" * 64),) * known


async def test_a_tag_that_is_none_does_not_hide_the_others(start_wire_server: StartWireServer) -> None:
    state = filled(TOP)
    state.tags[NAME] = dict.fromkeys(("v1", "a b", "../x", ".hidden", "é", "latest", "", "x" * 300), "0" * 64)
    server = start_wire_server(state)
    told: list[NamesSkipped] = []

    def hook(event: Event) -> None:
        if isinstance(event, NamesSkipped):
            told.append(event)

    async with session_with(server, hooks=[hook]) as session:
        data = await session.repository_data(NAME)
        assert await session.tags(data) == {"v1": "0" * 64, "latest": "0" * 64}
    (event,) = told
    assert (event.host, event.what, len(event.names)) == (server.host, "tags", 6)


async def test_a_layer_that_nobody_reads_to_its_end_leaves_nothing_behind(start_wire_server: StartWireServer) -> None:
    server = start_wire_server(filled(TOP * 100))
    async with session_with(server) as session:
        data = await session.repository_data(NAME)
        found = await session.image_json("0" * 64, data)
        async with session.layer(found, data) as pieces:
            assert await anext(pieces)
        assert await session.tags(data)


# --- who one is ------------------------------------------------------------------------------------------------------


async def test_a_login_is_checked_and_an_account_made(start_wire_server: StartWireServer) -> None:
    server = start_wire_server(V1Server(users={"bob": "b0b"}))
    async with client_for(server) as client:
        with pytest.raises(CredentialsRejectedError):
            await v1.login(client, ALICE, index=server.host)
        made = await v1.login(client, ALICE, index=server.host, email="alice@acme.io")
        assert made.status == "Account Created"
        # Now there is one.
        assert await v1.login(client, ALICE, index=server.host, email="alice@acme.io") == AuthenticateOKBody()
        assert await v1.login(client, ALICE, index=server.host) == AuthenticateOKBody()
        with pytest.raises(UsageError):
            await v1.login(client, IdentityToken("t0ken"), index=server.host)


async def test_who_has_an_account_where_everything_is_protected_needs_no_other(wire_server: WireServer) -> None:
    """Registries of one's own answer nobody unknown, so that no account can be made, and none has to be."""
    basic = "Basic " + base64.b64encode(b"alice:s3cret").decode()

    def users(request: Request, connection: Connection) -> None:
        respond(200 if request.header("Authorization") == basic else 401)(request, connection)

    wire_server.on("*", "/v1/users/", users)
    async with client_for(wire_server) as client:
        found = await v1.login(client, ALICE, index=wire_server.host, email="alice@acme.io")
        assert found == AuthenticateOKBody()
        with pytest.raises(CredentialsRejectedError):
            await v1.login(client, Basic("alice", "wr0ng"), index=wire_server.host, email="alice@acme.io")


async def test_a_session_says_who_asks_without_the_password(start_wire_server: StartWireServer) -> None:
    server = start_wire_server(V1Server())
    async with session_with(server) as session:
        assert await session.credential() == AuthConfig(username="alice", server_address=server.host)
        assert (await session.credential(with_password=True)).password == "s3cret"
    async with client_for(server, credentials={server.host: ALICE}) as client:
        session = await v1.Session.open(client, server.host)
        assert (await session.credential()).username == "alice"


async def test_a_server_says_what_it_is(start_wire_server: StartWireServer) -> None:
    server = start_wire_server(V1Server(standalone=False))
    async with client_for(server) as client:
        endpoint = await v1.Endpoint.discover(client, server.host)
        assert endpoint.version_url() == f"{server.origin}/v1/"
        assert endpoint.version_url(v1.APIVersion.V2) == f"{server.origin}/v2/"
        assert await endpoint.ping() == v1.RegistryInfo("0.9.1", standalone=False)
        hub = await v1.Endpoint.discover(client, "docker.io")
        assert (hub.version_url(), hub.info.standalone) == (v1.INDEX_SERVER, False)
    assert str(v1.DEFAULT_API_VERSION) == "v1"
    modern = start_wire_server(respond_json(404, {"errors": []}))
    async with client_for(modern) as client:
        with pytest.raises(NotFoundError):
            await v1.Endpoint.discover(client, modern.host)
