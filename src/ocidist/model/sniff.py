"""Decide what a manifest is, from what the header, the body and its shape say: all three must agree.

A body that is an image to one reader and an index to another has been used to smuggle content past checks
(CVE-2021-41190), so doubt is an error here.

Spec: image-spec, "Media Types", section "Media Type Conflicts".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocidist.errors import MalformedManifestError, ProtocolError, UsageError
from ocidist.model import strictjson
from ocidist.model.descriptor import check_media_type
from ocidist.model.mediatype import (
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1,
    DOCKER_SCHEMA1_SIGNED,
    IMAGE_TYPES,
    INDEX_TYPES,
    OCI_ARTIFACT,
    OCI_INDEX,
    OCI_MANIFEST,
    OCTET_STREAM,
    SCHEMA1_TYPES,
    bare,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

GENERIC_TYPES: Final = frozenset({"", "application/json", "text/plain", OCTET_STREAM, "binary/octet-stream"})
"""Content types that say nothing about a manifest: servers and proxies send them for lack of a better one."""

# The top-level fields that tell the formats apart, and the formats that may have them.
_TELLING = {
    "config": IMAGE_TYPES,
    "layers": IMAGE_TYPES,
    "manifests": INDEX_TYPES,
    "fsLayers": SCHEMA1_TYPES,
    "history": SCHEMA1_TYPES,
    "blobs": (OCI_ARTIFACT,),
}
_FAMILIES = (IMAGE_TYPES, INDEX_TYPES, SCHEMA1_TYPES, (OCI_ARTIFACT,))
# What nearly all are called, in need of no further look.
_PLAIN: Final = frozenset(media_type for family in _FAMILIES for media_type in family)
_NAMES = frozenset({*_TELLING, "mediaType", "schemaVersion", "subject", "artifactType"})
_FOLDED = {name.casefold(): name for name in _NAMES}
_SHOWN = 100


def sniff(data: bytes, content_type: str | None) -> str:
    """Return the media type of a manifest.

    A generic or absent content type leaves the decision to the body's ``mediaType``, and where that is absent too, to
    the fields it has. Other media types than those known here are taken as they are named.

    Args:
        data: The manifest.
        content_type: Value of the ``Content-Type`` header, or None.

    Raises:
        MalformedManifestError: The manifest is not strict JSON, or header, ``mediaType`` and fields do not agree.
    """
    body = read_object(data)
    named = _named(content_type)
    stated = _stated(body)
    if named and stated and named != stated:
        msg = f"the manifest came as {named} but calls itself {stated}"
        raise MalformedManifestError(msg)
    family = _family(body)
    decided = named or stated or _by_shape(body, family)
    if family is not None and decided not in family and decided in _PLAIN:
        msg = f"the manifest came as {decided} but has the fields of {' or '.join(family)}"
        raise MalformedManifestError(msg)
    # That one may be made of nothing.
    if family is None and decided in _PLAIN and decided != OCI_ARTIFACT:
        msg = f"the manifest came as {decided} but has none of its fields"
        raise MalformedManifestError(msg)
    return decided


def read_object(data: bytes) -> dict[str, object]:
    """Read a manifest's JSON object.

    Raises:
        MalformedManifestError: It is not strict JSON, names a key twice, or is not an object.
    """
    try:
        body = strictjson.loads(data, what="manifest", unique_keys=True)
    except ProtocolError as error:
        raise MalformedManifestError(error.message) from error
    if isinstance(body, dict):
        return body
    msg = "the manifest is not a JSON object"
    raise MalformedManifestError(msg)


def _named(content_type: str | None) -> str:
    if content_type in _PLAIN:
        return content_type
    named = bare(content_type or "")
    return "" if named in GENERIC_TYPES else _checked(named, "content type")


def _stated(body: Mapping[str, object]) -> str:
    stated = body.get("mediaType")
    if stated is None or stated == "":
        return ""
    if isinstance(stated, str):
        return stated if stated in _PLAIN else _checked(stated, "mediaType")
    msg = "the manifest's mediaType is not a string"
    raise MalformedManifestError(msg)


def _checked(value: str, what: str) -> str:
    try:
        found = check_media_type(value)
    except UsageError:
        found = ""
    # A manifest is never text/html, whatever a captive portal says.
    if found.startswith("application/"):
        return found
    msg = f"{value[:_SHOWN]!r} is not the {what} of a manifest"
    raise MalformedManifestError(msg)


def _family(body: Mapping[str, object]) -> tuple[str, ...] | None:
    for key in body.keys() - _NAMES:
        name = _FOLDED.get(key.casefold())
        if name is not None:
            msg = f"the manifest's field {key!r} is {name!r} to some readers only"
            raise MalformedManifestError(msg)
    telling = _TELLING.keys() & body
    families = {_TELLING[key] for key in telling}
    if len(families) > 1:
        msg = f"the manifest has the fields of several formats: {', '.join(sorted(telling))}"
        raise MalformedManifestError(msg)
    return families.pop() if families else None


def _by_shape(body: Mapping[str, object], family: tuple[str, ...] | None) -> str:
    if family == IMAGE_TYPES:
        return DOCKER_MANIFEST if _media_type_of(body.get("config")) == DOCKER_CONFIG else OCI_MANIFEST
    if family == INDEX_TYPES:
        entries = body.get("manifests")
        first = entries[0] if isinstance(entries, list) and entries else None
        return DOCKER_LIST if _media_type_of(first) in {DOCKER_MANIFEST, DOCKER_LIST} else OCI_INDEX
    if family == SCHEMA1_TYPES:
        return DOCKER_SCHEMA1_SIGNED if "signatures" in body else DOCKER_SCHEMA1
    if family is not None:
        return OCI_ARTIFACT
    msg = "the document is JSON but not a manifest: it has neither layers nor manifests"
    raise MalformedManifestError(msg)


def _media_type_of(descriptor: object) -> object:
    return descriptor.get("mediaType") if isinstance(descriptor, dict) else None
