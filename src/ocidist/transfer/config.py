"""What is mirrored: rules, each with a source and a destination."""

from __future__ import annotations

import json
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import anyio.to_thread
import attrs

from ocidist.errors import UsageError
from ocidist.hosts.config import HostsConfig
from ocidist.model.digest import Digest
from ocidist.transfer.ends import Repositories, check_pair
from ocidist.transfer.filters import TagFilter
from ocidist.transfer.options import CopyOptions
from ocidist.transfer.plan import check_at_once
from ocidist.transfer.plan_json import options_to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike

    from ocidist.hosts.host import HostConfig

IMAGES_AT_ONCE: Final = 8
"""Images that are on their way at any moment."""
BLOBS_AT_ONCE: Final = 16
"""Blobs of all images together that are on their way at any moment."""
MAX_RULES: Final = 2000
"""Most rules of a configuration."""


@attrs.frozen(kw_only=True)
class MirrorRule:
    """One source and where it goes.

    Attributes:
        source: A repository (``ghcr.io/acme/app``), repositories by their names (``ghcr.io/acme/*``; ``*`` stands for
            slashes, too), a registry (``ghcr.io``), one image (``host/repository:tag``, or by digest), or a layout
            (``oci:DIR``). Names with wildcards and registries need the registry's catalog.
        destination: A repository or a layout. Where the source is many repositories, what their names are put behind:
            ``localhost:5000/mirror``, ``localhost:5000``, ``oci:DIR``.
        tags: Which tags are meant.
        options: What is copied along with each; its ``at_once`` is not used.
        delete: Whether to delete tags of the destination that the source has no more. Only tags that ``tags`` accepts
            are deleted, only if the source was listed to its end and ``tags`` accepts some of it, and never tags like
            ``sha256-...``.

    Raises:
        UsageError: A source or destination is none, they do not go together, or something is of another type.
    """

    source: str
    destination: str
    tags: TagFilter = attrs.field(factory=TagFilter)
    options: CopyOptions = attrs.field(factory=CopyOptions)
    delete: bool = False

    def __attrs_post_init__(self) -> None:
        for name, kind in (("tags", TagFilter), ("options", CopyOptions), ("delete", bool)):
            if not isinstance(getattr(self, name), kind):
                # Most of all, "false" must not delete anything.
                raise UsageError(f"{name} is a {kind.__name__}, not {type(getattr(self, name)).__name__}")
        source, destination = self.ends
        check_pair(source, destination)
        if source.is_image and not self.tags.is_empty:
            raise UsageError("there are no tags to choose from: the source is one image")
        if source.is_image and self.delete:
            raise UsageError("nothing is deleted where the source is one image")

    @property
    def ends(self) -> tuple[Repositories, Repositories]:
        """Source and destination, read."""
        return Repositories.source(self.source), Repositories.destination(self.destination)

    def to_json(self) -> dict[str, object]:
        """Return the rule as plain values."""
        return {
            "source": self.source,
            "destination": self.destination,
            "tags": {"allow": list(self.tags.allow), "deny": list(self.tags.deny), "semver": self.tags.semver},
            "options": options_to_json(self.options),
            "delete": self.delete,
        }


def _rules(value: Iterable[MirrorRule]) -> tuple[MirrorRule, ...]:
    if isinstance(value, MirrorRule):
        raise UsageError("rules are given as a list: rules=[rule]")
    found = tuple(value)
    for rule in found:
        if not isinstance(rule, MirrorRule):
            raise UsageError(f"a rule is a MirrorRule, not {type(rule).__name__}")
    if not found or len(found) > MAX_RULES:
        raise UsageError(
            "there is nothing to mirror: no rule" if not found else f"there are more than {MAX_RULES} rules"
        )
    return found


@attrs.frozen(kw_only=True)
class MirrorConfig:
    """What is mirrored, and how much of it at once.

    Attributes:
        rules: The rules.
        images_at_once: Images that are on their way at any moment.
        blobs_at_once: Blobs of all of them together that are on their way at any moment.
        hosts: What is configured for registries; for whoever makes the client. A client that is there already has its
            own configuration.

    Raises:
        UsageError: There is no rule, a number is out of range, or rules would feed each other for ever.
    """

    rules: tuple[MirrorRule, ...] = attrs.field(converter=_rules)
    images_at_once: int = attrs.field(default=IMAGES_AT_ONCE, validator=check_at_once)
    blobs_at_once: int = attrs.field(default=BLOBS_AT_ONCE, validator=check_at_once)
    hosts: Mapping[str, HostConfig] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        HostsConfig(self.hosts)
        _check_circles(self.rules)

    @classmethod
    async def from_file(cls, path: str | PathLike[str]) -> Self:
        """Read a file: ``mirror.toml``. It is read in a worker thread.

        Raises:
            MirrorFileError: It cannot be read or used; it names the file and the key.
        """
        from ocidist.transfer.mirror_file import read  # noqa: PLC0415 -- loaded by those who have such a file

        return cls(**await anyio.to_thread.run_sync(read, Path(path)))

    @classmethod
    def from_toml(cls, text: str, *, name: str = "mirror.toml") -> Self:
        """Read the text of such a file.

        Args:
            text: The text.
            name: What the file is called in errors; paths of certificates are taken from where it is.

        Raises:
            MirrorFileError: It cannot be used; it names the key.
        """
        from ocidist.transfer.mirror_file import parse  # noqa: PLC0415 -- see above

        return cls(**parse(Path(name), text))

    @property
    def digest(self) -> Digest:
        """Tells configurations apart that mirror something else, or somewhere else."""
        return Digest.of(json.dumps([rule.to_json() for rule in self.rules], sort_keys=True).encode())


def _check_circles(rules: tuple[MirrorRule, ...]) -> None:
    """Refuse rules whose destinations are each other's sources: names would become longer with every run."""
    ends = [rule.ends for rule in rules if rule.ends[0].glob]
    reading: dict[str, list[int]] = {}
    for number, (source, _) in enumerate(ends):
        reading.setdefault(source.place, []).append(number)
    fed = {
        number: [
            other
            for other in reading.get(destination.place, ())
            if other != number and _feeds(destination, ends[other][0])
        ]
        for number, (_, destination) in enumerate(ends)
    }
    try:
        TopologicalSorter(fed).prepare()
    except CycleError as error:
        named = ", ".join(str(ends[number][0]) for number in dict.fromkeys(error.args[1]))
        raise UsageError(f"the rules for {named} feed each other: every run would copy more") from None


def _feeds(destination: Repositories, source: Repositories) -> bool:
    """Return whether what a rule makes may be read by another one."""
    known = source.glob.partition("*")[0].partition("?")[0].partition("[")[0]
    below = f"{destination.repository}/" if destination.repository else ""
    return below.startswith(known) or known.startswith(below)
