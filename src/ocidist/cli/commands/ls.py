"""``ocidist ls``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist.cli import naming
from ocidist.cli.connecting import connected
from ocidist.cli.options import DEFAULTS, Common
from ocidist.errors import UsageError
from ocidist.model.places import is_local

if TYPE_CHECKING:
    from ocidist.cli.connecting import Session


async def ls(where: str, /, *, after: str | None = None, common: Common = DEFAULTS) -> None:
    """List the repositories of a registry, or the tags of a repository.

    Args:
        where: Registry (ghcr.io, localhost:5000) or repository (ghcr.io/acme/app, oci:DIR).
        after: List only what comes after this name, in the registry's order.
        common: Options of every verb.
    """
    async with connected(common, where) as session:
        if not is_local(where) and naming.names_registry(where):
            await _repositories(session, where, after)
        else:
            await _tags(session, where, after)


async def _repositories(session: Session, where: str, after: str | None) -> None:
    registry = session.client.registry(naming.registry(where))
    await session.output.listing(
        registry.repositories(after=after).pages(),
        str,
        lambda name: {"repository": str(name)},
        lambda names: {"registry": str(registry.name), "repositories": [str(name) for name in names]},
    )


async def _tags(session: Session, where: str, after: str | None) -> None:
    async with session.store(where) as place:
        if place.locator is not None:
            raise UsageError(f"{where[:200]!r} names one manifest: ls lists the tags of a repository")
        await session.output.listing(
            place.repository.tags.list(after=after).pages(),
            str,
            lambda tag: {"tag": str(tag)},
            lambda tags: {"repository": place.name, "tags": [str(tag) for tag in tags]},
        )
