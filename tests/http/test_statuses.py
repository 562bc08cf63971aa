"""Every status a wire can carry, against one endpoint of each family: success is what the endpoint says, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import Digest, EgressError, OciError, RegistryName, RepositoryName, ResponseError, Tag
from ocidist.wire import endpoints
from tests.http.support import NAME, ONCE, client_for
from tests.peers import answers

if TYPE_CHECKING:
    from ocidist.wire.endpoints import Endpoint
    from tests.peers.wire_server import Connection, Request, WireServer

REPOSITORY = RepositoryName(NAME)
DIGEST = Digest.of(b"content")
UPLOAD = f"/v2/{NAME}/blobs/uploads/1"
STATUSES = range(200, 1000)


def _families(origin: str) -> dict[str, Endpoint]:
    return {
        "ping": endpoints.Ping(),
        "list": endpoints.ListTags(REPOSITORY),
        "read": endpoints.GetBlob(REPOSITORY, DIGEST),
        "look": endpoints.StatManifest(REPOSITORY, Tag("v1")),
        "start": endpoints.StartUpload(REPOSITORY),
        "send": endpoints.PatchUpload(REPOSITORY, f"{origin}{UPLOAD}"),
        "status": endpoints.UploadStatus(REPOSITORY, f"{origin}{UPLOAD}"),
        "delete": endpoints.DeleteBlob(REPOSITORY, DIGEST),
    }


@pytest.mark.parametrize("family", sorted(_families("http://h")))
async def test_t78_a_status_is_success_only_where_the_endpoint_says_so(wire_server: WireServer, family: str) -> None:
    endpoint = _families(wire_server.origin)[family]
    status = 0

    def answer(request: Request, connection: Connection) -> None:
        answers.respond(status, {}, b"" if status in {204, 205, 304} else b"text")(request, connection)

    wire_server.on("*", "/v2/*", answer)
    name = RegistryName.parse(wire_server.host)
    succeeded: set[int] = set()
    errors: dict[int, OciError] = {}
    async with client_for(wire_server, retry=ONCE) as client:
        for status in STATUSES:
            try:
                async with client._session.exchange(name, endpoint) as reply:
                    assert reply.status == status
                    succeeded.add(status)
            except OciError as failure:
                errors[status] = failure
    assert set(errors) | succeeded == set(STATUSES)
    assert {(error.host, error.operation) for error in errors.values()} == {(wire_server.host, endpoint.operation)}
    # None of the redirects has a Location.
    followed = {301, 302, 303, 307, 308} if endpoint.method in {"GET", "HEAD"} else {307, 308}
    assert {status for status, error in errors.items() if isinstance(error, EgressError)} == followed
    named = {status for status, error in errors.items() if isinstance(error, ResponseError) and error.status == status}
    assert set(errors) - named == followed | {401}
    assert succeeded == endpoint.success & set(STATUSES)
    # One request for each; a bare 401 makes the client look at /v2/, if it is not there already.
    assert len(wire_server.requests) == len(STATUSES) + (family != "ping")


@pytest.mark.parametrize("status", [100, 102, 103, 110, 199])
async def test_t78_interim_answers_are_passed_over(wire_server: WireServer, status: int) -> None:
    interim = f"HTTP/1.1 {status} Wait\r\nLink: </x>\r\n\r\n".encode()
    final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    wire_server.on("GET", "/v2/", answers.raw(interim * 3 + final))
    async with client_for(wire_server, retry=ONCE) as client:
        for _ in range(2):
            await client.registry(wire_server.host).ping()
    assert len(wire_server.connections) == 1


@pytest.mark.parametrize("line", [b"HTTP/1.1 99 Low", b"HTTP/1.1 1000 High", b"HTTP/1.1 20x Odd", b"HTTP/1.1 -200 No"])
async def test_t78_what_is_no_status_is_no_answer(wire_server: WireServer, line: bytes) -> None:
    wire_server.on("GET", "/v2/", answers.raw(line + b"\r\nContent-Length: 2\r\n\r\n{}"))
    async with client_for(wire_server, retry=ONCE) as client:
        with pytest.raises(OciError):
            await client.registry(wire_server.host).ping()
