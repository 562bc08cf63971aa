"""Repositories as the Docker Engine names them.

Spec: Docker, ``RepositoryInfo`` of the Engine's registry package.
"""

from __future__ import annotations

from typing import Self

import attrs

from ocidist.engine import _json
from ocidist.engine.names import OFFICIAL_NAMESPACE, IndexInfo
from ocidist.engine.service import ServiceConfig
from ocidist.model.reference import DOCKER_HUB, Reference


@attrs.frozen(kw_only=True)
class RepositoryInfo:
    """A repository as the Engine names it.

    Attributes:
        index: The registry it is on.
        remote_name: Its name there: ``library/debian``, ``user/repo``.
        local_name: What users call it: ``debian``, ``127.0.0.1:5000/user/repo``.
        canonical_name: The same with the registry before it in any case: ``docker.io/debian``.
        official: Whether it is one of the images that Docker answers for.
    """

    index: IndexInfo
    remote_name: str
    local_name: str
    canonical_name: str
    official: bool = False

    @classmethod
    def parse(cls, text: str, service: ServiceConfig | None = None) -> Self:
        """Describe the repository of a reference; tag and digest do not matter.

        Args:
            text: The reference, in Docker's short forms too.
            service: The Engine's configuration; None for one without mirrors and exceptions.

        Raises:
            InvalidReferenceError: The text does not follow the grammar.
        """
        found = attrs.evolve(Reference.parse(text), tag=None, digest=None)
        index = (service or ServiceConfig()).index(str(found.registry))
        local = found.familiar
        on_hub = str(found.registry) == DOCKER_HUB
        # A host before it is there already where leaving it out would name something else.
        canonical = local if not on_hub or local.startswith(f"{DOCKER_HUB}/") else f"{DOCKER_HUB}/{local}"
        official = on_hub and found.repository.rpartition("/")[0] == OFFICIAL_NAMESPACE
        return cls(
            index=index,
            remote_name=found.repository,
            local_name=local,
            canonical_name=canonical,
            official=official,
        )

    def to_json(self) -> bytes:
        """Return the document."""
        return _json.write(
            {
                "Index": self.index.as_fields(),
                "RemoteName": self.remote_name,
                "LocalName": self.local_name,
                "CanonicalName": self.canonical_name,
                "Official": self.official,
            }
        )
