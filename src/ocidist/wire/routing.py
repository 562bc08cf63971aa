"""Which endpoint a request means: what a server does with a request line. The inverse of ``Endpoint.to_request()``.

Spec: distribution-spec, "Endpoints".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import parse_qsl, quote

from ocidist.errors import (
    BlobUploadInvalidError,
    DigestInvalidError,
    ErrorInfo,
    InvalidDigestError,
    InvalidReferenceError,
    NameInvalidError,
    NotFoundError,
    PaginationInvalidError,
    TagInvalidError,
    TagUnknownError,
    UnsupportedError,
)
from ocidist.model.digest import Digest
from ocidist.model.reference import RepositoryName, Tag
from ocidist.wire.endpoints import (
    CancelUpload,
    DeleteBlob,
    DeleteManifest,
    Endpoint,
    GetBlob,
    GetManifest,
    ListReferrers,
    ListRepositories,
    ListTags,
    MountBlob,
    PatchUpload,
    Ping,
    PostBlob,
    PutManifest,
    PutUpload,
    StartUpload,
    StatBlob,
    StatManifest,
    UploadStatus,
)
from ocidist.wire.ranges import parse_content_range, parse_int

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_QUERY_FIELDS: Final = 64
"""Query parameters of one request; pushing a manifest with many tags is what takes most."""

_PATH: Final = "/:@!$&'()*+,;=~"  # what a path may have besides letters, digits, "-", "." and "_" (RFC 3986)
_Kind = TypeVar("_Kind")


def parse(method: str, path: str, query: str = "", headers: Mapping[str, str] | None = None) -> Endpoint:
    """Read a request line as one endpoint.

    Args:
        method: HTTP method.
        path: Decoded path.
        query: Query as it was sent, without the question mark.
        headers: Header fields by lower-case name, as far as endpoints define them.

    Raises:
        NotFoundError: The path is none of the API's.
        UnsupportedError: The path exists, not with this method.
        NameInvalidError: The repository name does not follow the grammar.
        DigestInvalidError: The digest does not follow the grammar.
        TagInvalidError: The tag to push does not follow the grammar.
        TagUnknownError: The same where it should exist already: there is no such tag.
        PaginationInvalidError: ``n`` is not a number.
        BlobUploadInvalidError: The Content-Range of a chunk is malformed. A malformed Range of a read is ignored, as
            RFC 9110, section 14.2, allows; so are several ranges at once.
    """
    fields = headers or {}
    if path in {"/v2/", "/v2"}:
        return _one(method, {"GET": Ping, "HEAD": Ping})()
    if path == "/v2/_catalog":
        n, last = _paging(query)
        return _one(method, {"GET": ListRepositories, "HEAD": ListRepositories})(n=n, last=last)
    if not path.startswith("/v2/"):
        raise NotFoundError(404, errors=[ErrorInfo("NOT_FOUND", "this path is not part of the distribution API")])
    segments = path.removeprefix("/v2/").split("/")
    match segments:
        case [*name, "tags", "list"] if name:
            n, last = _paging(query)
            return _one(method, {"GET": ListTags, "HEAD": ListTags})(_name(name), n=n, last=last)
        case [*name, "manifests", reference] if name:
            return _manifest(method, _name(name), reference, query, fields)
        case [*name, "referrers", digest] if name:
            return _referrers(method, _name(name), _digest(digest), query)
        case [*name, "blobs", "uploads", session] if name and session:
            return _session(method, _name(name), quote(path, safe=_PATH), query, fields)
        case [*name, "blobs", "uploads", ""] | [*name, "blobs", "uploads"] if name:
            return _start(method, _name(name), query)
        case [*name, "blobs", digest] if name:
            return _blob(method, _name(name), _digest(digest), fields)
    raise NotFoundError(404, errors=[ErrorInfo("NOT_FOUND", "this path is not part of the distribution API")])


def _one(method: str, kinds: Mapping[str, _Kind]) -> _Kind:
    if method not in kinds:
        raise _not_offered(*kinds)
    return kinds[method]


def _not_offered(*offered: str) -> UnsupportedError:
    return UnsupportedError(405, errors=[ErrorInfo("UNSUPPORTED", f"use {' or '.join(sorted(offered))}")])


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
    except ValueError:
        message = f"at most {MAX_QUERY_FIELDS} query parameters are read"
        raise UnsupportedError(414, errors=[ErrorInfo("UNSUPPORTED", message)]) from None


def _name(parts: list[str]) -> RepositoryName:
    try:
        return RepositoryName("/".join(parts))
    except InvalidReferenceError as error:
        raise NameInvalidError(400, errors=[ErrorInfo("NAME_INVALID", error.message)]) from None


def _digest(text: str) -> Digest:
    try:
        return Digest(text)
    except InvalidDigestError as error:
        raise DigestInvalidError(400, errors=[ErrorInfo("DIGEST_INVALID", error.message)]) from None


def _tag_or_digest(text: str, *, exists: bool) -> Tag | Digest:
    if ":" in text:
        return _digest(text)
    try:
        return _tag(text)
    except TagInvalidError as error:
        if not exists:
            raise
        # Whatever can be no tag is not there, and this is how the specification says so.
        raise TagUnknownError(404, errors=[ErrorInfo("MANIFEST_UNKNOWN", error.errors[0].message)]) from None


def _tag(text: str) -> Tag:
    try:
        return Tag(text)
    except InvalidReferenceError as error:
        raise TagInvalidError(400, errors=[ErrorInfo("TAG_INVALID", error.message)]) from None


def _paging(query: str) -> tuple[int | None, str | None]:
    fields = dict(_pairs(query))
    if "n" not in fields:
        return None, fields.get("last")
    n = parse_int(fields["n"])
    if n is None:
        raise PaginationInvalidError(400, errors=[ErrorInfo("PAGINATION_NUMBER_INVALID", "n must be a whole number")])
    return n, fields.get("last")


def _referrers(method: str, name: RepositoryName, digest: Digest, query: str) -> Endpoint:
    endpoint = _one(method, {"GET": ListReferrers, "HEAD": ListReferrers})
    fields = dict(_pairs(query))
    last = _digest(fields["last"]) if fields.get("last") else None
    # A media type has no blanks: this was a plus sign that the client did not escape.
    wanted = fields.get("artifactType", "").replace(" ", "+")
    return endpoint(name, digest, artifact_type=wanted or None, last=last)


def _manifest(method: str, name: RepositoryName, text: str, query: str, headers: Mapping[str, str]) -> Endpoint:
    reference = _tag_or_digest(text, exists=method != "PUT")
    accept = headers.get("accept", "")
    match method:
        case "GET":
            return GetManifest(name, reference, accept=accept, if_none_match=_entity(headers.get("if-none-match")))
        case "HEAD":
            return StatManifest(name, reference, accept=accept)
        case "PUT":
            tags = tuple(_tag(value) for key, value in _pairs(query) if key == "tag")
            kind = headers.get("content-type", "")
            return PutManifest(name, reference, kind, tags=tags, if_match=headers.get("if-match"))
        case "DELETE":
            return DeleteManifest(name, reference)
    raise _not_offered("DELETE", "GET", "HEAD", "PUT")


def _entity(value: str | None) -> Digest | None:
    if value is None:
        return None
    try:
        return Digest(value.strip().removeprefix("W/").strip('"'))
    except InvalidDigestError:
        return None


def _start(method: str, name: RepositoryName, query: str) -> Endpoint:
    _one(method, {"POST": StartUpload})
    fields = dict(_pairs(query))
    if "mount" in fields:
        source = _name(fields["from"].split("/")) if fields.get("from") else None
        return MountBlob(name, _digest(fields["mount"]), source)
    if "digest" in fields:
        return PostBlob(name, _digest(fields["digest"]))
    return StartUpload(name, fields.get("digest-algorithm") or None)


def _session(method: str, name: RepositoryName, path: str, query: str, headers: Mapping[str, str]) -> Endpoint:
    location = f"{path}?{query}" if query else path
    match method:
        case "PATCH":
            return PatchUpload(name, location, *_chunk(headers))
        case "PUT":
            digest = dict(_pairs(query)).get("digest", "")
            rest = "&".join(part for part in query.split("&") if part and part.partition("=")[0] != "digest")
            return PutUpload(name, f"{path}?{rest}" if rest else path, _digest(digest), *_chunk(headers))
        case "GET" | "HEAD":
            return UploadStatus(name, location)
        case "DELETE":
            return CancelUpload(name, location)
    raise _not_offered("DELETE", "GET", "HEAD", "PATCH", "PUT")


def _chunk(headers: Mapping[str, str]) -> tuple[int | None, int | None]:
    text = headers.get("content-range")
    if text is None:
        return None, None
    found = parse_content_range(text)
    if found is None:
        message = "the Content-Range of a chunk is <first>-<last>"
        raise BlobUploadInvalidError(400, errors=[ErrorInfo("BLOB_UPLOAD_INVALID", message)])
    return found.start, found.stop


def _blob(method: str, name: RepositoryName, digest: Digest, headers: Mapping[str, str]) -> Endpoint:
    match method:
        case "GET":
            return GetBlob(name, digest, *_range(headers.get("range", "")))
        case "HEAD":
            return StatBlob(name, digest)
        case "DELETE":
            return DeleteBlob(name, digest)
    raise _not_offered("DELETE", "GET", "HEAD")


def _range(text: str) -> tuple[int, int | None, int | None]:
    """Return offset, length and suffix of a Range header; those of the whole body if it is to be ignored."""
    unit, _, span = text.partition("=")
    first_text, dash, last_text = span.strip(" \t").partition("-")
    first, last = parse_int(first_text), parse_int(last_text)
    if unit.strip(" \t").lower() == "bytes" and dash:
        if first is not None and not last_text:
            return first, None, None
        if first is not None and last is not None:
            # One that ends before it begins has no bytes: it is answered with 416, as other registries do.
            return first, max(last + 1 - first, 0), None
        if last is not None and not first_text:
            return 0, None, last
    return 0, None, None
