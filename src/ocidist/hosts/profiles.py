"""What is known beforehand of registries that are run as a service. ``HostConfig.profile`` overrides it."""

from __future__ import annotations

import re
from typing import Final

from ocidist.model.profile import RegistryProfile

_MIB: Final = 1024 * 1024

GHCR: Final = RegistryProfile(max_chunk=4 * _MIB)
"""GitHub: refuses chunks over 4 MiB with 416; whole blobs may be larger."""
ECR: Final = RegistryProfile(min_chunk=5 * _MIB, exact_range=False)
"""Amazon: its chunks are parts of an S3 upload; the Range it reports does not move."""
ARTIFACT_REGISTRY: Final = RegistryProfile(chunked=False)
"""Google: blobs come in one request."""

_KNOWN: Final = (
    (re.compile(r"ghcr\.io|containers\.pkg\.github\.com", re.ASCII), GHCR),
    (
        re.compile(
            r"\d{12}\.dkr[.-]ecr(-fips)?\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|on\.aws)|public\.ecr\.aws", re.ASCII
        ),
        ECR,
    ),
    (re.compile(r"([a-z0-9-]+\.)*gcr\.io|[a-z0-9-]+-docker\.pkg\.dev|docker\.pkg\.dev", re.ASCII), ARTIFACT_REGISTRY),
)
_PLAIN: Final = RegistryProfile()


def profile_for(host: str) -> RegistryProfile:
    """Return what is known of the registry at a host name, without its port; a plain profile if that is nothing."""
    name = host.lower().removesuffix(".")
    return next((profile for pattern, profile in _KNOWN if pattern.fullmatch(name)), _PLAIN)
