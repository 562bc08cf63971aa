"""Registry v1, the protocol of Docker before 2015: an index that knows users and repositories, and registries.

No public service speaks it any more; archives and appliances do. Images are named by random identifiers here, and
nothing proves what arrives but what the same server says. Move such images on to a registry of today.

Spec: Docker, "Registry & Index Spec"; "Docker Registry API v1".
"""

from __future__ import annotations

from ocidist.legacy.v1.accounts import login
from ocidist.legacy.v1.endpoint import Endpoint
from ocidist.legacy.v1.models import (
    CONFIG_FILE,
    DEFAULT_API_VERSION,
    INDEX_SERVER,
    REGISTRY_SERVER,
    APIVersion,
    ImageData,
    ImageJson,
    LayerChecksums,
    RegistryInfo,
    RepositoryData,
)
from ocidist.legacy.v1.schema1 import from_schema1, to_schema1
from ocidist.legacy.v1.session import Session
from ocidist.legacy.v1.tarsum import tarsum

__all__ = [
    "CONFIG_FILE",
    "DEFAULT_API_VERSION",
    "INDEX_SERVER",
    "REGISTRY_SERVER",
    "APIVersion",
    "Endpoint",
    "ImageData",
    "ImageJson",
    "LayerChecksums",
    "RegistryInfo",
    "RepositoryData",
    "Session",
    "from_schema1",
    "login",
    "tarsum",
    "to_schema1",
]
