"""Who asks: identities never mix, and what could not be sent is refused where it is written down."""

from __future__ import annotations

import base64
import random
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import attrs
import pytest

from ocidist import (
    ANONYMOUS,
    Basic,
    Client,
    Credential,
    CredentialsRejectedError,
    EgressPolicy,
    IdentityToken,
    InvalidCredentialError,
    InvalidReferenceError,
    OciError,
    RegistryToken,
    StaticCredentials,
    UsageError,
)
from ocidist.credentials.environment import client_credentials
from ocidist.credentials.store import CallableCredentials, as_provider
from ocidist.http.tokens import basic_header, identity
from tests.http.support import (
    ALICE,
    NAME,
    ONCE,
    SOME_TAGS,
    TAGS,
    alice_at,
    authorizations,
    challenge,
    client_for,
    list_tags,
    unauthorized,
)
from tests.peers.answers import respond, respond_json
from tests.peers.token_server import TokenServer, User, claims

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.wire_server import Connection, Request, WireServer

ALL = (("repository:*", frozenset({"pull", "push"})),)
SECRET = "hunter2"
PEOPLE = {name: User(f"pw-{name}", ALL) for name in ("ann", "ben", "cleo")}


def whoami(realm: str) -> Handler:
    """Answer with the name in the token, as a list of tags."""

    def answer(request: Request, connection: Connection) -> None:
        kind, _, token = (request.header("Authorization") or "").partition(" ")
        if kind != "Bearer":
            unauthorized(challenge(realm))(request, connection)
            return
        granted = claims(token)
        # A token for another repository must not get here either.
        name = request.path.removeprefix("/v2/").partition("/tags/")[0]
        assert name in {entry["name"] for entry in granted["access"]}
        respond_json(200, {"tags": [granted["sub"]]})(request, connection)

    return answer


@pytest.mark.parametrize("seed", range(4))
async def test_t11_identities_that_share_hosts_repositories_and_a_token_server_never_mix(
    start_wire_server: StartWireServer, seed: int
) -> None:
    order = random.Random(seed)  # noqa: S311 -- a repeatable order
    wrong: list[tuple[str, str]] = []
    # Short lives and few places in the cache keep tokens coming and going.
    with TokenServer(users=PEOPLE, public=()) as tokens:
        registries = [start_wire_server(), start_wire_server()]
        for server in registries:
            server.on("GET", "/v2/*", whoami(tokens.realm))
        credentials = {name: Basic(name, user.password) for name, user in PEOPLE.items()}
        default = {registries[0].host: credentials["ann"], registries[1].host: credentials["ben"]}
        policy = EgressPolicy(trusted_realms=(tokens.origin,))
        async with client_for(*registries, credentials=default, egress=policy) as client:

            async def ask(who: str, server: WireServer, name: str) -> None:
                own = default[server.host] == credentials[who]
                credential = None if own and order.random() < 0.5 else credentials[who]
                repository = client.repository(f"{server.host}/{name}", credential=credential)
                found = await repository.tags.list().collect()
                if found != [who]:
                    wrong.append((who, found[0]))

            async with anyio.create_task_group() as group:
                for _ in range(150):
                    who, server = order.choice(sorted(PEOPLE)), order.choice(registries)
                    group.start_soon(ask, who, server, order.choice(["acme/one", "acme/two", "acme/three"]))
                    if order.random() < 0.1:
                        await anyio.lowlevel.checkpoint()
        assert wrong == []
        # One token for each of three people, two registries and three repositories, at most.
        assert len(tokens.calls) <= 18


async def test_two_clients_share_nothing(wire_server: WireServer) -> None:
    with TokenServer(users=PEOPLE, public=()) as tokens:
        wire_server.on("GET", "/v2/*", whoami(tokens.realm))
        for name, user in PEOPLE.items():
            async with alice_at(
                wire_server, tokens, credentials={wire_server.host: Basic(name, user.password)}
            ) as client:
                assert await list_tags(client, wire_server) == [name]


def test_an_identity_tells_credentials_apart_and_hides_them() -> None:
    kinds = [
        ANONYMOUS,
        Basic("a", "b"),
        Basic("a", "c"),
        Basic("ab", "b"),
        IdentityToken("b"),
        RegistryToken("b"),
    ]
    assert len({identity(kind) for kind in kinds}) == len(kinds)
    assert identity(Basic("a", "b")) == identity(Basic("a", "b"))
    assert "s3cret" not in identity(ALICE)


@pytest.mark.parametrize("username", ["a:b", ":", "", "a\x00b", "a\nb", "a\r\nX-Evil: 1", "\x7f", 7, None])
def test_t42_a_user_name_that_cannot_be_sent_is_refused(username: Any) -> None:  # noqa: ANN401 -- wrong types too
    with pytest.raises(InvalidCredentialError) as caught:
        Basic(username, "secret-word")
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize("password", ["", "a\x00b", "a\nb", "a\r\nX-Evil: 1", "\x1b[0m", b"bytes", None])
def test_t42_a_password_that_cannot_be_sent_is_refused(password: Any) -> None:  # noqa: ANN401 -- wrong types too
    with pytest.raises(InvalidCredentialError) as caught:
        Basic("alice", password)
    assert repr(password) not in str(caught.value) or not password


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "tökén", "a\x00", None])
@pytest.mark.parametrize("kind", [IdentityToken, RegistryToken])
def test_t42_a_token_that_cannot_be_sent_is_refused(kind: type[Credential], token: Any) -> None:  # noqa: ANN401 -- wrong types too
    with pytest.raises(InvalidCredentialError):
        kind(token)  # type: ignore[call-arg]  # both take one


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("alice", "pass:word:with:colons"),
        ("ålice", "pässwörd"),
        ("用户", "密码"),
        ("alice", 'blanks and \\ " quotes'),
        ("00000000-0000-0000-0000-000000000000", "x" * 4000),
        ("robot$ci+push", "s"),
    ],
)
async def test_t42_everything_else_arrives_as_utf8(wire_server: WireServer, username: str, password: str) -> None:
    expected = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()

    def answer(request: Request, connection: Connection) -> None:
        refusal = unauthorized({"WWW-Authenticate": 'Basic realm="r", charset="UTF-8"'})
        (SOME_TAGS if request.header("Authorization") == expected else refusal)(request, connection)

    wire_server.on("GET", TAGS, answer)
    async with client_for(wire_server, credentials={wire_server.host: Basic(username, password)}) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert basic_header(Basic(username, password)) == expected


def test_a_mapping_is_read_by_registry_name() -> None:
    found = StaticCredentials({"https://Registry.Example": ALICE, "docker.io": Basic("hub", "pw")})
    assert repr(found) == "StaticCredentials(['docker.io', 'registry.example'])"
    with pytest.raises(InvalidReferenceError):
        StaticCredentials({"not a host": ALICE})


async def test_every_name_of_docker_hub_is_the_same() -> None:
    for key in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        found = await StaticCredentials({key: ALICE}).get("docker.io")
        assert found == ALICE


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_credentials_may_come_from_a_callable(wire_server: WireServer, *, asynchronous: bool) -> None:
    asked: list[str] = []

    def plain(host: str) -> Credential:
        asked.append(host)
        return ALICE

    async def slow(host: str) -> Credential:
        await anyio.lowlevel.checkpoint()
        return plain(host)

    wire_server.on("GET", TAGS, unauthorized({"WWW-Authenticate": 'Basic realm="r"'}), SOME_TAGS)
    ask: Callable[[str], Credential | Awaitable[Credential]] = slow if asynchronous else plain
    async with client_for(wire_server, credentials=ask) as client:
        assert await list_tags(client, wire_server) == ["v1"]
    assert set(asked) == {wire_server.host}


async def test_a_provider_is_told_the_repository_and_its_errors_are_heard(wire_server: WireServer) -> None:
    class Vault:
        def __init__(self) -> None:
            self.asked: list[tuple[str, str | None]] = []

        async def get(self, host: str, *, repository: str | None = None) -> Credential:
            self.asked.append((host, repository))
            await anyio.lowlevel.checkpoint()
            if repository == "acme/locked":
                msg = "the vault is locked"
                raise CredentialsRejectedError(msg)
            return ANONYMOUS

    wire_server.on("GET", "/v2/*", SOME_TAGS)
    vault = Vault()
    async with client_for(wire_server, credentials=vault) as client:
        await list_tags(client, wire_server)
        await client.registry(wire_server.host).ping()
        for _ in range(40):
            with pytest.raises(CredentialsRejectedError, match="vault is locked"):
                await list_tags(client, wire_server, "acme/locked")
    assert vault.asked[:2] == [(wire_server.host, NAME), (wire_server.host, None)]


def test_what_credentials_may_be_is_told_apart() -> None:
    assert isinstance(client_credentials(None, trust_env=False), StaticCredentials)
    assert isinstance(as_provider({}), StaticCredentials)
    assert isinstance(as_provider(lambda _host: ALICE), CallableCredentials)
    given = StaticCredentials({})
    assert as_provider(given) is given


@pytest.mark.parametrize(
    "wrong", [("alice", SECRET), ALICE, SECRET, {"a.io": ("alice", SECRET)}, {"a.io": None}], ids=repr
)
def test_what_is_no_credential_is_refused_without_showing_it(wrong: Any) -> None:  # noqa: ANN401 -- whatever users pass
    with pytest.raises(UsageError, match="credential") as caught:
        Client(credentials=wrong)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("answer", [None, ("alice", SECRET)], ids=repr)
async def test_what_a_callable_returns_is_a_credential(answer: Any) -> None:  # noqa: ANN401 -- whatever users return
    with pytest.raises(UsageError, match="ANONYMOUS") as caught:
        await as_provider(lambda _host: answer).get("a.io")
    assert SECRET not in str(caught.value)


async def test_a_credential_for_one_repository_is_nobody_elses(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v2/*", unauthorized({"WWW-Authenticate": 'Basic realm="r"'}))
    async with client_for(wire_server, retry=ONCE) as client:
        for credential in (ALICE, None):
            repository = client.repository(f"{wire_server.host}/{NAME}", credential=credential)
            with pytest.raises(OciError):
                await repository.tags.list().collect()
    assert authorizations(wire_server) == [None, basic_header(ALICE), None]


@pytest.mark.parametrize(
    "text", ["\x1b]0;title\x07\x1b[31mred", "a\r\nb", "\u202egnp.exe", "\u200b\u2066x", "\x9b31m", "tab\tbell\x07"]
)
@pytest.mark.parametrize("shape", ["errors", "plain", "message", "details"])
async def test_t46_what_a_server_says_is_safe_to_print(
    wire_server: WireServer, start_wire_server: StartWireServer, text: str, shape: str
) -> None:
    bodies: dict[str, Handler] = {
        "errors": respond_json(400, {"errors": [{"code": f"X{text}", "message": text, "detail": {"a": text}}]}),
        "plain": respond(400, {}, text.encode()),
        "message": respond_json(400, {"message": text}),
        "details": respond_json(400, {"details": text, "error_description": text}),
    }
    wire_server.on("GET", TAGS, bodies[shape])
    tokens = start_wire_server()
    tokens.on("GET", "/token*", bodies[shape])
    wire_server.on("GET", "/v2/other/tags/list", unauthorized(challenge(f"{tokens.origin}/token")))
    async with client_for(wire_server) as client:
        for name in (NAME, "other"):
            with pytest.raises(OciError) as caught:
                await list_tags(client, wire_server, name)
            assert str(caught.value).isprintable()
            assert caught.value.message.isprintable()


@attrs.frozen
class Scoped(Credential):
    """A kind of credential that nobody knows."""

    number: int = 7


async def test_a_credential_of_an_unknown_kind_counts_as_none(wire_server: WireServer) -> None:
    wire_server.on("GET", TAGS, SOME_TAGS)
    async with Client(hosts=None, credentials={wire_server.host: Scoped()}) as client:
        repository = client.repository(f"http://{wire_server.host}/{NAME}")
        assert await repository.tags.list().collect() == ["v1"]
    assert identity(Scoped()) != identity(Scoped(8))
