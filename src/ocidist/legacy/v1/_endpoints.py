"""The endpoints of version 1, one class each.

Spec: Docker, "Docker Registry API v1"; "Registry & Index Spec".
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from ocidist.legacy._line import JSON, JSON_BODY, Fields, V1Endpoint
from ocidist.wire.errorbody import Subject
from ocidist.wire.ranges import range_header

TOKEN_WANTED = ("X-Docker-Token", "true")
_DONE = frozenset({200, 201, 204})


@attrs.frozen
class Ping(V1Endpoint):
    """Ask whether the server speaks version 1."""

    operation = "ping"

    @property
    def path(self) -> str:
        """Path below the root."""
        return "_ping"


@attrs.frozen
class CreateUser(V1Endpoint):
    """Make an account."""

    method = "POST"
    operation = "create account"
    success: ClassVar[frozenset[int]] = frozenset({200, 201})
    fields = JSON_BODY
    # A second account would be somebody else's.
    repeatable = False

    @property
    def path(self) -> str:
        """Path below the root."""
        return "users/"


@attrs.frozen
class _OfRepository(V1Endpoint):
    about = Subject.REPOSITORY
    # Not "repository": mirrors have nothing of version 1.
    name: str = ""


@attrs.frozen
class GetImages(_OfRepository):
    """Ask an index for a repository: its images, its registries, and a token."""

    operation = "look up repository"
    fields = (*JSON, TOKEN_WANTED)

    @property
    def path(self) -> str:
        """Path below the root."""
        return f"repositories/{self.name}/images"


@attrs.frozen
class PutImages(_OfRepository):
    """Tell an index which images a repository is about to get, or has got.

    Attributes:
        validated: Whether they are there.
        registries: Where they are, if not where the index says.
        location: Where the index said to ask instead, or None.
    """

    method = "PUT"
    operation = "announce images"
    # Redirects of old are answered by hand: what they lead to is asked in the same way.
    success: ClassVar[frozenset[int]] = frozenset({*_DONE, 301, 302, 303})
    validated: bool = False
    registries: tuple[str, ...] = ()
    location: str | None = attrs.field(default=None, repr=False)

    @property
    def target(self) -> str:
        """Absolute URL."""
        return self.location or self.root + self.path

    @property
    def path(self) -> str:
        """Path below the root."""
        return f"repositories/{self.name}/{'images' if self.validated else ''}"

    @property
    def headers(self) -> Fields:
        """Header fields of the request."""
        named = (("X-Docker-Endpoints", ",".join(self.registries)),) if self.registries else ()
        return (*JSON_BODY, TOKEN_WANTED, *named)


@attrs.frozen
class GetTags(_OfRepository):
    """List the tags of a repository."""

    operation = "list tags"

    @property
    def path(self) -> str:
        """Path below the root."""
        return f"repositories/{self.name}/tags"


@attrs.frozen
class PutTag(_OfRepository):
    """Set a tag.

    Attributes:
        tag: The tag.
    """

    method = "PUT"
    operation = "set tag"
    # It is the image that is missing.
    about = Subject.OTHER
    success = _DONE
    fields = JSON_BODY
    tag: str = ""

    @property
    def path(self) -> str:
        """Path below the root."""
        return f"repositories/{self.name}/tags/{self.tag}"


@attrs.frozen
class _OfImage(V1Endpoint):
    image: str = ""
    part: ClassVar[str] = ""

    @property
    def path(self) -> str:
        """Path below the root."""
        return f"images/{self.image}/{self.part}"


@attrs.frozen
class GetAncestry(_OfImage):
    """Ask what an image is built upon."""

    operation = "read ancestry"
    part = "ancestry"


@attrs.frozen
class GetImageJson(_OfImage):
    """Read the JSON of an image."""

    operation = "read image JSON"
    part = "json"


@attrs.frozen
class PutImageJson(_OfImage):
    """Store the JSON of an image."""

    method = "PUT"
    operation = "push image JSON"
    success = _DONE
    fields = JSON_BODY
    part = "json"


@attrs.frozen
class GetLayer(_OfImage):
    """Read a layer, or the rest of it.

    Attributes:
        start: First byte wanted, None for all.
        stop: Offset after the last byte wanted, or None if nobody knows where it ends.
    """

    operation = "pull layer"
    success: ClassVar[frozenset[int]] = frozenset({200, 206})
    part = "layer"
    # Registries send clients elsewhere for what is large; tokens stay behind.
    stays_home = False
    start: int | None = None
    stop: int | None = None

    @property
    def headers(self) -> Fields:
        """Header fields of the request."""
        if self.start is None:
            return ()
        length = None if self.stop is None else self.stop - self.start
        return (("Range", range_header(self.start, length)),)


@attrs.frozen
class PutLayer(_OfImage):
    """Store a layer."""

    method = "PUT"
    operation = "push layer"
    success = _DONE
    final = True
    fields = (("Content-Type", "application/octet-stream"),)
    part = "layer"


@attrs.frozen
class PutChecksum(_OfImage):
    """Tell what proves a layer: only then the image is there.

    Attributes:
        checksums: Header fields that say it.
    """

    method = "PUT"
    operation = "push checksum"
    success = _DONE
    part = "checksum"
    checksums: Fields = ()

    @property
    def headers(self) -> Fields:
        """Header fields of the request."""
        return (*JSON, *self.checksums)
