"""Token servers that are not the registry's: what they are told on every way into the client, at every moment."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from ocidist import (
    AuthError,
    AuthRealmRefusedError,
    EgressPolicy,
    HostConfig,
    OciError,
    RedirectRefusedError,
)
from tests.faults.auth import all_closed
from tests.faults.egress import (
    HOME,
    PATHS,
    TOKEN,
    Honest,
    alice,
    assert_nothing_secret,
    assert_untouched,
    attacker,
    grant,
    public_network,
    with_token,
)
from tests.http.support import ALICE
from tests.peers.answers import respond

if TYPE_CHECKING:
    from tests.conftest import StartWireServer
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, Request, WireServer

# What is decided does not depend on the event loop, and each row has tests on all of them.
pytestmark = pytest.mark.in_turn

every_path = pytest.mark.parametrize("path", PATHS)
REFUSED = (AuthRealmRefusedError, httpx.HTTPStatusError)


@pytest.fixture
def registry(wire_server: WireServer) -> Honest:
    """A registry that answers as it should."""
    return Honest(wire_server)


@every_path
@pytest.mark.parametrize("where", ["name", "address", "port"])
async def test_t01_a_foreign_realm_is_told_nothing_on_any_path(
    registry: Honest, start_wire_server: StartWireServer, path: str, where: str
) -> None:
    evil = attacker(start_wire_server, where)
    server = registry.server
    server.on("*", "/v2/*", with_token(registry, f"{evil.origin}/token"))
    async with alice(server) as client:
        with pytest.raises(REFUSED) as caught:
            await PATHS[path].run(client, server.host)
    if isinstance(caught.value, AuthRealmRefusedError):
        assert server.host in str(caught.value)
        assert evil.host in str(caught.value)
    assert_nothing_secret(evil)
    # Asked once, as nobody; its own challenge is not answered.
    assert [request.method for request in evil.requests] == ["GET"]
    assert not any(request.header("Authorization") for request in server.requests)
    await all_closed(evil, server)


@every_path
async def test_t01_a_realm_that_is_trusted_is_given_what_it_needs(
    registry: Honest, start_wire_server: StartWireServer, path: str
) -> None:
    tokens = start_wire_server(name="localhost")
    tokens.on("GET", "/token*", grant())
    tokens.on("POST", "/token*", grant())
    server = registry.server
    server.on("*", "/v2/*", with_token(registry, f"{tokens.origin}/token"))
    async with alice(server, egress=EgressPolicy(trusted_realms=(tokens.origin,))) as client:
        await PATHS[path].run(client, server.host)
    assert tokens.requests[0].header("Authorization") == "Basic YWxpY2U6czNjcmV0"
    assert registry.requests
    for kept_from_it in (b"x-team", b"cookie", TOKEN.encode()):
        assert kept_from_it not in tokens.received.lower()
    assert ALICE.password.encode() not in server.received


@every_path
@pytest.mark.parametrize("let_in", [0, 1, 2])
async def test_t01_a_registry_that_turns_in_the_middle_leads_no_secret_away(
    registry: Honest, start_wire_server: StartWireServer, path: str, let_in: int
) -> None:
    evil, server = attacker(start_wire_server, "name"), registry.server
    evil.on("POST", "*", grant())
    good = with_token(registry, f"{server.origin}/token")
    bad = respond(401, {"WWW-Authenticate": f'Bearer realm="{evil.origin}/token",service="registry"'})

    def turning(request: Request, connection: Connection) -> None:
        came_in = request.header("Authorization") == f"Bearer {TOKEN}" and len(registry.requests) >= let_in
        (bad if came_in else good)(request, connection)

    server.on("*", "/token*", grant())
    server.on("*", "/v2/*", turning)
    async with alice(server) as client:
        with pytest.raises((AuthError, httpx.HTTPStatusError)):
            await PATHS[path].repeat(4, client, server.host)
    assert len(registry.requests) == let_in
    assert_nothing_secret(evil)
    assert [request.method for request in evil.requests] in ([], ["GET"])


# --- T02 -------------------------------------------------------------------------------------------------------------


@every_path
@pytest.mark.parametrize("trusted", [False, True])
async def test_t02_a_registry_of_https_never_leads_to_a_realm_of_http(
    start_wire_server: StartWireServer, authority: Authority, path: str, *, trusted: bool
) -> None:
    registry = Honest(start_wire_server(tls=authority))
    # The same host, in plain text.
    plain, server = start_wire_server(), registry.server
    server.on("*", "/v2/*", with_token(registry, f"{plain.origin}/token"))
    egress = EgressPolicy(trusted_realms=(plain.origin,), allow_private=True) if trusted else EgressPolicy()
    hosts = {server.host: HostConfig(scheme="https", ca=authority.ca_path)}
    async with alice(server, hosts=hosts, egress=egress) as client:
        with pytest.raises(REFUSED) as caught:
            await PATHS[path].run(client, server.host)
    if isinstance(caught.value, AuthRealmRefusedError):
        assert "https never leads to http" in str(caught.value)
    assert_untouched(plain)
    assert_nothing_secret_of_credentials(server)


def assert_nothing_secret_of_credentials(server: WireServer) -> None:
    """Hold that a registry saw no password, though it may see the client's own headers."""
    assert ALICE.password.encode() not in server.received
    assert b"Basic " not in server.received


# --- T03 -------------------------------------------------------------------------------------------------------------

INSIDE = {
    "loopback": "127.0.0.1",
    "metadata": "::ffff:169.254.169.254",
}


@every_path
@pytest.mark.parametrize("address", INSIDE.values(), ids=INSIDE)
async def test_t03_a_realm_whose_name_leads_inside_is_not_dialled(
    start_wire_server: StartWireServer, monkeypatch: pytest.MonkeyPatch, path: str, address: str
) -> None:
    network = public_network(monkeypatch)
    network.name("cdn.example", [address])
    registry = Honest(start_wire_server(name="registry.example"))
    victim, server = start_wire_server(name="cdn.example"), registry.server
    server.on("*", "/v2/*", with_token(registry, f"{victim.origin}/token"))
    async with alice(server, egress=EgressPolicy(trusted_realms=(victim.origin,))) as client:
        with pytest.raises(REFUSED):
            await PATHS[path].run(client, server.host)
    assert_untouched(victim)
    assert set(network.dialled) == {HOME}


@every_path
async def test_t03_a_realm_that_was_public_is_judged_again_in_the_middle(
    start_wire_server: StartWireServer, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    network = public_network(monkeypatch)
    network.name("cdn.example", ["1.1.1.1"], ["127.0.0.1"])
    network.lead("1.1.1.1", "127.0.0.2")
    registry = Honest(start_wire_server(name="registry.example"))
    tokens, server = start_wire_server(name="cdn.example", address="127.0.0.2"), registry.server
    gone: list[Request] = []

    def token_once(request: Request, connection: Connection) -> None:
        grant()(request, connection)
        connection.close()

    def forgetful(request: Request, connection: Connection) -> None:
        # A token is good for one request.
        if request.header("Authorization") and not gone:
            gone.append(request)
            registry(request, connection)
        else:
            challenge(request, connection)

    challenge = respond(401, {"WWW-Authenticate": f'Bearer realm="{tokens.origin}/token",service="registry"'})
    tokens.on("*", "/token*", token_once)
    server.on("*", "/v2/*", forgetful)
    async with alice(server) as client:
        with pytest.raises(REFUSED):
            await PATHS[path].repeat(2, client, server.host)
    assert len(gone) == 1
    assert set(network.dialled) == {HOME, "1.1.1.1"}
    assert_nothing_secret(tokens)
    assert len(tokens.requests) == 1


# --- T04 -------------------------------------------------------------------------------------------------------------


@every_path
@pytest.mark.parametrize("status", [302, 308])
async def test_t04_a_redirect_of_a_token_server_is_followed_nowhere(
    registry: Honest, start_wire_server: StartWireServer, path: str, status: int
) -> None:
    evil, server = start_wire_server(name="localhost"), registry.server
    asked = server.on("*", "/token*", respond(status, {"Location": f"{evil.origin}/token"}))
    server.on("*", "/v2/*", with_token(registry, f"{server.origin}/token"))
    async with alice(server) as client:
        with pytest.raises((RedirectRefusedError, httpx.HTTPStatusError)):
            await PATHS[path].run(client, server.host)
    assert_untouched(evil)
    assert len(asked.requests) == 1


@pytest.mark.parametrize("target", ["/other", "{origin}/other", "?again=1"])
async def test_t04_not_even_to_the_same_origin(registry: Honest, target: str) -> None:
    server = registry.server
    other = server.on("*", "/other*", grant())
    asked = server.on("*", "/token*", respond(307, {"Location": target.format(origin=server.origin)}))
    server.on("*", "/v2/*", with_token(registry, f"{server.origin}/token"))
    async with alice(server) as client:
        with pytest.raises(RedirectRefusedError):
            await PATHS["tags"].run(client, server.host)
    assert (len(asked.requests), other.requests) == (1, [])


# --- Q23, Q24 --------------------------------------------------------------------------------------------------------


@every_path
@pytest.mark.parametrize("realm", ["/token", "//{host}/token", "{origin}/token"])
async def test_q23_a_realm_is_read_relative_to_the_request(registry: Honest, path: str, realm: str) -> None:
    server = registry.server
    asked = server.on("*", "/token*", grant())
    server.on("*", "/v2/*", with_token(registry, realm.format(host=server.host, origin=server.origin)))
    async with alice(server) as client:
        await PATHS[path].run(client, server.host)
    assert len(asked.requests) >= 1
    assert asked.requests[0].header("Authorization") == "Basic YWxpY2U6czNjcmV0"


METADATA = ["http://[fd00:ec2::254]/", "http://0xa9fea9fe/"]


@every_path
@pytest.mark.parametrize("realm", METADATA)
async def test_q23_a_realm_inside_is_refused_on_every_path(
    registry: Honest, monkeypatch: pytest.MonkeyPatch, path: str, realm: str
) -> None:
    network = public_network(monkeypatch)
    server = registry.server
    server.on("*", "/v2/*", with_token(registry, realm))
    async with alice(server) as client:
        with pytest.raises(REFUSED):
            await PATHS[path].run(client, server.host)
    assert set(network.dialled) == {"127.0.0.1"}
    assert_nothing_secret_of_credentials(server)


@pytest.mark.parametrize("path", [name for name, path in PATHS.items() if not path.writes and name != "ping"])
async def test_q24_the_challenge_of_a_redirected_host_is_answered_by_nobody(
    registry: Honest, start_wire_server: StartWireServer, path: str
) -> None:
    evil, server = attacker(start_wire_server, "name"), registry.server
    further = attacker(start_wire_server, "address")
    named = f'Bearer realm="{further.origin}/token",service="s", Basic realm="r"'
    evil.on("*", "/elsewhere*", respond(401, {"WWW-Authenticate": named}))
    registry.replace(PATHS[path].method, respond(307, {"Location": f"{evil.origin}/elsewhere"}))
    server.on("*", "/token*", grant())
    server.on("*", "/v2/*", with_token(registry, f"{server.origin}/token"))
    async with alice(server) as client:
        # Some of them do without: a list of referrers is then what the tag says.
        with suppress(OciError, httpx.HTTPStatusError):
            await PATHS[path].run(client, server.host)
    assert_nothing_secret(evil)
    assert_untouched(further)
    assert len(evil.requests) <= 1
