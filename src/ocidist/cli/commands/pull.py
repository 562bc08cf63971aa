"""``ocidist pull``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from ocidist._io.fanout import each
from ocidist.cli.commands.push import TITLE
from ocidist.cli.connecting import connected
from ocidist.cli.failure import hinted
from ocidist.cli.files import download, make_directory, place_for, unfit
from ocidist.cli.options import DEFAULTS, Common, Flag
from ocidist.cli.output import descriptor_value
from ocidist.cli.picking import picked
from ocidist.errors import ProtocolError, UsageError
from ocidist.model.mediatype import OCI_EMPTY
from ocidist.model.views import ImageManifest

if TYPE_CHECKING:
    from ocidist.model.descriptor import Descriptor
    from ocidist.model.manifest import Manifest

AT_ONCE: Final = 4
"""Files that are read at once."""


async def pull(
    ref: str,
    /,
    *,
    dir: Path = Path(),  # noqa: A002 -- the name of an option
    force: Flag = False,
    platform: str | None = None,
    common: Common = DEFAULTS,
) -> None:
    """Pull the files of an artifact, and print their names.

    The files are those that have a name in the annotation org.opencontainers.image.title.

    Each appears only once its digest is proven. An interrupted download of a large one goes on where it was.

    Args:
        ref: The artifact: ghcr.io/acme/data:v1; without a tag, latest is meant.
        dir: Directory to put them into; made if it is missing.
        force: Replace files that are there.
        platform: Pull the artifact for this platform (linux/arm64), where there is an index of several.
        common: Options of every verb.
    """
    async with connected(common, ref) as session, session.place(ref) as place:
        manifest = await picked(place, platform)
        layers = _layers(manifest, place.text)
        files = [layer for layer in layers if TITLE in layer.annotations]
        if (reason := unfit(layer.annotations[TITLE] for layer in files)) is not None:
            raise ProtocolError(f"the artifact has {reason}")
        paths = {
            layer.annotations[TITLE]: await anyio.to_thread.run_sync(
                lambda name: place_for(dir, name, force=force), layer.annotations[TITLE]
            )
            for layer in files
        }
        # Only now, when all of them can be written.
        for folder in dict.fromkeys(path.parent for path in paths.values()):
            await anyio.to_thread.run_sync(make_directory, folder)

        async def one(layer: Descriptor) -> None:
            await download(place.repository, layer, paths[layer.annotations[TITLE]])

        await each(files, one, at_once=AT_ONCE)
        left = [layer for layer in layers if TITLE not in layer.annotations and layer.media_type != OCI_EMPTY]
        if left:
            session.voice.say(f"{len(left)} of {len(layers)} layers have no name and were left: ocidist cp copies them")
        value = {
            "reference": f"{place.name}@{manifest.digest}",
            **descriptor_value(manifest.as_referrer()),
            "files": [{"file": str(paths[file.annotations[TITLE]]), **descriptor_value(file)} for file in files],
            "left": [str(layer.digest) for layer in left],
        }
        await session.output.result("\n".join(str(path) for path in paths.values()), value)


def _layers(manifest: Manifest, text: str) -> tuple[Descriptor, ...]:
    view = manifest.parse()
    if isinstance(view, ImageManifest):
        return view.layers
    raise hinted(
        UsageError(f"{text} is {manifest.media_type}, which holds no files itself"),
        "--platform os/architecture chooses from an index",
    )
