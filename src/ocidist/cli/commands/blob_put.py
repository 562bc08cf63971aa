"""``ocidist blob put``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter

from ocidist.cli import naming, sources
from ocidist.cli.connecting import connected
from ocidist.cli.options import DEFAULTS, FILE, Common, FileName, Showing, Texts
from ocidist.cli.output import descriptor_value
from ocidist.errors import UsageError
from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest
from ocidist.model.mediatype import OCTET_STREAM
from ocidist.model.result import OnExit


async def blob_put(
    repository: str,
    file: Annotated[FileName, Parameter(allow_leading_hyphen=True, metavar=FILE)],
    /,
    *,
    digest: str | None = None,
    mount_from: Texts = (),
    journal: Path | None = None,
    common: Common = DEFAULTS,
) -> None:
    """Store a blob and print its digest.

    Args:
        repository: Where to: ghcr.io/acme/app.
        file: The blob; - for standard input, which is sent in chunks as it comes.
        digest: The digest that it has to have.
        mount_from: Repository of the same registry that may have it already; repeatable.
        journal: File that keeps where the upload is: after an interruption, the same command goes on there.
        common: Options of every verb.
    """
    named = naming.remote(repository)
    if named.tag is not None:
        raise UsageError(f"{repository[:200]!r} names a tag, and blobs have none: leave it out")
    expected = named.digest if digest is None else Digest(digest)
    if file == sources.STDIN and sources.is_typed():
        # Bars would be drawn over what somebody types.
        common = attrs.evolve(common, progress=Showing.NONE)
    async with connected(common, repository) as session:
        blobs = session.repository(named).blobs
        if file == sources.STDIN:
            if journal is not None:
                raise UsageError("standard input cannot be read again: a journal needs a file")
            async with blobs.writer(on_exit=OnExit.CANCEL) as writer:
                await writer.write_from(sources.stdin())
                found = await writer.commit(expected)
        else:
            path = await sources.checked(Path(file))
            described = None
            if expected is not None:
                described = Descriptor(OCTET_STREAM, expected, await sources.size_of(path))
            found = await blobs.push(path, described, mount_from=mount_from, journal=journal)
        value = {"reference": f"{named.name}@{found.digest}", **descriptor_value(found)}
        await session.output.result(str(found.digest), value)
