"""``ocidist ping``."""

from __future__ import annotations

import time

from ocidist.cli import naming
from ocidist.cli.connecting import connected
from ocidist.cli.options import DEFAULTS, Common


async def ping(registry: str, /, *, common: Common = DEFAULTS) -> None:
    """Ask whether a registry is there, and whether it knows who you are.

    Args:
        registry: The registry: ghcr.io, localhost:5000.
        common: Options of every verb.
    """
    name = naming.registry(registry)
    async with connected(common, name) as session:
        began = time.perf_counter()
        info = await session.client.registry(name).ping()
        took = time.perf_counter() - began
        scheme = await session.client.detect_scheme(name)
        value = {
            "registry": str(name),
            "scheme": scheme,
            "api_version": info.api_version,
            "authenticated": info.authenticated,
            "supported": info.supported,
            "seconds": round(took, 3),
        }
        who = "authenticated" if info.authenticated else "not authenticated"
        what = "speaks the API" if info.supported else "is there, but does not answer what is asked first of registries"
        await session.output.result(f"{scheme}://{name} {what}; {who}; {took * 1000:.0f} ms", value)
