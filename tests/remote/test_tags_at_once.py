"""One request for a manifest and its tags, where registries know how, and what happens elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import Client, Descriptor, HostConfig, OciError, RegistryProfile, build_artifact
from tests.faults.uploads import BLOB, UploadRegistry, refuse
from tests.peers.answers import respond
from tests.remote.support import MANIFESTS, NAME, QUICK, repository_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocidist import Manifest, Repository
    from tests.peers.peer import Peer
    from tests.peers.wire_server import Connection, Request, WireServer

TAGS = ["1.2.3", "1.2", "1", "latest"]
MANIFEST: Manifest = build_artifact("application/x-test")


class ManifestRegistry:
    """Takes manifests and says which tags it has set.

    Attributes:
        knows: The tags it sets with the manifest itself; None if it has never heard of that.
        refuses: Status of the answer to a request with tags, or None.
        tags: Every tag that was set.
    """

    def __init__(self) -> None:
        self.knows: Callable[[str], bool] | None = None
        self.refuses: int | None = None
        self.lose = False
        self.requests: list[Request] = []
        self.tags: set[str] = set()

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer a request."""
        request.read()
        if request.path == "/v2/":
            respond(200)(request, connection)
            return
        self.requests.append(request)
        reference = request.path.removeprefix(f"{MANIFESTS}/")
        if request.method == "HEAD":
            headers = {"Docker-Content-Digest": MANIFEST.digest, "Content-Type": MANIFEST.media_type}
            respond(200, {**headers, "Content-Length": str(len(MANIFEST.data))})(request, connection)
            return
        asked = [value for name, value in request.query if name == "tag"]
        if asked and self.refuses:
            respond(self.refuses)(request, connection)
            return
        if ":" not in reference:
            self.tags.add(reference)
        done = [] if self.knows is None else [tag for tag in asked if self.knows(tag)]
        self.tags.update(done)
        if self.lose and asked:
            self.lose = False
            connection.close()
            return
        fields: list[tuple[str, str]] = [("Docker-Content-Digest", MANIFEST.digest)]
        # Several values on one line, and several lines.
        fields += [("OCI-Tag", ", ".join(done[:2]))] if done[:2] else []
        fields += [("OCI-Tag", tag) for tag in done[2:]]
        respond(201, fields)(request, connection)

    @property
    def pushes(self) -> list[list[str]]:
        """The tags asked for by each PUT, or the tag in its path."""
        return [
            [value for name, value in each.query if name == "tag"] or [each.path.rpartition("/")[2]]
            for each in self.requests
            if each.method == "PUT"
        ]


@pytest.fixture
def tagging(wire_server: WireServer) -> ManifestRegistry:
    made = ManifestRegistry()
    wire_server.on("*", "/*", made)
    return made


async def push(repository: Repository, tags: list[str]) -> None:
    result = await repository.manifests.push(MANIFEST, tags=tags)
    assert list(result.tags) == tags
    assert not result.failed


async def test_n11_a_registry_that_knows_how_sets_all_tags_with_one_request(
    wire_server: WireServer, tagging: ManifestRegistry
) -> None:
    tagging.knows = lambda _: True
    async with repository_on(wire_server) as repository:
        await push(repository, TAGS)
        assert tagging.pushes == [TAGS]
        # Now that it is known, one tag is enough of a reason.
        await push(repository, ["one"])
    assert tagging.pushes == [TAGS, ["one"]]
    assert tagging.tags == {*TAGS, "one"}


async def test_n11_a_registry_that_does_not_gets_one_request_for_each_from_then_on(
    wire_server: WireServer, tagging: ManifestRegistry
) -> None:
    async with repository_on(wire_server) as repository:
        await push(repository, TAGS)
        assert tagging.pushes == [TAGS, *[[tag] for tag in TAGS]]
        await push(repository, TAGS)
    assert tagging.pushes[5:] == [[MANIFEST.digest], *[[tag] for tag in TAGS]]
    assert tagging.tags == set(TAGS)


async def test_n11_tags_that_it_left_out_are_set_one_by_one(wire_server: WireServer, tagging: ManifestRegistry) -> None:
    tagging.knows = lambda tag: tag.startswith("1")
    async with repository_on(wire_server) as repository:
        await push(repository, TAGS)
    assert tagging.pushes == [TAGS, ["latest"]]


@pytest.mark.parametrize("status", [400, 405, 414, 431, 501])
async def test_n11_a_registry_that_refuses_the_query_gets_the_manifest_without(
    wire_server: WireServer, tagging: ManifestRegistry, status: int
) -> None:
    tagging.refuses = status
    async with repository_on(wire_server) as repository:
        await push(repository, TAGS)
        assert tagging.pushes == [TAGS, [MANIFEST.digest], *[[tag] for tag in TAGS]]
        await push(repository, TAGS)
    assert len(tagging.pushes) == 11


async def test_n11_many_tags_go_ten_at_a_time(wire_server: WireServer, tagging: ManifestRegistry) -> None:
    tagging.knows = lambda _: True
    many = [f"v{number}" for number in range(25)]
    async with repository_on(wire_server) as repository:
        await push(repository, many)
    assert [len(tags) for tags in tagging.pushes] == [10, 10, 5]
    assert tagging.tags == set(many)


async def test_n11_after_a_lost_answer_every_tag_is_set_by_itself(
    wire_server: WireServer, tagging: ManifestRegistry
) -> None:
    tagging.knows = lambda _: True
    tagging.lose = True
    async with repository_on(wire_server, retry=QUICK) as repository:
        await push(repository, TAGS)
        # Nothing was learned from an answer that did not come.
        before = len(tagging.pushes)
        await push(repository, TAGS)
    assert tagging.pushes[before:] == [TAGS]
    assert tagging.tags == set(TAGS)


async def test_n11_tags_do_not_come_before_the_index_of_referrers(
    wire_server: WireServer, tagging: ManifestRegistry
) -> None:
    tagging.knows = lambda _: True
    referrer = build_artifact("application/x-test", subject=Descriptor.of(b"{}", MANIFEST.media_type))
    seen: list[str] = []

    def handler(request: Request, connection: Connection) -> None:
        request.read()
        seen.append(f"{request.method} {request.target.partition('?')[2] or request.path.rpartition('/')[2]}")
        status = 201 if request.method == "PUT" else 404
        respond(status if request.path != "/v2/" else 200)(request, connection)

    wire_server.on("*", "/*", handler)
    async with repository_on(wire_server) as repository:
        with pytest.raises(OciError):
            await repository.manifests.push(referrer, tags=["a", "b"])
    assert not any("tag=" in line for line in seen)


async def test_n11_a_configured_profile_decides(wire_server: WireServer, tagging: ManifestRegistry) -> None:
    tagging.knows = lambda _: True
    profile = RegistryProfile(tags_by_query=False)
    async with Client(hosts={wire_server.host: HostConfig(scheme="http", profile=profile)}) as client:
        await push(client.repository(f"{wire_server.host}/{NAME}"), TAGS)
    assert tagging.pushes == [[MANIFEST.digest], *[[tag] for tag in TAGS]]


async def test_n11_every_real_registry_ends_up_with_all_the_tags(any_registry: Peer, fresh_name: str) -> None:
    async with any_registry.client() as client:
        repository = client.repository(f"{any_registry.host}/{fresh_name}")
        await repository.blobs.push(b"{}")
        await push(repository, TAGS)
        assert set(await repository.tags.list().collect()) == set(TAGS)
        for tag in TAGS:
            assert (await repository.manifests.stat(tag)).digest == MANIFEST.digest


@pytest.mark.parametrize("status", [400, 404, 405])
async def test_n11_a_registry_that_does_not_know_digest_algorithm_gets_sha512_without(
    wire_server: WireServer, status: int
) -> None:
    registry = UploadRegistry()
    wire_server.on("*", "/*", registry)
    registry.script("POST", refuse(status))
    async with repository_on(wire_server) as repository, repository.blobs.writer(algorithm="sha512") as writer:
        await writer.write(BLOB)
        found = await writer.commit()
    assert [request.target.partition("?")[2] for request in registry.of("POST")] == ["digest-algorithm=sha512", ""]
    assert registry.blobs == {found.digest: BLOB}


async def test_n11_sha512_blobs_are_stored_and_read_wherever_they_are_known(
    any_registry: Peer, fresh_name: str
) -> None:
    async with any_registry.client() as client:
        blobs = client.repository(f"{any_registry.host}/{fresh_name}").blobs
        async with blobs.writer(algorithm="sha512", chunk_size=300) as writer:
            await writer.write(BLOB)
            found = await writer.commit()
        assert found.digest.algorithm == "sha512"
        assert await blobs.get(found) == BLOB
