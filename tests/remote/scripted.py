"""A small registry that can be given the manners of a real one: subclasses say in what theirs differ."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import threading
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import attrs

from ocidist import Client, Descriptor, ImageIndex, Manifest, Platform, Repository, UnsupportedError, UploadStarted
from tests.peers import images
from tests.peers.answers import respond
from tests.remote.support import client_for, push_image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.peers.wire_server import Connection, Request, WireServer

Answer: TypeAlias = "tuple[int, Mapping[str, str | None], bytes]"

INDEX_TYPE = images.OCI_INDEX
_ROUTE = re.compile(r"/v2/(?P<name>.+?)/(?P<kind>manifests|blobs/uploads|blobs|tags|referrers)/(?P<rest>.*)")


def refusal(status: int, code: str, **headers: str) -> Answer:
    """Return an error as the specification has it."""
    body = {"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}
    return status, {"Content-Type": "application/json", **headers}, json.dumps(body).encode()


def text(status: int, body: str = "404 page not found\n", kind: str = "text/plain; charset=utf-8") -> Answer:
    """Return an answer that is not JSON."""
    return status, {"Content-Type": kind}, body.encode()


def listing(**fields: object) -> Answer:
    """Return JSON with these fields."""
    return 200, {"Content-Type": "application/json"}, json.dumps(fields).encode()


@attrs.define
class Holding:
    """What one repository of the registry holds."""

    blobs: dict[str, bytes] = attrs.field(factory=dict)
    manifests: dict[str, tuple[str, bytes]] = attrs.field(factory=dict)
    tags: dict[str, str] = attrs.field(factory=dict)


class ScriptedRegistry:
    """A handler for a ``WireServer``; well behaved, for a subclass to spoil.

    Attributes:
        added: Headers of every answer; None removes one.
        requests: All requests so far.
    """

    added: ClassVar[Mapping[str, str | None]] = {}

    def __init__(self) -> None:
        self.held: dict[str, Holding] = {}
        self.uploads: dict[str, bytearray] = {}
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer a request."""
        request.read()
        with self._lock:
            self.requests.append(request)
            status, headers, body = self._admitted(request)
        pairs = {name: value for name, value in {**headers, **self.added}.items() if value is not None}
        respond(status, pairs, body)(request, connection)

    # --- what subclasses change ---------------------------------------------------------------------------------------

    def _admitted(self, request: Request, /) -> Answer:
        """Answer, or ask who is there first."""
        return self._answer(request)

    def _answer(self, request: Request, /) -> Answer:
        """Answer a request that was let in."""
        if request.path == "/v2/":
            return 200, {"Docker-Distribution-API-Version": "registry/2.0"}, b"{}"
        if request.path == "/v2/_catalog":
            return self._catalog(request)
        found = _ROUTE.fullmatch(request.path)
        if found is None:
            return text(404)
        held = self.held.setdefault(found["name"], Holding())
        act = getattr(self, "_" + found["kind"].replace("/", "_"))
        return act(request, found["name"], held, found["rest"])  # type: ignore[no-any-return]  # one of those below

    def _catalog(self, _request: Request, /) -> Answer:
        return listing(repositories=sorted(self.held))

    def _tags(self, _request: Request, name: str, held: Holding, _rest: str, /) -> Answer:
        return listing(name=name, tags=sorted(held.tags)) if held.tags else refusal(404, "NAME_UNKNOWN")

    def _referrers(self, _request: Request, _name: str, _held: Holding, _digest: str, /) -> Answer:
        return text(404)

    def _manifests(self, request: Request, name: str, held: Holding, reference: str, /) -> Answer:
        if request.method == "PUT":
            digest = images.sha256(request.body)
            held.manifests[digest] = (request.header("Content-Type") or "", request.body)
            if not reference.startswith("sha256:"):
                held.tags[reference] = digest
            location = f"/v2/{name}/manifests/{digest}"
            return 201, {"Location": location, "Docker-Content-Digest": digest, **self._subject_of(request.body)}, b""
        digest = held.tags.get(reference, reference)
        if digest not in held.manifests:
            return refusal(404, "MANIFEST_UNKNOWN")
        if request.method == "DELETE":
            return self._delete(held, reference)
        kind, data = held.manifests[digest]
        return 200, {"Content-Type": kind, "Docker-Content-Digest": digest}, data

    def _subject_of(self, _manifest: bytes, /) -> Mapping[str, str]:
        return {}

    def _delete(self, held: Holding, reference: str, /) -> Answer:
        if reference in held.tags:
            del held.tags[reference]
        else:
            del held.manifests[reference]
            held.tags = {tag: digest for tag, digest in held.tags.items() if digest != reference}
        return 202, {}, b""

    def _blobs(self, request: Request, _name: str, held: Holding, digest: str, /) -> Answer:
        if digest not in held.blobs:
            return refusal(404, "BLOB_UNKNOWN")
        if request.method == "DELETE":
            del held.blobs[digest]
            return 202, {}, b""
        return self._content(request, digest, held.blobs[digest])

    def _content(self, _request: Request, digest: str, data: bytes, /) -> Answer:
        return 200, {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}, data

    def _location(self, name: str, upload: str, _size: int, /) -> str:
        return f"/v2/{name}/blobs/uploads/{upload}"

    def _mount(self, name: str, held: Holding, digest: str, source: str | None, /) -> Answer:
        origin = self.held.get(source or "")
        if origin is None or digest not in origin.blobs:
            return self._begin(name)
        held.blobs[digest] = origin.blobs[digest]
        return 201, {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}, b""

    def _begin(self, name: str, /) -> Answer:
        upload = f"u-{next(self._numbers)}"
        self.uploads[upload] = bytearray()
        return 202, {"Location": self._location(name, upload, 0), "Range": "0-0", "Docker-Upload-UUID": upload}, b""

    def _progress(self, name: str, upload: str, /) -> dict[str, str | None]:
        size = len(self.uploads[upload])
        return {"Location": self._location(name, upload, size), "Range": f"0-{max(size - 1, 0)}"}

    def _blobs_uploads(self, request: Request, name: str, held: Holding, upload: str, /) -> Answer:
        query = dict(request.query)
        if request.method == "POST":
            if "mount" in query:
                return self._mount(name, held, query["mount"], query.get("from"))
            return self._begin(name)
        if upload not in self.uploads:
            return refusal(404, "BLOB_UPLOAD_UNKNOWN")
        if request.method == "DELETE":
            del self.uploads[upload]
            return 204, {}, b""
        if request.method == "GET":
            return 204, self._progress(name, upload), b""
        self.uploads[upload] += request.body
        if request.method == "PATCH":
            return 202, self._progress(name, upload), b""
        return self._finish(name, held, query["digest"], bytes(self.uploads.pop(upload)))

    def _finish(self, name: str, held: Holding, digest: str, data: bytes, /) -> Answer:
        algorithm = digest.partition(":")[0]
        if f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}" != digest:
            return refusal(400, "DIGEST_INVALID")
        held.blobs[digest] = data
        return 201, {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}, b""


class WithReferrers(ScriptedRegistry):
    """A registry with the referrers API."""

    def _subject_of(self, manifest: bytes, /) -> Mapping[str, str]:
        subject = json.loads(manifest).get("subject")
        return {"OCI-Subject": subject["digest"]} if subject else {}

    def _referrers(self, _request: Request, _name: str, held: Holding, digest: str, /) -> Answer:
        found = []
        for kind, data in held.manifests.values():
            body = json.loads(data)
            if (body.get("subject") or {}).get("digest") == digest:
                about = images.Content(data, kind).descriptor
                found.append(about | {"artifactType": body.get("artifactType", body["config"]["mediaType"])})
        body = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": found}
        return 200, {"Content-Type": INDEX_TYPE}, json.dumps(body).encode()


# --- what a user does with any of them --------------------------------------------------------------------------------

NAME = "acme/app"
IMAGE = images.index(("linux/amd64", "linux/arm64"))
NOTE = "application/vnd.example.note"


def registry_client(server: WireServer, **options: object) -> Client:
    """Return a client for a scripted registry."""
    return client_for(server, **options)


async def use(repository: Repository) -> Descriptor:
    """Push, pull, list, mount and attach, as one does anywhere; return what the tag names."""
    pushed = await push_image(repository, IMAGE, "v1", "latest")
    await _pull(repository, pushed)
    assert sorted(await repository.tags.list().collect()) == ["latest", "v1"]
    assert sorted(await repository.tags.lookup(pushed)) == ["latest", "v1"]
    await _push_in_pieces(repository)
    await _attach(repository, pushed)
    return pushed.descriptor


async def _pull(repository: Repository, pushed: Manifest) -> None:
    assert await repository.manifests.exists("v1")
    assert not await repository.manifests.exists("v9")
    assert await repository.manifests.stat("v1") == pushed.descriptor
    manifest = await repository.manifests.get("v1")
    assert manifest.data == IMAGE.manifest.data
    index = manifest.parse()
    assert isinstance(index, ImageIndex)
    chosen = index.select(Platform.parse("linux/arm64"))
    assert chosen is not None
    for part in (await repository.manifests.get(chosen)).references:
        assert (await repository.blobs.stat(part.digest)).size == part.size
        assert len(await repository.blobs.get(part)) == part.size


async def _push_in_pieces(repository: Repository) -> None:
    async with repository.blobs.writer(chunk_size=4) as writer:
        await writer.write(b"ten bytes.")
        found = await writer.commit()
    assert await repository.blobs.get(found) == b"ten bytes."


async def _attach(repository: Repository, subject: Manifest) -> None:
    result = await repository.attach(subject, artifact_type=NOTE, layers=[b"a note"])
    assert [entry.digest for entry in await repository.referrers(subject).collect()] == [result.descriptor.digest]
    assert len(await repository.referrers(subject, artifact_type=NOTE).collect()) == 1
    assert await repository.referrers(subject, artifact_type="application/x").collect() == []


async def mount_base(client: Client, host: str) -> bool:
    """Mount a blob from another repository; return whether the registry did so."""
    data = b"the base layer"
    base, target = client.repository(f"{host}/acme/base"), client.repository(f"{host}/acme/other")
    blob = await base.blobs.push(data)
    answer = await target.blobs.mount(blob.digest, source="acme/base")
    if isinstance(answer, UploadStarted):
        async with target.blobs.resume(answer.state, source=data) as writer:
            await writer.commit(blob.digest)
    assert await target.blobs.get(blob) == data
    return not isinstance(answer, UploadStarted)


async def untag(repository: Repository) -> bool:
    """Delete one of two tags; return whether the registry does that. The other one stays in any case."""
    try:
        await repository.tags.delete("latest")
    except UnsupportedError:
        done = False
        assert await repository.manifests.exists("latest")
    else:
        done = True
        assert not await repository.manifests.exists("latest")
    assert await repository.manifests.exists("v1")
    return done
