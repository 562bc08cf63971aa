"""The servers people run themselves, as they were observed to answer: olareg, ocimem, crane, pulp."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import DigestMismatchError, UnsupportedError
from tests.peers import images
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
    from tests.conftest import StartWireServer
    from tests.peers.wire_server import Request


class Olareg(WithReferrers):
    """No upload UUID, no catalog; a list for repositories that do not exist; links without quotes."""

    def _begin(self, name: str) -> Answer:
        status, headers, body = super()._begin(name)
        return status, {**headers, "Range": None, "Docker-Upload-UUID": None}, body

    def _catalog(self, _request: Request) -> Answer:
        return text(404)

    def _tags(self, request: Request, name: str, held: Holding, _rest: str) -> Answer:
        query = dict(request.query)
        rest = sorted(tag for tag in held.tags if tag > query.get("last", ""))
        status, headers, body = listing(name=name, tags=rest[:1])
        if len(rest) > 1:
            headers = {**headers, "Link": f"</v2/{name}/tags/list?last={rest[0]}&n=1>; rel=next"}
        return status, headers, body


class Ocimem(WithReferrers):
    """Chunks have a least size; nothing can be cancelled; what is missing cannot be mounted."""

    def _begin(self, name: str) -> Answer:
        status, headers, body = super()._begin(name)
        return status, {**headers, "OCI-Chunk-Min-Length": "8192"}, body

    def _mount(self, name: str, held: Holding, digest: str, source: str | None) -> Answer:
        if source is not None and digest not in self.held.get(source, Holding()).blobs:
            return refusal(404, "BLOB_UNKNOWN")
        return super()._mount(name, held, digest, source)

    def _blobs_uploads(self, request: Request, name: str, held: Holding, upload: str) -> Answer:
        if request.method == "DELETE":
            return refusal(405, "UNKNOWN")
        return super()._blobs_uploads(request, name, held, upload)


class Crane(ScriptedRegistry):
    """Never mounts, knows no upload status, answers stored without saying where, cuts lists without a link."""

    def _mount(self, name: str, _held: Holding, _digest: str, _source: str | None) -> Answer:
        return self._begin(name)

    def _blobs_uploads(self, request: Request, name: str, held: Holding, upload: str) -> Answer:
        if request.method in {"GET", "DELETE"}:
            return refusal(400, "NAME_INVALID")
        return super()._blobs_uploads(request, name, held, upload)

    def _finish(self, name: str, held: Holding, digest: str, data: bytes) -> Answer:
        status, headers, body = super()._finish(name, held, digest, data)
        return status, {**headers, "Location": None}, body

    def _referrers(self, _request: Request, _name: str, _held: Holding, _digest: str) -> Answer:
        return refusal(404, "METHOD_UNKNOWN")

    def _tags(self, request: Request, name: str, held: Holding, _rest: str) -> Answer:
        query = dict(request.query)
        rest = sorted(tag for tag in held.tags if tag > query.get("last", ""))
        return listing(name=name, tags=rest[: int(query.get("n", 1000))])


class Pulp(ScriptedRegistry):
    """Sends blobs from elsewhere, stores what it is given under any digest, does not delete tags."""

    def _content(self, request: Request, digest: str, data: bytes) -> Answer:
        if dict(request.query).get("at") != "storage":
            return 302, {"Location": f"{request.path}?at=storage"}, b""
        return super()._content(request, digest, data)

    def _finish(self, name: str, held: Holding, digest: str, data: bytes) -> Answer:
        held.blobs[digest] = data
        return 201, {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}, b""

    def _delete(self, held: Holding, reference: str) -> Answer:
        return refusal(400, "INVALID_REQUEST") if reference in held.tags else super()._delete(held, reference)


@pytest.mark.parametrize(
    ("kind", "mounts", "untags"),
    [(Olareg, True, True), (Ocimem, True, True), (Crane, False, True), (Pulp, True, False)],
)
async def test_everything_works_on(
    start_wire_server: StartWireServer, kind: type[ScriptedRegistry], *, mounts: bool, untags: bool
) -> None:
    server = start_wire_server(kind())
    async with registry_client(server) as client:
        repository = client.repository(f"{server.host}/{NAME}")
        await use(repository)
        assert await mount_base(client, server.host) is mounts
        assert await untag(repository) is untags


async def test_olareg_has_no_catalog(start_wire_server: StartWireServer) -> None:
    server = start_wire_server(Olareg())
    async with registry_client(server) as client:
        with pytest.raises(UnsupportedError, match="does not list"):
            await client.registry(server.host).repositories().collect()


async def test_cranes_lists_are_read_to_the_end(start_wire_server: StartWireServer) -> None:
    registry = Crane()
    registry.held[NAME] = Holding(tags={f"t{number}": "" for number in range(7)})
    server = start_wire_server(registry)
    async with registry_client(server) as client:
        tags = client.repository(f"{server.host}/{NAME}").tags
        assert await tags.list(page_size=3).collect() == [f"t{number}" for number in range(7)]


async def test_what_pulp_stored_under_a_wrong_digest_is_not_delivered(start_wire_server: StartWireServer) -> None:
    registry = Pulp()
    wrong = images.sha256(b"good")
    registry.held[NAME] = Holding(blobs={wrong: b"evil"})
    server = start_wire_server(registry)
    async with registry_client(server) as client:
        with pytest.raises(DigestMismatchError):
            await client.repository(f"{server.host}/{NAME}").blobs.get(wrong)
