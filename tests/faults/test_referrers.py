from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ocidist import (
    Descriptor,
    Digest,
    LimitExceededError,
    LinkRefusedError,
    Manifest,
    NameUnknownError,
    PaginationLoopError,
    ProtocolError,
    RateLimitedError,
    ResponseError,
    ServerError,
    build_artifact,
    build_index,
)
from tests.peers import answers, images
from tests.peers.answers import error, respond, respond_json
from tests.remote.support import MANIFESTS, NAME, repository_on, serve_manifest

if TYPE_CHECKING:
    from ocidist import Repository
    from tests.conftest import StartWireServer
    from tests.peers.wire_server import WireServer

INDEX = images.OCI_INDEX
IMAGE = images.image().manifest
SUBJECT = Digest(IMAGE.digest)
TAG = SUBJECT.replace(":", "-")
API = f"/v2/{NAME}/referrers/{SUBJECT}"
FALLBACK = f"{MANIFESTS}/{TAG}"
SBOM = "application/spdx+json"
SIGNATURE = "application/vnd.example.signature"
MIB = 1024 * 1024


def note(number: int, artifact_type: str = SBOM) -> Manifest:
    """Build a referrer of the image; each number gives another one."""
    subject = Descriptor(IMAGE.media_type, IMAGE.digest, len(IMAGE.data))
    return build_artifact(artifact_type, subject=subject, annotations={"number": str(number)})


def entries(*manifests: Manifest) -> list[dict[str, Any]]:
    return [json.loads(listing(manifest))["manifests"][0] for manifest in manifests]


def listing(*manifests: Manifest) -> bytes:
    return build_index([manifest.as_referrer() for manifest in manifests]).data


def api_page(*manifests: Manifest, link: str | None = None, **headers: str) -> answers.Handler:
    fields = {"Content-Type": INDEX} | {name.replace("_", "-"): value for name, value in headers.items()}
    if link is not None:
        fields["Link"] = link
    return respond(200, fields, listing(*manifests))


def tagged(data: bytes, kind: str = INDEX) -> answers.Handler:
    return serve_manifest(images.Content(data, kind))


async def listed(repository: Repository, artifact_type: str | None = None) -> list[str]:
    return [entry.digest for entry in await repository.referrers(SUBJECT, artifact_type=artifact_type).collect()]


# --- listing through the API ------------------------------------------------------------------------------------------


async def test_f102_a_filter_is_applied_here_if_the_registry_does_not_say_it_did(wire_server: WireServer) -> None:
    wire_server.on("GET", API, api_page(note(1), note(2, SIGNATURE), note(3)))
    async with repository_on(wire_server) as repository:
        assert await listed(repository, SBOM) == [note(1).digest, note(3).digest]
    [request] = wire_server.requests
    assert request.query == [("artifactType", SBOM)]
    assert request.header("Accept") == INDEX


@pytest.mark.parametrize("applied", ["artifactType", "annotations", "artifactTypes", "annotations, artifactType", ""])
async def test_s05_what_a_registry_says_it_filtered_is_filtered_again(wire_server: WireServer, applied: str) -> None:
    wire_server.on("GET", API, api_page(note(1), note(2, SIGNATURE), OCI_Filters_Applied=applied))
    async with repository_on(wire_server) as repository:
        assert await listed(repository, SBOM) == [note(1).digest]


async def test_an_artifact_type_is_quoted_in_the_query(wire_server: WireServer) -> None:
    wire_server.on("GET", API, api_page())
    async with repository_on(wire_server) as repository:
        assert await listed(repository, "application/a+b; x=1&y") == []
    assert wire_server.requests[0].query == [("artifactType", "application/a+b; x=1&y")]


async def test_referrers_come_page_by_page_and_each_once(wire_server: WireServer) -> None:
    wire_server.on("GET", API, api_page(note(1), note(2), link=f'<{API}?page=2>; rel="next"'))
    wire_server.on("GET", f"{API}?page=2", api_page(note(2), note(3)))
    async with repository_on(wire_server) as repository:
        assert await listed(repository) == [note(number).digest for number in (1, 2, 3)]
        pages = [page async for page in repository.referrers(SUBJECT).pages()]
    assert [(len(page.items), page.more) for page in pages] == [(2, True), (1, False)]
    assert pages[0].items[0].annotations == {"number": "1"}


async def test_s04_an_index_without_media_type_is_an_index(wire_server: WireServer) -> None:
    body = {"schemaVersion": 2, "manifests": entries(note(1))}
    wire_server.on("GET", API, respond_json(200, body))
    async with repository_on(wire_server) as repository:
        assert await listed(repository) == [note(1).digest]


async def test_f103_links_in_a_circle_are_an_error(wire_server: WireServer) -> None:
    wire_server.on("GET", API, api_page(note(0), link=f'<{API}?page=1>; rel="next"'))
    wire_server.on("GET", f"{API}?page=1", api_page(note(1), link=f'<{API}?page=2>; rel="next"'))
    wire_server.on("GET", f"{API}?page=2", api_page(note(2), link=f'<{API}?page=1>; rel="next"'))
    async with repository_on(wire_server) as repository:
        with pytest.raises(PaginationLoopError):
            await listed(repository, SBOM)
    assert len(wire_server.requests) <= 5


@pytest.mark.parametrize("status", [400, 404, 405, 500])
async def test_f103_a_later_page_that_fails_is_an_error_and_no_end(wire_server: WireServer, status: int) -> None:
    wire_server.on("GET", API, api_page(note(1), link=f'<{API}?page=2>; rel="next"'))
    wire_server.on("GET", f"{API}?page=2", respond(status))
    async with repository_on(wire_server) as repository:
        with pytest.raises(ResponseError) as caught:
            await listed(repository)
    assert caught.value.status == status


async def test_a_link_to_another_host_is_refused(wire_server: WireServer, start_wire_server: StartWireServer) -> None:
    other = start_wire_server(address="127.0.0.2")
    wire_server.on("GET", API, api_page(note(1), link=f'<{other.origin}{API}>; rel="next"'))
    async with repository_on(wire_server) as repository:
        with pytest.raises(LinkRefusedError):
            await listed(repository)
    assert other.connections == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":"sha256:../../x","size":1}]}',
        b'{"schemaVersion":2,"manifests":{}}',
        b'{"schemaVersion":2,"manifests":[',
    ],
)
async def test_an_index_that_cannot_be_read_is_an_error_and_not_empty(wire_server: WireServer, body: bytes) -> None:
    wire_server.on("GET", API, respond(200, {"Content-Type": INDEX}, body))
    async with repository_on(wire_server) as repository:
        with pytest.raises(ProtocolError):
            await listed(repository)


async def test_f106_a_manifest_that_refers_to_itself_is_listed_once_and_not_followed(wire_server: WireServer) -> None:
    itself = {"mediaType": IMAGE.media_type, "digest": SUBJECT, "size": len(IMAGE.data)}
    body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [itself, itself]}
    wire_server.on("GET", API, respond(200, {"Content-Type": INDEX}, json.dumps(body).encode()))
    async with repository_on(wire_server) as repository:
        assert await listed(repository) == [SUBJECT]
    assert len(wire_server.requests) == 1


# --- registries without the API ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "absent",
    [
        respond(404, {"Content-Type": "text/plain"}, b"404 page not found"),
        error(404, "METHOD_UNKNOWN"),
        respond(400),
        respond(405),
        respond(406),
        respond(501),
        respond(401),
        error(403, "DENIED"),
        respond(200, {"Content-Type": "text/html"}, b"<html>a web site</html>"),
        respond_json(200, {"message": "hello"}),
        respond(204),
    ],
    ids=["404", "404-code", "400", "405", "406", "501", "401", "403", "html", "json", "204"],
)
async def test_q45_anything_but_an_index_means_the_tag_has_to_be_read(
    wire_server: WireServer, absent: answers.Handler
) -> None:
    wire_server.on("GET", API, absent)
    sbom, signature = note(1), note(2, SIGNATURE)
    wire_server.on("GET", FALLBACK, tagged(listing(sbom, signature)))
    async with repository_on(wire_server) as repository:
        assert await listed(repository) == [sbom.digest, signature.digest]
        assert await listed(repository, SIGNATURE) == [signature.digest]


async def test_f100_a_missing_api_is_asked_once_per_client(wire_server: WireServer) -> None:
    route = wire_server.on("GET", API, respond(404))
    wire_server.on("GET", FALLBACK, tagged(listing(note(1))))
    async with repository_on(wire_server) as repository:
        assert await listed(repository) == [note(1).digest]
        again = repository.registry.repository(repository.name)
        assert await listed(again) == [note(1).digest]
    assert len(route.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_q45_a_refusal_of_this_request_says_nothing_about_the_next(wire_server: WireServer, status: int) -> None:
    wire_server.on("GET", API, respond(status), api_page(note(1)))
    async with repository_on(wire_server) as repository:
        assert await listed(repository) == []
        assert await listed(repository) == [note(1).digest]


async def test_q45_a_repository_that_does_not_exist_is_an_error(wire_server: WireServer) -> None:
    wire_server.on("GET", API, error(404, "NAME_UNKNOWN"))
    async with repository_on(wire_server) as repository:
        with pytest.raises(NameUnknownError):
            await listed(repository)
    assert wire_server.targets() == [f"GET {API}"]


async def test_q45_an_outage_is_never_taken_for_no_referrers(wire_server: WireServer) -> None:
    wire_server.on("GET", API, *[respond(503)] * 3, respond(429, {"Retry-After": "3600"}), api_page(note(1)))
    async with repository_on(wire_server) as repository:
        with pytest.raises(ServerError):
            await listed(repository)
        with pytest.raises(RateLimitedError):
            await listed(repository)
        assert await listed(repository) == [note(1).digest]
    assert len(wire_server.targets()) == 5


async def test_q45_a_list_that_failed_goes_on_where_it_failed_and_does_not_end(wire_server: WireServer) -> None:
    wire_server.on("GET", API, *[respond(503)] * 3, respond(404))
    wire_server.on("GET", FALLBACK, *[respond(503)] * 3, tagged(listing(note(1))))
    async with repository_on(wire_server) as repository:
        found = aiter(repository.referrers(SUBJECT))
        for _ in range(2):
            with pytest.raises(ServerError):
                await anext(found)
        assert [entry.digest async for entry in found] == [note(1).digest]


@pytest.mark.parametrize("status", [302, 303, 307])
async def test_q46_a_redirect_to_another_host_is_not_followed(
    wire_server: WireServer, start_wire_server: StartWireServer, status: int
) -> None:
    other = start_wire_server(address="127.0.0.2")
    wire_server.on("GET", API, respond(status, {"Location": f"{other.origin}/somewhere"}))
    wire_server.on("GET", FALLBACK, tagged(listing(note(1))))
    async with repository_on(wire_server) as repository:
        assert await listed(repository) == [note(1).digest]
        assert await listed(repository) == [note(1).digest]
    assert other.connections == []
    assert len([target for target in wire_server.targets() if "referrers" in target]) == 1


@pytest.mark.parametrize(
    "answer",
    [
        error(404, "MANIFEST_UNKNOWN"),
        respond(404),
        serve_manifest(IMAGE),
        serve_manifest(images.index(docker=True).manifest),
    ],
    ids=["unknown", "bare", "image", "docker-list"],
)
async def test_q47_a_tag_that_is_missing_or_no_index_means_no_referrers(
    wire_server: WireServer, answer: answers.Handler
) -> None:
    wire_server.on("GET", FALLBACK, answer)
    async with repository_on(wire_server) as repository:
        assert await listed(repository) == []


async def test_q48_the_tag_is_named_after_the_digest(wire_server: WireServer) -> None:
    long = Digest.of(b"subject", "sha512")
    async with repository_on(wire_server) as repository:
        assert await repository.referrers(long).collect() == []
    assert wire_server.targets()[-1] == f"GET {MANIFESTS}/sha512-{long.encoded[:64]}"


@pytest.mark.parametrize("garbage", [b"{", b"<html>", b'{"schemaVersion":2,"manifests":[{}]}'])
async def test_f101_garbage_under_the_tag_is_an_error(wire_server: WireServer, garbage: bytes) -> None:
    wire_server.on("GET", FALLBACK, tagged(garbage))
    async with repository_on(wire_server) as repository:
        with pytest.raises(ProtocolError):
            await listed(repository)


async def test_f101_an_index_beyond_the_limit_is_an_error(wire_server: WireServer) -> None:
    wire_server.on("GET", FALLBACK, tagged(b" " * (50 * MIB)))
    async with repository_on(wire_server) as repository:
        with pytest.raises(LimitExceededError):
            await listed(repository)


async def test_t26_a_web_page_everywhere_is_an_error_and_not_an_empty_list(wire_server: WireServer) -> None:
    wire_server.on("*", "/v2/*", respond(200, {"Content-Type": "text/html"}, b"<html>log in</html>"))
    async with repository_on(wire_server) as repository:
        with pytest.raises(ProtocolError, match="text/html"):
            await listed(repository)
