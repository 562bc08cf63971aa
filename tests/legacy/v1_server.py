"""An index and registry of version 1 on a real socket: what docker-registry 0.9 does, its faults included."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING

from tests.peers.answers import head, respond, respond_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.peers.wire_server import Connection, Request
REALM = {"WWW-Authenticate": "Token"}


def payload_checksum(text: bytes, layer: bytes) -> str:
    """Return what proves a layer together with its image JSON."""
    found = hashlib.sha256(text + b"\n" + layer)
    return f"sha256:{found.hexdigest()}"


class V1Server:
    """The handler of a ``WireServer``.

    Args:
        standalone: Whether it is its own index; otherwise registries want the token that the index gave out.
        users: Passwords by user name; None lets everybody in.

    Attributes:
        images: Image JSON, layer and checksum by id; an image without a checksum is not there yet.
        tags: The image of each tag, by repository.
        listed: What the index lists, by repository.
        endpoints: What the index says in ``X-Docker-Endpoints``.
        given: Tokens the index gave out.
        breaks: Bytes after which the next answers with a layer break off.
        ranges: Whether layers can be asked for in parts.
        checksummed: Whether the registry says what proves a layer.
        proof: The header in which it says so.
        cookies: Whether the checksum of a layer is in a cookie that has to come back, as it was before 0.7.
        blocked: Parts of paths that are answered with 503.
    """

    def __init__(self, *, standalone: bool = True, users: dict[str, str] | None = None) -> None:
        self.standalone = standalone
        self.users = users
        self.images: dict[str, dict[str, bytes]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.listed: dict[str, list[dict[str, str]]] = {}
        self.endpoints: str | None = None
        self.given: set[str] = set()
        self.breaks: list[int] = []
        self.ranges = True
        self.checksummed = True
        self.proof = "X-Docker-Payload-Checksum"
        self.cookies = False
        self.blocked: set[str] = set()
        self._routes: list[tuple[str, str, Callable[..., None]]] = [
            ("GET", r"_ping", self._ping),
            ("GET", r"users/", self._users),
            ("POST", r"users/", self._create),
            ("GET", r"repositories/(.+)/images", self._get_images),
            ("PUT", r"repositories/(.+)/images", self._put_images),
            ("GET", r"repositories/(.+)/tags", self._get_tags),
            ("PUT", r"repositories/(.+)/tags/([^/]+)", self._put_tag),
            ("PUT", r"repositories/(.+)/", self._put_images),
            ("GET", r"images/([0-9a-f]{64})/json", self._get_json),
            ("PUT", r"images/([0-9a-f]{64})/json", self._put_json),
            ("GET", r"images/([0-9a-f]{64})/ancestry", self._get_ancestry),
            ("GET", r"images/([0-9a-f]{64})/layer", self._get_layer),
            ("PUT", r"images/([0-9a-f]{64})/layer", self._put_layer),
            ("PUT", r"images/([0-9a-f]{64})/checksum", self._put_checksum),
        ]

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer a request."""
        path = request.path.removeprefix("/v1/")
        request.read()
        if any(part in path for part in self.blocked):
            respond(503)(request, connection)
            return
        for method, pattern, answer in self._routes:
            if request.method == method and (found := re.fullmatch(pattern, path)):
                answer(request, connection, *found.groups())
                return
        respond_json(404, {"error": "not found"})(request, connection)

    def add(self, number: int, parent: str | None, layer: bytes) -> str:
        """Put an image there and return its id."""
        image = f"{number:064x}"
        fields = {"id": image, "parent": parent, "created": "2014-01-01T00:00:00Z", "os": "linux"}
        text = json.dumps({name: value for name, value in fields.items() if value}).encode()
        checksum = payload_checksum(text, layer).encode()
        self.images[image] = {"json": text, "layer": layer, "checksum": checksum}
        return image

    # --- who asks ----------------------------------------------------------------------------------------------------

    def _user(self, request: Request) -> bool:
        if self.users is None:
            return True
        scheme, _, value = (request.header("Authorization") or "").partition(" ")
        if scheme != "Basic":
            return False
        name, _, password = base64.b64decode(value).decode().partition(":")
        return self.users.get(name) == password

    def _may(self, request: Request, connection: Connection) -> bool:
        """Whether a request may be answered: with the index's token, or a password where the registry stands alone."""
        scheme, _, value = (request.header("Authorization") or "").partition(" ")
        # What is given out for writing is good for nothing else.
        access = "read" if request.method == "GET" else "write"
        allowed = scheme == "Token" and value in self.given and value.endswith(f"access={access}")
        if allowed or (self.standalone and self._user(request)):
            return True
        respond_json(401, {"error": "Requires authorization"}, REALM)(request, connection)
        return False

    # --- the index ---------------------------------------------------------------------------------------------------

    def _ping(self, request: Request, connection: Connection) -> None:
        headers = {"X-Docker-Registry-Version": "0.9.1", "X-Docker-Registry-Standalone": str(self.standalone)}
        respond(200, headers, b"true")(request, connection)

    def _users(self, request: Request, connection: Connection) -> None:
        respond_json(200 if self._user(request) else 401, "OK")(request, connection)

    def _create(self, request: Request, connection: Connection) -> None:
        fields = json.loads(request.body)
        assert self.users is not None
        if fields["username"] in self.users:
            respond_json(400, {"error": "Username or email already exists"})(request, connection)
            return
        self.users[fields["username"]] = fields["password"]
        respond_json(201, "User Created")(request, connection)

    def _token(self, repository: str, access: str) -> list[tuple[str, str]]:
        token = f'signature={len(self.given):032x},repository="{repository}",access={access}'
        self.given.add(token)
        # docker-registry writes the scheme before it; Docker Hub did not.
        headers = [("X-Docker-Token", f"Token {token}" if self.standalone else token)]
        return headers if self.endpoints is None else [*headers, ("X-Docker-Endpoints", self.endpoints)]

    def _get_images(self, request: Request, connection: Connection, repository: str) -> None:
        if not self._user(request):
            respond_json(401, {"error": "Requires authorization"}, REALM)(request, connection)
        elif repository not in self.listed:
            respond_json(404, {"error": "images not found"})(request, connection)
        else:
            respond_json(200, self.listed[repository], self._token(repository, "read"))(request, connection)

    def _put_images(self, request: Request, connection: Connection, repository: str) -> None:
        if not self._user(request):
            respond_json(401, {"error": "Requires authorization"}, REALM)(request, connection)
            return
        self.listed[repository] = json.loads(request.body)
        status = 204 if request.path.endswith("/images") else 200
        respond(status, self._token(repository, "write"))(request, connection)

    # --- the registry ------------------------------------------------------------------------------------------------

    def _get_tags(self, request: Request, connection: Connection, repository: str) -> None:
        if self._may(request, connection):
            known = self.tags.get(repository)
            respond_json(404 if known is None else 200, known or {"error": "none"})(request, connection)

    def _put_tag(self, request: Request, connection: Connection, repository: str, tag: str) -> None:
        if self._may(request, connection):
            image = json.loads(request.body)
            if image not in self.images:
                respond_json(404, {"error": "Image not found"})(request, connection)
                return
            self.tags.setdefault(repository, {})[tag] = image
            respond(200)(request, connection)

    def _there(self, image: str, request: Request, connection: Connection) -> dict[str, bytes] | None:
        if not self._may(request, connection):
            return None
        found = self.images.get(image)
        if found is None:
            respond_json(404, {"error": "Image not found"})(request, connection)
            return None
        if "checksum" not in found:
            respond_json(400, {"error": "Image is being uploaded, retry later"})(request, connection)
            return None
        return found

    def _get_json(self, request: Request, connection: Connection, image: str) -> None:
        if (found := self._there(image, request, connection)) is not None:
            headers = [("X-Docker-Size", str(len(found["layer"])))]
            if self.checksummed:
                # Both that it knows: what is of use, and a tarsum.
                headers += [(self.proof, found["checksum"].decode()), (self.proof, f"tarsum+sha256:{'0' * 64}")]
            respond(200, headers, found["json"])(request, connection)

    def _put_json(self, request: Request, connection: Connection, image: str) -> None:
        if self._may(request, connection):
            if "checksum" in self.images.get(image, {}):
                respond_json(409, {"error": "Image already exists"})(request, connection)
                return
            fields = json.loads(request.body)
            if fields.get("parent") and fields["parent"] not in self.images:
                respond_json(400, {"error": "Image depends on a non existing parent"})(request, connection)
                return
            self.images[image] = {"json": request.body}
            respond(200, {}, b"true")(request, connection)

    def _get_ancestry(self, request: Request, connection: Connection, image: str) -> None:
        if self._there(image, request, connection) is not None:
            found: list[str] = []
            here: str | None = image
            while here:
                found.append(here)
                here = json.loads(self.images[here]["json"]).get("parent")
            respond_json(200, found)(request, connection)

    def _get_layer(self, request: Request, connection: Connection, image: str) -> None:
        if (found := self._there(image, request, connection)) is None:
            return
        layer = found["layer"]
        headers = {"Accept-Ranges": "bytes"} if self.ranges else {}
        status, body, length = 200, layer, len(layer)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.header("Range") or "")
        if self.ranges and wanted:
            start = int(wanted[1])
            # As docker-registry does: a range without an end is counted one byte too long, one of a byte is refused.
            stop = int(wanted[2]) if wanted[2] else len(layer)
            if stop - start + 1 < 2:
                respond(416)(request, connection)
                return
            status, body, length = 206, layer[start : stop + 1], stop - start + 1
            headers["Content-Range"] = f"{start}-{stop}/{len(layer)}"
        cut = self.breaks.pop(0) if self.breaks else None
        connection.send(head(status, headers | {"Content-Length": str(length)}) + body[:cut])
        if cut is not None or length != len(body):
            connection.close()

    def _put_layer(self, request: Request, connection: Connection, image: str) -> None:
        if self._may(request, connection):
            if image not in self.images:
                respond_json(404, {"error": "Image not found"})(request, connection)
                return
            self.images[image]["layer"] = request.body
            headers = [
                ("Set-Cookie", "theme=dark; Path=/"),
                ("Set-Cookie", f'session="sum-of-{image}"; Path=/; HttpOnly'),
            ]
            respond(200, headers if self.cookies else [], b"true")(request, connection)

    def _put_checksum(self, request: Request, connection: Connection, image: str) -> None:
        if self._may(request, connection):
            found = self.images[image]
            if self.cookies and request.header("Cookie") != f'theme=dark; session="sum-of-{image}"':
                respond_json(400, {"error": "Checksum not found in Cookie"})(request, connection)
                return
            said = request.header("X-Docker-Checksum-Payload") or ""
            actual = payload_checksum(found["json"], found["layer"])
            if said != actual:
                respond_json(400, {"error": "Checksum mismatch"})(request, connection)
                return
            found["checksum"] = actual.encode()
            respond(200, {}, b"true")(request, connection)
