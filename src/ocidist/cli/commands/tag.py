"""``ocidist tag``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist.cli import naming
from ocidist.cli.connecting import connected
from ocidist.cli.failure import hinted
from ocidist.cli.options import DEFAULTS, Common, Flag
from ocidist.errors import UsageError
from ocidist.model.reference import Tag

if TYPE_CHECKING:
    from ocidist.model.reference import Reference


async def tag(ref: str, /, *tags: str, delete: Flag = False, common: Common = DEFAULTS) -> None:
    """Let tags name a manifest, or delete a tag.

    Args:
        ref: The manifest: ghcr.io/acme/app:v1, ghcr.io/acme/app@sha256:...
        tags: Tags that are to name it.
        delete: Delete the tag that the first argument names, and nothing else.
        common: Options of every verb.
    """
    named = naming.remote(ref)
    if delete:
        await _delete(named, ref, tags, common)
        return
    if (whole := next((text for text in tags if "/" in text), None)) is not None:
        raise hinted(
            UsageError(f"{whole[:200]!r} is no tag: the repository is the one of {ref[:200]!r}"),
            "ocidist cp copies to another one, without sending what is there",
        )
    names = [Tag(text) for text in tags]
    if not names:
        raise UsageError("no tag was given: ocidist tag ghcr.io/acme/app:v1 stable")
    async with connected(common, ref) as session:
        repository = session.repository(named)
        manifest = await repository.manifests.get(named.locator)
        for name in names:
            await repository.tags.set(name, manifest)
        value = {"reference": f"{named.name}@{manifest.digest}", "tags": [str(name) for name in names]}
        await session.output.result(str(manifest.digest), {**value, "digest": str(manifest.digest)})


async def _delete(named: Reference, ref: str, tags: tuple[str, ...], common: Common) -> None:
    if tags or named.tag is None or named.digest is not None:
        raise UsageError("--delete takes one tag, and nothing else: ocidist tag --delete ghcr.io/acme/app:old")
    async with connected(common, ref) as session:
        await session.repository(named).tags.delete(named.tag)
        await session.output.result("", {"deleted": str(named)})
        session.voice.say(f"deleted {named}")
