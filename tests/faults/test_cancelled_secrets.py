"""A deadline that passes while something is asked: its error has the frames that waited, and no secret in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import Basic, Digest, IdentityToken, RegistryToken, TokenOptions
from ocidist.legacy import v1
from tests.canary import ALICE_PASSWORD, REFRESH, SIGNATURE, STATE, TOKEN
from tests.peers.answers import respond, respond_json, silence
from tests.remote.support import MANIFESTS, client_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ocidist import Credential, Repository
    from tests.peers.wire_server import WireServer

PATIENCE_S = 0.2
ALICE = Basic("alice", ALICE_PASSWORD)
PASSWORD = {"WWW-Authenticate": 'Basic realm="x"'}


async def pull(repository: Repository) -> None:
    await repository.manifests.get("v1")


async def push(repository: Repository) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1_000_000

    await repository.blobs.push(pieces())


@pytest.mark.parametrize("credential", [ALICE, RegistryToken(TOKEN)], ids=["password", "token"])
async def test_t45_who_gives_up_on_an_answer_is_not_told_the_secret(
    wire_server: WireServer, credential: Credential
) -> None:
    # A registry token goes with the first request.
    first = [respond(401, PASSWORD)] if isinstance(credential, Basic) else []
    wire_server.on("GET", f"{MANIFESTS}/v1", *first, silence)
    async with client_for(wire_server, credentials={wire_server.host: credential}) as client:
        with pytest.raises(TimeoutError), anyio.fail_after(PATIENCE_S):
            await pull(client.repository(f"{wire_server.host}/acme/app"))


async def test_t45_who_gives_up_on_a_push_is_not_told_the_password(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v2/", respond(401, PASSWORD))
    wire_server.on("POST", "/v2/*", respond(202, {"Location": "/v2/acme/app/blobs/uploads/1"}))
    wire_server.on("PATCH", "/v2/*", silence)
    async with client_for(wire_server, credentials={wire_server.host: ALICE}) as client:
        with pytest.raises(TimeoutError), anyio.fail_after(PATIENCE_S):
            await push(client.repository(f"{wire_server.host}/acme/app"))


@pytest.mark.parametrize("oauth2", [False, True], ids=["basic", "oauth2"])
@pytest.mark.parametrize("credential", [ALICE, IdentityToken(REFRESH)], ids=["password", "refresh token"])
async def test_t45_who_gives_up_on_a_token_server_is_not_told_the_secret(
    wire_server: WireServer, credential: Credential, oauth2: bool
) -> None:
    realm = {"WWW-Authenticate": f'Bearer realm="{wire_server.origin}/token",service="s"'}
    wire_server.on("GET", f"{MANIFESTS}/v1", respond(401, realm))
    wire_server.on("*", "/token", silence)
    options = TokenOptions(force_oauth2=oauth2)
    async with client_for(wire_server, credentials={wire_server.host: credential}, token_options=options) as client:
        with pytest.raises(TimeoutError), anyio.fail_after(PATIENCE_S):
            await pull(client.repository(f"{wire_server.host}/acme/app"))


async def test_t45_who_gives_up_after_the_token_is_not_told_it(wire_server: WireServer) -> None:
    realm = {"WWW-Authenticate": f'Bearer realm="{wire_server.origin}/token",service="s"'}
    wire_server.on("GET", f"{MANIFESTS}/v1", respond(401, realm), silence)
    wire_server.on("GET", "/token", respond_json(200, {"token": TOKEN}))
    async with client_for(wire_server, credentials={wire_server.host: ALICE}) as client:
        with pytest.raises(TimeoutError), anyio.fail_after(PATIENCE_S):
            await pull(client.repository(f"{wire_server.host}/acme/app"))


async def test_t45_who_gives_up_on_an_account_or_a_layer_of_version_1_is_not_told_the_password(
    wire_server: WireServer,
) -> None:
    wire_server.on("*", "/v1/users/", silence)
    wire_server.on("GET", "/v1/_ping", respond(200, {}, b"true"))
    wire_server.on("PUT", "/v1/*", respond_json(200, [], {"X-Docker-Token": f"signature={TOKEN}"}))
    wire_server.on("PUT", "/v1/images/*", silence)
    async with client_for(wire_server) as client:
        with pytest.raises(TimeoutError), anyio.fail_after(PATIENCE_S):
            await v1.login(client, ALICE, index=wire_server.host, email="alice@acme.io")
        session = await v1.Session.open(client, wire_server.host)
        data = await session.push_index("acme/app", [])
        with pytest.raises(TimeoutError), anyio.fail_after(PATIENCE_S):
            await session.push_layer("0" * 64, b"x" * 10_000_000, b"{}", data)


async def test_t45_who_gives_up_on_a_place_that_is_a_secret_is_not_told_it(wire_server: WireServer) -> None:
    place = f"/v2/acme/app/blobs/uploads/1?_state={STATE}"
    signed = f"{wire_server.origin.replace('127.0.0.1', 'localhost')}/data?X-Amz-Signature={SIGNATURE}"
    blob = b"x" * 5_000_000
    wire_server.on("POST", "/v2/*", respond(202, {"Location": place}))
    wire_server.on("PUT", "/v2/*", silence)
    wire_server.on("PATCH", "/v2/*", silence)
    wire_server.on("HEAD", "/v2/*", respond(404))
    wire_server.on("GET", "/v2/acme/app/blobs/*", respond(307, {"Location": signed}))
    wire_server.on("GET", "/data*", silence)
    async with client_for(wire_server) as client:
        repository = client.repository(f"{wire_server.host}/acme/app")
        for ask in (
            lambda: repository.blobs.push(blob),
            lambda: push(repository),
            lambda: repository.blobs.get(Digest.of(blob)),
        ):
            with pytest.raises(TimeoutError), anyio.fail_after(PATIENCE_S):
                await ask()


async def test_t45_what_a_request_of_ones_own_says_is_not_in_the_frames_below_it(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v2/", respond(401, PASSWORD), silence)
    async with client_for(wire_server, credentials={wire_server.host: ALICE}) as client:
        with pytest.raises(TimeoutError), anyio.fail_after(PATIENCE_S):
            await client.get(f"{wire_server.origin}/v2/")
