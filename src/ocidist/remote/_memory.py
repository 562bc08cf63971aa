"""What remote objects remember beyond their own lives: which registries lack the referrers API, and who is at work.

``client.repository(...)`` makes a new object each time, so neither fact can live in one.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import RunVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ocidist.http.sender import Sender
    from ocidist.remote._channel import Channel

MAX_REMEMBERED: Final = 4096
"""Repositories remembered per client; the least recently used is forgotten and asked again."""


class ReferrersApi(enum.Enum):
    """Whether a repository's registry serves the referrers API."""

    UNKNOWN = "unknown"
    PRESENT = "present"
    ABSENT = "absent"


_known: WeakKeyDictionary[Sender, OrderedDict[str, ReferrersApi]] = WeakKeyDictionary()


def referrers_api(channel: Channel) -> ReferrersApi:
    """Return what this client has learned about the repository's registry."""
    known = _known.get(channel.sender)
    if known is None:
        return ReferrersApi.UNKNOWN
    key = channel.name_of()
    found = known.get(key, ReferrersApi.UNKNOWN)
    if found is not ReferrersApi.UNKNOWN:
        known.move_to_end(key)
    return found


def learn_referrers_api(channel: Channel, found: ReferrersApi) -> None:
    """Remember what an answer said about the referrers API."""
    known = _known.setdefault(channel.sender, OrderedDict())
    key = channel.name_of()
    known[key] = found
    known.move_to_end(key)
    while len(known) > MAX_REMEMBERED:
        known.popitem(last=False)


class _Turn:
    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.users = 0


# A lock belongs to one event loop, and every client of that loop has to respect it.
_turns: RunVar[dict[str, _Turn]] = RunVar("ocidist_referrers_turns")


@asynccontextmanager
async def turn(key: str) -> AsyncIterator[None]:
    """Hold the lock of this name against all other tasks of the event loop; it is forgotten after the last of them."""
    turns = _turns.get(None)
    if turns is None:
        turns = {}
        _turns.set(turns)
    mine = turns.setdefault(key, _Turn())
    mine.users += 1
    try:
        async with mine.lock:
            yield
    finally:
        mine.users -= 1
        if not mine.users:
            del turns[key]
