"""Registries as the Docker Engine describes them.

Spec: Docker Engine API v1.44, "Get system information" (``IndexInfo``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import attrs

from ocidist.engine import _json
from ocidist.model.fields import strings

if TYPE_CHECKING:
    from collections.abc import Mapping

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
