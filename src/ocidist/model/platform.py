"""Platforms: which operating system and processor an image runs on.

Spec: image-spec, "Image Index", sections "Image Index Property Descriptions" and "Platform Variants".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Self

import attrs

from ocidist.errors import UsageError
from ocidist.model.fields import strings, unknown_fields

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PLATFORM_LENGTH: Final = 256
"""Longest platform text that is parsed, in characters."""

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_OS = re.compile(r"([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.-]+)\))?", re.ASCII)
_SYSTEMS = {"macos": "darwin"}
# What uname and Debian call the processors that Go, and so the specification, name otherwise.
_PROCESSORS = {
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "i386": ("386", None),
    "aarch64": ("arm64", None),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
_DEFAULT_VARIANTS = {"arm": "v7", "arm64": "v8", "amd64": "v1"}
# An image for a lower variant runs on a higher one; the nearest is best.
_LADDERS = {
    "arm": ("v8", "v7", "v6", "v5"),
    "arm64": ("v9", "v8"),
    "amd64": ("v4", "v3", "v2", "v1"),
}
_WINDOWS_BUILD_PARTS = 3


@attrs.frozen
class Platform:
    """An operating system and processor.

    Attributes:
        os: Operating system, as Go names it (``linux``).
        architecture: Processor, as Go names it (``amd64``).
        variant: Variant of the processor (``v7``), or None.
        os_version: Version of the operating system, or None.
        os_features: Operating system features the image cannot do without.
        extra: Fields this version does not know, as they were read.
    """

    os: str
    architecture: str
    variant: str | None = None
    os_version: str | None = None
    os_features: tuple[str, ...] = attrs.field(default=(), converter=strings)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=unknown_fields, hash=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``os/architecture[/variant]``, the os optionally with its version: ``windows(10.0.20348)/amd64``.

        Raises:
            UsageError: The text has another form.
        """
        parts = text.split("/") if len(text) <= MAX_PLATFORM_LENGTH else []
        system = _OS.fullmatch(parts[0]) if parts else None
        if system is None or len(parts) not in {2, 3} or not all(map(_PART.fullmatch, parts[1:])):
            msg = f"{text[:MAX_PLATFORM_LENGTH]!r} is not a platform (expected os/architecture[/variant])"
            raise UsageError(msg)
        os, version = system.group(1).lower(), system.group(2)
        processor = parts[1].lower()
        architecture, variant = _PROCESSORS.get(processor, (processor, None))
        if len(parts) == 3:
            variant = parts[2].lower()
        return cls(_SYSTEMS.get(os, os), architecture, variant, version)

    def __str__(self) -> str:
        os = self.os if self.os_version is None else f"{self.os}({self.os_version})"
        return "/".join(part for part in (os, self.architecture, self.variant) if part)

    def matches(self, wanted: Platform) -> bool:
        """Whether an image for this platform is exactly what *wanted* asks for.

        A variant left out is the usual one (``arm64`` is ``arm64/v8``). A version or feature matters only if *wanted*
        names one; Windows versions agree when their build number does.
        """
        return (
            self.os == wanted.os
            and self.architecture == wanted.architecture
            and self._variant_matches(wanted)
            and self._version_matches(wanted)
            and (not wanted.os_features or set(self.os_features) <= set(wanted.os_features))
        )

    def acceptable(self) -> Iterator[Platform]:
        """Yield what may run where this platform is wanted, best first: itself, then the variants below its own."""
        yield self
        ladder = _LADDERS.get(self.architecture, ())
        own = self.variant or _DEFAULT_VARIANTS.get(self.architecture)
        if own in ladder:
            for variant in ladder[ladder.index(own) + 1 :]:
                yield attrs.evolve(self, variant=variant)

    def _variant_matches(self, wanted: Platform) -> bool:
        usual = _DEFAULT_VARIANTS.get(self.architecture)
        if wanted.variant is None and usual is None:
            return True
        return (self.variant or usual) == (wanted.variant or usual)

    def _version_matches(self, wanted: Platform) -> bool:
        if wanted.os_version is None or self.os_version == wanted.os_version:
            return True
        if self.os != "windows" or self.os_version is None:
            return False
        build = self.os_version.split(".")[:_WINDOWS_BUILD_PARTS]
        return len(build) == _WINDOWS_BUILD_PARTS and build == wanted.os_version.split(".")[:_WINDOWS_BUILD_PARTS]
