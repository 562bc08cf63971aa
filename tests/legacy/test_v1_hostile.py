"""Servers of version 1 that want the client to go where it must not, or to read without end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import (
    Basic,
    Client,
    CredentialsRejectedError,
    Digest,
    EgressError,
    EndpointRefusedError,
    HostConfig,
    LimitExceededError,
    MalformedManifestError,
    Manifest,
    OciError,
    ProtocolError,
    Schema1View,
    UsageError,
)
from ocidist.legacy import v1
from ocidist.legacy.v1.models import info_of, tokens_of
from ocidist.wire.egress import EgressPolicy, check_endpoint
from tests.faults.dialling import Network
from tests.faults.test_rebinding import PUBLIC
from tests.legacy.support import NAME, filled, session_with
from tests.legacy.test_v1_pull import take
from tests.peers.answers import head, respond, respond_json, silence

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.conftest import StartWireServer
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, Request, WireServer

ID = "0" * 64
IDS = [f"{number:064x}" for number in range(2000)]


# --- places ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "endpoint"),
    [
        ("https://index.acme.io", "https://10.0.0.1/v1/"),
        ("https://index.acme.io", "https://127.0.0.1:5000/v1/"),
        ("https://index.acme.io", "https://localhost/v1/"),
        ("https://index.acme.io", "https://169.254.169.254/v1/"),
        ("https://index.acme.io", "https://[fd00::1]/v1/"),
        ("https://index.acme.io", "http://index.acme.io/v1/"),
        ("http://index.acme.io", "http://registry.acme.io/v1/"),
        ("http://127.0.0.1:5000", "http://registry.acme.io/v1/"),
        ("http://10.0.0.1", "http://169.254.169.254/v1/"),
        ("http://10.0.0.1", "http://10.0.0.2/v1/"),
    ],
)
def test_an_index_cannot_send_a_client_anywhere(index: str, endpoint: str) -> None:
    with pytest.raises(EndpointRefusedError) as caught:
        check_endpoint(index, endpoint)
    assert isinstance(caught.value, EgressError)
    assert caught.value.source == index


@pytest.mark.parametrize(
    ("index", "endpoint"),
    [
        ("https://index.acme.io", "https://registry.acme.io/v1/"),
        ("https://index.acme.io", "https://registry.example:5000/v1/"),
        ("http://index.acme.io", "http://index.acme.io:5000/v1/"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/v1/"),
        ("http://localhost:5000", "http://127.0.0.2:5001/v1/"),
        ("http://index.acme.io", "https://registry.acme.io/v1/"),
    ],
)
def test_an_index_can_name_registries(index: str, endpoint: str) -> None:
    assert check_endpoint(index, endpoint) == endpoint


async def test_a_private_host_is_refused_before_anything_is_sent_there(start_wire_server: StartWireServer) -> None:
    state = filled(b"a layer", standalone=False)
    server = start_wire_server(state)
    async with session_with(server) as session:
        for host in ("10.0.0.1", "169.254.169.254:80", "registry.example"):
            state.endpoints = f"{server.host},{host}"
            with pytest.raises(EndpointRefusedError) as caught:
                await session.repository_data(NAME)
            assert caught.value.operation == "look up repository"
            with pytest.raises(EndpointRefusedError):
                await session.push_index(NAME, [])


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "169.254.169.254"])
async def test_a_name_that_leads_home_is_refused_when_it_is_dialled(
    start_wire_server: StartWireServer, authority: Authority, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    state = filled(b"a layer", standalone=False)
    server = start_wire_server(state, name="index.example", tls=authority)
    network = Network()
    network.install(monkeypatch)
    network.lead(PUBLIC)
    network.name("index.example", [PUBLIC])
    network.name("registry.example", [address])
    state.endpoints = "registry.example"
    async with Client(credentials={}, hosts={server.host: HostConfig(ca=authority.ca_path, scheme="https")}) as client:
        session = await v1.Session.open(client, server.host)
        data = await session.repository_data(NAME)
        assert data.endpoints == ("https://registry.example/v1/",)
        with pytest.raises(EndpointRefusedError):
            await session.tags(data)
        with pytest.raises(EndpointRefusedError):
            await session.push_tag("v1", ID, data)
    assert set(network.dialled) == {PUBLIC}


async def test_a_registry_that_sends_a_client_to_itself_is_looked_up_again(
    start_wire_server: StartWireServer, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is a public address at first, and one of the network that the client is in a moment later."""
    state = filled(b"a layer", standalone=False)
    index = start_wire_server(state, name="index.example", tls=authority)
    moved = respond(307, {"Location": "/v1/elsewhere", "Connection": "close"})

    def answer(request: Request, connection: Connection) -> None:
        moved(request, connection)
        connection.close()

    registry = start_wire_server(answer, name="registry.example", tls=authority)
    network = Network()
    network.install(monkeypatch)
    network.lead(PUBLIC)
    network.name("index.example", [PUBLIC])
    network.name("registry.example", [PUBLIC], ["10.0.0.1"])
    state.endpoints = registry.host
    options = HostConfig(ca=authority.ca_path, scheme="https")
    async with Client(credentials={}, hosts={index.host: options, registry.host: options}) as client:
        session = await v1.Session.open(client, index.host)
        data = await session.repository_data(NAME)
        with pytest.raises(EgressError):
            await session.tags(data)
    assert set(network.dialled) == {PUBLIC}
    assert len(registry.requests) == 1


@pytest.mark.parametrize("host", ["a b", "user@h", "h/path", "http://h", "h:99999", "-", "127.1"])
async def test_a_registry_that_is_no_name_is_a_broken_answer(start_wire_server: StartWireServer, host: str) -> None:
    state = filled(b"a layer", standalone=False)
    state.endpoints = host
    async with session_with(start_wire_server(state)) as session:
        with pytest.raises((ProtocolError, EndpointRefusedError)):
            await session.repository_data(NAME)


async def test_more_registries_than_anybody_has_are_refused(start_wire_server: StartWireServer) -> None:
    state = filled(b"a layer", standalone=False)
    state.endpoints = ",".join(f"127.0.0.1:{port}" for port in range(5000, 5100))
    async with session_with(start_wire_server(state)) as session:
        with pytest.raises(LimitExceededError):
            await session.repository_data(NAME)


async def test_a_layer_may_be_somewhere_else_and_the_token_stays(start_wire_server: StartWireServer) -> None:
    layer = b"a layer" * 1000
    state = filled(layer, standalone=False)
    storage = start_wire_server(respond(200, {"Accept-Ranges": "bytes"}, layer))

    def answer(request: Request, connection: Connection) -> None:
        away = request.path.endswith("/layer")
        (respond(302, {"Location": f"{storage.origin}/x"}) if away else state)(request, connection)

    async with session_with(start_wire_server(answer)) as session:
        data = await session.repository_data(NAME)
        found = await session.image_json(ID, data)
        async with session.layer(found, data) as pieces:
            assert b"".join([piece async for piece in pieces]) == layer
    assert b"uthorization" not in storage.received
    assert len(storage.requests) == 1


async def test_a_password_goes_to_the_index_and_nowhere_else(start_wire_server: StartWireServer) -> None:
    """The index names another registry and gives out nothing to show there, so that the client may be tempted."""
    other = start_wire_server(filled(b"a layer"))
    server = start_wire_server()
    server.on("GET", "/v1/_ping", respond(200, {}, b"true"))
    named = {"X-Docker-Endpoints": other.host}
    server.on("*", "/v1/repositories/*", respond_json(200, [], named))
    async with session_with(server) as session:
        data = await session.push_index(NAME, [])
        assert data.tokens == ()
        assert await session.tags(data)
        found = await session.image_json(ID, data)
        async with session.layer(found, data) as pieces:
            assert [piece async for piece in pieces]
        await session.push_tag("v2", ID, data)
    assert b"uthorization" not in other.received
    assert b"Authorization: Basic" in server.received


async def test_a_layer_that_stalls_can_be_cancelled(start_wire_server: StartWireServer) -> None:
    state = filled(b"a layer" * 1000)

    def answer(request: Request, connection: Connection) -> None:
        if not request.path.endswith("/layer"):
            state(request, connection)
            return
        connection.send(head(200, {"Content-Length": "7000", "Accept-Ranges": "bytes"}) + b"a layer" * 500)
        silence(request, connection)

    async with session_with(start_wire_server(answer)) as session:
        data = await session.repository_data(NAME)
        found = await session.image_json(ID, data)
        arrived: list[bytes] = []
        with anyio.move_on_after(0.2) as scope:
            await take(session, found, data, arrived)
        assert scope.cancelled_caught
        # The connection is gone with it, and others are not held up.
        assert await session.tags(data)


async def test_anything_else_comes_from_the_registry_itself(start_wire_server: StartWireServer) -> None:
    state = filled(b"a layer", standalone=False)
    other = start_wire_server(state)

    def answer(request: Request, connection: Connection) -> None:
        away = request.path.endswith(("/tags", "/ancestry"))
        (respond(302, {"Location": f"{other.origin}{request.path}"}) if away else state)(request, connection)

    async with session_with(start_wire_server(answer)) as session:
        data = await session.repository_data(NAME)
        for ask in (session.tags(data), session.ancestry(ID, data)):
            with pytest.raises(EgressError):
                await ask
    assert not other.requests


async def test_a_password_is_not_sent_in_plain_text_that_nobody_asked_for(start_wire_server: StartWireServer) -> None:
    """The host is named, not loopback, marked insecure, and found to speak http only."""
    state = filled(b"a layer")
    server = start_wire_server(state)
    hosts = {server.host: HostConfig(insecure=True)}
    async with Client(credentials={}, hosts=hosts) as client:
        # On loopback it may go.
        session = await v1.Session.open(client, server.host, credential=Basic("alice", "s3cret"))
        assert await session.repository_data(NAME)
    line = session.endpoint.line
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(line.registry), "is_loopback", property(lambda _: False))
        async with Client(credentials={}, hosts=hosts) as client:
            session = await v1.Session.open(client, server.host, credential=Basic("alice", "s3cret"))
            before = len(server.requests)
            with pytest.raises(CredentialsRejectedError) as caught:
                await session.repository_data(NAME)
            with pytest.raises(CredentialsRejectedError):
                await v1.login(client, Basic("alice", "s3cret"), index=server.host, email="a@acme.io")
            assert "s3cret" not in str(caught.value)
        assert len(server.requests) == before
        async with Client(credentials={}, hosts=hosts, egress=EgressPolicy(allow_plaintext_credentials=True)) as client:
            session = await v1.Session.open(client, server.host, credential=Basic("alice", "s3cret"))
            assert await session.repository_data(NAME)


# --- sizes -----------------------------------------------------------------------------------------------------------


def endless(start: bytes, piece: bytes) -> Callable[[Request, Connection], None]:
    def answer(_request: Request, connection: Connection) -> None:
        connection.send(head(200, {"Transfer-Encoding": "chunked"}))
        data = start
        while True:
            connection.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            data = piece

    return answer


LARGE = respond(200, {"Content-Length": str(1024**3)}, b"{")
ANSWERS: dict[str, tuple[str, Callable[[Request, Connection], None], type[OciError]]] = {
    "an image JSON of 1 GB": ("json", LARGE, LimitExceededError),
    "an image JSON without end": ("json", endless(b'{"id":"', b"0" * 65536), LimitExceededError),
    "an ancestry without end": ("ancestry", endless(b"[", f'"{ID}",'.encode() * 1000), LimitExceededError),
    "an ancestry of 2000": ("ancestry", respond_json(200, IDS), LimitExceededError),
    "an ancestry in a circle": ("ancestry", respond_json(200, [ID, IDS[1], ID]), ProtocolError),
    "another image's ancestry": ("ancestry", respond_json(200, [IDS[1], ID]), ProtocolError),
    "no ancestry": ("ancestry", respond_json(200, []), ProtocolError),
    "an ancestry of other things": ("ancestry", respond_json(200, [ID, "../../x"]), ProtocolError),
    "an ancestry that is a page": ("ancestry", respond(200, {"Content-Type": "text/html"}, b"<html>"), ProtocolError),
    "another image's JSON": ("json", respond(200, {}, json.dumps({"id": IDS[1]}).encode()), ProtocolError),
    "no image JSON": ("json", respond(200, {}, b"[]"), MalformedManifestError),
    "an image JSON that is not text": ("json", respond(200, {}, b'{"id":"\xff"}'), MalformedManifestError),
    "tags without end": ("tags", endless(b"{", b'"a":"b",' * 8192), LimitExceededError),
    "tags of other things": ("tags", respond_json(200, {"v1": "x"}), ProtocolError),
    "a list of tags": ("tags", respond_json(200, ["v1"]), ProtocolError),
    "deep tags": ("tags", respond(200, {}, b"[" * 100_000), ProtocolError),
    "images of other things": ("images", respond_json(200, [{"id": "x"}]), ProtocolError),
    "images without end": ("images", endless(b"[", b"{}," * 20_000), LimitExceededError),
    "an image with half a checksum": ("images", respond_json(200, [{"id": ID, "checksum": 1}]), ProtocolError),
    "no images": ("images", respond_json(200, {}), ProtocolError),
    "a token that cannot be sent": ("images", respond_json(200, [], {"X-Docker-Token": "t\x7f0ken"}), ProtocolError),
    "a token of 32 KiB": ("images", respond_json(200, [], {"X-Docker-Token": "t" * 32768}), LimitExceededError),
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_an_answer_that_is_too_much_or_nonsense_is_a_typed_error(wire_server: WireServer, what: str) -> None:
    part, answer, expected = ANSWERS[what]
    state = filled(b"a layer", standalone=False)
    wrong: list[str] = []

    def serve(request: Request, connection: Connection) -> None:
        (answer if wrong and request.path.endswith(part) else state)(request, connection)

    wire_server.on("GET", "/v1/*", serve)
    async with session_with(wire_server) as session:
        data = await session.repository_data(NAME)
        wrong.append(part)
        asks: dict[str, Callable[[], Awaitable[object]]] = {
            "images": lambda: session.repository_data(NAME),
            "tags": lambda: session.tags(data),
            "json": lambda: session.image_json(ID, data),
            "ancestry": lambda: session.ancestry(ID, data),
        }
        with pytest.raises(expected) as caught:
            await asks[part]()
        assert caught.value.operation is not None
        assert caught.value.host == wire_server.host


async def test_a_part_of_a_layer_that_was_not_asked_for_is_an_error(wire_server: WireServer) -> None:
    layer = b"a layer" * 100
    state = filled(layer)
    state.breaks = [50]
    wrong = respond(206, {"Content-Range": "bytes 600-699/700", "Accept-Ranges": "bytes"}, layer[600:])

    def serve(request: Request, connection: Connection) -> None:
        (wrong if request.header("Range") else state)(request, connection)

    wire_server.on("GET", "/v1/*", serve)
    async with session_with(wire_server) as session:
        data = await session.repository_data(NAME)
        found = await session.image_json(ID, data)
        with pytest.raises(ProtocolError):
            await take(session, found, data, [])


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "version", "standalone", "expected"),
    [
        (b"true", None, None, v1.RegistryInfo("", standalone=True)),
        (b"", "0.6", "true", v1.RegistryInfo("0.6", standalone=True)),
        (b'{"version":"0.5","standalone":false}', None, None, v1.RegistryInfo("0.5", standalone=False)),
        (b'{"version":"0.5","standalone":false}', "0.6", "1", v1.RegistryInfo("0.6", standalone=True)),
        (b'{"version":5}', None, "mirror", v1.RegistryInfo("", standalone=False)),
        (b"[" * 60_000, None, "False", v1.RegistryInfo("", standalone=False)),
    ],
)
def test_a_ping_may_say_anything(body: bytes, version: str | None, standalone: str | None, expected: object) -> None:
    assert info_of(body, version, standalone) == expected


def test_tokens_are_shown_without_the_scheme_before_them() -> None:
    assert tokens_of(["Token signature=1,access=read", "signature=2"]) == ("signature=1,access=read", "signature=2")
    assert tokens_of([]) == ()
    with pytest.raises(ProtocolError):
        tokens_of([" "])


def test_images_go_from_one_format_to_the_other_and_back() -> None:
    texts = [{"id": IDS[0], "architecture": "arm64"}, {"id": IDS[1], "parent": IDS[0], "architecture": "arm64"}]
    images = [(v1.ImageJson(json.dumps(text).encode()), Digest.of(text["id"].encode())) for text in texts]
    made = v1.to_schema1(NAME, "v1", images)
    assert isinstance(made, Manifest)
    view = made.parse()
    assert isinstance(view, Schema1View)
    assert (view.name, view.tag, view.architecture) == (NAME, "v1", "arm64")
    assert [layer.image.id for layer in view.v1_layers] == IDS[:2]
    assert v1.from_schema1(view) == tuple(images)
    with pytest.raises(MalformedManifestError):
        v1.to_schema1(NAME, "v1", images[::-1])
    with pytest.raises(MalformedManifestError):
        v1.to_schema1(NAME, "v1", [(v1.ImageJson(b"\xff"), images[0][1]), images[1]])
    with pytest.raises(UsageError):
        v1.to_schema1(NAME, "v1", [])
