"""``ocidist blob head``."""

from __future__ import annotations

from ocidist.cli import naming
from ocidist.cli.connecting import connected
from ocidist.cli.options import DEFAULTS, Common
from ocidist.cli.output import descriptor_text, descriptor_value


async def blob_head(ref: str, /, *, common: Common = DEFAULTS) -> None:
    """Print a blob's digest and size, without reading it.

    Args:
        ref: The blob: ghcr.io/acme/app@sha256:...
        common: Options of every verb.
    """
    digest = naming.digest_in(ref)
    async with connected(common, ref) as session, session.store(ref) as place:
        found = await place.repository.blobs.stat(digest)
        value = {"reference": f"{place.name}@{digest}", **descriptor_value(found)}
        await session.output.result(descriptor_text(found), value)
