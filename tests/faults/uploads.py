"""A registry that takes uploads and can be told, request by request, how to fail."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from ocidist import Descriptor, Digest
from tests.peers.answers import respond
from tests.peers.images import noise
from tests.remote.support import NAME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ocidist import Repository
    from tests.peers.wire_server import Connection, Request

BLOB = noise(1000)
DIGEST = Digest.of(BLOB)
KNOWN = Descriptor.of(BLOB)
UPLOADS = f"/v2/{NAME}/blobs/uploads/"
BLOBS = f"/v2/{NAME}/blobs/"

Step: TypeAlias = "Callable[[UploadRegistry, Request, Connection], None]"
"""What happens to one request instead of its usual treatment."""


@attrs.define
class Upload:
    """An upload session: the bytes it has, and the state its newest Location carries."""

    number: int
    data: bytearray = attrs.field(factory=bytearray)
    turn: int = 0

    @property
    def location(self) -> str:
        """Path and query, as strange as real ones."""
        return f"{UPLOADS}{self.number}?_state=a%2Fb%3D%3D.{self.turn}&x="


class UploadRegistry:
    """A handler for a ``WireServer``: the upload endpoints and blobs of one repository.

    Attributes:
        moves: Whether every PATCH moves the Location on and an older one answers 404, as docker-registry 2.8.2 does.
        blobs: Finished blobs by digest.
        open: Sessions that were neither finished nor cancelled.
        cancelled: How many sessions were ended by DELETE.
        single_post: Whether a blob may come with the POST.
        headers: Added to every answer of an upload endpoint, or replacing what it says.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.open: dict[int, Upload] = {}
        self.cancelled = 0
        self.headers: dict[str, str | None] = {}
        self.requests: list[Request] = []
        self.single_post = True
        self.moves = True
        self._steps: dict[str, list[Step | None]] = {}
        self._started = 0
        self._lock = threading.Lock()

    def script(self, method: str, *steps: Step | None) -> None:
        """Say what happens to the next requests of a method, in turn; None is the usual."""
        self._steps.setdefault(method, []).extend(steps)

    def forgive(self) -> None:
        """Forget everything scripted that has not happened yet."""
        self._steps.clear()

    def methods(self) -> list[str]:
        """Return the methods of all requests, pings left out."""
        return [request.method for request in self.requests]

    def of(self, method: str) -> list[Request]:
        """Return the requests of one method."""
        return [request for request in self.requests if request.method == method]

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer a request."""
        if request.path == "/v2/":
            respond(200)(request, connection)
            return
        with self._lock:
            self.requests.append(request)
            steps = self._steps.get(request.method, [])
            step = steps.pop(0) if steps else None
        (step or UploadRegistry.usual)(self, request, connection)

    def usual(self, request: Request, connection: Connection) -> None:
        """Do what the request asks for, and answer."""
        request.read()
        status, headers = self.apply(request)
        pairs = {name: value for name, value in (headers | self.headers).items() if value is not None}
        respond(status, pairs)(request, connection)

    def apply(self, request: Request, count: int | None = None) -> tuple[int, dict[str, str | None]]:
        """Do what the request asks for, with the first *count* bytes of its body, without an answer."""
        request.read()
        data = request.body if count is None else request.body[:count]
        if request.method == "HEAD":
            blob = self.blobs.get(request.path.removeprefix(BLOBS))
            return (404, {}) if blob is None else (200, {"Content-Length": str(len(blob))})
        if request.method == "POST":
            return self._post(request, data)
        upload = self._find(request)
        if upload is None:
            return 404, {}
        do = {"PATCH": self._patch, "GET": self._get, "PUT": self._put, "DELETE": self._delete}
        return do[request.method](request, upload, data)

    def _post(self, request: Request, data: bytes) -> tuple[int, dict[str, str | None]]:
        query = dict(request.query)
        if "digest" in query and self.single_post:
            return self._store(query["digest"], data)
        self._started += 1
        upload = self.open[self._started] = Upload(self._started)
        return 202, {"Location": upload.location, "Range": "0-0"}

    def _find(self, request: Request) -> Upload | None:
        number = request.path.removeprefix(UPLOADS)
        upload = self.open.get(int(number)) if number.isdigit() else None
        return upload if upload is not None and request.target.startswith(upload.location) else None

    def _patch(self, request: Request, upload: Upload, data: bytes) -> tuple[int, dict[str, str | None]]:
        if not self._continues(request, upload):
            return 416, {}
        upload.data += data
        upload.turn += self.moves
        return 202, {"Location": upload.location, "Range": f"0-{max(len(upload.data) - 1, 0)}"}

    def _get(self, _request: Request, upload: Upload, _data: bytes) -> tuple[int, dict[str, str | None]]:
        return 204, {"Location": upload.location, "Range": f"0-{max(len(upload.data) - 1, 0)}"}

    def _put(self, request: Request, upload: Upload, data: bytes) -> tuple[int, dict[str, str | None]]:
        if not self._continues(request, upload):
            return 416, {}
        stored = self._store(dict(request.query)["digest"], bytes(upload.data + data))
        if stored[0] == 201:
            # A cancellation may have come over another connection meanwhile.
            self.open.pop(upload.number, None)
        return stored

    def _delete(self, _request: Request, upload: Upload, _data: bytes) -> tuple[int, dict[str, str | None]]:
        self.open.pop(upload.number, None)
        self.cancelled += 1
        return 204, {}

    def _store(self, digest: str, data: bytes) -> tuple[int, dict[str, str | None]]:
        algorithm, _, _ = digest.partition(":")
        if f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}" != digest:
            return 400, {}
        self.blobs[digest] = data
        return 201, {"Location": BLOBS + digest, "Docker-Content-Digest": digest}

    @staticmethod
    def _continues(request: Request, upload: Upload) -> bool:
        first = (request.header("Content-Range") or f"{len(upload.data)}-").partition("-")[0]
        return first == str(len(upload.data))


def lost(count: int | None = None) -> Step:
    """Take *count* bytes of the body, or all, and cut the connection instead of answering."""

    def step(registry: UploadRegistry, request: Request, connection: Connection) -> None:
        registry.apply(request, count)
        connection.close()

    return step


def refuse(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Step:
    """Answer with a status and do nothing."""
    return lambda _registry, request, connection: respond(status, headers or {}, body)(request, connection)


def saying(status: int | None = None, **headers: str | None) -> Step:
    """Do what is asked, but answer with another status or other headers; None leaves a header out."""

    def step(registry: UploadRegistry, request: Request, connection: Connection) -> None:
        usual, found = registry.apply(request)
        changed = found | {name.replace("_", "-"): value for name, value in headers.items()}
        pairs = {name: value for name, value in changed.items() if value is not None}
        respond(status or usual, pairs)(request, connection)

    return step


def hold(reached: threading.Event) -> Step:
    """Tell that the request has arrived, and never answer."""

    def step(_registry: UploadRegistry, _request: Request, connection: Connection) -> None:
        reached.set()
        connection.wait_closed()
        connection.close()

    return step


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    """Yield the pieces: a source that can be read once."""
    for piece in pieces:
        yield piece


def bodies(registry: UploadRegistry, method: str) -> list[bytes]:
    """Return the bodies of all requests of a method."""
    return [request.body for request in registry.of(method)]


async def write_in_chunks(repository: Repository, **options: Any) -> Descriptor:  # noqa: ANN401 -- the writer's own
    """Write the blob in chunks of 300 bytes: three PATCHes, and the last 100 bytes with the PUT."""
    async with repository.blobs.writer(chunk_size=300, **options) as writer:
        await writer.write(BLOB)
        return await writer.commit(DIGEST)
