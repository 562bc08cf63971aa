"""The two registries behind the proxy, and what is true of them: read past the proxy, and past ocidist."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import os
from typing import TYPE_CHECKING, Any

import attrs

from tests.peers import images

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.peers.peer import Peer

BLOB = images.noise(200_000)
DIGEST = images.sha256(BLOB)
BIG = 100 * 70_000
BIG_DIGEST = images.sha256(images.noise(BIG, "big"))
OTHER = images.noise(200_000, "other")
IMAGE = images.image("linux/amd64")
PLAIN = images.image("linux/riscv64")
NOTES = tuple(images.artifact(IMAGE, text=f"note {number}".encode()) for number in range(3))
NOTE_TYPE = "application/vnd.example.note"
TAGS = tuple(f"v{number}" for number in range(1, 13))
READ = "zz/read"
"""Comes after every other name, so that a list of repositories can begin just before it."""

_PATIENCE_S = 10.0
_numbers = itertools.count(1)


@attrs.frozen
class Found:
    """An answer of the registry itself."""

    status: int
    headers: dict[str, str]
    body: bytes


@attrs.frozen
class Standing:
    """A registry with content.

    Attributes:
        label: What it is called in results.
        peer: The registry.
        open_sessions: Returns how many uploads of a repository are open.
    """

    label: str
    peer: Peer
    open_sessions: Callable[[str], int]

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Found:
        """Send a request to the registry itself."""
        connection = http.client.HTTPConnection(self.peer.host, timeout=_PATIENCE_S)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, target, body, {**named, "Connection": "close"})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Found(response.status, found, response.read())
        finally:
            connection.close()

    # --- what is there -----------------------------------------------------------------------------------------------

    def blob(self, name: str, digest: str) -> bytes | None:
        """Return a blob, or None if there is none."""
        found = self.ask("GET", f"/v2/{name}/blobs/{digest}")
        return found.body if found.status == 200 else None

    def manifest(self, name: str, reference: str) -> bytes | None:
        """Return a manifest, or None if there is none."""
        found = self.ask(
            "GET", f"/v2/{name}/manifests/{reference}", Accept=f"{images.OCI_MANIFEST}, {images.OCI_INDEX}"
        )
        return found.body if found.status == 200 else None

    def tags(self, name: str) -> list[str]:
        """Return the tags of a repository."""
        found = self.ask("GET", f"/v2/{name}/tags/list")
        return sorted(json.loads(found.body)["tags"] or []) if found.status == 200 else []

    def referrers(self, name: str, subject: str) -> list[str]:
        """Return the digests of the referrers, as the registry or the index of the fallback has them."""
        found = self.ask("GET", f"/v2/{name}/referrers/{subject}")
        data = found.body if found.status == 200 else self.manifest(name, subject.replace(":", "-"))
        value: dict[str, Any] = json.loads(data) if data else {"manifests": []}
        return [entry["digest"] for entry in value["manifests"]]

    # --- putting it there --------------------------------------------------------------------------------------------

    def fresh(self) -> str:
        """Return a repository name that was not used before."""
        return f"faults/{os.environ.get('PYTEST_XDIST_WORKER', 'main')}/r{next(_numbers)}"

    def put_blob(self, name: str, data: bytes) -> None:
        """Store a blob."""
        location = self.ask("POST", f"/v2/{name}/blobs/uploads/").headers["location"]
        path = location.removeprefix(self.peer.origin)
        joined = f"{path}{'&' if '?' in path else '?'}digest={images.sha256(data)}"
        assert self.ask("PUT", joined, data).status == 201

    def put_manifest(self, name: str, content: images.Content, *references: str) -> None:
        """Store a manifest."""
        for reference in references:
            target = f"/v2/{name}/manifests/{reference}"
            assert self.ask("PUT", target, content.data, Content_Type=content.media_type).status == 201

    def put_image(self, name: str, image: images.Image, *tags: str, source: str | None = READ) -> None:
        """Store an image; its blobs are linked from another repository, if that has them."""
        for blob in image.blobs:
            target = f"/v2/{name}/blobs/uploads/?mount={blob.digest}&from={source}"
            if source is None or self.ask("POST", target).status != 201:
                self.put_blob(name, blob.data)
        self.put_manifest(name, image.manifest, *(tags or (image.digest,)))

    def furnish(self) -> None:
        """Store what the tests read."""
        for data in (BLOB, b"", images.noise(BIG, "big")):
            self.put_blob(READ, data)
        self.put_image(READ, IMAGE, *TAGS, source=None)
        self.put_image(READ, PLAIN, "plain", source=None)
        for note in NOTES:
            self.put_image(READ, note, source=None)
        self.put_manifest(READ, fallback_index(*NOTES), IMAGE.digest.replace(":", "-"))


def fallback_index(*artifacts: images.Image) -> images.Content:
    """Return the index that clients keep where a registry does not list referrers."""
    entries = [each.manifest.descriptor | {"artifactType": NOTE_TYPE} for each in artifacts]
    value = {"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": entries}
    return images.Content(json.dumps(value).encode(), images.OCI_INDEX)


def sha512(data: bytes) -> str:
    """Return a digest of the other algorithm."""
    return f"sha512:{hashlib.sha512(data).hexdigest()}"
