"""docker-registry 2.8.2 takes what the issuer signs; skopeo and ocidist get through its token server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import to_thread

from ocidist import (
    ANONYMOUS,
    Basic,
    CredentialsRejectedError,
    HostConfig,
    IdentityToken,
    MemoryTokenCache,
    NameUnknownError,
    OciError,
    RegistryToken,
    ScopeDeniedError,
    TokenOptions,
    UnauthorizedError,
)
from ocidist.client import Client
from ocidist.issuer import Htpasswd, KeyId, KeyKind, KeyMaterial, SelfTokenProvider, TokenIssuer, TokenRequest
from ocidist.wire.scope import ScopeSet
from tests.issuer.support import ALICE, issuing, until
from tests.peers import images
from tests.peers.docker_registry import DockerRegistries
from tests.peers.peer import Mode
from tests.peers.token_server import ISSUER, SERVICE
from tests.remote.support import push_image
from tests.remote.test_interop import contents, pulled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ocidist import Credential
    from tests.conftest import StartWireServer
    from tests.issuer.support import Issuing, Started
    from tests.peers.clients import Skopeo
    from tests.peers.peer import Peer
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, Request

    UseSkopeo = Callable[[Peer], Skopeo]


# --- what the registry takes -----------------------------------------------------------------------------------------


async def is_taken(registry: Peer, name: str, token: str) -> bool:
    """Return whether a registry takes a token: one that it takes leads to an empty list, or to nothing."""
    async with registry.client(credentials={registry.host: RegistryToken(token)}) as client:
        try:
            await client.repository(f"{registry.host}/{name}").tags.list().collect(limit=10)
        except UnauthorizedError:
            return False
        except NameUnknownError:
            return True
    raise AssertionError(f"there is a repository {name}")


@pytest.fixture(scope="session", params=list(KeyKind))
def either(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[tuple[KeyMaterial, Peer]]:
    """A registry that trusts an RSA key, and one that trusts an EC key."""
    directory = tmp_path_factory.mktemp("either")
    key = KeyMaterial.generate(kind=request.param)
    with issuing(key, directory / "htpasswd") as server, DockerRegistries(directory, authority) as registries:
        yield key, registries.start(Mode.TOKEN, token_server=server)  # type: ignore[arg-type]  # it has what is asked of one


@pytest.mark.parametrize(
    ("kid", "x5c", "taken"),
    [
        (KeyId.LIBTRUST, True, True),
        (KeyId.LIBTRUST, False, True),
        (KeyId.THUMBPRINT, True, True),
        # A name that 3.x knows keys by.
        (KeyId.THUMBPRINT, False, False),
    ],
)
async def test_a13_docker_registry_finds_the_key_by_certificate_or_name(
    either: tuple[KeyMaterial, Peer], fresh_name: str, kid: KeyId, x5c: bool, taken: bool
) -> None:
    key, registry = either
    issuer = TokenIssuer(key, issuer=ISSUER, service=SERVICE, kid=kid, x5c=x5c)
    token = issuer.issue(TokenRequest("alice", scopes=ScopeSet.parse(f"repository:{fresh_name}:pull"))).token
    assert await is_taken(registry, fresh_name, token) is taken


async def test_n15_tokens_of_another_key_issuer_or_service_are_not_taken(
    either: tuple[KeyMaterial, Peer], fresh_name: str
) -> None:
    key, registry = either
    wanted = ScopeSet.parse(f"repository:{fresh_name}:pull")
    stranger = KeyMaterial.generate(kind=KeyKind.EC)
    for issuer in (
        TokenIssuer(stranger, issuer=ISSUER, service=SERVICE),
        TokenIssuer(key, issuer="somebody else", service=SERVICE),
        TokenIssuer(key, issuer=ISSUER, service="another registry"),
        TokenIssuer(key, issuer=ISSUER, service=SERVICE, clock=lambda: 1_000_000_000),
    ):
        assert not await is_taken(registry, fresh_name, issuer.issue(TokenRequest(scopes=wanted)).token)
    login = TokenIssuer(key, issuer=ISSUER, service=SERVICE).login("alice")
    assert not await is_taken(registry, fresh_name, login.token)
    async with registry.client(credentials={registry.host: RegistryToken(login.token)}) as client:
        assert (await client.registry(registry.host).ping()).authenticated


# --- through the token server ----------------------------------------------------------------------------------------


async def test_n15_skopeo_and_ocidist_push_and_pull_through_the_token_server(
    started: Started, skopeo: UseSkopeo, fresh_name: str, tmp_path: Path
) -> None:
    registry = started.registry
    image = images.index()
    await to_thread.run_sync(images.write_layout, image, tmp_path / "layout", "v1")
    await skopeo(registry).push(tmp_path / "layout", "v1", f"{fresh_name}:v1")
    async with registry.client() as client:
        repository = client.repository(f"{registry.host}/{fresh_name}")
        assert await pulled(repository, "v1") == contents(image)
        other = images.image("linux/amd64")
        await push_image(repository, other, "v2")
    found = await skopeo(registry).pull(f"{fresh_name}:v2", tmp_path / "out")
    assert contents(found) == contents(other)


@pytest.mark.parametrize(
    ("options", "ways"),
    [
        (TokenOptions(), [("GET", ""), ("GET", "")]),
        (TokenOptions(offline_token=True), [("GET", ""), ("POST", "refresh_token")]),
        (TokenOptions(force_oauth2=True), [("POST", "password"), ("POST", "password")]),
        (TokenOptions(force_oauth2=True, offline_token=True), [("POST", "password"), ("POST", "refresh_token")]),
    ],
    ids=["get", "get offline", "post", "post offline"],
)
async def test_n15_ocidist_gets_tokens_in_every_way_there_is(
    started: Started, token_server: Issuing, fresh_name: str, options: TokenOptions, ways: list[tuple[str, str]]
) -> None:
    registry = started.registry
    async with registry.client(token_options=options) as client:
        for suffix in ("one", "two"):
            repository = client.repository(f"{registry.host}/{fresh_name}-{suffix}")
            pushed = await repository.blobs.push(suffix.encode())
            assert await repository.blobs.get(pushed.digest) == suffix.encode()
    assert await to_thread.run_sync(until, token_server.seen, 2) == ways


async def test_n15_a_refresh_token_is_a_login_of_its_own(
    started: Started, token_server: Issuing, fresh_name: str
) -> None:
    registry = started.registry
    async with Client() as client:
        pairs = f"service={SERVICE.replace(' ', '%20')}&offline_token=true&client_id=ocidist"
        answer = await client.get(f"{token_server.realm}?{pairs}", auth=("alice", ALICE))
    refresh = answer.json()["refresh_token"]
    async with registry.client(credentials={registry.host: IdentityToken(refresh)}) as client:
        repository = client.repository(f"{registry.host}/{fresh_name}")
        await push_image(repository, images.image(), "v1")
        await repository.manifests.get("v1")
    assert ("POST", "refresh_token") in await to_thread.run_sync(until, token_server.seen, 2)
    async with registry.client(credentials={registry.host: IdentityToken(refresh[:-1] + "_")}) as client:
        with pytest.raises(CredentialsRejectedError):
            await client.repository(f"{registry.host}/{fresh_name}").manifests.get("v1")


async def test_n15_somebody_anonymous_reads_what_is_public_and_nothing_else(started: Started, fresh_name: str) -> None:
    registry = started.registry
    async with registry.client() as client:
        for name in (f"public/{fresh_name}", fresh_name):
            await push_image(client.repository(f"{registry.host}/{name}"), images.image(), "v1")
    async with registry.client(credentials={registry.host: ANONYMOUS}) as client:
        public = client.repository(f"{registry.host}/public/{fresh_name}")
        assert (await public.manifests.get("v1")).digest == images.image().digest
        with pytest.raises(ScopeDeniedError):
            await public.blobs.push(b"not for me to write")
        with pytest.raises(ScopeDeniedError):
            await client.repository(f"{registry.host}/{fresh_name}").manifests.get("v1")


@pytest.mark.parametrize("options", [TokenOptions(), TokenOptions(force_oauth2=True)], ids=["get", "post"])
async def test_n15_a_wrong_password_is_told_as_one(started: Started, fresh_name: str, options: TokenOptions) -> None:
    registry = started.registry
    for credential in (Basic("alice", "wrong"), Basic("nobody", ALICE)):
        found: dict[str, Credential] = {registry.host: credential}
        async with registry.client(credentials=found, token_options=options) as client:
            with pytest.raises(CredentialsRejectedError) as caught:
                await client.repository(f"{registry.host}/{fresh_name}").manifests.get("v1")
        assert ALICE not in str(caught.value)
        assert "401: the user name or password is" in str(caught.value)


async def test_n15_many_clients_at_once_get_their_tokens(started: Started, fresh_name: str) -> None:
    registry = started.registry

    async def push(number: int) -> None:
        async with registry.client() as client:
            await client.repository(f"{registry.host}/{fresh_name}-{number % 4}").blobs.push(str(number).encode())

    async with anyio.create_task_group() as tasks:
        for number in range(16):
            tasks.start_soon(push, number)


# --- a client that signs for itself ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[tuple[TokenIssuer, Peer]]:
    """A registry whose token server is gone."""
    directory = tmp_path_factory.mktemp("alone")
    with DockerRegistries(directory, authority) as registries:
        with issuing(KeyMaterial.generate(kind=KeyKind.EC), directory / "htpasswd") as server:
            registry = registries.start(Mode.TOKEN, token_server=server)  # type: ignore[arg-type]  # see above
        yield server.issuer, registry


def itself(issuer: TokenIssuer, registry: Peer, **options: str) -> Client:
    """Return a client that signs for itself."""
    provider = SelfTokenProvider(issuer, [registry.host], **options)  # type: ignore[arg-type]  # only ever the account
    return Client(token_cache=provider, hosts={registry.host: HostConfig(scheme="http")})


async def test_n15_a_client_with_the_key_needs_no_token_server(
    alone: tuple[TokenIssuer, Peer], fresh_name: str
) -> None:
    issuer, registry = alone
    image = images.index()
    async with itself(issuer, registry, account="the mirror") as client:
        assert (await client.registry(registry.host).ping()).authenticated
        source = client.repository(f"{registry.host}/{fresh_name}")
        await push_image(source, image, "v1")
        assert await pulled(source, "v1") == contents(image)
        assert fresh_name in await client.registry(registry.host).repositories().collect(limit=1000)
        target = client.repository(f"{registry.host}/{fresh_name}-copy")
        blob = await source.blobs.push(b"to be mounted")
        await target.blobs.mount(blob.digest, source=fresh_name)
        assert await target.blobs.get(blob.digest) == b"to be mounted"
        await source.manifests.delete((await source.manifests.stat("v1")).digest)


async def test_n15_each_token_has_the_scopes_of_its_request_and_no_others(
    alone: tuple[TokenIssuer, Peer], fresh_name: str
) -> None:
    issuer, registry = alone
    asked: list[str] = []

    class Watched(SelfTokenProvider):
        def find(self, owner, scopes, *, now):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 -- the provider's own
            asked.append(str(scopes))
            found = super().find(owner, scopes, now=now)
            assert found is None or found.scopes.covers(scopes)
            return found

    provider = Watched(issuer, [registry.host])
    async with Client(token_cache=provider, hosts={registry.host: HostConfig(scheme="http")}) as client:
        await client.repository(f"{registry.host}/{fresh_name}").blobs.push(b"content")
    assert set(asked) <= {f"repository:{fresh_name}:pull", f"repository:{fresh_name}:pull,push"}
    assert asked


async def test_n15_a_client_with_a_key_that_is_not_trusted_is_told_so(
    alone: tuple[TokenIssuer, Peer], fresh_name: str
) -> None:
    _, registry = alone
    stranger = TokenIssuer(KeyMaterial.generate(kind=KeyKind.EC), issuer=ISSUER, service=SERVICE)
    async with itself(stranger, registry) as client:
        with pytest.raises(CredentialsRejectedError):
            await client.repository(f"{registry.host}/{fresh_name}").manifests.get("v1")


@pytest.mark.parametrize("named", ["another host", "another service", "another scheme"])
async def test_n15_no_other_registry_gets_a_token_that_was_signed_here(
    alone: tuple[TokenIssuer, Peer], start_wire_server: StartWireServer, named: str
) -> None:
    issuer, registry = alone
    hostile = start_wire_server()
    sent: list[str | None] = []
    service = "theirs" if named == "another service" else SERVICE

    def answer(request: Request, connection: Connection) -> None:
        request.read()
        if request.path == "/token":
            connection.send(b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"token":"other"}')
            return
        sent.append(request.header("Authorization"))
        realm = f'Bearer realm="{hostile.origin}/token",service="{service}",scope="repository:a/b:pull"'
        connection.send(f"HTTP/1.1 401 No\r\nWWW-Authenticate: {realm}\r\nContent-Length: 0\r\n\r\n".encode())

    hostile.on("*", "*", answer)
    names = {
        "another host": [registry.host],
        "another service": [hostile.host],
        "another scheme": [f"https://{hostile.host}"],
    }
    provider = SelfTokenProvider(issuer, names[named])
    async with Client(token_cache=provider, hosts={hostile.host: HostConfig(scheme="http")}) as client:
        with pytest.raises(OciError):
            await client.repository(f"{hostile.host}/a/b").manifests.get("v1")
    assert {each for each in sent if each is not None} == {"Bearer other"}


# --- a registry with a user file -------------------------------------------------------------------------------------


async def test_n15_docker_registry_reads_the_user_file_whenever_it_is_replaced(
    tmp_path: Path, authority: Authority, fresh_name: str
) -> None:
    with DockerRegistries(tmp_path, authority) as registries:
        registry = await to_thread.run_sync(registries.start, Mode.HTPASSWD)
        (path,) = await to_thread.run_sync(lambda: list(tmp_path.rglob("htpasswd")))
        users = Htpasswd(path, rounds=4)
        for password in ("first", "second"):
            await users.replace({"carol": password})
            login = {registry.host: Basic("carol", password)}
            async with registry.client(credentials=login, token_cache=MemoryTokenCache()) as client:
                await client.repository(f"{registry.host}/{fresh_name}").blobs.push(password.encode())
        async with registry.client(credentials={registry.host: Basic("carol", "first")}) as client:
            with pytest.raises(UnauthorizedError):
                await client.repository(f"{registry.host}/{fresh_name}").blobs.push(b"x")
