"""``ocidist manifest head``."""

from __future__ import annotations

from ocidist.cli.connecting import connected
from ocidist.cli.options import DEFAULTS, Common
from ocidist.cli.output import descriptor_text, descriptor_value


async def manifest_head(ref: str, /, *, common: Common = DEFAULTS) -> None:
    """Print a manifest's media type, digest and size, without reading it.

    Args:
        ref: Manifest (ghcr.io/acme/app:v1, ghcr.io/acme/app@sha256:...); without a tag, latest is meant.
        common: Options of every verb.
    """
    async with connected(common, ref) as session, session.place(ref) as place:
        found = await place.repository.manifests.stat(place.wanted)
        await session.output.result(descriptor_text(found), {"reference": place.text, **descriptor_value(found)})
