"""The embedded registry behind the issuer's token server, or a user file, for skopeo and ocidist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest

from ocidist import Basic, CredentialsRejectedError, DeniedError, OciError, ScopeDeniedError
from ocidist.issuer import KeyKind, KeyMaterial, SelfTokenProvider, TokenVerifier, TrustedKeys
from ocidist.server import PasswordGuard, RegistryApp, TokenGuard
from ocidist.storage.memory import MemoryRegistry
from tests.issuer.support import ALICE, authorize, issuing, user_file
from tests.peers import images
from tests.peers.embedded import serve
from tests.peers.token_server import ISSUER, SERVICE
from tests.remote.support import push_image
from tests.remote.test_interop import contents, pulled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.issuer.support import Issuing
    from tests.peers.clients import Skopeo
    from tests.peers.peer import Peer

    UseSkopeo = Callable[[Peer], Skopeo]


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Issuing, Peer]]:
    """The embedded registry that wants tokens, and its token server."""
    with issuing(KeyMaterial.generate(kind=KeyKind.EC), tmp_path_factory.mktemp("guarded") / "htpasswd") as server:
        keys = TrustedKeys.from_certificates(server.key.pem)
        guard = TokenGuard(TokenVerifier(keys, issuer=ISSUER, service=SERVICE), realm=server.realm)
        with serve(RegistryApp(MemoryRegistry(), auth=guard)) as registry:
            peer: Any = registry
            yield server, attrs.evolve(peer, username="alice", password=ALICE, token_server=server)


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """The embedded registry that wants passwords."""
    users = user_file(tmp_path_factory.mktemp("locked") / "htpasswd", {"alice": ALICE, "bob": "b0b"})
    with serve(RegistryApp(MemoryRegistry(), auth=PasswordGuard(users, authorize))) as registry:
        yield attrs.evolve(registry, username="alice", password=ALICE)


@pytest.mark.parametrize("kind", ["guarded", "locked"])
async def test_n15_skopeo_and_ocidist_push_and_pull_at_a_registry_that_asks(
    request: pytest.FixtureRequest, skopeo: UseSkopeo, fresh_name: str, tmp_path: Path, kind: str
) -> None:
    found = request.getfixturevalue(kind)
    registry: Peer = found if kind == "locked" else found[1]
    image = images.index()
    async with registry.client() as client:
        repository = client.repository(f"{registry.host}/{fresh_name}")
        await push_image(repository, image, "v1")
        assert await pulled(repository, "v1") == contents(image)
        assert (await client.registry(registry.host).ping()).authenticated
        blob = await repository.blobs.push(b"to be mounted")
        await client.repository(f"{registry.host}/{fresh_name}-copy").blobs.mount(blob.digest, source=fresh_name)
        assert fresh_name in await client.registry(registry.host).repositories().collect(limit=1000)
    assert contents(await skopeo(registry).pull(f"{fresh_name}:v1", tmp_path / "out")) == contents(image)


async def test_n15_tokens_allow_what_the_policy_says(guarded: tuple[Issuing, Peer], fresh_name: str) -> None:
    _, registry = guarded
    async with registry.client() as client:
        await push_image(client.repository(f"{registry.host}/public/{fresh_name}"), images.image(), "v1")
    async with registry.client(credentials={registry.host: Basic("bob", "b0b")}) as client:
        public = client.repository(f"{registry.host}/public/{fresh_name}")
        manifest = await public.manifests.get("v1")
        for refused in (public.blobs.push(b"x"), public.manifests.delete(manifest.digest)):
            with pytest.raises(ScopeDeniedError):
                await refused
    async with registry.client(credentials={registry.host: Basic("bob", "wrong")}) as client:
        with pytest.raises(CredentialsRejectedError):
            await client.repository(f"{registry.host}/public/{fresh_name}").manifests.get("v1")


async def test_n15_a_client_with_the_key_signs_for_the_embedded_registry_too(
    guarded: tuple[Issuing, Peer], fresh_name: str
) -> None:
    server, registry = guarded
    server.seen.clear()
    provider = SelfTokenProvider(server.issuer, [registry.host], account="itself")
    async with registry.client(credentials={}, token_cache=provider) as client:
        repository = client.repository(f"{registry.host}/{fresh_name}")
        blob = await repository.blobs.push(b"content")
        assert await repository.blobs.get(blob.digest) == b"content"
        await repository.blobs.delete(blob.digest)
    assert server.seen == []


async def test_n15_passwords_allow_what_the_policy_says(locked: Peer, fresh_name: str) -> None:
    async with locked.client(credentials={locked.host: Basic("bob", "b0b")}) as client:
        with pytest.raises(DeniedError):
            await client.repository(f"{locked.host}/{fresh_name}").blobs.push(b"x")
        with pytest.raises(OciError, match="NAME_UNKNOWN"):
            await client.repository(f"{locked.host}/public/{fresh_name}").tags.list().collect(limit=1)
    async with locked.client(credentials={}) as client:
        with pytest.raises(CredentialsRejectedError):
            await client.repository(f"{locked.host}/{fresh_name}").manifests.get("v1")
