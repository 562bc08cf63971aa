from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING

import pytest

from ocidist import (
    Digest,
    DigestMismatchError,
    DigestUnsupportedError,
    IntegrityError,
    LimitExceededError,
    MalformedManifestError,
    TruncatedBodyError,
    errors,
)
from tests.peers import answers, images
from tests.peers.answers import respond
from tests.remote.support import MANIFESTS, repository_on, serve_manifest

if TYPE_CHECKING:
    from tests.peers.wire_server import Connection, Request, WireServer

IMAGE = images.image().manifest
OTHER = images.image("linux/arm64").manifest
INDEX = images.index().manifest
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


# --- reading: the bytes -----------------------------------------------------------------------------------------------


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


# --- reading: sizes ---------------------------------------------------------------------------------------------------


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
    assert len(route.requests) == 4


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
