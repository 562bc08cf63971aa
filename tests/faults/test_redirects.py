"""Redirects: secrets stay at home, writes stay what they are, and nothing goes in circles."""

from __future__ import annotations

import base64
from functools import partial
from typing import TYPE_CHECKING

import pytest

from ocidist import (
    BlobUnknownError,
    BodyNotReplayableError,
    Client,
    Descriptor,
    Digest,
    EgressPolicy,
    HostConfig,
    Manifest,
    RedirectRefusedError,
    UnexpectedStatusError,
)
from tests.http.support import NAME, alice_at, client_for
from tests.peers import images
from tests.peers.answers import chain, close, error, respond
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ocidist import Repository
    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Connection, Request, WireServer

BLOB = noise(50_000)
DIGEST = Digest.of(BLOB)
TARGET = f"/v2/{NAME}/blobs/{DIGEST}"
SECRETS = (b"s3cret", base64.b64encode(b"alice:s3cret"), b"uthorization", b"ookie", b"X-Team")


def to(url: str, status: int = 307) -> Handler:
    """Redirect to a URL."""
    return respond(status, {"Location": url, "Set-Cookie": "session=s3cret"})


def for_alice(then: Handler) -> Handler:
    """Answer whoever brings alice's password, and challenge everybody else."""
    wanted = "Basic " + base64.b64encode(b"alice:s3cret").decode()

    def answer(request: Request, connection: Connection) -> None:
        known = request.header("Authorization") == wanted
        (then if known else respond(401, {"WWW-Authenticate": 'Basic realm="r"'}))(request, connection)

    return answer


def alice(server: WireServer) -> Client:
    """Return a client with a password and another header that is nobody else's business."""
    return alice_at(server, headers={"X-Team": "blue", "Cookie": "a=b"})


def repository_of(client: Client, server: WireServer) -> Repository:
    return client.repository(f"{server.host}/{NAME}")


# --- F060, T05, A07: reads ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_f060_a_blob_on_another_host_is_read_without_the_password(
    wire_server: WireServer, start_wire_server: StartWireServer, status: int
) -> None:
    cdn = start_wire_server(name="localhost")
    cdn.on("GET", "/signed*", respond(200, (), BLOB))
    wire_server.on("GET", TARGET, for_alice(to(f"{cdn.origin}/signed?signature=1%2F2", status)))
    async with alice(wire_server) as client:
        assert await repository_of(client, wire_server).blobs.get(DIGEST) == BLOB
    assert cdn.targets() == ["GET /signed?signature=1%2F2"]
    assert not [secret for secret in SECRETS if secret in cdn.received]


def _other_port(cdn: WireServer) -> str:
    return f"http://127.0.0.1:{cdn.port}"


def _other_address(cdn: WireServer) -> str:
    return f"http://127.0.0.2:{cdn.port}"


def _upper_case(cdn: WireServer) -> str:
    return f"http://LOCALHOST:{cdn.port}"


ELSEWHERE = pytest.mark.parametrize(
    ("named", "place"),
    [
        ({}, _other_port),
        ({"address": "127.0.0.2"}, _other_address),
        ({"name": "localhost"}, _upper_case),
    ],
    ids=["other-port", "other-address", "upper-case-name"],
)


@ELSEWHERE
@pytest.mark.parametrize("what", ["blob", "manifest"])
async def test_t05_every_change_of_origin_drops_every_secret(
    wire_server: WireServer,
    start_wire_server: StartWireServer,
    named: dict[str, str],
    place: Callable[[WireServer], str],
    what: str,
) -> None:
    cdn = start_wire_server(**named)
    image = images.image("linux/amd64")
    cdn.on("GET", "/blob", respond(200, (), BLOB))
    cdn.on("GET", "/manifest", respond(200, {"Content-Type": image.manifest.media_type}, image.manifest.data))
    wire_server.on("GET", TARGET, for_alice(to(f"{place(cdn)}/blob")))
    wire_server.on("GET", f"/v2/{NAME}/manifests/*", for_alice(to(f"{place(cdn)}/manifest")))
    async with alice(wire_server) as client:
        repository = repository_of(client, wire_server)
        if what == "blob":
            assert await repository.blobs.get(DIGEST) == BLOB
        else:
            assert (await repository.manifests.get(image.digest)).data == image.manifest.data
    assert len(cdn.requests) == 1
    assert not [secret for secret in SECRETS if secret in cdn.received]


async def test_t05_the_same_origin_keeps_the_password(wire_server: WireServer) -> None:
    wire_server.on("GET", TARGET, for_alice(to(f"/v2/{NAME}/elsewhere")))
    wire_server.on("GET", f"/v2/{NAME}/elsewhere", for_alice(respond(200, (), BLOB)))
    async with alice(wire_server) as client:
        assert await repository_of(client, wire_server).blobs.get(DIGEST) == BLOB


async def test_t05_who_has_left_home_once_stays_without_a_password(
    wire_server: WireServer, start_wire_server: StartWireServer
) -> None:
    cdn = start_wire_server(name="localhost")
    back = wire_server.on("GET", "/back", respond(200, (), BLOB))
    cdn.on("GET", "/signed", to(f"{wire_server.origin}/back"))
    wire_server.on("GET", TARGET, for_alice(to(f"{cdn.origin}/signed")))
    async with alice(wire_server) as client:
        assert await repository_of(client, wire_server).blobs.get(DIGEST) == BLOB
    assert back.requests[0].header("Authorization") is None


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a07_a_redirect_to_another_host_carries_no_secret(
    wire_server: WireServer, start_wire_server: StartWireServer, method: str
) -> None:
    cdn = start_wire_server(name="localhost")
    cdn.on(method, "/signed", respond(200, {"Content-Length": str(len(BLOB))}, BLOB if method == "GET" else b""))
    wire_server.on(method, TARGET, for_alice(to(f"{cdn.origin}/signed")))
    async with alice(wire_server) as client:
        blobs = repository_of(client, wire_server).blobs
        if method == "GET":
            assert await blobs.get(DIGEST) == BLOB
        else:
            assert (await blobs.stat(DIGEST)).size == len(BLOB)
    assert not [secret for secret in SECRETS if secret in cdn.received]


async def test_a07_https_never_leads_to_http(
    start_wire_server: StartWireServer, wire_server: WireServer, authority: Authority
) -> None:
    secure = start_wire_server(tls=authority)
    secure.on("GET", TARGET, to(f"{wire_server.origin}/plain"))
    async with Client(hosts={secure.host: HostConfig(ca=authority.ca_path)}) as client:
        with pytest.raises(RedirectRefusedError, match="https never leads to http"):
            await client.repository(f"{secure.host}/{NAME}").blobs.get(DIGEST)
    assert wire_server.connections == []


async def test_q71_headers_that_httpx_would_take_along_stay_at_home(
    wire_server: WireServer, start_wire_server: StartWireServer
) -> None:
    cdn = start_wire_server(name="localhost")
    cdn.on("GET", "/x", respond(200))
    wire_server.on("GET", "/v2/x", to(f"{cdn.origin}/x"))
    async with client_for(wire_server, headers={"X-Api-Key": "s3cret"}) as client:
        answer = await client.get(
            f"{wire_server.origin}/v2/x",
            headers={"Authorization": "Bearer s3cret", "Proxy-Authorization": "s3cret", "Cookie": "s3cret"},
            follow_redirects=True,
        )
        assert answer.status_code == 200
    assert b"s3cret" not in cdn.received
    assert wire_server.requests[0].header("Authorization") == "Bearer s3cret"


# --- T06, Q64: challenges of others ---------------------------------------------------------------------------------


async def test_q64_the_challenge_of_a_redirect_target_is_not_the_registrys(
    wire_server: WireServer, start_wire_server: StartWireServer
) -> None:
    cdn = start_wire_server(name="localhost")
    asked = cdn.on("GET", "/token*", respond(200, (), b'{"token":"t"}'))
    challenge = {"WWW-Authenticate": f'Bearer realm="{cdn.origin}/token",service="s"'}
    cdn.on("GET", "/signed", respond(401, challenge))
    route = wire_server.on("GET", TARGET, to(f"{cdn.origin}/signed"))
    async with alice(wire_server) as client:
        with pytest.raises(UnexpectedStatusError) as caught:
            await repository_of(client, wire_server).blobs.get(DIGEST)
    assert caught.value.status == 401
    assert asked.requests == []
    assert len(route.requests) == 1
    assert not [secret for secret in SECRETS if secret in cdn.received]


# --- F062, Q65: writes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [307, 308])
async def test_f062_a_patch_that_can_be_repeated_follows_with_method_and_body(
    wire_server: WireServer, status: int
) -> None:
    uploads = f"/v2/{NAME}/blobs/uploads/"
    wire_server.on("POST", uploads, respond(202, {"Location": f"{uploads}1"}))
    wire_server.on("PATCH", f"{uploads}1", to(f"{uploads}2", status))
    followed = wire_server.on("PATCH", f"{uploads}2", respond(202, {"Location": f"{uploads}3", "Range": "0-49999"}))
    wire_server.on("PUT", f"{uploads}3*", respond(201, {"Location": TARGET}))
    async with (
        client_for(wire_server) as client,
        repository_of(client, wire_server).blobs.writer(chunk_size=len(BLOB)) as writer,
    ):
        await writer.write(BLOB)
        await writer.flush()
        assert (await writer.commit()).digest == DIGEST
    assert followed.requests[0].body == BLOB


async def _once() -> AsyncIterator[bytes]:
    yield BLOB


@pytest.mark.parametrize("status", [307, 308])
async def test_f062_a_body_that_can_be_read_once_is_not_sent_again(wire_server: WireServer, status: int) -> None:
    uploads = f"/v2/{NAME}/blobs/uploads/"
    wire_server.on("HEAD", TARGET, error(404, "BLOB_UNKNOWN"))
    wire_server.on("POST", uploads, respond(202, {"Location": f"{uploads}1"}))
    wire_server.on("PUT", f"{uploads}1*", to(f"{uploads}2?x=1", status))
    cancelled = wire_server.on("DELETE", f"{uploads}1", respond(204))
    known = Descriptor.of(BLOB)
    async with client_for(wire_server) as client:
        with pytest.raises(BodyNotReplayableError):
            await repository_of(client, wire_server).blobs.push(_once(), known)
    assert len(cancelled.requests) == 1
    assert [line for line in wire_server.targets() if "uploads/2" in line] == []


@pytest.mark.parametrize("status", [301, 302, 303])
@pytest.mark.parametrize("verb", ["PUT", "POST", "DELETE"])
async def test_q65_a_redirected_write_never_becomes_a_read(wire_server: WireServer, status: int, verb: str) -> None:
    manifest = Manifest.of(images.image("linux/amd64").manifest.data)
    wire_server.on(verb, "/v2/*", to("/v2/elsewhere", status))
    elsewhere = wire_server.on("GET", "/v2/elsewhere", respond(200, (), b"<html>"))
    async with client_for(wire_server) as client:
        repository = repository_of(client, wire_server)
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "PUT": partial(repository.manifests.push, manifest),
            "POST": partial(repository.blobs.mount, DIGEST, source="acme/base"),
            "DELETE": partial(repository.blobs.delete, DIGEST),
        }
        with pytest.raises(UnexpectedStatusError):
            await calls[verb]()
    assert elsewhere.requests == []


async def test_q65_a_write_is_not_sent_to_another_host(
    wire_server: WireServer, start_wire_server: StartWireServer
) -> None:
    other = start_wire_server(name="localhost")
    wire_server.on("PUT", "/v2/*", to(f"{other.origin}/v2/x"))
    async with alice(wire_server) as client:
        with pytest.raises(RedirectRefusedError, match=other.host):
            await repository_of(client, wire_server).manifests.push(images.image("linux/amd64").manifest.data)
    assert other.connections == []


# --- F063: circles --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [302, 308])
async def test_f063_a_redirect_to_itself_is_refused_at_once(wire_server: WireServer, status: int) -> None:
    route = wire_server.on("GET", TARGET, to(TARGET, status))
    async with client_for(wire_server) as client:
        with pytest.raises(RedirectRefusedError, match="circle"):
            await repository_of(client, wire_server).blobs.get(DIGEST)
    assert len(route.requests) == 1


@pytest.mark.parametrize("allowed", [0, 1, 5])
async def test_f063_a_chain_ends_where_the_policy_ends_it(wire_server: WireServer, allowed: int) -> None:
    def further(request: Request, connection: Connection) -> None:
        step = int(request.path.rpartition("/")[2]) if request.path.startswith("/hop/") else 0
        to(f"/hop/{step + 1}")(request, connection)

    wire_server.on("GET", TARGET, further)
    wire_server.on("GET", "/hop/*", further)
    async with client_for(wire_server, egress=EgressPolicy(max_redirects=allowed)) as client:
        with pytest.raises(RedirectRefusedError):
            await repository_of(client, wire_server).blobs.get(DIGEST)
    assert len(wire_server.requests) == allowed + 1


async def test_f063_a_chain_within_the_policy_is_followed(wire_server: WireServer) -> None:
    wire_server.on("GET", TARGET, to("/hop/1"))
    for step in range(1, 5):
        wire_server.on("GET", f"/hop/{step}", to(f"/hop/{step + 1}"))
    wire_server.on("GET", "/hop/5", respond(200, (), BLOB))
    async with client_for(wire_server) as client:
        assert await repository_of(client, wire_server).blobs.get(DIGEST) == BLOB


# --- F065, F066: the CDN fails, the registry knows another way -------------------------------------------------------


def _part(data: bytes, start: int) -> Handler:
    span = f"bytes {start}-{len(data) - 1}/{len(data)}"
    return respond(206, {"Content-Range": span}, data[start:])


@pytest.mark.parametrize(
    "failure",
    [respond(403, (), b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"), respond(404)],
    ids=["403", "404"],
)
async def test_f065_an_expired_presigned_url_is_asked_for_anew(
    wire_server: WireServer, start_wire_server: StartWireServer, failure: Handler
) -> None:
    cdn = start_wire_server(name="localhost")
    half = len(BLOB) // 2
    cdn.on("GET", "/signed/1", chain(respond(200, {"Content-Length": str(len(BLOB))}, BLOB[:half]), close))
    cdn.on("GET", "/signed/2", failure)
    cdn.on("GET", "/signed/3", _part(BLOB, half))
    route = wire_server.on("GET", TARGET, *(to(f"{cdn.origin}/signed/{number}") for number in (1, 2, 3)))
    async with alice(wire_server) as client:
        assert await repository_of(client, wire_server).blobs.get(DIGEST) == BLOB
    assert [request.header("Range") for request in route.requests] == [None, f"bytes={half}-", f"bytes={half}-"]


async def test_f065_a_blob_that_is_gone_for_good_is_an_error(
    wire_server: WireServer, start_wire_server: StartWireServer
) -> None:
    cdn = start_wire_server(name="localhost")
    cdn.on("GET", "/signed", respond(404))
    wire_server.on("GET", TARGET, to(f"{cdn.origin}/signed"))
    async with alice(wire_server) as client:
        with pytest.raises(BlobUnknownError):
            await repository_of(client, wire_server).blobs.get(DIGEST)


async def test_f066_a_cdn_that_is_unavailable_is_reached_through_the_registry_again(
    wire_server: WireServer, start_wire_server: StartWireServer
) -> None:
    cdn = start_wire_server(name="localhost")
    cdn.on("GET", "/signed", respond(503), respond(200, (), BLOB))
    route = wire_server.on("GET", TARGET, to(f"{cdn.origin}/signed"))
    async with alice(wire_server) as client:
        assert await repository_of(client, wire_server).blobs.get(DIGEST) == BLOB
    assert len(route.requests) == 2


async def test_f066_a_cdn_that_breaks_off_is_reached_through_the_registry_again(
    wire_server: WireServer, start_wire_server: StartWireServer
) -> None:
    cdn = start_wire_server(name="localhost")
    half = len(BLOB) // 2
    broken = chain(respond(200, {"Content-Length": str(len(BLOB))}, BLOB[:half]), close)
    cdn.on("GET", "/signed", broken, _part(BLOB, half))
    route = wire_server.on("GET", TARGET, to(f"{cdn.origin}/signed"))
    async with alice(wire_server) as client:
        assert await repository_of(client, wire_server).blobs.get(DIGEST) == BLOB
    assert [request.header("Range") for request in route.requests] == [None, f"bytes={half}-"]
