"""``ocidist manifest put``."""

from __future__ import annotations

from typing import Annotated, Final

from cyclopts import Parameter

from ocidist.cli import naming, sources
from ocidist.cli.connecting import connected
from ocidist.cli.failure import hinted
from ocidist.cli.options import DEFAULTS, FILE, Common, FileName
from ocidist.cli.output import descriptor_value
from ocidist.errors import DigestMismatchError, MalformedManifestError, UsageError
from ocidist.model.manifest import Manifest

MAX_MANIFEST: Final = 4 * 1024 * 1024
"""Bytes; registries take no more."""


async def manifest_put(
    ref: str,
    file: Annotated[FileName, Parameter(allow_leading_hyphen=True, metavar=FILE)],
    /,
    *,
    media_type: str | None = None,
    common: Common = DEFAULTS,
) -> None:
    """Store a manifest, byte for byte, and let the tag name it.

    Args:
        ref: Where to: ghcr.io/acme/app:v1; without a tag it is stored under its digest only, which may be given.
        file: The manifest; - for standard input.
        media_type: Its media type; found out from the manifest itself unless given.
        common: Options of every verb.
    """
    named = naming.remote(ref)
    async with connected(common, ref) as session:
        data = await sources.whole(file, MAX_MANIFEST, "manifest")
        try:
            manifest = Manifest.of(data, media_type, expected=named.digest)
        except MalformedManifestError as error:
            raise UsageError(f"{sources.shown(file)} cannot be stored: {error.message}") from None
        except DigestMismatchError as error:
            raise hinted(error, f"{sources.shown(file)} is not what the digest names") from None
        repository = session.repository(named)
        done = await repository.manifests.push(manifest, tags=[named.tag] if named.tag else [])
        for failure in done.failed.values():
            raise failure
        value = {
            "reference": f"{named.name}@{manifest.digest}",
            **descriptor_value(done.descriptor),
            "tags": [str(tag) for tag in done.tags],
        }
        await session.output.result(str(manifest.digest), value)
