"""Hosted registries, with the manners their users report: ECR, GHCR, Artifact Registry, Docker Hub."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, ClassVar

import pytest

from ocidist import Basic, DeniedError, RateLimitedError, UnsupportedError
from tests.peers import images
from tests.peers.answers import respond
from tests.remote.scripted import (
    NAME,
    Answer,
    Holding,
    ScriptedRegistry,
    WithReferrers,
    listing,
    mount_base,
    refusal,
    registry_client,
    text,
    untag,
    use,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.conftest import StartWireServer
    from tests.peers.wire_server import Connection, Request, WireServer

SECRET = "s3cret"


class Storage:
    """Where blobs really are: another host, which refuses every request that carries a credential."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.authorized: list[str] = []

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer a request."""
        if request.header("Authorization") is not None:
            self.authorized.append(request.target)
            respond(400, {}, b"Only one auth mechanism allowed")(request, connection)
            return
        respond(200, {"Content-Type": "binary/octet-stream"}, self.blobs[dict(request.query)["d"]])(request, connection)


class Cloud(ScriptedRegistry):
    """Sends its clients elsewhere for blobs."""

    def __init__(self, storage: WireServer, kept: Storage) -> None:
        super().__init__()
        self.storage = storage
        self.kept = kept

    def _content(self, request: Request, digest: str, data: bytes) -> Answer:
        if request.method == "HEAD":
            return super()._content(request, digest, data)
        self.kept.blobs[digest] = data
        return 307, {"Location": f"{self.storage.origin}/blob?d={digest}&X-Amz-Signature=abc"}, b""


class TokenCloud(Cloud):
    """Hands out opaque tokens at its own door."""

    ping_scope: ClassVar[str] = ""

    def _admitted(self, request: Request) -> Answer:
        if request.path == "/token":
            return self._token(request)
        if (request.header("Authorization") or "") != "Bearer opaque":
            scope = self.ping_scope if request.path == "/v2/" else f"repository:{NAME}:pull"
            status, headers, body = refusal(401, "UNAUTHORIZED")
            realm = f'Bearer realm="http://{request.header("Host")}/token",service="cloud"'
            return status, {**headers, "WWW-Authenticate": realm + (f',scope="{scope}"' if scope else "")}, body
        return self._answer(request)

    def _token(self, _request: Request) -> Answer:
        return listing(token="opaque")


class Ecr(Cloud, WithReferrers):
    """Basic only, chunks answered with 201 and a range that does not move, no digest with a tag, no mounts."""

    def _admitted(self, request: Request) -> Answer:
        wanted = "Basic " + base64.b64encode(f"AWS:{SECRET}".encode()).decode()
        if request.header("Authorization") != wanted:
            return 401, {"WWW-Authenticate": 'Basic realm="https://ecr.example/",service="ecr.amazonaws.com"'}, b""
        return self._answer(request)

    def _location(self, name: str, upload: str, _size: int) -> str:
        return f"/v2/{name}/blobs/uploads/{upload}?part=1%2F2"

    def _blobs_uploads(self, request: Request, name: str, held: Holding, upload: str) -> Answer:
        status, headers, body = super()._blobs_uploads(request, name, held, upload)
        if request.method == "PATCH":
            return 201, {**headers, "Range": "0-3"}, body
        return status, headers, body

    def _manifests(self, request: Request, name: str, held: Holding, reference: str) -> Answer:
        status, headers, body = super()._manifests(request, name, held, reference)
        by_tag = status == 200 and reference in held.tags
        return status, {**headers, "Docker-Content-Digest": None} if by_tag else headers, body

    def _mount(self, name: str, _held: Holding, _digest: str, _source: str | None) -> Answer:
        return self._begin(name)

    def _delete(self, held: Holding, reference: str) -> Answer:
        return refusal(405, "UNSUPPORTED") if reference in held.tags else super()._delete(held, reference)

    def _tags(self, request: Request, name: str, held: Holding, _rest: str) -> Answer:
        # Above 1000 it refuses; the order is nobody's.
        if int(dict(request.query).get("n", 0)) > 1000:
            return refusal(400, "PAGINATION_NUMBER_INVALID")
        return listing(name=name, tags=sorted(held.tags, reverse=True))


class Ghcr(TokenCloud):
    """A placeholder for a scope at the door; referrers are a web page elsewhere; nothing is listed or deleted."""

    ping_scope = "repository:user/image:pull"

    def _referrers(self, _request: Request, _name: str, _held: Holding, _digest: str) -> Answer:
        return 303, {"Location": f"{self.storage.origin}/github.example/acme"}, b""

    def _catalog(self, _request: Request) -> Answer:
        return text(404)

    def _delete(self, _held: Holding, _reference: str) -> Answer:
        return refusal(405, "UNSUPPORTED")


class ArtifactRegistry(TokenCloud):
    """Lists that ignore page size and place and say more than tags; uploads that live under another path."""

    def _tags(self, _request: Request, name: str, held: Holding, _rest: str) -> Answer:
        return listing(name=name, tags=sorted(held.tags), child=[], manifest={"sha256:1": {"tag": []}})

    def _location(self, name: str, upload: str, _size: int) -> str:
        return f"/artifacts-uploads/namespaces/acme/repositories/r/uploads/{upload}?name={name.replace('/', '%2F')}"

    def _answer(self, request: Request) -> Answer:
        if request.path.startswith("/artifacts-uploads/"):
            name = dict(request.query)["name"]
            return self._blobs_uploads(request, name, self.held[name], request.path.rpartition("/")[2])
        return super()._answer(request)

    def _delete(self, held: Holding, reference: str) -> Answer:
        if reference in held.tags.values():
            return refusal(400, "GOOGLE_MANIFEST_DANGLING_TAG")
        return super()._delete(held, reference)


class Hub(TokenCloud):
    """A token for the catalog and a refusal all the same; quotas in lower case; tags are not deleted here."""

    limited = False

    def _answer(self, request: Request) -> Answer:
        if self.limited:
            body = {"errors": [{"code": "toomanyrequests", "message": "You have reached your pull rate limit."}]}
            headers: Mapping[str, str | None] = {"Content-Type": "application/json", "ratelimit-remaining": "0;w=21600"}
            return 429, headers, json.dumps(body).encode()
        return super()._answer(request)

    def _catalog(self, _request: Request) -> Answer:
        challenge = (
            'Bearer realm="http://{}/token",service="cloud",scope="registry:catalog:*",error="insufficient_scope"'
        )
        status, headers, body = refusal(401, "UNAUTHORIZED")
        return status, {**headers, "WWW-Authenticate": challenge.format(self.requests[-1].header("Host"))}, body

    def _delete(self, _held: Holding, _reference: str) -> Answer:
        return refusal(405, "UNSUPPORTED")


CREDENTIALS: dict[type[Cloud], Basic] = {Ecr: Basic("AWS", SECRET)}


@pytest.mark.parametrize(
    ("kind", "mounts", "untags"),
    [(Ecr, False, False), (Ghcr, True, False), (ArtifactRegistry, True, True), (Hub, True, False)],
)
async def test_everything_works_on(
    start_wire_server: StartWireServer, kind: type[Cloud], *, mounts: bool, untags: bool
) -> None:
    kept = Storage()
    storage = start_wire_server(kept, address="127.0.0.2")
    server = start_wire_server(kind(storage, kept))
    credential = CREDENTIALS.get(kind, Basic("alice", SECRET))
    async with registry_client(server, credentials={server.host: credential}) as client:
        repository = client.repository(f"{server.host}/{NAME}")
        await use(repository)
        assert await mount_base(client, server.host) is mounts
        assert await untag(repository) is untags
    assert kept.authorized == []
    assert SECRET.encode() not in storage.received
    assert not any("github" in target for target in storage.targets())


@pytest.mark.parametrize(("kind", "error"), [(Ghcr, UnsupportedError), (Hub, DeniedError)])
async def test_no_catalog_on(start_wire_server: StartWireServer, kind: type[Cloud], error: type[Exception]) -> None:
    server = start_wire_server(kind(start_wire_server(), Storage()))
    async with registry_client(server, credentials={server.host: Basic("alice", SECRET)}) as client:
        with pytest.raises(error, match="does not list"):
            await client.registry(server.host).repositories().collect()


async def test_artifact_registrys_tagged_manifests_stay_and_the_error_says_why(
    start_wire_server: StartWireServer,
) -> None:
    registry = ArtifactRegistry(start_wire_server(), Storage())
    data = images.image().manifest.data
    digest = images.sha256(data)
    registry.held[NAME] = Holding(manifests={digest: (images.OCI_MANIFEST, data)}, tags={"v1": digest})
    server = start_wire_server(registry)
    async with registry_client(server) as client:
        repository = client.repository(f"{server.host}/{NAME}")
        with pytest.raises(Exception, match="GOOGLE_MANIFEST_DANGLING_TAG"):
            await repository.manifests.delete(digest)
        assert await repository.manifests.exists("v1")


async def test_docker_hubs_pull_limit_is_one(start_wire_server: StartWireServer) -> None:
    registry = Hub(start_wire_server(), Storage())
    registry.limited = True
    server = start_wire_server(registry)
    async with registry_client(server) as client:
        with pytest.raises(RateLimitedError, match="pull rate limit"):
            await client.repository(f"{server.host}/{NAME}").manifests.get("v1")


async def test_q09_a_challenge_that_only_the_ping_has_is_enough(start_wire_server: StartWireServer) -> None:
    class Gcr(TokenCloud):
        def _admitted(self, request: Request) -> Answer:
            status, headers, body = super()._admitted(request)
            if status == 401 and request.path != "/v2/":
                headers = {**headers, "WWW-Authenticate": None}
            return status, headers, body

    registry = Gcr(start_wire_server(), Storage())
    registry.held[NAME] = Holding(tags={"v1": ""})
    server = start_wire_server(registry)
    async with registry_client(server, credentials={server.host: Basic("alice", SECRET)}) as client:
        assert await client.repository(f"{server.host}/{NAME}").tags.list().collect() == ["v1"]
    asked = [dict(request.query) for request in registry.requests if request.path == "/token"]
    assert [query["scope"] for query in asked] == [f"repository:{NAME}:pull"]
