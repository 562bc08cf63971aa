"""The embedded registry: an ASGI application that serves any store.

``RegistryApp(MemoryRegistry())`` runs under uvicorn, hypercorn or any other ASGI server, and inside a larger
application; ``python -m ocidist.server`` runs it alone, on loopback. ``PasswordGuard`` and ``TokenGuard`` decide who is
let in.
"""

from __future__ import annotations

from ocidist.server.app import RegistryApp
from ocidist.server.auth import PasswordGuard, TokenGuard
from ocidist.server.limits import Limits

__all__ = ["Limits", "PasswordGuard", "RegistryApp", "TokenGuard"]
