"""The endpoints of the distribution API, one frozen class each, for client and server alike.

A client calls ``to_request()``; a server calls ``parse()`` of ``wire/routing.py`` on what arrived; a round-trip test
holds that both agree. An endpoint also knows what it is allowed to answer (``success``), which token scope it needs
(``scopes``) and whether sending it twice does the same as sending it once (``repeatable``).

Spec: distribution-spec, "Endpoints".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

import attrs

from ocidist.errors import EgressError, LinkRefusedError, LocationRefusedError, UnsupportedError
from ocidist.model.mediatype import DEFAULT_ACCEPT, OCI_INDEX, OCTET_STREAM
from ocidist.wire.errorbody import Subject
from ocidist.wire.ranges import format_content_range, range_header
from ocidist.wire.redact import redact_url
from ocidist.wire.scope import CATALOG, NO_SCOPES, ScopeSet, repository_scope
from ocidist.wire.token import append_query

if TYPE_CHECKING:
    from ocidist.model.digest import Digest
    from ocidist.model.reference import RepositoryName, Tag


@attrs.frozen
class WireRequest:
    """A request without its body: what an endpoint asks a connection to send.

    Attributes:
        method: HTTP method.
        target: Path and query beginning with ``/v2/``, or an absolute URL (upload sessions, next pages).
        headers: Header fields the endpoint itself defines.
    """

    method: str
    target: str = attrs.field(repr=redact_url)
    headers: tuple[tuple[str, str], ...] = ()


@attrs.frozen
class Endpoint:
    """What every endpoint has in common.

    Attributes:
        id: The row of the specification's endpoint table.
        method: HTTP method.
        operation: The phrase errors use for it.
        success: Statuses that mean success; any other status raises.
        repeatable: Whether it may be sent again when the answer was lost.
        final: Whether the registry does long work before it answers.
        about: What it is about; it decides what a 404 without a code means.
        refused: The error where it leads to a place that the client must not go to.
        roams: Whether another origin than the registry's is another server: its failures are not the registry's then.
        stays_home: Whether a redirect to another origin is refused, and not only what is secret left behind.
        direct: Whether it says itself who asks, or that nobody does: challenges are not answered.
    """

    id: ClassVar[str] = ""
    method: ClassVar[str] = "GET"
    operation: ClassVar[str] = ""
    success: ClassVar[frozenset[int]] = frozenset({200})
    repeatable: ClassVar[bool] = True
    final: ClassVar[bool] = False
    about: ClassVar[Subject] = Subject.REPOSITORY
    refused: ClassVar[type[EgressError]] = LocationRefusedError
    roams: ClassVar[bool] = False
    stays_home: ClassVar[bool] = False
    direct: ClassVar[bool] = False

    @property
    def scopes(self) -> ScopeSet:
        """Token scopes the endpoint needs; empty where the specification names none."""
        return NO_SCOPES

    @property
    def target(self) -> str:
        """Path and query, or an absolute URL."""
        raise UnsupportedError(405, note=f"{type(self).__name__} has no target of its own")

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Header fields of the request."""
        return ()

    @property
    def secrets(self) -> tuple[tuple[str, str], ...]:
        """Header fields that say who asks, where an endpoint does that itself. They are kept nowhere."""
        return ()

    def to_request(self) -> WireRequest:
        """Return the request line and headers a client sends."""
        return WireRequest(self.method, self.target, self.headers)


def _query(*pairs: tuple[str, str | int | None]) -> str:
    text = "&".join(f"{key}={quote(str(value), safe=':/')}" for key, value in pairs if value is not None)
    return f"?{text}" if text else ""


@attrs.frozen
class Ping(Endpoint):
    """Ask whether the registry speaks the API. Spec: distribution-spec, "Determining Support"."""

    id = "end-1"
    operation = "ping"
    about = Subject.OTHER

    @property
    def target(self) -> str:
        return "/v2/"


@attrs.frozen
class ListRepositories(Endpoint):
    """List the registry's repositories. Spec: Docker Registry HTTP API V2, "Catalog".

    Attributes:
        n: Most entries per page.
        last: Entry after which the page begins.
        page: Target of a ``Link`` header, used as it is instead of ``n`` and ``last``.
    """

    id = "catalog"
    operation = "list repositories"
    about = Subject.OTHER
    refused: ClassVar[type[EgressError]] = LinkRefusedError
    stays_home = True
    n: int | None = None
    last: str | None = None
    page: str | None = None

    @property
    def scopes(self) -> ScopeSet:
        return CATALOG

    @property
    def target(self) -> str:
        return self.page or "/v2/_catalog" + _query(("n", self.n), ("last", self.last))


@attrs.frozen
class _OfRepository(Endpoint):
    repository: RepositoryName
    actions: ClassVar[tuple[str, ...]] = ("pull",)

    @property
    def scopes(self) -> ScopeSet:
        return repository_scope(self.repository, *self.actions)


@attrs.frozen
class GetBlob(_OfRepository):
    """Read a blob, or part of it. Spec: distribution-spec, "Pulling blobs".

    Attributes:
        digest: Digest of the whole blob.
        offset: First byte wanted.
        length: Bytes wanted from there, or None for all.
        suffix: Bytes wanted from the end, in place of the two others, or None. ocidist's own client always knows
            offsets; others may ask this of our server.
        proven: Whether a part is joined to others and the whole is proven; nothing about that is sent.
    """

    id = "end-2"
    operation = "pull blob"
    success: ClassVar[frozenset[int]] = frozenset({200, 206})
    digest: Digest
    offset: int = 0
    length: int | None = None
    suffix: int | None = None
    proven: bool = False

    @property
    def ranged(self) -> bool:
        """Whether only part of the blob is asked for."""
        return self.offset > 0 or self.length is not None or self.suffix is not None

    @property
    def target(self) -> str:
        return f"/v2/{self.repository}/blobs/{self.digest}"

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        if self.suffix is not None:
            return (("Range", f"bytes=-{self.suffix}"),)
        return (("Range", range_header(self.offset, self.length)),) if self.ranged else ()


@attrs.frozen
class StatBlob(_OfRepository):
    """Ask for a blob's size. Spec: distribution-spec, "Checking if content exists in the registry"."""

    id = "end-2"
    method = "HEAD"
    operation = "stat blob"
    success: ClassVar[frozenset[int]] = frozenset({200, 206})
    digest: Digest

    @property
    def target(self) -> str:
        return f"/v2/{self.repository}/blobs/{self.digest}"


@attrs.frozen
class GetManifest(_OfRepository):
    """Read a manifest. Spec: distribution-spec, "Pulling manifests".

    Attributes:
        reference: Tag or digest.
        accept: Value of the Accept header.
        if_none_match: Digest the caller already has, or None.
    """

    id = "end-3"
    operation = "pull manifest"
    reference: Tag | Digest
    accept: str = DEFAULT_ACCEPT
    if_none_match: Digest | None = None

    @property
    def target(self) -> str:
        return f"/v2/{self.repository}/manifests/{self.reference}"

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        accept = (("Accept", self.accept),)
        # Registries compare the entity tag, and the usual ones use the quoted digest as such.
        return (*accept, ("If-None-Match", f'"{self.if_none_match}"')) if self.if_none_match else accept


@attrs.frozen
class StatManifest(_OfRepository):
    """Ask for a manifest's descriptor. Spec: distribution-spec, "Checking if content exists in the registry"."""

    id = "end-3"
    method = "HEAD"
    operation = "stat manifest"
    reference: Tag | Digest
    accept: str = DEFAULT_ACCEPT

    @property
    def target(self) -> str:
        return f"/v2/{self.repository}/manifests/{self.reference}"

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return (("Accept", self.accept),)


@attrs.frozen
class _Push(_OfRepository):
    actions: ClassVar[tuple[str, ...]] = ("pull", "push")


@attrs.frozen
class StartUpload(_Push):
    """Open an upload session. Spec: distribution-spec, "POST then PUT".

    Attributes:
        algorithm: Digest algorithm the blob will have, said only when it is not sha256.
    """

    id = "end-4a"
    method = "POST"
    operation = "start upload"
    # 200 and 204 instead of 202 are answers of registries in use; the Location tells a session from anything else.
    success: ClassVar[frozenset[int]] = frozenset({200, 202, 204})
    algorithm: str | None = None

    @property
    def target(self) -> str:
        return f"/v2/{self.repository}/blobs/uploads/" + _query(("digest-algorithm", self.algorithm))


@attrs.frozen
class PostBlob(_Push):
    """Push a blob in one request. Spec: distribution-spec, "Single POST"."""

    id = "end-4b"
    method = "POST"
    operation = "push blob"
    success: ClassVar[frozenset[int]] = frozenset({201, 202})
    digest: Digest

    @property
    def target(self) -> str:
        return f"/v2/{self.repository}/blobs/uploads/" + _query(("digest", self.digest))

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return (("Content-Type", OCTET_STREAM),)


@attrs.frozen
class MountBlob(_Push):
    """Ask for a blob of another repository. Spec: distribution-spec, "Mounting a blob from another repository".

    Attributes:
        digest: Blob to mount.
        source: Repository that has it, or None to let the registry look.
    """

    id = "end-11"
    method = "POST"
    operation = "mount blob"
    success: ClassVar[frozenset[int]] = frozenset({201, 202})
    digest: Digest
    source: RepositoryName | None = None

    @property
    def scopes(self) -> ScopeSet:
        target = repository_scope(self.repository, *self.actions)
        return target if self.source is None else target | repository_scope(self.source, "pull")

    @property
    def target(self) -> str:
        return f"/v2/{self.repository}/blobs/uploads/" + _query(("mount", self.digest), ("from", self.source))


@attrs.frozen
class _UploadSession(_Push):
    """An endpoint of an open upload session.

    Attributes:
        location: The session's newest Location: an absolute URL on the client, path and query on the server.
    """

    repeatable = False
    location: str = attrs.field(repr=redact_url)

    @property
    def target(self) -> str:
        return self.location

    @property
    def session(self) -> str:
        """Last path segment of the location: the identifier our own server gives out."""
        return self.location.partition("?")[0].rpartition("/")[2]


@attrs.frozen
class PatchUpload(_UploadSession):
    """Send a chunk, or with no range a whole stream. Spec: distribution-spec, "Pushing a blob in chunks".

    Attributes:
        start: Offset of the chunk's first byte, or None to stream without a Content-Range.
        stop: Offset after the chunk's last byte.
    """

    id = "end-5"
    method = "PATCH"
    operation = "push chunk"
    # 201: Amazon ECR. 200 and 204: seen from older registries.
    success: ClassVar[frozenset[int]] = frozenset({200, 201, 202, 204})
    start: int | None = None
    stop: int | None = None

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        kind = (("Content-Type", OCTET_STREAM),)
        if self.start is None or self.stop is None or self.stop <= self.start:
            return kind
        return (*kind, ("Content-Range", format_content_range(self.start, self.stop)))


@attrs.frozen
class PutUpload(_UploadSession):
    """Close a session, with or without its last bytes. Spec: distribution-spec, "Pushing a blob in chunks".

    Attributes:
        digest: Digest of the whole blob.
        start: Offset of the first byte of a last chunk, or None when the body is the whole blob or empty.
        stop: Offset after the last chunk's last byte.
    """

    id = "end-6"
    method = "PUT"
    operation = "finish upload"
    final = True
    # 200, 202 and 204 instead of 201 are answers of registries in use.
    success: ClassVar[frozenset[int]] = frozenset({200, 201, 202, 204})
    digest: Digest
    start: int | None = None
    stop: int | None = None

    @property
    def target(self) -> str:
        return append_query(self.location, (("digest", self.digest),))

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        kind = (("Content-Type", OCTET_STREAM),)
        if self.start is None or self.stop is None or self.stop <= self.start:
            return kind
        return (*kind, ("Content-Range", format_content_range(self.start, self.stop)))


@attrs.frozen
class UploadStatus(_UploadSession):
    """Ask how many bytes a session has. Spec: distribution-spec, "Pushing a blob in chunks"."""

    id = "end-13"
    operation = "ask upload status"
    success: ClassVar[frozenset[int]] = frozenset({200, 204})
    repeatable = True


@attrs.frozen
class CancelUpload(_UploadSession):
    """End a session without storing it. Spec: distribution-spec, "Cancel a blob upload"."""

    id = "end-14"
    method = "DELETE"
    operation = "cancel upload"
    success: ClassVar[frozenset[int]] = frozenset({200, 202, 204, 404})
    repeatable = True


@attrs.frozen
class PutManifest(_Push):
    """Push a manifest. Spec: distribution-spec, "Pushing Manifests".

    Attributes:
        reference: Tag or digest it is stored under.
        media_type: Value of the Content-Type header.
        tags: Tags to set in the same request; only with a digest as reference.
        if_match: Entity tag that must still be current, or None.
    """

    id = "end-7a"
    method = "PUT"
    operation = "push manifest"
    final = True
    # 200, 202 and 204 instead of 201 are answers of registries in use.
    success: ClassVar[frozenset[int]] = frozenset({200, 201, 202, 204})
    reference: Tag | Digest
    media_type: str
    tags: tuple[Tag, ...] = ()
    if_match: str | None = None

    @property
    def target(self) -> str:
        query = _query(*(("tag", tag) for tag in self.tags))
        return f"/v2/{self.repository}/manifests/{self.reference}{query}"

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        kind = (("Content-Type", self.media_type),) if self.media_type else ()
        return (*kind, ("If-Match", self.if_match)) if self.if_match else kind


@attrs.frozen
class DeleteManifest(_OfRepository):
    """Delete a manifest by digest, or only a tag. Spec: distribution-spec, "Deleting Manifests", "Deleting tags"."""

    id = "end-9"
    method = "DELETE"
    operation = "delete manifest"
    success: ClassVar[frozenset[int]] = frozenset({200, 202, 204})
    actions: ClassVar[tuple[str, ...]] = ("delete", "pull")
    reference: Tag | Digest

    @property
    def target(self) -> str:
        return f"/v2/{self.repository}/manifests/{self.reference}"


@attrs.frozen
class DeleteBlob(_OfRepository):
    """Delete a blob from a repository. Spec: distribution-spec, "Deleting Blobs"."""

    id = "end-10"
    method = "DELETE"
    operation = "delete blob"
    success: ClassVar[frozenset[int]] = frozenset({200, 202, 204})
    actions: ClassVar[tuple[str, ...]] = ("delete", "pull")
    digest: Digest

    @property
    def target(self) -> str:
        return f"/v2/{self.repository}/blobs/{self.digest}"


@attrs.frozen
class ListTags(_OfRepository):
    """List a repository's tags. Spec: distribution-spec, "Listing Tags".

    Attributes:
        n: Most entries per page.
        last: Tag after which the page begins.
        page: Target of a ``Link`` header, used as it is instead of ``n`` and ``last``.
    """

    id = "end-8b"
    operation = "list tags"
    refused: ClassVar[type[EgressError]] = LinkRefusedError
    stays_home = True
    n: int | None = None
    last: str | None = None
    page: str | None = None

    @property
    def target(self) -> str:
        return self.page or f"/v2/{self.repository}/tags/list" + _query(("n", self.n), ("last", self.last))


@attrs.frozen
class ListReferrers(_OfRepository):
    """List the manifests whose subject is a digest. Spec: distribution-spec, "Listing Referrers".

    Attributes:
        digest: The subject.
        artifact_type: Only referrers of this type, if the registry filters.
        last: Referrer after which the page begins; what the links of our own server say.
        page: Target of a ``Link`` header, used as it is.
    """

    id = "end-12b"
    operation = "list referrers"
    refused: ClassVar[type[EgressError]] = LinkRefusedError
    stays_home = True
    digest: Digest
    artifact_type: str | None = None
    last: Digest | None = None
    page: str | None = None

    @property
    def target(self) -> str:
        query = _query(("artifactType", self.artifact_type), ("last", self.last))
        return self.page or f"/v2/{self.repository}/referrers/{self.digest}{query}"

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return (("Accept", OCI_INDEX),)
