"""What an image is and what it runs on, found out without pulling it.

Spec: Docker Engine API v1.44, "Get image information from the registry"; image-spec, "Image Configuration".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocidist.engine.inspection import DistributionInspect
from ocidist.errors import ProtocolError
from ocidist.model import strictjson
from ocidist.model.manifest import ArtifactManifest, ImageIndex, ImageManifest, media_types
from ocidist.model.mediatype import DOCKER_CONFIG, OCI_CONFIG
from ocidist.model.platform import Platform
from ocidist.remote._targets import tag_or_digest

if TYPE_CHECKING:
    from ocidist.model.digest import Digest
    from ocidist.model.reference import Tag
    from ocidist.remote.blobs import Blobs
    from ocidist.remote.manifests import Manifests

_CONFIGS: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})
# Schema 1 is older than images for anything else.
_SCHEMA1_OS: Final = "linux"


async def inspect(manifests: Manifests, blobs: Blobs, reference: Tag | Digest | str) -> DistributionInspect:
    """Describe an image; see ``Repository.inspect``."""
    manifest = await manifests.get(tag_or_digest(reference))
    view = manifest.parse() if manifest.media_type in media_types() else None
    platforms: tuple[Platform, ...] = ()
    match view:
        case ImageIndex():
            platforms = tuple(entry.platform for entry in view.manifests if entry.platform is not None)
        case ImageManifest():
            if view.config.media_type in _CONFIGS:
                platforms = platforms_of(await blobs.get(view.config))
        case None | ArtifactManifest():
            pass
        case _:
            platforms = (Platform(_SCHEMA1_OS, view.architecture),) if view.architecture else ()
    return DistributionInspect(manifest.descriptor, platforms)


def platforms_of(config: bytes) -> tuple[Platform, ...]:
    """Return what an image configuration says the image runs on; nothing where it does not say it."""
    try:
        found = strictjson.loads(config, what="image configuration")
    except ProtocolError:
        return ()
    if not isinstance(found, dict):
        return ()
    os, architecture, variant, version = (
        value if isinstance(value := found.get(name), str) else ""
        for name in ("os", "architecture", "variant", "os.version")
    )
    features = found.get("os.features")
    texts = tuple(each for each in features if isinstance(each, str)) if isinstance(features, list) else ()
    if not (os or architecture):
        return ()
    return (Platform(os, architecture, variant or None, version or None, texts),)
