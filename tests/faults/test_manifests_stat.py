from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import (
    DeniedError,
    Digest,
    Manifest,
    ManifestUnknownError,
    NameUnknownError,
    NotModifiedError,
    ServerError,
    TagUnknownError,
    UnexpectedStatusError,
    UnsupportedError,
    errors,
)
from tests.peers import images
from tests.peers.answers import error, respond
from tests.remote.support import MANIFESTS, repository_on, serve_manifest

if TYPE_CHECKING:
    from tests.peers.wire_server import WireServer

IMAGE = images.image().manifest
OTHER = images.image("linux/arm64").manifest
MADE = Manifest.of(IMAGE.data, IMAGE.media_type)
BY_DIGEST = f"{MANIFESTS}/{IMAGE.digest}"
BY_TAG = f"{MANIFESTS}/v1"


# --- reading: statuses ------------------------------------------------------------------------------------------------


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


# --- HEAD -------------------------------------------------------------------------------------------------------------


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
