"""Manners of servers that no product is known by: other statuses of success, storage that refuses HEAD, and so on."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from ocidist import (
    ConnectError,
    CopyError,
    DeniedError,
    Descriptor,
    Digest,
    RetryPolicy,
    Tag,
    UnsupportedError,
    copy,
)
from tests.remote.scripted import (
    IMAGE,
    NAME,
    NOTE,
    Answer,
    Holding,
    ScriptedRegistry,
    WithReferrers,
    listing,
    mount_base,
    refusal,
    registry_client,
    text,
    untag,
    use,
)
from tests.remote.support import push_image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conftest import StartWireServer
    from tests.peers.wire_server import Request

DATA = b"some bytes of a blob"
ONCE = RetryPolicy(attempts=1)


class Generic(ScriptedRegistry):
    """Success is success: 200 for all that is written, as GCR had it and containerd takes it."""

    status = 200

    def _answer(self, request: Request) -> Answer:
        status, headers, body = super()._answer(request)
        written = request.method in {"PUT", "PATCH"} or (request.method == "POST" and status == 202)
        return (self.status if written and status in {201, 202} else status), headers, body


class Empty(Generic):
    """The same with 204."""

    status = 204


class Storage(ScriptedRegistry):
    """Has its blobs in a bucket, at URLs that are signed for GET."""

    def __init__(self, bucket: str = "") -> None:
        super().__init__()
        self.bucket = bucket

    def _content(self, request: Request, _digest: str, _data: bytes) -> Answer:
        return 307, {"Location": f"{self.bucket}{request.path}?X-Signature=5igned"}, b""


class Bucket(ScriptedRegistry):
    """Takes neither HEAD nor credentials."""

    def _admitted(self, request: Request) -> Answer:
        if request.method == "HEAD" or request.header("Authorization") is not None:
            return text(403, "<Error><Code>SignatureDoesNotMatch</Code></Error>", "application/xml")
        return super()._admitted(request)

    def _content(self, request: Request, digest: str, data: bytes) -> Answer:
        if request.header("Range") != "bytes=0-0":
            return super()._content(request, digest, data)
        return 206, {"Content-Range": f"bytes 0-0/{len(data)}"}, data[:1]


class Sizeless(Bucket):
    """Says of every blob that it has no bytes, where only the head is asked for."""

    def _admitted(self, request: Request) -> Answer:
        status, headers, body = self._answer(request)
        return status, headers, b"" if request.method == "HEAD" and "/blobs/" in request.path else body


class Picky(ScriptedRegistry):
    """Calls it a bad request to ask for a blob that it does not have."""

    def _blobs(self, request: Request, name: str, held: Holding, digest: str) -> Answer:
        return super()._blobs(request, name, held, digest) if digest in held.blobs else refusal(400, "INVALID")


class Elsewhere(ScriptedRegistry):
    """Names itself without its port, as it does behind a proxy that passes on the host name only."""

    def _location(self, name: str, upload: str, _size: int) -> str:
        return f"http://127.0.0.1:1/v2/{name}/blobs/uploads/{upload}"


class Zipped(WithReferrers):
    """Is behind a proxy that compresses all JSON, whatever was asked for; a page has one tag."""

    def _answer(self, request: Request) -> Answer:
        status, headers, body = super()._answer(request)
        if status != 200 or "json" not in (headers.get("Content-Type") or ""):
            return status, headers, body
        return status, {**headers, "Content-Encoding": "gzip"}, gzip.compress(body)

    def _tags(self, request: Request, name: str, held: Holding, _rest: str) -> Answer:
        last = dict(request.query).get("last", "")
        tags = [tag for tag in sorted(held.tags) if tag > last]
        status, headers, body = listing(name=name, tags=tags[:1])
        link = {"Link": f'</v2/{name}/tags/list?last={tags[0]}>; rel="next"'} if tags[1:] else {}
        return status, {**headers, **link}, body


class Secretive(ScriptedRegistry):
    """Says of every manifest that it does not have that it may not be seen, as Artifactory does."""

    def _manifests(self, request: Request, name: str, held: Holding, reference: str) -> Answer:
        status, headers, body = super()._manifests(request, name, held, reference)
        return refusal(403, "UNAUTHORIZED") if status == 404 else (status, headers, body)


class Barred(Secretive):
    """Has a list of tags, and shows no index of referrers."""

    def _manifests(self, request: Request, name: str, held: Holding, reference: str) -> Answer:
        if request.method == "GET" and reference.startswith("sha256-"):
            return refusal(403, "DENIED")
        return super()._manifests(request, name, held, reference)


class WholeOnly(ScriptedRegistry):
    """Knows no chunks."""

    def _blobs_uploads(self, request: Request, name: str, held: Holding, upload: str) -> Answer:
        if request.method == "PATCH":
            return refusal(405, "UNSUPPORTED")
        return super()._blobs_uploads(request, name, held, upload)


class NoSubjects(ScriptedRegistry):
    """Refuses every manifest that has a subject, in the words of Amazon ECR."""

    status = 405

    def _manifests(self, request: Request, name: str, held: Holding, reference: str) -> Answer:
        if request.method == "PUT" and b'"subject"' in request.body:
            return refusal(self.status, "UNSUPPORTED")
        return super()._manifests(request, name, held, reference)


class FailsForSubjects(NoSubjects):
    """Fails for every manifest that has a subject."""

    status = 500


@pytest.mark.parametrize("kind", [Generic, Empty])
async def test_t78_everything_works_where_success_has_another_number(
    start_wire_server: StartWireServer, kind: type[ScriptedRegistry]
) -> None:
    server = start_wire_server(kind())
    async with registry_client(server) as client:
        repository = client.repository(f"{server.host}/{NAME}")
        await use(repository)
        assert await mount_base(client, server.host)
        assert await untag(repository)


async def test_q04_a_storage_that_refuses_head_is_asked_for_the_first_byte(start_wire_server: StartWireServer) -> None:
    bucket = Bucket()
    storage = Storage(start_wire_server(bucket, name="localhost").origin)
    storage.held = bucket.held
    server = start_wire_server(storage)
    async with registry_client(server) as client:
        blobs = client.repository(f"{server.host}/{NAME}").blobs
        pushed = await blobs.push(DATA)
        assert (await blobs.stat(pushed.digest)).size == len(DATA)
        assert await blobs.exists(pushed)
        assert await blobs.get(pushed) == DATA
        # What is there is not sent again.
        await blobs.push(DATA)
    assert [request.method for request in storage.requests].count("PUT") == 1


async def test_a_size_that_cannot_be_true_is_not_believed(start_wire_server: StartWireServer) -> None:
    server = start_wire_server(Sizeless())
    async with registry_client(server) as client:
        blobs = client.repository(f"{server.host}/{NAME}").blobs
        assert (await blobs.stat((await blobs.push(DATA)).digest)).size == len(DATA)
        assert (await blobs.stat((await blobs.push(b"")).digest)).size == 0


async def test_copies_send_what_a_registry_does_not_say_that_it_has(start_wire_server: StartWireServer) -> None:
    source, picky = start_wire_server(ScriptedRegistry()), Picky()
    destination = start_wire_server(picky)
    async with registry_client(source) as client:
        await use(client.repository(f"{source.host}/{NAME}"))
        report = await copy(f"{source.host}/{NAME}:v1", f"{destination.host}/{NAME}:v1", client=client)
    assert report.blobs_skipped == 0
    assert picky.held[NAME].tags == {Tag("v1"): report.digest}


async def test_a_place_that_the_registry_named_is_told_where_nobody_is_there(
    start_wire_server: StartWireServer,
) -> None:
    server = start_wire_server(Elsewhere())
    async with registry_client(server, retry=ONCE) as client:
        with pytest.raises(ConnectError, match=f"at http://127.0.0.1:1, which {server.origin} named"):
            await client.repository(f"{server.host}/{NAME}").blobs.push(DATA)


@pytest.mark.parametrize(("kind", "tagged"), [(NoSubjects, True), (FailsForSubjects, False)])
async def test_an_image_is_tagged_although_its_referrers_are_refused(
    start_wire_server: StartWireServer, kind: type[NoSubjects], *, tagged: bool
) -> None:
    source = start_wire_server(WithReferrers())
    registry = kind()
    destination = start_wire_server(registry)
    async with registry_client(source, retry=ONCE) as client:
        original = client.repository(f"{source.host}/{NAME}")
        pushed = await use(original)
        note = (await original.referrers(pushed.digest).collect())[0]
        await original.attach(note, artifact_type="application/vnd.example.seal", layers=[b"of the note"])
        for _ in range(2):
            with pytest.raises(CopyError, match="tag is set" if tagged else "500") as caught:
                await copy(f"{source.host}/{NAME}:v1", f"{destination.host}/{NAME}:v1", client=client, referrers=True)
            assert caught.value.digest == note.digest
            assert registry.held[NAME].tags == ({Tag("v1"): pushed.digest} if tagged else {})
    puts = [request.path for request in registry.requests if request.method == "PUT" and "/manifests/" in request.path]
    # What refers to a referrer that was refused is not even tried.
    assert puts.count(f"/v2/{NAME}/manifests/{note.digest}") == 2
    assert len({path for path in puts if f"{pushed.digest}" not in path}) == (2 if tagged else 1) + len(IMAGE.children)


async def test_lists_that_were_compressed_unasked_are_read(start_wire_server: StartWireServer) -> None:
    server = start_wire_server(Zipped())
    async with registry_client(server) as client:
        await use(client.repository(f"{server.host}/{NAME}"))
        assert await client.registry(server.host).repositories().collect() == [NAME]


async def test_an_index_of_referrers_that_may_not_be_seen_and_is_not_listed_does_not_exist(
    start_wire_server: StartWireServer,
) -> None:
    server = start_wire_server(Secretive())
    async with registry_client(server) as client:
        repository = client.repository(f"{server.host}/{NAME}")
        image = await push_image(repository, IMAGE, "v1")
        assert await repository.referrers(image).collect() == []
        attached = await repository.attach(image, artifact_type=NOTE)
        assert [entry.digest for entry in await repository.referrers(image).collect()] == [attached.descriptor.digest]


async def test_an_index_of_referrers_that_is_listed_is_never_taken_to_be_missing(
    start_wire_server: StartWireServer,
) -> None:
    registry = Barred()
    server = start_wire_server(registry)
    async with registry_client(server) as client:
        repository = client.repository(f"{server.host}/{NAME}")
        image = await push_image(repository, IMAGE, "v1")
        tag = image.digest.referrers_tag
        registry.held[NAME].tags[tag] = image.digest
        with pytest.raises(DeniedError):
            await repository.referrers(image).collect()
        with pytest.raises(DeniedError):
            await repository.attach(image, artifact_type=NOTE)
    # Others may be listed there: nothing was written over it.
    assert registry.held[NAME].tags[tag] == image.digest


async def test_a_stream_that_a_registry_takes_in_one_piece_only_says_so(start_wire_server: StartWireServer) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield DATA

    server = start_wire_server(WholeOnly())
    async with registry_client(server) as client:
        blobs = client.repository(f"{server.host}/{NAME}").blobs
        with pytest.raises(UnsupportedError, match="give the descriptor"):
            await blobs.push(stream(), chunk_size=len(DATA))
        whole = Descriptor("application/octet-stream", Digest.of(DATA * 3), len(DATA) * 3)
        assert await blobs.push(stream(), whole) == whole
