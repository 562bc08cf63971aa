"""``ocidist logout``."""

from __future__ import annotations

from ocidist.cli import naming
from ocidist.cli.connecting import connected
from ocidist.cli.options import DEFAULTS, Common
from ocidist.credentials import logout as forget
from ocidist.model.reference import without_api


async def logout(registry: str = "docker.io", /, *, common: Common = DEFAULTS) -> None:
    """Forget who you are at a registry.

    Args:
        registry: The registry; Docker Hub unless given.
        common: Options of every verb.
    """
    registry = without_api(registry)
    name = naming.registry(registry)
    async with connected(common, name) as session:
        known = await forget(str(name))
        text = f"logged out of {name}" if known else f"nobody was logged in to {name}"
        await session.output.result(text, {"registry": str(name), "known": known})
