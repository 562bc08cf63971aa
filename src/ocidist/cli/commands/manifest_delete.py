"""``ocidist manifest delete``."""

from __future__ import annotations

from ocidist.cli import naming
from ocidist.cli.connecting import connected
from ocidist.cli.failure import hinted
from ocidist.cli.options import DEFAULTS, Common
from ocidist.errors import UsageError


async def manifest_delete(ref: str, /, *, common: Common = DEFAULTS) -> None:
    """Delete a manifest, and every tag that names it.

    Args:
        ref: The manifest, by digest: ghcr.io/acme/app@sha256:...
        common: Options of every verb.
    """
    named = naming.remote(ref)
    if named.digest is None:
        raise hinted(
            UsageError(f"{ref[:200]!r} names no digest: a manifest is deleted with all its tags"),
            "ocidist resolve prints the digest; ocidist tag --delete deletes a tag and nothing else",
        )
    async with connected(common, ref) as session:
        await session.repository(named).manifests.delete(named.digest)
        deleted = f"{named.name}@{named.digest}"
        await session.output.result("", {"deleted": deleted})
        session.voice.say(f"deleted {deleted}")
