"""Describing images as the Docker Engine does, and logging in as it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import (
    ANONYMOUS,
    AuthRealmRefusedError,
    Basic,
    Descriptor,
    IdentityToken,
    LoginResult,
    Platform,
    TagUnknownError,
    UnsupportedError,
    UsageError,
    build_image,
    errors,
)
from ocidist.engine import DistributionInspect
from ocidist.model.mediatype import OCI_CONFIG, OCI_INDEX
from ocidist.remote._inspect import platforms_of
from tests.canary import REFRESH, TOKEN
from tests.http.support import ALICE
from tests.peers import images
from tests.peers.answers import error, respond, respond_json
from tests.peers.peer import Mode
from tests.remote.support import client_for, push_image
from tests.remote.test_schema1 import push_schema2

if TYPE_CHECKING:
    from tests.conftest import StartRegistry, StartWireServer
    from tests.peers.peer import Peer
    from tests.peers.wire_server import Connection, Request, WireServer


async def test_an_index_and_an_image_say_what_they_run_on(embedded_registry: Peer, fresh_name: str) -> None:
    async with embedded_registry.client() as client:
        repository = client.repository(f"{embedded_registry.host}/{fresh_name}")
        index = images.index(["linux/amd64", "linux/arm64"])
        pushed = await push_image(repository, index, "v1")
        found = await repository.inspect("v1")
        assert found.descriptor.media_type == OCI_INDEX
        platforms = (Platform("linux", "amd64"), Platform("linux", "arm64"))
        assert found == DistributionInspect(pushed.descriptor, platforms)
        # The child says it in its configuration.
        assert (await repository.inspect(index.children[1].manifest.digest)).platforms == platforms[1:]
        artifact = await repository.attach(pushed, artifact_type="application/x", layers=[b"x"])
        assert (await repository.inspect(artifact.descriptor.digest)).platforms == ()
        with pytest.raises(TagUnknownError):
            await repository.inspect("v2")


async def test_a_schema_1_manifest_is_for_linux(
    docker_registry: Peer, fresh_name: str, wire_server: WireServer
) -> None:
    async with docker_registry.client() as client:
        repository = client.repository(f"{docker_registry.host}/{fresh_name}")
        await push_schema2(repository)
        old = await repository.manifests.get("v1", accept="*/*")
        assert (await repository.inspect("v1")).platforms == (Platform("linux", "amd64"),)
    wire_server.on("GET", "/v2/acme/app/manifests/v1", respond(200, {"Content-Type": old.media_type}, old.data))
    async with client_for(wire_server) as client:
        found = await client.repository(f"{wire_server.host}/acme/app").inspect("v1")
    assert found == DistributionInspect(old.descriptor, (Platform("linux", "amd64"),))


async def test_what_only_looks_like_an_image_runs_nowhere(embedded_registry: Peer, fresh_name: str) -> None:
    async with embedded_registry.client() as client:
        repository = client.repository(f"{embedded_registry.host}/{fresh_name}")
        about = await repository.blobs.push(b'{"os":"linux","architecture":"amd64"}')
        for media_type, platforms in ((OCI_CONFIG, (Platform("linux", "amd64"),)), ("application/x", ())):
            config = Descriptor(media_type, about.digest, about.size)
            await repository.manifests.push(build_image(config, []), tags=["v1"])
            assert (await repository.inspect("v1")).platforms == platforms


@pytest.mark.parametrize(
    ("config", "platforms"),
    [
        (b"{}", ()),
        (b"[]", ()),
        (b"no json", ()),
        (b'{"os":1,"architecture":[]}', ()),
        (b'{"os":"linux","architecture":"arm","variant":"v7"}', (Platform("linux", "arm", "v7"),)),
        (
            b'{"os":"windows","architecture":"amd64","os.version":"10.0.1","os.features":["win32k",1],"variant":2}',
            (Platform("windows", "amd64", None, "10.0.1", ("win32k",)),),
        ),
    ],
)
def test_a_configuration_may_say_anything(config: bytes, platforms: tuple[Platform, ...]) -> None:
    assert platforms_of(config) == platforms


async def test_a_configuration_that_is_too_large_is_not_read(embedded_registry: Peer, fresh_name: str) -> None:
    async with embedded_registry.client() as client:
        repository = client.repository(f"{embedded_registry.host}/{fresh_name}")
        about = await repository.blobs.push(b" " * (4 * 1024 * 1024 + 1))
        config = Descriptor(OCI_CONFIG, about.digest, about.size)
        await repository.manifests.push(build_image(config, []), tags=["v1"])
        with pytest.raises(errors.LimitExceededError):
            await repository.inspect("v1")


@pytest.mark.parametrize("mode", [Mode.HTPASSWD, Mode.TOKEN])
async def test_a_login_is_taken_or_refused(shared_registry: StartRegistry, mode: Mode) -> None:
    peer = shared_registry(mode)
    assert peer.username is not None
    assert peer.password is not None
    async with peer.client(credentials=None) as client:
        registry = client.registry(peer.host)
        answer = await registry.login(Basic(peer.username, peer.password))
        assert answer.authenticated
        assert bool(answer.identity_token) is (mode is Mode.TOKEN)
        with pytest.raises(errors.CredentialsRejectedError) as caught:
            await registry.login(Basic(peer.username, "wr0ng"))
        assert "wr0ng" not in str(caught.value)
        with pytest.raises(UsageError):
            await registry.login(ANONYMOUS)


async def test_a_login_gives_what_takes_the_place_of_the_password(token_registry: Peer, fresh_name: str) -> None:
    peer = token_registry
    assert peer.username is not None
    assert peer.password is not None
    async with peer.client(credentials=None) as client:
        answer = await client.registry(peer.host).login(Basic(peer.username, peer.password))
    assert answer.identity_token not in repr(answer)
    async with peer.client(credentials={peer.host: IdentityToken(answer.identity_token)}) as client:
        assert await client.registry(peer.host).login(IdentityToken(answer.identity_token)) == answer
        await push_image(client.repository(f"{peer.host}/{fresh_name}"), images.image(), "v1")


@pytest.mark.parametrize("stranger", [False, True])
async def test_a_login_is_one_also_where_nothing_takes_the_place_of_the_password_but_none_at_a_stranger(
    start_wire_server: StartWireServer, *, stranger: bool
) -> None:
    server, other = start_wire_server(), start_wire_server(name="localhost")
    named = f"http://{other.host}/token" if stranger else "/token"

    def root(request: Request, connection: Connection) -> None:
        challenge = {"WWW-Authenticate": f'Bearer realm="{named}",service="registry"'}
        then = respond(200) if request.header("Authorization") else respond(401, challenge)
        then(request, connection)

    def token(request: Request, connection: Connection) -> None:
        offline = "offline_token" in dict(request.query)
        body = {"token": TOKEN, "refresh_token": REFRESH}
        (respond(403) if offline else respond_json(200, body))(request, connection)

    server.on("GET", "/v2/", root)
    for each in (server, other):
        each.on("*", "/token", token)
    async with client_for(server, credentials={server.host: ALICE}) as client:
        registry = client.registry(server.host)
        if stranger:
            # What a stranger gives to nobody proves nothing of the password.
            with pytest.raises(AuthRealmRefusedError, match=other.host):
                await registry.login(ALICE)
        else:
            answer = await registry.login(ALICE)
            assert answer == LoginResult(authenticated=True)
            assert answer.status == "Login Succeeded"
        assert (await registry.ping()).authenticated is not stranger
    assert b"authorization" not in other.received.lower()


async def test_a_login_where_nobody_asks_proves_nothing_and_says_so(
    docker_registry: Peer, wire_server: WireServer
) -> None:
    async with docker_registry.client() as client:
        answer = await client.registry(docker_registry.host).login(IdentityToken("t0ken"))
    assert answer == LoginResult(authenticated=False, identity_token="t0ken")
    assert answer.status == "The registry does not ask for credentials"
    wire_server.on("GET", "/v2/", error(404, "NAME_UNKNOWN"))
    async with client_for(wire_server) as client:
        with pytest.raises(UnsupportedError):
            await client.registry(wire_server.host).login(Basic("u", "p"))
