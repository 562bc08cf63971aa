"""Logins that other programs write are read here, and the other way round; secrets in a real password store."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from anyio import to_thread

from ocidist import ANONYMOUS, AuthError, Basic, Client, HostConfig, IdentityToken, UnauthorizedError
from ocidist.credentials.authfile import AuthFile
from ocidist.credentials.files import DefaultCredentials
from ocidist.credentials.helper import CredentialHelper
from ocidist.credentials.logins import StoredLogin, login, logout
from ocidist.credentials.paths import CredentialSource
from ocidist.model.reference import HUB_INDEX
from tests.credentials.support import get_json, put_json
from tests.peers import images
from tests.peers.clients import run
from tests.peers.peer import Mode
from tests.peers.tools import program
from tests.remote.support import push_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import StartRegistry
    from tests.peers.peer import Peer

HELPERS = "golang-docker-credential-helpers"


@pytest.fixture(scope="module")
def password_store() -> Iterator[dict[str, str]]:
    """A ``pass`` store with a key of its own, as environment variables."""
    for name, package in (("docker-credential-pass", HELPERS), ("pass", "pass"), ("gpg", "gnupg")):
        program(name, package=package)
    # Short: the agent's socket is in it, and the names of sockets are.
    folder = Path(tempfile.mkdtemp(prefix="ocidist-"))
    variables = {"GNUPGHOME": str(folder / "gnupg"), "PASSWORD_STORE_DIR": str(folder / "store")}
    (folder / "gnupg").mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        run("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "ocidist", "default", "default")
        run("pass", "init", "ocidist")
        yield variables
        subprocess.run(["gpgconf", "--kill", "all"], check=False, timeout=10)  # noqa: S607 -- of the same package as gpg
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def htpasswd(shared_registry: StartRegistry) -> Peer:
    """docker-registry that asks for a user name and a password."""
    return shared_registry(Mode.HTPASSWD)


@pytest.fixture
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's configuration file, which is not there yet."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    (tmp_path / "docker").mkdir()
    return tmp_path / "docker" / "config.json"


def alice(peer: Peer) -> Basic:
    assert peer.username is not None
    assert peer.password is not None
    return Basic(peer.username, peer.password)


def plain_client(peer: Peer) -> Client:
    """A client that was told nothing about who asks."""
    return Client(hosts={peer.host: HostConfig(scheme="http")})


async def test_t47_docker_credential_pass_stores_gets_lists_and_erases(password_store: dict[str, str]) -> None:
    helper = CredentialHelper("pass")
    assert await helper.get("x.io") is None
    await helper.store("x.io", Basic("ci", "pä:ß word"))
    await helper.store(HUB_INDEX, IdentityToken("refresh"))
    assert await helper.get("x.io") == Basic("ci", "pä:ß word")
    assert await helper.get(HUB_INDEX) == IdentityToken("refresh")
    assert await helper.list() == {"x.io": "ci", HUB_INDEX: "<token>"}
    await helper.erase("x.io")
    await helper.erase(HUB_INDEX)
    assert await helper.get("x.io") is None
    assert await helper.list() == {}


async def test_s12_a_pull_whose_password_is_in_a_helper(
    password_store: dict[str, str], htpasswd: Peer, docker_config: Path, fresh_name: str
) -> None:
    put_json(docker_config, {"credsStore": "pass"})
    name = f"{htpasswd.host}/{fresh_name}"
    async with plain_client(htpasswd) as client:
        with pytest.raises((AuthError, UnauthorizedError)):
            await client.registry(htpasswd.host).ping()
    assert await login(htpasswd.host, alice(htpasswd)) == StoredLogin(docker_config, "pass")
    assert get_json(docker_config) == {"credsStore": "pass", "auths": {htpasswd.host: {}}}
    image = images.image()
    async with plain_client(htpasswd) as client:
        assert (await client.registry(htpasswd.host).ping()).authenticated
        await push_image(client.repository(name), image, "v1")
        assert (await client.repository(name).manifests.get("v1")).data == image.manifest.data
    async with Client(hosts={htpasswd.host: HostConfig(scheme="http")}, trust_env=False) as client:
        with pytest.raises((AuthError, UnauthorizedError)):
            await client.registry(htpasswd.host).ping()
    assert await logout(htpasswd.host)
    assert await CredentialHelper("pass").list() == {}
    async with plain_client(htpasswd) as client:
        with pytest.raises((AuthError, UnauthorizedError)):
            await client.registry(htpasswd.host).ping()


async def test_a12_what_skopeo_login_writes_is_read(
    htpasswd: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "auth.json"
    await to_thread.run_sync(skopeo_login, htpasswd, path)
    assert await (await AuthFile.load(path)).get(htpasswd.host) == alice(htpasswd)
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))
    async with plain_client(htpasswd) as client:
        assert (await client.registry(htpasswd.host).ping()).authenticated


async def test_a12_what_skopeo_login_writes_where_it_likes_is_read(
    htpasswd: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    # With DOCKER_CONFIG it writes Docker's file.
    monkeypatch.delenv("DOCKER_CONFIG")
    await to_thread.run_sync(skopeo_login, htpasswd, None)
    found = DefaultCredentials(order=(CredentialSource.CONTAINERS_RUNTIME,))
    assert await found.get(htpasswd.host) == alice(htpasswd)
    assert await DefaultCredentials().get(htpasswd.host) == alice(htpasswd)


async def test_a12_skopeo_uses_what_login_writes(htpasswd: Peer, tmp_path: Path, fresh_name: str) -> None:
    path = tmp_path / "auth.json"
    image = images.image()
    async with htpasswd.client() as client:
        await push_image(client.repository(f"{htpasswd.host}/{fresh_name}"), image, "v1")
    await login(htpasswd.host, Basic("alice", "wrong"), path=path)
    with pytest.raises(RuntimeError, match="exit status"):
        await to_thread.run_sync(skopeo_inspect, htpasswd, path, fresh_name)
    # A namespace goes before the whole registry, for both.
    await login(htpasswd.host, alice(htpasswd), namespace=fresh_name, path=path)
    assert await to_thread.run_sync(skopeo_inspect, htpasswd, path, fresh_name) == image.manifest.data
    assert await (await AuthFile.load(path)).get(htpasswd.host, repository=fresh_name) == alice(htpasswd)
    await logout(htpasswd.host, namespace=fresh_name, path=path)
    await login(htpasswd.host, alice(htpasswd), path=path)
    assert await to_thread.run_sync(skopeo_inspect, htpasswd, path, fresh_name) == image.manifest.data
    await to_thread.run_sync(run, program("skopeo"), "logout", "--authfile", str(path), htpasswd.host)
    assert await (await AuthFile.load(path)).get(htpasswd.host) == ANONYMOUS


async def test_a12_skopeo_does_not_go_on_with_an_old_login(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    # As podman login writes it.
    put_json(path, {"auths": {"docker.io": {"auth": "b2xkOm9sZA=="}}})
    await login("docker.io", Basic("new", "x"), path=path)
    shown = await to_thread.run_sync(
        run, program("skopeo"), "login", "--get-login", "--authfile", str(path), "docker.io"
    )
    assert shown == b"new\n"


async def test_a12_skopeo_uses_an_identity_token_that_login_writes(
    token_registry: Peer, tmp_path: Path, fresh_name: str
) -> None:
    server, path, image = token_registry.token_server, tmp_path / "auth.json", images.image()
    assert server is not None
    assert token_registry.username is not None
    async with token_registry.client() as client:
        await push_image(client.repository(f"{token_registry.host}/{fresh_name}"), image, "v1")
    refresh = IdentityToken(server.refresh_token(token_registry.username))
    await login(token_registry.host, refresh, path=path)
    assert await to_thread.run_sync(skopeo_inspect, token_registry, path, fresh_name) == image.manifest.data
    assert await (await AuthFile.load(path)).get(token_registry.host) == refresh


async def test_a12_skopeo_finds_in_a_helper_what_login_put_there(
    password_store: dict[str, str], htpasswd: Peer, tmp_path: Path, fresh_name: str
) -> None:
    path = tmp_path / "auth.json"
    put_json(path, {"credHelpers": {htpasswd.host: "pass"}})
    image = images.image()
    async with htpasswd.client() as client:
        await push_image(client.repository(f"{htpasswd.host}/{fresh_name}"), image, "v1")
    assert await login(htpasswd.host, alice(htpasswd), path=path) == StoredLogin(path, "pass")
    assert await to_thread.run_sync(skopeo_inspect, htpasswd, path, fresh_name) == image.manifest.data
    assert await logout(htpasswd.host, path=path)
    with pytest.raises(RuntimeError, match="exit status"):
        await to_thread.run_sync(skopeo_inspect, htpasswd, path, fresh_name)


async def test_f176_an_identity_token_in_a_helper_is_exchanged_for_tokens(
    password_store: dict[str, str], token_registry: Peer, docker_config: Path, fresh_name: str
) -> None:
    server = token_registry.token_server
    assert server is not None
    assert token_registry.username is not None
    refresh = server.refresh_token(token_registry.username)
    put_json(docker_config, {"credHelpers": {token_registry.host: "pass"}})
    await login(token_registry.host, IdentityToken(refresh))
    try:
        async with Client(
            hosts={token_registry.host: HostConfig(scheme="http")}, egress=token_registry.client_kwargs()["egress"]
        ) as client:
            image = images.image()
            repository = client.repository(f"{token_registry.host}/{fresh_name}")
            await push_image(repository, image, "v1")
            assert (await repository.manifests.get("v1")).data == image.manifest.data
    finally:
        await logout(token_registry.host)


def skopeo_login(peer: Peer, path: Path | None) -> None:
    assert peer.username is not None
    assert peer.password is not None
    command = [program("skopeo"), "login", "--tls-verify=false", "-u", peer.username, "-p", peer.password, peer.host]
    run(*command, *(["--authfile", str(path)] if path else []))


def skopeo_inspect(peer: Peer, path: Path, name: str) -> bytes:
    reference = f"docker://{peer.host}/{name}:v1"
    return run(program("skopeo"), "inspect", "--raw", "--tls-verify=false", "--authfile", str(path), reference)
