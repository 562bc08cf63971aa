"""Registries and repositories as the Docker Engine describes them.

Spec: Docker Engine API v1.44, "Get system information" (``IndexInfo``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import attrs

from ocidist.engine import _json
from ocidist.model.fields import strings
from ocidist.model.reference import DOCKER_HUB, Reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocidist.engine.service import ServiceConfig

OFFICIAL_NAMESPACE: Final = "library"
"""Where Docker Hub has the images that Docker answers for; their short names leave it out."""


@attrs.frozen
class IndexInfo:
    """A registry as the Engine knows it.

    Attributes:
        name: ``host[:port]``; ``docker.io`` for Docker Hub.
        mirrors: URLs that are asked first.
        secure: Whether it has to have TLS, with a certificate that is trusted.
        official: Whether it is Docker Hub.
    """

    name: str
    mirrors: tuple[str, ...] = attrs.field(default=(), converter=strings)
    secure: bool = attrs.field(default=True, kw_only=True)
    official: bool = attrs.field(default=False, kw_only=True)

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Read the document.

        Raises:
            ProtocolError: It is none.
        """
        return cls.of(_json.Fields.load(data, "a registry"))

    @classmethod
    def of(cls, fields: _json.Fields) -> Self:
        """Make one of the fields of a document."""
        return cls(
            fields.text("Name"),
            fields.texts("Mirrors"),
            secure=fields.flag("Secure"),
            official=fields.flag("Official"),
        )

    def to_json(self) -> bytes:
        """Return the document."""
        return _json.write(self.as_fields())

    def as_fields(self) -> Mapping[str, object]:
        """Return the fields of the document."""
        return {
            "Name": self.name,
            "Mirrors": list(self.mirrors),
            "Secure": self.secure,
            "Official": self.official,
        }


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
        from ocidist.engine.service import ServiceConfig  # noqa: PLC0415 -- which is made of what is in this module

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
