"""``ocidist resolve``."""

from __future__ import annotations

from ocidist.cli.connecting import connected
from ocidist.cli.options import DEFAULTS, Common
from ocidist.cli.output import descriptor_value
from ocidist.cli.picking import picked


async def resolve(ref: str, /, *, platform: str | None = None, common: Common = DEFAULTS) -> None:
    """Print the digest that a tag names.

    Args:
        ref: Manifest (ghcr.io/acme/app:v1); without a tag, latest is meant.
        platform: Resolve an index to its image for this platform (linux/arm64).
        common: Options of every verb.
    """
    async with connected(common, ref) as session, session.place(ref) as place:
        if platform is None:
            found = await place.repository.manifests.stat(place.wanted)
        else:
            found = (await picked(place, platform)).descriptor
        value = {"reference": place.text, **descriptor_value(found)}
        await session.output.result(str(found.digest), value)
