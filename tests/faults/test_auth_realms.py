"""Challenges that name a token server where credentials, or any request, must not go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ocidist import AuthError, AuthRealmRefusedError, ChallengeError, Digest, EgressPolicy, HostConfig, Manifest
from ocidist.wire.egress import Origin, check_link, check_location, check_realm, check_redirect, resolve
from tests.faults.auth import SOME_TAGS, Issuer, alice_with, anything, assert_no_secrets, located, taking
from tests.http.support import NAME, PULL, TAGS, challenge, list_tags, unauthorized
from tests.peers import images
from tests.peers.answers import error, respond, respond_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ocidist import Repository
    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.tls import Authority
    from tests.peers.token_server import TokenServer
    from tests.peers.wire_server import WireServer

NEVER = {
    "metadata": "http://169.254.169.254/latest/meta-data",
    "metadata, decimal": "http://2852039166/token",
    "metadata, hexadecimal": "http://0xa9fea9fe/token",
    "metadata, octal": "http://0251.0376.0251.0376/token",
    "metadata, short": "http://169.254.43518/token",
    "metadata, mapped": "http://[::ffff:169.254.169.254]/token",
    "metadata, by name": "http://metadata.google.internal/token",
    "link-local": "http://[fe80::1]/token",
    "private": "http://10.0.0.1/token",
    "private, other": "https://192.168.1.1/token",
    "userinfo": "http://alice:s3cr3t@{host}/token",
    "userinfo, hiding the host": "http://{host}@{foreign}/token",
    "file": "file:///etc/passwd",
    "ftp": "ftp://{host}/token",
    "script": "javascript:alert(1)",
    "backslash": "http://{foreign}\\\\@{host}/token",
    "blank": "http://{foreign}/to ken",
    "not ASCII": "http://{foreign}/t\xf6ken",
    "no host": "http:///token",
    "port": "http://127.0.0.1:99999/token",
    "long": "http://{foreign}/" + "a" * 9000,
}
every_refusal = pytest.mark.parametrize("realm", NEVER.values(), ids=NEVER.keys())
MANIFEST = Manifest.of(images.image("linux/amd64").manifest.data)
BLOB = b"a small blob"
DIGEST = Digest.of(BLOB)
OPERATIONS: dict[str, tuple[str, Callable[[Repository], Awaitable[object]]]] = {
    "get": ("pull manifest", lambda repository: repository.manifests.get("v1")),
    "blob": ("pull blob", lambda repository: repository.blobs.get(DIGEST)),
    "push": ("push manifest", lambda repository: repository.manifests.push(MANIFEST)),
    "upload": ("start upload", lambda repository: repository.blobs.push(BLOB, check_exists=False)),
    "mount": ("mount blob", lambda repository: repository.blobs.mount(DIGEST, source="other/app")),
    "delete": ("delete blob", lambda repository: repository.blobs.delete(DIGEST)),
}


@every_refusal
@pytest.mark.parametrize("anonymous", [True, False], ids=["nobody", "alice"])
async def test_f039_realms_that_must_not_be_asked_are_not(
    wire_server: WireServer, start_wire_server: StartWireServer, realm: str, *, anonymous: bool
) -> None:
    foreign = start_wire_server(name="localhost")
    named = realm.format(host=wire_server.host, foreign=foreign.host)
    route = wire_server.on("GET", TAGS, unauthorized(challenge(named, PULL)))
    options: dict[str, Any] = {"credentials": {}} if anonymous else {}
    async with alice_with(wire_server, foreign=(foreign,), **options) as client:
        with pytest.raises(AuthRealmRefusedError) as caught:
            await list_tags(client, wire_server)
    assert located(caught.value, wire_server)
    assert caught.value.source == wire_server.origin
    assert "s3cr3t" not in repr(caught.value)
    assert len(str(caught.value)) < 500
    assert len(route.requests) == len(wire_server.requests) == 1
    assert foreign.connections == []
    assert_no_secrets(wire_server)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("when", ["at first", "later", "at the root"])
async def test_f039_it_is_the_same_for_every_operation_and_moment(
    wire_server: WireServer, name: str, when: str
) -> None:
    issuer = Issuer(wire_server)
    evil = unauthorized(challenge("http://169.254.169.254/token", PULL))
    said: dict[str, tuple[Handler, ...]] = {
        "at first": (evil,),
        "later": (unauthorized(issuer.challenge()), evil),
        "at the root": (respond(401),),
    }
    route = wire_server.on("*", f"/v2/{NAME}/*", *said[when])
    wire_server.on("GET", "/v2/", evil)
    operation, run = OPERATIONS[name]
    async with alice_with(wire_server) as client:
        with pytest.raises(AuthRealmRefusedError if when != "later" else AuthError) as caught:
            await run(client.repository(f"{wire_server.host}/{NAME}"))
    assert located(caught.value, wire_server, operation)
    assert len(route.requests) == (2 if when == "later" else 1)


async def test_f039_an_empty_realm_is_no_challenge(wire_server: WireServer) -> None:
    route = wire_server.on("GET", TAGS, unauthorized(challenge("", PULL)))
    async with alice_with(wire_server) as client:
        with pytest.raises(ChallengeError) as caught:
            await list_tags(client, wire_server)
    assert located(caught.value, wire_server)
    assert len(route.requests) == 1
    assert_no_secrets(wire_server)


@pytest.mark.parametrize("realm", ["/token", "//{host}/token", "token", "../../../../token", "/token?a=b%2Fc", "?t=1"])
async def test_f039_a_relative_realm_is_the_registrys_own(wire_server: WireServer, realm: str) -> None:
    asked = wire_server.on("GET", "/*", respond_json(200, {"token": "t1"}))
    named = challenge(realm.format(host=wire_server.host), PULL)
    wire_server.on("GET", TAGS, taking(anything, named, SOME_TAGS))
    async with alice_with(wire_server) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    [request] = asked.requests
    assert (request.header("Authorization") or "").startswith("Basic ")
    if "?" in realm:
        assert realm.partition("?")[2] in request.target


# --- foreign, but harmless without credentials -----------------------------------------------------------------------


def elsewhere(start: StartWireServer, where: str) -> WireServer:
    """Start a server that is not the registry: another host, or another port of the same."""
    return start(**{"name": {"name": "localhost"}, "address": {"address": "127.0.0.2"}, "port": {}}[where])


foreigners = pytest.mark.parametrize("where", ["name", "address", "port"])


@foreigners
async def test_f039_a_foreign_token_server_is_asked_without_credentials(
    wire_server: WireServer, start_wire_server: StartWireServer, where: str
) -> None:
    foreign = elsewhere(start_wire_server, where)
    issuer = Issuer(foreign)
    wire_server.on("GET", TAGS, taking(anything, issuer.challenge(), SOME_TAGS))
    async with alice_with(wire_server, foreign=(foreign,)) as client:
        assert await list_tags(client, wire_server) == ["v1"]
        assert await list_tags(client, wire_server) == ["v1"]
    assert issuer.scopes() == [[PULL]]
    assert b"uthorization" not in foreign.received
    assert b"account" not in foreign.received
    assert_no_secrets(wire_server)


@foreigners
@pytest.mark.parametrize("status", [401, 403])
async def test_f039_what_a_foreign_token_server_refuses_to_nobody_is_not_told_to_it_either(
    wire_server: WireServer, start_wire_server: StartWireServer, where: str, status: int
) -> None:
    foreign = elsewhere(start_wire_server, where)
    asked = foreign.on("GET", "/token*", error(status, "DENIED", headers={"WWW-Authenticate": 'Basic realm="x"'}))
    route = wire_server.on("GET", TAGS, unauthorized(challenge(f"{foreign.origin}/token", PULL)))
    async with alice_with(wire_server, foreign=(foreign,)) as client:
        with pytest.raises(AuthRealmRefusedError) as caught:
            await list_tags(client, wire_server)
    assert located(caught.value, wire_server)
    assert foreign.host in str(caught.value)
    assert wire_server.host in str(caught.value)
    assert (len(asked.requests), len(route.requests)) == (1, 1)
    assert b"uthorization" not in foreign.received


@foreigners
async def test_f039_a_policy_may_forbid_asking_it_at_all(
    wire_server: WireServer, start_wire_server: StartWireServer, where: str
) -> None:
    foreign = elsewhere(start_wire_server, where)
    wire_server.on("GET", TAGS, unauthorized(challenge(f"{foreign.origin}/token", PULL)))
    strict = EgressPolicy(allow_anonymous_realm=False)
    async with alice_with(wire_server, foreign=(foreign,), egress=strict) as client:
        with pytest.raises(AuthRealmRefusedError) as caught:
            await list_tags(client, wire_server)
    assert located(caught.value, wire_server)
    assert foreign.connections == []


@pytest.mark.parametrize("form", ["{host}", "{origin}"])
async def test_f039_a_trusted_token_server_is_given_the_password(
    wire_server: WireServer, token_server: TokenServer, form: str
) -> None:
    trusted = form.format(host=token_server.wire.host, origin=token_server.origin)
    wire_server.on("GET", TAGS, taking(anything, challenge(token_server.realm, PULL), SOME_TAGS))
    policy = EgressPolicy(trusted_realms=(trusted,))
    async with alice_with(wire_server, tokens=token_server, foreign=(wire_server,), egress=policy) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert [call.basic for call in token_server.calls] == [("alice", "s3cret")]


async def test_f039_a_registry_of_https_has_no_token_server_of_http(
    wire_server: WireServer, start_wire_server: StartWireServer, authority: Authority
) -> None:
    secure = start_wire_server(tls=authority)
    trusted = EgressPolicy(trusted_realms=(wire_server.origin,), allow_private=True)
    hosts = {secure.host: HostConfig(scheme="https", ca=authority.ca_path)}
    for realm in (f"{wire_server.origin}/token", f"http://{secure.host}/token"):
        secure.on("GET", TAGS, unauthorized(challenge(realm, PULL)))
        async with alice_with(secure, foreign=(wire_server,), hosts=hosts, egress=trusted) as client:
            with pytest.raises(AuthRealmRefusedError, match="https never leads to http") as caught:
                await list_tags(client, secure)
        assert located(caught.value, secure)
    assert wire_server.connections == []
    assert secure.targets() == [f"GET {TAGS}?n=1000"] * 2
    assert secure.tls_failures == []
    assert_no_secrets(secure)


CLIMBING = ["../{}", "../../{}", "a/../../{}", "./../{}", "../../../{}", "..//{}", "..//../{}"]


@pytest.mark.parametrize("reference", CLIMBING)
@pytest.mark.parametrize("tail", [".evil.example/token", "@evil.example/token", ":1@evil.example/token", "1/token"])
@pytest.mark.parametrize(
    "base", ["https://registry.example", "https://registry.example/v2/", "http://127.0.0.1:5000/v2/a"]
)
def test_t01_a_reference_that_climbs_too_high_stays_on_its_host(base: str, reference: str, tail: str) -> None:
    target = reference.format(tail)
    checks: list[Callable[[str, str], str]] = [
        lambda here, there: check_realm(here, there).url,
        lambda here, there: check_location(here, there).url,
        lambda here, there: check_redirect(here, there).url,
        check_link,
        resolve,
    ]
    for check in checks:
        found = check(base, target)
        assert found.startswith(f"{Origin.of(base)}/")
        assert Origin.of(found) == Origin.of(base)
