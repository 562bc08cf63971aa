"""Reading a manifest, or the one for a platform out of an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocidist.errors import PlatformUnknownError
from ocidist.model.platform import Platform
from ocidist.model.views import ImageIndex

if TYPE_CHECKING:
    from ocidist.cli.connecting import Place
    from ocidist.model.manifest import Manifest

_MOST_INDEXES: Final = 4
_MOST_SHOWN: Final = 20


async def picked(place: Place, platform: str | None) -> Manifest:
    """Return the manifest that a place names; the image for a platform, if one is asked for and it is an index.

    Raises:
        UsageError: The platform is none.
        PlatformUnknownError: The index has nothing for it.
        OciError: The manifest cannot be read.
    """
    wanted = None if platform is None else Platform.parse(platform)
    manifest = await place.repository.manifests.get(place.wanted)
    for _ in range(_MOST_INDEXES):
        view = None if wanted is None else manifest.parse()
        if wanted is None or not isinstance(view, ImageIndex):
            break
        entry = view.select(wanted)
        if entry is None:
            known = (str(each.platform) for each in view.manifests[:_MOST_SHOWN] if each.platform is not None)
            raise PlatformUnknownError(str(wanted), tuple(known)).locate(reference=place.text)
        manifest = await place.repository.manifests.get(entry.digest)
    return manifest
