"""When a fault happens: at which request, and at which of them."""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.peers.wire_server import Request

Action: TypeAlias = "Callable[[Any], None]"
"""What happens to an ``Exchange`` instead of being passed on, or to the socket of a connection that was accepted."""


class Kind(enum.Enum):
    """What a request is about; the last three are not requests but what comes before one."""

    PING = re.compile(r"/v2/")
    CATALOG = re.compile(r"/v2/_catalog")
    TAGS = re.compile(r"/v2/.+/tags/list")
    REFERRERS = re.compile(r"/v2/.+/referrers/.+")
    MANIFEST = re.compile(r"/v2/.+/manifests/.+")
    BLOB = re.compile(r"/v2/.+/blobs/[a-z0-9]+:[0-9a-f]+")
    UPLOADS = re.compile(r"/v2/.+/blobs/uploads/")
    SESSION = re.compile(r"/v2/.+/blobs/uploads/.+")
    TOKEN = re.compile(r"/token")
    DIAL = "a connection is about to be opened"
    ACCEPT = "a connection was accepted"

    def covers(self, request: Request) -> bool:
        """Return whether a request is of this kind."""
        return isinstance(self.value, re.Pattern) and self.value.fullmatch(request.path) is not None


class Place(enum.StrEnum):
    """Which of the servers of a test a rule is for."""

    REGISTRY = "registry"
    TOKENS = "tokens"
    CDN = "cdn"
    MIRROR = "mirror"


@attrs.frozen
class Where:
    """Requests.

    Attributes:
        kind: What they are about; None for anything.
        method: Their method; ``*`` for any.
        place: The server they come to.
        text: What has to be in their target.
    """

    kind: Kind | None = None
    method: str = "*"
    place: Place = Place.REGISTRY
    text: str = ""

    def covers(self, request: Request) -> bool:
        """Return whether a request, at the right server, is one of them."""
        if self.method not in {"*", request.method} or self.text not in request.target:
            return False
        return self.kind is None or self.kind.covers(request)


ANYTHING = Where()
DIALS = Where(Kind.DIAL)
ACCEPTS = Where(Kind.ACCEPT)
GETS = Where(method="GET")
TOKENS = Where(place=Place.TOKENS)
CDN = Where(place=Place.CDN)
MIRROR = Where(place=Place.MIRROR)
MIRROR_BLOBS = Where(Kind.BLOB, "GET", Place.MIRROR)
MIRROR_MANIFESTS = Where(Kind.MANIFEST, "GET", Place.MIRROR)
BLOB_HEADS = Where(Kind.BLOB, "HEAD")
BLOB_GETS = Where(Kind.BLOB, "GET")
MANIFEST_GETS = Where(Kind.MANIFEST, "GET")
MANIFEST_HEADS = Where(Kind.MANIFEST, "HEAD")
MANIFEST_PUTS = Where(Kind.MANIFEST, "PUT")
POSTS = Where(Kind.UPLOADS, "POST")
MOUNTS = Where(Kind.UPLOADS, "POST", text="mount=")
PATCHES = Where(Kind.SESSION, "PATCH")
PUTS = Where(Kind.SESSION, "PUT")
CANCELS = Where(Kind.SESSION, "DELETE")
DELETES = Where(method="DELETE")
TAG_LISTS = Where(Kind.TAGS)
CATALOG = Where(Kind.CATALOG)
REFERRERS = Where(Kind.REFERRERS)


@attrs.frozen
class Rule:
    """A fault and its moment.

    Attributes:
        action: What happens.
        where: Requests it is about.
        first: Number of the first of them that it happens to, from 1.
        count: To how many in a row; None for all that follow.
        every: Only to every nth of those.
        chance: How likely it is each time.
    """

    action: Action
    where: Where = ANYTHING
    first: int = 1
    count: int | None = None
    every: int = 1
    chance: float = 1.0

    def hits(self, number: int, luck: random.Random) -> bool:
        """Return whether it happens to the nth of the requests it is about."""
        past = number - self.first
        if past < 0 or (self.count is not None and past >= self.count) or past % self.every:
            return False
        return self.chance >= 1 or luck.random() < self.chance


def once(action: Action, where: Where = ANYTHING, *, first: int = 1, count: int = 1) -> Rule:
    """Return a rule for the first of some requests, or for the few that the numbers say."""
    return Rule(action, where, first, count)


def always(action: Action, where: Where = ANYTHING, *, first: int = 1, every: int = 1) -> Rule:
    """Return a rule for all of some requests."""
    return Rule(action, where, first, every=every)
