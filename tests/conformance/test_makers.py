"""Clients of other makers at the embedded registry, with passwords, tokens and TLS, and on layouts of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
from anyio import to_thread

from ocidist.issuer import StaticUsers
from ocidist.server import PasswordGuard, PullThrough, RegistryApp
from ocidist.storage.layout import Layout, LayoutRegistry
from ocidist.storage.memory import MemoryRegistry
from tests.conformance.support import Login
from tests.issuer.support import ALICE
from tests.peers import images
from tests.peers.clients import Skopeo, run
from tests.peers.embedded import serve
from tests.peers.peer import Mode
from tests.peers.token_server import SERVICE
from tests.peers.tools import missing, program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import StartRegistry
    from tests.peers.peer import Peer
    from tests.peers.tls import Authority


@pytest.fixture
def over_tls(authority: Authority, tmp_path: Path) -> Iterator[Peer]:
    """The registry over a directory behind TLS and passwords."""
    app = RegistryApp(LayoutRegistry(tmp_path / "served"), auth=PasswordGuard(StaticUsers({"alice": ALICE})))
    with serve(app, tls=authority.server_context("127.0.0.1")) as peer:
        yield attrs.evolve(peer, scheme="https", ca_path=authority.ca_path, username="alice", password=ALICE)


def _parts(image: images.Image) -> set[str]:
    return {each.digest for each in image.walk()} | {blob.digest for blob in image.all_blobs}


async def _skopeo(*arguments: str) -> None:
    await to_thread.run_sync(run, program("skopeo"), "--insecure-policy", *arguments)


async def test_skopeo_copies_from_registry_to_registry_to_layout_and_every_digest_stays(
    registry: Peer, fresh_name: str, tmp_path: Path
) -> None:
    image = images.index()
    images.write_layout(image, tmp_path / "in", "v1")
    client = Skopeo(registry)
    await client.push(tmp_path / "in", "v1", f"{fresh_name}:v1")
    name = f"docker://{registry.host}/{fresh_name}"
    options = ["--all", "--quiet", "--preserve-digests", "--src-tls-verify=false"]
    source, both = ["--src-no-creds"], ["--src-no-creds", "--dest-no-creds"]
    if registry.username is not None:
        login = f"{registry.username}:{registry.password}"
        source, both = [f"--src-creds={login}"], [f"--src-creds={login}", f"--dest-creds={login}"]
    await _skopeo("copy", *options, *both, "--dest-tls-verify=false", f"{name}:v1", f"{name}-copy:v2")
    await _skopeo("copy", *options, *source, f"{name}-copy:v2", f"oci:{tmp_path / 'out'}:v3")
    copied = images.read_layout(tmp_path / "out", "v3")
    assert copied.digest == image.digest
    assert _parts(copied) == _parts(image)
    assert (await Layout(tmp_path / "out").fsck()).clean


async def test_skopeo_pushes_and_pulls_over_tls_with_a_password(over_tls: Peer, tmp_path: Path) -> None:
    image = images.image()
    images.write_layout(image, tmp_path / "in", "v1")
    client = Skopeo(over_tls)
    await client.push(tmp_path / "in", "v1", "team/app:v1")
    assert _parts(await client.pull("team/app:v1", tmp_path / "out")) == _parts(image)
    async with over_tls.client() as ours:
        found = await ours.repository(f"{over_tls.host}/team/app").manifests.get("v1")
    assert found.data == image.manifest.data
    with pytest.raises(RuntimeError, match=r"unauthorized|authentication required"):
        await Skopeo(attrs.evolve(over_tls, password="wrong")).pull("team/app:v1", tmp_path / "none")


async def test_a_layout_that_umoci_made_is_served_as_it_is(real_layout: Path, tmp_path: Path) -> None:
    made = images.read_layout(real_layout, "v1")
    with serve(RegistryApp(LayoutRegistry(real_layout), read_only=True)) as peer:
        pulled = await Skopeo(peer).pull(f"{real_layout.name}:v1", tmp_path / "out")
    assert pulled.digest == made.digest
    assert _parts(pulled) == _parts(made)


async def test_oras_pushes_and_pulls(registry: Peer, fresh_name: str, tmp_path: Path) -> None:
    try:
        from oras.client import OrasClient
    except ImportError:
        missing("oras", "pip install oras")
    file = tmp_path / "artifact.txt"
    file.write_bytes(images.noise(100_000))
    wants_token = registry.token_server is not None

    def there_and_back() -> list[str]:
        backend = "basic" if registry.username is not None and not wants_token else "token"
        client = OrasClient(hostname=registry.host, insecure=True, tls_verify=False, auth_backend=backend)
        if wants_token:
            # By itself it keeps the token of its first request, which is to read, and does not ask for another on 401.
            challenge = f'Bearer realm="r",service="{SERVICE}",scope="repository:{fresh_name}:pull,push"'
            client.auth.set_token_auth(Login(registry).header(challenge).removeprefix("Bearer "))
        elif registry.username is not None:
            client.auth.set_basic_auth(registry.username, registry.password)
        target = f"{registry.host}/{fresh_name}:v1"
        client.push(target=target, files=[str(file)], disable_path_validation=True)
        found: list[str] = client.pull(target=target, outdir=str(tmp_path / "out"))
        return found

    (pulled,) = await to_thread.run_sync(there_and_back)
    assert (tmp_path / "out" / pulled).read_bytes() == file.read_bytes()


async def test_skopeo_pulls_through_a_cache_and_what_was_pulled_outlives_the_registry_behind_it(
    shared_registry: StartRegistry, fresh_name: str, tmp_path: Path
) -> None:
    behind = shared_registry(Mode.HTPASSWD)
    image = images.index()
    images.write_layout(image, tmp_path / "in", "v1")
    await Skopeo(behind).push(tmp_path / "in", "v1", f"{fresh_name}:v1")
    store = MemoryRegistry(check_references=False)
    upstream = behind.client()

    class Cache(PullThrough):
        """One that ends the client on the loop that used it."""

        async def __aexit__(self, *_: object) -> None:
            await super().__aexit__()
            await upstream.aclose()

    app = RegistryApp(Cache(store, upstream.registry(behind.host)))
    with serve(app, lifespan="on") as cache:
        pulled = await Skopeo(cache).pull(f"{fresh_name}:v1", tmp_path / "out")
    assert _parts(pulled) == _parts(image)
    with serve(RegistryApp(store)) as alone:
        assert _parts(await Skopeo(alone).pull(f"{fresh_name}:v1", tmp_path / "again")) == _parts(image)
