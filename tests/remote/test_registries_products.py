"""Products people install, with the manners their users report: Quay, Harbor, Artifactory, Nexus, GitLab."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from ocidist import Basic, DeniedError, OciError, UnsupportedError
from tests.peers.answers import respond_json
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
    from tests.peers.wire_server import Request, WireServer

PAGE = "<!DOCTYPE html><html><head><title>404 - Not found</title></head></html>"


class Quay(WithReferrers):
    """Links without brackets and with a place of their own; a mount must say from where; absolute Locations."""

    def _answer(self, request: Request) -> Answer:
        self.host = request.header("Host")
        return super()._answer(request)

    def _location(self, name: str, upload: str, _size: int) -> str:
        return f"http://{self.host}/v2/{name}/blobs/uploads/{upload}"

    def _mount(self, name: str, held: Holding, digest: str, source: str | None) -> Answer:
        return refusal(400, "NAME_INVALID") if source is None else super()._mount(name, held, digest, source)

    def _tags(self, request: Request, name: str, held: Holding, _rest: str) -> Answer:
        place = int(dict(request.query).get("next_page", "0"))
        tags = sorted(held.tags)
        status, headers, body = listing(name=name, tags=tags[place : place + 1])
        if place + 1 < len(tags):
            headers = {**headers, "Link": f'/v2/{name}/tags/list?n=1&next_page={place + 1}; rel="next"'}
        return status, headers, body

    def _progress(self, name: str, upload: str) -> dict[str, str | None]:
        found = super()._progress(name, upload)
        return {**found, "Range": f"bytes={found['Range']}"}


class Harbor(ScriptedRegistry):
    """Sets cookies and refuses those who bring them back; its codes are its own; 401 for what it does not have."""

    added: ClassVar[Mapping[str, str | None]] = {"Set-Cookie": "sid=0123456789; Path=/; HttpOnly"}

    def _admitted(self, request: Request) -> Answer:
        if request.header("Cookie") is not None:
            return refusal(403, "FORBIDDEN")
        return self._answer(request)

    def _manifests(self, request: Request, name: str, held: Holding, reference: str) -> Answer:
        status, headers, body = super()._manifests(request, name, held, reference)
        return refusal(404, "NOT_FOUND") if status == 404 else (status, headers, body)

    def _referrers(self, _request: Request, _name: str, _held: Holding, _digest: str) -> Answer:
        return refusal(401, "UNAUTHORIZED")

    def _catalog(self, _request: Request) -> Answer:
        return refusal(401, "UNAUTHORIZED")


class Artifactory(ScriptedRegistry):
    """406 for referrers; manifests as octets; Locations with nothing but a path; 201 without a digest."""

    def _referrers(self, _request: Request, _name: str, _held: Holding, _digest: str) -> Answer:
        return text(406, "")

    def _manifests(self, request: Request, name: str, held: Holding, reference: str) -> Answer:
        status, headers, body = super()._manifests(request, name, held, reference)
        if request.method == "GET" and status == 200:
            return status, {**headers, "Content-Type": "application/octet-stream"}, body
        if request.method == "PUT":
            return status, {"Location": headers["Location"]}, body
        return status, headers, body

    def _delete(self, held: Holding, reference: str) -> Answer:
        super()._delete(held, reference)
        return 200, {}, b""


class Nexus(ScriptedRegistry):
    """Wants lengths, not chunked bodies; no upload status; web pages for errors; no digest with a tag."""

    def _answer(self, request: Request) -> Answer:
        if request.header("Transfer-Encoding") is not None:
            return text(411, PAGE, "text/html")
        status, headers, body = super()._answer(request)
        return text(404, PAGE, "text/html") if status == 404 else (status, headers, body)

    def _blobs_uploads(self, request: Request, name: str, held: Holding, upload: str) -> Answer:
        if request.method == "GET":
            return text(404)
        return super()._blobs_uploads(request, name, held, upload)

    def _manifests(self, request: Request, name: str, held: Holding, reference: str) -> Answer:
        status, headers, body = super()._manifests(request, name, held, reference)
        return status, {**headers, "Docker-Content-Digest": None}, body

    def _mount(self, name: str, _held: Holding, _digest: str, _source: str | None) -> Answer:
        return self._begin(name)


class GitLab(ScriptedRegistry):
    """Tokens from another host, under one name only; a catalog for administrators."""

    def __init__(self, door: WireServer) -> None:
        super().__init__()
        self.door = door
        door.on("GET", "/jwt/auth*", respond_json(200, {"token": "opaque"}))

    def _admitted(self, request: Request) -> Answer:
        if request.header("Authorization") == "Bearer opaque":
            return self._answer(request)
        challenge = f'Bearer realm="{self.door.origin}/jwt/auth",service="container_registry"'
        status, headers, body = refusal(401, "UNAUTHORIZED")
        return status, {**headers, "WWW-Authenticate": f'{challenge},scope="repository:{NAME}:pull"'}, body

    def _catalog(self, _request: Request) -> Answer:
        return refusal(403, "DENIED")


def _registry(kind: type[ScriptedRegistry], start: StartWireServer) -> ScriptedRegistry:
    return GitLab(start(name="localhost")) if kind is GitLab else kind()


@pytest.mark.parametrize(
    ("kind", "mounts"), [(Quay, True), (Harbor, True), (Artifactory, True), (Nexus, False), (GitLab, True)]
)
async def test_everything_works_on(
    start_wire_server: StartWireServer, kind: type[ScriptedRegistry], *, mounts: bool
) -> None:
    server = start_wire_server(_registry(kind, start_wire_server))
    async with registry_client(server, credentials={server.host: Basic("alice", "s3cret")}) as client:
        repository = client.repository(f"{server.host}/{NAME}")
        await use(repository)
        assert await mount_base(client, server.host) is mounts
        assert await untag(repository)
    assert b"\r\ncookie:" not in server.received.lower()


async def test_q26_the_cookies_of_harbor_are_never_sent_back(start_wire_server: StartWireServer) -> None:
    server = start_wire_server(Harbor())
    async with registry_client(server) as client:
        repository = client.repository(f"{server.host}/{NAME}")
        for data in (b"one", b"two"):
            assert await repository.blobs.get(await repository.blobs.push(data)) == data
        raw = await client.get(f"{server.origin}/v2/")
        assert raw.headers["Set-Cookie"].startswith("sid=")
        assert not client.cookies
    assert all(request.header("Cookie") is None for request in server.requests)


@pytest.mark.parametrize("kind", [Harbor, GitLab])
async def test_a_catalog_that_is_not_for_everybody(
    start_wire_server: StartWireServer, kind: type[ScriptedRegistry]
) -> None:
    server = start_wire_server(_registry(kind, start_wire_server))
    async with registry_client(server) as client:
        with pytest.raises(DeniedError, match="not to these credentials"):
            await client.registry(server.host).repositories().collect()


async def test_an_anonymous_mount_that_quay_refuses_is_an_error_of_its_own(
    start_wire_server: StartWireServer,
) -> None:
    server = start_wire_server(Quay())
    async with registry_client(server) as client:
        repository = client.repository(f"{server.host}/{NAME}")
        blob = await repository.blobs.push(b"x")
        with pytest.raises(OciError, match="NAME_INVALID"):
            await repository.blobs.mount(blob.digest, source=None)


async def test_nexus_error_pages_are_shown_in_one_line(start_wire_server: StartWireServer) -> None:
    server = start_wire_server(Nexus())
    async with registry_client(server) as client:
        with pytest.raises(OciError) as caught:
            await client.repository(f"{server.host}/{NAME}").manifests.get("v1")
    assert not isinstance(caught.value, UnsupportedError)
    assert "\n" not in str(caught.value)
    assert f"{server.host}/{NAME}:v1" in str(caught.value)
