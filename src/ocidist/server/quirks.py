"""What other registries do differently, as switches: for suites that want to know how a client takes it.

Each switch reproduces what a real registry was seen to do; without any, the registry does as the specification says.
``PRESETS`` has those of some registries together. Nothing here belongs into a registry that serves people.
"""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import attrs

from ocidist.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

MIB: Final = 1024 * 1024


class LocationStyle(enum.Enum):
    """How a Location is written."""

    RELATIVE = "relative"
    ABSOLUTE = "absolute"
    """With scheme and host, as docker-registry does."""
    ABSOLUTE_HTTP = "absolute, and http behind TLS"


class UploadRange(enum.Enum):
    """What Range says about the bytes of an upload session."""

    EXACT = "exact"
    MISSING = "missing"
    """There is none (Google, olareg at the beginning)."""
    STALE = "0-0"
    """It is ``0-0``, whatever has arrived (ECR)."""
    OFF_BY_ONE = "off by one"
    """It names the number of bytes instead of the last one."""
    PREFIXED = "with bytes="
    """It begins with ``bytes=``."""


class Chunks(enum.Enum):
    """What becomes of blobs in several PATCH requests."""

    ANY = "any"
    ONE = "one"
    """A second one in a session is refused with 416."""
    NONE = "none"
    """They are refused with 405: a blob comes in one PUT."""


class Mounts(enum.Enum):
    """What becomes of a mount."""

    WORK = "work"
    DECLINED = "declined"
    """It opens an upload session (crane, ECR for what no manifest names)."""
    NAMED_ONLY = "named only"
    """It fails with 404 unless it names a source (Quay)."""
    REFUSED = "refused"
    """It fails with 404 if the blob is not there, instead of opening a session (ocimem)."""


class Deletion(enum.Enum):
    """What becomes of a request to delete."""

    WORKS = "works"
    UNSUPPORTED = "405"
    """It is refused with 405 UNSUPPORTED."""
    DIGEST_INVALID = "400"
    """It is refused with 400 DIGEST_INVALID, as docker-registry 2 does with a tag."""


class ReferrersApi(enum.Enum):
    """What becomes of the referrers API."""

    WORKS = "works"
    UNFILTERED = "unfiltered"
    """``artifactType`` is ignored, and not listed in OCI-Filters-Applied."""
    MISSING = "404"
    """It answers 404 with a text, and no push says OCI-Subject (docker-registry)."""
    UNACCEPTABLE = "406"
    """The same with 406 (Artifactory)."""
    FORBIDDEN = "401"
    """The same with 401 and without a challenge (Harbor)."""
    WEB_PAGE = "web page"
    """The same with 200 and a web page."""


class LinkStyle(enum.Enum):
    """How the next page of a list is named."""

    STANDARD = "standard"
    UNQUOTED = "unquoted"
    """``rel=next`` (olareg)."""
    DENSE = "dense"
    """No blank before ``rel`` (ocimem)."""
    WITHOUT_REL = "without rel"
    BARE = "bare"
    """No angle brackets either (old Quay)."""
    ABSOLUTE = "absolute"
    ABSOLUTE_HTTP = "absolute, and http behind TLS"
    MISSING = "missing"
    """The list is cut, and nobody says so (crane)."""


class DigestHeader(enum.Enum):
    """What Docker-Content-Digest says."""

    STANDARD = "standard"
    MISSING = "missing"
    """There is none (ECR, Nexus, proxies)."""
    UPPER_CASE = "upper case"
    """The hexadecimal digits are upper-case."""
    SHA256 = "sha256"
    """A blob pushed as sha512 is answered as sha256 (docker-registry)."""
    WRONG = "wrong"
    """It is the digest of something else."""


class ChallengeStyle(enum.Enum):
    """How somebody is asked who they are."""

    STANDARD = "standard"
    MISSING = "missing"
    """401 without a challenge."""
    ON_PING_ONLY = "on ping only"
    """There is a challenge at ``/v2/`` and nowhere else (gcr.io)."""
    HIDDEN = "hidden"
    """404 in place of 401 (GHCR for what is private)."""
    NEGOTIATE_FIRST = "negotiate first"
    """Another scheme is offered before."""
    SHUFFLED = "shuffled"
    """The actions of a scope come in another order from one answer to the next (docker-registry)."""
    SCOPED_BASIC = "basic with scope"
    """A challenge for a password names a scope as well."""
    PLACEHOLDER = "placeholder"
    """``/v2/`` names a scope that means nothing (GHCR)."""


class ErrorBody(enum.Enum):
    """What the body of an error is."""

    STANDARD = "standard"
    EMPTY = "empty"
    HTML = "html"
    TEXT = "text"
    SINGLE = "single"
    """One object with a message, not a list."""
    NULL = "null"
    """``{"errors": null}``."""
    LOWER_CASE = "lower case"
    """The codes are lower-case."""


class ManifestType(enum.Enum):
    """Which manifests are sent, and as what."""

    AS_PUSHED = "as pushed"
    """Whatever the client accepts."""
    ACCEPTED_ONLY = "accepted only"
    """What the client does not list in Accept is not found; ``*/*`` lists nothing (docker-registry)."""
    RELABELLED = "relabelled"
    """What says no ``mediaType`` itself is sent as ``text/plain`` (caches)."""
    JSON = "json"
    """Everything is ``application/json``."""
    MISSING = "missing"
    """Nothing says what it is."""


def _positive(_: object, attribute: attrs.Attribute[int | None], value: int | None) -> None:
    if value is not None and value <= 0:
        raise UsageError(f"{attribute.name} must be positive")


@attrs.frozen(kw_only=True)
class Quirks:
    """How a registry departs from the specification.

    Attributes:
        location: How a Location is written.
        created_location: Whether 201 has a Location at all (crane: no).
        upload_range: What Range says after a chunk, and about the status of a session.
        conflict_range: Whether 416 says how far the session is (docker-registry 3: no).
        patch_status: Status of a chunk that was taken: 202, 201 (ECR) or 204.
        put_status: Status of a closed upload: 201, 202 or 204.
        upload_state: Whether each answer changes the Location and ends the one before: that is 404 then
            (docker-registry 2).
        appends: Whether a chunk's Content-Range is ignored (docker-registry 2).
        chunks: What becomes of chunks.
        min_chunk: Bytes that every chunk but the last must have; the one after a smaller one is refused with 416 (ECR:
            5 MiB).
        max_chunk: Bytes a chunk may have; a larger one is refused with 416 (GHCR: 4 MiB).
        max_body: Bytes any body may have; a larger one is refused with 413 (proxies).
        single_post: Whether a blob can come with the POST; otherwise that opens a session (docker-registry).
        upload_status: Whether a session says how far it is; otherwise 400 (crane).
        cancel: Whether a session can be ended; otherwise 405 (ocimem).
        mounts: What becomes of a mount.
        delete_manifest: What becomes of deleting a manifest by its digest.
        delete_tag: What becomes of deleting a tag.
        delete_blob: What becomes of deleting a blob.
        redirect_blobs: Origin that GET and HEAD of blobs are redirected to, or None; the path stays the same.
        redirect_status: Status of that redirect: 302, 303, 307 or 308.
        ranges: Whether Range is honoured; otherwise the whole blob is sent.
        lying_416: Whether 416 says the blob's size as its length and then ends early (docker-registry 2).
        head_length: Whether HEAD says Content-Length (distribution 3 behind some stores: no).
        digest_header: What Docker-Content-Digest says.
        manifest_type: Which manifests are sent, and as what.
        schema1: Whether a Docker image is sent as a schema 1 manifest, made for the occasion and unsigned, to who does
            not list its type in Accept (docker-registry 2, which signs it).
        referrers: What becomes of the referrers API.
        multi_tag: Whether one push can set several tags (most registries: no).
        paginated: Whether ``n`` and ``last`` of tag lists are heeded and the list is sorted (docker-registry 2: no).
        max_n: Most entries a page may be asked for; more is refused with 400 (docker-registry 3, ECR).
        null_lists: Whether an empty list is ``null``.
        link: How the next page is named.
        catalog: Whether repositories are listed; otherwise 404.
        challenge: How somebody is asked who they are.
        ping_status: Status of ``/v2/`` for who is let in; registries answer 404 or 403 though the rest works.
        errors: What the body of an error is.
        warning: Text of a Warning header that comes with every answer, or None.
        cookie: Value of a cookie that comes with every answer, or None (Harbor).
        quota: Manifests that can be read before 429, or None (Docker Hub). HEAD is free.
        retry_after: What Retry-After says then, in seconds; None says nothing.

    Raises:
        UsageError: A number or a status makes no sense.
    """

    location: LocationStyle = LocationStyle.RELATIVE
    created_location: bool = True
    upload_range: UploadRange = UploadRange.EXACT
    conflict_range: bool = True
    patch_status: int = attrs.field(default=202)
    put_status: int = attrs.field(default=201)
    upload_state: bool = False
    appends: bool = False
    chunks: Chunks = Chunks.ANY
    min_chunk: int | None = attrs.field(default=None, validator=_positive)
    max_chunk: int | None = attrs.field(default=None, validator=_positive)
    max_body: int | None = attrs.field(default=None, validator=_positive)
    single_post: bool = True
    upload_status: bool = True
    cancel: bool = True
    mounts: Mounts = Mounts.WORK
    delete_manifest: Deletion = Deletion.WORKS
    delete_tag: Deletion = Deletion.WORKS
    delete_blob: Deletion = Deletion.WORKS
    redirect_blobs: str | None = None
    redirect_status: int = 307
    ranges: bool = True
    lying_416: bool = False
    head_length: bool = True
    digest_header: DigestHeader = DigestHeader.STANDARD
    manifest_type: ManifestType = ManifestType.AS_PUSHED
    schema1: bool = False
    referrers: ReferrersApi = ReferrersApi.WORKS
    multi_tag: bool = True
    paginated: bool = True
    max_n: int | None = attrs.field(default=None, validator=_positive)
    null_lists: bool = False
    link: LinkStyle = LinkStyle.STANDARD
    catalog: bool = True
    challenge: ChallengeStyle = ChallengeStyle.STANDARD
    ping_status: int = 200
    errors: ErrorBody = ErrorBody.STANDARD
    warning: str | None = None
    cookie: str | None = None
    quota: int | None = None
    retry_after: float | None = None

    def __attrs_post_init__(self) -> None:
        """Check the statuses."""
        known = {
            "patch_status": {201, 202, 204},
            "put_status": {201, 202, 204},
            "redirect_status": {302, 303, 307, 308},
            "ping_status": {200, 401, 403, 404},
        }
        for name, statuses in known.items():
            if getattr(self, name) not in statuses:
                raise UsageError(f"{name} is one of {', '.join(map(str, sorted(statuses)))}")


_DOCKER_REGISTRY: Final = Quirks(
    location=LocationStyle.ABSOLUTE,
    single_post=False,
    digest_header=DigestHeader.SHA256,
    manifest_type=ManifestType.ACCEPTED_ONLY,
    referrers=ReferrersApi.MISSING,
    multi_tag=False,
    challenge=ChallengeStyle.SHUFFLED,
)

PRESETS: Final[Mapping[str, Quirks]] = MappingProxyType(
    {
        "docker-registry-2": attrs.evolve(
            _DOCKER_REGISTRY,
            upload_state=True,
            appends=True,
            delete_tag=Deletion.DIGEST_INVALID,
            lying_416=True,
            schema1=True,
            paginated=False,
        ),
        "docker-registry-3": attrs.evolve(_DOCKER_REGISTRY, conflict_range=False, max_n=1000),
        "olareg": Quirks(multi_tag=False, link=LinkStyle.UNQUOTED),
        "ocimem": Quirks(mounts=Mounts.REFUSED, cancel=False, link=LinkStyle.DENSE, multi_tag=False),
        "crane": Quirks(
            created_location=False,
            upload_status=False,
            mounts=Mounts.DECLINED,
            referrers=ReferrersApi.MISSING,
            multi_tag=False,
            link=LinkStyle.MISSING,
        ),
        "ecr": Quirks(
            location=LocationStyle.ABSOLUTE,
            upload_range=UploadRange.STALE,
            patch_status=201,
            min_chunk=5 * MIB,
            mounts=Mounts.DECLINED,
            single_post=False,
            digest_header=DigestHeader.MISSING,
            multi_tag=False,
            max_n=1000,
            catalog=False,
        ),
        "ghcr": Quirks(
            max_chunk=4 * MIB,
            single_post=False,
            referrers=ReferrersApi.MISSING,
            multi_tag=False,
            challenge=ChallengeStyle.PLACEHOLDER,
            catalog=False,
        ),
        "artifact-registry": Quirks(
            chunks=Chunks.ONE,
            upload_range=UploadRange.MISSING,
            single_post=False,
            paginated=False,
            multi_tag=False,
        ),
    }
)
"""What some registries do, by name. Each of them differs in more than that, and from version to version."""
