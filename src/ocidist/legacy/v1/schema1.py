"""Between version 1 and schema 1, the manifests that followed it: the same images, listed in one document.

Schema 1 names layers by digest and keeps the image JSON of each. So what comes of version 1 has to be hashed first, and
what goes to it needs its layers read from where the manifest is.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ocidist.errors import UsageError
from ocidist.legacy.v1.models import ImageJson
from ocidist.model.digest import Digest
from ocidist.model.manifest import Manifest
from ocidist.model.mediatype import DOCKER_SCHEMA1
from ocidist.model.reference import RepositoryName, Tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocidist.model.schema1 import Schema1View


def from_schema1(view: Schema1View) -> tuple[tuple[ImageJson, Digest], ...]:
    """Return the images of a schema 1 manifest, the base first, each with the digest of its layer.

    That is the order in which version 1 wants them. Sizes are not known.

    Raises:
        MalformedManifestError: The manifest's images are no chain; see ``Schema1View.v1_layers``.
    """
    return tuple((ImageJson(layer.image.text.encode()), layer.blob_sum) for layer in view.v1_layers)


def to_schema1(repository: str, tag: str, images: Sequence[tuple[ImageJson, str]]) -> Manifest:
    """Return a schema 1 manifest, unsigned, of images of version 1.

    Registries do not take it, nor does ocidist push it; it is for programs that still read the format.

    Args:
        repository: The repository it is for.
        tag: The tag it is for.
        images: The images, the base first, each with the digest of its layer.

    Raises:
        UsageError: There is no image.
        InvalidReferenceError: A name does not follow the grammar.
        InvalidDigestError: A digest is none.
        MalformedManifestError: An image JSON is none, or the images are no chain.
    """
    if not images:
        raise UsageError("a schema 1 manifest has at least one image")
    newest_first = images[::-1]
    top = newest_first[0][0].parse()
    document = {
        "schemaVersion": 1,
        "name": RepositoryName(repository),
        "tag": Tag(tag),
        "architecture": top.architecture or "amd64",
        "fsLayers": [{"blobSum": Digest(digest)} for _, digest in newest_first],
        "history": [{"v1Compatibility": image.parse().text} for image, _ in newest_first],
    }
    made = Manifest.of(json.dumps(document, indent=3).encode(), DOCKER_SCHEMA1)
    # What was put together wrongly is not handed out.
    made.parse().v1_layers  # type: ignore[union-attr]  # noqa: B018 -- reading it checks the chain; it is schema 1
    return made
