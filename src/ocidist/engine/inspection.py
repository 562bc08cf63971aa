"""What the Docker Engine says about an image that it did not pull.

Spec: Docker Engine API v1.44, "Get image information from the registry".
"""

from __future__ import annotations

from typing import Final, Self

import attrs

from ocidist.engine import _json
from ocidist.errors import ProtocolError
from ocidist.model.descriptor import Descriptor
from ocidist.model.platform import Platform

_WHAT: Final = "the description of an image"


@attrs.frozen
class DistributionInspect:
    """An image in a registry: what it is, and what it runs on.

    Attributes:
        descriptor: Media type, digest and size of its manifest.
        platforms: What it runs on: those an index lists, else the one its configuration names. Empty for artifacts.
    """

    descriptor: Descriptor
    platforms: tuple[Platform, ...] = ()

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Read the Engine's document.

        Raises:
            ProtocolError: It is none.
        """
        from ocidist.model import converter  # noqa: PLC0415 -- loads cattrs, which the other documents do not need

        fields = _json.Fields.load(data, _WHAT)
        try:
            descriptor = converter.structure(fields.mapping("Descriptor"), Descriptor)
            platforms = [converter.structure(entry, Platform) for entry in fields.items("Platforms")]
        except converter.MalformedValueError as error:
            raise ProtocolError(f"{_WHAT} is malformed: {error}") from None
        return cls(descriptor, tuple(platforms))

    def to_json(self) -> bytes:
        """Return the document as the Engine writes it: no platforms are null."""
        from ocidist.model import converter  # noqa: PLC0415 -- see above

        descriptor = converter.unstructure(self.descriptor)
        if self.descriptor.platform is not None:
            descriptor["platform"] = _platform(self.descriptor.platform)
        platforms = [_platform(platform) for platform in self.platforms]
        return _json.write({"Descriptor": descriptor, "Platforms": platforms or None})


def _platform(platform: Platform) -> dict[str, object]:
    """Return a platform with its fields in the Engine's order; the processor comes first, and is always there."""
    fields: dict[str, object] = {"architecture": platform.architecture, "os": platform.os}
    more = {
        "os.version": platform.os_version,
        "os.features": list(platform.os_features),
        "variant": platform.variant,
    }
    return fields | {name: value for name, value in more.items() if value}
