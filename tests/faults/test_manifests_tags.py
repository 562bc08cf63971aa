from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import (
    DeniedError,
    Descriptor,
    Digest,
    Manifest,
    OciError,
    TagDelete,
    TagUnknownError,
    UnsupportedError,
    UsageError,
)
from tests.peers import answers, images
from tests.peers.answers import error, respond, respond_json
from tests.remote.support import MANIFESTS, repository_on, serve_manifest

if TYPE_CHECKING:
    from tests.conftest import StartWireServer
    from tests.peers.wire_server import Connection, Request, WireServer

IMAGE = images.image().manifest
OTHER = images.image("linux/arm64").manifest
MADE = Manifest.of(IMAGE.data, IMAGE.media_type)
BY_DIGEST = f"{MANIFESTS}/{IMAGE.digest}"
BY_TAG = f"{MANIFESTS}/v1"


def created(content: images.Content = IMAGE, **headers: str) -> answers.Handler:
    usual = {"Docker-Content-Digest": content.digest, "Location": "/v2/x"}
    return respond(201, usual | {name.replace("_", "-"): value for name, value in headers.items()})


# --- tags -------------------------------------------------------------------------------------------------------------


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
    hangs: bool,
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
