"""The embedded registry: an ASGI application that serves any store.

``RegistryApp(MemoryRegistry())`` runs under uvicorn, hypercorn or any other ASGI server, and inside a larger
application; ``python -m ocidist.server`` runs it alone, on loopback. ``PasswordGuard`` and ``TokenGuard`` decide who is
let in. ``Quirks`` and ``Faults`` let it behave as other registries do, and fail, for tests.
"""

from __future__ import annotations

from ocidist.server.app import RegistryApp
from ocidist.server.auth import PasswordGuard, TokenGuard
from ocidist.server.faults import FOREVER, Fault, Faults
from ocidist.server.limits import Limits
from ocidist.server.pullthrough import PullThrough
from ocidist.server.quirks import (
    PRESETS,
    ChallengeStyle,
    Chunks,
    Deletion,
    DigestHeader,
    ErrorBody,
    LinkStyle,
    LocationStyle,
    ManifestType,
    Mounts,
    Quirks,
    ReferrersApi,
    UploadRange,
)
from ocidist.server.rate import Caller, FailedLogins, RateLimit

__all__ = [
    "FOREVER",
    "PRESETS",
    "Caller",
    "ChallengeStyle",
    "Chunks",
    "Deletion",
    "DigestHeader",
    "ErrorBody",
    "FailedLogins",
    "Fault",
    "Faults",
    "Limits",
    "LinkStyle",
    "LocationStyle",
    "ManifestType",
    "Mounts",
    "PasswordGuard",
    "PullThrough",
    "Quirks",
    "RateLimit",
    "ReferrersApi",
    "RegistryApp",
    "TokenGuard",
    "UploadRange",
]
