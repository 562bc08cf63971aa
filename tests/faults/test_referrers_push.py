from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from ocidist import (
    DeniedError,
    Descriptor,
    Digest,
    LimitExceededError,
    Manifest,
    ProtocolError,
    PushResult,
    ResponseError,
    build_artifact,
    build_index,
)
from tests.peers import answers, images
from tests.peers.answers import error, respond
from tests.remote.support import MANIFESTS, NAME, repository_on, serve_manifest

if TYPE_CHECKING:
    from ocidist import Repository
    from tests.conftest import StartWireServer
    from tests.peers.wire_server import Connection, Request, WireServer

INDEX = images.OCI_INDEX
IMAGE = images.image().manifest
SUBJECT = Digest(IMAGE.digest)
TAG = SUBJECT.replace(":", "-")
API = f"/v2/{NAME}/referrers/{SUBJECT}"
FALLBACK = f"{MANIFESTS}/{TAG}"
SBOM = "application/spdx+json"
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


async def listed(repository: Repository, artifact_type: str | None = None) -> list[str]:
    return [entry.digest for entry in await repository.referrers(SUBJECT, artifact_type=artifact_type).collect()]


class Shelf:
    """The manifests of a registry without the referrers API, as far as clients need them to keep an index.

    Args:
        etags: Whether it sends entity tags and honours ``If-Match``.
        says: More headers of its answers to PUT.
    """

    def __init__(self, *, etags: bool = False, says: dict[str, str] | None = None) -> None:
        self.etags = etags
        self.says = says or {}
        self.deletes_tags = False
        self.tags: dict[str, images.Content] = {}
        self.conditions: list[str | None] = []
        self._lock = threading.Lock()

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer one request at a time."""
        request.read()
        with self._lock:
            answer = self.answer(request)
        answer(request, connection)

    def answer(self, request: Request) -> answers.Handler:
        """Decide about a request."""
        if "/manifests/" not in request.path:
            return respond(404, {"Content-Type": "text/plain"}, b"404 page not found")
        name = request.path.rpartition("/")[2]
        match request.method:
            case "PUT":
                return self.put(name, request)
            case "DELETE":
                allowed = self.deletes_tags or ":" in name
                return self.delete(name) if allowed else error(400, "DIGEST_INVALID")
            case _:
                return self.get(name)

    def get(self, name: str) -> answers.Handler:
        """Answer a read."""
        content = self.tags.get(name)
        if content is None:
            return error(404, "MANIFEST_UNKNOWN")
        return serve_manifest(content) if self.etags else serve_manifest(content, ETag=None)

    def put(self, name: str, request: Request) -> answers.Handler:
        """Answer a write; tests replace it to act in between."""
        content = images.Content(request.body, request.header("Content-Type") or "")
        if name.startswith("sha256-"):
            self.conditions.append(request.header("If-Match"))
        current = self.tags.get(name)
        if self.etags and request.header("If-Match") not in {None, f'"{current.digest}"' if current else None}:
            return error(412, "PRECONDITION_FAILED")
        self.tags[name] = self.tags[content.digest] = content
        return respond(201, {"Docker-Content-Digest": content.digest} | self.says)

    def delete(self, name: str) -> answers.Handler:
        """Answer a delete."""
        return respond(202) if self.tags.pop(name, None) else error(404, "MANIFEST_UNKNOWN")

    @property
    def index(self) -> list[str]:
        """Digests in the fallback index."""
        return [entry["digest"] for entry in json.loads(self.tags[TAG].data)["manifests"]]


# --- pushing ----------------------------------------------------------------------------------------------------------


async def test_q49_a_registry_that_acknowledges_the_subject_is_left_alone(wire_server: WireServer) -> None:
    acknowledge = respond(201, {"OCI-Subject": SUBJECT, "Docker-Content-Digest": note(1).digest})
    wire_server.on("PUT", "/v2/*", acknowledge)
    async with repository_on(wire_server) as repository:
        pushed = await repository.manifests.push(note(1))
    assert pushed == PushResult(note(1).descriptor, subject=SUBJECT)
    assert wire_server.targets() == [f"PUT {MANIFESTS}/{note(1).digest}"]


async def test_q49_an_api_that_lists_the_manifest_needs_no_tag(wire_server: WireServer) -> None:
    wire_server.on("PUT", "/v2/*", respond(201))
    wire_server.on("GET", API, api_page(note(0), link=f'<{API}?page=2>; rel="next"'))
    wire_server.on("GET", f"{API}?page=2", api_page(note(1)))
    async with repository_on(wire_server) as repository:
        pushed = await repository.manifests.push(note(1))
    assert pushed.subject is None
    assert wire_server.targets("PUT") == [f"{MANIFESTS}/{note(1).digest}"]


@pytest.mark.parametrize("acknowledged", [{}, {"OCI-Subject": "nonsense"}, {"OCI-Subject": note(2).digest}])
async def test_t28_without_an_acknowledgement_the_index_is_kept_by_the_client(
    start_wire_server: StartWireServer, acknowledged: dict[str, str]
) -> None:
    shelf = Shelf(says=acknowledged)
    server = start_wire_server(shelf)
    async with repository_on(server) as repository:
        assert (await repository.manifests.push(note(1))).subject is None
        assert await listed(repository) == [note(1).digest]
    assert shelf.index == [note(1).digest]


async def test_q49_the_index_is_sorted_without_duplicates_and_never_has_a_subject(
    start_wire_server: StartWireServer,
) -> None:
    shelf = Shelf()
    kept = entries(note(5), note(5), note(3))
    kept[2]["x-vendor"] = {"kept": True}
    subject = {"mediaType": IMAGE.media_type, "digest": SUBJECT, "size": len(IMAGE.data)}
    old = {"schemaVersion": 2, "mediaType": INDEX, "manifests": kept, "annotations": {"a": "b"}, "subject": subject}
    shelf.tags[TAG] = images.Content(json.dumps(old).encode(), INDEX)
    server = start_wire_server(shelf)
    async with repository_on(server) as repository:
        await repository.manifests.push(note(1))
        await repository.manifests.push(note(1))
    written = json.loads(shelf.tags[TAG].data)
    assert shelf.index == sorted({note(number).digest for number in (1, 3, 5)})
    assert written["annotations"] == {"a": "b"}
    assert "subject" not in written
    assert [entry["x-vendor"] for entry in written["manifests"] if "x-vendor" in entry] == [{"kept": True}]
    [mine] = [entry for entry in written["manifests"] if entry["digest"] == note(1).digest]
    assert mine["artifactType"] == SBOM
    assert mine["annotations"] == {"number": "1"}


async def test_q49_an_image_without_artifact_type_is_listed_under_its_configs_type(
    start_wire_server: StartWireServer,
) -> None:
    shelf = Shelf()
    subject = {"mediaType": IMAGE.media_type, "digest": SUBJECT, "size": len(IMAGE.data)}
    image = images.image("linux/s390x", fields={"subject": subject}).manifest
    server = start_wire_server(shelf)
    async with repository_on(server) as repository:
        await repository.manifests.push(image.data)
        [entry] = await repository.referrers(SUBJECT).collect()
    assert entry.artifact_type == images.OCI_CONFIG


@pytest.mark.parametrize("etags", [False, True])
async def test_f104_twenty_concurrent_pushers_are_all_listed(start_wire_server: StartWireServer, etags: bool) -> None:
    shelf = Shelf(etags=etags)
    server = start_wire_server(shelf)
    async with repository_on(server) as repository, anyio.create_task_group() as group:
        for number in range(20):
            one = repository.registry.repository(NAME)
            group.start_soon(one.manifests.push, note(number))
    assert shelf.index == sorted(note(number).digest for number in range(20))


async def test_t28_clients_of_one_loop_take_turns_as_well(start_wire_server: StartWireServer) -> None:
    shelf = Shelf()
    server = start_wire_server(shelf)

    async def push(number: int) -> None:
        async with repository_on(server) as repository:
            await repository.manifests.push(note(number))

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(push, number)
    assert shelf.index == sorted(note(number).digest for number in range(20))


async def test_n08_a_change_made_elsewhere_in_between_is_kept(start_wire_server: StartWireServer) -> None:
    shelf = Shelf(etags=True)
    shelf.tags[TAG] = images.Content(listing(note(7)), INDEX)
    plain = shelf.put
    meddled: list[str] = []

    def put(name: str, request: Request) -> answers.Handler:
        if name == TAG and not meddled:
            meddled.append(name)
            shelf.tags[TAG] = images.Content(listing(note(7), note(8)), INDEX)
        return plain(name, request)

    shelf.put = put  # type: ignore[method-assign]  # another client acts between reading and writing
    server = start_wire_server(shelf)
    async with repository_on(server) as repository:
        await repository.manifests.push(note(1))
    assert shelf.index == sorted(note(number).digest for number in (1, 7, 8))
    assert None not in shelf.conditions
    assert len(shelf.conditions) == 2


async def test_n08_a_change_that_was_overwritten_is_made_again(start_wire_server: StartWireServer) -> None:
    shelf = Shelf()
    plain = shelf.put
    meddled: list[str] = []

    def put(name: str, request: Request) -> answers.Handler:
        answer = plain(name, request)
        if name == TAG and not meddled:
            meddled.append(name)
            shelf.tags[TAG] = images.Content(listing(note(9)), INDEX)
        return answer

    shelf.put = put  # type: ignore[method-assign]  # another client overwrites what was just written
    server = start_wire_server(shelf)
    async with repository_on(server) as repository:
        await repository.manifests.push(note(1))
    assert shelf.index == sorted(note(number).digest for number in (1, 9))


async def test_n08_a_change_that_never_stays_is_an_error_after_a_while(wire_server: WireServer) -> None:
    wire_server.on("PUT", "/v2/*", respond(201))
    async with repository_on(wire_server) as repository:
        with pytest.raises(ProtocolError, match="did not keep a change"):
            await repository.manifests.push(note(1))
    assert len(wire_server.targets("PUT")) <= 11


@pytest.mark.parametrize("stored", [True, False])
async def test_f105_a_lost_answer_leaves_exactly_one_entry(start_wire_server: StartWireServer, stored: bool) -> None:
    shelf = Shelf()
    plain = shelf.put
    lost: list[str] = []

    def put(name: str, request: Request) -> answers.Handler:
        if name != TAG or len(lost) == 4:
            return plain(name, request)
        lost.append(name)
        if stored:
            plain(name, request)
        return answers.close

    shelf.put = put  # type: ignore[method-assign]  # answers get lost
    server = start_wire_server(shelf)
    async with repository_on(server) as repository:
        await repository.manifests.push(note(1))
    assert shelf.index == [note(1).digest]


@pytest.mark.parametrize("corrupt", [b"{", b"[]", b'{"schemaVersion":2,"manifests":[{"digest":"x"}]}', IMAGE.data])
async def test_t28_an_index_that_cannot_be_read_is_an_error_and_left_untouched(
    start_wire_server: StartWireServer, corrupt: bytes
) -> None:
    shelf = Shelf()
    before = images.Content(corrupt, IMAGE.media_type if corrupt == IMAGE.data else INDEX)
    shelf.tags[TAG] = before
    server = start_wire_server(shelf)
    async with repository_on(server) as repository:
        with pytest.raises(ProtocolError):
            await repository.manifests.push(note(1), tags=["note"])
    assert shelf.tags[TAG] is before
    assert "note" not in shelf.tags


async def test_an_index_is_not_made_larger_than_it_may_be(start_wire_server: StartWireServer) -> None:
    shelf = Shelf()
    many = [entry | {"annotations": {"x": "y" * 60_000}} for number in range(69) for entry in entries(note(number))]
    full = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": many}, separators=(",", ":")).encode()
    room = 4 * MIB - len(full) - 10
    many[0]["annotations"]["x"] += "y" * room
    full = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": many}, separators=(",", ":")).encode()
    shelf.tags[TAG] = before = images.Content(full, INDEX)
    server = start_wire_server(shelf)
    async with repository_on(server) as repository:
        with pytest.raises(LimitExceededError, match="referrers index"):
            await repository.manifests.push(note(100))
    assert shelf.tags[TAG] is before


async def test_a_failing_index_is_reported_by_the_push(wire_server: WireServer) -> None:
    wire_server.on("PUT", f"{MANIFESTS}/sha256:*", respond(201))
    wire_server.on("PUT", FALLBACK, error(403, "DENIED"))
    async with repository_on(wire_server) as repository:
        with pytest.raises(DeniedError) as caught:
            await repository.manifests.push(note(1))
    assert caught.value.reference == f"{wire_server.host}/{NAME}:{TAG}"


# --- deleting ---------------------------------------------------------------------------------------------------------


def shelved(*manifests: Manifest) -> Shelf:
    shelf = Shelf()
    for manifest in manifests:
        shelf.tags[manifest.digest] = images.Content(manifest.data, manifest.media_type)
    shelf.tags[TAG] = images.Content(listing(*manifests), INDEX)
    return shelf


async def test_q50_a_deleted_referrer_is_taken_off_the_index(start_wire_server: StartWireServer) -> None:
    shelf = shelved(note(1), note(2))
    server = start_wire_server(shelf)
    async with repository_on(server) as repository:
        await repository.manifests.delete(note(1).digest)
        assert await listed(repository) == [note(2).digest]
    assert note(1).digest not in shelf.tags


async def test_q50_an_index_left_empty_is_deleted_where_tags_can_be(start_wire_server: StartWireServer) -> None:
    shelf = shelved(note(1))
    shelf.deletes_tags = True
    server = start_wire_server(shelf)
    async with repository_on(server) as repository:
        await repository.manifests.delete(note(1).digest)
    assert TAG not in shelf.tags


async def test_q50_an_index_left_empty_stays_as_an_empty_one_where_tags_cannot_be_deleted(
    start_wire_server: StartWireServer,
) -> None:
    shelf = shelved(note(1))
    server = start_wire_server(shelf)
    async with repository_on(server) as repository:
        await repository.manifests.delete(note(1).digest)
        assert await listed(repository) == []
    assert shelf.index == []


async def test_q50_the_index_is_not_touched_when_the_manifest_could_not_be_deleted(wire_server: WireServer) -> None:
    wire_server.on(
        "GET", f"{MANIFESTS}/{note(1).digest}", serve_manifest(images.Content(note(1).data, note(1).media_type))
    )
    wire_server.on("DELETE", "/v2/*", error(405, "UNSUPPORTED"))
    async with repository_on(wire_server) as repository:
        with pytest.raises(ResponseError):
            await repository.manifests.delete(note(1).digest)
    assert wire_server.targets("PUT") == []


async def test_q50_who_deletes_is_told_when_only_the_index_could_not_be_changed(
    start_wire_server: StartWireServer,
) -> None:
    shelf = shelved(note(1), note(2))

    def put(name: str, request: Request) -> answers.Handler:
        return error(403, "DENIED")

    shelf.put = put  # type: ignore[method-assign]  # everybody may read, and nobody write
    server = start_wire_server(shelf)
    async with repository_on(server) as repository:
        with pytest.raises(DeniedError) as caught:
            await repository.manifests.delete(note(1).digest)
    assert note(1).digest not in shelf.tags
    [said] = caught.value.__notes__
    assert str(note(1).digest) in said
    assert "may still list it" in said


async def test_q50_several_that_are_deleted_at_once_are_all_taken_off_the_index(
    start_wire_server: StartWireServer,
) -> None:
    several = [note(number) for number in range(6)]
    shelf = shelved(*several)
    server = start_wire_server(shelf)
    async with repository_on(server) as repository, anyio.create_task_group() as group:
        for one in several[1:]:
            group.start_soon(repository.manifests.delete, one.digest)
    assert shelf.index == [several[0].digest]
