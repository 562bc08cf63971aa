"""Schema 1, the manifest format before content addressing: recognised and readable, never built.

Its digest is that of the signed payload, not of the body; layers are named without their sizes.

Spec: Docker, "Image manifest version 2, schema 1" (deprecated).
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from ocidist.errors import UsageError
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
