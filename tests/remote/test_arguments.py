"""What callers pass: everything that names a manifest is taken, everything else is refused before a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ocidist import (
    Client,
    Descriptor,
    Digest,
    ImageIndex,
    InvalidDigestError,
    InvalidReferenceError,
    Manifest,
    Platform,
    Reference,
    Repository,
    SizeMismatchError,
    TagDelete,
    UsageError,
    build_index,
)
from tests.peers import images
from tests.peers.answers import error, respond
from tests.remote.support import MANIFESTS, NAME, repository_on, serve_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.peers.wire_server import WireServer

INDEX = images.index(("linux/amd64", "linux/arm64"))
CHILD = INDEX.children[1]
EMPTY = build_index([])


async def test_what_an_index_selects_is_what_get_takes(wire_server: WireServer) -> None:
    wire_server.on("GET", f"{MANIFESTS}/v1", serve_manifest(INDEX.manifest))
    wire_server.on("GET", f"{MANIFESTS}/{CHILD.digest}", serve_manifest(CHILD.manifest))
    wire_server.on("HEAD", f"{MANIFESTS}/{CHILD.digest}", serve_manifest(CHILD.manifest))
    async with repository_on(wire_server) as repository:
        index = (await repository.manifests.get("v1")).parse()
        assert isinstance(index, ImageIndex)
        chosen = index.select(Platform.parse("linux/arm64"))
        assert chosen is not None
        assert (await repository.manifests.get(chosen)).data == CHILD.manifest.data
        assert (await repository.manifests.stat(chosen)).digest == chosen.digest
        assert await repository.manifests.exists(chosen)


async def test_a_descriptor_with_another_size_than_the_manifest_is_wrong(wire_server: WireServer) -> None:
    wire_server.on("GET", f"{MANIFESTS}/{CHILD.digest}", serve_manifest(CHILD.manifest))
    wrong = Descriptor(CHILD.manifest.media_type, Digest(CHILD.digest), len(CHILD.manifest.data) + 1)
    async with repository_on(wire_server) as repository:
        with pytest.raises(SizeMismatchError) as caught:
            await repository.manifests.get(wrong)
    assert caught.value.host == wire_server.host


async def test_a_manifest_is_deleted_by_its_descriptor(wire_server: WireServer) -> None:
    wire_server.on("GET", f"{MANIFESTS}/{CHILD.digest}", serve_manifest(CHILD.manifest))
    route = wire_server.on("DELETE", f"{MANIFESTS}/{CHILD.digest}", respond(202))
    async with repository_on(wire_server) as repository:
        await repository.manifests.delete(Manifest.of(CHILD.manifest.data).descriptor)
    assert len(route.requests) == 1


async def test_referrers_and_tags_are_found_by_the_manifest_itself(wire_server: WireServer) -> None:
    wire_server.on("GET", f"/v2/{NAME}/tags/list", respond(200, {}, b'{"tags": ["v1"]}'))
    wire_server.on("HEAD", f"{MANIFESTS}/v1", serve_manifest(CHILD.manifest))
    manifest = Manifest.of(CHILD.manifest.data)
    async with repository_on(wire_server) as repository:
        assert await repository.tags.lookup(manifest) == ("v1",)
        assert await repository.referrers(manifest).collect() == []


ODD: Any = object()
WRONG: dict[str, tuple[Callable[[Repository], Any], type[Exception]]] = {
    "get a number": (lambda it: it.manifests.get(ODD), UsageError),
    "get nothing": (lambda it: it.manifests.get(""), InvalidReferenceError),
    "get a bad digest": (lambda it: it.manifests.get("sha256:1"), InvalidDigestError),
    "accept a list": (lambda it: it.manifests.get("v1", accept=ODD), UsageError),
    "compare with a tag": (lambda it: it.manifests.get("v1", if_none_match="v1"), InvalidDigestError),
    "push a text": (lambda it: it.manifests.push(ODD), UsageError),
    "push under a text": (lambda it: it.manifests.push(EMPTY, tags="v1"), UsageError),
    "push under None": (lambda it: it.manifests.push(EMPTY, tags=None), UsageError),  # type: ignore[arg-type]  # that is it
    "set a tag to an object": (lambda it: it.tags.set("v1", ODD), UsageError),
    "delete in a way nobody knows": (lambda it: it.tags.delete("v1", strategy=ODD), UsageError),
    "find the tags of a tag": (lambda it: it.tags.lookup("v1"), InvalidDigestError),
    "attach to None": (lambda it: it.attach(ODD, artifact_type="a/b"), UsageError),
    "attach bytes as layers": (lambda it: it.attach(EMPTY, artifact_type="a/b", layers=b"xx"), UsageError),  # type: ignore[arg-type]  # that is it
    "attach a text as a layer": (lambda it: it.attach(EMPTY, artifact_type="a/b", layers=[ODD]), UsageError),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_argument_is_a_typed_error_before_any_request(wire_server: WireServer, name: str) -> None:
    call, kind = WRONG[name]
    async with repository_on(wire_server) as repository:
        with pytest.raises(kind):
            await call(repository)
    assert wire_server.requests == []


@pytest.mark.parametrize(
    "begin",
    [
        lambda it: it.referrers(ODD),
        lambda it: it.tags.list(page_size=0),
        lambda it: it.tags.list(page_size=True),
        lambda it: it.tags.list(page_size="10"),
        lambda it: it.tags.list(after=5),
    ],
)
async def test_a_list_that_cannot_be_asked_for_is_refused_at_once(
    wire_server: WireServer, begin: Callable[[Repository], object]
) -> None:
    async with repository_on(wire_server) as repository:
        with pytest.raises(UsageError):
            begin(repository)


async def test_a_reference_given_for_a_tag_is_told_what_to_pass(wire_server: WireServer) -> None:
    async with repository_on(wire_server) as repository:
        with pytest.raises(UsageError, match="locator"):
            await repository.manifests.get(Reference.parse("acme/app:v1"))  # type: ignore[arg-type]  # that is it


async def test_a_strategy_that_is_a_text_never_moves_the_tag(wire_server: WireServer) -> None:
    wire_server.on("DELETE", "*", error(405, "UNSUPPORTED"))
    async with repository_on(wire_server) as repository:
        with pytest.raises(UsageError, match="TagDelete"):
            await repository.tags.delete("v1", strategy=TagDelete.TAG_ONLY.value)  # type: ignore[arg-type]  # that is it
    assert wire_server.requests == []


async def test_an_empty_place_to_begin_is_the_beginning(wire_server: WireServer) -> None:
    wire_server.on("GET", f"/v2/{NAME}/tags/list?n=1000", respond(200, {}, b'{"tags": ["v1"]}'))
    async with repository_on(wire_server) as repository:
        assert await repository.tags.list(after="").collect() == ["v1"]


async def test_official_images_of_docker_hub_are_found_from_the_registry_too() -> None:
    async with Client() as client:
        repository = client.registry("docker.io").repository("alpine")
        assert repr(repository) == "<Repository docker.io/library/alpine>"
        assert repository.name == "library/alpine"
        assert "docker.io/library/alpine" in repr(repository.manifests)
        assert "docker.io/library/alpine" in repr(repository.blobs)
