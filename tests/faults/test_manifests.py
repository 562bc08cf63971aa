from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import (
    DeniedError,
    Descriptor,
    Digest,
    DigestMismatchError,
    DigestUnsupportedError,
    IntegrityError,
    LimitExceededError,
    MalformedManifestError,
    Manifest,
    ManifestBlobUnknownError,
    ManifestUnknownError,
    NameUnknownError,
    NotFoundError,
    NotModifiedError,
    OciError,
    PayloadTooLargeError,
    PushResult,
    RedirectRefusedError,
    SchemaV1UnsupportedError,
    ServerError,
    TagDelete,
    TagUnknownError,
    TransportError,
    TruncatedBodyError,
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
    from tests.peers.wire_server import Connection, Request, WireServer

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


# --- reading: the bytes ----------------------------------------------------------------------------------------------


async def test_t16_another_valid_manifest_under_the_claimed_digest_is_never_delivered(wire_server: WireServer) -> None:
    wire_server.on("GET", BY_DIGEST, serve_manifest(OTHER, Docker_Content_Digest=IMAGE.digest))
    async with repository_on(wire_server) as repository:
        with pytest.raises(DigestMismatchError) as caught:
            await repository.manifests.get(IMAGE.digest)
    assert caught.value.expected == IMAGE.digest
    assert caught.value.actual == OTHER.digest
    assert caught.value.reference == f"{wire_server.host}/acme/app@{IMAGE.digest}"


async def test_t16_the_digest_is_computed_with_the_algorithm_that_was_asked_for(wire_server: WireServer) -> None:
    digest = Digest.of(IMAGE.data, "sha512")
    wire_server.on("GET", f"{MANIFESTS}/{digest}", serve_manifest(IMAGE))
    async with repository_on(wire_server) as repository:
        found = await repository.manifests.get(digest)
    assert found.digest == digest
    assert found.data == IMAGE.data


async def test_t18_a_digest_that_cannot_be_verified_is_not_even_asked_for(wire_server: WireServer) -> None:
    async with repository_on(wire_server) as repository:
        with pytest.raises(DigestUnsupportedError, match="md5"):
            await repository.manifests.get("md5:d41d8cd98f00b204e9800998ecf8427e")
    assert wire_server.requests == []


@pytest.mark.parametrize("position", [0, 1, len(IMAGE.data) // 2, len(IMAGE.data) - 1])
async def test_f070_one_altered_byte_is_a_mismatch_after_a_second_try(wire_server: WireServer, position: int) -> None:
    altered = bytearray(IMAGE.data)
    altered[position] ^= 1
    route = wire_server.on("GET", BY_DIGEST, serve_manifest(images.Content(bytes(altered), IMAGE.media_type)))
    async with repository_on(wire_server) as repository:
        with pytest.raises(DigestMismatchError):
            await repository.manifests.get(IMAGE.digest)
    assert len(route.requests) == 2


async def test_f070_bytes_altered_in_passing_are_asked_for_again(wire_server: WireServer) -> None:
    altered = images.Content(IMAGE.data.replace(b"config", b"c0nfig", 1), IMAGE.media_type)
    wire_server.on("GET", BY_DIGEST, serve_manifest(altered), serve_manifest(IMAGE))
    async with repository_on(wire_server) as repository:
        assert (await repository.manifests.get(IMAGE.digest)).data == IMAGE.data


async def test_f071_a_tag_whose_stated_digest_is_another_ones_is_a_mismatch(wire_server: WireServer) -> None:
    wire_server.on("GET", BY_TAG, serve_manifest(IMAGE, Docker_Content_Digest=OTHER.digest))
    async with repository_on(wire_server) as repository:
        with pytest.raises(DigestMismatchError):
            await repository.manifests.get("v1")


@pytest.mark.parametrize("stated", [None, "", "nonsense", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:short"])
async def test_q58_by_tag_the_body_is_hashed_where_no_usable_digest_is_stated(
    wire_server: WireServer, stated: str | None
) -> None:
    wire_server.on("GET", BY_TAG, serve_manifest(IMAGE, Docker_Content_Digest=stated))
    async with repository_on(wire_server) as repository:
        assert (await repository.manifests.get("v1")).digest == IMAGE.digest


@pytest.mark.parametrize("stated", [None, OTHER.digest])
async def test_q58_by_digest_the_body_decides_and_not_the_header(wire_server: WireServer, stated: str | None) -> None:
    wire_server.on("GET", BY_DIGEST, serve_manifest(IMAGE, Docker_Content_Digest=stated))
    async with repository_on(wire_server) as repository:
        assert (await repository.manifests.get(IMAGE.digest)).data == IMAGE.data


async def test_f072_a_header_and_a_body_that_disagree_are_an_error(wire_server: WireServer) -> None:
    wire_server.on("GET", BY_TAG, serve_manifest(IMAGE, Content_Type=INDEX.media_type))
    async with repository_on(wire_server) as repository:
        with pytest.raises(MalformedManifestError, match="calls itself"):
            await repository.manifests.get("v1")


@pytest.mark.parametrize(
    "body",
    [
        b'{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}',
        b'{"schemaVersion":2,"mediaType":"a/b","mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}',
        b"\xef\xbb\xbf" + IMAGE.data,
        b'{"schemaVersion":2,"manifests":' + b"[" * 100_000,
        b'{"hello":"world"}',
    ],
)
async def test_t19_what_is_not_one_kind_of_manifest_only_is_refused(wire_server: WireServer, body: bytes) -> None:
    wire_server.on("GET", BY_TAG, respond(200, {"Content-Type": "application/json"}, body))
    async with repository_on(wire_server) as repository:
        with pytest.raises(errors.ProtocolError):
            await repository.manifests.get("v1")


async def test_t19_odd_bytes_are_kept_as_they_are(wire_server: WireServer) -> None:
    odd = json.dumps(json.loads(IMAGE.data), indent=3).replace("\n", "\r\n").replace("config", "\\u0063onfig")
    content = images.Content(odd.encode() + b"\r\n", IMAGE.media_type)
    wire_server.on("GET", BY_TAG, serve_manifest(content))
    async with repository_on(wire_server) as repository:
        found = await repository.manifests.get("v1")
    assert (found.data, found.digest) == (content.data, content.digest)


@pytest.mark.parametrize("kind", [None, "application/json", "text/plain", f"{IMAGE.media_type}; charset=utf-8"])
async def test_q59_a_content_type_that_says_little_is_completed_from_the_body(
    wire_server: WireServer, kind: str | None
) -> None:
    wire_server.on("GET", BY_TAG, serve_manifest(IMAGE, Content_Type=kind))
    async with repository_on(wire_server) as repository:
        assert (await repository.manifests.get("v1")).media_type == IMAGE.media_type


async def test_q61_what_is_acceptable_is_said_in_one_header_and_schema_1_is_not(wire_server: WireServer) -> None:
    wire_server.on("GET", BY_TAG, serve_manifest(IMAGE))
    wire_server.on("HEAD", BY_TAG, serve_manifest(IMAGE))
    async with repository_on(wire_server) as repository:
        await repository.manifests.get("v1")
        await repository.manifests.stat("v1")
        await repository.manifests.get("v1", accept=INDEX.media_type)
    accepts = [[value for name, value in request.headers if name == "Accept"] for request in wire_server.requests]
    both = accepts[0]
    assert len(both) == 1
    assert both[0].split(", ") == [IMAGE.media_type, INDEX.media_type, images.DOCKER_MANIFEST, images.DOCKER_LIST]
    assert accepts == [both, both, [INDEX.media_type]]


async def test_t26_a_web_page_instead_of_a_manifest_is_named_as_one(wire_server: WireServer) -> None:
    portal = b"<html>\x1b]0;evil\x07" + b"log in " * 100
    wire_server.on("GET", "/v2/*", respond(200, {"Content-Type": "text/html; charset=utf-8"}, portal))
    async with repository_on(wire_server) as repository:
        for reference in ("v1", IMAGE.digest):
            with pytest.raises(errors.ProtocolError, match=r"text/html.*log in") as caught:
                await repository.manifests.get(reference)
            assert "\x1b" not in str(caught.value)
            assert str(caught.value).count("log in") < 40


# --- reading: sizes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [4 * MIB - 1, 4 * MIB])
async def test_q62_manifests_of_four_mebibytes_are_read(wire_server: WireServer, size: int) -> None:
    content = padded(size)
    wire_server.on("GET", BY_TAG, serve_manifest(content))
    async with repository_on(wire_server) as repository:
        assert (await repository.manifests.get("v1")).size == size


async def test_f073_one_byte_more_is_refused_unless_it_was_allowed(wire_server: WireServer) -> None:
    content = padded(4 * MIB + 1)
    wire_server.on("GET", BY_TAG, serve_manifest(content))
    async with repository_on(wire_server) as repository:
        with pytest.raises(LimitExceededError) as caught:
            await repository.manifests.get("v1")
        assert (caught.value.what, caught.value.limit) == ("manifest", 4 * MIB)
        assert (await repository.manifests.get("v1", max_size=5 * MIB)).size == 4 * MIB + 1


async def test_t29_an_endless_manifest_is_refused_while_it_arrives(wire_server: WireServer) -> None:
    def endless(_request: Request, connection: Connection) -> None:
        connection.send(answers.head(200, {"Content-Type": IMAGE.media_type, "Transfer-Encoding": "chunked"}))
        while True:  # until the client hangs up
            connection.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")

    wire_server.on("GET", BY_TAG, endless)
    async with repository_on(wire_server) as repository:
        with pytest.raises(LimitExceededError, match="manifest"):
            await repository.manifests.get("v1")


async def test_f073_a_content_length_that_lies_is_no_shorter_manifest(wire_server: WireServer) -> None:
    longer = answers.chain(serve_manifest(IMAGE, Content_Length=str(len(IMAGE.data) + 9)), answers.close)
    route = wire_server.on("GET", BY_TAG, longer)
    async with repository_on(wire_server) as repository:
        with pytest.raises(TruncatedBodyError):
            await repository.manifests.get("v1")
    assert len(route.requests) == 2


async def test_f075_json_that_was_cut_with_its_length_adjusted_is_a_mismatch(wire_server: WireServer) -> None:
    wire_server.on("GET", BY_DIGEST, serve_manifest(images.Content(IMAGE.data[:-20], IMAGE.media_type)))
    async with repository_on(wire_server) as repository:
        with pytest.raises(DigestMismatchError):
            await repository.manifests.get(IMAGE.digest)


@pytest.mark.parametrize(
    ("coding", "packed"), [("gzip", gzip.compress(IMAGE.data)), ("deflate", zlib.compress(IMAGE.data))]
)
async def test_f074_an_answer_compressed_unasked_counts_if_its_content_has_the_digest(
    wire_server: WireServer, coding: str, packed: bytes
) -> None:
    content = images.Content(packed, IMAGE.media_type)
    coded = serve_manifest(content, Content_Encoding=coding, Docker_Content_Digest=IMAGE.digest)
    wire_server.on("GET", BY_DIGEST, coded)
    wire_server.on("GET", BY_TAG, coded)
    async with repository_on(wire_server) as repository:
        assert (await repository.manifests.get(IMAGE.digest)).data == IMAGE.data
        assert (await repository.manifests.get("v1")).data == IMAGE.data
    assert {request.header("Accept-Encoding") for request in wire_server.requests} == {"identity"}


async def test_q68_raw_bytes_that_have_the_digest_count_whatever_the_encoding_header_says(
    wire_server: WireServer,
) -> None:
    wire_server.on("GET", BY_DIGEST, serve_manifest(IMAGE, Content_Encoding="gzip"))
    async with repository_on(wire_server) as repository:
        assert (await repository.manifests.get(IMAGE.digest)).data == IMAGE.data


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(OTHER.data)),
        ("gzip", gzip.compress(IMAGE.data)[:-4]),
        ("gzip", gzip.compress(IMAGE.data) + b"more"),
        ("gzip", b"not gzip"),
        ("br", b"\x0b\x02\x80"),
        ("gzip, gzip", gzip.compress(gzip.compress(IMAGE.data))),
        ("x-unknown", IMAGE.data[:-1]),
    ],
)
async def test_f074_an_encoded_answer_that_does_not_prove_itself_is_refused(
    wire_server: WireServer, coding: str, packed: bytes
) -> None:
    wire_server.on("GET", BY_DIGEST, serve_manifest(images.Content(packed, IMAGE.media_type), Content_Encoding=coding))
    async with repository_on(wire_server) as repository:
        with pytest.raises((IntegrityError, errors.ProtocolError)):
            await repository.manifests.get(IMAGE.digest)


async def test_f074_an_encoded_answer_without_any_digest_to_prove_it_is_refused(wire_server: WireServer) -> None:
    packed = images.Content(gzip.compress(IMAGE.data), IMAGE.media_type)
    wire_server.on("GET", BY_TAG, serve_manifest(packed, Content_Encoding="gzip", Docker_Content_Digest=None))
    async with repository_on(wire_server) as repository:
        with pytest.raises(errors.ProtocolError, match="nothing to verify it with"):
            await repository.manifests.get("v1")


async def test_f074_a_compression_bomb_is_never_unpacked_beyond_the_limit(wire_server: WireServer) -> None:
    bomb = images.Content(gzip.compress(b" " * (64 * MIB)), IMAGE.media_type)
    wire_server.on("GET", BY_DIGEST, serve_manifest(bomb, Content_Encoding="gzip"))
    async with repository_on(wire_server) as repository:
        with pytest.raises(LimitExceededError):
            await repository.manifests.get(IMAGE.digest)


# --- reading: statuses -----------------------------------------------------------------------------------------------


async def test_a_manifest_that_is_there_already_is_not_modified(wire_server: WireServer) -> None:
    route = wire_server.on("GET", BY_TAG, respond(304))
    async with repository_on(wire_server) as repository:
        with pytest.raises(NotModifiedError):
            await repository.manifests.get("v1", if_none_match=Digest(IMAGE.digest))
    assert route.requests[0].header("If-None-Match") == f'"{IMAGE.digest}"'


async def test_a_registry_that_ignores_the_condition_makes_no_difference(wire_server: WireServer) -> None:
    wire_server.on("GET", BY_TAG, serve_manifest(IMAGE))
    async with repository_on(wire_server) as repository:
        with pytest.raises(NotModifiedError):
            await repository.manifests.get("v1", if_none_match=Digest(IMAGE.digest))
        assert (await repository.manifests.get("v1", if_none_match=Digest(OTHER.digest))).digest == IMAGE.digest


@pytest.mark.parametrize("status", [201, 203, 204, 205, 206, 300, 304, 402, 418, 451, 999])
async def test_t78_a_status_that_no_manifest_comes_with_is_an_error(wire_server: WireServer, status: int) -> None:
    wire_server.on("GET", BY_TAG, respond(status, {"Content-Type": IMAGE.media_type}))
    wire_server.on("HEAD", BY_TAG, respond(status))
    async with repository_on(wire_server) as repository:
        for ask in (repository.manifests.get, repository.manifests.stat):
            with pytest.raises(UnexpectedStatusError) as caught:
                await ask("v1")
            assert caught.value.status == status


async def test_what_is_missing_is_told_apart(wire_server: WireServer) -> None:
    wire_server.on(
        "GET", BY_TAG, error(404, "MANIFEST_UNKNOWN"), error(404, "NAME_UNKNOWN"), respond(404), respond(403)
    )
    wire_server.on("GET", BY_DIGEST, error(404, "MANIFEST_UNKNOWN"))
    async with repository_on(wire_server) as repository:
        for reference, kind in [
            ("v1", TagUnknownError),
            ("v1", NameUnknownError),
            ("v1", TagUnknownError),
            ("v1", DeniedError),
            (IMAGE.digest, ManifestUnknownError),
        ]:
            with pytest.raises(kind):
                await repository.manifests.get(reference)


# --- HEAD ------------------------------------------------------------------------------------------------------------


async def test_s09_a_head_without_a_digest_keeps_the_digest_that_was_asked_for(wire_server: WireServer) -> None:
    wire_server.on("HEAD", BY_DIGEST, serve_manifest(IMAGE, Docker_Content_Digest=None))
    async with repository_on(wire_server) as repository:
        assert await repository.manifests.stat(IMAGE.digest) == MADE.descriptor
    assert wire_server.targets() == [f"HEAD {BY_DIGEST}"]


@pytest.mark.parametrize(
    "changes",
    [
        {"Docker_Content_Digest": None},
        {"Docker_Content_Digest": "nonsense"},
        {"Content_Type": None},
        {"Content_Type": "application/json"},
        {"Content_Length": "0"},
        {"Transfer_Encoding": "chunked"},
        {"Content_Encoding": "gzip"},
    ],
)
async def test_f076_a_head_that_tells_too_little_is_completed_by_reading(
    wire_server: WireServer, changes: dict[str, str | None]
) -> None:
    wire_server.on("HEAD", BY_TAG, serve_manifest(IMAGE, **changes))
    wire_server.on("GET", BY_TAG, serve_manifest(IMAGE))
    async with repository_on(wire_server) as repository:
        assert await repository.manifests.stat("v1") == MADE.descriptor
        with pytest.raises(errors.ProtocolError, match="HEAD"):
            await repository.manifests.stat("v1", fallback_get=False)
    assert len(wire_server.targets("GET")) == 1


@pytest.mark.parametrize("status", [405, 501])
async def test_f076_where_head_is_not_offered_the_manifest_is_read(wire_server: WireServer, status: int) -> None:
    wire_server.on("HEAD", "/v2/*", respond(status))
    wire_server.on("GET", BY_TAG, serve_manifest(IMAGE))
    async with repository_on(wire_server) as repository:
        assert await repository.manifests.stat("v1") == MADE.descriptor
        assert await repository.manifests.exists("v1")
        assert not await repository.manifests.exists("v2")
        with pytest.raises(UnsupportedError):
            await repository.manifests.stat("v1", fallback_get=False)


async def test_t21_what_head_says_never_counts_against_what_get_proves(wire_server: WireServer) -> None:
    wire_server.on("HEAD", BY_DIGEST, serve_manifest(IMAGE, Docker_Content_Digest=OTHER.digest, Content_Length="10"))
    wire_server.on("GET", BY_DIGEST, serve_manifest(IMAGE))
    async with repository_on(wire_server) as repository:
        assert await repository.manifests.stat(IMAGE.digest) == MADE.descriptor
        assert (await repository.manifests.get(IMAGE.digest)).size == len(IMAGE.data)


async def test_t21_a_size_made_up_by_head_does_not_shorten_the_manifest(wire_server: WireServer) -> None:
    wire_server.on("HEAD", BY_TAG, serve_manifest(IMAGE, Content_Length="10"))
    wire_server.on("GET", BY_TAG, serve_manifest(IMAGE))
    async with repository_on(wire_server) as repository:
        assert (await repository.manifests.stat("v1")).size == 10
        assert (await repository.manifests.get("v1")).data == IMAGE.data


async def test_only_not_found_means_that_a_manifest_does_not_exist(wire_server: WireServer) -> None:
    wire_server.on("HEAD", BY_TAG, respond(404), respond(403), respond(500))
    async with repository_on(wire_server) as repository:
        assert await repository.manifests.exists("v1") is False
        with pytest.raises(DeniedError):
            await repository.manifests.exists("v1")
        with pytest.raises(ServerError):
            await repository.manifests.exists("v1")


# --- pushing ---------------------------------------------------------------------------------------------------------


def created(content: images.Content = IMAGE, **headers: str) -> answers.Handler:
    usual = {"Docker-Content-Digest": content.digest, "Location": "/v2/x"}
    return respond(201, usual | {name.replace("_", "-"): value for name, value in headers.items()})


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


# --- deleting --------------------------------------------------------------------------------------------------------


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


# --- tags ------------------------------------------------------------------------------------------------------------


async def test_f082_a_tag_that_moves_meanwhile_is_followed_to_one_of_its_manifests(wire_server: WireServer) -> None:
    wire_server.on("HEAD", BY_TAG, serve_manifest(IMAGE))
    wire_server.on("GET", BY_TAG, serve_manifest(OTHER))
    route = wire_server.on("PUT", f"{MANIFESTS}/stable", created(OTHER))
    async with repository_on(wire_server) as repository:
        assert (await repository.tags.set("stable", "v1")).digest == OTHER.digest
    assert [request.body for request in route.requests] == [OTHER.data]


async def test_setting_a_tag_sends_the_same_bytes_and_no_blob(wire_server: WireServer) -> None:
    wire_server.on("GET", BY_DIGEST, serve_manifest(IMAGE))
    wire_server.on("PUT", BY_TAG, created())
    async with repository_on(wire_server) as repository:
        assert await repository.tags.set("v1", MADE.descriptor) == MADE.descriptor
        assert await repository.tags.set("v1", MADE) == MADE.descriptor
    assert wire_server.targets() == [f"GET {BY_DIGEST}", f"PUT {BY_TAG}", f"PUT {BY_TAG}"]


@pytest.mark.parametrize(
    "refusal",
    [
        error(400, "DIGEST_INVALID"),
        error(405, "UNSUPPORTED"),
        respond(405),
        error(400, "INVALID_REQUEST"),
        respond(400),
    ],
)
async def test_q56_a_registry_that_cannot_delete_a_tag_is_told_so_and_nothing_else_is_deleted(
    wire_server: WireServer, refusal: answers.Handler
) -> None:
    wire_server.on("DELETE", BY_TAG, refusal)
    async with repository_on(wire_server) as repository:
        with pytest.raises(UnsupportedError, match=r"TagDelete\.DUMMY"):
            await repository.tags.delete("v1")
    assert wire_server.targets() == [f"DELETE {BY_TAG}"]


async def test_q56_a_tag_that_does_not_exist_is_unknown(wire_server: WireServer) -> None:
    wire_server.on("DELETE", BY_TAG, error(404, "MANIFEST_UNKNOWN"))
    async with repository_on(wire_server) as repository:
        with pytest.raises(TagUnknownError):
            await repository.tags.delete("v1")


async def test_n10_where_neither_tags_nor_manifests_are_deleted_the_tag_stays_as_it_is(wire_server: WireServer) -> None:
    wire_server.on("DELETE", "/v2/*", error(405, "UNSUPPORTED"))
    wire_server.on("GET", BY_TAG, serve_manifest(IMAGE))
    async with repository_on(wire_server) as repository:
        with pytest.raises(UnsupportedError, match="neither tags nor manifests"):
            await repository.tags.delete("v1", strategy=TagDelete.DUMMY)
    assert wire_server.targets("PUT") == []


class Moved:
    """A registry that deletes manifests, as it says, but not this one; it remembers what the tag named."""

    def __init__(self, *, hangs: bool) -> None:
        self.hangs = hangs
        self.named: list[bytes] = []

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer a request."""
        body = request.read()
        match request.method, request.path:
            case "DELETE", path if path == BY_TAG:
                answer = respond(405)
            case "DELETE", path:
                known = any(images.sha256(data) == path.rpartition("/")[2] for data in self.named)
                answer = (
                    error(404, "MANIFEST_UNKNOWN") if not known else answers.silence if self.hangs else respond(403)
                )
            case "PUT", path if path == BY_TAG:
                self.named.append(body)
                answer = respond(201)
            case "GET", path if path == BY_TAG:
                answer = serve_manifest(IMAGE)
            case "POST", _:
                answer = respond(201, {"Location": "/v2/x", "Docker-Content-Digest": images.sha256(b"{}")})
            case _:
                answer = respond(200 if request.method == "HEAD" else 404, {"Content-Length": "2"})
        answer(request, connection)


@pytest.mark.parametrize("hangs", [False, True], ids=["refused", "cancelled"])
async def test_n10_a_tag_that_was_moved_to_the_dummy_is_put_back(
    start_wire_server: StartWireServer,
    hangs: bool,  # noqa: FBT001 -- a parameter
) -> None:
    registry = Moved(hangs=hangs)
    server = start_wire_server(registry)
    async with repository_on(server) as repository:
        with anyio.move_on_after(1) as scope:
            with pytest.raises(DeniedError):
                await repository.tags.delete("v1", strategy=TagDelete.DUMMY)
        assert scope.cancelled_caught == hangs
    dummy, last = registry.named
    assert b"deleted-tag" in dummy
    assert last == IMAGE.data


@pytest.mark.parametrize("kind", ["garbage", "a/b\xff", "x" * 300 + "/y", "text/plain;x"])
async def test_a_head_whose_content_type_is_no_media_type_is_completed_by_reading(
    wire_server: WireServer, kind: str
) -> None:
    wire_server.on("HEAD", BY_TAG, serve_manifest(IMAGE, Content_Type=kind))
    wire_server.on("GET", BY_TAG, serve_manifest(IMAGE))
    async with repository_on(wire_server) as repository:
        assert await repository.manifests.stat("v1") == MADE.descriptor


@pytest.mark.parametrize("accept", ["a/b\r\nHost: evil", "ü/b"])
async def test_what_cannot_stand_in_a_header_is_refused(wire_server: WireServer, accept: str) -> None:
    async with repository_on(wire_server) as repository:
        for ask in (repository.manifests.get, repository.manifests.stat):
            with pytest.raises(UsageError, match="accept"):
                await ask("v1", accept=accept)
    assert wire_server.requests == []


async def test_a_lookup_skips_tags_that_vanish_and_keeps_the_order(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v2/acme/app/tags/list", respond_json(200, {"tags": ["z", "gone", "a", "other"]}))
    for tag in ("z", "a"):
        wire_server.on("HEAD", f"{MANIFESTS}/{tag}", serve_manifest(IMAGE))
    wire_server.on("HEAD", f"{MANIFESTS}/other", serve_manifest(OTHER))
    async with repository_on(wire_server) as repository:
        assert await repository.tags.lookup(MADE.descriptor) == ("z", "a")


async def test_a_lookup_that_fails_raises_the_failure_itself(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v2/acme/app/tags/list", respond_json(200, {"tags": [f"t{n}" for n in range(40)]}))
    wire_server.on("HEAD", "/v2/*", respond(403))
    async with repository_on(wire_server) as repository:
        with pytest.raises(DeniedError):
            await repository.tags.lookup(IMAGE.digest)


async def test_a_lookup_by_another_algorithm_hashes_what_the_tags_name(wire_server: WireServer) -> None:
    wire_server.on("GET", "/v2/acme/app/tags/list", respond_json(200, {"tags": ["v1"]}))
    wire_server.on("HEAD", BY_TAG, serve_manifest(IMAGE))
    wire_server.on("GET", BY_TAG, serve_manifest(IMAGE))
    async with repository_on(wire_server) as repository:
        assert await repository.tags.lookup(Digest.of(IMAGE.data, "sha512")) == ("v1",)
        assert await repository.tags.lookup(Digest.of(OTHER.data, "sha512")) == ()


async def test_errors_say_what_was_attempted_on_what(wire_server: WireServer) -> None:
    wire_server.on("GET", BY_TAG, serve_manifest(IMAGE, Docker_Content_Digest=OTHER.digest))
    async with repository_on(wire_server) as repository:
        with pytest.raises(OciError) as caught:
            await repository.manifests.get("v1")
    assert str(caught.value).startswith(f"pull manifest {wire_server.host}/acme/app:v1: ")
    assert caught.value.host == wire_server.host


def test_a_descriptor_is_what_a_push_returns() -> None:
    assert MADE.descriptor == Descriptor(IMAGE.media_type, IMAGE.digest, len(IMAGE.data))
