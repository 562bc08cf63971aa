"""``ocidist manifest get``."""

from __future__ import annotations

import json

from ocidist.cli.connecting import connected
from ocidist.cli.options import DEFAULTS, Common
from ocidist.cli.output import descriptor_value
from ocidist.cli.picking import picked


async def manifest_get(ref: str, /, *, platform: str | None = None, common: Common = DEFAULTS) -> None:
    """Print a manifest, byte for byte as the registry has it.

    Args:
        ref: Manifest (ghcr.io/acme/app:v1, ghcr.io/acme/app@sha256:...); without a tag, latest is meant.
        platform: Print the one for this platform (linux/arm64), where it is an index.
        common: Options of every verb.
    """
    async with connected(common, ref) as session, session.place(ref) as place:
        manifest = await picked(place, platform)
        if session.output.is_text:
            await session.output.content(manifest.data)
            return
        value = {"reference": place.text, **descriptor_value(manifest.descriptor)}
        await session.output.result("", {**value, "manifest": json.loads(manifest.data)})
