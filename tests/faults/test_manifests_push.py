from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ocidist import (
    DeniedError,
    Digest,
    DigestMismatchError,
    MalformedManifestError,
    Manifest,
    ManifestBlobUnknownError,
    ManifestUnknownError,
    NameUnknownError,
    NotFoundError,
    PayloadTooLargeError,
    PushResult,
    RedirectRefusedError,
    SchemaV1UnsupportedError,
    TransportError,
    UnexpectedStatusError,
    UnsupportedError,
    UsageError,
    errors,
)
from tests.peers import answers, images
from tests.peers.answers import error, respond, respond_json
from tests.remote.support import MANIFESTS, repository_on, serve_manifest

if TYPE_CHECKING:
    from tests.conftest import StartWireServer
    from tests.peers.wire_server import WireServer

IMAGE = images.image().manifest
OTHER = images.image("linux/arm64").manifest
INDEX = images.index().manifest
MADE = Manifest.of(IMAGE.data, IMAGE.media_type)
BY_DIGEST = f"{MANIFESTS}/{IMAGE.digest}"
BY_TAG = f"{MANIFESTS}/v1"
MIB = 1024 * 1024


def padded(size: int) -> images.Content:
    """A manifest of exactly this many bytes."""
    value = json.loads(IMAGE.data)
    value["annotations"] = {"padding": ""}
    empty = len(json.dumps(value).encode())
    value["annotations"]["padding"] = "x" * (size - empty)
    return images.Content(json.dumps(value).encode(), IMAGE.media_type)


def created(content: images.Content = IMAGE, **headers: str) -> answers.Handler:
    usual = {"Docker-Content-Digest": content.digest, "Location": "/v2/x"}
    return respond(201, usual | {name.replace("_", "-"): value for name, value in headers.items()})


# --- pushing ----------------------------------------------------------------------------------------------------------


async def test_t27_a_created_answer_with_another_digest_is_a_mismatch(wire_server: WireServer) -> None:
    wire_server.on("PUT", BY_DIGEST, created(OTHER))
    async with repository_on(wire_server) as repository:
        with pytest.raises(DigestMismatchError) as caught:
            await repository.manifests.push(MADE)
    assert (caught.value.expected, caught.value.actual) == (IMAGE.digest, OTHER.digest)


async def test_f078_another_digest_for_a_tag_is_reported_with_that_tag(wire_server: WireServer) -> None:
    wire_server.on("PUT", BY_DIGEST, created())
    wire_server.on("PUT", BY_TAG, created(OTHER))
    async with repository_on(wire_server) as repository:
        pushed = await repository.manifests.push(MADE, tags=["v1"])
    assert pushed.tags == ()
    assert isinstance(pushed.failed[next(iter(pushed.failed))], DigestMismatchError)


async def test_t27_a_digest_of_another_algorithm_is_checked_with_that_algorithm(wire_server: WireServer) -> None:
    wire_server.on(
        "PUT",
        BY_DIGEST,
        respond(201, {"Docker-Content-Digest": Digest.of(IMAGE.data, "sha512")}),
        respond(201, {"Docker-Content-Digest": Digest.of(OTHER.data, "sha512")}),
    )
    async with repository_on(wire_server) as repository:
        await repository.manifests.push(MADE)
        with pytest.raises(DigestMismatchError):
            await repository.manifests.push(MADE)


async def test_the_bytes_and_their_type_arrive_as_they_are(wire_server: WireServer) -> None:
    route = wire_server.on("PUT", "/v2/*", created())
    async with repository_on(wire_server) as repository:
        pushed = await repository.manifests.push(IMAGE.data, tags=["v1", "v2", "v1"])
    assert pushed == PushResult(MADE.descriptor, ("v1", "v2"))  # type: ignore[arg-type]  # tags compare like strings
    assert [request.path for request in route.requests] == [BY_DIGEST, BY_TAG, f"{MANIFESTS}/v2"]
    for request in route.requests:
        assert request.body == IMAGE.data
        assert request.header("Content-Type") == IMAGE.media_type
        assert request.header("Content-Length") == str(len(IMAGE.data))


async def test_one_connection_serves_one_request_after_the_other(wire_server: WireServer) -> None:
    wire_server.on("PUT", "/v2/*", created())
    wire_server.on("HEAD", BY_TAG, serve_manifest(IMAGE))
    wire_server.on("DELETE", BY_TAG, respond(202))
    async with repository_on(wire_server) as repository:
        await repository.manifests.push(MADE, tags=["v1", "v2"])
        await repository.tags.stat("v1")
        await repository.tags.delete("v1")
    assert len(wire_server.connections) == 1


async def test_s16_a_tag_that_fails_is_reported_and_the_others_stand(wire_server: WireServer) -> None:
    wire_server.on("PUT", "/v2/*", created())
    wire_server.on("PUT", f"{MANIFESTS}/immutable", error(403, "DENIED", "this tag is immutable"))
    async with repository_on(wire_server) as repository:
        pushed = await repository.manifests.push(MADE, tags=["v1", "immutable", "v2"])
    assert pushed.tags == ("v1", "v2")
    assert list(pushed.failed) == ["immutable"]
    failure = pushed.failed[next(iter(pushed.failed))]
    assert isinstance(failure, DeniedError)
    assert "immutable" in str(failure)


async def test_without_a_digest_the_first_tag_is_what_counts(wire_server: WireServer) -> None:
    route = wire_server.on("PUT", "/v2/*", created())
    wire_server.on("PUT", f"{MANIFESTS}/bad", error(403, "DENIED"))
    async with repository_on(wire_server) as repository:
        pushed = await repository.manifests.push(MADE, tags=["v1", "v2"], by_digest=False)
        assert pushed.tags == ("v1", "v2")
        with pytest.raises(DeniedError):
            await repository.manifests.push(MADE, tags=["bad", "v1"], by_digest=False)
        with pytest.raises(UsageError, match="only be pushed by digest"):
            await repository.manifests.push(MADE, by_digest=False)
    assert BY_DIGEST not in [request.path for request in route.requests]


@pytest.mark.parametrize("status", [302, 303])
async def test_f061_a_redirect_that_would_turn_the_push_into_a_read_is_no_success(
    wire_server: WireServer, status: int
) -> None:
    wire_server.on("PUT", BY_DIGEST, respond(status, {"Location": "/v2/elsewhere"}))
    wire_server.on("*", "/v2/elsewhere", respond(200))
    async with repository_on(wire_server) as repository:
        with pytest.raises(UnexpectedStatusError) as caught:
            await repository.manifests.push(MADE)
    assert caught.value.status == status
    assert wire_server.targets() == [f"PUT {BY_DIGEST}"]


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_q65_a_redirected_push_never_becomes_a_read(wire_server: WireServer, status: int) -> None:
    wire_server.on("PUT", BY_DIGEST, respond(status, {"Location": BY_TAG}))
    wire_server.on("GET", "/v2/*", serve_manifest(IMAGE))
    async with repository_on(wire_server) as repository:
        with pytest.raises(UnexpectedStatusError):
            await repository.manifests.push(MADE)
    assert wire_server.targets("GET") == []


@pytest.mark.parametrize("status", [307, 308])
async def test_f061_a_push_is_not_sent_to_another_host(
    wire_server: WireServer, start_wire_server: StartWireServer, status: int
) -> None:
    other = start_wire_server(address="127.0.0.2")
    wire_server.on("PUT", BY_DIGEST, respond(status, {"Location": f"{other.origin}/v2/x"}))
    async with repository_on(wire_server) as repository:
        with pytest.raises(RedirectRefusedError):
            await repository.manifests.push(MADE)
    assert other.connections == []


@pytest.mark.parametrize("lost", [answers.close, answers.reset])
async def test_f077_a_push_whose_answer_was_lost_is_verified(wire_server: WireServer, lost: answers.Handler) -> None:
    # take() makes sure that the body arrived, so the registry may well have stored it.
    wire_server.on("PUT", BY_DIGEST, answers.chain(answers.take(len(IMAGE.data)), lost))
    wire_server.on("HEAD", BY_DIGEST, serve_manifest(IMAGE))
    async with repository_on(wire_server) as repository:
        assert (await repository.manifests.push(MADE)).descriptor == MADE.descriptor


async def test_f077_a_lost_answer_without_a_stored_manifest_is_an_error(wire_server: WireServer) -> None:
    wire_server.on("PUT", BY_DIGEST, answers.chain(answers.take(len(IMAGE.data)), answers.close))
    async with repository_on(wire_server) as repository:
        with pytest.raises(TransportError) as caught:
            await repository.manifests.push(MADE)
    assert caught.value.operation == "push manifest"


@pytest.mark.parametrize("status", [200, 202])
async def test_t26_an_unusual_success_counts_only_if_the_manifest_is_there(
    wire_server: WireServer, status: int
) -> None:
    portal = respond(status, {"Content-Type": "text/html"}, b"<html>log in</html>")
    wire_server.on("PUT", BY_DIGEST, portal)
    wire_server.on("PUT", f"{MANIFESTS}/{OTHER.digest}", portal)
    wire_server.on("HEAD", BY_DIGEST, serve_manifest(IMAGE))
    async with repository_on(wire_server) as repository:
        assert (await repository.manifests.push(MADE)).descriptor == MADE.descriptor
        with pytest.raises(errors.ProtocolError, match="does not have the manifest"):
            await repository.manifests.push(OTHER.data)


async def test_f079_missing_content_is_named(wire_server: WireServer) -> None:
    missing = [images.sha256(b"one"), images.sha256(b"two")]
    entries = [
        {"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown", "detail": {"digest": digest}} for digest in missing
    ]
    route = wire_server.on("PUT", BY_DIGEST, respond_json(400, {"errors": entries}))
    async with repository_on(wire_server) as repository:
        with pytest.raises(ManifestBlobUnknownError) as caught:
            await repository.manifests.push(MADE)
    assert list(caught.value.digests) == missing
    assert len(route.requests) == 1


async def test_f080_replicas_that_lag_are_waited_for(wire_server: WireServer) -> None:
    wire_server.on("PUT", BY_DIGEST, error(404, "BLOB_UNKNOWN"), respond(404), created())
    async with repository_on(wire_server) as repository:
        assert (await repository.manifests.push(MADE)).descriptor == MADE.descriptor


async def test_f080_replicas_that_never_catch_up_are_an_error(wire_server: WireServer) -> None:
    route = wire_server.on("PUT", BY_DIGEST, error(404, "BLOB_UNKNOWN"))
    async with repository_on(wire_server) as repository:
        with pytest.raises(NotFoundError):
            await repository.manifests.push(MADE)
    assert len(route.requests) == 3


async def test_f080_a_repository_that_does_not_exist_is_not_waited_for(wire_server: WireServer) -> None:
    route = wire_server.on("PUT", BY_DIGEST, error(404, "NAME_UNKNOWN", "create it first"))
    async with repository_on(wire_server) as repository:
        with pytest.raises(NameUnknownError, match="create it first"):
            await repository.manifests.push(MADE)
    assert len(route.requests) == 1


async def test_f081_a_manifest_that_is_too_large_is_reported_even_if_it_was_not_read(wire_server: WireServer) -> None:
    large = padded(4 * MIB)
    refuse = answers.chain(answers.early(413, {"Connection": "close"}, b"too large"), answers.close)
    wire_server.on("PUT", "/v2/*", refuse)
    async with repository_on(wire_server) as repository:
        with pytest.raises(PayloadTooLargeError, match="too large"):
            await repository.manifests.push(large.data)


async def test_schema_1_is_never_pushed(wire_server: WireServer) -> None:
    body = {"schemaVersion": 1, "name": "a", "tag": "b", "fsLayers": [], "history": [], "signatures": []}
    async with repository_on(wire_server) as repository:
        with pytest.raises(SchemaV1UnsupportedError, match="schema 1"):
            await repository.manifests.push(json.dumps(body).encode())
    assert wire_server.requests == []


async def test_a_media_type_that_is_not_the_manifests_own_is_refused_before_anything_is_sent(
    wire_server: WireServer,
) -> None:
    async with repository_on(wire_server) as repository:
        with pytest.raises(UsageError):
            await repository.manifests.push(MADE, media_type=INDEX.media_type)
        with pytest.raises(MalformedManifestError):
            await repository.manifests.push(IMAGE.data, media_type=INDEX.media_type)
        with pytest.raises(MalformedManifestError):
            await repository.manifests.push(b"not a manifest")
    assert wire_server.requests == []


# --- deleting ---------------------------------------------------------------------------------------------------------


async def test_f083_a_delete_whose_answer_was_lost_is_done_if_the_manifest_is_gone(wire_server: WireServer) -> None:
    wire_server.on("GET", BY_DIGEST, serve_manifest(IMAGE))
    route = wire_server.on("DELETE", BY_DIGEST, answers.close, error(404, "MANIFEST_UNKNOWN"))
    async with repository_on(wire_server) as repository:
        await repository.manifests.delete(IMAGE.digest)
    assert len(route.requests) == 2


async def test_f083_a_manifest_that_was_never_there_is_unknown(wire_server: WireServer) -> None:
    wire_server.on("DELETE", BY_DIGEST, error(404, "MANIFEST_UNKNOWN"))
    async with repository_on(wire_server) as repository:
        with pytest.raises(ManifestUnknownError):
            await repository.manifests.delete(IMAGE.digest)
        with pytest.raises(ManifestUnknownError):
            await repository.manifests.delete(IMAGE.digest, update_referrers=False)


@pytest.mark.parametrize("refusal", [respond(405), error(405, "UNSUPPORTED"), error(400, "UNSUPPORTED"), respond(501)])
async def test_a_registry_that_does_not_delete_is_unsupported(
    wire_server: WireServer, refusal: answers.Handler
) -> None:
    wire_server.on("GET", BY_DIGEST, serve_manifest(IMAGE))
    wire_server.on("DELETE", BY_DIGEST, refusal)
    async with repository_on(wire_server) as repository:
        with pytest.raises(UnsupportedError):
            await repository.manifests.delete(IMAGE.digest)


async def test_a_manifest_that_cannot_be_read_can_still_be_deleted(wire_server: WireServer) -> None:
    wire_server.on("GET", BY_DIGEST, serve_manifest(OTHER))
    route = wire_server.on("DELETE", BY_DIGEST, respond(202))
    async with repository_on(wire_server) as repository:
        await repository.manifests.delete(IMAGE.digest)
    assert len(route.requests) == 1


async def test_n10_a_tag_is_never_deleted_as_a_manifest(wire_server: WireServer) -> None:
    async with repository_on(wire_server) as repository:
        with pytest.raises(UsageError, match=r"tags\.delete"):
            await repository.manifests.delete("v1")
    assert wire_server.requests == []
