"""``ocidist blob get``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio.to_thread
from cyclopts import Parameter

from ocidist.cli import naming, sources
from ocidist.cli.connecting import connected
from ocidist.cli.files import download, refuse_existing
from ocidist.cli.options import DEFAULTS, FILE, Common, FileName, Flag
from ocidist.errors import UsageError

if TYPE_CHECKING:
    from ocidist.cli.connecting import Place, Session
    from ocidist.model.digest import Digest


async def blob_get(
    ref: str,
    file: Annotated[FileName, Parameter(allow_leading_hyphen=True, metavar=FILE)] = sources.STDIN,
    /,
    *,
    force: Flag = False,
    common: Common = DEFAULTS,
) -> None:
    """Print a blob, or write it to a file, which appears only once its digest is proven.

    To standard output the bytes go as they come: only the exit status says whether they were the right ones.

    Args:
        ref: The blob: ghcr.io/acme/app@sha256:...
        file: Where to; - for standard output. An interrupted download of a large blob goes on where it was.
        force: Replace the file if there is one.
        common: Options of every verb.
    """
    digest = naming.digest_in(ref)
    async with connected(common, ref) as session, session.store(ref) as place:
        if file == sources.STDIN:
            if not session.output.is_text:
                raise UsageError("standard output is for the blob: name a file where data about it are wanted")
            await _print(session, place, digest)
            return
        path = Path(file)
        if not force:
            await anyio.to_thread.run_sync(refuse_existing, path)
        found = await download(place.repository, digest, path)
        value = {"reference": f"{place.name}@{digest}", "digest": str(digest), "size": found.size, "file": file}
        await session.output.result("", value)


async def _print(session: Session, place: Place, digest: Digest) -> None:
    async with place.repository.blobs.open(digest) as reader:
        async for chunk in reader:
            await session.output.content(chunk)
