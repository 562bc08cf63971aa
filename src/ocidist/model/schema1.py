"""Schema 1, the manifest format before content addressing: recognised and readable, never built.

Its digest is that of the signed payload, not of the body; layers are named without their sizes.

Spec: Docker, "Image manifest version 2, schema 1" (deprecated).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Final, Self

import attrs

from ocidist.errors import MalformedManifestError, ProtocolError, UsageError
from ocidist.model import strictjson
from ocidist.model.digest import Digest
from ocidist.model.fields import unknown_fields

_ID: Final = re.compile("[0-9a-f]{64}", re.ASCII)
_TEXTS: Final = ("created", "author", "comment", "architecture", "os")


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
class V1Image:
    """What the image JSON of one layer says; the oldest image format there is.

    Attributes:
        id: The image's identifier, 64 hexadecimal digits that nothing can be verified with.
        parent: Identifier of the image below, or None for the base.
        created: When it was made, as it was written.
        author: Who made it.
        comment: What they said of it.
        architecture: Processor, as Go names it.
        os: Operating system, as Go names it.
        created_by: The command that made the layer.
        empty: Whether the layer changes no file, so that other formats leave it out.
        text: The JSON itself.
    """

    id: str
    parent: str | None = None
    created: str = ""
    author: str = ""
    comment: str = ""
    architecture: str = ""
    os: str = ""
    created_by: tuple[str, ...] = ()
    empty: bool = False
    text: str = attrs.field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an image JSON.

        Raises:
            MalformedManifestError: It is none.
        """
        try:
            found = strictjson.loads(text, what="image JSON", unique_keys=True)
        except ProtocolError as error:
            raise MalformedManifestError(error.message) from None
        if not isinstance(found, dict) or not is_image_id(found.get("id")):
            raise MalformedManifestError("an image JSON has an id of 64 hexadecimal digits")
        parent = found.get("parent") or None
        if parent is not None and not is_image_id(parent):
            raise MalformedManifestError("the parent in an image JSON is no id")
        texts = {name: found.get(name) or "" for name in _TEXTS}
        made = found.get("container_config")
        command = made.get("Cmd") if isinstance(made, dict) else None
        command = [command] if isinstance(command, str) else command or []
        if not all(
            isinstance(each, str) for each in (*texts.values(), *(command if isinstance(command, list) else [0]))
        ):
            raise MalformedManifestError("a field of an image JSON is of another type")
        empty = found.get("throwaway") is True
        return cls(id=found["id"], parent=parent, created_by=tuple(command), empty=empty, text=text, **texts)


@attrs.frozen
class V1Layer:
    """A layer of a schema 1 manifest with the image it makes.

    Attributes:
        blob_sum: Digest of the layer.
        image: The image that ends with it.
    """

    blob_sum: Digest
    image: V1Image


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

    @property
    def v1_layers(self) -> tuple[V1Layer, ...]:
        """The layers with the images they make, the base first, as newer formats order them.

        Raises:
            MalformedManifestError: There are not as many layers as images, an image JSON cannot be read, one is not the
                parent of the next, or one is there again further on.
        """
        if len(self.fs_layers) != len(self.history):
            raise MalformedManifestError("a schema 1 manifest has as many layers as images")
        found: list[V1Layer] = []
        for layer, entry in zip(reversed(self.fs_layers), reversed(self.history), strict=True):
            image = V1Image.parse(entry.v1_compatibility)
            below = found[-1].image.id if found else None
            if image.id == below:
                # Some of that time were written down twice; Docker takes the first, too.
                continue
            if image.parent != below:
                raise MalformedManifestError("the images of a schema 1 manifest are not each the next one's parent")
            found.append(V1Layer(layer.blob_sum, image))
        if len({layer.image.id for layer in found}) != len(found):
            raise MalformedManifestError("the images of a schema 1 manifest go in a circle")
        return tuple(found)


def is_image_id(value: object) -> bool:
    """Return whether a value is an identifier of an image of those times."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


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
    except (ProtocolError, ValueError) as error:
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
