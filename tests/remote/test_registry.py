from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import (
    Basic,
    InvalidReferenceError,
    OciError,
    ProtocolError,
    RegistryInfo,
    ServerError,
    UnauthorizedError,
    errors,
)
from tests.peers.answers import error, respond, respond_json
from tests.peers.peer import Mode
from tests.remote.support import client_for

if TYPE_CHECKING:
    from ocidist import Registry, Repository
    from ocidist.storage import protocols
    from tests.conftest import StartRegistry, StartWireServer
    from tests.peers.peer import Peer
    from tests.peers.wire_server import WireServer


async def test_a_registry_answers_a_ping(any_registry: Peer) -> None:
    async with any_registry.client() as client:
        info = await client.registry(any_registry.host).ping()
    assert info == RegistryInfo("registry/2.0", authenticated=any_registry.username is not None)


@pytest.mark.parametrize("mode", [Mode.HTPASSWD, Mode.TOKEN])
async def test_a_ping_without_credentials_where_some_are_needed_is_unauthorized(
    shared_registry: StartRegistry, mode: Mode
) -> None:
    peer = shared_registry(mode)
    async with peer.client(credentials=None) as client:
        if mode is Mode.TOKEN:
            # An anonymous token opens this door; what is behind it stays closed.
            assert (await client.registry(peer.host).ping()).supported
        else:
            with pytest.raises(OciError) as caught:
                await client.registry(peer.host).ping()
            assert isinstance(caught.value, UnauthorizedError | errors.AuthError)


async def test_a_ping_with_a_wrong_password_is_refused(shared_registry: StartRegistry) -> None:
    peer = shared_registry(Mode.HTPASSWD)
    async with peer.client(credentials={peer.host: Basic("alice", "wr0ng")}) as client:
        with pytest.raises(errors.AuthError) as caught:
            await client.registry(peer.host).ping()
    assert "wr0ng" not in str(caught.value)
    assert caught.value.host == peer.host


@pytest.mark.parametrize("status", [403, 404, 405])
async def test_f041_a_registry_without_a_ping_is_told_and_not_an_error(wire_server: WireServer, status: int) -> None:
    wire_server.on("GET", "/v2/", respond(status))
    wire_server.on("GET", "/v2/acme/app/tags/list", respond_json(200, {"tags": ["v1"]}))
    async with client_for(wire_server) as client:
        registry = client.registry(wire_server.host)
        assert await registry.ping() == RegistryInfo(None, authenticated=False, supported=False)
        assert await registry.repository("acme/app").tags.list().collect() == ["v1"]


@pytest.mark.parametrize("status", [301, 302, 307])
async def test_q04_a_ping_that_leads_elsewhere_blocks_nothing(
    wire_server: WireServer, start_wire_server: StartWireServer, status: int
) -> None:
    other = start_wire_server(address="127.0.0.2")
    other.on("GET", "/", respond(404))
    wire_server.on("GET", "/v2/", respond(status, {"Location": f"{other.origin}/"}))
    wire_server.on("GET", "/v2/acme/app/tags/list", respond_json(200, {"tags": None}))
    async with client_for(wire_server) as client:
        registry = client.registry(wire_server.host)
        assert not (await registry.ping()).supported
        assert await registry.repository("acme/app").tags.list().collect() == []


async def test_t26_a_web_page_is_no_answer_to_a_ping(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v2/", respond(200, {"Content-Type": "text/html"}, b"<html>please log in</html>"))
    async with client_for(wire_server) as client:
        with pytest.raises(ProtocolError, match=r"text/html.*please log in"):
            await client.registry(wire_server.host).ping()


async def test_a_registry_that_fails_is_no_registry_without_a_ping(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v2/", error(503, "UNAVAILABLE", "down for maintenance"))
    async with client_for(wire_server) as client:
        with pytest.raises(ServerError, match="down for maintenance"):
            await client.registry(wire_server.host).ping()


async def test_names_are_checked_before_anything_is_sent(wire_server: WireServer) -> None:
    async with client_for(wire_server) as client:
        registry = client.registry(wire_server.host)
        for name in ("", "Upper", "a//b", "../a", "a b", "a\n", "x" * 250):
            with pytest.raises(InvalidReferenceError):
                registry.repository(name)
        repository = registry.repository("acme/app")
        for tag in ("", "-x", "a b", "x" * 129, "a\n", "ümlaut"):
            with pytest.raises(InvalidReferenceError):
                await repository.manifests.get(tag)
            with pytest.raises(InvalidReferenceError):
                await repository.tags.stat(tag)
        for digest in ("sha256:", "sha256:short", "sha256:" + "A" * 64, "a:b:c"):
            with pytest.raises(errors.InvalidDigestError):
                await repository.manifests.get(digest)
            with pytest.raises(errors.InvalidDigestError):
                repository.referrers(digest)
    assert wire_server.requests == []


async def test_objects_say_what_they_are_and_know_each_other(wire_server: WireServer) -> None:
    async with client_for(wire_server) as client:
        registry = client.registry(wire_server.host)
        repository = registry.repository("acme/app")
        assert repr(registry) == f"<Registry {wire_server.host}>"
        assert repr(repository) == f"<Repository {wire_server.host}/acme/app>"
        assert repr(repository.tags) == f"<Tags of {wire_server.host}/acme/app>"
        assert repr(repository.manifests) == f"<Manifests of {wire_server.host}/acme/app>"
        assert repository.registry is registry
        assert str(registry.name) == wire_server.host
        assert str(repository.reference) == f"{wire_server.host}/{repository.name}"


def test_remote_objects_play_the_roles_of_stores() -> None:
    def roles(registry: Registry, repository: Repository) -> tuple[protocols.Namespace, protocols.Repository]:
        return registry, repository  # what is checked here is checked by mypy

    assert roles.__annotations__["registry"] == "Registry"
