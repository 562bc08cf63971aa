"""What remote objects remember beyond their own lives: what registries turned out to be like, and who is at work.

``client.repository(...)`` makes a new object each time, so none of it can live in one.
"""

from __future__ import annotations

import enum
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import attrs
from anyio.lowlevel import RunVar

from ocidist._io.locks import Locks
from ocidist.hosts.profiles import profile_for

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from ocidist.http.sender import Sender
    from ocidist.model.profile import RegistryProfile
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


_log = logging.getLogger("ocidist.remote")
_profiles: WeakKeyDictionary[Sender, OrderedDict[str, RegistryProfile]] = WeakKeyDictionary()


def profile_of(channel: Channel) -> RegistryProfile:
    """Return how the channel's registry takes blobs and tags: learned, configured, or known beforehand."""
    known = _profiles.get(channel.sender)
    learned = None if known is None else known.get(channel.host)
    return learned or channel.sender.host_config(channel.registry).profile or profile_for(channel.registry.host)


def learn_profile(channel: Channel, **found: bool | int | None) -> RegistryProfile:
    """Remember what an answer told about the registry, and return all that is known of it."""
    before = profile_of(channel)
    after: RegistryProfile = attrs.evolve(before, **found)  # type: ignore[arg-type]  # the names are the profile's own
    if after != before:
        known = _profiles.setdefault(channel.sender, OrderedDict())
        known[channel.host] = after
        while len(known) > MAX_REMEMBERED:
            known.popitem(last=False)
        said = ", ".join(f"{name}={value!r}" for name, value in found.items())
        _log.info("%s is now known to have %s", channel.host, said)
    return after


# Every client of an event loop has to respect them.
_turns: RunVar[Locks] = RunVar("ocidist_turns")


def turn(name: str) -> AbstractAsyncContextManager[None]:
    """Hold the lock of this name against all other tasks of the event loop."""
    turns = _turns.get(None)
    if turns is None:
        turns = Locks()
        _turns.set(turns)
    return turns.hold(name)
