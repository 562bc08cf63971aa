"""What a manifest may lead to: ever deeper, round in circles, to itself, to something else than a moment ago."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from ocidist import (
    ContentCopied,
    Copier,
    CopyError,
    CopyOptions,
    Digest,
    LimitExceededError,
    ManifestUnknownError,
    MemoryRegistry,
    MirrorConfig,
    MirrorError,
    NotFoundError,
    Referrers,
    Side,
    SizeMismatchError,
    UnsupportedError,
    copy,
    mirror,
    open_place,
)
from ocidist.testing import serve
from tests.faults.copying import NAME, blob, client_for, client_of_wire, index_of, listing, loose, made_of, put, sent
from tests.peers.answers import error, respond
from tests.peers.images import OCI_INDEX, OCI_MANIFEST, Content, Image, artifact

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist import Event, Manifest
    from ocidist.storage.protocols import Repository
    from tests.conftest import StartWireServer
    from tests.peers.peer import Peer
    from tests.peers.wire_server import Connection, Request

CHAIN = 10_000 if os.environ.get("NIGHTLY") else 300


async def stored(repository: Repository, *manifests: Image, tag: str = "v1") -> None:
    """Store manifests alone, and tag the last of them."""
    for each in manifests:
        await repository.manifests.push(each.manifest.data, media_type=each.manifest.media_type)
    await repository.tags.set(tag, manifests[-1].digest)


def failed(caught: pytest.ExceptionInfo[CopyError], kind: type[Exception], side: Side = Side.SOURCE) -> None:
    assert caught.value.side is side
    assert isinstance(caught.value.__cause__, kind)


class Counting:
    """A repository that counts how often manifests are read."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self.manifests = self
        self.blobs, self.tags, self.name = repository.blobs, repository.tags, repository.name
        self.referrers = repository.referrers
        self.reads = 0

    async def get(self, *arguments: Any, **options: Any) -> Manifest:  # noqa: ANN401 -- passed on as they came
        """Count, and read."""
        self.reads += 1
        return await self._repository.manifests.get(*arguments, **options)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever manifests have
        return getattr(self._repository.manifests, name)


# --- T33: deep, wide, round ------------------------------------------------------------------------------------------


async def test_t33_an_index_nested_a_thousand_deep_is_given_up_at_the_limit() -> None:
    chain = [made_of(blob("x"))]
    for _ in range(1000):
        chain.append(index_of(chain[-1]))
    source = loose()
    await stored(source, *chain)
    counting = Counting(source)
    with pytest.raises(CopyError) as caught:
        await copy((counting, "v1"), loose("there"))
    failed(caught, LimitExceededError)
    assert counting.reads <= 34


async def test_t33_a_diamond_of_a_million_paths_is_read_once_each() -> None:
    level = [made_of(blob("left")), made_of(blob("right"))]
    above, everything = list(level), list(level)
    below: list[Image] = []
    for number in range(20):
        # Of two levels, so that there are ways of different lengths, too.
        parts = [each.manifest.descriptor for each in (*above, *below)]
        below = above
        above = [listing(*parts, annotations={"side": f"{side} {number}"}) for side in ("left", "right")]
        everything += above
    source = loose()
    for image in level:
        await put(source, image)
    await stored(source, *everything, index_of(*above))
    counting = Counting(source)
    report = await copy((counting, "v1"), MemoryRegistry().repository("there"))
    assert report.manifests_copied == counting.reads == 43
    assert report.blobs_copied == 4


@pytest.mark.in_turn
async def test_t33_an_index_of_very_many_manifests_is_not_read_to_its_end() -> None:
    """The limits hold while a level is read: a level may be larger than memory."""
    children = [Image(Content(b'{"schemaVersion": 2, "n": %d, "manifests": []}' % n, OCI_INDEX)) for n in range(3000)]
    source = loose()
    await stored(source, *children, index_of(*children))
    for options in ({"max_manifests": 100}, {"max_manifest_bytes": 300_000}):
        counting = Counting(source)
        async with open_place((counting, "v1"), client=None) as place:
            with pytest.raises(CopyError) as caught:
                await Copier().survey(place, CopyOptions(**options))  # type: ignore[arg-type]  # one of several numbers
        failed(caught, LimitExceededError)
        assert counting.reads < 120


@pytest.mark.in_turn
async def test_t33_an_index_with_100k_descriptors_is_refused_before_it_is_read(
    start_wire_server: StartWireServer, tmp_path: Path
) -> None:
    source = loose()
    one = {"mediaType": OCI_MANIFEST, "digest": f"sha256:{'a' * 64}", "size": 1}
    shelf = Shelf()
    shelf.add(listing(*[one] * 100_000), "v1")
    server = start_wire_server(shelf)
    async with client_of_wire(server) as client:
        with pytest.raises(CopyError) as caught:
            await copy(f"{server.host}/{NAME}:v1", f"oci:{tmp_path}", client=client)
    failed(caught, LimitExceededError)
    # And where it comes from a store that takes it, each manifest in it is asked for once.
    await stored(source, listing(*[one] * 10_000))
    counting = Counting(source)
    with pytest.raises(CopyError) as caught:
        await copy((counting, "v1"), f"oci:{tmp_path}")
    failed(caught, ManifestUnknownError)
    assert counting.reads == 2


@pytest.mark.in_turn
async def test_t33_a_long_chain_of_subjects_is_followed_as_far_as_it_was_said() -> None:
    source = MemoryRegistry().repository(NAME)
    top = made_of(blob("x"))
    await put(source, top, "v1")
    last = top
    for number in range(CHAIN):
        last = artifact(last, text=b"%d" % number)
        await put(source, last)
    for referrers, found in ((Referrers(), 3), (Referrers(7), 7), (Referrers(CHAIN * 2), CHAIN)):
        there = MemoryRegistry().repository("there")
        report = await copy((source, "v1"), (there, "v1"), referrers=referrers)
        assert report.referrers_copied == found
    with pytest.raises(CopyError) as caught:
        async with open_place((source, "v1"), client=None) as place:
            await Copier().survey(place, CopyOptions(referrers=Referrers(CHAIN), max_manifests=CHAIN // 2))
    failed(caught, LimitExceededError)
    # The subject of what is copied is not copied along: it is what refers that knows of it.
    assert (await copy((source, str(last.digest)), MemoryRegistry().repository("there"))).manifests_copied == 1


class Shelf:
    """A registry without a referrers API, that has what it is given under any name."""

    def __init__(self) -> None:
        self.manifests: dict[str, Content] = {}
        self.blobs: dict[str, bytes] = {}

    def add(self, image: Image, *names: str) -> None:
        """Have an image."""
        self.manifests |= dict.fromkeys((image.digest, *names), image.manifest)
        self.blobs |= {each.digest: each.data for each in image.blobs}

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer a request."""
        name = request.path.rpartition("/")[2]
        if "/manifests/" in request.path and (found := self.manifests.get(name)):
            headers = {"Content-Type": found.media_type, "Docker-Content-Digest": found.digest}
            respond(200, headers, found.data)(request, connection)
        elif "/blobs/" in request.path and name in self.blobs:
            respond(200, {}, self.blobs[name])(request, connection)
        else:
            error(404, "MANIFEST_UNKNOWN")(request, connection)


async def test_t33_lists_of_referrers_that_lead_back_end(start_wire_server: StartWireServer, tmp_path: Path) -> None:
    """Tags can name what digests cannot: a manifest's referrers list the manifest itself, and what it is listed in."""
    top = made_of(blob("x"))
    note = artifact(top)
    # One that refers to it, it itself, an index that names the tag's own subject, and one that is not there.
    lost = {"mediaType": OCI_MANIFEST, "digest": f"sha256:{'b' * 64}", "size": 2}
    around = listing(top.manifest.descriptor, note.manifest.descriptor)
    entries = [each.manifest.descriptor for each in (top, note, around)]
    shelf = Shelf()
    for image in (top, note, around):
        shelf.add(image)
        shelf.add(listing(*entries, lost), f"sha256-{image.digest.partition(':')[2]}")
    shelf.manifests["v1"] = top.manifest
    server = start_wire_server(shelf)
    async with client_of_wire(server) as client:
        report = await copy(f"{server.host}/{NAME}:v1", f"oci:{tmp_path}", client=client, referrers=Referrers(30))
    assert (report.manifests_copied, report.referrers_copied) == (2, 1)


async def test_t33_digest_tags_that_name_what_they_are_about_end(tmp_path: Path) -> None:
    top = made_of(blob("x"))
    source = MemoryRegistry().repository(NAME)
    await put(source, top, "v1", f"sha256-{top.digest.partition(':')[2]}.sig")
    report = await copy((source, "v1"), f"oci:{tmp_path}", digest_tags=True, referrers=True)
    assert (report.manifests_copied, len(report.tags)) == (1, 2)


# --- F084: children --------------------------------------------------------------------------------------------------


@pytest.mark.in_turn
async def test_f084_an_index_whose_child_is_missing_is_an_error_that_names_it(
    docker_registry: Peer, fresh_name: str
) -> None:
    child = made_of(blob("x"))
    lost = made_of(blob("y"))
    async with serve() as source:
        hosts = docker_registry.client_kwargs()["hosts"]
        async with client_for(source, hosts=hosts | source.client_options["hosts"]) as client:
            for image in (child, lost):
                await put(client.repository(f"{source.host}/{NAME}"), image)
            await put(client.repository(f"{source.host}/{NAME}"), index_of(child, lost), "v1")
            await client.repository(f"{source.host}/{NAME}").manifests.delete(lost.digest)
            there = f"{docker_registry.host}/{fresh_name}"
            with pytest.raises(CopyError) as caught:
                await copy(f"{source.host}/{NAME}:v1", f"{there}:v1", client=client)
            failed(caught, ManifestUnknownError)
            assert caught.value.digest == lost.digest
            with pytest.raises(NotFoundError):
                await client.repository(there).manifests.get(child.digest)


@pytest.mark.parametrize("off", [-1, 1])
@pytest.mark.parametrize("where", ["child", "layer", "config"])
async def test_f084_a_wrong_size_is_refused(off: int, where: str) -> None:
    image = made_of(blob("x"))
    source = loose()
    await put(source, image)

    def wrong(content: Content) -> dict[str, object]:
        return content.descriptor | {"size": len(content.data) + off}

    if where == "child":
        top = listing(wrong(image.manifest))
    elif where == "layer":
        top = made_of(image.blobs[1], layers=[wrong(image.blobs[1])])
    else:
        top = made_of(image.blobs[1], config=image.blobs[0])
        data = top.manifest.data.replace(
            b'"size": %d' % len(image.blobs[0].data), b'"size": %d' % (len(image.blobs[0].data) + off)
        )
        top = Image(Content(data, OCI_MANIFEST))
    await stored(source, top)
    async with serve() as registry, client_for(registry) as client:
        with pytest.raises(CopyError) as caught:
            await copy((source, "v1"), f"{registry.host}/{NAME}:v1", client=client)
        failed(caught, SizeMismatchError)
        assert not await client.repository(f"{registry.host}/{NAME}").manifests.exists("v1")
    with pytest.raises(CopyError) as caught:
        await copy((source, "v1"), (MemoryRegistry().repository("there"), "v1"))
    failed(caught, SizeMismatchError)


async def test_f084_what_is_listed_several_times_is_copied_once() -> None:
    image = made_of(blob("x"), blob("x"), blob("y"))
    top = index_of(image, image, image)
    source = MemoryRegistry().repository(NAME)
    await put(source, top, "v1")
    async with serve() as registry, client_for(registry) as client:
        report = await copy((source, "v1"), f"{registry.host}/{NAME}:v1", client=client)
        assert (report.manifests_copied, report.blobs_copied) == (2, 3)
        assert set(sent(registry).values()) == {1}
    # Two that contradict each other cannot both be right.
    contradicting = listing(image.manifest.descriptor, image.manifest.descriptor | {"size": 5})
    await stored(source, contradicting)
    with pytest.raises(CopyError) as caught:
        await copy((source, "v1"), MemoryRegistry().repository("there"))
    failed(caught, SizeMismatchError)


@pytest.mark.in_turn
async def test_f084_the_same_bytes_as_manifest_and_as_blob_are_both_copied() -> None:
    """Whoever has the one does not have the other."""
    inner = made_of(blob("x"))
    bytes_of = Content(inner.manifest.data, "application/vnd.example.manifest-in-a-layer")
    outer = made_of(bytes_of, config=bytes_of)
    source = MemoryRegistry().repository(NAME)
    await put(source, inner, "inner")
    await put(source, outer, "outer")
    await put(source, index_of(inner), "index")
    await put(source, index_of(inner, outer), "both")
    for order in (("outer", "index"), ("index", "outer"), ("inner", "outer"), ("outer", "inner"), ("both",)):
        for strict in (True, False):
            store = MemoryRegistry(check_references=strict)
            async with serve(store) as registry, client_for(registry) as client:
                copier = Copier()
                for tag in order:
                    async with (
                        open_place((source, tag), client=client) as here,
                        open_place(f"{registry.host}/{NAME}:{tag}", client=client) as there,
                    ):
                        await copier.copy(here, there)
                repository = client.repository(f"{registry.host}/{NAME}")
                assert await repository.manifests.exists(inner.digest)
                assert await repository.blobs.exists(inner.digest)


async def test_f084_a_manifest_whose_parts_nobody_knows_is_refused_and_not_copied_without_them() -> None:
    part, kind = blob("x"), "application/vnd.example.v9+json"
    value = {"mediaType": kind, "artifactType": "a/b", "blobs": [part.descriptor]}
    odd = Image(Content(json.dumps(value).encode(), kind), (part,))
    source = MemoryRegistry().repository(NAME)
    await put(source, odd, "v1")
    top = listing(odd.manifest.descriptor)
    await put(source, top, "index")
    for tag in ("v1", "index"):
        there = MemoryRegistry().repository("there")
        with pytest.raises(CopyError, match="is not known") as caught:
            await copy((source, tag), (there, "v1"))
        failed(caught, UnsupportedError)
        assert caught.value.digest == odd.digest
        assert not await there.manifests.exists("v1")


# --- T20: the tag moves ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 1])
async def test_t20_a_tag_that_moves_after_every_request_is_copied_as_one_or_the_other(
    start_wire_server: StartWireServer, first: int
) -> None:
    both = [index_of(made_of(blob(f"{kind} 1")), made_of(blob(f"{kind} 2"))) for kind in ("old", "new")]
    shelf = Shelf()
    for top in both:
        for image in (*top.children, top):
            shelf.add(image)
    asked = [first]

    def flip(request: Request, connection: Connection) -> None:
        shelf.manifests["v1"] = both[asked[0] % 2].manifest
        shelf(request, connection)
        asked[0] += 1

    server = start_wire_server(flip)
    async with serve() as registry, client_of_wire(server, registry) as client:
        report = await copy(f"{server.host}/{NAME}:v1", f"{registry.host}/{NAME}:v1", client=client, referrers=True)
        assert asked[0] > 6
        repository = client.repository(f"{registry.host}/{NAME}")
        found = await repository.manifests.get("v1")
        whole = next(top for top in both if top.digest == found.digest)
        assert report.digest == report.source_digest == whole.digest
        assert set(sent(registry)) == {each.digest for each in whole.all_blobs}
        assert sum(server_path.endswith("/v1") for server_path in server.targets()) == 1


# --- N9 --------------------------------------------------------------------------------------------------------------


@pytest.mark.in_turn
async def test_n09_a_mirror_streams_mounts_and_goes_on_where_one_fails(
    docker_registry: Peer, fresh_name: str, tmp_path: Path
) -> None:
    """Registry to registry: each blob once, referrers and digest tags along, one that is broken beside all others."""
    shared = blob("shared", 40_000)
    async with serve() as source:
        hosts = docker_registry.client_kwargs()["hosts"] | source.client_options["hosts"]
        async with client_for(source, hosts=hosts) as client:
            for name in ("one", "two"):
                repository = client.repository(f"{source.host}/acme/{name}")
                image = made_of(shared, blob(name))
                await put(repository, image, "v1", f"sha256-{image.digest.partition(':')[2]}.sig")
                await put(repository, artifact(image))
            broken = made_of(shared, blob("lost"))
            await put(client.repository(f"{source.host}/acme/one"), broken, "v2")
            await client.repository(f"{source.host}/acme/one").blobs.delete(broken.blobs[2].digest)
            text = f"""
                [[mirror]]
                source = "{source.host}/acme/*"
                destination = "{docker_registry.host}/{fresh_name}"
                referrers = true
                digest_tags = true
            """
            config = MirrorConfig.from_toml(text)
            seen: list[Event] = []
            with pytest.raises(MirrorError) as caught:
                await mirror(config, client=client, checkpoint=tmp_path / "done", hooks=[seen.append])
            report = caught.value.report
            assert (report.copied, len(report.failures)) == (2, 1)
            sizes = [each.size for each in seen if isinstance(each, ContentCopied)]
            assert sizes.count(len(shared.data)) == 1
            for name in ("one", "two"):
                there = client.repository(f"{docker_registry.host}/{fresh_name}/acme/{name}")
                digest = (await there.manifests.stat("v1")).digest
                assert len(await there.referrers(digest).collect()) == 1
                assert (await there.tags.stat(f"sha256-{Digest(digest).encoded}.sig")).digest == digest
            await put(client.repository(f"{source.host}/acme/one"), broken, "v2")
            again = await mirror(config, client=client, checkpoint=tmp_path / "done")
            assert (again.manifests_copied, again.blobs_copied, len(again.failures)) == (1, 1, 0)
