"""Schema 1, the manifest format before content addressing: recognised and readable, never built.

Its digest is that of the signed payload, not of the body; layers are named without their sizes.

Spec: Docker, "Image manifest version 2, schema 1" (deprecated).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import attrs

from ocidist.errors import MalformedManifestError, ProtocolError, UsageError
from ocidist.model import strictjson
from ocidist.model.digest import Digest
from ocidist.model.fields import unknown_fields


def _schema_version(value: int) -> int:
    if value == 1:
        return value
    msg = "schemaVersion is not 1"
    raise UsageError(msg)


@attrs.frozen
class FsLayer:
    """One layer of a schema 1 manifest.

    Attributes:
        blob_sum: Digest of the layer.
        extra: Fields this version does not know, as they were read.
    """

    blob_sum: Digest
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=unknown_fields, hash=False)


@attrs.frozen
class V1History:
    """The image JSON that belongs to one layer of a schema 1 manifest.

    Attributes:
        v1_compatibility: JSON text, as it was read.
        extra: Fields this version does not know, as they were read.
    """

    v1_compatibility: str
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=unknown_fields, hash=False)


@attrs.frozen(kw_only=True)
class Schema1View:
    """What a schema 1 manifest says; signatures are left in ``extra`` and never checked.

    Attributes:
        schema_version: Always 1.
        name: Repository it was made for.
        tag: Tag it was made for.
        architecture: Processor, as Go names it.
        fs_layers: Layers, the newest first.
        history: Image JSON of each layer, the newest first.
        extra: Fields this version does not know, as they were read.
    """

    schema_version: int = attrs.field(converter=_schema_version)
    name: str = ""
    tag: str = ""
    architecture: str = ""
    fs_layers: tuple[FsLayer, ...] = ()
    history: tuple[V1History, ...] = ()
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=unknown_fields, hash=False)


def signed_payload(data: bytes) -> bytes:
    """Return the bytes that a signed schema 1 manifest is about, and that its digest is of.

    A signature names how long the payload's beginning is in the manifest, and holds its end; what stands between is the
    signatures. None of them is checked: it is the digest that proves the payload.

    Raises:
        MalformedManifestError: There is no signature, signatures disagree, or the manifest says something else than its
            payload.

    Spec: Docker, "Image manifest version 2, schema 1", "Signed Manifests".
    """
    try:
        body = strictjson.loads(data, what="manifest", unique_keys=True)
        if not isinstance(body, dict) or not isinstance(signatures := body.pop("signatures", None), list):
            raise MalformedManifestError("a signed manifest has signatures")
        payloads = {_payload(data, signature) for signature in signatures}
        if len(payloads) != 1:
            raise MalformedManifestError("the signatures of the manifest are not all of one payload")
        (payload,) = payloads
        if strictjson.loads(payload, what="manifest", unique_keys=True) != body:
            raise MalformedManifestError("the manifest says something else than what was signed")
    except (ProtocolError, binascii.Error, UnicodeError) as error:
        raise MalformedManifestError("the signatures of the manifest cannot be read") from error
    return payload


def _payload(data: bytes, signature: object) -> bytes:
    protected = signature.get("protected") if isinstance(signature, dict) else None
    if not isinstance(protected, str):
        raise MalformedManifestError("a signature of the manifest protects nothing")
    header = strictjson.loads(_decoded(protected), what="signature", unique_keys=True)
    length = header.get("formatLength") if isinstance(header, dict) else None
    tail = header.get("formatTail") if isinstance(header, dict) else None
    if type(length) is not int or not 0 <= length <= len(data) or not isinstance(tail, str):
        raise MalformedManifestError("a signature of the manifest does not say what it is of")
    return data[:length] + _decoded(tail)


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
