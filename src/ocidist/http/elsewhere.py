"""Reads as they are asked of another host than the registry: a mirror, or what is configured in its place.

Spec: containerd, "Registry Configuration"; containers-registries.conf(5), "Remapping and mirroring registries".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ocidist.hosts.host import API_ROOT, MirrorTags
from ocidist.model.digest import Digest
from ocidist.wire import endpoints
from ocidist.wire.token import append_query

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocidist.hosts.host import Mirror
    from ocidist.model.reference import RegistryName
    from ocidist.wire.endpoints import Endpoint


@attrs.frozen
class _GetBlob(endpoints.GetBlob):
    at: str = attrs.field(default="", repr=False)

    @property
    def target(self) -> str:
        return self.at


@attrs.frozen
class _StatBlob(endpoints.StatBlob):
    at: str = attrs.field(default="", repr=False)

    @property
    def target(self) -> str:
        return self.at


@attrs.frozen
class _GetManifest(endpoints.GetManifest):
    at: str = attrs.field(default="", repr=False)

    @property
    def target(self) -> str:
        return self.at


@attrs.frozen
class _StatManifest(endpoints.StatManifest):
    at: str = attrs.field(default="", repr=False)

    @property
    def target(self) -> str:
        return self.at


# By the very class: the question whether a blob is there that is about to be pushed is the registry's to answer.
_AT: Final[Mapping[type[Endpoint], type[Endpoint]]] = {
    endpoints.GetBlob: _GetBlob,
    endpoints.StatBlob: _StatBlob,
    endpoints.GetManifest: _GetManifest,
    endpoints.StatManifest: _StatManifest,
}


def relocated(endpoint: Endpoint, mirror: Mirror, key: str, registry: RegistryName) -> Endpoint:
    """Return a read as it is asked of another host: path, repository, scope, and for whom.

    Args:
        endpoint: The read.
        mirror: The other host.
        key: The part of the repository's name that the configuration is for.
        registry: The registry that is meant.

    Raises:
        InvalidReferenceError: The other host cannot have a repository of that name.
    """
    kind = _plain(endpoint)
    # Not If-Range: entity tags are the registry's own.
    values = {field.name: getattr(endpoint, field.name) for field in attrs.fields(kind)}
    moved = attrs.evolve(endpoint, repository=mirror.repository_for(values["repository"], key))  # type: ignore[call-arg]  # all reads have one
    target = mirror.root + moved.target.removeprefix(API_ROOT)
    if mirror.ns:
        target = append_query(target, (("ns", str(attrs.evolve(registry, scheme=None))),))
    return _AT[kind](**{**values, "repository": moved.repository, "at": target})  # type: ignore[attr-defined]  # see above


def movable(endpoint: Endpoint) -> bool:
    """Return whether another host may be asked: content that is read, and nothing else."""
    return _plain(endpoint) in _AT


def _plain(endpoint: Endpoint) -> type[Endpoint]:
    """Return the class of a read, and of one that goes on after a break the class of what it goes on with."""
    return endpoints.GetBlob if isinstance(endpoint, endpoints.GetBlob) else type(endpoint)


def of_tag(endpoint: Endpoint) -> bool:
    """Return whether a read is about a tag."""
    manifest = isinstance(endpoint, endpoints.GetManifest | endpoints.StatManifest)
    return manifest and not isinstance(getattr(endpoint, "reference", None), Digest)


def unproven(endpoint: Endpoint) -> bool:
    """Return whether nothing proves the answer to a read by digest: sizes, existence, and parts of a blob."""
    if isinstance(endpoint, endpoints.StatManifest):
        return not of_tag(endpoint)
    if isinstance(endpoint, endpoints.GetBlob):
        return endpoint.ranged and not endpoint.proven
    return isinstance(endpoint, endpoints.StatBlob)


def serves(host: Mirror, endpoint: Endpoint) -> bool:
    """Return whether another host is there for a read."""
    if isinstance(endpoint, endpoints.GetBlob | endpoints.StatBlob):
        return host.blobs
    return host.tags is not MirrorTags.NEVER if of_tag(endpoint) else host.digests
