"""What the rules of a mirror mean, before anything is resolved: pairs of repositories, and tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ocidist.errors import NotFoundError, OciError
from ocidist.transfer.filters import name_matcher

if TYPE_CHECKING:
    from ocidist.model.digest import Digest
    from ocidist.model.reference import Tag
    from ocidist.transfer.config import MirrorRule
    from ocidist.transfer.stores import Stores

_DIGEST_TAGS: Final = ("sha256-", "sha512-")


@attrs.frozen
class Pair:
    """A repository and where it goes.

    Attributes:
        rule: The rule it comes from.
        source: The repository's text.
        destination: The text of the repository it goes to.
    """

    rule: MirrorRule
    source: str
    destination: str


@attrs.frozen
class Wanted:
    """An image and where it goes.

    Attributes:
        pair: The repositories.
        name: The tag or digest it has in the source.
        tag: The tag it gets, or None.
        there: Whether the destination has this tag; None where that is not known.
    """

    pair: Pair
    name: Tag | Digest
    tag: Tag | None
    there: bool | None

    @property
    def source(self) -> str:
        """The image for people to read."""
        return f"{self.pair.source}{'@' if ':' in self.name else ':'}{self.name}"

    @property
    def destination(self) -> str:
        """Where it goes, for people to read."""
        return f"{self.pair.destination}{'' if self.tag is None else f':{self.tag}'}"


def is_digest_tag(tag: str) -> bool:
    """Return whether a tag is one that stands for a digest: it belongs to what has that digest, and goes with it."""
    return tag.startswith(_DIGEST_TAGS)


def named_pair(rule: MirrorRule) -> Pair:
    """Return the repository that a rule without wildcards means."""
    source, destination = rule.ends
    return Pair(rule, source.within(""), destination.within(""))


def listed_pair(rule: MirrorRule, name: str) -> Pair | None:
    """Return what a rule with wildcards makes of a repository of its registry, None if it does not mean that one.

    What lies below the rule's own destination is left out: it would be copied into itself, deeper each time.

    Raises:
        InvalidReferenceError: The destination's name would be too long.
    """
    source, destination = rule.ends
    if not name_matcher(source.glob)(name) or (destination.place == source.place and destination.holds(name)):
        return None
    return Pair(rule, source.within(name), destination.within(name))


async def tags_there(pair: Pair, stores: Stores) -> set[str] | None:
    """Return the tags that a rule's filters accept and that its destination has; None if nobody knows."""
    try:
        found: set[str] = set()
        async for tag in stores.repository(pair.destination).tags.list():
            if pair.rule.tags.accepts(tag):
                found.add(tag)
    except NotFoundError:
        return set()
    except OciError:
        # A registry may list nothing and take everything; whatever else is wrong with it is told when it is written to.
        return None
    return found
